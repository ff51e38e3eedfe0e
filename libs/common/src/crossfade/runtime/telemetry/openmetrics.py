"""`/metrics` for Prometheus: OpenMetrics with exemplars, or the older text format for clients that ask for that.

Every sample carries the service and the migration as labels, whatever the scrape configuration adds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from crossfade.runtime.http import Answer, Request, anyone
from crossfade.runtime.listening import DoorInThread
from crossfade.runtime.telemetry.contract import METRICS
from crossfade.runtime.telemetry.schema import Kind, Metric, prometheus_label
from crossfade.runtime.urls import Address

OPENMETRICS: Final = "application/openmetrics-text"
OPENMETRICS_TYPE: Final = f"{OPENMETRICS}; version=1.0.0; charset=utf-8"
TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
RESOURCE_LABELS: Final = {"service.name": "service_name", "crossfade.migration": "crossfade_migration"}
"""Attributes of the resource that each sample has as labels."""

_KNOWN: Final = {each.name: each for each in METRICS}


class ScrapeReader(MetricReader):
    """Collects when it is asked to."""

    def __init__(self) -> None:
        super().__init__()
        self._data: MetricsData | None = None
        self._turn = threading.Lock()

    def scrape(self) -> MetricsData | None:
        """Collect now."""
        with self._turn:
            self.collect()
            return self._data

    def _receive_metrics(self, metrics_data: MetricsData, *_args: Any, **_kwargs: Any) -> None:
        self._data = metrics_data

    def shutdown(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing is kept open."""


def render(data: MetricsData | None, *, openmetrics: bool) -> str:
    """Return metrics as text.

    Args:
        data: as collected.
        openmetrics: with exemplars and units; else the older format.
    """
    lines: list[str] = []
    for resource in data.resource_metrics if data else ():
        labels = _resource_labels(resource.resource)
        for scope in resource.scope_metrics:
            for each in scope.metrics:
                known = _KNOWN.get(each.name)
                if known is not None:
                    lines += _family(known, each.data.data_points, labels, openmetrics=openmetrics)
        lines += _target(resource.resource, openmetrics=openmetrics)
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def _resource_labels(resource: Resource) -> dict[str, str]:
    return {
        label: str(resource.attributes[name]) for name, label in RESOURCE_LABELS.items() if name in resource.attributes
    }


def _target(resource: Resource, *, openmetrics: bool) -> list[str]:
    labels = {prometheus_label(name): str(value) for name, value in resource.attributes.items()}
    family, kind = ("target", "info") if openmetrics else ("target_info", "gauge")
    return [f"# TYPE {family} {kind}", f"# HELP {family} The process", f"target_info{_labels(labels)} 1"]


def _family(metric: Metric, points: Iterable[Any], common: dict[str, str], *, openmetrics: bool) -> list[str]:
    name = metric.prometheus
    family = name.removesuffix("_total") if openmetrics else name
    lines = [f"# TYPE {family} {metric.kind.value}"]
    unit = {"s": "seconds", "%": "percent"}.get(metric.unit)
    if openmetrics and unit:
        lines.append(f"# UNIT {family} {unit}")
    lines.append(f"# HELP {family} {_escaped(metric.meaning)}")
    for point in points:
        labels = common | {prometheus_label(each): str(value) for each, value in (point.attributes or {}).items()}
        if metric.kind is Kind.HISTOGRAM:
            lines += _histogram(name, point, labels, openmetrics=openmetrics)
        else:
            lines.append(f"{name}{_labels(labels)} {_number(point.value)}")
    return lines


def _histogram(name: str, point: Any, labels: dict[str, str], *, openmetrics: bool) -> list[str]:
    lines = []
    seen = 0
    bounds = [*point.explicit_bounds, float("inf")]
    exemplars = _by_bucket(point.exemplars, point.explicit_bounds) if openmetrics else {}
    for place, (bound, count) in enumerate(zip(bounds, point.bucket_counts, strict=True)):
        seen += count
        line = f"{name}_bucket{_labels(labels | {'le': _bound(bound)})} {seen}"
        lines.append(line + exemplars.get(place, ""))
    return [*lines, f"{name}_count{_labels(labels)} {point.count}", f"{name}_sum{_labels(labels)} {_number(point.sum)}"]


def _by_bucket(exemplars: Iterable[Any], bounds: Iterable[float]) -> dict[int, str]:
    """One exemplar per bucket, the newest."""
    upper = [*bounds, float("inf")]
    found: dict[int, str] = {}
    for each in sorted(exemplars, key=lambda each: int(each.time_unix_nano)):
        if each.trace_id:
            place = next(n for n, bound in enumerate(upper) if each.value <= bound)
            labels = _labels({"trace_id": f"{each.trace_id:032x}", "span_id": f"{each.span_id:016x}"})
            found[place] = f" # {labels} {_number(each.value)} {each.time_unix_nano / 1e9:.3f}"
    return found


def _labels(labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{_escaped(value, quotes=True)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(float(bound))


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(value)


def metrics_door(reader: ScrapeReader, host: str, port: int) -> DoorInThread:
    """Serve GET /metrics in a thread of its own: a scrape is answered even while the event loop is busy.

    Raises:
        ConfigError: the port is taken.
    """

    async def metrics(request: Request) -> Answer:
        openmetrics = OPENMETRICS in request.headers.get("accept", "")
        body = render(reader.scrape(), openmetrics=openmetrics).encode()
        return Answer(HTTPStatus.OK, body, OPENMETRICS_TYPE if openmetrics else TEXT_TYPE)

    return DoorInThread(
        {"GET /metrics": anyone(metrics)}, Address(host, port, "OTEL_EXPORTER_PROMETHEUS_PORT"), name="metrics"
    )
