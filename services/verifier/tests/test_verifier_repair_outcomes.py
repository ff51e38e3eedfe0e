"""A repair says what happened, by what is read of the key afterwards: that a write was taken proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from test_verifier_repair import KEY, NOW_US, Bench

from crossfade.core.parity.classes import Difference
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values.errors import StoreRefused, Throttled
from crossfade.core.values.image import of_string
from crossfade.core.values.shape import Side
from engagement_migration import MAPPING
from engagement_migration.samples import NOT_OURS, legacy_wallet


class Then:
    """A table of transfers, and what happens right after each."""

    def __init__(self, bench: Bench, side: Side, then: Callable[[], None]) -> None:
        self._table, self._then = bench.world.tables[side], then

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> Any:
        sent = await self._table.transfer(transfers, timeout_s=timeout_s)
        self._then()
        return sent


def then(bench: Bench, happens: Callable[[], None]) -> None:
    bench.repairer._transfers[Side.TARGET] = Then(bench, Side.TARGET, happens)


@pytest.mark.parametrize(
    "fault", [Difference.STUCK, Difference.DIVERGED, Difference.MISSING, Difference.EXTRA, Difference.AHEAD], ids=str
)
async def test_what_is_right_afterwards_was_repaired(fault: Difference) -> None:
    bench = Bench()
    bench.world.plant(fault, KEY)
    assert await bench.repair() == "repaired"
    assert bench.repairer.repaired == {fault.value: 1}


async def test_an_attribute_that_nothing_names_stays_on_the_standby_and_is_named() -> None:
    bench = Bench()
    bench.world.put(Side.TARGET, KEY, stray=1)
    outcome = await bench.repair()
    assert outcome.startswith("can't: it was written, and is diverged in ")
    assert "'stray'" in outcome
    assert bench.repairer.repaired == {}


async def test_a_live_ttl_on_a_standby_of_the_source_table_is_gone_when_it_is_called_repaired() -> None:
    bench = Bench()
    bench.world.hand_over(KEY, 2)
    bench.world.copy(KEY)
    ttl = MAPPING.shape(Side.SOURCE).ttl
    assert ttl
    bench.world.put(Side.SOURCE, KEY, **{ttl: 1_900_000_000})
    assert "live TTL on a standby" in (await bench.planned()).differs
    assert await bench.repair() == "repaired"
    assert ttl not in bench.world.tables[Side.SOURCE].images[KEY]


async def test_an_owner_that_does_not_map_can_not_be_repaired_and_says_why() -> None:
    bench = Bench()
    row = legacy_wallet("2", "c", 5) | {"nickname": NOT_OURS[0]["currency"]}
    image = bench.world.tables[Side.SOURCE].images[KEY]
    bench.world.tables[Side.SOURCE].put(row | {name: raw for name, raw in image.items() if name.startswith("cf_")})
    bench.world.tables[Side.TARGET].delete(KEY)
    outcome = await bench.repair()
    assert outcome.startswith("can't: the owner can't be mapped: ")
    assert "nickname" in outcome


async def test_neither_plan_nor_outcome_quotes_a_customers_value() -> None:
    bench = Bench()
    row = legacy_wallet("2", "c", 5) | {"wallet_type": of_string("4711.815")}
    image = bench.world.tables[Side.SOURCE].images[KEY]
    bench.world.tables[Side.SOURCE].put(row | {name: raw for name, raw in image.items() if name.startswith("cf_")})
    step = await bench.planned()
    outcome = await bench.carry_out(step)
    assert "wallet_type" in step.why
    assert "wallet_type" in outcome
    assert "wallet_type" in str(step.differs)
    assert "4711.815" not in f"{step} {outcome}"


async def test_an_extra_that_lost_its_version_is_buried_above_whatever_comes_late() -> None:
    bench = Bench()
    bench.world.tables[Side.SOURCE].delete(KEY)
    bench.world.put(Side.TARGET, KEY, cf_mv=None)
    assert (await bench.planned()).action == f"bury at {(NOW_US << 10) + 1}"
    assert await bench.repair() == "repaired"
    row = bench.world.item(Side.TARGET, KEY)
    assert row is not None
    assert (row.deleted, row.version) == (True, (NOW_US << 10) + 1)
    assert (await bench.world.sweep()).clean


async def test_an_extra_that_lost_its_version_and_got_one_since_the_plan_is_left() -> None:
    bench = Bench()
    bench.world.tables[Side.SOURCE].delete(KEY)
    bench.world.put(Side.TARGET, KEY, cf_mv=None)
    step = await bench.planned()
    bench.world.put(Side.TARGET, KEY, cf_mv=7)
    assert (await bench.carry_out(step)).startswith(
        "refused: changed since the plan: target had a row without version, "
    )
    assert not bench.world.item(Side.TARGET, KEY).deleted  # type: ignore[union-attr]


async def test_an_extra_without_a_role_is_somebody_elses_and_needs_a_human_decision() -> None:
    bench = Bench()
    bench.world.tables[Side.SOURCE].delete(KEY)
    bench.world.put(Side.TARGET, KEY, cf_mv=None, cf_role=None, cf_gen=None)
    outcome = await bench.repair()
    assert outcome == "can't: the extra row has no role: another writer put it there, needs a human decision"


async def test_what_was_right_before_is_told_apart_from_what_was_repaired() -> None:
    assert await Bench().repair() == "already right"
    bench = Bench()
    bench.world.plant(Difference.STUCK, KEY)
    step = await bench.planned()
    bench.world.copy(KEY)
    assert await bench.carry_out(step) == "already right"
    assert bench.repairer.repaired == {}


async def test_an_owner_that_writes_on_meanwhile_does_not_hide_that_its_standby_was_repaired() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)

    def writes_on() -> None:
        bench.world.earn(KEY, 1)

    then(bench, writes_on)
    assert await bench.repair() == "repaired"


async def test_a_stray_that_undoes_the_repair_at_once_is_told() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)
    then(bench, lambda: bench.world.put(Side.TARGET, KEY, points=-2))
    assert await bench.repair() == "can't: it was written, and is diverged in balance"


async def test_a_key_that_can_not_be_read_back_is_not_called_repaired_until_it_can_be_read() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)
    step = await bench.planned()
    table = bench.world.tables[Side.SOURCE]
    read = table.read_answers

    async def down(keys: Sequence[bytes]) -> Sequence[bytes]:
        raise Throttled("slow down")

    def fails() -> None:
        table.read_answers = down  # type: ignore[method-assign]  # the store fails from here

    then(bench, fails)
    with pytest.raises(Throttled):
        await bench.carry_out(step)
    assert bench.repairer.repaired == {}
    table.read_answers = read  # type: ignore[method-assign]
    assert await bench.carry_out(step, again=1) == "repaired"
    assert bench.repairer.repaired == {"diverged": 1}


@pytest.mark.parametrize(
    "fault", [Difference.STUCK, Difference.DIVERGED, Difference.MISSING, Difference.EXTRA, Difference.AHEAD], ids=str
)
async def test_a_step_that_is_taken_up_again_after_a_kill_is_told_as_if_nothing_had_happened(fault: Difference) -> None:
    bench = Bench()
    bench.world.plant(fault, KEY)
    step = await bench.planned()
    assert await bench.carry_out(step) == "repaired"
    before = [dict(bench.world.tables[side].images) for side in Side]
    written = len(bench.world.changes)
    assert await bench.carry_out(step, again=1) == "repaired"
    assert [bench.world.tables[side].images for side in Side] == before
    assert len(bench.world.changes) == written, "nothing is written twice"


async def test_a_step_that_may_have_been_written_and_was_not_is_written() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)
    step = await bench.planned()
    written = len(bench.world.changes)
    assert await bench.carry_out(step, again=1) == "repaired"
    assert len(bench.world.changes) == written + 1


async def test_a_diverged_standby_whose_owner_moved_on_is_not_taken_for_written_before() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)
    step = await bench.planned()
    bench.world.earn(KEY, 1)
    assert (await bench.carry_out(step, again=1)).startswith("refused: changed since the plan: source had ")


async def test_a_write_that_the_store_does_not_take_for_now_is_tried_again_and_not_called_refused() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)

    class Full:
        async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> Any:
            raise Throttled("slow down")

    bench.repairer._transfers[Side.TARGET] = Full()
    with pytest.raises(Throttled):
        await bench.repair()


async def test_a_write_that_the_store_refuses_for_good_is_refused() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)

    class Shut:
        async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> Any:
            raise StoreRefused("not authorized: dynamodb:PartiQLUpdate", reason="AccessDeniedException")

    bench.repairer._transfers[Side.TARGET] = Shut()
    assert await bench.repair() == "refused: store_refused: not authorized: dynamodb:PartiQLUpdate"
