"""Where a group starts, and the end of a stream's memory."""

from __future__ import annotations

import asyncio

import pytest

from faust_kinesis import (
    LATEST,
    CheckpointExpired,
    Position,
)
from faust_kinesis.memory import MemoryBackend, MemoryKinesis
from faust_kinesis.virtual_time import run, wall_clock_s
from faust_kinesis_engine import HOUR_S, filled, read, reading

# ---- where a group starts --------------------------------------------------------------------------


def test_latest_starts_with_what_comes() -> None:
    async def scenario() -> None:
        kinesis = filled(30)
        await asyncio.sleep(5)
        async with reading(kinesis, MemoryBackend(), start=LATEST) as engine:
            await asyncio.sleep(5)
            kinesis.put(b"99")
            assert await read(engine, 1) == [99]

    run(scenario())


def test_latest_means_the_start_of_the_group_not_of_each_worker() -> None:
    """A worker that dies before its first checkpoint must not skip what came while nobody ran."""

    async def scenario() -> None:
        kinesis, backend = filled(30), MemoryBackend()
        await asyncio.sleep(5)
        async with reading(kinesis, backend, start=LATEST):
            await asyncio.sleep(5)
        await asyncio.sleep(60)
        kinesis.put(b"99")
        await asyncio.sleep(60)
        async with reading(kinesis, backend, start=LATEST) as engine:
            assert await read(engine, 1) == [99]

    run(scenario())


def test_a_start_in_time_begins_with_the_first_record_that_arrived_then() -> None:
    async def scenario() -> None:
        kinesis = filled(10)
        await asyncio.sleep(100)
        start_s = wall_clock_s()
        await asyncio.sleep(100)
        kinesis.put(b"11")
        async with reading(kinesis, MemoryBackend(), start=Position(at_s=start_s)) as engine:
            assert await read(engine, 1) == [11]

    run(scenario())


# ---- the end of a stream's memory ------------------------------------------------------------------


async def read_ten_and_stop(kinesis: MemoryKinesis, backend: MemoryBackend) -> None:
    async with reading(kinesis, backend) as engine:
        await read(engine, 10)


def test_a_checkpoint_older_than_the_streams_memory_stops_loudly() -> None:
    """Kinesis itself goes on at its oldest record without a word, and the records between are gone."""

    async def scenario() -> None:
        kinesis, backend = filled(20), MemoryBackend()
        (shard,) = kinesis.open_shards
        await read_ten_and_stop(kinesis, backend)
        await asyncio.sleep(30 * HOUR_S)
        kinesis.put(b"20")
        kinesis.trim(shard, 20)
        async with reading(kinesis, backend) as engine:
            with pytest.raises(CheckpointExpired):
                await engine.ready(timeout_s=30, limit=1)

    run(scenario())


def test_an_old_checkpoint_that_the_stream_still_holds_is_used() -> None:
    async def scenario() -> None:
        kinesis, backend = filled(20), MemoryBackend()
        await read_ten_and_stop(kinesis, backend)
        await asyncio.sleep(100 * HOUR_S)  # a retention of 168 h is none of the default's business
        async with reading(kinesis, backend) as engine:
            assert await read(engine, 10) == list(range(10, 20))

    run(scenario())


def test_a_stream_that_was_quiet_for_days_is_no_reason_to_stop() -> None:
    """The last record expired long ago, but a worker saw all the time that nothing came after it."""

    async def scenario() -> None:
        kinesis, backend = filled(10), MemoryBackend()
        (shard,) = kinesis.open_shards
        async with reading(kinesis, backend, poll_interval_s=60, cycle_s=60, lease_s=200) as engine:
            await read(engine, 10)
            await asyncio.sleep(30 * HOUR_S)
        kinesis.trim(shard, 10)
        await asyncio.sleep(HOUR_S)
        kinesis.put(b"10")
        async with reading(kinesis, backend) as engine:
            assert await read(engine, 1) == [10]

    run(scenario())


def test_a_checkpoint_of_another_stream_of_that_name_stops_loudly() -> None:
    async def scenario() -> None:
        backend = MemoryBackend()
        await read_ten_and_stop(filled(10), backend)
        async with reading(filled(10), backend) as engine:
            with pytest.raises(CheckpointExpired):
                await engine.ready(timeout_s=30, limit=1)

    run(scenario())


def test_a_shard_that_vanished_before_its_end_stops_loudly() -> None:
    async def scenario() -> None:
        kinesis, backend = filled(20), MemoryBackend()
        (parent,) = kinesis.open_shards
        await read_ten_and_stop(kinesis, backend)
        kinesis.split(parent)
        kinesis.forget(parent)
        async with reading(kinesis, backend) as engine:
            with pytest.raises(CheckpointExpired, match=parent):
                await engine.ready(timeout_s=30, limit=1)

    run(scenario())


def test_a_start_time_older_than_the_streams_memory_stops_loudly() -> None:
    async def scenario() -> None:
        kinesis = filled(20)
        (shard,) = kinesis.open_shards
        start_s = wall_clock_s()
        await asyncio.sleep(30 * HOUR_S)
        kinesis.put(b"20")
        kinesis.trim(shard, 20)
        async with reading(kinesis, MemoryBackend(), start=Position(at_s=start_s)) as engine:
            with pytest.raises(CheckpointExpired):
                await engine.ready(timeout_s=30, limit=1)

    run(scenario())
