"""Repair goes through the fence, only when told to, and counts only after a later clean pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from crossfade.adapters.memory.clock import MemoryClock
from crossfade.contracts.repairs import RepairStep
from crossfade.core.parity.classes import Difference
from crossfade.core.protocol.keyed.item import Role, version_of
from crossfade.core.protocol.keyed.writes import Bury, Lift
from crossfade.core.protocol.seam import Act
from crossfade.core.values.shape import Side
from crossfade_verifier.both import BothTables
from crossfade_verifier.repair import Repairer, Step, described
from engagement_api.operations import Kind
from engagement_migration import MAPPING
from engagement_migration.samples import NOT_OURS, legacy_wallet
from verifier_world import World, wallet

NOW_US = 1_764_230_400_000_000
WALLETS = 4
KEY = wallet(2)
REPAIRABLE = (Difference.STUCK, Difference.DIVERGED, Difference.MISSING, Difference.EXTRA, Difference.AHEAD)


class Counted:
    """Stands for the passes: what they hear about repairs."""

    def __init__(self) -> None:
        self.keys = 0

    @contextmanager
    def repairing(self, keys: int) -> Iterator[None]:
        self.keys += keys
        yield


class Bench:
    def __init__(self) -> None:
        self.world = World(WALLETS)
        self.counted = Counted()
        both = BothTables(MAPPING, self.world.tables[Side.SOURCE], self.world.tables[Side.TARGET])
        transfers = {side: self.world.tables[side] for side in Side}
        self.complete = False
        self.repairer = Repairer(
            both, dict(transfers), self.counted, clock=MemoryClock(NOW_US), complete=lambda: self.complete
        )

    async def step(self) -> Step:
        (step,) = await self.repairer.plan([KEY])
        return step

    async def planned(self) -> RepairStep:
        return described(await self.step(), 1)

    async def carry_out(self, step: RepairStep, *, again: int = 0) -> str:
        (outcome,) = await self.repairer.carry_out([step], now_us=NOW_US, again=again)
        return outcome

    async def repair(self) -> str:
        return await self.carry_out(await self.planned())


@pytest.mark.parametrize("fault", REPAIRABLE, ids=str)
async def test_each_repairable_fault_is_planned_by_its_class_and_planning_writes_nothing(fault: Difference) -> None:
    bench = Bench()
    bench.world.plant(fault, KEY)
    before = [dict(bench.world.tables[side].images) for side in Side]
    step = await bench.planned()
    assert (step.found, step.writes) == (fault.value, True)
    assert [bench.world.tables[side].images for side in Side] == before
    assert bench.counted.keys == 0


@pytest.mark.parametrize("fault", REPAIRABLE, ids=str)
async def test_a_repair_leaves_the_next_pass_clean(fault: Difference) -> None:
    bench = Bench()
    bench.world.plant(fault, KEY)
    assert await bench.repair() == "repaired"
    bench.world.copy(KEY)  # a lifted owner comes down the stream like any other write
    assert (await bench.world.sweep()).clean
    assert bench.counted.keys == 1


async def test_ahead_lifts_the_owner_above_its_standby_and_touches_nothing_else() -> None:
    bench = Bench()
    bench.world.plant(Difference.AHEAD, KEY)
    standby = version_of(bench.world.item(Side.TARGET, KEY))
    owner = bench.world.item(Side.SOURCE, KEY)
    step = await bench.step()
    assert isinstance(step.write, Act)
    assert isinstance(step.write.write, Lift)
    assert step.side is Side.SOURCE
    await bench.repair()
    assert owner is not None
    assert bench.world.item(Side.SOURCE, KEY) == owner._replace(version=standby + 1)


async def test_the_owners_image_goes_over_at_its_own_version_and_keeps_role_and_generation_there() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)
    owner = bench.world.item(Side.SOURCE, KEY)
    await bench.repair()
    standby = bench.world.item(Side.TARGET, KEY)
    assert owner is not None
    assert standby is not None
    assert (standby.version, standby.role, standby.generation) == (owner.version, Role.STANDBY, 0)
    assert standby.recent == owner.recent
    assert standby.event_version == owner.event_version


async def test_a_missing_source_row_comes_back_as_standby_with_its_owners_generation() -> None:
    bench = Bench()
    bench.world.hand_over(KEY, 4)
    bench.world.copy(KEY)
    bench.world.tables[Side.SOURCE].delete(KEY)
    assert await bench.repair() == "repaired"
    row = bench.world.item(Side.SOURCE, KEY)
    assert row is not None
    assert (row.role, row.generation) == (Role.STANDBY, 4)
    assert (await bench.world.sweep()).clean


async def test_an_extra_becomes_a_tombstone_one_version_up() -> None:
    bench = Bench()
    bench.world.plant(Difference.EXTRA, KEY)
    seen = version_of(bench.world.item(Side.TARGET, KEY))
    step = await bench.step()
    assert step.write == Act(Bury(KEY, seen, seen + 1), seen + 1)
    assert step.side is Side.TARGET
    await bench.repair()
    row = bench.world.item(Side.TARGET, KEY)
    assert row is not None
    assert row.deleted
    assert row.version == seen + 1


async def test_a_delete_that_did_not_arrive_is_repaired_by_its_tombstone() -> None:
    bench = Bench()
    bench.world.operate(KEY, Kind.DELETE, 0)
    assert await bench.repair() == "repaired"
    row = bench.world.item(Side.TARGET, KEY)
    assert row is not None
    assert row.deleted


async def test_a_key_that_was_handed_over_after_the_plan_is_refused() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)
    step = await bench.planned()
    bench.world.hand_over(KEY, 2)
    before = bench.world.item(Side.TARGET, KEY)
    outcome = await bench.carry_out(step)
    assert outcome.startswith("refused: changed since the plan: source had a row of version ")
    assert "active at generation 0" in outcome
    assert "standby at generation 2" in outcome
    assert bench.world.item(Side.TARGET, KEY) == before


async def test_a_standby_that_got_on_after_the_plan_is_not_set_back() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)
    step = await bench.planned()
    bench.world.earn(KEY, 1)
    bench.world.copy(KEY)
    before = bench.world.item(Side.TARGET, KEY)
    assert await bench.carry_out(step) == "already right"
    assert bench.world.item(Side.TARGET, KEY) == before


async def test_an_owner_that_moved_after_the_plan_is_not_lifted() -> None:
    bench = Bench()
    bench.world.plant(Difference.AHEAD, KEY)
    step = await bench.planned()
    bench.world.earn(KEY, 1)
    before = bench.world.item(Side.SOURCE, KEY)
    assert (await bench.carry_out(step)).startswith("refused: changed since the plan: source had ")
    assert bench.world.item(Side.SOURCE, KEY) == before


@pytest.mark.parametrize("side", Side)
async def test_a_row_that_a_stray_rewrote_at_the_same_version_is_not_what_the_plan_showed(side: Side) -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)
    step = await bench.planned()
    bench.world.put(side, KEY, points=-7)
    before = bench.world.item(Side.TARGET, KEY)
    outcome = await bench.carry_out(step)
    assert outcome.startswith(f"refused: changed since the plan: {side.value} had ")
    assert outcome.endswith("and has other content at that version")
    assert bench.world.item(Side.TARGET, KEY) == before


@pytest.mark.parametrize("fault", [Difference.IN_HANDOVER, Difference.TWO_OWNERS], ids=str)
async def test_what_is_not_a_repairs_business_is_left(fault: Difference) -> None:
    bench = Bench()
    bench.world.plant(fault, KEY)
    step = await bench.planned()
    assert (step.found, step.writes) == (fault.value, False)
    assert (await bench.carry_out(step)).startswith("can't: both sides are ")
    assert bench.counted.keys == 0


async def test_an_equal_key_is_left() -> None:
    assert (await Bench().planned()).why == "nothing to repair"


async def test_an_owner_that_can_not_be_mapped_is_left_and_says_why() -> None:
    bench = Bench()
    row = legacy_wallet("2", "c", 5) | {"nickname": NOT_OURS[0]["currency"]}
    image = bench.world.tables[Side.SOURCE].images[KEY]
    bench.world.tables[Side.SOURCE].put(row | {name: raw for name, raw in image.items() if name.startswith("cf_")})
    bench.world.tables[Side.TARGET].delete(KEY)
    step = await bench.planned()
    assert not step.writes
    assert "nickname" in step.why


async def test_an_unstamped_owner_is_lifted_so_that_its_copy_has_a_version_to_go_by() -> None:
    bench = Bench()
    bench.world.tables[Side.SOURCE].put(legacy_wallet("2", "c", 5))
    bench.world.put(Side.TARGET, KEY, cf_mv=0)
    step = await bench.step()
    lifted = (NOW_US << 10) + 1
    assert step.write == Act(Lift(KEY, None, lifted), lifted), "stamped, as by its first own write"
    assert await bench.repair() == "repaired"
    bench.world.copy(KEY)
    assert (await bench.world.sweep()).clean


async def test_a_key_given_twice_is_repaired_once() -> None:
    bench = Bench()
    bench.world.plant(Difference.MISSING, KEY)
    assert len(await bench.repairer.plan([KEY, KEY])) == 1


async def test_whose_a_row_without_a_role_is_the_flag_document_says() -> None:
    bench = Bench()
    bench.world.tables[Side.SOURCE].delete(KEY)
    bench.world.put(Side.TARGET, KEY, cf_role=None, cf_gen=None)
    assert (await bench.planned()).found == "extra"
    bench.complete = True
    step = await bench.planned()
    assert (step.found, step.table) == ("missing", "source"), (
        "after COMPLETE it is its key's owner, and is never buried"
    )
