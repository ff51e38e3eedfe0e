"""A plan as text, and what changed since another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crossfade.core.migration.capacity import WindowMeaning
from crossfade.core.plan.aspects import Fate
from crossfade.core.plan.attached import Attached
from crossfade.core.plan.carry import Carry
from crossfade.core.plan.described import Unknown
from crossfade.core.plan.stop import Stop
from crossfade_controller.planning import Plan
from crossfade_controller.render import figure, gate_lines


def plan_text(plan: Plan) -> str:
    """Return a plan as text."""
    lines = ["checks:", *gate_lines([each.as_json() for each in plan.checks])]
    lines += _carried(plan.carry_over)
    lines += _attached(plan.attached)
    lines += ["sizes:", *(f"  {each}" for each in plan.sizes.sentences)]
    lines.append("estimates:")
    lines += [f"  {each.name}: {figure(each.value)} {each.unit}  ({each.basis})" for each in plan.estimates]
    lines += _stop(plan.stop) if plan.stop else []
    lines += _window(plan.window) if plan.window else []
    lines += _unknown(plan.unknown.values())
    lines += [
        f"canary: {plan.canary or 'none'}",
        "possible" if not plan.blocking else "NOT possible: " + ", ".join(each.name for each in plan.blocking),
    ]
    return "\n".join(lines)


def changes_text(said: Sequence[str], since: str) -> str:
    """Tell what changed since a plan that was saved."""
    if not said:
        return f"since {since}: nothing changed"
    return "\n".join([f"since {since}:", *(f"  {each}" for each in said)])


def _carried(rows: Sequence[Carry]) -> list[str]:
    """Tell what the target has of the source; aspects with nothing to do on one line."""
    lines = ["what the target has of the source:"]
    if kept := [f"{each.name} ({each.source})" for each in rows if each.fate is Fate.CARRIED]:
        lines.append(f"  carried: {', '.join(kept)}")
    for each in rows:
        if each.fate is Fate.CARRIED:
            continue
        if each.fate is Fate.UNKNOWN:
            lines.append(f"  {each.name}: {each.source}. {each.how}")
            continue
        lines.append(f"  {each.name}, {each.source}: {each.fate.value}: {each.how}")
        lines += [f"    {each.do}"] if each.do else []
    return lines


def _attached(found: Sequence[Attached]) -> list[str]:
    lines = ["who else is attached to the source:"]
    if none := [each.kind for each in found if not each.is_there]:
        lines.append(f"  none: {', '.join(none)}")
    for each in found:
        if not each.is_there:
            continue
        who = ", ".join(each.who) or "perhaps somebody"
        lines.append(f"  {each.kind}: {who}" + (f"  ({each.unknown})" if each.unknown else ""))
        lines += [f"    at a flip: {each.flip}", f"    do: {each.do}"]
    return lines


def _stop(stop: Stop) -> list[str]:
    parts = [
        f"  {each.name}: {each.likely_s:.1f} s, at least {each.least_s:.1f} s  ({each.because})" for each in stop.parts
    ]
    return [f"write stop of a flip: {stop.likely_s:.1f} s, at least {stop.least_s:.1f} s", *parts]


def _window(window: WindowMeaning) -> list[str]:
    return [
        "one key:",
        f"  at most {window.calls_per_s:.1f} operations a second, sustained",
        f"  write units per operation: {window.units_idle} idle, {window.units_soft} busy, "
        f"{window.units_full} with a full set of ids",
    ]


def _unknown(found: Iterable[Unknown]) -> list[str]:
    missing = sorted({each.needs for each in found if not each.because})
    if not missing:
        return []
    return [f"this plan is incomplete: it lacks the rights {', '.join(missing)} (`crossfade policy plan` has them all)"]
