"""A target table that is there is filled by writes: inserted if absent, counted, paced, resumed, over nobody's row."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from controller_world import Town, run
from crossfade.adapters.memory.admin import MemoryAws
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.owning import MemoryMembers, MemoryOwnerMaps, OwningStore
from crossfade.adapters.memory.raw_rows import MemoryRows
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.application.membership import Membership
from crossfade.core.mapping.loading import Landing, landing
from crossfade.core.mapping.rules import RuleMapping, Table
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.plain.map import OwnerMap, State, first_map
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values import image as wire
from crossfade.core.values.errors import OwnershipAmbiguous, StoreUnavailable, Throttled
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.runtime.pace import Pace
from crossfade_controller.load_run import FileLoader, Loader, as_member, freely
from crossfade_controller.status import status_of
from engagement_api.keys import wallet_key
from engagement_migration import MAPPING

PLAIN_MAPPING = RuleMapping(
    "orders",
    source=Table("orders", key=("pk",)),
    target=Table("new-orders", key=("pk",)),
    belongs=lambda _key: True,
    rules=(),
    is_open=True,
    protocol=PLAIN,
)


def town_with_target(**settings: Any) -> Town:
    """A town whose target table was created beforehand."""
    town = Town(wallets=30, load="write", load_rows_per_s=1_000_000, **settings)
    town.aws._existing.add("engagement")
    return town


def done(town: Town, step: str) -> list[Any]:
    return [each.body for each in town.entries("step") if each.body["step"] == step]


async def in_catching_up(town: Town) -> Any:
    ctx, _ = await run(town, lambda: bool(done(town, "import")))
    return ctx


async def test_a_table_that_is_there_gets_every_mapped_row_and_no_import_is_begun() -> None:
    town = town_with_target()
    await town.ask("start", exclude=[])
    await in_catching_up(town)
    assert "import" not in town.aws.calls
    target = town.tables[Side.TARGET]
    assert target.images.keys() == {key for key in town.tables[Side.SOURCE].images if MAPPING.belongs(key)}
    assert all(bytes(row["cf_role"]) == b'{"S":"S"}' for row in target.images.values())
    told = done(town, "import")[0]
    assert (told["by"], told["written"], told["there"], told["newer"], told["other"]) == ("write", 34, 0, 1, 0), (
        "the stream has brought the canary's row, in a later state"
    )
    await run(town, lambda: any(each.body["to"] == Phase.BOTH_WAYS.value for each in town.entries("phase")))


async def test_a_start_is_refused_while_there_is_no_table_to_fill() -> None:
    town = Town(load="write")
    number = await town.ask("start", exclude=[])
    await run(town, lambda: town.outcome(number) is not None)
    outcome = town.outcome(number)
    assert outcome is not None
    assert "there is no engagement: CROSSFADE_LOAD=write fills a table that you created" in outcome["because"]


async def test_a_table_that_is_gone_when_it_is_to_be_filled_is_waited_for_by_name() -> None:
    town = town_with_target()
    await town.ask("start", exclude=[])
    await run(town, lambda: bool(town.entries("begun")) and town.entries("begun")[-1].body["step"] == "capture")
    town.aws._existing.discard("engagement")
    _, driver = await run(town, lambda: bool(done(town, "map")))
    await driver.tick()
    assert "the table engagement to be created by you and ACTIVE" in driver.waiting_for
    town.aws._existing.add("engagement")
    await in_catching_up(town)


async def test_a_table_of_another_key_is_refused_before_anything_begins() -> None:
    town = town_with_target()
    object.__setattr__(town.tables[Side.TARGET], "_shape", MAPPING.shape(Side.TARGET)._replace(key=("id",)))
    number = await town.ask("start", exclude=[])
    await run(town, lambda: town.outcome(number) is not None)
    outcome = town.outcome(number)
    assert outcome is not None
    assert "engagement has the key id; the mapping says pk, sk" in outcome["because"]


class Dying(MemoryRows):
    """Rows that end the process after some inserts."""

    def __init__(self, town: Town, after: int) -> None:
        super().__init__(town.tables[Side.TARGET])
        self._left = after

    async def insert(self, row: bytes) -> Image | None:
        if not self._left:
            raise StoreUnavailable("PutItem: no answer")
        self._left -= 1
        return await super().insert(row)


async def test_a_load_that_was_killed_goes_on_with_the_files_that_are_left_and_finds_its_own_rows() -> None:
    town = town_with_target()
    town.target_rows = Dying(town, after=13)
    await town.ask("start", exclude=[])
    await run(town, lambda: bool(done(town, "map")))
    assert len(town.tables[Side.TARGET].images) == 14  # with the canary, which the stream has brought
    noted = {name for name in town.aws.objects if "/loaded-" in name and name.endswith(".json")}
    before = {name: town.aws.objects[name] for name in noted}
    town.target_rows = MemoryRows(town.tables[Side.TARGET])
    await in_catching_up(town)
    told = done(town, "import")[0]
    assert told["written"] + told["there"] + told["newer"] == 35
    assert 1 <= told["there"] <= 2, "rows of the file that was begun"
    assert {name: town.aws.objects[name] for name in noted} == before


async def test_a_row_of_somebody_else_is_never_overwritten_and_all_such_rows_are_listed() -> None:
    town = town_with_target()
    target = town.tables[Side.TARGET]
    theirs = {}
    for user in ("w3", "w17"):
        key = wallet_key(user, "chan")
        theirs[key] = {**town.tables[Side.SOURCE].images[key], "points": wire.of_number(999_999)}
        theirs[key] = {name: theirs[key][name] for name in ("pk", "sk", "points")}
        target.put(theirs[key])
    await town.ask("start", exclude=[])
    _, driver = await run(town, lambda: bool(done(town, "map")))
    for _ in range(3):
        await driver.tick()
    said = driver.waiting_for
    assert said.startswith("for 2 rows another one stands in engagement, which is never overwritten")
    name = said.partition("s3://exports/")[2].partition(". ")[0]
    listed = [json.loads(line)["key"] for line in gzip.decompress(town.aws.objects[name]).splitlines()]
    assert sorted(listed) == sorted(key.decode() for key in theirs)
    assert {key: target.images[key] for key in theirs} == theirs
    for key in theirs:  # moved away by their owner, and the controller restarted
        target.delete(key)
    await in_catching_up(town)
    told = done(town, "import")[0]
    assert told["written"] + told["there"] + told["newer"] == 35
    assert told["other"] == 0


async def test_the_status_says_how_far_the_load_is() -> None:
    town = town_with_target()
    go = asyncio.Event()

    class Slow(MemoryRows):
        async def insert(self, row: bytes) -> Image | None:
            if len(town.tables[Side.TARGET].images) >= 12:
                await go.wait()
            return await super().insert(row)

    town.target_rows = Slow(town.tables[Side.TARGET])
    await town.ask("start", exclude=[])
    ctx, driver = await run(town, lambda: bool(done(town, "map")))
    progress = status_of(ctx, driver.wait)["progress"]
    assert (progress["step"], progress["done"], progress["total"]) == ("load", 9, 35)
    go.set()
    await in_catching_up(town)


def loader_of(mapping: RuleMapping, aws: MemoryAws, loader: Loader, clock: MemoryClock, per_s: float) -> FileLoader:
    pace = Pace(per_s, now_s=clock.monotonic, sleep=clock.sleep)
    return FileLoader(aws, mapping, loader, pace, clock)


def import_file(rows: int) -> bytes:
    return gzip.compress(b"".join(b'{"Item":{"pk":{"S":"%d"}}}\n' % number for number in range(rows)))


async def test_rows_are_written_no_faster_than_they_may() -> None:
    clock, aws = MemoryClock(), MemoryAws({}, set())
    aws.objects["in"] = import_file(500)
    rows = MemoryRows(MemoryTable(PLAIN_MAPPING.shape(Side.TARGET)))
    async with freely(rows) as loader:
        before_s = clock.monotonic()
        counts = await loader_of(PLAIN_MAPPING, aws, loader, clock, 100.0).load("in", "others")
    assert counts.written == 500
    assert clock.monotonic() - before_s >= 4.5, "the last lot needn't be waited for"


async def test_a_busy_table_is_waited_for_and_no_row_is_left_out() -> None:
    clock, aws = MemoryClock(), MemoryAws({}, set())
    aws.objects["in"] = import_file(30)
    table = MemoryTable(PLAIN_MAPPING.shape(Side.TARGET))
    refused = [7]

    class Busy(MemoryRows):
        async def insert(self, row: bytes) -> Image | None:
            if refused[0]:
                refused[0] -= 1
                raise Throttled("PutItem: ProvisionedThroughputExceeded")
            return await super().insert(row)

    async with freely(Busy(table)) as loader:
        counts = await loader_of(PLAIN_MAPPING, aws, loader, clock, 1e6).load("in", "others")
    assert (counts.written, refused) == (30, [0])
    assert len(table.images) == 30


class TurningClock(MemoryClock):
    """Others get a turn while somebody sleeps."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        await super().sleep(seconds)


class Owned:
    """A plain migration's control records, and a load that is a member."""

    def __init__(self, owner_map: OwnerMap) -> None:
        self.store, self.clock = OwningStore(owner_map), TurningClock()
        self.table = MemoryTable(PLAIN_MAPPING.shape(Side.TARGET))
        self.aws = MemoryAws({}, set())
        self.aws.objects["in"] = import_file(60)
        self.members = MemoryMembers(self.store, monotonic=self.clock.monotonic)

    @asynccontextmanager
    async def loader(self) -> AsyncIterator[FileLoader]:
        membership = Membership(
            MemoryOwnerMaps(self.store),
            self.members,
            clock=self.clock,
            name="load-1",
            duty="load",
            lease_s=10.0,
            signature_s=900.0,
        )
        async with as_member(membership, MemoryRows(self.table)) as loader:
            yield loader_of(PLAIN_MAPPING, self.aws, loader, self.clock, 1e6)


OPEN = first_map(1)


async def test_under_the_plain_protocol_the_load_is_a_member_while_it_writes_and_leaves() -> None:
    owned = Owned(OPEN)
    async with owned.loader() as files:
        assert [(each.name, each.duty) for each in await owned.members.all()] == [("load-1", "load")]
        counts = await files.load("in", "others")
    assert counts.written == 60
    assert await owned.members.all() == []
    assert all(set(row) == {"pk"} for row in owned.table.images.values()), "no fence, nothing of Crossfade's"


async def test_a_seal_stops_the_load_between_two_lots_is_acknowledged_and_it_goes_on_when_the_map_is_open() -> None:
    owned = Owned(OPEN)
    sealed = replace(OPEN, epoch=OPEN.epoch + 1, state=State.SEALED)
    at_seal: list[int] = []
    put = owned.table.put

    def seal_after_some(image: Image) -> Key:
        if len(owned.table.images) == 24 and not at_seal:
            owned.store.owner_map = sealed
            at_seal.append(24)
        return put(image)

    owned.table.put = seal_after_some  # type: ignore[method-assign]
    async with owned.loader() as files:
        work = asyncio.create_task(files.load("in", "others"))
        while not any(each.acked == sealed.epoch for each in await owned.members.all()):
            await owned.clock.sleep(0.1)
        assert not work.done()
        written = len(owned.table.images)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(owned.table.images) == written < 60, "nothing is written under a seal that was acknowledged"
        owned.store.owner_map = replace(sealed, epoch=sealed.epoch + 1, state=State.OPEN)
        assert (await work).written == 60


async def test_nothing_is_loaded_into_a_table_that_owns() -> None:
    owned = Owned(replace(OPEN, owner=Side.TARGET))
    async with owned.loader() as files:
        with pytest.raises(OwnershipAmbiguous, match="the target table owns the rows"):
            await files.load("in", "others")
    assert owned.table.images == {}


def image(**values: int) -> Image:
    return {"pk": wire.of_string("a"), **{name: wire.of_number(value) for name, value in values.items()}}


@pytest.mark.parametrize(
    ("met", "expected"),
    [
        (None, Landing.WRITTEN),
        (image(total=5), Landing.THERE),
        (image(total=6), Landing.OTHER),
        (image(total=6, cf_mv=7), Landing.NEWER),
        (image(total=5, cf_mv=7), Landing.NEWER),
        ({**image(cf_mv=7), "cf_deleted": wire.of_boolean(True)}, Landing.NEWER),
        ({**image(total=5), "cf_mv": wire.of_string("what")}, Landing.OTHER),
        ({}, Landing.OTHER),
    ],
)
def test_what_stands_there_is_judged_by_its_fence_and_its_content(met: Image | None, expected: Landing) -> None:
    assert landing(PLAIN_MAPPING, image(total=5), met) is expected
