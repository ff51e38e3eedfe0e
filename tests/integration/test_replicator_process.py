"""The replicator as a process, on the embedded AWS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.keyed.item import Role
from crossfade.core.protocol.keyed.writes import Activate, Seal
from crossfade.core.protocol.writing import Applied, Verdict
from crossfade.core.values.image import of_number
from crossfade.core.values.keys import key_image
from crossfade.core.values.shape import Direction, Side
from engagement_api.operations import balance_of
from localaws import Endpoints
from replicator_world import World, open_world, until, wallet

pytestmark = pytest.mark.embedded


@pytest.fixture
async def world(local_aws: Endpoints) -> AsyncIterator[World]:
    async with open_world(local_aws) as opened:
        yield opened


async def test_an_earn_travels_to_the_other_table_and_its_event_to_the_feed(world: World) -> None:
    forward, feed = world.start("forward"), world.start("feed")
    await world.earn(wallet(1), 5)
    await asyncio.sleep(1.0)
    assert await world.tables[Side.TARGET].read(wallet(1)) is None, "forward must wait for its phase"
    await world.phase(Phase.BOTH_WAYS)
    await world.earn(wallet(1), 7)

    async def arrived() -> bool:
        item = await world.tables[Side.TARGET].read(wallet(1))
        return balance_of(item, world.mapping.shape(Side.TARGET)) == 12

    await until(arrived, within_s=15, what="12 points in the target table")
    owner, standby = [await world.tables[side].read(wallet(1)) for side in (Side.SOURCE, Side.TARGET)]
    assert owner is not None
    assert standby is not None
    assert (standby.version, standby.role, standby.generation) == (owner.version, Role.STANDBY, 0)

    async def told() -> bool:
        return len(await world.published()) >= 2

    await until(told, within_s=10, what="two events in the feed")
    events = await world.published()
    assert [(each.key, each.event.delta) for each in events] == [(wallet(1), 5), (wallet(1), 7)]
    assert events[1].previous == events[0].version

    async def reported() -> bool:
        return {each.consumer for each in await world.reports.all()} >= {"forward", "feed-source", "feed-target"}

    await until(reported, within_s=5, what="a report of each consumer")
    code, log = await world.stop(forward)
    assert code == 0, log
    assert log[-2]["event"] == "consumed", log
    assert log[-2][Verdict.APPLIED.value] == 1 or log[-2][Verdict.APPLIED.value] == 2
    leases = await world.leases("forward")
    assert len(leases) == 2
    assert all("owner" not in lease for lease in leases), "a clean stop gives the shards back"
    assert any("checkpoint" in lease for lease in leases)
    code, log = await world.stop(feed)
    assert code == 0, log


async def test_both_directions_follow_the_owner_there_and_back_and_end_with_the_migration(world: World) -> None:
    await world.phase(Phase.BOTH_WAYS)
    processes = [world.start(consumer) for consumer in ("forward", "reverse")]
    key = wallet(2)
    await world.earn(key, 5)

    def copied(side: Side) -> Callable[[], Awaitable[bool]]:
        async def same() -> bool:
            owner, copy = await world.tables[side].read(key), await world.tables[side.other].read(key)
            return owner is not None and copy is not None and (copy.version, copy.role) == (owner.version, Role.STANDBY)

        return same

    await until(copied(Side.SOURCE), within_s=15, what="the copy in the target table")
    for generation, side in ((1, Side.SOURCE), (2, Side.TARGET)):
        sealed = await world.tables[side].perform(Seal(key, generation, 0))
        assert isinstance(sealed, Applied)
        direction = Direction.FORWARD if side is Side.SOURCE else Direction.REVERSE
        image = world.mapping.map_item(direction, sealed.item)
        assert isinstance(await world.tables[side.other].perform(Activate(key, image)), Applied)
        await world.earn(key, 1, side.other)
        await until(copied(side.other), within_s=10, what=f"the copy of the owner in {side.other}")
    await world.phase(Phase.COMPLETE)
    await world.earn(key, 1)
    for process in processes:
        code, log = await world.ended(process)
        assert code == 0, log
        assert "drained" in [line["event"] for line in log]
        totals = next(line for line in log if line["event"] == "consumed")
        assert totals.get("parked", 0) == 0
        assert totals["echo"] > 0


async def test_rule_3_and_5_strays_are_lifted_and_undone_through_the_real_streams(world: World) -> None:
    await world.phase(Phase.BOTH_WAYS)
    world.start("forward")
    world.start("reverse")
    keys = [wallet(number, 9) for number in range(3)]
    for key in keys:
        await world.earn(key, 5)

    async def copied() -> bool:
        return len(await world.tables[Side.TARGET].read_many(keys)) == len(keys)

    await until(copied, within_s=15, what="the copies")
    image = await world.dynamodb.get_item(world.mapping.shape(Side.SOURCE).table, key_image(keys[0], ("pk", "sk")))
    assert image is not None
    await world.put(Side.SOURCE, image | {"balance": of_number(500)})
    await world.delete(Side.TARGET, key_image(keys[1], ("pk", "sk")))
    await world.delete(Side.SOURCE, key_image(keys[2], ("pk", "sk")))

    async def settled() -> bool:
        found = await world.tables[Side.TARGET].read_many(keys)
        shape = world.mapping.shape(Side.TARGET)
        return len(found) == 3 and [balance_of(found[key], shape) for key in keys] == [500, 5, 0]

    await until(settled, within_s=10, what="the lifted balance, the restored row, the tombstone")
    deleted = await world.tables[Side.TARGET].read(keys[2])
    assert deleted is not None
    assert deleted.deleted

    async def reported() -> bool:
        found = await world.reports.all()
        return {each.consumer for each in found if each.stray_last_us} == {"forward", "reverse"}

    await until(reported, within_s=5, what="reports of the strays")
    waiting, closed = await world.letters.all(), await world.letters.settled()
    assert [(each.consumer, each.key, each.code) for each in waiting] == [("reverse", keys[1], "stray")]
    assert {(each.consumer, each.key, each.code) for each in closed} == {
        ("forward", keys[0], "stray"),
        ("forward", keys[2], "stray"),
    }


async def test_replay_and_dead_letters_from_the_command_line(world: World, tmp_path: Path) -> None:
    key = wallet(3)
    await world.earn(key, 5)
    await world.earn(key, 6)
    lines = []
    stream = world.streams[Side.SOURCE]
    for shard in await world.kinesis.list_shards(stream):
        page = await world.kinesis.get_records(await world.kinesis.shard_iterator(stream, shard.shard_id))
        lines += [record.data for record in page.records]
    file = tmp_path / "records.jsonl"
    file.write_bytes(b"\n".join([*lines, b"{}"]))
    code, dry = await world.tool("replay", str(file), "--json")
    assert (code, dry["executed"]) == (1, False)
    assert dry["counts"] == {"records": 3, "applied": 1, "coalesced": 1, "parked": 1}
    assert await world.tables[Side.TARGET].read(key) is None
    code, done = await world.tool("replay", str(file), "--json", "--execute")
    assert (code, done["counts"]) == (1, dry["counts"])
    copy = await world.tables[Side.TARGET].read(key)
    assert balance_of(copy, world.mapping.shape(Side.TARGET)) == 11
    code, letters = await world.tool("dead-letters", "list", "--json")
    assert (code, [each["code"] for each in letters]) == (0, ["poison_record"])
    code, redriven = await world.tool("dead-letters", "redrive", "--execute", "--json")
    assert (code, [each["settled"] for each in redriven]) == (1, [False])
    assert await world.letters.count() == 1


async def test_a_wrong_setting_is_said_before_anything_starts(world: World) -> None:
    process = world.start("sideways", fetch_limits="7")
    code, log = await world.ended(process)
    assert code == 2
    said = " ".join(line["event"] for line in log)
    assert "CROSSFADE_CONSUMER" in said
    assert "did you mean CROSSFADE_FETCH_LIMIT?" in said
