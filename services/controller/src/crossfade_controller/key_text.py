"""Keys on a terminal: one, with both rows side by side; or a class of them, listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from crossfade.contracts.key import AttributeReport, CalledReport, ChangeReport, KeyReport, RowReport, Shown
from crossfade.contracts.parity import DifferencePage, KeyDifference
from crossfade.core.values.clocks import utc
from crossfade_controller.parity_text import told_of
from crossfade_controller.screen import Screen, counted, keys, lasted, plain, quoted, table

EQUAL: Final = "equal"
HARMLESS: Final = frozenset({"in_flight", "in_handover", "held_out"})

WHO: Final = (
    "A change record doesn't name its writer. A write by the protocol raises the version: a record that repeats one, "
    "or has none, is a repair's (`crossfade repair status`) or by a writer outside the protocol (`replicator "
    "dead-letters list` keeps what it wrote). CloudTrail's data events name it: docs/how-to/is-it-safe.md."
)


def key_text(report: KeyReport, screen: Screen) -> str:
    """Return one key as text.

    Args:
        report: of the key.
        screen: that it must fit.
    """
    style = "good" if report.found == EQUAL else "warn" if report.found in HARMLESS else "bad"
    name = screen.styled("strong", plain(report.short or report.key))
    at = f"bucket {report.bucket}, {utc(int(report.at_us))[11:19]} UTC"
    lines = [screen.headed(f"{name}: {screen.styled(style, report.found)}", at)]
    lines += screen.lines(plain(report.means), 2)
    lines += screen.lines(f"do: {plain(report.cure)}", 2, hang=4) if report.cure else []
    if report.cause:
        lines += screen.lines(f"cause: {plain(report.cause)}", 2, hang=4)
    if report.behind_s is not None:
        lines.append(f"  differs for at least {lasted(_differs_s(report, report.behind_s))}")
    lines += ["", *_rows(report), *_attributes(report, screen), *_called(report.called, screen)]
    return "\n".join([*lines, *_changes(report, screen)])


def _differs_s(report: KeyReport, least_s: float) -> float:
    """Return for how long a key is known to differ: a mode may have called it in this class before it was looked at."""
    seen = [int(each.first_seen_us) for each in report.called if each.found == report.found and each.first_seen_us]
    return max([least_s, *((int(report.at_us) - each) / 1e6 for each in seen)])


def _rows(report: KeyReport) -> list[str]:
    """Show what both rows are, side by side."""
    source, target = report.source, report.target
    rows = [
        ["", "source", "target"],
        ["table", *(plain(each.table) if each else "no row" for each in (source, target))],
    ]
    if source or target:
        rows += [
            ["role", *(_role(report, side, row) for side, row in (("source", source), ("target", target)))],
            ["version", *(_told(each, lambda row: plain(row.version or "none")) for each in (source, target))],
            ["generation", *(_told(each, lambda row: plain(row.generation)) for each in (source, target))],
            ["ids", *(_told(each, lambda row: counted(row.ids)) for each in (source, target))],
            ["events at", *(_told(each, lambda row: plain(row.events_version)) for each in (source, target))],
            ["state", *(_told(each, _state) for each in (source, target))],
        ]
    lines = table(rows)
    for side, row in (("source", source), ("target", target)):
        lines += [f"  {side}: {plain(row.trouble)}"] if row and row.trouble else []
        lines += [f"  {side} drops: {', '.join(map(plain, row.dropped))}"] if row and row.dropped else []
    return lines


def _role(report: KeyReport, side: str, row: RowReport | None) -> str:
    """Return a row's role as it is stored, and what that makes it."""
    if row is None:
        return "-"
    means = "" if report.owner is None else ", owner" if report.owner == side else ", standby"
    return f"{plain(row.role or 'none')}{means}"


def _told(row: RowReport | None, tell: Any) -> str:
    return "-" if row is None else str(tell(row))


def _state(row: RowReport) -> str:
    return "deleted" if row.deleted else "held out" if row.held_out else "live"


def _attributes(report: KeyReport, screen: Screen) -> list[str]:
    """Show all attributes of both rows, those that differ marked; values that are long below their name."""
    if not report.attributes:
        return []
    hidden = "; different values have different marks; --reveal shows them" if report.masked else ""
    lines = ["", f"attributes: ! differs{hidden}"]
    names = [_name(each) for each in report.attributes]
    wide = min(max(map(len, names)), screen.width // 3)
    room = (screen.width - 4 - wide - 4) // 2
    for name, each in zip(names, report.attributes, strict=True):
        mark = screen.styled("bad", "!") if each.differs else " "
        values = [_value(each.source), _value(each.target)]
        if len(name) <= wide and max(map(len, values)) <= room:
            lines.append(f"{mark} {name:{wide}}  {values[0]:{room}}  {values[1]}".rstrip())
        else:
            lines += [f"{mark} {name}", f"    source  {values[0]}", f"    target  {values[1]}"]
    return lines


def _name(each: AttributeReport) -> str:
    renamed = f" = {each.target_name}" if each.target_name != each.name else ""
    return plain(each.name + renamed)


def _value(shown: Shown | None) -> str:
    if shown is None:
        return "-"
    if shown.value is None:
        return f"{shown.type} ({counted(shown.length)}) {plain(shown.mark)}"
    value = shown.value if isinstance(shown.value, str) else msgspec.json.encode(shown.value).decode()
    return f"{shown.type} {plain(value)}"


def _called(called: Sequence[CalledReport], screen: Screen) -> list[str]:
    lines = []
    for each in called:
        since = f" since {_at(each.first_seen_us)}" if each.first_seen_us else ""
        last = f", last at {_at(each.last_seen_us)}" if each.last_seen_us else ""
        lines += screen.lines(f"called {plain(each.found)} {_by(each)}{since}{last}", 2, hang=2)
    return ["", "since when", *lines] if lines else []


def _by(each: CalledReport | KeyDifference) -> str:
    return f"by pass {plain(each.pass_id)}" if each.pass_id else f"by the {plain(each.called_by)} mode"


def _changes(report: KeyReport, screen: Screen) -> list[str]:
    """Show the last change records of both tables in one list, the newest first."""
    lines = ["", "last change records, newest first"]
    found = [(side, each) for side, stream in report.streams.items() for each in stream.changes]
    rows = [_change(side, each) for side, each in sorted(found, key=lambda one: -int(one[1].committed_us))]
    lines += table([["", "committed, UTC", "change", "version", "role"], *rows]) if rows else ["  none heard"]
    for side, stream in report.streams.items():
        if not stream.reading:
            lines += screen.lines(f"{side}: the stream isn't being read: {plain(stream.why)}", 2, hang=2)
        if stream.since_s is not None:
            lines.append(f"  {side}: changes of the last {lasted(stream.since_s)} at most")
    return [*lines, "", "who wrote it", *_traces(report), *screen.lines(WHO, 2)]


def _traces(report: KeyReport) -> list[str]:
    """Name the request that the rows' last events are of: the API's, whose traces know the client."""
    found: dict[str, list[str]] = {}
    for side, row in (("source", report.source), ("target", report.target)):
        if row and row.trace:
            found.setdefault(row.trace, []).append(side)
    return [f"  last operation of {' and '.join(sides)}: trace {plain(trace)}" for trace, sides in found.items()]


def _change(side: str, each: ChangeReport) -> list[str]:
    kind = each.kind + (" (TTL)" if each.expired else "")
    version = plain(each.version) if each.version else "none: not by the protocol"
    return [side, utc(int(each.committed_us))[:-1], kind, version, plain(each.role or "-")]


def _at(at_us: str | None) -> str:
    return "unknown" if at_us is None else utc(int(at_us))[:19] + "Z"


class Listed(NamedTuple):
    """What was listed.

    Attributes:
        found: the class; None for all.
        bucket: its number; None for all.
        total: keys of the class, listed or not; None where only the listed ones are known.
        go_on: the last key, where more may follow; None after the last page.
        left: how many follow; None if unknown.
    """

    found: str | None
    bucket: int | None
    total: int | None
    go_on: str | None
    left: int | None


def page_text(page: DifferencePage, what: Listed, screen: Screen) -> str:
    """Return listed keys as text.

    Args:
        page: the keys, and what their classes mean.
        what: was listed.
        screen: that it must fit.
    """
    count = len(page.differences) if what.total is None else what.total
    name = what.found or f"bucket {what.bucket}"
    style = "good" if not count else "warn" if what.found in HARMLESS else "bad"
    at = f" in bucket {what.bucket}" if what.found and what.bucket is not None else ""
    lines = [f"{screen.styled(style, name)}: {keys(count)}{at}{' listed' if what.go_on and what.total is None else ''}"]
    for each in dict.fromkeys(one.found for one in page.differences):
        prefix = "" if what.found else f"{plain(each)}: "
        lines += screen.lines(f"{prefix}{plain(page.means.get(each, ''))}", 2)
        lines += screen.lines(f"do: {plain(page.cures.get(each, ''))}", 2, hang=4)
    for one in page.differences:
        lines += _listed(one, screen, names_class=not what.found)
    if what.go_on:
        options = f" --class {what.found}" if what.found else ""
        options += f" --bucket {what.bucket}" if what.bucket is not None else ""
        more = "more" if what.left is None else f"{counted(what.left)} more"
        lines += ["", f"{more}: crossfade parity{options} --after {quoted(what.go_on)}"]
    return "\n".join(lines)


def _listed(each: KeyDifference, screen: Screen, *, names_class: bool) -> list[str]:
    found = f": {plain(each.found)}" if names_class else ""
    lines = ["", screen.styled("strong", plain(each.short or each.key)) + found]
    since = f"since {_at(each.first_seen_us)}" if each.first_seen_us else "since when is unknown"
    last = f", last seen {_at(each.last_seen_us)}" if each.last_seen_us else ""
    lines += screen.lines(f"{since}{last}, {_by(each)}", 2, hang=2)
    sample: Mapping[str, Any] = {**(each.sample or {}), **({"cause": each.cause} if each.cause else {})}
    told = told_of(sample)
    return [*lines, *(screen.lines(told, 2, hang=2) if told else [])]
