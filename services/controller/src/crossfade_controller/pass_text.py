"""Passes on a terminal: how far one is, what it found, what it costs."""

from __future__ import annotations

from typing import Final

from crossfade.contracts.parity import PassList, PassReport
from crossfade.core.values.clocks import utc
from crossfade_controller.screen import Screen, counted, keys, lasted, plain, table

DONE: Final = "done"
OVER: Final = frozenset({DONE, "failed", "given up", "cancelled"})
"""States of a pass that nothing leaves."""


def counts(each: PassReport) -> bool:
    """Say whether a pass proves that both tables are equal."""
    return each.state == DONE and each.clean and not each.with_repairs


def progress_text(each: PassReport) -> str:
    """Return a pass's progress in a line: stage, percent, rate, time left, read units."""
    said = [f"{each.id}: {each.stage or each.state}"]
    said += [f"{each.percent:g} %"] if each.percent is not None else []
    said += [f"{counted(sum(each.scanned.values()))} rows read"] if each.scanned is not None else []
    said += [f"{counted(each.rows_per_s)} rows/s"] if each.rows_per_s is not None else []
    said += [f"{lasted(each.eta_s)} left"] if each.eta_s is not None else []
    said += [units] if (units := units_text(each)) else []
    said += [f"{keys(each.following)} followed"] if each.following else []
    differ = sum(each.differences.values())
    said += [f"{keys(differ)} differing so far"] if differ else []
    said += [f"on hold: {each.held}"] if each.held else []
    said += [f"retrying: {each.trouble}"] if each.trouble else []
    return plain(", ".join(said))


def units_text(each: PassReport) -> str:
    """Return a pass's read units, used and expected; empty where they are unknown."""
    if each.read_units is None and each.read_units_expected is None:
        return ""
    if each.state in OVER or each.read_units_expected is None:
        return f"{counted(each.read_units)} read units"
    return f"{counted(each.read_units or 0)} of about {counted(each.read_units_expected)} read units"


def cost_text(passes: PassList) -> str:
    """Return what a pass costs by the last one that is done; empty where there is none."""
    for each in passes.passes:
        if each.state == DONE:
            units = f" and {counted(each.read_units)} read units" if each.read_units else ""
            return f"the last pass took {lasted(each.took_s)}{units}"
    return ""


def ended_text(each: PassReport) -> str:
    """Return a pass that is over in a line: what it found, when it ended, how long it took."""
    said = [f"{each.id}: {each.state}"]
    if each.state == DONE:
        said.append("clean" if each.clean else "not clean")
    said += [f"ended {lasted(each.age_s)} ago"] if each.age_s is not None else []
    said += [f"took {lasted(each.took_s)}"] if each.took_s is not None else []
    said += [f"{keys(each.verified)} equal"] if each.verified else []
    said += [units] if (units := units_text(each)) else []
    said += [f"{counted(each.repairs)} repaired meanwhile, so it doesn't count"] if each.with_repairs else []
    return plain(", ".join(said) + (f" ({each.why})" if each.why else ""))


def pass_lines(each: PassReport, screen: Screen) -> str:
    """Return one pass as text: what it found or how far it is, and what it costs."""
    head = f"pass {plain(each.id)}: {plain(each.state)}"
    if each.state == DONE:
        head += ", clean" if each.clean else ", not clean"
    lines = [screen.styled("good" if counts(each) else "bad" if each.state == DONE else "warn", head)]
    if each.asked:
        lines.append(f"  requested by {plain(each.who or 'an operator')}")
    if each.begun_us:
        lines.append(f"  began {utc(int(each.begun_us))}")
    if each.ended_us:
        lines.append(f"  ended {utc(int(each.ended_us))}, after {lasted(each.took_s)}")
    if each.state not in OVER:
        lines += screen.lines(progress_text(each), 2, hang=2)
    elif units := units_text(each):
        lines.append(f"  {units}")
    if each.units and each.pods:
        lines += screen.lines(
            f"{each.units_done or 0} of {each.units} parts, on {plain(', '.join(each.pods))}", 2, hang=2
        )
    if each.verified:
        lines.append(f"  equal: {keys(each.verified)}")
    for name, count in sorted(each.differences.items()):
        lines += [f"  {plain(name)}: {keys(count)}: crossfade parity --class {plain(name)}"] if count else []
    if each.with_repairs:
        lines.append(f"  {keys(each.repairs)} repaired meanwhile, so it doesn't count as clean")
    return "\n".join([*lines, *(screen.lines(plain(each.why), 2, hang=2) if each.why else [])])


def list_text(passes: PassList, most: int, screen: Screen) -> str:
    """Return the last passes as text, and how far the running one is.

    Args:
        passes: the newest first.
        most: how many to show.
        screen: that it must fit.
    """
    gone = {each.id for each in passes.passes if each.state in OVER}
    running = passes.running if passes.running and passes.running.id not in gone else None  # it may hear of it later
    lines = ["running", *screen.lines(progress_text(running), 2, hang=2), ""] if running else []
    over = [each for each in passes.passes if running is None or each.id != running.id]
    if not over:
        return "\n".join([*lines, "no other pass is known"])
    rows = [["ended, UTC", "pass", "found", "took", "read units"]]
    for each in over[:most]:
        ended = utc(int(each.ended_us))[:19].replace("T", " ") if each.ended_us else "-"
        took = "-" if each.took_s is None else lasted(each.took_s)
        units = counted(each.read_units) if each.read_units else "-"
        rows.append([ended, plain(each.id), _found(each, screen), took, units])
    lines += table(rows, indent=0, right=(3, 4))
    return "\n".join(lines + ([f"{len(over) - most} more: --limit {len(over)}"] if len(over) > most else []))


def _found(each: PassReport, screen: Screen) -> str:
    if each.state != DONE:
        return plain(each.state)
    if each.clean:
        return "clean, with repairs" if each.with_repairs else screen.styled("good", "clean")
    found = ", ".join(f"{count} {name}" for name, count in each.differences.items() if count)
    return screen.styled("bad", plain(found or "not clean"))
