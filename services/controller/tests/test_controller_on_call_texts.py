"""How keys, passes and repairs look on a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.contracts.key import (
    AttributeReport,
    CalledReport,
    ChangeReport,
    KeyReport,
    RowReport,
    Shown,
    StreamReport,
)
from crossfade.contracts.parity import DifferencePage, KeyDifference, PassList, PassReport
from crossfade.contracts.repairs import RepairList, RepairReport, RowSeen, StepReport
from crossfade_controller import pass_text, repair_text
from crossfade_controller.key_text import Listed, key_text, page_text
from crossfade_controller.screen import Screen

SCREEN = Screen(width=80)
KEY = '[{"S":"USER#3"},{"S":"POINTS#1"}]'
SHORT = "USER#3/POINTS#1"
VERSION = "1838991098967962625"


def row(role: str, **changed: Any) -> RowReport:
    told: dict[str, Any] = {
        "table": "wallet",
        "role": role,
        "version": VERSION,
        "generation": "0",
        "deleted": False,
        "held_out": False,
        "ids": 1,
        "events_version": VERSION,
        "trouble": "",
        "dropped": [],
    }
    return RowReport(**told | changed)


def stream(*changes: ChangeReport, why: str = "") -> StreamReport:
    return StreamReport(600.0, not why, why, changes)


def change(kind: str, at_us: int, version: str | None = VERSION, *, expired: bool = False) -> ChangeReport:
    return ChangeReport(kind, str(at_us), 1.2, version, "A", "0", expired)


def key_report(*attributes: AttributeReport, **changed: Any) -> KeyReport:
    told: dict[str, Any] = {
        "key": KEY,
        "short": SHORT,
        "bucket": 56,
        "at_us": "1795889771095496",
        "found": "diverged",
        "means": "both rows have the same version, and different content",
        "cure": f"crossfade repair plan --key '{KEY}'",
        "settled": True,
        "owner": "source",
        "behind_s": 12.2,
        "source": row("A"),
        "target": row("S"),
        "attributes": attributes,
        "differs": [each.name for each in attributes if each.differs],
        "cause": "",
        "streams": {"source": stream(), "target": stream()},
        "called": [],
        "masked": True,
    }
    return KeyReport(**told | changed)


BALANCE = AttributeReport("balance", "points", Shown("N", 2, "3f9a"), Shown("N", 1, "0c11"), differs=True)
TIER = AttributeReport("tier", "tier", Shown("S", 4, "77aa"), Shown("S", 4, "77aa"), differs=False)


def shown(report: KeyReport) -> list[str]:
    return key_text(report, SCREEN).splitlines()


# ---- one key --------------------------------------------------------------------------------------


def test_both_rows_stand_side_by_side_and_what_differs_is_marked() -> None:
    lines = shown(key_report(BALANCE, TIER))
    [balance] = [line for line in lines if "balance = points" in line]
    [tier] = [line for line in lines if "  tier" in line]
    assert balance.split() == ["!", "balance", "=", "points", "N", "(2)", "3f9a", "N", "(1)", "0c11"]
    assert tier.split() == ["tier", "S", "(4)", "77aa", "S", "(4)", "77aa"]
    assert balance.index("N (2)") == tier.index("S (4)")
    assert any(line.split() == ["role", "A,", "owner", "S,", "standby"] for line in lines)
    assert any(line.split() == ["version", VERSION, VERSION] for line in lines)


def test_it_says_what_the_key_is_what_that_means_and_what_to_do_about_this_one_key() -> None:
    lines = shown(key_report(BALANCE))
    assert lines[0].startswith(f"{SHORT}: diverged")
    assert lines[1] == "  both rows have the same version, and different content"
    assert lines[2] == f"  do: crossfade repair plan --key '{KEY}'"
    assert "  differs for at least 12 s" in lines


def test_a_key_differs_for_as_long_as_a_mode_has_called_it() -> None:
    called = [
        CalledReport("diverged", "1795889711095496", "1795889771000000", "continuous", ""),
        CalledReport("stuck", "1795880000000000", "1795889771000000", "sweep", "p7"),
    ]
    lines = shown(key_report(BALANCE, behind_s=0.1, called=called))
    assert "  differs for at least 60 s" in lines
    assert "  called diverged by the continuous mode since 2026-11-28T18:15:11Z, last at" in lines


def test_values_are_hidden_until_they_are_revealed() -> None:
    assert any(
        "different values have different marks; --reveal shows them" in line for line in shown(key_report(BALANCE))
    )
    value = AttributeReport("balance", "points", Shown("N", 2, "3f9a", "15"), Shown("N", 1, "0c11", "1"), differs=True)
    text = key_text(key_report(value, masked=False), SCREEN)
    assert "N 15" in text
    assert "--reveal" not in text


def test_a_value_that_does_not_fit_beside_the_other_is_shown_whole_below_its_name() -> None:
    long = AttributeReport("note", "note", Shown("S", 90, "3f9a", "x" * 90), None, differs=True)
    lines = shown(key_report(BALANCE, long, masked=False))
    at = lines.index("! note")
    assert lines[at + 1 : at + 3] == ["    source  S " + "x" * 90, "    target  -"]


def test_a_value_can_not_steer_the_terminal() -> None:
    evil = AttributeReport("note\x1b[2J", "note", Shown("S", 5, "3f9a", "\x1b[2J\n!"), None, differs=True)
    text = key_text(key_report(evil, masked=False), SCREEN)
    assert "\x1b" not in text
    assert "S \\x1b[2J\\n!" in text


def test_an_absent_row_is_no_row_and_two_are_nothing() -> None:
    lines = shown(key_report(target=None, found="missing"))
    assert any(line.split() == ["table", "wallet", "no", "row"] for line in lines)
    assert any(line.split() == ["version", VERSION, "-"] for line in lines)
    assert any(
        line.split() == ["table", "no", "row", "no", "row"] for line in shown(key_report(source=None, target=None))
    )


def test_change_records_of_both_tables_are_one_list_and_one_without_a_version_is_not_the_protocols() -> None:
    streams = {
        "source": stream(
            change("MODIFY", 1_795_889_770_000_000), change("REMOVE", 1_795_889_760_000_000, expired=True)
        ),
        "target": stream(change("INSERT", 1_795_889_765_000_000, None), why="throttled"),
    }
    lines = shown(key_report(streams=streams))
    at = lines.index("last change records, newest first") + 2
    assert [line.split()[0] for line in lines[at : at + 3]] == ["source", "target", "source"]
    assert "none: not by the protocol" in lines[at + 1]
    assert "REMOVE (TTL)" in lines[at + 2]
    assert "  target: the stream isn't being read: throttled" in lines


# ---- keys of a class ------------------------------------------------------------------------------


def difference(number: int, **changed: Any) -> KeyDifference:
    told: dict[str, Any] = {
        "key": f'[{{"S":"USER#{number}"}},{{"S":"POINTS#1"}}]',
        "short": f"USER#{number}/POINTS#1",
        "found": "diverged",
        "cause": "",
        "bucket": 5,
        "first_seen_us": "1795889761095496",
        "last_seen_us": "1795889771000000",
        "called_by": "sweep",
        "pass_id": "p7",
        "sample": {"owner": "source", "source": {"version": "18"}, "target": {"version": "18"}, "differs": ["balance"]},
    }
    return KeyDifference(**told | changed)


def page(*found: KeyDifference, count: int, after: str | None = None) -> DifferencePage:
    return DifferencePage(
        counts={"diverged": count},
        means={"diverged": "both rows have the same version, and different content"},
        cures={"diverged": "crossfade repair plan --class diverged"},
        differences=found,
        next=after,
    )


def test_a_class_is_listed_with_since_when_and_by_whom_it_was_found() -> None:
    text = page_text(page(difference(1), count=1), Listed("diverged", None, 1, None, 0), SCREEN)
    assert text.splitlines() == [
        "diverged: 1 key",
        "  both rows have the same version, and different content",
        "  do: crossfade repair plan --class diverged",
        "",
        "USER#1/POINTS#1",
        "  since 2026-11-28T18:16:01Z, last seen 2026-11-28T18:16:11Z, by pass p7",
        "  owner source; both at 18; differs in balance",
    ]


def test_keys_that_are_not_listed_are_counted_with_the_command_that_lists_them() -> None:
    text = page_text(page(difference(1), count=997, after=KEY), Listed("diverged", None, 997, KEY, 996), SCREEN)
    assert text.splitlines()[-1] == f"996 more: crossfade parity --class diverged --after '{KEY}'"


# ---- passes ---------------------------------------------------------------------------------------


def one_pass(**changed: Any) -> PassReport:
    told: dict[str, Any] = {
        "id": "p7",
        "state": "running",
        "asked": True,
        "clean": False,
        "with_repairs": False,
        "repairs": 0,
        "age_s": None,
        "started_age_s": 3.0,
        "took_s": 90.0,
        "verified": 120_000,
        "differences": {"diverged": 2},
        "why": "",
    }
    return PassReport(**told | changed)


def test_a_running_pass_says_how_far_how_fast_how_long_and_at_what_cost() -> None:
    running = one_pass(
        stage="scanning",
        percent=43.2,
        scanned={"source": 1_000_000, "target": 990_000},
        rows_per_s=12_000.0,
        eta_s=4_000.0,
        read_units=4_300.0,
        read_units_expected=10_000.0,
        trouble="throttled",
    )
    assert pass_text.progress_text(running) == (
        "p7: scanning, 43.2 %, 1,990,000 rows read, 12,000 rows/s, 67 min left, "
        "4,300 of about 10,000 read units, 2 keys differing so far, retrying: throttled"
    )


@pytest.mark.parametrize(
    ("changed", "head"),
    [
        ({"state": "done", "clean": True}, "pass p7: done, clean"),
        ({"state": "done"}, "pass p7: done, not clean"),
        ({"state": "cancelled"}, "pass p7: cancelled"),
    ],
)
def test_a_pass_that_is_over_says_what_it_found(changed: dict[str, Any], head: str) -> None:
    assert pass_text.pass_lines(one_pass(**changed), SCREEN).splitlines()[0] == head


def test_a_clean_pass_with_repairs_does_not_count_and_says_so() -> None:
    repaired = one_pass(state="done", clean=True, with_repairs=True, repairs=3)
    assert not pass_text.counts(repaired)
    assert "3 keys repaired meanwhile, so it doesn't count" in pass_text.pass_lines(repaired, SCREEN)


def test_passes_are_listed_and_those_left_out_are_counted() -> None:
    passes = [one_pass(id=f"p{number}", state="done", ended_us="1795889771095496") for number in range(3)]
    text = pass_text.list_text(PassList(running=one_pass(id="p9", stage="scanning"), passes=passes), 2, SCREEN)
    assert "running\n  p9: scanning" in text
    assert "2026-11-28 18:16:11  p0    2 diverged" in text
    assert text.splitlines()[-1] == "1 more: --limit 3"


# ---- repairs --------------------------------------------------------------------------------------


def step(number: int, **changed: Any) -> StepReport:
    told: dict[str, Any] = {
        "number": number,
        "key": KEY,
        "found": "diverged",
        "action": f"transfer at {VERSION}",
        "table": "target",
        "why": "the standby must hold what its owner holds",
        "source": RowSeen(VERSION, "A", "0", deleted=False, state="ab"),
        "target": RowSeen(VERSION, "S", "0", deleted=False, state="cd"),
        "differs": ["balance"],
    }
    return StepReport(**told | changed)


def plan(*steps: StepReport, **changed: Any) -> RepairReport:
    told: dict[str, Any] = {
        "id": "r7",
        "state": "planned",
        "because": "",
        "asked": {"class": "diverged"},
        "planned_by": "ann@vm",
        "planned_at_us": "1795889771095496",
        "expires_at_us": "1795893371095496",
        "keys": len(steps),
        "writes": sum(each.writes for each in steps),
        "by_class": {"diverged": len(steps)},
        "by_action": {"transfer": len(steps)},
        "left": 0,
        "go_on": None,
        "executed_by": "",
        "cancelled_by": "",
        "begun_at_us": None,
        "ended_at_us": None,
        "pace": 0,
        "done": 0,
        "outcomes": {},
        "rate_per_s": None,
        "eta_s": None,
        "verifier": "",
        "steps": steps,
    }
    return RepairReport(**told | changed)


LEFT_ALONE: dict[str, Any] = {
    "found": "equal",
    "action": "none",
    "table": None,
    "why": "nothing to repair",
    "differs": (),
}


def test_a_plan_is_shown_whole_with_the_command_that_carries_out_exactly_it() -> None:
    text = repair_text.plan_text(plan(*(step(number) for number in range(1, 301))), SCREEN)
    assert text.count(KEY) == 300
    assert text.count(f"diverged: transfer at {VERSION} in target") == 300
    assert "  crossfade repair execute r7 --wait" in text.splitlines()
    assert "planned by ann@vm" in text


def test_a_plan_without_a_write_is_not_to_be_carried_out() -> None:
    text = repair_text.plan_text(plan(step(1, **LEFT_ALONE)), SCREEN)
    assert "execute" not in text
    assert "equal: left alone: nothing to repair" in text
    assert text.splitlines()[-1] == "nothing to carry out: no step of it writes"


def test_keys_that_a_plan_leaves_out_are_counted_with_the_way_to_them() -> None:
    go_on = {"class": "diverged", "limit": 2, "after": KEY}
    lines = repair_text.plan_text(plan(step(1), left=995, go_on=go_on), SCREEN).splitlines()
    assert lines[-2:] == [
        "not in this plan: 995 keys of the class",
        f"  the next plan: crossfade repair plan --class diverged --limit 2 --after '{KEY}'",
    ]
    assert repair_text.plan_text(plan(step(1), left=5), SCREEN).endswith("to find them: crossfade verify start --wait")


def test_a_paused_repair_says_how_it_goes_on() -> None:
    paused = plan(state="paused", because="ann paused the migration", executed_by="bob", begun_at_us="1795889771095496")
    assert "crossfade resume --execute" in repair_text.repair_text(paused, SCREEN)
    assert "crossfade resume --execute" in repair_text.progress_text(paused)


def test_a_repair_that_is_done_says_what_became_of_keys_and_names_those_still_wrong() -> None:
    done = plan(
        step(1, outcome="repaired"),
        step(2, outcome="can't: it was written, and is diverged in balance"),
        step(3, outcome="refused: the item changed"),
        state="done",
        executed_by="bob@vm",
        begun_at_us="1795889771095496",
        ended_at_us="1795889781095496",
        done=3,
        outcomes={"repaired": 1, "can't": 1, "refused": 1},
    )
    text = repair_text.repair_text(done, SCREEN)
    assert "carried out for bob@vm" in text
    assert "  repaired: 1\n  can't: 1\n  refused: 1\n" in text
    assert text.count(KEY) == 2
    assert "-> can't: it was written, and is diverged in balance" in text
    assert text.splitlines()[-1] == "only a later clean pass counts: crossfade verify start --wait"


def test_repairs_are_listed_with_who_asked() -> None:
    text = repair_text.list_text(
        RepairList(repairs=[plan(step(1)), plan(step(1), id="r6", executed_by="bob")]), 20, SCREEN
    )
    assert [line.split()[-1] for line in text.splitlines()[1:]] == ["ann@vm", "bob"]
    assert repair_text.list_text(RepairList(repairs=[]), 20, SCREEN) == "no repair was ever planned"
