"""CloudWatch's embedded metric format: metrics as JSON lines in the log, on stdout and in Lambda.

The names are those that people look for in CloudWatch (IteratorAge, Duration, Throughput, Lag), times are in
milliseconds, counters are sent as what was added since the line before. Each line has two sets of dimensions: service
and migration alone, for alarms, and those with the attributes, for finding out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from crossfade.runtime.telemetry.contract import (
    API_OPERATIONS,
    CALL_COUNTS,
    CLOUDWATCH_NAMESPACE,
    FAILED,
    METRICS,
    RESULT,
)
from crossfade.runtime.telemetry.schema import Attribute, Kind, Metric

SERVICE: Final = "Service"
MIGRATION: Final = "Migration"
MOST_METRICS: Final = 100
"""Of one line."""

_KNOWN: Final = {each.name: each for each in METRICS if each.cloudwatch}
_ATTRIBUTES: Final = {attribute.name: attribute for each in METRICS for attribute in each.attributes}


class Measured(NamedTuple):
    """One value for CloudWatch.

    Attributes:
        metric: of the contract.
        value: in the metric's own unit: a gauge's value, what a counter gained; of a histogram all its values.
        attributes: of the metric.
    """

    metric: Metric
    value: float | list[float]
    attributes: Mapping[Attribute, str] = {}


def emf_lines(service: str, migration: str, measured: Iterable[Measured], *, at_ms: int | None = None) -> list[str]:
    """Return values as lines for stdout; metrics that have no name in CloudWatch are left out.

    Args:
        service: `service.name`.
        migration: name of the migration.
        measured: the values.
        at_ms: when, ms since the epoch; None for now.
    """
    groups: dict[tuple[tuple[str, str], ...], dict[str, tuple[Metric, Any]]] = {}
    for each in measured:
        if each.metric.cloudwatch:
            dimensions = tuple((attribute.cloudwatch, value) for attribute, value in each.attributes.items())
            groups.setdefault(dimensions, {})[each.metric.cloudwatch] = (each.metric, _scaled(each.metric, each.value))
    stamp_ms = int(time.time() * 1000) if at_ms is None else at_ms
    lines = []
    for dimensions, values in groups.items():
        names = list(values)
        for start in range(0, len(names), MOST_METRICS):
            part = {name: values[name] for name in names[start : start + MOST_METRICS]}
            lines.append(_line(service, migration, dict(dimensions), part, stamp_ms))
    return lines


def _line(service: str, migration: str, dimensions: dict[str, str], values: dict[str, Any], at_ms: int) -> str:
    common = {SERVICE: service, MIGRATION: migration}
    sets = [list(common)] + ([[*common, *dimensions]] if dimensions else [])
    directive = {
        "Namespace": CLOUDWATCH_NAMESPACE,
        "Dimensions": sets,
        "Metrics": [{"Name": name, "Unit": metric.cloudwatch_unit} for name, (metric, _) in values.items()],
    }
    said = {name: value for name, (_, value) in values.items()}
    return json.dumps(
        {"_aws": {"Timestamp": at_ms, "CloudWatchMetrics": [directive]}, **common, **dimensions, **said},
        separators=(",", ":"),
    )


def _scaled(metric: Metric, value: Any) -> Any:
    if isinstance(value, list):
        return [each * metric.cloudwatch_scale for each in value]
    return value * metric.cloudwatch_scale


def collected_lines(data: Any) -> list[str]:
    """Return a collection of OpenTelemetry's SDK (`MetricsData`, of delta temporality) as lines."""
    lines: list[str] = []
    for resource in data.resource_metrics:
        attributes = resource.resource.attributes
        service, migration = str(attributes["service.name"]), str(attributes.get("crossfade.migration", ""))
        measured: list[Measured] = []
        for scope in resource.scope_metrics:
            for each in scope.metrics:
                metric = _KNOWN.get(each.name)
                if metric is not None:
                    measured += _measured(metric, each.data.data_points)
                if each.name == API_OPERATIONS.name:
                    measured += _calls(each.data.data_points)
        lines += emf_lines(service, migration, measured)
    return lines


def _measured(metric: Metric, points: Iterable[Any]) -> Iterable[Measured]:
    for point in points:
        attributes = {_ATTRIBUTES[name]: str(value) for name, value in (point.attributes or {}).items()}
        if metric.kind is not Kind.HISTOGRAM:
            yield Measured(metric, point.value, attributes)
        elif point.count:
            yield Measured(metric, _values(point), attributes)


def _calls(points: Iterable[Any]) -> Iterator[Measured]:
    every = failed = 0
    for point in points:
        every += point.value
        failed += point.value if point.attributes[RESULT.name] == FAILED else 0
    yield Measured(CALL_COUNTS.every, every)
    yield Measured(CALL_COUNTS.failed, failed)


def _values(point: Any) -> list[float]:
    """At most 100 values that stand for a histogram: CloudWatch takes no buckets, but a list of values.

    Each bucket is told by its middle, as often as its share of the 100 wants, the ends by the true least and highest.
    """
    edges = [point.min, *point.explicit_bounds, point.max]
    room = min(MOST_METRICS - 2, point.count)
    values = [point.min, point.max] if point.count > 1 else [point.max]
    for place, count in enumerate(point.bucket_counts):
        if count and point.count > 2:
            low, high = max(edges[place], point.min), min(edges[place + 1], point.max)
            values += [(low + high) / 2] * max(1, round(count * room / point.count))
    return values[:MOST_METRICS]
