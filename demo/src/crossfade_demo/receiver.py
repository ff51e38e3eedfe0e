"""A tiny OTLP receiver: takes what the services send, keeps it, and passes it on where the user has a backend."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

MOST_SPANS: Final = 100_000
RELAY_S: Final = 2.0
THREADS: Final = 2
TRACES: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
METRICS: Final = "opentelemetry.proto.collector.metrics.v1.MetricsService"


class Link(NamedTuple):
    """What a span names besides its parent."""

    trace_id: str
    span_id: str


class Happened(NamedTuple):
    """An event within a span."""

    name: str
    attributes: dict[str, Any]


class ReceivedSpan(NamedTuple):
    """One span.

    Attributes:
        service: `service.name` of who sent it.
        trace_id: hexadecimal.
        span_id: hexadecimal.
        parent_id: hexadecimal; empty at the root.
        name: of the span.
        kind: "server", "client", "producer", "consumer" or "internal".
        start_us: µs since the epoch.
        end_us: µs since the epoch.
        attributes: by name.
        events: in their order.
        links: to other spans.
        failed: its status is an error.
    """

    service: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start_us: int
    end_us: int
    attributes: dict[str, Any]
    events: tuple[Happened, ...]
    links: tuple[Link, ...]
    failed: bool


class ReceivedMetric(NamedTuple):
    """One metric of one export.

    Attributes:
        service: `service.name` of who sent it.
        name: of the metric.
        unit: of it.
        kind: "counter", "gauge" or "histogram".
        points: the attributes of each point.
        exemplars: trace ids.
    """

    service: str
    name: str
    unit: str
    kind: str
    points: tuple[dict[str, Any], ...]
    exemplars: tuple[str, ...]


class Receiver:
    """Receives by OTLP gRPC on loopback.

    Attributes:
        address: "127.0.0.1:4317", once it was started.
        spans: all that came, the last ones up to a bound.
        taken: spans that came.
        metrics: the last export of each metric of each service.
        exemplars: ids of the traces that were ever an exemplar of it.
        relay_errors: exports that the user's backend did not take.
    """

    def __init__(self, relay_to: str = "") -> None:
        """Prepare.

        Args:
            relay_to: HOST:PORT of the user's backend; empty for none.
        """
        self.address = ""
        self.spans: list[ReceivedSpan] = []
        self.metrics: dict[tuple[str, str], ReceivedMetric] = {}
        self.exemplars: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.taken = 0
        self.relay_errors = 0
        self._server: grpc.Server | None = None
        self._channel = grpc.insecure_channel(relay_to) if relay_to else None
        self._relays: set[Any] = set()

    def start(self) -> None:
        """Open the port. It is served by threads, so that a busy event loop keeps no service waiting."""
        self._server = grpc.server(ThreadPoolExecutor(THREADS))
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.add_generic_rpc_handlers(
            (
                _handler(TRACES, ExportTraceServiceRequest, ExportTraceServiceResponse, self.take_spans),
                _handler(METRICS, ExportMetricsServiceRequest, ExportMetricsServiceResponse, self.take_metrics),
            )
        )
        self._server.start()
        self.address = f"127.0.0.1:{port}"

    def stop(self) -> None:
        """Close the port, once what is to be relayed is."""
        if self._server is not None:
            self._server.stop(1.0).wait()
        ends_s = time.monotonic() + RELAY_S
        while self._relays and time.monotonic() < ends_s:
            time.sleep(0.05)
        if self._channel is not None:
            self._channel.close()

    def traces(self) -> dict[str, list[ReceivedSpan]]:
        """Return the spans by trace, each in the order of their beginnings."""
        found: dict[str, list[ReceivedSpan]] = defaultdict(list)
        for span in sorted(self.spans, key=lambda each: (each.start_us, -each.end_us)):
            found[span.trace_id].append(span)
        return dict(found)

    def take_spans(self, request: Any) -> None:
        """Take in an export."""
        for resource in request.resource_spans:
            service = str(_attributes(resource.resource.attributes).get("service.name", ""))
            for scope in resource.scope_spans:
                self.spans += [_span(service, each) for each in scope.spans]
                self.taken += len(scope.spans)
        del self.spans[:-MOST_SPANS]
        if self._channel is not None:
            self._relay(self._channel, TRACES, request)

    def take_metrics(self, request: Any) -> None:
        """Take in an export."""
        for resource in request.resource_metrics:
            service = str(_attributes(resource.resource.attributes).get("service.name", ""))
            for scope in resource.scope_metrics:
                for each in scope.metrics:
                    metric = self.metrics[service, each.name] = _metric(service, each)
                    self.exemplars[service, each.name].update(metric.exemplars)
        if self._channel is not None:
            self._relay(self._channel, METRICS, request)

    def _relay(self, channel: grpc.Channel, service: str, request: Any) -> None:
        export: Any = channel.unary_unary(f"/{service}/Export", request_serializer=_serialized)
        relay = export.future(request, timeout=RELAY_S)
        self._relays.add(relay)

        def done(relay: Any) -> None:
            if relay.code() is not grpc.StatusCode.OK:
                self.relay_errors += 1  # the report says so; a backend that is away must not disturb the demo
            self._relays.discard(relay)

        relay.add_done_callback(done)


def _handler(service: str, request: Any, response: Any, take: Callable[[Any], None]) -> grpc.GenericRpcHandler:
    def export(received: Any, _context: Any) -> Any:
        take(received)
        return response()

    method = grpc.unary_unary_rpc_method_handler(export, request.FromString, _serialized)
    return grpc.method_handlers_generic_handler(service, {"Export": method})


def _serialized(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _span(service: str, span: Any) -> ReceivedSpan:
    kind: str = span.DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_number[span.kind].name
    return ReceivedSpan(
        service=service,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=kind.removeprefix("SPAN_KIND_").lower(),
        start_us=span.start_time_unix_nano // 1000,
        end_us=span.end_time_unix_nano // 1000,
        attributes=_attributes(span.attributes),
        events=tuple(Happened(each.name, _attributes(each.attributes)) for each in span.events),
        links=tuple(Link(each.trace_id.hex(), each.span_id.hex()) for each in span.links),
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
    )


def _metric(service: str, metric: Any) -> ReceivedMetric:
    shape = metric.WhichOneof("data")
    points = getattr(metric, shape).data_points
    exemplars = [each.trace_id.hex() for point in points for each in point.exemplars if each.trace_id]
    return ReceivedMetric(
        service=service,
        name=metric.name,
        unit=metric.unit,
        kind={"sum": "counter"}.get(shape, shape),
        points=tuple(_attributes(each.attributes) for each in points),
        exemplars=tuple(exemplars),
    )


def _attributes(attributes: Iterable[Any]) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None
