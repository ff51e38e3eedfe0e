"""Several workers of one group: sharing, taking over, handing over; and a worker killed at every point."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from faust_kinesis import Batch, DynamoLeases, Engine
from faust_kinesis.client import StreamPage, StreamShard
from faust_kinesis.memory import MemoryBackend, MemoryKinesis
from faust_kinesis.virtual_time import run
from faust_kinesis_group import LEASE_S, CutOff, Ledger, engine_on, filled, work


def test_workers_tell_how_many_shards_somebody_should_hold_and_how_often_they_took_one() -> None:
    async def scenario() -> None:
        kinesis, backend = filled(40, shards=4), MemoryBackend()
        async with engine_on(kinesis, backend, "w1") as one:
            assert one.report()[3:] == (0, 0), "it has not looked yet"
            await asyncio.sleep(30)
            assert one.report()[3:] == (4, 4)
            async with engine_on(kinesis, backend, "w2") as two:
                await asyncio.sleep(60)
                assert two.report()[3:] == (4, 2)
                assert one.report()[3:] == (4, 4), "what it gave away it did not take"
            await asyncio.sleep(60)
            assert one.report()[3:] == (4, 6)

    run(scenario())


def test_two_workers_share_by_hand_over_and_nothing_is_applied_twice() -> None:
    async def scenario() -> None:
        kinesis, backend, ledger = filled(400, shards=4), MemoryBackend(), Ledger()
        async with engine_on(kinesis, backend, "w1") as one, engine_on(kinesis, backend, "w2") as two:
            works = [
                asyncio.create_task(work(engine, ledger, name, pause_s=0.5))
                for engine, name in ((one, "a"), (two, "b"))
            ]
            await asyncio.sleep(60)
            for number in range(400, 800):
                kinesis.put(b"%d" % number, partition_key=f"key{number % 13}")
            await asyncio.sleep(60)
            assert len(one.report().shards) == len(two.report().shards) == 2
            assert min(ledger.by_worker.values()) > 100
            ledger.check(800, once=True)
            for task in works:
                task.cancel()

    run(scenario())


def test_workers_that_share_evenly_leave_each_other_alone() -> None:
    async def scenario() -> None:
        kinesis, backend = filled(0, shards=3), MemoryBackend()
        async with engine_on(kinesis, backend, "w1"), engine_on(kinesis, backend, "w2"):
            await asyncio.sleep(30)
            terms = [lease.term for lease in await DynamoLeases(backend, "stream", "group", "x").list()]
            await asyncio.sleep(300)
            assert [lease.term for lease in await DynamoLeases(backend, "stream", "group", "x").list()] == terms

    run(scenario())


def test_a_hand_over_waits_for_the_running_batch() -> None:
    async def scenario() -> None:
        kinesis, backend, ledger = filled(100, shards=2), MemoryBackend(), Ledger()
        async with engine_on(kinesis, backend, "w1") as one:
            out: list[Batch] = []
            while len(out) < 2:
                out += await one.ready(timeout_s=5, limit=9)
            async with engine_on(kinesis, backend, "w2") as two:
                assert await two.ready(timeout_s=60, limit=9) == []
                for batch in out:
                    ledger.apply(batch)
                    await one.ack(batch)
                works = [asyncio.create_task(work(engine, ledger, name)) for engine, name in ((one, "a"), (two, "b"))]
                await asyncio.sleep(30)
                assert set(ledger.by_worker) == {"", "a", "b"}
                ledger.check(100, once=True)
                for task in works:
                    task.cancel()

    run(scenario())


def test_a_worker_that_stops_leaves_its_shards_to_the_others_at_once() -> None:
    async def scenario() -> None:
        kinesis, backend = filled(0, shards=2), MemoryBackend()
        async with engine_on(kinesis, backend, "w2") as two:
            async with engine_on(kinesis, backend, "w1") as one:
                await asyncio.sleep(20)
                assert len(one.report().shards) == 1
            await asyncio.sleep(2)
            assert len(two.report().shards) == 2

    run(scenario())


def test_renewal_does_not_wait_for_the_work_on_a_batch() -> None:
    async def scenario() -> None:
        kinesis, backend = filled(20, shards=1), MemoryBackend()
        async with engine_on(kinesis, backend, "w1") as one, engine_on(kinesis, backend, "w2") as two:
            (batch,) = await one.ready(timeout_s=5, limit=1) or await two.ready(timeout_s=5, limit=1)
            await asyncio.sleep(20 * LEASE_S)
            assert batch.is_live

    run(scenario())


def test_a_worker_that_starts_before_its_lease_table_answers_waits_for_it() -> None:
    async def scenario() -> None:
        cut = CutOff(MemoryBackend())
        cut.how = "fails"
        engine = engine_on(filled(10, shards=1), cut, "w1")
        starting = asyncio.create_task(engine.start())
        await asyncio.sleep(30)
        assert not starting.done()
        cut.how = "connected"
        await starting
        assert len(await engine.ready(timeout_s=5, limit=1)) == 1
        await engine.stop(grace_s=0)

    run(scenario())


def test_a_worker_of_a_hundred_shards_keeps_them_all() -> None:
    async def scenario() -> None:
        kinesis, backend, ledger = filled(1000, shards=100), MemoryBackend(), Ledger()
        async with engine_on(kinesis, backend, "w1") as engine:
            going = asyncio.create_task(work(engine, ledger, "w1"))
            await asyncio.sleep(60)
            ledger.check(1000, once=True)
            leases = await DynamoLeases(backend, "stream", "group", "x").list()
            assert {(lease.owner, lease.term) for lease in leases} == {("w1", 1)}
            going.cancel()

    run(scenario())


def test_a_restarted_worker_with_a_lasting_name_has_its_shards_back_at_once() -> None:
    async def scenario() -> None:
        kinesis, backend = filled(20, shards=2), MemoryBackend()
        cut = CutOff(backend)
        dead = engine_on(kinesis, cut, "pod-1")
        await dead.start()
        await asyncio.sleep(10)
        cut.how = "hangs"  # killed, as far as the table can see
        async with engine_on(kinesis, backend, "pod-1") as engine:
            await asyncio.sleep(1)
            assert len(engine.report().shards) == 2
        await dead.stop(grace_s=0)

    run(scenario())


def test_a_restarted_worker_with_a_new_name_waits_for_the_lease_to_expire() -> None:
    async def scenario() -> None:
        kinesis, backend = filled(20, shards=2), MemoryBackend()
        cut = CutOff(backend)
        dead = engine_on(kinesis, cut, "w1")
        await dead.start()
        await asyncio.sleep(10)
        cut.how = "hangs"
        async with engine_on(kinesis, backend, "w2") as engine:
            await asyncio.sleep(LEASE_S - 0.5)
            assert engine.report().shards == ()
            await asyncio.sleep(3)
            assert len(engine.report().shards) == 2
        await dead.stop(grace_s=0)

    run(scenario())


@pytest.mark.parametrize("seed", range(5))
def test_order_holds_through_splits_merges_and_workers_that_come_and_go(seed: int) -> None:
    async def scenario() -> None:
        chance = random.Random(seed)
        kinesis, backend, ledger = filled(0, shards=2), MemoryBackend(), Ledger()
        engines: list[tuple[Engine, CutOff, asyncio.Task[None]]] = []

        async def join(name: str) -> None:
            cut = CutOff(backend)
            engine = engine_on(kinesis, cut, name)
            await engine.start()
            engines.append((engine, cut, asyncio.create_task(work(engine, ledger, name, pause_s=chance.random()))))

        await join("w0")
        count = 0
        # A key keeps to one shard until it is closed: each key belongs to a shard of its own lineage.
        lineage = {key: kinesis.open_shards[key % 2] for key in range(8)}
        for step in range(1, 25):
            for _ in range(chance.randrange(60)):
                key = chance.randrange(8)
                kinesis.put(b"%d" % count, partition_key=f"key{key}", shard_id=lineage[key])
                count += 1
            event = chance.choice(["split", "merge", "join", "leave", "cut", "nothing", "nothing"])
            shards = sorted(set(lineage.values()))
            if event == "split":
                parent = chance.choice(shards)
                children = kinesis.split(parent)
                lineage = {key: children[key // 2 % 2] if shard == parent else shard for key, shard in lineage.items()}
            elif event == "merge" and len(shards) > 1:
                pair = chance.sample(shards, 2)
                child = kinesis.merge(*pair)
                lineage = {key: child if shard in pair else shard for key, shard in lineage.items()}
            elif event == "join":
                await join(f"w{step}")
            elif event == "leave" and len(engines) > 1:
                engine, _, task = engines.pop(0)
                await engine.stop()
                task.cancel()
            elif event == "cut":
                engines[-1][1].how = "fails"
            await asyncio.sleep(chance.random() * 10)
            engines[-1][1].how = "connected"
        await asyncio.sleep(120)
        ledger.check(count)
        assert count > 300
        for engine, _, task in engines:
            await engine.stop()
            task.cancel()

    run(scenario())


class Killed(Exception):
    """The process is gone."""


class Killing:
    """Passes calls on until the one at which the process dies, before or after the call takes effect."""

    def __init__(self, at: int, *, after_effect: bool) -> None:
        self.calls = 0
        self.at = at
        self.after_effect = after_effect
        self.died = asyncio.get_running_loop().create_future()

    async def call(self, effect: Callable[[], object]) -> object:
        self.calls += 1
        if self.calls == self.at and not self.after_effect:
            await self._die()
        result = await effect()  # type: ignore[misc] # every effect here is a coroutine
        if self.calls == self.at and self.after_effect:
            await self._die()
        return result

    async def _die(self) -> None:
        self.died.set_result(None)
        await asyncio.get_running_loop().create_future()  # nothing of this process runs any more


class Dying:
    """Client and lease backend of a process that dies at a given call."""

    def __init__(self, kinesis: MemoryKinesis, backend: MemoryBackend, killing: Killing) -> None:
        self.kinesis, self.backend, self.killing = kinesis, backend, killing

    def __getattr__(self, name: str) -> Callable[..., object]:
        target = getattr(self.kinesis, name, None) or getattr(self.backend, name)

        async def call(*args: object, **named: object) -> object:
            return await self.killing.call(lambda: target(*args, **named))

        return call


@pytest.mark.parametrize("after_effect", [False, True], ids=["before", "after"])
def test_rule_11_killed_at_any_call_to_the_outside_nothing_is_lost_and_order_holds(after_effect: bool) -> None:
    """One worker, a split in the middle; it dies at its n-th call, for every n, and another goes on."""
    deaths = 0

    async def scenario(at: int) -> bool:
        nonlocal deaths
        kinesis, backend, ledger = filled(30, shards=1), MemoryBackend(), Ledger()
        (parent,) = kinesis.open_shards
        left, right = kinesis.split(parent)
        for number in range(30, 60):
            key = number % 13
            kinesis.put(b"%d" % number, partition_key=f"key{key}", shard_id=(left, right)[key % 2])
        killing = Killing(at, after_effect=after_effect)
        dying = Dying(kinesis, backend, killing)
        first = engine_on(dying, dying, "w1", cycle_s=0.5)

        async def live() -> None:
            await first.start()
            await work(first, ledger, "first", pause_s=0.3)

        life = asyncio.create_task(live())
        await asyncio.wait([life, killing.died], timeout=7, return_when=asyncio.FIRST_COMPLETED)
        life.cancel()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        died = killing.died.done()
        deaths += died
        async with engine_on(kinesis, backend, "w2", poll_interval_s=3.0) as second:
            going = asyncio.create_task(work(second, ledger, "second"))
            await asyncio.sleep(20)
            ledger.check(60)
            going.cancel()
        return died

    at = 1
    while run(scenario(at)):
        at += 1
    assert deaths > 60


def test_the_check_for_lost_records_can_fail() -> None:
    ledger = Ledger()
    ledger.applied = [("a", 0), ("a", 2), ("a", 1)]
    with pytest.raises(AssertionError, match="out of order"):
        ledger.check(3)
    ledger.applied = [("a", 0), ("a", 2)]
    with pytest.raises(AssertionError):
        ledger.check(3)


def test_the_fakes_speak_the_clients_types() -> None:
    async def scenario() -> None:
        kinesis = filled(1, shards=1)
        (shard,) = await kinesis.list_shards("stream")
        page = await kinesis.get_records(await kinesis.shard_iterator("stream", shard.shard_id), 5)
        assert isinstance(shard, StreamShard)
        assert isinstance(page, StreamPage)

    run(scenario())
