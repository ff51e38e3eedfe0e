"""A member of a plain migration: when it may write, and when it has acknowledged a seal."""

from __future__ import annotations

import asyncio

import pytest

from crossfade.adapters.memory.owning import MemoryMembers, MemoryOwnerMaps, OwningStore
from crossfade.application.membership import Membership
from crossfade.core.protocol.plain.map import OwnerMap, drained_from, first_map, opened_from, sealed_from
from crossfade.core.protocol.plain.members import Member
from crossfade.core.values.errors import StoreUnavailable

LEASE_S = 12.0
SIGNATURE_S = 900.0
FIRST = first_map(1_764_230_400_000_000)
DRAINING = drained_from(FIRST)
SEALED = sealed_from(DRAINING)


class Time:
    """A process's clocks, set by hand; it never sleeps."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def wall_us(self) -> int:
        return 0

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"it would sleep {seconds} s")


class Lost(MemoryMembers):
    """The list, which may be out of reach."""

    lost = False

    async def beat(self, name: str, duty: str, *, acked: int, unanswered_s: float) -> None:
        if self.lost:
            raise StoreUnavailable("no answer")
        await super().beat(name, duty, acked=acked, unanswered_s=unanswered_s)


class Bench:
    """One member, its stores, and a watcher."""

    def __init__(self, owner_map: OwnerMap | None = FIRST) -> None:
        self.store = OwningStore(owner_map)
        self.time = Time()
        self.list = Lost(self.store, lease_s=LEASE_S, monotonic=self.time.monotonic)
        self.member = Membership(
            MemoryOwnerMaps(self.store),
            self.list,
            clock=self.time,
            name="a",
            duty="forward",
            lease_s=LEASE_S,
            signature_s=SIGNATURE_S,
        )

    async def seen(self) -> Member | None:
        found = await MemoryMembers(self.store, lease_s=LEASE_S).all()
        return found[0] if found else None

    async def acked(self) -> int:
        found = await self.seen()
        return found.acked if found else 0

    async def begins(self) -> asyncio.Task[OwnerMap]:
        """Begin work, as far as it comes without anybody else."""

        async def work() -> OwnerMap:
            async with self.member.working() as view:
                return view

        task = asyncio.create_task(work())
        for _ in range(5):
            await asyncio.sleep(0)
        return task


async def test_it_registers_before_it_reads_the_map() -> None:
    bench = Bench()
    task = await bench.begins()
    assert not task.done(), "nobody knows of it yet"
    await bench.member.beat()
    assert await bench.seen() is not None
    assert await task == FIRST


async def test_a_list_that_is_out_of_reach_at_the_start_lets_nothing_begin() -> None:
    bench = Bench()
    bench.list.lost = True
    with pytest.raises(StoreUnavailable):
        await bench.member.beat()
    task = await bench.begins()
    assert not task.done()
    task.cancel()


async def test_nothing_begins_before_there_is_a_map() -> None:
    bench = Bench(None)
    await bench.member.beat()
    task = await bench.begins()
    assert not task.done()
    bench.store.owner_map = FIRST
    await bench.member.beat()
    assert await task == FIRST


async def test_a_seal_is_acknowledged_when_nothing_is_at_work_any_more() -> None:
    bench = Bench()
    await bench.member.beat()
    async with bench.member.working():
        bench.store.owner_map = SEALED
        await bench.member.beat()
        assert await bench.acked() == 0
    await bench.member.beat()
    assert await bench.acked() == SEALED.epoch


async def test_in_a_sealed_map_nothing_begins_until_one_is_open() -> None:
    bench = Bench(SEALED)
    await bench.member.beat()
    task = await bench.begins()
    assert not task.done()
    bench.store.owner_map = opened_from(SEALED)
    await bench.member.beat()
    assert await task == opened_from(SEALED)


async def test_while_the_application_is_held_it_works_on() -> None:
    bench = Bench(DRAINING)
    await bench.member.beat()
    assert await (await bench.begins()) == DRAINING
    assert await bench.acked() == 0


async def test_a_later_seal_needs_an_acknowledgement_of_its_own() -> None:
    bench = Bench(SEALED)
    await bench.member.beat()
    again = sealed_from(drained_from(opened_from(SEALED)))
    bench.store.owner_map = again
    await bench.member.beat()
    assert await bench.acked() == again.epoch


async def test_a_view_never_goes_back() -> None:
    bench = Bench(SEALED)
    await bench.member.beat()
    bench.store.owner_map = FIRST
    await bench.member.beat()
    assert bench.member.view == SEALED


async def test_no_request_is_signed_once_its_word_may_not_count() -> None:
    """Others call it dead after a whole lease; it stops before, so that none is signed in between."""
    bench = Bench()
    await bench.member.beat()
    bench.member.check()
    bench.list.lost = True
    bench.time.now_s += LEASE_S * 0.7
    with pytest.raises(StoreUnavailable, match="list of members"):
        bench.member.check()
    task = await bench.begins()
    assert not task.done()
    bench.list.lost = False
    await bench.member.beat()
    bench.member.check()
    assert await task == FIRST


async def test_a_beat_counts_from_when_it_was_sent() -> None:
    bench = Bench()
    beat = bench.list.beat

    async def slow(name: str, duty: str, *, acked: int, unanswered_s: float) -> None:
        await beat(name, duty, acked=acked, unanswered_s=unanswered_s)
        bench.time.now_s += LEASE_S * 0.7

    bench.list.beat = slow  # type: ignore[method-assign]  # the answer takes long, this once
    await bench.member.beat()
    with pytest.raises(StoreUnavailable):
        bench.member.check()


async def test_a_request_without_an_answer_is_told_until_it_can_no_longer_take_effect() -> None:
    bench = Bench()
    await bench.member.beat()
    bench.member.outcome_unknown()
    bench.time.now_s += 30
    await bench.member.beat()
    found = await bench.seen()
    assert found is not None
    assert found.unanswered_s == 30
    bench.time.now_s += SIGNATURE_S - 30
    await bench.member.beat()
    found = await bench.seen()
    assert found is not None
    assert found.unanswered_s == 0


async def test_who_leaves_is_no_member_unless_a_request_has_no_answer() -> None:
    bench = Bench()
    await bench.member.beat()
    await bench.member.leave()
    assert await bench.seen() is None
    with pytest.raises(StoreUnavailable):
        bench.member.check()
    await bench.member.beat()
    bench.member.outcome_unknown()
    await bench.member.leave()
    assert await bench.seen() is not None
