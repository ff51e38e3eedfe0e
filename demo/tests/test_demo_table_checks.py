"""Each claim of `make demo-table` can fail."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade_demo.checks import Check, check
from crossfade_demo.pace import MOST
from crossfade_demo.report import Verdict
from crossfade_demo.store import Row
from crossfade_demo.table.__main__ import verdict_of
from crossfade_demo.table.checks import check_book, check_clean, check_errors, check_indexes, check_stops

EQUAL: dict[str, Any] = {"compared": {"there": 7}, "lost": [], "risen": [], "different": [], "loose": 0}
QUIET: dict[str, Any] = {"errors": [], "outside": 0, "applied": 900, "held": 12}
INDEX = {"on-the-way": ("courier", "due_at")}


def row(entry: str, **attributes: str) -> Row:
    return {"customer": {"S": "a"}, "entry": {"S": entry}} | {name: {"S": value} for name, value in attributes.items()}


def test_a_book_that_equals_the_table_passes() -> None:
    found = check_book("second cutover", 0, EQUAL)
    assert found.passed
    assert found.name == "book_after_second_cutover"


@pytest.mark.parametrize("kind", ["lost", "risen", "different"])
def test_a_row_that_is_lost_risen_or_different_is_said(kind: str) -> None:
    assert check_book("cutover", 1, EQUAL | {kind: ["a row"]}).wrong == [f"{kind}: a row"]


def test_a_comparison_that_ended_badly_or_compared_nothing_proves_nothing() -> None:
    assert not check_book("cutover", 3, EQUAL).passed
    assert not check_book("cutover", 0, {}).passed
    assert not check_book("cutover", 0, EQUAL | {"compared": {"there": 0}}).passed


def test_refusals_inside_the_stops_are_no_errors_others_are() -> None:
    assert check_errors(QUIET).passed
    assert not check_errors(QUIET | {"outside": 1}).passed
    assert not check_errors(QUIET | {"errors": ["read ('a', 'PROFILE'): None"]}).passed
    assert not check_errors(QUIET | {"applied": 0}).passed


def test_a_long_stop_one_too_many_or_none_is_said() -> None:
    assert check_stops([1.0, 2.9, 2.0], 3, 3.0, slowness=1.0).passed
    assert not check_stops([1.0, 3.1, 2.0], 3, 3.0, slowness=1.0).passed
    assert check_stops([1.0, 3.1, 2.0], 3, 3.0, slowness=1.1).passed, "the bound is one of an idle machine"
    assert not check_stops([1.0, 3.4, 2.0], 3, 3.0, slowness=1.1).too_busy
    assert check_stops([1.0, 16.0, 2.0], 3, 3.0, slowness=MOST).too_busy
    more = check_stops([1.0, 1.0, 1.0, 1.0], 3, 3.0, slowness=MOST)
    assert not more.passed
    assert not more.too_busy, "an attempt that was given up is no matter of time"
    assert not check_stops([], 3, 3.0, slowness=1.0).passed


def test_anything_left_in_a_row_is_said() -> None:
    assert check_clean([row("1")]).passed
    assert check_clean([row("1"), row("2", cf_mv="1")]).wrong == ["cf_mv in 1 rows"]
    assert not check_clean([]).passed


def test_an_index_with_a_row_too_many_or_too_few_is_said() -> None:
    rows = [row("1", courier="c", due_at="1"), row("2")]
    assert check_indexes(rows, {"on-the-way": rows[:1]}, INDEX).passed
    assert not check_indexes(rows, {"on-the-way": rows}, INDEX).passed
    assert not check_indexes(rows, {"on-the-way": []}, INDEX).passed
    assert not check_indexes(rows, {}, INDEX).passed
    assert not check_indexes(rows[1:], {"on-the-way": []}, INDEX).passed, "an empty index proves nothing"


def test_only_claims_about_time_are_excused_by_a_busy_machine() -> None:
    held, late = check("a", "a", []), check("b", "b", ["late"], too_busy=True)
    wrong = Check("c", "c", False, {}, ["lost"])
    assert verdict_of([held]) is Verdict.PASSED
    assert verdict_of([held, late]) is Verdict.TOO_BUSY
    assert verdict_of([held, late, wrong]) is Verdict.FAILED
    assert verdict_of([]) is Verdict.FAILED
