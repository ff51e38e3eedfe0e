"""Several workers of one group: sharing, taking over, handing over; and a worker killed at every point."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Mapping

import pytest

from faust_kinesis import Batch, DynamoLeases, Engine, LeaseLost, Options, Progress, ServiceError
from faust_kinesis.client import StreamPage, StreamShard
from faust_kinesis.leases import Value
from faust_kinesis.memory import MemoryBackend, MemoryKinesis
from faust_kinesis.virtual_time import freeze, run, wall_clock_s

LEASE_S = 6.0


def engine_on(kinesis: object, backend: object, worker: str, **changes: object) -> Engine:
    settings = Options(**{"fetch_limit": 10, "worker_id": worker, "lease_s": LEASE_S, **changes})  # type: ignore[arg-type] # checked at run time
    leases = DynamoLeases(backend, "stream", "group", worker)  # type: ignore[arg-type] # fakes with faults
    return Engine(kinesis, leases, "stream", settings, now_s=wall_clock_s)  # type: ignore[arg-type] # fakes with faults


def filled(count: int, *, shards: int) -> MemoryKinesis:
    kinesis = MemoryKinesis(shards=shards, now_s=wall_clock_s)
    for number in range(count):
        kinesis.put(b"%d" % number, partition_key=f"key{number % 13}")
    return kinesis


class CutOff:
    """A lease table that a worker can be cut off from: its calls fail, or never come back."""

    def __init__(self, backend: MemoryBackend) -> None:
        self.backend = backend
        self.how: str = "connected"
        self.beats: list[Value] = []

    async def items(self, pk: str) -> list[dict[str, Value]]:
        await self._reach()
        return await self.backend.items(pk)

    async def add(self, pk: str, sk: str, put: Mapping[str, Value]) -> bool:
        await self._reach()
        return await self.backend.add(pk, sk, put)

    async def swap(self, pk: str, sk: str, expect: Mapping[str, Value | None], put: Mapping[str, Value | None]) -> bool:
        await self._reach()
        swapped = await self.backend.swap(pk, sk, expect, put)
        self.beats.append(self.backend.tables[pk][sk]["beat"])
        if self.how == "applies, but the answer is lost":
            raise ServiceError("no answer", reason="ServiceUnavailable", retryable=True)
        return swapped

    async def _reach(self) -> None:
        if self.how == "hangs":
            await asyncio.get_running_loop().create_future()
        if self.how == "fails":
            raise ServiceError("no route", reason="ServiceUnavailable", retryable=True)


class Ledger:
    """What workers have applied, per key and in order."""

    def __init__(self) -> None:
        self.applied: list[tuple[str, int]] = []
        self.by_worker: defaultdict[str, int] = defaultdict(int)

    def apply(self, batch: Batch, worker: str = "") -> None:
        for record in batch:
            self.applied.append((record.partition_key, int(record.data)))
            self.by_worker[worker] += 1

    def check(self, count: int, *, once: bool = False) -> None:
        """Every record was applied, and for each key the last application of each is in order."""
        if once:
            assert len(self.applied) == count
        assert {number for _, number in self.applied} == set(range(count))
        firsts: defaultdict[str, list[int]] = defaultdict(list)
        for key, number in self.applied:
            if number not in firsts[key]:
                firsts[key].append(number)
        for key, order in firsts.items():
            assert order == sorted(order), f"{key} was applied out of order"


async def work(engine: Engine, ledger: Ledger, worker: str, pause_s: float = 0.0) -> None:
    async for batch in engine.batches():
        ledger.apply(batch, worker)
        await asyncio.sleep(pause_s)
        try:
            await engine.ack(batch)
        except LeaseLost:
            continue


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


def test_a_hand_over_waits_for_the_batch_in_work() -> None:
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
    """Else two batches of one shard would be in work in one process, and their order would be chance."""

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
