"""The table of deploy/alerts/README.md: alert, alarm, runbook."""

from __future__ import annotations

from typing import Final

from tools.observability.alerting import Alarm
from tools.observability.alerts import ALERTS

BEGIN: Final = "<!-- made by `make dashboards` from tools/observability/alerts.py -->"
END: Final = "<!-- end -->"


def table() -> str:
    """Return the table, in Markdown."""
    lines = [
        "| Alert | Severity | Clients hurt | CloudWatch alarm | Runbook |",
        "|---|---|---|---|---|",
    ]
    for each in ALERTS:
        alarms = "<br>".join(map(described, each.alarms)) or "–"
        runbook = f"[{each.runbook.removesuffix('.md')}](../runbooks/{each.runbook})"
        lines.append(f"| `{each.full_name}` | {each.severity.value} | {each.clients.value} | {alarms} | {runbook} |")
    return "\n".join(lines)


def described(alarm: Alarm) -> str:
    """Return an alarm in a table's cell: name, metric, statistic, bound, how long."""
    sign = "<" if alarm.below else ">"
    if alarm.expression:
        parts = ", ".join(
            f"{key} = {' '.join([each.metric, *(value for _, value in each.dimensions)])}"
            f"{'' if each.statistic == 'Sum' else f' ({each.statistic})'}"
            for key, each in alarm.parts
        )
        bound = f"{alarm.bound:g}, {alarm.minutes} min"
        return f"`{alarm.name}`: {alarm.metric} in {alarm.expression}, sums of {parts} {sign} {bound}"
    of = f" by {', '.join(alarm.dimensions)}" if alarm.dimensions else ""
    namespace = "" if alarm.namespace == "Crossfade" else f"{alarm.namespace} "
    return (
        f"`{alarm.name}`: {namespace}{alarm.metric}{of}, {alarm.statistic} {sign} {alarm.bound:g}, {alarm.minutes} min"
    )


def with_table(text: str) -> str:
    """Return a document with its table regenerated.

    Raises:
        ValueError: the document has no place for it.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for the table: put {BEGIN} and {END} into it")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"
