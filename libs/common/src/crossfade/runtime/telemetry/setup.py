"""Telemetry of a process: begun once, before anything else is built; None where the environment asks for none.

What is off costs a comparison with None. OpenTelemetry's SDK is only imported where something is on.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

import structlog

from crossfade.adapters.wire.observing import observe_calls
from crossfade.runtime.telemetry.config import TelemetryConfig, read_config
from crossfade.runtime.telemetry.contract import NAMESPACE
from crossfade.runtime.telemetry.measures import NONE, Measures, Source
from crossfade.runtime.telemetry.schema import Attribute, Metric, Service, Span
from crossfade.runtime.telemetry.spans import Attributes, Started, Tracer
from crossfade.runtime.telemetry.store_calls import StoreCalls

log = structlog.get_logger()

END_S: Final = 3.0
"""Longest wait at the end for what was not sent yet."""


class Telemetry:
    """What a service emits by. Either half may be off: spans are then never started, metrics never kept.

    Attributes:
        service: who emits.
        address: of /metrics; empty when it isn't served.
    """

    def __init__(self, service: Service, tracer: Tracer | None, measures: Measures | None, address: str = "") -> None:
        self.service = service
        self.address = address
        self._tracer = tracer
        self._measures = measures
        self._closing: list[Callable[[], object]] = []

    def start(
        self,
        span: Span,
        attributes: Attributes,
        *,
        parent: Started | str | None = None,
        links: Iterable[str] = (),
        start_us: int | None = None,
        root: bool = False,
    ) -> Started | None:
        """Start a span of the contract; see `Tracer.start`. None when it isn't recorded."""
        if self._tracer is None:
            return None
        return self._tracer.start(span, attributes, parent=parent, links=links, start_us=start_us, root=root)

    @property
    def traces(self) -> bool:
        """Whether spans are recorded at all."""
        return self._tracer is not None

    @property
    def measures(self) -> bool:
        """Whether metrics are kept."""
        return self._measures is not None

    def record(
        self, metric: Metric, value: float, attributes: Mapping[Attribute, str] = NONE, span: Started | None = None
    ) -> None:
        """Add a value to a histogram of the contract; see `Measures.record`."""
        if self._measures is not None:
            self._measures.record(metric, value, attributes, span)

    def observe(self, source: Source) -> None:
        """Ask a source for counters and gauges of the contract whenever metrics are collected."""
        if self._measures is not None:
            self._measures.observe(source)

    def forget(self, source: Source) -> None:
        """Stop asking a source."""
        if self._measures is not None:
            self._measures.forget(source)

    def on_close(self, close: Callable[[], object]) -> None:
        """Have something closed at the end."""
        self._closing.append(close)

    def close(self) -> None:
        """Send what is left and close everything; blocks, but not longer than the exporters' own limits."""
        for each in self._closing:
            with suppress(Exception):  # the end of a process: nobody is left to be told
                each()
        self._closing.clear()


_active: Telemetry | None = None


def active() -> Telemetry | None:
    """Return the process's telemetry; None when it is off."""
    return _active


class Identity(Protocol):
    """Who runs; the services' settings are that."""

    @property
    def pod(self) -> str:
        """Name of the process, unique for each start."""
        ...

    def mapping(self) -> Named:
        """Return the migration's mapping."""
        ...


class Named(Protocol):
    """What has the migration's name."""

    @property
    def name(self) -> str:
        """The name."""
        ...


@asynccontextmanager
async def running(service: str, who: Identity) -> AsyncIterator[Telemetry | None]:
    """Turn on what the environment asks for while the context lasts; build the service inside of it.

    Args:
        service: the name in the logs; one of `Service`.
        who: the process and its migration.

    Raises:
        ConfigError: a variable asks for something that doesn't exist, or a port is taken.
    """
    config = read_config(os.environ)
    if config.is_off:
        yield None
        return
    resource = resource_of(service, who.pod, who.mapping().name, os.environ)
    telemetry = build(Service(service), config, resource)
    use(telemetry)
    try:
        yield telemetry
    finally:
        await _end(telemetry)


def use(telemetry: Telemetry | None) -> None:
    """Make a telemetry the process's own, known as `active()` and observing the store, or (None) end that."""
    global _active  # one process, one telemetry
    _active = telemetry
    if telemetry is None:
        observe_calls(None)
    else:
        observe_calls(StoreCalls(telemetry._tracer, telemetry._measures, telemetry.service))


async def _end(telemetry: Telemetry) -> None:
    """Send what is left, and turn it off. The loop stays free meanwhile: the last look at the sources needs it."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def close() -> None:
        telemetry.close()
        with suppress(RuntimeError):  # the loop didn't wait
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=close, name="telemetry-end", daemon=True).start()
    with suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            await done.wait()
    use(None)


def build(service: Service, config: TelemetryConfig, resource: Any) -> Telemetry:
    """Build the telemetry that a configuration asks for.

    Args:
        service: who emits.
        config: what is on.
        resource: OpenTelemetry's resource.
    """
    closing: list[Callable[[], object]] = []
    tracer = _tracer(service, config, resource, closing) if config.traces else None
    measures, address = _measures(service, config, resource, closing) if config.metrics else (None, "")
    telemetry = Telemetry(service, tracer, measures, address)
    for each in closing:
        telemetry.on_close(each)
    return telemetry


def resource_of(service: str, instance: str, migration: str, variables: Mapping[str, str]) -> Any:
    """Return OpenTelemetry's resource: who emits.

    Args:
        service: name of the service.
        instance: of the process, unique for each start; empty when it has none.
        migration: name of the migration; empty when there is none.
        variables: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` have the last word.
    """
    from opentelemetry.sdk.resources import Resource

    attributes: dict[str, str] = {"service.name": service, "service.namespace": NAMESPACE}
    if instance:
        attributes["service.instance.id"] = instance
    if migration:
        attributes["crossfade.migration"] = migration
    for pair in variables.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        name, equals, value = pair.partition("=")
        if equals:
            attributes[name.strip()] = value.strip()
    if renamed := variables.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = renamed
    return Resource(attributes)


def _tracer(service: Service, config: TelemetryConfig, resource: Any, closing: list[Callable[[], object]]) -> Tracer:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    # Whether a trace is recorded is decided before a span is made, by `Sampling`.
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=config.endpoint)))
    closing.append(provider.shutdown)
    return Tracer(provider, service, config.sampling)


def _measures(
    service: Service, config: TelemetryConfig, resource: Any, closing: list[Callable[[], object]]
) -> tuple[Measures, str]:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

    readers: list[MetricReader] = []
    address = ""
    if "otlp" in config.metrics:
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

        readers.append(
            PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=config.endpoint), config.interval_s * 1000)
        )
    if "emf" in config.metrics:
        from crossfade.runtime.telemetry.emf_exporter import EmfExporter

        readers.append(PeriodicExportingMetricReader(EmfExporter(), config.interval_s * 1000))
    if "prometheus" in config.metrics:
        from crossfade.runtime.telemetry.openmetrics import ScrapeReader, metrics_door

        reader = ScrapeReader()
        server = metrics_door(reader, config.prometheus_host, config.prometheus_port)
        readers.append(reader)
        closing.append(server.close)
        address = server.address
        log.info("metrics", address=address)
    provider = MeterProvider(readers, resource, shutdown_on_exit=False)
    closing.append(provider.shutdown)
    return Measures(provider, service), address
