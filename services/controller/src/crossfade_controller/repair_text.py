"""Repairs on a terminal: the whole plan with its id, how far it is, and what became of each key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from crossfade.contracts.repairs import RepairList, RepairReport, RowSeen, StepReport
from crossfade.core.values.clocks import utc
from crossfade_controller.screen import Screen, counted, keys, lasted, plain, quoted, table

_STYLES: Final = {"done": "good", "failed": "bad", "expired": "bad", "paused": "warn", "cancelled": "warn"}
RESUME: Final = "crossfade resume --execute"


def plan_text(report: RepairReport, screen: Screen) -> str:
    """Return a plan as text: every step of it, and how it is carried out.

    Args:
        report: with all its steps.
        screen: that it must fit.
    """
    lines = [_head(report, screen), *_asked(report, screen), *_steps(report.steps, screen), ""]
    if report.because:
        lines += screen.lines(plain(report.because), 0)
    if report.state == "planned" and report.writes:
        lines += [
            f"nothing was written; to carry out exactly this, until {_time(report.expires_at_us)}:",
            f"  crossfade repair execute {report.id} --wait",
        ]
    elif report.state == "planned":
        lines.append("nothing to carry out: no step of it writes")
    return "\n".join([*lines, *_left(report)])


def repair_text(report: RepairReport, screen: Screen) -> str:
    """Return a repair as text: who asked, how far it is, what became of the keys; those still wrong by name."""
    lines = [_head(report, screen), *_asked(report, screen)]
    if report.state == "planned":
        lines.append(f"  to carry it out: crossfade repair execute {report.id} --wait")
        return "\n".join([*lines, *_steps(report.steps, screen)])
    if report.executed_by:
        began = f"carried out for {plain(report.executed_by)}, from {_time(report.begun_at_us)}"
        lines += screen.lines(f"{began}, at most {report.pace} keys/s", 2, hang=2)
    if report.cancelled_by:
        lines.append(f"  cancelled by {plain(report.cancelled_by)}")
    if report.because:
        lines += screen.lines(plain(report.because), 2, hang=2)
    if report.state == "paused":
        lines.append(f"  the migration is paused; it goes on after: {RESUME}")
    elif report.ended_at_us is None and report.begun_at_us:
        lines.append(f"  {progress_text(report)}")
    lines += [
        f"  {screen.styled(_style_of(name), name)}: {counted(count)}"
        for name, count in report.outcomes.items()
        if count
    ]
    wrong = [each for each in report.steps if each.outcome and _style_of(each.outcome) == "bad"]
    lines += _steps(wrong, screen)
    if report.state == "done":
        lines += ["", "only a later clean pass counts: crossfade verify start --wait"]
    return "\n".join([*lines, *_left(report)])


def progress_text(report: RepairReport) -> str:
    """Return how far a repair is, in a line."""
    said = [f"{report.id}: {report.state}"]
    if report.state == "planning":
        return plain(f"{said[0]}, {keys(report.keys)} read")
    said.append(f"{counted(report.done)} of {keys(report.keys)}")
    said += [f"{report.rate_per_s:.1f} keys/s"] if report.rate_per_s is not None else []
    said += [f"{lasted(report.eta_s)} left"] if report.eta_s is not None else []
    said += [f"{count} {name}" for name, count in report.outcomes.items() if count]
    said += [f"on {report.verifier}"] if report.verifier else []
    said += [report.because] if report.because else []
    said += [f"then: {RESUME}"] if report.state == "paused" else []
    return plain(", ".join(said))


def _head(report: RepairReport, screen: Screen) -> str:
    style = (
        "bad"
        if any(count and _style_of(name) == "bad" for name, count in report.outcomes.items())
        else _STYLES.get(report.state, "strong")
    )
    return screen.styled(style, f"repair {plain(report.id)}: {report.state}")


def _style_of(outcome: str) -> str:
    return "good" if outcome in {"repaired", "already right"} else "bad"


def _asked(report: RepairReport, screen: Screen) -> list[str]:
    said = ", ".join(f"{name} {plain(value)}" for name, value in report.asked.items() if value is not None)
    lines = screen.lines(f"planned by {plain(report.planned_by)} at {_time(report.planned_at_us)}: {said}", 2, hang=2)
    counts = ", ".join(f"{count} {plain(name)}" for name, count in report.by_class.items() if count)
    acts = ", ".join(f"{name} {count}" for name, count in report.by_action.items() if count)
    return [
        *lines,
        f"  {keys(report.keys)} ({counts or 'none'}), of which {counted(report.writes)} are written",
        *([f"  {acts}"] if acts else []),
    ]


def _steps(steps: Sequence[StepReport], screen: Screen) -> list[str]:
    lines = [""] if steps else []
    for each in steps:
        where = f" in {each.table}" if each.table else ""
        act = f"{plain(each.action)}{where}" if each.writes else "left alone"
        lines.append(f"{each.number:>4}  {screen.styled('strong', plain(each.key))}")
        lines += screen.lines(f"{plain(each.found)}: {act}: {plain(each.why)}", 6, hang=2)
        seen = "; ".join(f"{side} {_seen(row)}" for side, row in (("source", each.source), ("target", each.target)))
        lines += screen.lines(
            seen + (f"; differs in {', '.join(map(plain, each.differs))}" if each.differs else ""), 6, hang=2
        )
        if each.outcome:
            lines += screen.lines(f"-> {plain(each.outcome)}", 6, hang=3, style=_style_of(each.outcome))
    return lines


def _seen(row: RowSeen | None) -> str:
    if row is None:
        return "has nothing"
    return (
        f"{plain(row.role or 'no role')} at {plain(row.version or 'no version')}{' (deleted)' if row.deleted else ''}"
    )


def _left(report: RepairReport) -> list[str]:
    """Say what the plan leaves out: nothing is truncated without a word."""
    if not report.left:
        return []
    lines = ["", f"not in this plan: {keys(report.left)} of the class"]
    if report.go_on is None:
        return [*lines, "  to find them: crossfade verify start --wait"]
    return [*lines, f"  the next plan: crossfade repair plan {_options(report.go_on)}"]


def _options(body: Mapping[str, object]) -> str:
    return " ".join(
        f"--{name} {quoted(str(value)) if name == 'after' else plain(value)}" for name, value in body.items()
    )


def list_text(repairs: RepairList, most: int, screen: Screen) -> str:
    """Return the last repairs as text, the newest first."""
    if not repairs.repairs:
        return "no repair was ever planned"
    rows = [["planned, UTC", "repair", "state", "keys", "done", "asked by"]]
    for each in repairs.repairs[:most]:
        state = screen.styled(_STYLES.get(each.state, "strong"), each.state)
        who = plain(each.executed_by or each.planned_by)
        rows.append([_time(each.planned_at_us), plain(each.id), state, counted(each.keys), counted(each.done), who])
    more = len(repairs.repairs) - most
    return "\n".join(
        [*table(rows, indent=0, right=(3, 4)), *([f"{more} more: --limit {len(repairs.repairs)}"] if more > 0 else [])]
    )


def _time(at_us: str | None) -> str:
    return "-" if at_us is None else utc(int(at_us))[:19].replace("T", " ")
