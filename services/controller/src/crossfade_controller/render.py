"""Answers as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossfade.core.mapping.facts import INEXACT_CURE
from crossfade.core.values.clocks import utc
from crossfade_controller.screen import counted, lasted


def _mark(is_open: bool) -> str:
    return "ok  " if is_open else "SHUT"


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} s"


def _command(verb: str, arguments: Mapping[str, Any]) -> str:
    """Spell an intent as it was typed: the journal keeps shares in basis points."""
    if verb == "ramp":
        return f"ramp {arguments['share'] / 100:g}"
    options = [(name.replace("_", "-"), value) for name, value in arguments.items() if value]
    return " ".join([verb, *(f"--{name}" if value is True else f"--{name} {value}" for name, value in options)])


def intent_text(asked: Mapping[str, Any]) -> str:
    """Tell a command that has no outcome yet: what, who, which entry, until when."""
    ends = f", expires {utc(asked['expires_us'])}" if asked["expires_us"] and not asked["acted"] else ""
    return f"{_command(asked['verb'], asked['arguments'])} by {asked['who']}, entry {asked['number']}{ends}"


def figure(value: float) -> str:
    """Return a figure without an exponent, to about four digits."""
    if value == 0 or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if value >= 0.001 else "under 0.001"


def status_text(body: Mapping[str, Any]) -> str:
    """Return a status as text; figures that are not known are said to be unknown."""
    lines = [f"{body['migration']}: {body['phase']}"]
    age_s, teller = body.get("age_s"), body.get("driver") or "a controller"
    if age_s is None:
        lines.append(
            "  no controller has reported a status yet: the controller may not be running (runbook no-controller)"
        )
    elif body.get("is_old"):
        lines.append(
            f"  this status is OLD, {teller} reported it {age_s:,.0f} s ago: the controller may not be running "
            "(runbook "
            "no-controller)"
        )
    else:
        lines.append(f"  reported {age_s:.1f} s ago by {teller}")
    if body.get("paused"):
        lines += _pause_lines(body.get("pause") or {})
    if body.get("halted"):
        lines.append(f"  HALTED: {body['halted']}")
        lines.append("    clears automatically when its gate opens, and a waiting command continues;")
        lines.append("    a lower share and a rollback are carried out anyway")
    if body.get("clock"):
        lines.append(f"  CLOCK: {body['clock']}")
    intent = body.get("intent")
    for each in body.get("intents") or ([intent] if intent else []):
        lines.append(f"  {'requested' if each['taken_up'] else 'not accepted yet'}: {intent_text(each)}")
        lines.append(f"    to withdraw it: crossfade withdraw {each['number']} --execute")
    last = body.get("last_outcome")
    if last and not intent:
        lines.append(
            f"  last command: {last['verb']}: {last['outcome']}{': ' if last['because'] else ''}{last['because']}"
        )
    lines.append(f"  waiting for: {body.get('waiting_for') or 'nothing'}")
    if "document" in body:
        owning = body.get("owning")
        lines += _owning_lines(owning, body.get("at_us")) if owning else _share_lines(body)
        if body["eta_s"] is not None:
            lines.append(f"  this pass ends in about {body['eta_s']:.0f} s")
        for name, lag in body["lag"].items():
            lines.append(
                f"  {name}: table to stream {_seconds(lag['unreplicated_s'])}, "
                f"stream to applied {_seconds(lag['iterator_s'])}"
            )
        applying = {consumer: rate for consumer, rate in body["throughput_per_s"].items() if consumer != "api"}
        rates = ", ".join(f"{consumer} {rate:g}/s" for consumer, rate in sorted(applying.items()))
        lines.append(f"  applied: {rates or 'unknown'}")
        if not owning:
            lines.append(f"  pods: {sum(not each['expired'] for each in body['pods'])} live")
    lines += _snapshot_lines(body)
    lines += _held_out_lines(body.get("held_out") or {})
    lines += _stray_lines(body.get("strays") or {})
    lines += gate_lines(body.get("gates", []))
    return "\n".join(lines)


def _share_lines(body: Mapping[str, Any]) -> list[str]:
    """Tell how far the keys have moved."""
    document, percent = body["document"], body["percent_on_target"]
    return [
        f"  share {body['share_percent']:g} %, generations target {document['target_gen']} source "
        f"{document['source_gen']}, dual write {'on' if body['dual_write'] else 'off'}",
        f"  keys on the target table: {'unknown' if percent is None else f'{percent:g} %'}",
        f"  in handover for too long: {body['in_handover']}",
    ]


def _owning_lines(owning: Mapping[str, Any], at_us: int | None) -> list[str]:
    """Tell which table owns, and whether writes are held."""
    since_us, last_s = owning["held_since_us"], owning["last_stop_s"]
    lines = [f"  {owning['table']} owns (the {owning['owner']} table): {owning['state']}, epoch {owning['epoch']}"]
    if since_us is not None and at_us is not None:
        lines.append(f"  WRITES ARE HELD, for {max(0.0, (at_us - since_us) / 1e6):.1f} s by now")
    elif last_s is not None:
        lines.append(f"  the last write stop took {last_s:.1f} s")
    return lines


def _snapshot_lines(body: Mapping[str, Any]) -> list[str]:
    """Tell how far the snapshot is, and of rows whose numbers can't be answered exactly."""
    lines = []
    if progress := body.get("progress"):
        lines.append(f"  {_progress_line(progress)}")
    if (mapped := (body.get("snapshot") or {}).get("map") or {}).get("inexact"):
        lines.append(
            f"  WARNING: {mapped['inexact']} rows have numbers that can't be answered exactly, listed in "
            f"{mapped['inexact_files']}"
        )
        lines += [f"    {each}" for each in (*mapped["inexact_samples"], INEXACT_CURE)]
    return lines


def _progress_line(progress: Mapping[str, Any]) -> str:
    """Tell how far a step is, how fast it goes and how long it takes yet."""
    done, total, eta_s = progress["done"], progress["total"], progress["eta_s"]
    parts = []
    if done is not None and total is not None:
        percent = f" ({100 * done / total:.0f} %)" if total else ""
        parts.append(f"{counted(done)} of {counted(total)} {progress['unit']}{percent}")
    elif total is not None:
        parts.append(f"about {counted(total)} {progress['unit']}")
    parts += [progress["detail"]] if progress["detail"] else []
    parts += [f"{counted(round(progress['per_s']))}/s"] if progress["per_s"] else []
    parts.append(f"running for {lasted(progress['running_s'])}")
    parts.append("time left unknown" if eta_s is None else f"about {lasted(eta_s)} left")
    return f"{progress['step']}: {', '.join(parts)}"


def gate_lines(gates: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tell each gate's verdict; below a shut one, what helps."""
    lines = []
    for gate in gates:
        lines.append(f"  {_mark(gate['open'])} {gate['name']}: {gate['because']}")
        if gate.get("cure"):
            lines.append(f"         {gate['cure']}")
    return lines


def _pause_lines(pause: Mapping[str, Any]) -> list[str]:
    lines = [f"  PAUSED by {pause.get('by') or 'an operator'}; to go on: crossfade resume --execute"]
    lines += [f"    on hold: {each}" for each in pause.get("rests", ())]
    return lines + [f"    continues: {each}" for each in pause.get("goes_on", ())]


def _held_out_lines(held: Mapping[str, Any]) -> list[str]:
    """Name the keys that can't move to the target table."""
    if not held.get("keys"):
        return []
    lines = [f"  held out (can't move to the target table): {held['keys']}"]
    lines += [f"    {each['key']}: {each['because']}" for each in held["named"]]
    return [*lines, f"    {held['cure']}"]


def _stray_lines(strays: Mapping[str, Any]) -> list[str]:
    """Name the writes outside the protocol; without alarm while they are normal."""
    if not strays:
        return []
    if not strays["watched"]:
        return ["  writers outside the protocol: normal until BOTH_WAYS; each has to be stopped or moved before that"]
    if not strays["named"] and strays["waiting"] == 0:
        return ["  strays (writes outside the protocol): none"]
    waiting = "unknown" if strays["waiting"] is None else strays["waiting"]
    lines = [f"  strays (writes outside the protocol): {waiting} need a decision"]
    for each in strays["named"]:
        lines.append(f"    {each['key']} in {each['table']} at {utc(each['at_us'])}")
        lines.append(f"      {each['letter']}: {each['cure']}")
    return lines
