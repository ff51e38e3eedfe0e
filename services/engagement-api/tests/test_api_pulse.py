"""The heartbeat permits owner writes: they stop before the word expires, and go on when it counts again."""

from __future__ import annotations

import asyncio

import pytest

from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.control import ControlStore, MemoryHeartbeats
from crossfade.adapters.memory.flags import MemoryFlags
from crossfade.application.epochs import Epochs
from crossfade.application.pulse import Pulse
from crossfade.contracts.heartbeat import Heartbeat
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import StateMissing, StoreUnavailable, Unavailable

SHARED = FlagDocument(share=100, target_gen=1)


class Store(MemoryHeartbeats):
    """A heartbeat table that can be out of reach, or not there, or slow on a test's clock."""

    def __init__(self, store: ControlStore, clock: MemoryClock) -> None:
        super().__init__(store, monotonic=clock.monotonic)
        self.error: Exception | None = None
        self.takes_s = 0.0
        self._clock = clock

    async def beat(self, heartbeat: Heartbeat) -> None:
        self._clock.pass_s(self.takes_s)
        if self.error:
            raise self.error
        await super().beat(heartbeat)


class Pod:
    def __init__(self, document: FlagDocument = SHARED) -> None:
        self.clock = MemoryClock(1_000_000_000)
        self.flags = MemoryFlags(document)
        self.epochs = Epochs(self.flags)
        self.store = Store(ControlStore(), self.clock)
        self.pulse = Pulse(self.store, self.epochs, clock=self.clock, pod="pod-1", lease_s=9.0, longest_operation_s=3.0)


async def test_section_4_owner_writes_stop_one_operation_before_the_lease_ends() -> None:
    pod = Pod()
    assert await pod.pulse.beat()
    pod.store.error = StoreUnavailable("no answer")
    pod.clock.pass_s(5.9)
    assert not await pod.pulse.beat()
    pod.pulse.check()
    pod.clock.pass_s(0.1)
    with pytest.raises(Unavailable) as refused:
        pod.pulse.check()
    assert refused.value.retry_after_s is not None
    [word] = await pod.store.all()
    assert not word.expired  # the word still counts, and no operation can outlive it


async def test_section_4_owner_writes_go_on_when_the_pod_can_renew_and_with_the_flags_of_now() -> None:
    pod = Pod()
    await pod.pulse.beat()
    pod.clock.pass_s(60)
    assert not pod.pulse.counted
    moved = FlagDocument(share=5000, target_gen=1)
    await pod.flags.publish(moved, dual_write=True)
    assert await pod.pulse.beat()
    pod.pulse.check()
    assert pod.epochs.current.document == moved
    [word] = await pod.store.all()
    assert (word.document, word.dual_write) == (moved, True)


async def test_a_beat_counts_from_when_it_was_sent() -> None:
    pod = Pod()
    pod.store.takes_s = 4.0
    await pod.pulse.beat()
    pod.clock.pass_s(1.9)
    assert pod.pulse.counted
    pod.clock.pass_s(0.1)
    assert not pod.pulse.counted


async def test_no_owner_write_before_the_first_beat() -> None:
    pod = Pod()
    with pytest.raises(Unavailable):
        pod.pulse.check()


async def test_section_4_the_word_is_the_document_that_running_operations_began_under() -> None:
    pod = Pod()
    running = pod.epochs.begin()
    moved = FlagDocument(share=5000, target_gen=1)
    await pod.flags.publish(moved, dual_write=False)
    pod.epochs.look()
    await pod.pulse.beat()
    [word] = await pod.store.all()
    assert word.document == SHARED
    pod.epochs.end(running)
    await pod.pulse.beat()
    [word] = await pod.store.all()
    assert word.document == moved


async def test_the_pod_beats_as_soon_as_a_new_document_has_settled() -> None:
    pod = Pod()
    await pod.pulse.beat()
    beating = asyncio.create_task(pod.pulse.run())
    await asyncio.sleep(0)
    moved = FlagDocument(share=5000, target_gen=1)
    await pod.flags.publish(moved, dual_write=False)
    pod.epochs.look()
    for _ in range(20):
        await asyncio.sleep(0)
    beating.cancel()
    [word] = await pod.store.all()
    assert word.document == moved


async def test_a_pod_that_leaves_is_no_longer_counted_and_writes_nothing() -> None:
    pod = Pod()
    await pod.pulse.beat()
    await pod.pulse.leave()
    assert await pod.store.all() == []
    assert not pod.pulse.counted


NO_TABLE = StateMissing("no such table")


async def test_before_any_migration_there_is_no_control_table_and_writes_are_free() -> None:
    pod = Pod(FlagDocument())
    pod.store.error = NO_TABLE
    await pod.pulse.beat()
    pod.pulse.check()


async def test_once_the_flags_show_a_migration_a_missing_table_stops_owner_writes() -> None:
    pod = Pod(FlagDocument())
    pod.store.error = NO_TABLE
    await pod.pulse.beat()
    await pod.flags.publish(SHARED, dual_write=False)
    pod.epochs.look()
    with pytest.raises(Unavailable):
        pod.pulse.check()


async def test_a_store_that_is_only_out_of_reach_is_no_reason_to_write_freely() -> None:
    pod = Pod(FlagDocument())
    pod.store.error = StoreUnavailable("no answer")
    await pod.pulse.beat()
    with pytest.raises(Unavailable):
        pod.pulse.check()
