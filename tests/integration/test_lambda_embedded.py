"""The replicator as an AWS Lambda function, behind the event source mapping of the embedded AWS."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from crossfade.contracts.report import Report
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.keyed.item import MV
from crossfade.core.replication.change import decode_change
from crossfade.core.values.image import number
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from engagement_api.operations import balance_of
from lambda_world import Deployed, own_zip
from localaws import Endpoints
from localaws.fixture import Control
from replicator_world import World, open_world, until, wallet

pytestmark = pytest.mark.embedded

POISON = b'{"dynamodb": "cut off'


@pytest.fixture
async def world(local_aws: Endpoints) -> AsyncIterator[World]:
    async with open_world(local_aws) as opened:
        yield opened


@pytest.fixture
def forward(world: World, tmp_path: Path) -> Iterator[Deployed]:
    deployed = Deployed(world, "forward", own_zip(tmp_path, world))
    yield deployed
    deployed.close()


async def versions_by_key(world: World, side: Side) -> dict[Key, list[int]]:
    """Return the versions that a table went through, in the order of its stream."""
    found = defaultdict(list)
    names = world.mapping.shape(side).key
    for shard in await world.kinesis.list_shards(world.streams[side]):
        iterator = await world.kinesis.shard_iterator(world.streams[side], shard.shard_id)
        for record in (await world.kinesis.get_records(iterator, 1000)).records:
            change = decode_change(record.data, names)
            if change.new is not None:
                found[change.key].append(number(change.new[MV]))
    return found


async def test_rule_11_poison_and_a_throttle_among_good_records_cost_nothing_and_stop_nobody(
    world: World, forward: Deployed
) -> None:
    table, hot = world.mapping.shape(Side.TARGET).table, wallet(3)
    control = Control(world.endpoints.aws_endpoint)
    keys = [wallet(each) for each in range(1, 8)]
    await world.phase(Phase.BOTH_WAYS)
    for amount in (1, 2, 3):
        for key in keys:
            await world.earn(key, amount)
        if amount == 2:
            await world.kinesis.put_records(world.streams[Side.SOURCE], [("any", POISON)])
    control.post("throttles", table=table, key="USER#3")
    forward.behind(world.streams[Side.SOURCE])

    async def copied(key: Key) -> bool:
        owner, standby = [await world.tables[side].read(key) for side in (Side.SOURCE, Side.TARGET)]
        assert owner is not None
        return standby is not None and standby.version == owner.version

    async def others_copied() -> bool:
        return all([await copied(key) for key in keys if key != hot]) and await world.letters.count() == 1

    await until(others_copied, within_s=30, what="every record but the throttled ones")
    assert not await copied(hot)
    throttled = next(each for each in control.get("throttles")["throttles"] if each["table"] == table)
    assert throttled["sent_back"] > 1, "it is tried again, with back-off"
    control.post("throttles", table=table, key="USER#3", statements=0)

    async def all_copied() -> bool:
        return all([await copied(key) for key in keys])

    await until(all_copied, within_s=30, what="the throttled ones")
    shape = world.mapping.shape(Side.TARGET)
    assert [balance_of(await world.tables[Side.TARGET].read(key), shape) for key in keys] == [6] * len(keys)
    for key, versions in (await versions_by_key(world, Side.TARGET)).items():
        assert versions == sorted(set(versions)), f"{key!r} went back"

    (letter,) = await world.letters.all()
    assert (letter.payload, letter.code, letter.consumer) == (POISON, "poison_record", "forward")

    async def told() -> bool:
        return sum(forward.metric("Records", RecordOutcome="applied")) >= len(keys)

    await until(told, within_s=10, what="metrics in the log")
    assert sum(forward.metric("ThrottledStatements", Consumer="forward")) == throttled["sent_back"]
    assert forward.metric("IteratorAge")
    assert forward.metric("Duration")
    assert sum(forward.metric("Records", RecordOutcome="parked")) >= 1
    reports = {each.shard: each for each in await world.reports.all()}
    assert all(each.oldest_unapplied_us == 0 and each.position for each in reports.values())


async def test_it_applies_nothing_before_its_phase(world: World, forward: Deployed) -> None:
    await world.earn(wallet(1), 5)
    forward.behind(world.streams[Side.SOURCE])

    async def waiting() -> bool:
        return any(each.get("event") == "waiting" for each in forward.log())

    await until(waiting, within_s=15, what="the function to say what it waits for")
    assert await world.tables[Side.TARGET].read(wallet(1)) is None
    await world.phase(Phase.CATCHING_UP)

    async def arrived() -> bool:
        return balance_of(await world.tables[Side.TARGET].read(wallet(1)), world.mapping.shape(Side.TARGET)) == 5

    await until(arrived, within_s=15, what="5 points in the target table")


async def test_a_shard_without_records_is_reported_by_the_schedule(world: World, forward: Deployed) -> None:
    await world.phase(Phase.BOTH_WAYS)
    assert forward.invoke({"crossfade": "report"}) == {"reported": 2}
    idle = await world.reports.all()
    assert [(each.consumer, each.iterator_age_ms, each.oldest_unapplied_us) for each in idle] == [("forward", 0, 0)] * 2
    await world.earn(wallet(1), 5)  # nobody reads it: there is no mapping yet

    async def seen() -> bool:
        forward.invoke({"crossfade": "report"})
        return any(each.oldest_unapplied_us for each in await world.reports.all())

    await until(seen, within_s=10, what="a report of the record that waits")
    forward.behind(world.streams[Side.SOURCE])

    async def applied() -> bool:
        return any(each.counts.get("applied") for each in await world.reports.all())

    await until(applied, within_s=15, what="the record")
    forward.invoke({"crossfade": "report"})
    after = await world.reports.all()
    assert [each.oldest_unapplied_us for each in after] == [0, 0]
    assert all(each.at_us > before.at_us for each, before in zip(after, idle, strict=True))


async def test_the_feed_as_a_function_publishes_the_events(world: World, tmp_path: Path) -> None:
    feed = Deployed(world, "feed", own_zip(tmp_path, world), timeout_s=10)
    try:
        for stream in world.streams.values():
            feed.behind(stream)
        await world.earn(wallet(1), 5)
        await world.earn(wallet(2), 7)

        async def published() -> bool:
            return len(await world.published()) >= 2

        await until(published, within_s=20, what="two events")
        assert {(each.key, each.event.delta) for each in await world.published()} == {(wallet(1), 5), (wallet(2), 7)}
    finally:
        feed.close()


async def test_a_report_is_replaced_only_as_it_was_read(world: World) -> None:
    first = Report("forward", "stream/shard", 1, 0, 0, 0, {}, position="4" * 56)
    second, third = first.replace(at_us=2), first.replace(at_us=3)
    assert await world.reports.held("forward", "stream/shard") is None
    assert await world.reports.replace(None, first)
    assert not await world.reports.replace(None, second), "somebody was here before"
    held = await world.reports.held("forward", "stream/shard")
    assert held is not None
    assert held.report == first
    assert await world.reports.replace(held, second)
    assert not await world.reports.replace(held, third), "it was replaced since"
    assert await world.reports.all() == [second]
