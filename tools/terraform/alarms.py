"""Writes the CloudWatch alarms of module alarms from the alert rules: `python -m tools.terraform.alarms`.

One alarm for each service that sends the metric, and for each value of a dimension that it goes by. What watches AWS
itself (streams, tables, Lambda, ElastiCache) is in the module's own code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from crossfade.runtime.telemetry.contract import (
    CALL_COUNTS,
    CLASS,
    CLOUDWATCH_NAMESPACE,
    GROUP,
    METRICS,
    RECORD_OUTCOME,
)
from crossfade.runtime.telemetry.schema import Metric, Service
from tools.observability.alerting import Alarm, Alert
from tools.observability.alerts import GROUPS

TARGET: Final = Path("deploy/terraform/modules/alarms/alarms.json")

DRIFT: Final = ("stuck", "diverged", "missing", "extra", "ahead")
SERVICE_OF: Final = {
    "forward": Service.FORWARD,
    "reverse": Service.REVERSE,
    "feed-source": Service.FEED,
    "feed-target": Service.FEED,
}
VALUES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "two-owners": {CLASS.cloudwatch: ("two_owners",)},
    "parity-drift": {CLASS.cloudwatch: DRIFT},
    "stray-writes": {GROUP.cloudwatch: ("forward", "reverse"), RECORD_OUTCOME.cloudwatch: ("stray",)},
    "no-leases": {GROUP.cloudwatch: tuple(SERVICE_OF)},
    "unread-shards": {GROUP.cloudwatch: tuple(SERVICE_OF)},
    "unread-age": {GROUP.cloudwatch: tuple(SERVICE_OF)},
}
"""The values of dimensions that alarms go by."""


def _metric(of: Alarm) -> list[Metric]:
    return [each for each in (*METRICS, *CALL_COUNTS) if each.cloudwatch == of.metric]


def _services(alert: Alert, of: Alarm) -> set[Service]:
    """Return who sends the metric; of two metrics with one name in CloudWatch, those of the one that is meant."""
    meant = [each for each in _metric(of) if each in alert.metrics] or _metric(of)
    return {service for each in meant for service in each.services}


def _dimensions(of: Alarm) -> Iterator[dict[str, str]]:
    found: list[dict[str, str]] = [{}]
    for name in of.dimensions:
        found = [{**known, name: value} for known in found for value in VALUES[of.name][name]]
    yield from found


def _one(alert: Alert, of: Alarm, service: Service, dimensions: dict[str, str], *, several: bool) -> dict[str, Any]:
    consumers = [each for each, sends in SERVICE_OF.items() if sends is service]
    named = {value for _, each in of.parts for name, value in each.dimensions if name == GROUP.cloudwatch}
    named |= {value for name, value in dimensions.items() if name == GROUP.cloudwatch}
    extra = [value for name, value in dimensions.items() if len(VALUES[of.name][name]) > 1]
    suffix = extra or ([service.value.removeprefix("replicator-")] if several else [])
    percentile = of.statistic.startswith("p")
    return {
        "name": "-".join([of.name, *suffix]).replace("_", "-"),
        "alarm": of.name,
        "metric": of.metric,
        "service": service.value,
        "watches": [each for each in consumers if each in named] or consumers or [service.value],
        "dimensions": dimensions,
        "statistic": None if percentile else of.statistic,
        "percentile": of.statistic if percentile else None,
        "below": of.below,
        "expression": of.expression or None,
        "parts": {
            key: {"metric": each.metric, "dimensions": dict(each.dimensions), "statistic": each.statistic}
            for key, each in of.parts
        },
        "period_s": of.period_min * 60,
        "bound": of.bound,
        "minutes": of.minutes,
        "silence": of.silence,
        "severity": alert.severity.value,
        "runbook": alert.runbook,
        "alert": alert.full_name,
    }


def alarms() -> list[dict[str, Any]]:
    """Return all alarms on Crossfade's own metrics."""
    found = []
    for alert in (each for group in GROUPS.values() for each in group):
        for of in alert.alarms:
            if of.namespace != CLOUDWATCH_NAMESPACE:
                continue  # on AWS's own metrics: the module knows their dimensions
            services = _services(alert, of)
            consumers = {value for _, each in of.parts for name, value in each.dimensions if name == GROUP.cloudwatch}
            if consumers:
                services = {SERVICE_OF[each] for each in consumers}
            for dimensions in _dimensions(of):
                reads = SERVICE_OF.get(dimensions.get(GROUP.cloudwatch, ""))
                sends = {reads} if reads in services else services
                found += [
                    _one(alert, of, service, dimensions, several=len(services) > 1)
                    for service in sorted(sends, key=lambda each: each.value)
                ]
    return found


def text() -> str:
    """Return the file's content."""
    return json.dumps(alarms(), indent=2) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
