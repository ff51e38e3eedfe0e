"""What CloudWatch makes of an alarm, period by period: AWS, "Configuring how CloudWatch alarms treat missing data"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

Points: TypeAlias = Sequence[float | None]
"""One value a period, oldest first; None where nothing was sent."""
Sent: TypeAlias = Callable[[str, Mapping[str, str], str], Points]
"""What was sent of a metric, with its dimensions, by a statistic: one value a minute."""

OK, ALARM, INSUFFICIENT = "OK", "ALARM", "INSUFFICIENT_DATA"
LOOKS_FURTHER: Final = 2
"""Periods that an alarm looks back beyond those it evaluates; AWS's example has two, and the number is not promised."""


def judged(breaches: Sequence[bool | None], missing: str, state: str) -> str:
    """Return an alarm's next state, where all of its periods have to breach.

    Args:
        breaches: whether each period breaches, oldest first; None where data is missing. All that the alarm looks at:
            `LOOKS_FURTHER` more than it evaluates.
        missing: `treat_missing_data`.
        state: the state so far.
    """
    evaluated = len(breaches) - LOOKS_FURTHER
    real = [each for each in breaches if each is not None][-evaluated:]
    if len(real) == evaluated:
        return ALARM if all(real) else OK
    if missing == "missing":
        return INSUFFICIENT if not real else ALARM if all(real) else OK
    if not all(real):
        return OK  # whatever the missing ones are taken for
    return {"breaching": ALARM, "notBreaching": OK, "ignore": state}[missing]


def state_of(alarm: Mapping[str, Any], sent: Sent, minutes: int) -> list[str]:
    """Return an alarm's state at the end of each of its periods.

    Args:
        alarm: as Terraform plans it.
        sent: what was sent until then.
        minutes: how long it goes on.
    """
    points, period_min = _points(alarm, sent)
    bound, below = alarm["threshold"], alarm["comparison_operator"] == "LessThanThreshold"
    breaches = [None if each is None else (each < bound if below else each > bound) for each in points]
    window = alarm["evaluation_periods"] + LOOKS_FURTHER
    state, states = INSUFFICIENT, []
    for end in range(1, minutes // period_min + 1):
        seen: list[bool | None] = [*([None] * max(0, window - end)), *breaches[max(0, end - window) : end]]
        state = judged(seen, alarm["treat_missing_data"], state)
        states.append(state)
    return states


def _points(alarm: Mapping[str, Any], sent: Sent) -> tuple[list[float | None], int]:
    if not alarm.get("metric_query"):
        period_min = alarm["period"] // 60
        statistic = alarm["statistic"] or alarm["extended_statistic"]
        return _by_period(sent(alarm["metric_name"], alarm["dimensions"], statistic), statistic, period_min), period_min
    parts = {each["id"]: each["metric"][0] for each in alarm["metric_query"] if each["metric"]}
    (expression,) = [each["expression"] for each in alarm["metric_query"] if each["return_data"]]
    period_min = next(iter(parts.values()))["period"] // 60
    columns = {
        name: _by_period(sent(each["metric_name"], each["dimensions"], each["stat"]), each["stat"], period_min)
        for name, each in parts.items()
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [computed(expression, row) for row in rows], period_min


def _by_period(points: Points, statistic: str, period_min: int) -> list[float | None]:
    """SampleCount and Sum add up, the others take the highest; a period without any data is missing."""
    found: list[float | None] = []
    for start in range(0, len(points), period_min):
        there = [each for each in points[start : start + period_min] if each is not None]
        how = sum if statistic in ("Sum", "SampleCount") else min if statistic == "Minimum" else max
        found.append(how(there) if there else None)
    return found


def computed(expression: str, values: Mapping[str, float | None]) -> float | None:
    """Return the value of metric math whose one function is IF; a missing part makes it missing."""
    if None in values.values():
        return None
    lazy = re.sub(r"/ (\w+)", r"/ (\1 or 1)", expression)  # Python computes both branches
    names = {"IF": lambda holds, then, otherwise: then if holds else otherwise, **values}
    found: float = eval(lazy, {"__builtins__": {}}, names)  # noqa: S307 - our own file's expression, no built-ins
    return found
