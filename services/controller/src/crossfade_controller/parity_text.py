"""The report of GET /parity on a terminal: is it safe, what differs, and what is it made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crossfade.contracts.parity import DifferenceReport, LagReport, ParityReport
from crossfade.core.values.clocks import utc
from crossfade_controller.pass_text import ended_text, progress_text
from crossfade_controller.screen import Screen, counted, keys, lasted, plain, quoted, table

SHOWN: Final = 3
"""Samples of a class on the screen; `--class` lists them all."""

_HARMLESS: Final = {"in_flight", "in_handover", "held_out"}
_VERDICTS: Final = {"clean": "good", "drift": "bad"}


def report_text(report: ParityReport, screen: Screen) -> str:
    """Return a report as text.

    Args:
        report: as the verifier gave it.
        screen: that it must fit.
    """
    lines = [*_head(report, screen), *_reasons(report, screen), *_differences(report, screen)]
    lines += [*_passes(report, screen), *_continuous(report, screen), *_tables(report)]  # what moves comes first
    return "\n".join([*lines, *_lags(report, screen), *_inputs(report, screen)])


def change_text(report: ParityReport) -> str:
    """Return a report as one line, for a log of its changes."""
    safe = "safe" if report.safe_to_cut_over.answer else "NOT safe"
    running = f"; pass {report.running_pass.id} {report.running_pass.stage or 'runs'}" if report.running_pass else ""
    why = "" if report.safe_to_cut_over.answer else f": {'; '.join(sorted(set(map(_input_of, report.because))))}"
    return plain(f"{utc(int(report.at_us))} {report.verdict}: {report.reason}; {safe}{why}{running}")


def changing(report: ParityReport) -> tuple[Any, ...]:
    """Return what makes a report another one than before: not its ages, which always move, nor a pass's progress."""
    counts = {name: each.count for name, each in report.differences.items() if each.count}
    running = report.running_pass.id if report.running_pass else None
    against = sorted(map(_input_of, report.because))
    return report.verdict, report.reason, report.safe_to_cut_over.answer, against, counts, running


def _input_of(reason: str) -> str:
    """Return the input that a reason begins with."""
    return reason.partition(": ")[0]


def _head(report: ParityReport, screen: Screen) -> list[str]:
    because, what = report.because, _what(report)
    if report.safe_to_cut_over.answer:
        said = screen.styled("good", f"SAFE to {what}")
    else:
        said = screen.styled("bad", f"NOT SAFE to {what}: {len(because)} reason{'s' if len(because) != 1 else ''}")
    verdict = screen.styled(_VERDICTS.get(report.verdict, "warn"), report.verdict)
    pair = report.inputs.get("passes")
    at = utc(int(report.at_us))[11:19] + " UTC"
    lines = [screen.headed(said, plain(pair.of) if pair and pair.of else ""), screen.headed(f"verdict: {verdict}", at)]
    lines += screen.lines(plain(report.reason), 2)
    if report.owner is not None:
        flip = "" if report.owner.open else f"; {plain(report.owner.why)}"
        lines += screen.lines(f"owner: {plain(report.owner.table)}, the {plain(report.owner.side)} table{flip}", 2)
    return lines


def _what(report: ParityReport) -> str:
    """Return what is safe, or not: a flip to the table that doesn't own."""
    return "roll back" if report.owner is not None and report.owner.side == "target" else "cut over"


def _reasons(report: ParityReport, screen: Screen) -> list[str]:
    said = report.safe_to_cut_over
    lines = ["", "why" if said.answer else "why not"]
    for each in said.because:
        lines += screen.lines(("- " if said.answer else "! ") + plain(each), 2, hang=2)
    return lines


def _differences(report: ParityReport, screen: Screen) -> list[str]:
    """Show each class that has keys, drift first, with its cure and samples."""
    found = {name: each for name, each in report.differences.items() if each.count}
    if report.not_ours_in_target:
        found["not ours"] = report.not_ours
    if not found:
        return ["", "differences: none" if report.last_pass else "differences: none so far; no pass has ended yet"]
    lines = ["", "differences"]
    for name, each in sorted(found.items(), key=lambda one: (one[0] in _HARMLESS, one[0])):
        style = "warn" if name in _HARMLESS else "bad"
        lines += [f"  {screen.styled(style, name)}: {keys(each.count)}"]
        lines += _samples(name, each, screen)
        lines += screen.lines(f"do: {plain(each.cure)}", 4, hang=4) if each.cure else []
    return lines


def _samples(name: str, found: DifferenceReport, screen: Screen) -> list[str]:
    lines, samples = [], sorted(found.samples, key=lambda each: str(each.get("key")))[:SHOWN]
    for sample in samples:
        lines.append("    " + screen.styled("strong", plain(sample.get("key", "?"))))
        told = told_of(sample)
        lines += screen.lines(told, 6, hang=2) if told else []
    if found.count > SHOWN and name != "not ours":
        lines.append(f"    all of them: crossfade parity --class {name}")
    elif samples and name != "not ours":
        lines.append(f"    one of them: crossfade parity --key {quoted(str(samples[0].get('key', '?')))}")
    return lines


def told_of(sample: Mapping[str, Any]) -> str:
    """Return what a sample says of its key: owner, versions, what differs, the cause."""
    said = [f"owner {plain(sample['owner'])}"] if sample.get("owner") else []
    rows = {side: sample[side] for side in ("source", "target") if side in sample}
    standing = {side: _standing(row) for side, row in rows.items()}
    if len(rows) == 2 and len(set(standing.values())) == 1 and None not in rows.values():
        said.append(f"both {standing['source']}")
    else:
        said += [f"{side} {each}" for side, each in standing.items()]
    if sample.get("differs"):
        said.append(f"differs in {', '.join(map(plain, sample['differs']))}")
    if sample.get("cause"):
        said.append(plain(sample["cause"]))
    return "; ".join(said)


def _standing(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "has nothing"
    version = f"at {plain(row['version'])}" if row.get("version") else "without a version"
    return f"{version}{' (deleted)' if row.get('deleted') else ''}"


def _tables(report: ParityReport) -> list[str]:
    sides = {name: report.sides[name] for name in ("source", "target") if name in report.sides}
    if not any(each.scanned is not None for each in sides.values()):
        return []
    rows = [
        ["last pass", *sides],
        ["rows read", *(counted(each.scanned) for each in sides.values())],
        ["belonging", *(counted(each.belonging) for each in sides.values())],
        ["live items", *(counted(each.items) for each in sides.values())],
        ["digest", *((each.digest or "?")[:16] for each in sides.values())],
    ]
    dropped = {name for each in sides.values() for name in each.dropped}
    rows += [
        [f"drops {plain(name)}", *(counted(each.dropped.get(name, 0)) for each in sides.values())]
        for name in sorted(dropped)
    ]
    head, *rest = table(rows, indent=2, right=(1, 2))
    buckets = report.buckets
    numbers = ", ".join(map(str, buckets.numbers)) + ("…" if buckets.differing > len(buckets.numbers) else "")
    tail = f"  buckets that differ: {counted(buckets.differing)} of {counted(buckets.count)}"
    look = [f"    crossfade parity --bucket {buckets.numbers[0]}"] if buckets.numbers else []
    return ["", head[2:], *rest, tail + (f": {numbers}" if numbers else ""), *look]


def _passes(report: ParityReport, screen: Screen) -> list[str]:
    lines = ["", "passes"]
    if report.running_pass:
        lines += screen.lines(f"running {progress_text(report.running_pass)}", 2, hang=2)
    elif report.resting:
        lines += screen.lines(f"none now: {plain(report.resting)}", 2, hang=2)
    for name, each in (("last", report.last_pass), ("last clean", report.last_clean_pass)):
        if each is None:
            lines.append(f"  {name}: none yet")
        elif name == "last" or report.last_pass is None or each.id != report.last_pass.id:
            lines += screen.lines(f"{name} {ended_text(each)}", 2, hang=2)
    handover = report.in_handover
    if handover.keys:
        over = f", {handover.over_bound} for more than {lasted(handover.bound_s)}" if handover.over_bound else ""
        lines.append(f"  in handover: {keys(handover.keys)}{over}")
        lines += [f"    {plain(each.get('key'))} for {lasted(each.get('age_s'))}" for each in handover.oldest[:SHOWN]]
    return lines


def _continuous(report: ParityReport, screen: Screen) -> list[str]:
    """Show what the change records of both streams say, between passes."""
    told = report.continuous
    if told is None:
        return []
    if told.resting:
        return ["", "continuous", *screen.lines(f"not heard: {plain(told.resting)}", 2, hang=2)]
    said = [f"{counted(sum(told.heard.values()))} records heard in {lasted(told.since_s)}"]
    said += [f"{counted(told.verified)} verified", f"{keys(told.open)} open"]
    said += [f"{keys(told.following)} followed"] if told.following else []
    differ = sum(each.count for each in told.called.values())
    said += [f"{keys(differ)} differing now"] if differ else []
    said += [f"{keys(told.unobserved)} unobserved until a pass sees them"] if told.unobserved else []
    said += [f"{counted(told.buckets_off)} buckets off"] if told.buckets_off else []
    said += [f"retrying: {plain(told.trouble)}"] if told.trouble else []
    return ["", "continuous", *screen.lines(", ".join(said), 2, hang=2)]


def _lags(report: ParityReport, screen: Screen) -> list[str]:
    lines = ["", "lags"]
    for name, lag in report.lags.items():
        lines += screen.lines(f"{name}: {_lag(lag)}", 2, hang=2)
    return lines


def _lag(lag: LagReport) -> str:
    hop = lasted(lag.table_to_stream_s)
    if lag.table_to_stream_unknown:
        hop += f" ({plain(lag.table_to_stream_unknown)})"
    read = lasted(lag.stream_read_s) + (f" ({plain(lag.stream_read_unknown)})" if lag.stream_read_unknown else "")
    said = [f"table to stream {hop}", f"stream read {read}"]
    p50_ms = lag.crossing.get("p50_ms")
    if p50_ms is not None:
        said.append(f"to the other table {lasted(p50_ms / 1000)} (median of {counted(lag.crossing.get('samples'))})")
    if lag.records_unreadable:
        said.append(f"{counted(lag.records_unreadable)} records can't be decoded")
    return ", ".join(said)


def _inputs(report: ParityReport, screen: Screen) -> list[str]:
    """Show what the answer is made of: each input, how old its last answer is, and how old it may be."""
    if not report.inputs:
        return []
    against = {_input_of(each) for each in report.because}
    rows = [["made of", "age", "may be", ""]]
    for name, each in report.inputs.items():
        mark = screen.styled("bad", "!") if name in against else ""
        rows.append([f"{plain(name)}", lasted(each.age_s), lasted(each.bound_s), mark])
    head, *rest = table(rows, indent=2, right=(1, 2))
    return ["", head[2:], *rest]
