"""A worker that is cut off, frozen or late: what it may still do, and when another takes over."""

from __future__ import annotations

import asyncio

import pytest

from faust_kinesis import Batch, DynamoLeases, LeaseLost, Progress
from faust_kinesis.memory import MemoryBackend
from faust_kinesis.virtual_time import freeze, run
from faust_kinesis_group import LEASE_S, CutOff, Ledger, engine_on, filled, work


@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_a_worker_cut_off_stops_before_another_takes_over(how: str) -> None:
    async def scenario() -> None:
        kinesis, backend = filled(100, shards=1), MemoryBackend()
        cut = CutOff(backend)
        one, two = engine_on(kinesis, cut, "w1"), engine_on(kinesis, backend, "w2")
        await one.start()
        (batch,) = await one.ready(timeout_s=5, limit=1)
        await two.start()
        await asyncio.sleep(20)
        cut.how = how
        begun = asyncio.get_running_loop().time()
        stopped_at = taken_at = 0.0
        while not taken_at:
            now = asyncio.get_running_loop().time()
            if not stopped_at and not batch.is_live:
                stopped_at = now
            if two.report().shards:
                taken_at = now
            await asyncio.sleep(0.01)
        assert 0 < stopped_at - begun < LEASE_S
        assert stopped_at < taken_at < begun + 2 * LEASE_S + 2
        with pytest.raises(LeaseLost):
            await one.ack(batch)
        await one.stop(grace_s=0)
        await two.stop()

    run(scenario())


def test_writes_whose_answer_was_lost_each_have_a_beat_of_their_own() -> None:
    """Else one that arrives late could undo a later one without the lease looking moved."""

    async def scenario() -> None:
        cut = CutOff(MemoryBackend())
        async with engine_on(filled(10, shards=1), cut, "w1"):
            await asyncio.sleep(3)
            cut.how = "applies, but the answer is lost"
            await asyncio.sleep(3.5)
            cut.how = "connected"
            await asyncio.sleep(5)
            assert len(cut.beats) > 6
            assert len(set(cut.beats)) == len(cut.beats)

    run(scenario())


def test_a_frozen_worker_sees_by_its_own_clock_that_its_time_is_over() -> None:
    """Before any timer has fired, and before it asks anybody: the first thing it does may be the ack."""

    async def scenario() -> None:
        async with engine_on(filled(100, shards=2), MemoryBackend(), "w1") as engine:
            (batch,) = await engine.ready(timeout_s=5, limit=1)
            await asyncio.sleep(5)
            freeze(LEASE_S)
            with pytest.raises(LeaseLost):
                await engine.ack(batch)

    run(scenario())


def test_a_frozen_worker_gives_out_nothing_when_it_wakes_up() -> None:
    async def scenario() -> None:
        async with engine_on(filled(100, shards=2), MemoryBackend(), "w1") as engine:
            await asyncio.sleep(5)
            freeze(LEASE_S)
            assert engine._take_ready(9) == []

    run(scenario())


def test_a_worker_that_wakes_up_after_its_successor_can_not_overwrite_the_checkpoint() -> None:
    async def scenario() -> None:
        kinesis, backend = filled(100, shards=1), MemoryBackend()
        cut = CutOff(backend)
        one, two = engine_on(kinesis, cut, "w1"), engine_on(kinesis, backend, "w2")
        await one.start()
        (batch,) = await one.ready(timeout_s=5, limit=1)
        cut.how = "hangs"
        await two.start()
        (again,) = await two.ready(timeout_s=60, limit=1)
        assert list(again) == list(batch)
        await two.ack(again, durable=True)
        (after,) = await two.ready(timeout_s=5, limit=1)
        await two.ack(after, durable=True)
        cut.how = "connected"
        with pytest.raises(LeaseLost):
            await one.ack(batch, durable=True)
        await one.stop(grace_s=0)
        await two.stop()
        (lease,) = await DynamoLeases(backend, "stream", "group", "x").list()
        assert lease.checkpoint == after.records[-1].sequence_number

    run(scenario())


def test_a_shard_at_its_end_is_handed_over_with_what_was_read_ahead_and_never_called_done() -> None:
    async def scenario() -> None:
        kinesis, backend, ledger = filled(100, shards=2), MemoryBackend(), Ledger()
        for shard_id in kinesis.open_shards:
            kinesis.split(shard_id)
        async with engine_on(kinesis, backend, "w1", prefetch=9) as one, engine_on(kinesis, backend, "w2") as two:
            out: list[Batch] = []
            while len(out) < 2:
                out += await one.ready(timeout_s=5, limit=9)
            await asyncio.sleep(30)  # read to the end, and asked for by the other worker
            for batch in out:
                ledger.apply(batch)
                await one.ack(batch)
                await asyncio.sleep(5)
            works = [asyncio.create_task(work(engine, ledger, name)) for engine, name in ((one, "a"), (two, "b"))]
            await asyncio.sleep(30)
            ledger.check(100, once=True)
            assert ledger.by_worker["b"] > 30
            for task in works:
                task.cancel()

    run(scenario())


def test_a_write_of_an_earlier_term_is_refused_by_the_lease_itself() -> None:
    async def scenario() -> None:
        backend = MemoryBackend()
        zombie = DynamoLeases(backend, "stream", "group", "w1")
        successor = DynamoLeases(backend, "stream", "group", "w1")  # even one of the same name
        await zombie.create("shard", ())
        (lease,) = await zombie.list()
        first = await zombie.take(lease)
        assert first is not None
        (lease,) = await successor.list()
        second = await successor.take(lease)
        assert second is not None
        assert second.term == first.term + 1
        assert await zombie.renew(first, Progress("old")) is None
        assert not await zombie.release(first, Progress("old"))
        assert not await zombie.hand_over(first, Progress("old"), "w9")
        (lease,) = await successor.list()
        assert (lease.owner, lease.checkpoint) == ("w1", None)

    run(scenario())


def test_a_shard_lost_while_a_batch_is_in_work_is_not_retaken_before_that_is_over() -> None:
    """Else two batches of one shard would be in progress in one process, and their order would be chance."""

    async def scenario() -> None:
        kinesis, backend = filled(100, shards=1), MemoryBackend()
        cut = CutOff(backend)
        async with engine_on(kinesis, cut, "w1") as engine:
            (batch,) = await engine.ready(timeout_s=5, limit=1)
            cut.how = "fails"
            await asyncio.sleep(2 * LEASE_S)
            assert not batch.is_live
            cut.how = "connected"
            assert await engine.ready(timeout_s=60, limit=1) == []
            with pytest.raises(LeaseLost):
                await engine.ack(batch)
            (again,) = await engine.ready(timeout_s=10, limit=1)
            assert list(again) == list(batch)

    run(scenario())
