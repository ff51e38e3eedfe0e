"""A repair is an interval of the journal: no pass that began before its end speaks for its keys."""

from __future__ import annotations

from typing import Any

from crossfade.contracts.journal import Entry
from crossfade.core.parity.repairs import repaired_after


def journal(*bodies: dict[str, Any]) -> list[Entry]:
    return [Entry(number, "repair", 0, "pod", "1", body) for number, body in enumerate(bodies, start=1)]


def entry(stage: str, repair: str = "r1", keys: int = 5) -> dict[str, Any]:
    return {"stage": stage, "id": repair, "who": "ann", "keys": keys}


def test_a_pass_that_began_after_a_repair_was_done_counts() -> None:
    assert repaired_after(journal(entry("begun"), entry("done")), 2) == 0


def test_a_pass_that_began_before_or_during_a_repair_does_not_count() -> None:
    entries = journal(entry("begun"), entry("done"))
    assert [repaired_after(entries, number) for number in (0, 1)] == [5, 5]


def test_a_pass_that_began_and_ended_while_a_repair_was_under_way_does_not_count() -> None:
    assert repaired_after(journal(entry("begun")), 1) == 5
    assert repaired_after(journal(entry("begun")), 100) == 5


def test_several_repairs_are_told_apart_by_their_ids() -> None:
    entries = journal(entry("begun", "r1", 5), entry("begun", "r2", 7), entry("done", "r1", 5))
    assert [repaired_after(entries, number) for number in range(4)] == [12, 12, 12, 7]


def test_plans_and_refusals_write_nothing() -> None:
    assert repaired_after(journal(entry("planned"), {"stage": "refused", "because": "paused"}), 0) == 0


def test_an_entry_that_comes_twice_after_a_kill_is_the_same_repair() -> None:
    entries = journal(entry("begun"), entry("begun"), entry("done"), entry("done"))
    assert [repaired_after(entries, number) for number in range(5)] == [5, 5, 5, 5, 0]


def test_entries_of_builds_before_plans_had_ids_count_by_their_numbers_alone() -> None:
    old = journal({"stage": "begun", "steps": [{}, {}]}, {"stage": "done", "steps": [{}, {}]})
    assert [repaired_after(old, number) for number in range(3)] == [4, 2, 0]


def test_other_entries_are_passed_over() -> None:
    assert repaired_after([Entry(3, "pause", 0, "ann", "1", {"stage": "begun", "id": "r1", "keys": 5})], 0) == 0
