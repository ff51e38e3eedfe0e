"""`crossfade journal`: what happened, entry by entry, as it was written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from crossfade.contracts.journal import Entry
from crossfade.core.values.clocks import utc

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def since_of(text: str, now_us: int) -> tuple[int, int]:
    """Read --since: "120", an entry; "90s", "15m", "2h", "3d", so long ago; "2026-11-28T09:00:00", a time, UTC.

    Args:
        text: what was asked.
        now_us: wall clock, µs.

    Returns:
        The first entry's number, and the earliest writing time, µs; one of them is 0.

    Raises:
        ValueError: it is none of these.
    """
    if text.isdecimal():
        return int(text), 0
    if found := re.fullmatch(r"(\d+)([smhd])", text):
        return 0, now_us - int(found[1]) * _SECONDS[found[2]] * 1_000_000
    moment = datetime.fromisoformat(text)
    return 0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)


def journal_json(migration: str, entries: list[Entry]) -> dict[str, Any]:
    """Return entries as JSON."""
    return {"migration": migration, "entries": [each.to_dict() | {"body": veiled_body(each.body)} for each in entries]}


def veiled_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of an entry: letters that were discarded or merged are kept with their rows, unshown."""
    made = dict(body)
    for name in ("discarded", "merging"):
        letter = made.get(name)
        if isinstance(letter, Mapping) and "payload" in letter:
            changes = [each["name"] if isinstance(each, Mapping) else each for each in letter.get("changes", ())]
            size = len(str(letter["payload"]).encode())
            veiled = {**letter, "payload": f"{size} bytes, in the journal's table"}
            made[name] = veiled | ({"changes": changes} if changes else {})
    return made


def journal_text(entries: list[Entry]) -> str:
    """Return entries as text, a line each."""
    if not entries:
        return "no entries"
    return "\n".join(
        f"{each.number:>6}  {utc(each.at_us)}  {each.kind:<10}  {_told(each)}  [{each.who}]" for each in entries
    )


def _told(entry: Entry) -> str:
    body = entry.body
    match entry.kind:
        case "intent":
            arguments = {name: value for name, value in body.get("arguments", {}).items() if value}
            return " ".join([str(body["verb"]), *(f"{name}={value}" for name, value in arguments.items())])
        case "admitted":
            return f"entry {body['intent']} is taken up"
        case "outcome":
            because = f": {body['because']}" if body.get("because") else ""
            return f"entry {body['intent']}, {body.get('verb', 'command')}: {body['outcome']}{because}"
        case "phase":
            return f"{body['from']} -> {body['to']}"
        case "begun":
            return f"{body['step']} begins"
        case "step":
            return f"{body['step']} is done"
        case "share":
            document = body["document"]
            share = f"share {document['share'] / 100:g} %, generations new {document['target_gen']}"
            dual_write = "on" if body["dual_write"] else "off"
            return f"{share} source {document['source_gen']}, dual write {dual_write}"
        case "halt":
            return f"HALTED: {body['because']}" if body["because"] else "the halt clears"
        case "pause":
            return f"{'paused' if body['paused'] else 'resumed'} by {body.get('who') or 'an operator'}"
        case _:
            return _fields(veiled_body(body))


def _fields(body: Mapping[str, Any], limit: int = 160) -> str:
    text = ", ".join(f"{name}={value}" for name, value in body.items())
    return text if len(text) <= limit else text[: limit - 1] + "…"
