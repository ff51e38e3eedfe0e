"""Writes the metrics of OpenTelemetry's SDK to stdout in CloudWatch's embedded metric format."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, MetricExportResult, MetricsData

from crossfade.runtime.telemetry.emf import collected_lines

DELTA: Final[dict[type, AggregationTemporality]] = dict.fromkeys(
    (Counter, ObservableCounter, Histogram), AggregationTemporality.DELTA
)
"""CloudWatch adds up what it is sent."""


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


class EmfExporter(MetricExporter):
    """The exporter; a line for each set of dimensions."""

    def __init__(self, write: Callable[[str], None] = _print) -> None:
        super().__init__(preferred_temporality=DELTA)
        self._write = write

    def export(self, metrics_data: MetricsData, *_args: Any, **_kwargs: Any) -> MetricExportResult:
        """Write a collection."""
        lines = collected_lines(metrics_data)
        if lines:
            self._write("\n".join(lines) + "\n")
        return MetricExportResult.SUCCESS

    def force_flush(self, *_args: Any) -> bool:
        """Nothing is kept back."""
        return True

    def shutdown(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing is kept open."""
