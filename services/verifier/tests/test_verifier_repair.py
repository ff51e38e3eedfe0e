"""Repair goes through the fence, only when told to, and counts only after a later clean pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.control import ControlStore, MemoryJournal
from crossfade.core.parity.classes import Difference
from crossfade.core.protocol.keyed.item import Role, version_of
from crossfade.core.protocol.keyed.writes import Bury, Lift
from crossfade.core.protocol.seam import Act
from crossfade.core.values.errors import MigrationPaused
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
        self.store = ControlStore()
        self.counted = Counted()
        both = BothTables(MAPPING, self.world.tables[Side.SOURCE], self.world.tables[Side.TARGET])
        transfers = {side: self.world.tables[side] for side in Side}
        journal = MemoryJournal(self.store)
        self.repairer = Repairer(both, dict(transfers), journal, self.counted, clock=MemoryClock(NOW_US))

    async def planned(self, key: object = KEY) -> Step:
        (step,) = await self.repairer.plan([KEY])
        return step

    async def repair(self) -> list[str]:
        outcomes = await self.repairer.carry_out(await self.repairer.plan([KEY]))
        return [each["outcome"] for each in outcomes]


@pytest.mark.parametrize("fault", REPAIRABLE, ids=str)
async def test_each_repairable_fault_is_planned_by_its_class_and_planning_writes_nothing(fault: Difference) -> None:
    bench = Bench()
    bench.world.plant(fault, KEY)
    before = [dict(bench.world.tables[side].images) for side in Side]
    step = await bench.planned()
    assert step.found is fault
    assert step.write is not None
    assert described(step)["class"] == fault.value
    assert [bench.world.tables[side].images for side in Side] == before
    assert bench.store.journal == []
    assert bench.counted.keys == 0


@pytest.mark.parametrize("fault", REPAIRABLE, ids=str)
async def test_a_repair_leaves_the_next_pass_clean(fault: Difference) -> None:
    bench = Bench()
    bench.world.plant(fault, KEY)
    assert await bench.repair() == ["repaired"]
    bench.world.copy(KEY)  # a lifted owner comes down the stream like any other write
    assert (await bench.world.sweep()).clean
    assert bench.counted.keys == 1


@pytest.mark.parametrize("fault", REPAIRABLE, ids=str)
async def test_a_repair_is_journalled_before_and_after(fault: Difference) -> None:
    bench = Bench()
    bench.world.plant(fault, KEY)
    await bench.repair()
    begun, done = bench.store.journal
    assert (begun.kind, begun.body["stage"]) == ("repair", "begun")
    assert begun.body["steps"][0] | {"action": ""} == {"key": KEY.decode(), "class": fault.value, "action": ""}
    assert done.body["steps"][0]["outcome"] == "repaired"


async def test_ahead_lifts_the_owner_above_its_standby_and_touches_nothing_else() -> None:
    bench = Bench()
    bench.world.plant(Difference.AHEAD, KEY)
    standby = version_of(bench.world.item(Side.TARGET, KEY))
    owner = bench.world.item(Side.SOURCE, KEY)
    step = await bench.planned()
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
    assert await bench.repair() == ["repaired"]
    row = bench.world.item(Side.SOURCE, KEY)
    assert row is not None
    assert (row.role, row.generation) == (Role.STANDBY, 4)
    assert (await bench.world.sweep()).clean


async def test_an_extra_becomes_a_tombstone_one_version_up() -> None:
    bench = Bench()
    bench.world.plant(Difference.EXTRA, KEY)
    seen = version_of(bench.world.item(Side.TARGET, KEY))
    step = await bench.planned()
    assert step.write == Act(Bury(KEY, seen), seen + 1)
    assert step.side is Side.TARGET
    await bench.repair()
    row = bench.world.item(Side.TARGET, KEY)
    assert row is not None
    assert row.deleted
    assert row.version == seen + 1


async def test_a_delete_that_did_not_arrive_is_repaired_by_its_tombstone() -> None:
    bench = Bench()
    bench.world.operate(KEY, Kind.DELETE, 0)
    assert await bench.repair() == ["repaired"]
    row = bench.world.item(Side.TARGET, KEY)
    assert row is not None
    assert row.deleted


async def test_a_key_that_was_handed_over_after_the_plan_is_refused_by_the_fence() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)
    steps = await bench.repairer.plan([KEY])
    bench.world.hand_over(KEY, 2)
    before = bench.world.item(Side.TARGET, KEY)
    (outcome,) = await bench.repairer.carry_out(steps)
    assert outcome["outcome"] == "refused: owned"
    assert bench.world.item(Side.TARGET, KEY) == before


async def test_a_standby_that_got_on_after_the_plan_is_not_set_back() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)
    steps = await bench.repairer.plan([KEY])
    bench.world.earn(KEY, 1)
    bench.world.copy(KEY)
    before = bench.world.item(Side.TARGET, KEY)
    (outcome,) = await bench.repairer.carry_out(steps)
    assert outcome["outcome"] == "already right"
    assert bench.world.item(Side.TARGET, KEY) == before


async def test_an_owner_that_moved_after_the_plan_is_not_lifted() -> None:
    bench = Bench()
    bench.world.plant(Difference.AHEAD, KEY)
    steps = await bench.repairer.plan([KEY])
    bench.world.earn(KEY, 1)
    (outcome,) = await bench.repairer.carry_out(steps)
    assert outcome["outcome"] == "refused: the item changed"


async def test_a_repair_while_paused_is_refused_by_name_and_writes_nothing_until_the_resume() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)
    operator = MemoryJournal(bench.store)
    before = bench.world.item(Side.TARGET, KEY)
    await operator.append("pause", {"paused": True, "who": "ann"})
    with pytest.raises(MigrationPaused, match=r"ann paused the migration; nothing was repaired.*crossfade resume"):
        await bench.repair()
    assert bench.world.item(Side.TARGET, KEY) == before
    assert bench.counted.keys == 0
    assert bench.store.journal[-1].body["stage"] == "refused"
    await operator.append("pause", {"paused": False, "who": "ann"})
    assert await bench.repair() == ["repaired"]


@pytest.mark.parametrize("fault", [Difference.IN_HANDOVER, Difference.TWO_OWNERS], ids=str)
async def test_what_is_not_a_repairs_business_is_left_and_not_journalled(fault: Difference) -> None:
    bench = Bench()
    bench.world.plant(fault, KEY)
    step = await bench.planned()
    assert (step.found, step.write) == (fault, None)
    [outcome] = await bench.repair()
    assert outcome.startswith("can't: both sides are ")
    assert bench.store.journal == []


async def test_an_equal_key_is_left() -> None:
    assert (await Bench().planned()).why == "nothing to repair"


async def test_an_owner_that_can_not_be_mapped_is_left_and_says_why() -> None:
    bench = Bench()
    row = legacy_wallet("2", "c", 5) | {"nickname": NOT_OURS[0]["currency"]}
    image = bench.world.tables[Side.SOURCE].images[KEY]
    bench.world.tables[Side.SOURCE].put(row | {name: raw for name, raw in image.items() if name.startswith("cf_")})
    bench.world.tables[Side.TARGET].delete(KEY)
    step = await bench.planned()
    assert step.write is None
    assert "nickname" in step.why


async def test_an_unstamped_owner_is_lifted_so_that_its_copy_has_a_version_to_go_by() -> None:
    bench = Bench()
    bench.world.tables[Side.SOURCE].put(legacy_wallet("2", "c", 5))
    bench.world.put(Side.TARGET, KEY, cf_mv=0)
    step = await bench.planned()
    lifted = (NOW_US << 10) + 1
    assert step.write == Act(Lift(KEY, None, lifted), lifted), "stamped, as by its first own write"
    assert await bench.repair() == ["repaired"]
    bench.world.copy(KEY)
    assert (await bench.world.sweep()).clean


async def test_a_key_given_twice_is_repaired_once() -> None:
    bench = Bench()
    bench.world.plant(Difference.MISSING, KEY)
    assert len(await bench.repairer.plan([KEY, KEY])) == 1
