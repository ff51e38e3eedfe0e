"""A verifier that is killed in the middle of a pass, under live traffic, goes on where it was; and so do others for it.

The kills come at what the pass has done, read from its checkpoints, not at times.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import msgspec
import pytest

from crossfade.adapters.control.passes import DynamoPassStore
from crossfade.contracts.passes import PassRecord, UnitRecord
from crossfade.core.migration.phases import Phase
from crossfade.core.values.image import Image, encode_image
from crossfade.core.values.shape import Side
from crossfade.runtime.http_client import Answered
from localaws import Endpoints
from planted_kinds import DIFFERENT, Planted, filled
from replicator_world import World, open_world, until
from verifier_process import Verifier
from verifier_world import wallet

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]

BUSY: Final = 40
"""Wallets under live traffic: the first ones."""

PLANTED: Final = [each for each in DIFFERENT if each.needs in (None, Side.SOURCE)]
"""One each, on the wallets after these."""

WALLETS: Final = 2400
PAGE: Final = 25
KILLS: Final = 5
UNITS: Final = 6
SETTINGS: Final = {
    "continuous": "false",
    "in_flight_bound_s": "30",
    "follow_limit_s": "120",
    "units": str(UNITS),
    "segments": "1",
    "page": str(PAGE),
    "reads_per_s": "600",
    "checkpoint_s": "0.3",
    "unit_lease_s": "1.5",
    "share_every_s": "0.2",
    "ask_every_s": "1000",
}


async def fill(world: World) -> None:
    """Put equal rows into both tables, and plant each kind of difference once."""
    memory = filled(WALLETS)
    for number, planted in enumerate(PLANTED, start=BUSY):
        planted.harm(memory, wallet(number))
    for side in Side:
        rows = list(memory.tables[side].images.values())
        for first in range(0, len(rows), 25):
            await put_many(world, side, rows[first : first + 25])


async def put_many(world: World, side: Side, rows: list[Image]) -> None:
    puts = [{"PutRequest": {"Item": msgspec.Raw(encode_image(row))}} for row in rows]
    request = {"RequestItems": {world.mapping.shape(side).table: puts}}
    await world.wire.call("BatchWriteItem", msgspec.json.encode(request))


@pytest.fixture
async def world(local_aws: Endpoints) -> AsyncIterator[World]:
    async with open_world(local_aws, fill) as opened:
        opened.start("forward")
        await opened.phase(Phase.BOTH_WAYS)
        yield opened


@asynccontextmanager
async def traffic(world: World) -> AsyncIterator[None]:
    """Earn on the busy wallets until the end; what they hold must never be called a difference."""

    async def earn() -> None:
        for number in itertools.cycle(range(BUSY)):
            await world.earn(wallet(number), 1)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(earn())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Watching:
    """What the store says of the pass that runs, and what the tables' scans have cost."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.store = DynamoPassStore(world.dynamodb, world.control.reports)

    async def record(self) -> PassRecord:
        found: list[PassRecord] = []

        async def runs() -> bool:
            record = await self.store.running()
            found.extend([record] if record is not None else [])
            return record is not None

        await until(runs, within_s=20, what="a pass runs")
        return found[0]

    async def units(self) -> list[UnitRecord]:
        return await self.store.units(await self.record())

    async def scanned(self) -> int:
        """Return the rows that were scanned up to the last checkpoints, both sides together."""
        return sum(sum(unit.head.get("scanned", {}).values()) for unit in await self.units())

    async def until_scanned(self, share: float) -> None:
        async def there() -> bool:
            return await self.scanned() >= share * 2 * WALLETS

        await until(there, within_s=60, what=f"{share:.0%} of both tables are scanned")


async def scans(verifiers: list[Verifier]) -> int:
    """Return how many pages of both tables these processes have asked for."""
    return sum([await verifier.scans() for verifier in verifiers])


async def found(verifier: Verifier, pass_id: str) -> dict[str, Any]:
    """Wait for the end of a pass; return keys by class, and how many were verified."""

    async def done() -> bool:
        try:
            return bool((await verifier.call(f"/passes/{pass_id}"))["state"] == "done")
        except Answered as error:  # it has yet to read what others have kept
            if error.status != 503:
                raise
            return False

    await until(done, within_s=60, what=f"pass {pass_id} is done")
    body = await verifier.until(lambda body: body["last_pass"] and body["last_pass"]["id"] == pass_id)
    classes: dict[str, list[str]] = {}
    query: str | None = ""
    while query is not None:
        page = await verifier.call(f"/parity/differences{query}")
        for each in page["differences"]:
            classes.setdefault(each["class"], []).append(each["key"])
        query = None if page["next"] is None else f"?after={quote(page['next'])}"
    return {"verified": body["last_pass"]["verified"], **{name: sorted(keys) for name, keys in classes.items()}}


def key_of(planted: Planted) -> str:
    return wallet(PLANTED.index(planted) + BUSY).decode()


@pytest.mark.slow
async def test_a_verifier_killed_five_times_finds_what_one_left_alone_finds_and_scans_little_twice(
    world: World,
) -> None:
    async with traffic(world):
        alone = Verifier(world, **SETTINGS)
        await alone.ready()
        asked = await alone.call("/passes", {})
        expected = await found(alone, asked["id"])
        pages = await alone.scans()
        assert pages * PAGE >= 2 * WALLETS
        assert await alone.stop() == 0, alone.log
        called = {key for name, keys in expected.items() if name != "verified" for key in keys}
        assert called == {key_of(each) for each in PLANTED}
        assert expected["verified"] == WALLETS - len(PLANTED)

        watching = Watching(world)
        killed = [Verifier(world, **SETTINGS)]
        await killed[0].ready()
        asked = await killed[0].call("/passes", {})
        assert (await watching.record()).id == asked["id"]
        for kill in range(1, KILLS + 1):
            await watching.until_scanned(kill / (KILLS + 1))
            killed[-1].kill()
            killed.append(Verifier(world, **SETTINGS))
            await killed[-1].ready()
        assert await found(killed[-1], asked["id"]) == expected
        again = await scans(killed)
        sys.stdout.write(f"\n{pages} pages alone, {again} with {KILLS} kills: {again / pages:.2f}\n")
        assert again <= 1.2 * pages
        assert await killed[-1].stop() == 0, killed[-1].log


async def test_two_verifiers_share_a_pass_and_one_ends_it_when_the_other_is_killed(world: World) -> None:
    watching = Watching(world)
    async with traffic(world):
        both = [Verifier(world, **SETTINGS) for _ in range(2)]
        for verifier in both:
            await verifier.ready()
        asked = await both[0].call("/passes", {})

        async def shared() -> bool:
            holders = {unit.holder for unit in await watching.units() if unit.state == "open" and unit.head}
            return len(holders - {""}) == 2

        await until(shared, within_s=30, what="both hold a unit and have saved it")
        await watching.until_scanned(0.4)
        both[0].kill()
        expected = await found(both[1], asked["id"])
        called = {key for name, keys in expected.items() if name != "verified" for key in keys}
        assert called == {key_of(each) for each in PLANTED}
        assert expected["verified"] == WALLETS - len(PLANTED)
        assert [await each.scans() > 0 for each in both] == [True, True]
        # Who was not there when it began says the same of it.
        late = Verifier(world, **SETTINGS)
        await late.ready()
        assert await found(late, asked["id"]) == expected
