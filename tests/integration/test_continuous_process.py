"""The continuous mode in a real verifier, on the embedded AWS, beside real replicators, without a single pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.keyed.writes import Activate, Seal
from crossfade.core.values.image import of_number, of_string
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import Direction, Side
from engagement_migration.samples import NOT_OURS, legacy_wallet
from localaws import Endpoints
from replicator_world import World, open_world, wallet
from verifier_process import Verifier

pytestmark = pytest.mark.embedded

WALLETS = 8
SEED = 1_764_230_400_000_000 << 10


@pytest.fixture
async def world(local_aws: Endpoints) -> AsyncIterator[World]:
    async with open_world(local_aws) as opened:
        yield opened


async def hand_over(world: World, key: Key) -> None:
    """Move a key to the target table, as the sweeper does."""
    await world.tables[Side.SOURCE].perform(Seal(key, 2, SEED))
    sealed = await world.tables[Side.SOURCE].read(key)
    assert sealed is not None
    await world.tables[Side.TARGET].perform(Activate(key, world.mapping.map_item(Direction.FORWARD, sealed)))


async def put(world: World, side: Side, key: Key, version: int, **changed: Any) -> None:
    """Put a row by a writer that knows nothing of the protocol; what it leaves out is gone."""
    image = key_image(key, ("pk", "sk")) | {"cf_mv": of_number(version), "cf_role": of_string("S")}
    await world.put(side, image | changed)


def called(body: dict[str, Any]) -> dict[str, list[str]]:
    """Keys by class, as far as samples tell."""
    found = body["continuous"]["called"]
    return {name: sorted(each["key"] for each in one["samples"]) for name, one in found.items()}


async def test_differences_in_either_table_are_called_within_the_bound_while_no_pass_runs(world: World) -> None:
    world.start("forward")
    world.start("reverse")
    await world.phase(Phase.BOTH_WAYS)
    verifier = Verifier(world, continuous="0")
    await verifier.ready()
    await verifier.until(lambda body: all(each["stream_read_s"] is not None for each in body["lags"].values()))
    for number in range(WALLETS):
        await world.put(Side.SOURCE, legacy_wallet(str(number), "1", 10))
        await world.earn(wallet(number), 5)
    for row in NOT_OURS:
        await world.put(Side.SOURCE, row)
    for number in (4, 5):
        await hand_over(world, wallet(number))

    def is_settled(body: dict[str, Any]) -> bool:
        heard = body["continuous"]
        return bool(heard["verified"] >= WALLETS and not heard["open"] and not heard["following"])

    for _ in range(10):
        await world.earn(wallet(1), 1)
        await world.earn(wallet(4), 1, Side.TARGET)
        body = await verifier.call("/parity")
        assert not called(body), body["continuous"]
        await asyncio.sleep(0.1)
    body = await verifier.until(is_settled)
    assert body["verdict"] != "drift"
    assert body["continuous"]["heard"]["source"] >= WALLETS
    assert body["continuous"]["unobserved"] == 0

    owners = {number: await world.tables[Side.TARGET].read(wallet(number)) for number in (2, 3, 4, 6)}
    versions = {number: item.version or 0 for number, item in owners.items() if item is not None}
    await put(world, Side.TARGET, wallet(2), versions[2], points=of_number(1))
    await put(world, Side.TARGET, wallet(3), versions[3] + 5, points=of_number(15))
    await put(world, Side.SOURCE, wallet(4), versions[4], balance=of_number(1), wallet_type=of_string("ENGAGEMENT"))
    await put(world, Side.TARGET, wallet(6), versions[6], points=of_number(15), cf_role=of_string("X"))
    body = await verifier.until(lambda body: sum(map(len, called(body).values())) == 4)
    assert called(body) == {
        "diverged": sorted(wallet(number).decode() for number in (2, 4)),
        "ahead": [wallet(3).decode()],
        "unreadable": [wallet(6).decode()],
    }
    assert body["verdict"] == "drift"
    assert body["last_pass"] is None
    assert body["running_pass"] is None

    plan = await verifier.call("/repairs", {"keys": [wallet(2).decode(), wallet(3).decode()]})
    await verifier.call(f"/repairs/{plan['id']}/execute", {})
    body = await verifier.until(lambda body: sum(map(len, called(body).values())) == 2)
    assert called(body) == {"diverged": [wallet(4).decode()], "unreadable": [wallet(6).decode()]}
    assert await verifier.stop() == 0, verifier.log
