"""The engine with one worker: order, acks, checkpoints, pace, and the edges of a stream's memory."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from faust_kinesis import (
    TRIM_HORIZON,
    CheckpointExpired,
    DynamoLeases,
    PrivateCursor,
    ServiceError,
)
from faust_kinesis.client import StreamPage
from faust_kinesis.memory import MemoryBackend, MemoryKinesis, throttled
from faust_kinesis.virtual_time import run, wall_clock_s
from faust_kinesis_engine import HOUR_S, engine_on, filled, numbers, options, read, reading


def test_a_shard_is_read_in_order_and_once() -> None:
    async def scenario() -> None:
        async with reading(filled(95), MemoryBackend()) as engine:
            assert await read(engine, 95) == list(range(95))
            await asyncio.sleep(30)
            assert await engine.ready(timeout_s=5, limit=9) == []

    run(scenario())


def test_a_shard_brings_no_second_batch_before_the_first_is_acknowledged() -> None:
    async def scenario() -> None:
        kinesis = filled(100)
        async with reading(kinesis, MemoryBackend()) as engine:
            (first,) = await engine.ready(timeout_s=5, limit=9)
            assert await engine.ready(timeout_s=60, limit=9) == []
            assert len(kinesis.reads) == 1  # nor does it read ahead: one batch is all the memory a shard takes
            await engine.ack(first)
            (second,) = await engine.ready(timeout_s=5, limit=9)
            assert numbers(first) + numbers(second) == list(range(20))

    run(scenario())


def test_acknowledging_a_batch_twice_does_not_reach_the_next_one() -> None:
    async def scenario() -> None:
        async with reading(filled(30), MemoryBackend()) as engine:
            (first,) = await engine.ready(timeout_s=5, limit=1)
            await engine.ack(first)
            (second,) = await engine.ready(timeout_s=5, limit=1)
            await engine.ack(first)
            assert second.applied == 0
            assert await engine.ready(timeout_s=10, limit=1) == []
            assert engine.report().shards[0].checkpoint == first.records[-1].sequence_number

    run(scenario())


def test_prefetch_reads_ahead_so_many_batches_and_no_more() -> None:
    async def scenario() -> None:
        kinesis = filled(100)
        async with reading(kinesis, MemoryBackend(), prefetch=2) as engine:
            await engine.ready(timeout_s=5, limit=9)
            await asyncio.sleep(60)
            assert len(kinesis.reads) == 3
            assert await engine.ready(timeout_s=5, limit=9) == []  # read ahead, but still given out one by one

    run(scenario())


def test_a_slow_shard_does_not_hold_up_the_others() -> None:
    async def scenario() -> None:
        kinesis = MemoryKinesis(shards=2, now_s=wall_clock_s)
        slow, fast = kinesis.open_shards
        for number in range(50):
            kinesis.put(b"%d" % number, shard_id=slow)
            kinesis.put(b"%d" % number, shard_id=fast)
        async with reading(kinesis, MemoryBackend()) as engine:
            seen = 0
            while seen < 50:
                for batch in await engine.ready(timeout_s=5, limit=9):
                    if batch.shard_id == fast:
                        seen += len(batch)
                        await engine.ack(batch)
            assert seen == 50

    run(scenario())


def test_rule_11_a_restart_goes_on_after_the_last_acknowledged_batch() -> None:
    async def scenario() -> None:
        kinesis, backend = filled(40), MemoryBackend()
        async with reading(kinesis, backend) as engine:
            assert await read(engine, 20) == list(range(20))
            (unfinished,) = await engine.ready(timeout_s=5, limit=1)
            assert numbers(unfinished) == list(range(20, 30))
            await engine.stop(grace_s=0)
        async with reading(kinesis, backend) as engine:
            assert await read(engine, 20) == list(range(20, 40))

    run(scenario())


def test_rule_11_a_partly_acknowledged_batch_is_repeated_from_its_first_open_record() -> None:
    async def scenario() -> None:
        kinesis, backend = filled(10), MemoryBackend()
        async with reading(kinesis, backend) as engine:
            (batch,) = await engine.ready(timeout_s=5, limit=1)
            await engine.ack(batch, 4, durable=True)
            assert await engine.ready(timeout_s=10, limit=1) == []  # the rest is still out
            await engine.stop(grace_s=0)
        async with reading(kinesis, backend) as engine:
            assert await read(engine, 6) == [4, 5, 6, 7, 8, 9]

    run(scenario())


def test_stopping_waits_for_the_running_batch_stores_it_and_frees_the_lease() -> None:
    async def scenario() -> None:
        kinesis, backend = filled(10), MemoryBackend()
        engine = engine_on(kinesis, backend)
        await engine.start()
        (batch,) = await engine.ready(timeout_s=5, limit=1)
        stopping = asyncio.create_task(engine.stop())
        await asyncio.sleep(3)
        assert not stopping.done()
        await engine.ack(batch)
        await stopping
        (lease,) = await DynamoLeases(backend, "stream", "group", "other").list()
        assert lease.owner is None
        assert lease.checkpoint == batch.records[-1].sequence_number

    run(scenario())


def test_stopping_gives_up_on_a_batch_that_outlasts_the_grace() -> None:
    async def scenario() -> None:
        engine = engine_on(filled(10), MemoryBackend(), settings=options(grace_s=5))
        await engine.start()
        await engine.ready(timeout_s=5, limit=1)
        begun = asyncio.get_running_loop().time()
        await engine.stop()
        assert 5 <= asyncio.get_running_loop().time() - begun < 8

    run(scenario())


def test_what_was_read_ahead_is_not_taken_for_applied_when_the_shard_has_ended() -> None:
    """A shard at its end with pages unread by anybody is not done, however it is given up."""

    async def scenario() -> None:
        kinesis, backend = filled(30), MemoryBackend()
        kinesis.split(kinesis.open_shards[0])
        async with reading(kinesis, backend, prefetch=5) as engine:
            (batch,) = await engine.ready(timeout_s=5, limit=1)
            await asyncio.sleep(20)  # read to the end by now
            stopping = asyncio.create_task(engine.stop())
            await asyncio.sleep(1)
            await engine.ack(batch)
            await stopping
        lease = (await DynamoLeases(backend, "stream", "group", "other").list())[0]
        assert not lease.ended
        async with reading(kinesis, backend) as engine:
            assert await read(engine, 20) == list(range(10, 30))

    run(scenario())


# ---- children and parents --------------------------------------------------------------------------


def test_children_are_read_after_the_last_record_of_their_parents_is_acknowledged() -> None:
    async def scenario() -> None:
        kinesis = filled(20)
        (parent,) = kinesis.open_shards
        left, right = kinesis.split(parent)
        kinesis.put(b"100", shard_id=left)
        kinesis.put(b"101", shard_id=right)
        async with reading(kinesis, MemoryBackend()) as engine:
            assert await read(engine, 10) == list(range(10))
            (last,) = await engine.ready(timeout_s=5, limit=9)
            assert await engine.ready(timeout_s=120, limit=9) == []
            await engine.ack(last)
            assert set(await read(engine, 2)) == {100, 101}

    run(scenario())


def test_a_merged_shard_waits_for_both_its_parents() -> None:
    async def scenario() -> None:
        kinesis = MemoryKinesis(shards=2, now_s=wall_clock_s)
        left, right = kinesis.open_shards
        kinesis.put(b"1", shard_id=left)
        kinesis.put(b"2", shard_id=right)
        kinesis.put(b"3", shard_id=kinesis.merge(left, right))
        async with reading(kinesis, MemoryBackend()) as engine:
            parents = await engine.ready(timeout_s=5, limit=9)
            while len(parents) < 2:
                parents += await engine.ready(timeout_s=5, limit=9)
            await engine.ack(parents[0])
            assert await engine.ready(timeout_s=120, limit=9) == []
            await engine.ack(parents[1])
            assert await read(engine, 1) == [3]

    run(scenario())


@pytest.mark.parametrize("phase_s", [0.0, 0.3, 0.6, 0.9, 1.2])
def test_children_are_read_at_once_when_their_parent_ends(phase_s: float) -> None:
    """The end of the parent is the hint: neither the refresh of the list nor the next cycle is waited for."""

    async def scenario() -> None:
        kinesis = filled(0)
        async with reading(kinesis, MemoryBackend(), shard_refresh_s=15.0) as engine:
            await asyncio.sleep(5 + phase_s)
            child, _ = kinesis.split(kinesis.open_shards[0])
            kinesis.put(b"7", shard_id=child)
            begun = asyncio.get_running_loop().time()
            assert await read(engine, 1) == [7]
            assert asyncio.get_running_loop().time() - begun < 0.7

    run(scenario())


# ---- pace ------------------------------------------------------------------------------------------


def test_an_idle_shard_is_read_and_renewed_politely() -> None:
    async def scenario() -> None:
        kinesis, backend = filled(0, shards=3), MemoryBackend()
        async with reading(kinesis, backend, poll_interval_s=0.4, cycle_s=1.5):
            await asyncio.sleep(10)
            reads, writes = len(kinesis.reads), backend.writes
            await asyncio.sleep(100)
            assert 3 * 200 < len(kinesis.reads) - reads < 3 * 300
            assert backend.writes - writes < 3 * 100 / 1.5 * 1.2  # one write a shard and cycle, nothing else

    run(scenario())


def test_a_backlog_is_read_without_pauses() -> None:
    async def scenario() -> None:
        async with reading(filled(2000), MemoryBackend()) as engine:
            begun = asyncio.get_running_loop().time()
            await read(engine, 1990)
            assert asyncio.get_running_loop().time() - begun < 1

    run(scenario())


def test_throttling_backs_off_and_loses_nothing() -> None:
    async def scenario() -> None:
        kinesis = filled(30)
        kinesis.failures.extend(throttled() for _ in range(6))
        async with reading(kinesis, MemoryBackend()) as engine:
            assert await read(engine, 30) == list(range(30))
        moments = [moment for _, moment in kinesis.reads[:7]]
        pauses = [later - earlier for earlier, later in pairwise(moments)]
        assert all(pause > 0.1 for pause in pauses)
        assert pauses[5] > 2 * pauses[0]
        assert len({round(pause / 2**n, 6) for n, pause in enumerate(pauses)}) > 3  # jittered, not in step

    run(scenario())


def test_while_reading_fails_the_report_says_so_and_the_age_grows() -> None:
    async def scenario() -> None:
        kinesis = filled(0)
        async with reading(kinesis, MemoryBackend()) as engine:
            await asyncio.sleep(5)
            kinesis.failures.extend(throttled() for _ in range(100))
            await asyncio.sleep(60)
            report = engine.report()
            assert report.shards[0].trouble == "slow down"
            assert report.age_s is not None
            assert report.age_s > 50
            kinesis.failures.clear()
            await asyncio.sleep(30)
            assert engine.report().shards[0].trouble is None
            assert engine.report().age_s == 0

    run(scenario())


def test_a_refused_call_is_raised_to_the_reader_of_batches() -> None:
    async def scenario() -> None:
        kinesis = filled(1)
        kinesis.failures.append(ServiceError("no", reason="AccessDeniedException", retryable=False))
        async with reading(kinesis, MemoryBackend()) as engine:
            with pytest.raises(ServiceError, match="no"):
                await engine.ready(timeout_s=5, limit=1)

    run(scenario())


def test_a_missing_stream_is_raised_to_the_reader_of_batches() -> None:
    async def scenario() -> None:
        kinesis = MemoryKinesis("another", now_s=wall_clock_s)
        async with reading(kinesis, MemoryBackend()) as engine:
            with pytest.raises(ServiceError, match="stream"):
                await engine.ready(timeout_s=5, limit=1)

    run(scenario())


def test_an_iterator_that_expired_during_long_work_costs_neither_a_record_nor_a_repetition() -> None:
    async def scenario() -> None:
        kinesis = filled(30)
        async with reading(kinesis, MemoryBackend()) as engine:
            seen: list[int] = []
            while len(seen) < 30:
                (batch,) = await engine.ready(timeout_s=30, limit=1)
                await asyncio.sleep(600)
                seen += numbers(batch)
                await engine.ack(batch)
            assert seen == list(range(30))

    run(scenario())


class Expiring(MemoryKinesis):
    """Hands out iterators that have expired already, `good_from_s` on good ones."""

    good_from_s = float("inf")

    async def get_records(self, iterator: str, limit: int) -> StreamPage:
        if self.now_s() < self.good_from_s:
            self.reads.append(("", self.now_s()))
            raise ServiceError("Iterator expired.", reason="ExpiredIteratorException", retryable=False)
        return await super().get_records(iterator, limit)


def test_b6_an_iterator_that_is_always_expired_is_asked_for_ever_more_slowly_and_named() -> None:
    """It was renewed as fast as the service answered: 858 times a second."""

    async def scenario() -> None:
        kinesis = Expiring(now_s=wall_clock_s)
        for number in range(3):
            kinesis.put(b"%d" % number)
        async with reading(kinesis, MemoryBackend()) as engine:
            assert await engine.ready(timeout_s=60, limit=1) == []
            assert 8 <= len(kinesis.reads) <= 30, "a minute of it: the first at once, then up to 8 s between two"
            (shard,) = engine.report().shards
            assert shard.trouble is not None
            assert "a new iterator has expired before its first read" in shard.trouble
            kinesis.good_from_s = 0.0
            assert await read(engine, 3) == [0, 1, 2]
            assert engine.report().shards[0].trouble is None

    run(scenario())


def test_b6_a_private_cursor_backs_off_from_expired_iterators_too() -> None:
    async def scenario() -> None:
        kinesis = Expiring(now_s=wall_clock_s)
        cursor = PrivateCursor(kinesis, "stream", TRIM_HORIZON, options(), now_s=wall_clock_s)

        async def drain() -> None:
            async for _ in cursor.batches():
                pass

        task = asyncio.create_task(drain())
        await asyncio.sleep(60)
        assert 8 <= len(kinesis.reads) <= 30
        assert "a new iterator has expired" in str(cursor.report()[0].trouble)
        task.cancel()

    run(scenario())


def test_a_batch_that_runs_for_longer_than_the_streams_memory_stops_loudly() -> None:
    async def scenario() -> None:
        kinesis = filled(20)
        (shard,) = kinesis.open_shards
        async with reading(kinesis, MemoryBackend(), cycle_s=60, lease_s=200) as engine:
            (batch,) = await engine.ready(timeout_s=30, limit=1)
            await asyncio.sleep(30 * HOUR_S)
            kinesis.put(b"20")
            kinesis.trim(shard, 20)
            await engine.ack(batch)
            with pytest.raises(CheckpointExpired):
                await engine.ready(timeout_s=30, limit=1)

    run(scenario())


# ---- reports ---------------------------------------------------------------------------------------


def test_rule_12_the_age_is_that_of_the_oldest_unapplied_record_else_the_distance_to_the_tip() -> None:
    async def scenario() -> None:
        kinesis = filled(20)
        await asyncio.sleep(7)
        async with reading(kinesis, MemoryBackend()) as engine:
            assert engine.report().age_s is None  # nothing read yet is not lag 0
            (batch,) = await engine.ready(timeout_s=5, limit=1)
            assert engine.report().age_s == pytest.approx(7, abs=0.5)
            await asyncio.sleep(10)
            assert engine.report().age_s == pytest.approx(17, abs=0.5)
            await engine.ack(batch)
            await read(engine, 10)
            await asyncio.sleep(2)
            report = engine.report()
            assert report.age_s == 0
            assert report.shards[0].oldest_unacked_s is None
            assert report.shards[0].behind_ms == 0

    run(scenario())


@pytest.mark.parametrize("jump_s", [-600.0, 600.0])
def test_a_read_that_hangs_is_seen_though_the_wall_clock_jumps(jump_s: float) -> None:
    async def scenario() -> None:
        kinesis, ahead_s, hanging = filled(10), 0.0, asyncio.Event()
        fetch = kinesis.get_records

        async def get_records(iterator: str, limit: int) -> StreamPage:
            if ahead_s:
                await hanging.wait()
            return await fetch(iterator, limit)

        kinesis.get_records = get_records  # type: ignore[method-assign]  # looks on, and hangs
        async with reading(kinesis, MemoryBackend(), now_s=lambda: wall_clock_s() + ahead_s) as engine:
            await read(engine, 10)
            await asyncio.sleep(3)
            assert engine.report().age_s == 0
            ahead_s = jump_s
            await asyncio.sleep(60)
            assert engine.report().age_s == pytest.approx(60, abs=2)

    run(scenario())
