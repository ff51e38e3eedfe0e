"""What an alert is, and the CloudWatch alarm of the same meaning."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from crossfade.runtime.telemetry.contract import CLOUDWATCH_NAMESPACE
from crossfade.runtime.telemetry.schema import Attribute, Metric, Service

PREFIX: Final = "Crossfade"
MOST_PARTS: Final = 10
"""Metrics in an alarm's expression, by CloudWatch's quota."""


class Severity(Enum):
    """Whom an alert concerns."""

    PAGE = "page"  # wakes somebody
    TICKET = "ticket"  # may wait for the morning
    NONE = "none"  # nobody: a dead man's switch listens to it


class Clients(Enum):
    """Whether clients are hurt while it fires: the first line of its runbook."""

    HURT = "yes"
    SOME = "some"
    SAFE = "no"


@dataclass(frozen=True, slots=True)
class Part:
    """A metric in an alarm's expression.

    Attributes:
        metric: in CloudWatch.
        dimensions: beside service and migration, with their values.
        statistic: of each period.
    """

    metric: str
    dimensions: tuple[tuple[str, str], ...] = ()
    statistic: str = "Sum"


@dataclass(frozen=True, slots=True)
class Alarm:
    """A CloudWatch alarm.

    Attributes:
        name: last part of its name.
        metric: in CloudWatch.
        bound: it alarms beyond, in CloudWatch's unit.
        statistic: of each period.
        namespace: of the metric.
        below: whether it alarms below the bound instead of above.
        dimensions: beside service and migration.
        minutes: how many in a row.
        period_min: minutes of one period.
        expression: metric math over the parts, instead of one metric's statistic; empty for none.
        parts: by their ids in the expression.
        silence: whether missing data alarms, as it says that somebody is alive. Else the alarm stays as it was while
            data is missing: nobody is left to say that it is over.
    """

    name: str
    metric: str
    bound: float
    statistic: str = "Maximum"
    namespace: str = CLOUDWATCH_NAMESPACE
    below: bool = False
    dimensions: tuple[str, ...] = ()
    minutes: int = 5
    period_min: int = 1
    expression: str = ""
    parts: tuple[tuple[str, Part], ...] = ()
    silence: bool = False


RATE_MIN: Final = 5
"""The alert rules' rates look back as long; a shorter period would forget what came a minute ago."""


def part(metric: Metric, **values: str) -> Part:
    """Return a metric of the contract as part of an expression.

    Args:
        metric: a counter.
        values: of all its dimensions in CloudWatch, or of none.

    Raises:
        ValueError: CloudWatch isn't sent the metric with these dimensions.
    """
    known = {each.cloudwatch: each.values for each in metric.attributes}
    strange = any(known.get(name) and value not in known[name] for name, value in values.items())
    if not metric.cloudwatch or (values and set(values) != set(known)) or strange:
        raise ValueError(f"{metric.name} isn't in CloudWatch by {values}")
    return Part(metric.cloudwatch, tuple(values.items()))


def computed(
    name: str, expression: str, bound: float, parts: dict[str, Part], *, minutes: int, period_min: int = RATE_MIN
) -> Alarm:
    """Return an alarm on metric math.

    Args:
        name: last part of its name.
        expression: over the parts' ids.
        bound: it alarms above.
        parts: at most ten; the first names the alarm's metric and dimensions.
        minutes: how many in a row.
        period_min: minutes of one period.

    Raises:
        ValueError: CloudWatch would not take it.
    """
    if len(parts) > MOST_PARTS or set(parts) - set(re.findall(r"[a-z]\w*", expression)) or minutes % period_min:
        raise ValueError(f"alarm {name}: {expression} over {sorted(parts)}, {minutes} min")
    metric = next(iter(parts.values())).metric
    return Alarm(
        name, metric, bound, "Sum", minutes=minutes, period_min=period_min, expression=expression,
        parts=tuple(parts.items()),
    )  # fmt: skip


def share(name: str, some: Part, every: Part, bound: float, *, minutes: int) -> Alarm:
    """Return an alarm on a share of two counters; where there is nothing to share, it is silent."""
    return computed(name, "IF(every > 0, some / every, 0)", bound, {"some": some, "every": every}, minutes=minutes)


def alarm(
    name: str,
    metric: Metric,
    bound: float,
    *,
    statistic: str = "Maximum",
    below: bool = False,
    by: tuple[Attribute, ...] = (),
    minutes: int = 5,
    silence: bool = False,
) -> Alarm:
    """Return an alarm on a metric of the contract.

    Args:
        name: last part of its name.
        metric: which.
        bound: in the metric's own unit.
        statistic: of each period.
        below: whether it alarms below the bound.
        by: attributes whose dimensions it needs; they have to be all of the metric's, or none.
        minutes: how many in a row.
        silence: whether missing data alarms.

    Raises:
        ValueError: CloudWatch isn't sent the metric with these dimensions.
    """
    if not metric.cloudwatch or by not in ((), metric.attributes):
        raise ValueError(f"{metric.name} isn't in CloudWatch by {[each.name for each in by]}")
    scaled = bound * metric.cloudwatch_scale
    dimensions = tuple(each.cloudwatch for each in by)
    return Alarm(
        name, metric.cloudwatch, scaled, statistic, below=below, dimensions=dimensions, minutes=minutes, silence=silence
    )


def silent(name: str, metric: Metric, *, minutes: int = 3) -> Alarm:
    """Return the alarm of a service's death: it says nothing of a metric that it sends as long as it lives."""
    return alarm(name, metric, 1, statistic="SampleCount", below=True, minutes=minutes, silence=True)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert rule.

    Attributes:
        name: without the prefix.
        expr: PromQL; what it returns fires.
        hold: how long it must hold before it fires.
        severity: whom it concerns.
        clients: whether they are hurt.
        summary: one line, a template of Prometheus.
        dashboard: uid of the one to look at.
        metrics: that it is about: panels that show one of them link its runbook.
        bound: of the value, for the panels' thresholds; None when it has none.
        alarms: of the same meaning in CloudWatch.
        reporters: whose metrics `expr` reads: while they aren't heard of, the alert stays as it was. Empty where
            `expr` needs nobody to be there, since it fires on silence.
        by: labels that the alert has beside the migration.
    """

    name: str
    expr: str
    hold: str
    severity: Severity
    clients: Clients
    summary: str
    dashboard: str
    metrics: tuple[Metric, ...]
    bound: float | None = None
    alarms: tuple[Alarm, ...] = ()
    reporters: tuple[Service, ...] = ()
    by: tuple[Attribute, ...] = ()

    @property
    def full_name(self) -> str:
        """The name of the rule."""
        return PREFIX + self.name

    @property
    def runbook(self) -> str:
        """The file of its runbook."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", self.name).lower() + ".md"
