"""It is safe to cut over only while every sense speaks of this migration, speaks well of it, and spoke just now."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.parity.verdict import (
    Input,
    Names,
    Reading,
    Sense,
    against_capture,
    inputs,
    wanted,
    why_not,
)
from crossfade.core.values.shape import Side

NAMES = Names(
    {Side.SOURCE: "wallet", Side.TARGET: "points"},
    {Side.SOURCE: "wallet-changes", Side.TARGET: "points-changes"},
    "engagement-journal",
)
OTHERS = Names(
    {Side.SOURCE: "orders", Side.TARGET: "orders-2"},
    {Side.SOURCE: "orders-changes", Side.TARGET: "orders-2-changes"},
    "orders-journal",
)
BOUNDS_S = {sense: 10.0 * (1 + number) for number, sense in enumerate(Sense)}
NEEDS = wanted(NAMES, BOUNDS_S)

ages = st.fixed_dictionaries({each: st.floats(0, need.bound_s) for each, need in NEEDS.items()})
one_input = st.sampled_from(inputs())


def fresh(ages_s: dict[Input, float], now_s: float) -> dict[Input, Reading]:
    return {each: Reading(NEEDS[each].of, now_s - age_s) for each, age_s in ages_s.items()}


def aged(reading: Reading, now_s: float, age_s: float) -> Reading:
    return reading._replace(taken_s=now_s - age_s)


def test_every_sense_is_needed_of_each_table_that_it_speaks_of() -> None:
    assert set(NEEDS) == set(inputs())
    assert {sense for by_map in (False, True) for sense, _ in inputs(by_map=by_map)} == set(Sense)
    assert len(inputs()) == 4 + 2 * 4


@given(ages)
def test_all_fresh_and_without_findings_is_safe(ages_s: dict[Input, float]) -> None:
    assert why_not(NEEDS, fresh(ages_s, 0.0), 0.0) == {}


@given(ages, one_input)
def test_a_sense_that_was_never_asked_or_never_answered_is_never_safe(ages_s: dict[Input, float], gone: Input) -> None:
    readings = fresh(ages_s, 0.0)
    del readings[gone]
    assert list(why_not(NEEDS, readings, 0.0)) == [gone]
    readings[gone] = Reading(NEEDS[gone].of, None, trouble="no route to host")
    assert "no route to host" in why_not(NEEDS, readings, 0.0)[gone][0]


@given(ages, one_input, st.floats(0.001, 1e9), st.sampled_from([1.0, -1.0]))
def test_a_sense_that_is_late_is_never_safe(ages_s: dict[Input, float], late: Input, by_s: float, way: float) -> None:
    readings = fresh(ages_s, 0.0)
    readings[late] = aged(readings[late], 0.0, way * (NEEDS[late].bound_s + by_s))
    assert list(why_not(NEEDS, readings, 0.0)) == [late]


@given(ages, one_input)
def test_a_sense_frozen_at_its_last_value_is_not_safe_past_its_bound(ages_s: dict[Input, float], one: Input) -> None:
    """Everything else goes on answering; nobody tells that this one stopped."""
    taken = fresh(ages_s, 0.0)
    frozen = taken[one]
    for now_s in (0.0, NEEDS[one].bound_s - ages_s[one], NEEDS[one].bound_s + 0.01, 1e6):
        readings = fresh(dict.fromkeys(NEEDS, 0.0), now_s) | {one: frozen}
        assert bool(why_not(NEEDS, readings, now_s)) is (now_s - (0.0 - ages_s[one]) > NEEDS[one].bound_s)


@given(ages, one_input)
def test_an_answer_of_another_migration_is_never_safe(ages_s: dict[Input, float], one: Input) -> None:
    readings = fresh(ages_s, 0.0)
    readings[one] = readings[one]._replace(of=wanted(OTHERS, BOUNDS_S)[one].of)
    [(sense, [reason])] = why_not(NEEDS, readings, 0.0).items()
    assert sense == one
    assert NEEDS[one].of in reason


@given(ages, one_input)
def test_the_other_tables_answer_is_of_another_one(ages_s: dict[Input, float], one: Input) -> None:
    sense, side = one
    if side is not None:
        readings = fresh(ages_s, 0.0)
        readings[one] = readings[sense, side.other]
        assert list(why_not(NEEDS, readings, 0.0)) == [one]


@given(ages, one_input)
def test_what_a_sense_says_against_it_is_given_as_it_said_it(ages_s: dict[Input, float], one: Input) -> None:
    readings = fresh(ages_s, 0.0)
    readings[one] = readings[one]._replace(against=("1 diverged", "so is 2"))
    assert why_not(NEEDS, readings, 0.0) == {one: ("1 diverged", "so is 2")}


def test_a_clock_that_shows_no_number_is_never_safe() -> None:
    readings = fresh(dict.fromkeys(NEEDS, 0.0), 0.0)
    assert set(why_not(NEEDS, readings, math.nan)) == set(NEEDS)


ARN = "arn:aws:kinesis:eu-west-1:000000000000:stream/"


@pytest.mark.parametrize(
    ("destinations", "named"),
    [
        ([], "don't go to wallet-changes"),
        ([("wallet-changes", "DISABLED")], "DISABLED"),
        ([("wallet-changes", "ENABLING")], "ENABLING"),
        ([("orders-changes", "ACTIVE")], "but to orders-changes"),
        ([("old-wallet-changes", "ACTIVE")], "but to old-wallet-changes"),
        ([("wallet-changes", "DISABLED"), ("orders-changes", "ACTIVE")], "DISABLED"),
    ],
)
def test_changes_that_do_not_go_to_the_stream_that_is_read_are_a_reason(
    destinations: list[tuple[str, str]], named: str
) -> None:
    [reason] = against_capture("wallet-changes", [(ARN + name, status, "MICROSECOND") for name, status in destinations])
    assert named in reason


def test_changes_that_go_there_and_elsewhere_are_none() -> None:
    both = [(ARN + "wallet-changes", "ACTIVE", "MICROSECOND"), (ARN + "audit", "DISABLED", "MICROSECOND")]
    assert against_capture("wallet-changes", both) == ()
