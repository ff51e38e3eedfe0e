"""Repair of a plain migration: the owner's content, under the fence that was seen, by a member, in an open map."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.owning import MemoryMembers, MemoryTombstones, OwningStore
from crossfade.adapters.memory.plain_table import MemoryPlainTable
from crossfade.application.membership import Membership
from crossfade.contracts.repairs import RepairStep
from crossfade.core.parity.classes import Difference
from crossfade.core.protocol.plain.map import drained_from, opened_from, sealed_from
from crossfade.core.values.image import Image, of_string
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.owning import View
from crossfade_verifier.plain_repair import Member, PlainRepairer
from crossfade_verifier.repair import described
from plain_world import PlainWorld, fence_of
from verifier_world import wallet

KEY = wallet(2)
SIDES = pytest.mark.parametrize("owner", Side, ids=lambda side: f"{side.value} owns")


class Counted:
    keys = 0

    @contextmanager
    def repairing(self, keys: int) -> Iterator[None]:
        self.keys += keys
        yield


class Bench:
    """A repairer over a world."""

    def __init__(self, owner: Side = Side.SOURCE) -> None:
        self.world = PlainWorld(5)
        if owner is Side.TARGET:
            self.world.flip()
            for number in range(5):
                self.world.write(wallet(number), number)
                self.world.copy(wallet(number))
        self.owner, self.clock = owner, MemoryClock(self.world.clock.wall_us())
        self.store = OwningStore(self.world.map)
        membership = Membership(
            self.world.maps,
            MemoryMembers(self.store),
            clock=self.clock,
            name="repair-1",
            duty="repair",
            lease_s=10.0,
            signature_s=900.0,
        )
        tables = {side: MemoryPlainTable(table) for side, table in self.world.tables.items()}
        member = Member(membership, tables, MemoryTombstones(self.store))
        self.repairer = PlainRepairer(self.world.both(), member, Counted(), clock=self.clock)

    @property
    def standby(self) -> dict[Key, Image]:
        return self.world.tables[self.owner.other].images

    async def planned(self) -> RepairStep:
        (step,) = await self.repairer.plan([KEY])
        return described(step, 1)

    async def carry_out(self, step: RepairStep, *, again: int = 0) -> str:
        (outcome,) = await self.repairer.carry_out([step], now_us=1, again=again)
        return outcome

    async def repair(self) -> str:
        return await self.carry_out(await self.planned())


@SIDES
async def test_what_differs_is_put_as_its_owner_has_it_one_digit_above_the_fence_that_was_seen(owner: Side) -> None:
    bench = Bench(owner)
    seen = fence_of(bench.standby[KEY])
    bench.world.sets(owner.other, KEY, tier=of_string("x"))
    assert await bench.repair() == "repaired"
    assert fence_of(bench.standby[KEY]) == seen + 1
    assert (await bench.world.sweep()).clean


@SIDES
async def test_an_extra_becomes_a_tombstone_that_is_listed(owner: Side) -> None:
    bench = Bench(owner)
    bench.world.tables[owner].delete(KEY)
    step = await bench.planned()
    assert step.found == Difference.EXTRA.value
    assert await bench.carry_out(step) == "repaired"
    assert "cf_deleted" in bench.standby[KEY]
    assert KEY in bench.store.tombstones[owner.other]
    assert (await bench.world.sweep()).clean


async def test_a_missing_row_of_the_first_turn_is_put_below_every_record_that_may_still_come() -> None:
    bench = Bench()
    bench.world.tables[Side.TARGET].delete(KEY)
    assert await bench.repair() == "repaired"
    assert fence_of(bench.standby[KEY]) == 1
    bench.world.write(KEY, 100)
    bench.world.copy(KEY)
    assert (await bench.world.sweep()).clean


async def test_after_a_flip_a_row_without_a_fence_of_this_turn_is_never_overwritten() -> None:
    """It may be the only copy of a write that no record carried."""
    bench = Bench(Side.TARGET)
    bench.world.sets(Side.SOURCE, KEY, tier=of_string("missed"), cf_mv=None)
    step = await bench.planned()
    assert not step.writes
    assert "only copy of a write" in step.why
    assert "can't" in await bench.carry_out(step)
    assert bench.standby[KEY]["tier"] == of_string("missed")


async def test_a_copy_that_came_since_the_plan_wins() -> None:
    bench = Bench()
    bench.world.sets(Side.TARGET, KEY, tier=of_string("x"))
    step = await bench.planned()
    bench.world.write(KEY, 7)
    bench.world.copy(KEY)
    assert await bench.carry_out(step) == "already right"


async def test_around_a_flip_nothing_is_planned_and_nothing_is_written() -> None:
    bench = Bench()
    bench.world.sets(Side.TARGET, KEY, tier=of_string("x"))
    step = await bench.planned()
    assert step.writes
    bench.world.maps.now = drained_from(bench.world.map)
    assert (await bench.planned()).why == "the map is draining at epoch 2: a flip is under way"
    assert (await bench.carry_out(step)).startswith("refused: ")
    bench.world.maps.now = opened_from(bench.world.map)
    assert bench.standby[KEY]["tier"] == of_string("x")


async def test_an_attempt_at_a_flip_between_the_last_look_and_the_write_stops_it() -> None:
    bench = Bench()
    bench.world.sets(Side.TARGET, KEY, tier=of_string("x"))
    step = await bench.planned()
    both, membership = bench.repairer._both, bench.repairer._member.membership
    look, looks = both.look, 0

    async def looked() -> View:
        nonlocal looks
        looks += 1
        found = await look()
        if looks == 3:  # two of the plan's, and the one before the write
            bench.world.maps.now = opened_from(sealed_from(drained_from(bench.world.map)))
            await membership.look()
        return found

    both.look = looked  # type: ignore[method-assign]
    assert await bench.carry_out(step) == "refused: the map is open at epoch 4 by now: plan again"
    assert bench.standby[KEY]["tier"] == of_string("x")


async def test_it_is_a_member_while_it_writes_and_none_afterwards() -> None:
    bench = Bench()
    bench.world.sets(Side.TARGET, KEY, tier=of_string("x"))
    seen: list[list[str]] = []
    tables = bench.repairer._member.tables
    put = tables[Side.TARGET].put

    async def watched(image: Image, *, met: Image | None) -> bool:
        members = await MemoryMembers(bench.store).all()
        seen.append([each.duty for each in members])
        return await put(image, met=met)

    tables[Side.TARGET].put = watched  # type: ignore[method-assign]
    assert await bench.repair() == "repaired"
    assert seen == [["repair"]]
    assert await MemoryMembers(bench.store).all() == []
