"""Metrics of the contract: histograms are recorded, everything else is observed where it is counted anyway.

A source is a function that yields what a service counts already. It is called when an exporter collects, and always in
the event loop's own thread, so that it may look at what belongs to the loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from crossfade.runtime.telemetry.contract import METRICS
from crossfade.runtime.telemetry.schema import Attribute, Kind, Metric, Service
from crossfade.runtime.telemetry.spans import OutsideContract, Started

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider

log = structlog.get_logger()

FRESH_S: Final = 0.25
"""All instruments of one collection share one look at the sources."""

LOOP_S: Final = 2.0
"""Longest wait for a busy loop; after that, a collection goes ahead without it."""

NONE: Final[Mapping[Attribute, str]] = {}


class Observed(NamedTuple):
    """One value that a source yields.

    Attributes:
        metric: a counter (its total) or a gauge.
        value: in the metric's unit.
        attributes: all that the metric has.
    """

    metric: Metric
    value: float
    attributes: Mapping[Attribute, str] = NONE


Source = Callable[[], Iterable[Observed]]


class Measures:
    """The metrics of one service."""

    def __init__(self, provider: MeterProvider, service: Service) -> None:
        """Make the service's instruments.

        Args:
            provider: OpenTelemetry's, with its readers.
            service: whose metrics.
        """
        from opentelemetry.context import Context
        from opentelemetry.metrics import Observation

        self._service = service
        self._nothing = Context()
        self._observation = Observation
        self._sources: list[Source] = []
        self._values: dict[Metric, list[Any]] = {}
        self._looked_s = float("-inf")
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._recorded: dict[Metric, tuple[frozenset[Attribute], Any]] = {}
        self._expected: dict[Metric, frozenset[Attribute]] = {}
        self._said: set[str] = set()
        meter = provider.get_meter("crossfade")
        for each in METRICS:
            if service not in each.services:
                continue
            attributes = self._expected[each] = frozenset(each.attributes)
            if each.kind is Kind.HISTOGRAM:
                instrument = meter.create_histogram(
                    each.name, each.unit, each.meaning, explicit_bucket_boundaries_advisory=list(each.buckets)
                )
                self._recorded[each] = (attributes, instrument)
                continue
            make = meter.create_observable_counter if each.kind is Kind.COUNTER else meter.create_observable_gauge
            make(each.name, [self._callback(each)], each.unit, each.meaning)

    def record(
        self, metric: Metric, value: float, attributes: Mapping[Attribute, str] = NONE, span: Started | None = None
    ) -> None:
        """Add a value to a histogram.

        Args:
            metric: the histogram.
            value: in its unit.
            attributes: all that the metric has.
            span: of the work that took so long: its trace becomes an exemplar.

        Raises:
            OutsideContract: the service has no such histogram, or the attributes are others.
        """
        found = self._recorded.get(metric)
        if found is None or found[0] != attributes.keys():
            raise OutsideContract(
                f"{self._service.value}: no histogram {metric.name} with {sorted(_names(attributes))}"
            )
        context = self._nothing if span is None else span.context
        found[1].record(value, {each.name: each_value for each, each_value in attributes.items()}, context)

    def observe(self, source: Source) -> None:
        """Take in a source; it is asked in the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._sources.append(source)

    def forget(self, source: Source) -> None:
        """Stop asking a source."""
        self._sources.remove(source)

    def _callback(self, metric: Metric) -> Callable[[Any], Sequence[Any]]:
        def observed(_options: Any) -> Sequence[Any]:
            self._look()
            return self._values.get(metric, [])

        return observed

    def _look(self) -> None:
        with self._lock:
            if time.monotonic() - self._looked_s < FRESH_S:
                return
            loop = self._loop
            if loop is None or loop.is_closed() or threading.get_ident() == self._thread:
                self._fill()
            else:
                done = threading.Event()

                def fill() -> None:
                    self._fill()
                    done.set()

                try:
                    loop.call_soon_threadsafe(fill)
                except RuntimeError:  # closed meanwhile
                    return
                done.wait(LOOP_S)
            self._looked_s = time.monotonic()

    def _fill(self) -> None:
        values: dict[Metric, list[Any]] = {}
        for source in list(self._sources):
            try:
                for metric, value, attributes in source():
                    if metric in self._recorded or frozenset(attributes) != self._expected.get(metric):
                        raise OutsideContract(
                            f"{self._service.value}: no {metric.name} with {sorted(_names(attributes))}"
                        )
                    named = {each.name: each_value for each, each_value in attributes.items()}
                    values.setdefault(metric, []).append(self._observation(value, named))
            except Exception as error:
                # Telemetry must not end a service; the contract's test fails by what is missing.
                if str(error) not in self._said:
                    self._said.add(str(error))
                    log.exception("metrics not observed")
        self._values = values


def _names(attributes: Mapping[Attribute, str]) -> list[str]:
    return [each.name for each in attributes]
