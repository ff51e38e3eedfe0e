"""What an alert is, and the CloudWatch alarm of the same meaning."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from crossfade.runtime.telemetry.contract import CLOUDWATCH_NAMESPACE
from crossfade.runtime.telemetry.schema import Attribute, Metric

PREFIX: Final = "Crossfade"


class Severity(Enum):
    """Whom an alert concerns."""

    PAGE = "page"  # wakes somebody
    TICKET = "ticket"  # may wait for the morning


class Clients(Enum):
    """Whether clients are hurt while it fires: the first line of its runbook."""

    HURT = "yes"
    SOME = "some"
    SAFE = "no"


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
    """

    name: str
    metric: str
    bound: float
    statistic: str = "Maximum"
    namespace: str = CLOUDWATCH_NAMESPACE
    below: bool = False
    dimensions: tuple[str, ...] = ()
    minutes: int = 5


def alarm(
    name: str,
    metric: Metric,
    bound: float,
    *,
    statistic: str = "Maximum",
    below: bool = False,
    by: tuple[Attribute, ...] = (),
    minutes: int = 5,
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

    Raises:
        ValueError: CloudWatch isn't sent the metric with these dimensions.
    """
    if not metric.cloudwatch or by not in ((), metric.attributes):
        raise ValueError(f"{metric.name} isn't in CloudWatch by {[each.name for each in by]}")
    scaled = bound * metric.cloudwatch_scale
    dimensions = tuple(each.cloudwatch for each in by)
    return Alarm(name, metric.cloudwatch, scaled, statistic, below=below, dimensions=dimensions, minutes=minutes)


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

    @property
    def full_name(self) -> str:
        """The name of the rule."""
        return PREFIX + self.name

    @property
    def runbook(self) -> str:
        """The file of its runbook."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", self.name).lower() + ".md"
