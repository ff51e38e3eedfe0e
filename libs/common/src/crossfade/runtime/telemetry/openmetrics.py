"""`/metrics` for Prometheus: OpenMetrics with exemplars, or the older text format for who asks for no more.

Every sample carries the service and the migration as labels, whatever the scrape configuration adds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from crossfade.core.values.errors import ConfigError
from crossfade.runtime.telemetry.contract import METRICS
from crossfade.runtime.telemetry.schema import Kind, Metric, prometheus_label

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
    """One exemplar a bucket, the newest."""
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


class MetricsServer:
    """Serves GET /metrics in a thread of its own: a scrape answers even while the event loop is busy."""

    def __init__(self, reader: ScrapeReader, host: str, port: int) -> None:
        """Open the port.

        Raises:
            ConfigError: it is taken.
        """

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.partition("?")[0] != "/metrics":
                    self.send_error(HTTPStatus.NOT_FOUND, "there is /metrics")
                    return
                openmetrics = OPENMETRICS in self.headers.get("Accept", "")
                body = render(reader.scrape(), openmetrics=openmetrics).encode()
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", OPENMETRICS_TYPE if openmetrics else TEXT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
                """Scrapes aren't worth a line each."""

        try:
            self._server = ThreadingHTTPServer((host, port), Answer)
        except OSError as error:
            raise ConfigError(f"OTEL_EXPORTER_PROMETHEUS_PORT={port}: can't listen on {host}: {error}") from error
        self._server.daemon_threads = True
        self.address = f"{host}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
