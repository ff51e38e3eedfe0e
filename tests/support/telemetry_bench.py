"""Telemetry of one service, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from crossfade.runtime.telemetry.config import Sampling
from crossfade.runtime.telemetry.measures import Measures
from crossfade.runtime.telemetry.schema import Metric, Service, Span
from crossfade.runtime.telemetry.setup import Telemetry, resource_of, use
from crossfade.runtime.telemetry.spans import Tracer

SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = SAMPLED[:-2] + "00"
TRACE, CALLER = SAMPLED[3:35], SAMPLED[36:52]


class Kept:
    """What a service emitted."""

    def __init__(self, service: Service, sampling: Sampling, *, measures: bool = True) -> None:
        resource: Resource = resource_of(service.value, "pod-1", "engagement", {})
        self._spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        meters = MeterProvider([self.reader], resource, shutdown_on_exit=False)
        kept = Measures(meters, service) if measures else None
        self.telemetry = Telemetry(service, Tracer(tracers, service, sampling), kept)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._spans.get_finished_spans())

    def of(self, spec: Span) -> list[ReadableSpan]:
        return [each for each in self.spans if spec.matches(each.name) and each.kind.name.lower() == spec.role.value]

    def the(self, spec: Span) -> ReadableSpan:
        (found,) = self.of(spec)
        return found

    def collected(self) -> MetricsData:
        found = self.reader.get_metrics_data()
        return MetricsData([]) if found is None else found

    def points(self, metric: Metric) -> list[Any]:
        return [
            point
            for resource in self.collected().resource_metrics
            for scope in resource.scope_metrics
            for each in scope.metrics
            if each.name == metric.name
            for point in each.data.data_points
        ]

    def histogram(self, metric: Metric) -> HistogramDataPoint:
        (point,) = self.points(metric)
        assert isinstance(point, HistogramDataPoint)
        return point


@contextmanager
def kept(service: Service, sampling: Sampling | None = None, *, measures: bool = True) -> Iterator[Kept]:
    """Have a service's telemetry kept in memory, as the process's own."""
    found = Kept(service, sampling or Sampling(), measures=measures)
    use(found.telemetry)
    try:
        yield found
    finally:
        use(None)


def parent_of(span: ReadableSpan) -> str:
    return "" if span.parent is None else f"{span.parent.span_id:016x}"


def trace_of(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:032x}"


def id_of(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}"
