"""A cursor of one's own: every shard, every record, no leases and no traces."""

from __future__ import annotations

import asyncio

import pytest

from faust_kinesis import LATEST, TRIM_HORIZON, CheckpointExpired, Options, Position, PrivateCursor, ServiceError
from faust_kinesis.client import StreamShard
from faust_kinesis.memory import MemoryKinesis, throttled
from faust_kinesis.virtual_time import run, wall_clock_s

OPTIONS = Options(fetch_limit=10)


def stream(count: int = 0, *, shards: int = 1) -> MemoryKinesis:
    kinesis = MemoryKinesis(shards=shards, now_s=wall_clock_s)
    for number in range(count):
        kinesis.put(b"%d" % number, partition_key=f"key{number % 7}")
    return kinesis


def cursor_on(kinesis: MemoryKinesis, start: Position = TRIM_HORIZON) -> PrivateCursor:
    return PrivateCursor(kinesis, "stream", start, OPTIONS, now_s=wall_clock_s)


async def collect(cursor: PrivateCursor, into: list[int]) -> None:
    async for batch in cursor.batches():
        into.extend(int(record.data) for record in batch)


def test_all_shards_are_read_from_their_oldest_record() -> None:
    async def scenario() -> None:
        seen: list[int] = []
        task = asyncio.create_task(collect(cursor_on(stream(100, shards=3)), seen))
        await asyncio.sleep(10)
        assert sorted(seen) == list(range(100))
        task.cancel()

    run(scenario())


def test_latest_brings_only_what_arrives_after_it_and_all_of_that() -> None:
    async def scenario() -> None:
        kinesis = stream(50, shards=2)
        await asyncio.sleep(5)
        seen: list[int] = []
        task = asyncio.create_task(collect(cursor_on(kinesis, LATEST), seen))
        await asyncio.sleep(1)
        for number in range(50, 90):
            kinesis.put(b"%d" % number, partition_key=f"key{number % 7}")
        await asyncio.sleep(5)
        assert sorted(seen) == list(range(50, 90))
        task.cancel()

    run(scenario())


def test_latest_survives_an_iterator_that_expires_before_the_first_record() -> None:
    """A second LATEST would skip what arrived meanwhile."""

    async def scenario() -> None:
        kinesis = stream()
        seen: list[int] = []
        task = asyncio.create_task(collect(cursor_on(kinesis, LATEST), seen))
        await asyncio.sleep(5)
        kinesis.failures.append(ServiceError("old", reason="ExpiredIteratorException", retryable=False))
        kinesis.put(b"1")
        await asyncio.sleep(5)
        assert seen == [1]
        task.cancel()

    run(scenario())


@pytest.mark.parametrize("start", [TRIM_HORIZON, LATEST])
def test_reshardings_are_followed_with_parents_before_children(start: Position) -> None:
    async def scenario() -> None:
        kinesis = stream()
        seen: list[int] = []
        task = asyncio.create_task(collect(cursor_on(kinesis, start), seen))
        await asyncio.sleep(2)
        (shard,) = kinesis.open_shards
        for number in range(20):
            kinesis.put(b"%d" % number, shard_id=shard)
        left, right = kinesis.split(shard)
        kinesis.put(b"20", shard_id=left)
        merged = kinesis.merge(left, right)
        kinesis.put(b"21", shard_id=merged)
        await asyncio.sleep(10)
        assert seen == list(range(22))
        task.cancel()

    run(scenario())


def test_a_child_that_is_there_from_the_start_waits_for_its_parents() -> None:
    async def scenario() -> None:
        kinesis = stream(100)
        left, right = kinesis.split(kinesis.open_shards[0])
        kinesis.put(b"100", shard_id=left)
        kinesis.put(b"101", shard_id=kinesis.merge(left, right))
        seen: list[int] = []
        task = asyncio.create_task(collect(cursor_on(kinesis), seen))
        await asyncio.sleep(10)
        assert seen == list(range(102))
        task.cancel()

    run(scenario())


class Unlisted(MemoryKinesis):
    """Can be told not to list its shards."""

    silent = False

    async def list_shards(self, stream: str) -> list[StreamShard]:
        if self.silent:
            raise throttled()
        return await super().list_shards(stream)


def test_read_to_is_unknown_while_children_of_an_ended_shard_may_exist() -> None:
    """The other shards are at the tip, but the child may hold older records."""

    async def scenario() -> None:
        kinesis = Unlisted(shards=2, now_s=wall_clock_s)
        cursor = cursor_on(kinesis)
        seen: list[int] = []
        task = asyncio.create_task(collect(cursor, seen))
        await asyncio.sleep(5)
        assert cursor.read_to_s is not None
        kinesis.silent = True
        left, _ = kinesis.split(kinesis.open_shards[0])
        kinesis.put(b"1", shard_id=left)
        await asyncio.sleep(20)
        assert cursor.read_to_s is None
        kinesis.silent = False
        await asyncio.sleep(20)
        assert seen == [1]
        assert cursor.read_to_s == pytest.approx(wall_clock_s(), abs=1)
        task.cancel()

    run(scenario())


def test_a_reader_that_pauses_holds_the_cursor_at_a_page_a_shard() -> None:
    async def scenario() -> None:
        kinesis = stream(500, shards=2)
        batches = cursor_on(kinesis).batches()
        await anext(batches)
        await asyncio.sleep(60)
        assert len(kinesis.reads) == 2
        await batches.aclose()

    run(scenario())


def test_read_to_tells_how_far_all_shards_are_and_nothing_before_it_knows() -> None:
    async def scenario() -> None:
        kinesis = stream(25, shards=2)
        cursor = cursor_on(kinesis)
        assert cursor.read_to_s is None
        batches = cursor.batches()
        await anext(batches)
        await asyncio.sleep(30)
        assert cursor.read_to_s == pytest.approx(wall_clock_s() - 30, abs=1)  # a batch in hand is not read yet
        await batches.aclose()

        cursor = cursor_on(kinesis)
        seen: list[int] = []
        task = asyncio.create_task(collect(cursor, seen))
        await asyncio.sleep(30)
        assert cursor.read_to_s == pytest.approx(wall_clock_s(), abs=1)
        task.cancel()

    run(scenario())


def test_read_to_is_unknown_while_a_shard_was_never_read() -> None:
    async def scenario() -> None:
        kinesis = stream(5)
        kinesis.failures.extend(throttled() for _ in range(1000))
        cursor = cursor_on(kinesis)
        task = asyncio.create_task(collect(cursor, []))
        await asyncio.sleep(30)
        assert cursor.read_to_s is None
        assert cursor.report()[0].trouble == "slow down"
        task.cancel()

    run(scenario())


def test_a_start_older_than_the_streams_memory_stops_loudly() -> None:
    async def scenario() -> None:
        kinesis = stream(5)
        start_s = wall_clock_s()
        await asyncio.sleep(30 * 3600)
        kinesis.put(b"6")
        kinesis.trim(kinesis.open_shards[0], 5)
        with pytest.raises(CheckpointExpired):
            await collect(cursor_on(kinesis, Position(at_s=start_s)), [])

    run(scenario())


def test_two_cursors_know_nothing_of_each_other() -> None:
    async def scenario() -> None:
        kinesis = stream(30, shards=2)
        seen: tuple[list[int], list[int]] = ([], [])
        tasks = [asyncio.create_task(collect(cursor_on(kinesis), each)) for each in seen]
        await asyncio.sleep(10)
        assert sorted(seen[0]) == sorted(seen[1]) == list(range(30))
        for task in tasks:
            task.cancel()

    run(scenario())
