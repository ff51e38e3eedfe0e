"""What the demo shows fits a terminal, and nothing that was measured is cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from crossfade_demo.checks import Check, check
from crossfade_demo.latency import Latency
from crossfade_demo.report import Report
from crossfade_demo.screen import NOTES, PANEL_LINES, Screen, View

LONG = "waiting: a table doesn't exist yet: BatchGetItem: ResourceNotFoundException"


def printed(report: Report, width: int = 100) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as said:
        report.show(console, Path("build/demo/report.json"))
    return said.get()


def report(*checks: Check, p99_ms: float = 40.0) -> Report:
    calm, during = Latency(10, 1.0, 2.0, 3.0), Latency(10, 1.0, p99_ms, 400.0)
    return Report(
        options={},
        checks=list(checks),
        latency={"before": calm, "during": during, "after": calm},
        longest_gap_s=0.2,
        phases={},
        traffic_s=60.0,
        trace={"trace_id": "", "file": "", "waterfall": []},
        pace={"samples": 0},
    )


@pytest.mark.parametrize("width", [80, 100])
def test_the_screen_keeps_its_height_and_shows_the_newest_note_whatever_the_other_lines_say(width: int) -> None:
    view = View(parity=LONG, waits_for=LONG * 3, faults=LONG)
    view.percent_on_target = 100.0
    view.notes.extend(f"note {number}" for number in range(NOTES))
    console = Console(width=width, color_system=None)
    with console.capture() as said:
        console.print(Screen(view, quiet=True, console=console).draw())
    lines = said.get().splitlines()
    assert len(lines) == PANEL_LINES
    assert all(len(line) == width for line in lines)
    assert f"note {NOTES - 1}" in lines[-2]
    for name in ("stream → applied", "on the target"):
        assert any(name in line for line in lines), "names are whole, values may be cut"
    assert sum("…" in line for line in lines) == 3, "what is cut says so"


@pytest.mark.parametrize("width", [80, 100])
def test_every_number_of_a_check_is_printed(width: int) -> None:
    numbers: dict[str, Any] = {f"a rather long name {each}": 1_000_000 + each for each in range(8)}
    words = printed(report(check("name", "a claim", [], **numbers)), width).split()
    assert [str(value) for value in numbers.values() if str(value) not in words] == []


def test_a_key_in_brackets_is_printed_as_it_is() -> None:
    key = '[{"S":"USER#1"},{"S":"[/]"}]'
    assert key in printed(report(check("name", "a claim", [f"{key}: twice"])), 200)


def test_a_slow_run_says_so_and_a_fast_one_does_not() -> None:
    assert "p99 during the migration is above 100 ms" in printed(report(p99_ms=169.2))
    assert "is above" not in printed(report(p99_ms=99.0))


def test_a_traces_picture_has_no_broken_lines_on_a_terminal_and_is_whole_in_a_pipe() -> None:
    line = "replicator-reverse".ljust(19) + "apply wallet".ljust(30) + "█".ljust(18) + "    0.4 ms  coalesced, and more"
    found = report()._replace(trace={"trace_id": "91fa", "file": "traces.json", "waterfall": [line]})
    for terminal in (True, False):
        console = Console(width=80, color_system=None, force_terminal=terminal)
        with console.capture() as said:
            found.show(console, Path("report.json"))
        (shown,) = [each for each in said.get().splitlines() if "apply wallet" in each]
        assert shown.rstrip() == (line[:79] + "…" if terminal else line)
