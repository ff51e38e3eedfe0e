"""What changed between two plans: what was saved, and what is so now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

NOTABLE: Final = 0.05
"""A figure that moved by less says nothing new."""

SHOWN: Final = 0.001
"""Nor does one that is below what a plan shows."""


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what changed, a sentence each; both plans as JSON."""
    said = []
    for name, old, new in _pairs(before.get("checks", ()), now.get("checks", ()), "name"):
        if new is None:
            said.append(f"check {name} is gone")
        elif old is None:
            said.append(f"check {name} is new: {_verdict(new)}")
        elif old["open"] != new["open"]:
            said.append(f"check {name}: was {_verdict(old)}; is {_verdict(new)}")
    for name, old, new in _pairs(before.get("carry_over", ()), now.get("carry_over", ()), "name"):
        was, is_ = (f"{each['source']}, {each['fate']}" if each else "not told" for each in (old, new))
        if was != is_:
            said.append(f"{name}: was {was}; is {is_}")
    for kind, old, new in _pairs(before.get("attached", ()), now.get("attached", ()), "kind"):
        was_who, now_who = (_who(each) for each in (old, new))
        said += [f"{kind}: {who} is attached now" for who in now_who if who not in was_who]
        said += [f"{kind}: {who} isn't attached any more" for who in was_who if who not in now_who]
    for name, old, new in _pairs(before.get("estimates", ()), now.get("estimates", ()), "name"):
        if old and new and _differ(float(old["value"]), float(new["value"])):
            said.append(f"{name}: was {old['value']:,.6g} {old['unit']}; is {new['value']:,.6g} {new['unit']}")
    return said


def _differ(old: float, new: float) -> bool:
    return abs(new - old) > NOTABLE * abs(old) and max(abs(old), abs(new)) >= SHOWN


def _pairs(before: Sequence[Any], now: Sequence[Any], name: str) -> list[tuple[str, Any, Any]]:
    old, new = ({each[name]: each for each in listed} for listed in (before, now))
    return [(key, old.get(key), new.get(key)) for key in dict.fromkeys((*old, *new))]


def _verdict(check: Mapping[str, Any]) -> str:
    return f"{'ok' if check['open'] else 'shut'} ({check['because']})"


def _who(entry: Mapping[str, Any] | None) -> tuple[str, ...]:
    if entry is None:
        return ()
    return (*entry["who"], *([f"perhaps somebody ({entry['unknown']})"] if entry["unknown"] else ()))
