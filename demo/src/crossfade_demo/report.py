"""The report: what was claimed, what was measured, and whether each claim held."""

from __future__ import annotations

import json
import platform
from enum import Enum
from pathlib import Path
from textwrap import shorten
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossfade_demo.checks import Check
from crossfade_demo.latency import Latency
from crossfade_demo.services import CONTROLLER

_WRONG: Final = Text("✗", style="bold red")
P99_BOUND_MS: Final = 100.0
LONGEST_SENTENCE: Final = 400  # characters of what was wrong; the whole is in the report for machines


class Verdict(Enum):
    """What came of a run."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    TOO_BUSY = "TOO BUSY"

    @property
    def exit_code(self) -> int:
        """Of the demo; 75 is "try again" by convention (EX_TEMPFAIL of sysexits.h)."""
        return {Verdict.PASSED: 0, Verdict.FAILED: 1, Verdict.TOO_BUSY: 75}[self]


class Report(NamedTuple):
    """One run's report.

    Attributes:
        options: of the run.
        checks: every claim.
        latency: of client calls "before", "during" and "after" the migration.
        longest_gap_s: longest time without a successful call.
        phases: seconds from the start command to each phase.
        traffic_s: how long the traffic ran.
        trace: one write's way through all services, as text and by its id.
        pace: how slow the machine was.
    """

    options: dict[str, Any]
    checks: list[Check]
    latency: dict[str, Latency]
    longest_gap_s: float
    phases: dict[str, float]
    traffic_s: float
    trace: dict[str, Any]
    pace: dict[str, Any]

    @property
    def verdict(self) -> Verdict:
        """What came of it: one claim that doesn't hold for another reason than a busy machine is a failure."""
        wrong = [each for each in self.checks if not each.passed]
        if not self.checks or not all(each.too_busy for each in wrong):
            return Verdict.FAILED
        return Verdict.TOO_BUSY if wrong else Verdict.PASSED

    @property
    def passed(self) -> bool:
        """Whether every claim was checked and held."""
        return self.verdict is Verdict.PASSED

    def as_json(self) -> dict[str, Any]:
        """Return the report for machines."""
        return {
            "passed": self.passed,
            "verdict": self.verdict.value,
            "pace": self.pace,
            "options": self.options,
            "settings": {name: value for name, value in CONTROLLER.items() if "GATE" in name or "SETTLING" in name},
            "machine": {"python": platform.python_version(), "machine": platform.machine()},
            "traffic_s": self.traffic_s,
            "phases_s": self.phases,
            "latency": {name: each._asdict() for name, each in self.latency.items()},
            "p99_bound_ms": P99_BOUND_MS,
            "longest_gap_s": self.longest_gap_s,
            "checks": [each._asdict() for each in self.checks],
            "trace": self.trace,
        }

    def write(self, path: Path) -> None:
        """Write the report for machines."""
        path.write_text(json.dumps(self.as_json(), indent=2) + "\n")

    def show(self, console: Console, path: Path) -> None:
        """Print the report for people."""
        table = Table(title="What was checked", title_justify="left", show_header=False, box=None, pad_edge=False)
        for each in self.checks:
            numbers = "  ".join(f"{name} {value}" for name, value in each.evidence.items() if name != "wrong")
            mark = Text("✓", style="green") if each.passed else Text("…", "yellow") if each.too_busy else _WRONG
            table.add_row(mark, Text(each.claim), Text(numbers, style="dim"))
            for sentence in each.wrong:
                table.add_row("", Text(shorten(sentence, LONGEST_SENTENCE, placeholder=" …"), style="red"), "")
        console.print(table)
        times = Table(title="Client calls, retries included", title_justify="left", box=None, pad_edge=False)
        for name in ("", "calls", "p50 ms", "p99 ms", "max ms"):
            times.add_column(name, justify="right" if name else "left")
        for name, taken in self.latency.items():
            times.add_row(name, *(f"{value:,}" for value in taken))
        console.print(times)
        console.print(f"Longest time without a successful call: {self.longest_gap_s} s")
        if self.latency["during"].p99_ms > P99_BOUND_MS:
            console.print(
                f"p99 during the migration is above {P99_BOUND_MS:.0f} ms, which two cores of its own hold: is this "
                "machine busy? No claim depends on it."
            )
        if self.pace.get("samples"):
            console.print(
                f"The machine took {self.pace['median']} times as long as idle, {self.pace['p90']} times or more in a "
                f"tenth of the run; bounds grew with that, {self.pace['bounds_grow_to']:g} times at most."
            )
        if self.trace["trace_id"]:
            console.print(f"One write through all services, trace {self.trace['trace_id']} ({self.trace['file']}):")
            for line in self.trace["waterfall"]:
                text = Text(line)
                if console.is_terminal:  # a pipe has no width
                    text.truncate(console.width, overflow="ellipsis")
                console.print(text, soft_wrap=True)
        if self.verdict is Verdict.TOO_BUSY:
            console.print("The machine is too busy to tell a slow system from a slow machine: run it again.")
        console.print(f"{self.verdict.value}   {path}")
