"""A change of precision is seen in every phase in which both directions replicate: proofs are about commit times."""

from __future__ import annotations

import pytest
from test_controller_strays import COMPLETE, ticks, to

from controller_world import Town, run
from crossfade.core.migration.cures import CURES, UNKNOWN_CURES
from crossfade.core.migration.gates import precision
from crossfade.core.migration.keyed import DRAINED_GATES, KEYED_PHASES
from crossfade.core.values.shape import Side
from crossfade_controller.render import status_text
from crossfade_controller.status import status_of


def coarse(town: Town, side: Side) -> str:
    """Switch a table's stream to milliseconds, as somebody at the console does."""
    table = town.tables[side].shape.table
    town.aws.precisions[table] = "MILLISECOND"
    return table


@pytest.mark.parametrize("side", Side)
async def test_b6_precision_switched_off_in_baking_is_seen_and_complete_waits_until_it_is_on_again(side: Side) -> None:
    """Neither BAKING nor COMPLETE looked at it."""
    town = Town()
    ctx, driver = await to(town, "BAKING")
    table = coarse(town, side)
    await ticks(town, driver, 4)
    assert f"precision: not MICROSECOND: {table}" in ctx.state.halt
    body = status_of(ctx, driver.wait)
    (gate,) = (each for each in body["gates"] if each["name"] == "precision")
    assert not gate["open"]
    assert f"not MICROSECOND: {table}" in status_text(body)
    number = await town.ask("complete", **COMPLETE)
    await ticks(town, driver, 20)
    assert town.outcome(number) is None
    assert not ctx.state.begun, "no step of COMPLETE was taken"
    town.aws.precisions.clear()
    await ticks(town, driver, 4)
    assert ctx.state.halt == ""
    await run(town, lambda: town.outcome(number) is not None, ticks=2_000)
    assert town.entries("phase")[-1].body["to"] == "COMPLETE"


@pytest.mark.parametrize("side", Side)
async def test_a_precision_that_could_not_be_asked_for_shuts_the_gate_and_halts_nothing(side: Side) -> None:
    town = Town()
    ctx, driver = await to(town, "BAKING")
    table = town.tables[side].shape.table
    town.aws.unanswered.add(table)
    await ticks(town, driver, 4)
    assert ctx.state.halt == "", "a halt needs knowledge"
    (gate,) = (each for each in status_of(ctx, driver.wait)["gates"] if each["name"] == "precision")
    assert (gate["open"], gate["value"]) == (False, None)
    assert gate["because"] == f"unknown: AWS could not be asked how precise the commit times of {table} are"
    assert gate["cure"] == UNKNOWN_CURES["precision"] != CURES["precision"]
    number = await town.ask("complete", **COMPLETE)
    await ticks(town, driver, 20)
    assert "AWS could not be asked" in driver.waiting_for
    assert not ctx.state.begun, "no step of COMPLETE was taken"
    town.aws.unanswered.clear()
    await run(town, lambda: town.outcome(number) is not None, ticks=2_000)
    assert town.entries("phase")[-1].body["to"] == "COMPLETE"


async def test_a_look_that_fails_ends_no_halt_either() -> None:
    town = Town()
    ctx, driver = await to(town, "BAKING")
    table = coarse(town, Side.TARGET)
    await ticks(town, driver, 4)
    town.aws.unanswered.add(table)
    await ticks(town, driver, 4)
    assert f"precision: not MICROSECOND: {table}" in ctx.state.halt
    town.aws.precisions.clear()
    town.aws.unanswered.clear()
    await ticks(town, driver, 4)
    assert ctx.state.halt == ""


def test_b6_precision_halts_wherever_both_directions_replicate_and_stands_before_each_end() -> None:
    assert all(precision in KEYED_PHASES.halting[phase] for phase in KEYED_PHASES.replicating)
    assert precision in DRAINED_GATES
