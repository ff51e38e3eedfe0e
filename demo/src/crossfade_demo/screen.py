"""What an on-call engineer wants to see while it runs; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

PHASES: Final = (
    "PLANNED",
    "CAPTURING",
    "SNAPSHOT",
    "CATCHING_UP",
    "BOTH_WAYS",
    "RAMPING",
    "CUT_OVER",
    "BAKING",
    "COMPLETE",
)
NOTES: Final = 9
PLAIN_EVERY_S: Final = 5.0
BESIDE_VALUES: Final = 40  # columns: frame, names of phases and facts, gaps
BESIDE_BARS: Final = 68  # columns: names of phases, and facts with room for the longest usual one


@dataclass(slots=True)
class View:
    """Everything the screen shows; the story fills it in."""

    phase: str = "starting"
    waits_for: str = ""
    progress: dict[str, float] = field(default_factory=dict)
    operations_per_s: float = 0.0
    failed: int = 0
    retried: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    table_to_stream_s: float | None = None
    stream_to_applied_s: float | None = None
    percent_on_target: float | None = None
    ramp_percent: float = 0.0
    parity: str = "not yet"
    faults: str = "off"
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=NOTES))

    def reached(self, phase: str) -> None:
        """Enter a phase: those before it are done."""
        if phase in PHASES:
            for each in PHASES[: PHASES.index(phase)]:
                self.progress[each] = 1.0
            self.progress.setdefault(phase, 0.0)
        self.phase = phase


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} s"


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} %"


class Screen:
    """A live screen on a terminal, a line every few seconds elsewhere, nothing when `quiet`."""

    def __init__(self, view: View, *, quiet: bool, console: Console | None = None) -> None:
        self._view = view
        self._quiet = quiet
        self._console = console or Console()
        self._started_s = time.monotonic()
        self._plain_s = 0.0
        live = not quiet and self._console.is_terminal
        self._live = Live(self.draw(), console=self._console, refresh_per_second=4) if live else None

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.update(self.draw(), refresh=True)
            self._live.stop()

    def note(self, text: str) -> None:
        """Say what the story does now."""
        line = f"{time.monotonic() - self._started_s:5.1f} s  {text}"
        self._view.notes.append(line)
        if self._live is None and not self._quiet:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def update(self) -> None:
        """Show the view as it is now."""
        if self._live:
            self._live.update(self.draw())
        elif not self._quiet and time.monotonic() - self._plain_s > PLAIN_EVERY_S:
            self._plain_s = time.monotonic()
            sys.stdout.write(self._line() + "\n")
            sys.stdout.flush()

    def _line(self) -> str:
        view = self._view
        return (
            f"        {view.phase:<11} {view.operations_per_s:5.0f} op/s  failed {view.failed}  "
            f"p99 {view.p99_ms:.0f} ms  lag {_seconds(view.stream_to_applied_s)}  "
            f"on the target table {_percent(view.percent_on_target)}  parity {view.parity}"
            + (f"  waiting for: {view.waits_for}" if view.waits_for else "")
        )

    def draw(self) -> RenderableType:
        """Return the screen as it is now: always `PANEL_LINES` lines."""
        view = self._view
        bars = Table.grid(padding=(0, 1))
        bar = max(8, min(26, self._console.width - BESIDE_BARS))
        for phase in PHASES:
            share = view.progress.get(phase)
            mark = "[green]✓" if share == 1.0 else "[yellow]▶" if phase == view.phase else " "
            bars.add_row(
                Text.from_markup(mark),
                Text(phase, style="bold" if phase == view.phase else "dim" if share is None else ""),
                ProgressBar(total=1.0, completed=share or 0.0, width=bar),
            )
        facts = Table.grid(padding=(0, 2))
        facts.add_column(no_wrap=True, min_width=len("stream → applied"))
        facts.add_column(no_wrap=True)  # a second line would push the newest note off the panel
        bad = "bold red" if view.failed else "green"
        for name, value in (
            ("operations", f"{view.operations_per_s:.0f} a second"),
            ("failed", Text(f"{view.failed}   (retried {view.retried})", style=bad)),
            ("latency", f"p50 {view.p50_ms:.0f} ms   p99 {view.p99_ms:.0f} ms"),
            ("table → stream", _seconds(view.table_to_stream_s)),
            ("stream → applied", _seconds(view.stream_to_applied_s)),
            ("ramp", f"{view.ramp_percent:.0f} %"),
            ("on the target", _percent(view.percent_on_target)),
            ("parity", view.parity),
            ("faults", view.faults),
        ):
            shown = value if isinstance(value, Text) else Text(value)
            shown.truncate(self._console.width - bar - BESIDE_VALUES, overflow="ellipsis")
            facts.add_row(Text(name, style="dim"), shown)
        top = Table.grid(padding=(0, 3))
        top.add_row(bars, facts)
        waits = Text(
            f"waiting for {view.waits_for}" if view.waits_for else "", "yellow", no_wrap=True, overflow="ellipsis"
        )
        story = Text("\n".join(view.notes), no_wrap=True, overflow="ellipsis")
        title = f"Crossfade  {view.phase}  {time.monotonic() - self._started_s:.0f} s"
        return Panel(Group(top, waits, story), title=title, title_align="left", height=PANEL_LINES)


PANEL_LINES: Final = len(PHASES) + NOTES + 3
