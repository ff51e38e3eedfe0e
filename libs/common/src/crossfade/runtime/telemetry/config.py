"""What OpenTelemetry's standard variables ask of this process.

    OTEL_SDK_DISABLED                       true: nothing at all
    OTEL_TRACES_EXPORTER                    otlp, none; unset: otlp where an endpoint is named, else none
    OTEL_METRICS_EXPORTER                   a list of otlp, prometheus, emf, none; unset: as for traces
    OTEL_EXPORTER_OTLP_ENDPOINT             http://127.0.0.1:4317; headers, timeout, TLS as the standard has them
    OTEL_EXPORTER_OTLP_PROTOCOL             grpc
    OTEL_EXPORTER_PROMETHEUS_HOST, _PORT    of /metrics: localhost, 9464; port 0 for any free one
    OTEL_METRIC_EXPORT_INTERVAL             ms, of otlp and emf: 60000
    OTEL_TRACES_SAMPLER, _ARG               parentbased_always_on; parentbased_traceidratio with a ratio for the many
    OTEL_SERVICE_NAME                       another name than the service's own
    OTEL_RESOURCE_ATTRIBUTES                name=value,name=value

Everything else of the standard (batching, limits, certificates) is read by the SDK and its exporter themselves.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from crossfade.core.values.errors import ConfigError
from crossfade.runtime.urls import http_url

TRACES: Final = frozenset({"otlp", "none"})
METRICS: Final = frozenset({"otlp", "prometheus", "emf", "none"})
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
SAMPLED: Final = 0x01
_BITS: Final = 1 << 64
_W3C: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


_HEADER: Final = re.compile(r"[!#-'*+\-.0-9A-Z^-z|~]+[ \t]*=[ \t]*[!#-+\--:<-\[\]-~]*")
"""A header as OTEL_EXPORTER_OTLP_HEADERS takes it: the OpenTelemetry protocol exporter's specification."""


class Sampling(NamedTuple):
    """Which traces are recorded.

    Attributes:
        ratio: share of the traces that begin here, and, unless `parent_based`, of all.
        parent_based: whether a caller's decision is followed.
    """

    ratio: float = 1.0
    parent_based: bool = True

    def wants(self, traceparent: str) -> bool:
        """Decide on a span.

        Args:
            traceparent: W3C trace context of its parent; empty for the first span of a trace.
        """
        if not traceparent:
            return self.ratio >= 1.0 or random.random() < self.ratio
        if self.parent_based:
            return is_sampled(traceparent)
        return int(traceparent[19:35], 16) < self.ratio * _BITS


def joins(traceparent: str) -> bool:
    """Return whether a text is a W3C trace context of a trace that is recorded: an item may hold anything."""
    return _W3C.fullmatch(traceparent) is not None and is_sampled(traceparent)


def is_sampled(traceparent: str) -> bool:
    """Return whether a valid W3C trace context is of a trace that is recorded."""
    return bool(int(traceparent[-2:], 16) & SAMPLED)


class TelemetryConfig(NamedTuple):
    """What is exported, and how much.

    Attributes:
        traces: whether spans are sent by OTLP.
        metrics: names of the exporters of metrics.
        sampling: of the spans.
        prometheus_host: address of /metrics.
        prometheus_port: port of it; 0 for any free one.
        interval_s: between two exports of metrics.
        endpoint: of OTLP; None for the environment's.
    """

    traces: bool = False
    metrics: frozenset[str] = frozenset()
    sampling: Sampling = Sampling()
    prometheus_host: str = "localhost"
    prometheus_port: int = 9464
    interval_s: float = 60.0
    endpoint: str | None = None

    @property
    def is_off(self) -> bool:
        """Whether nothing is to be exported."""
        return not self.traces and not self.metrics


OFF: Final = TelemetryConfig()


def read_config(environment: Mapping[str, str]) -> TelemetryConfig:
    """Read the variables.

    Raises:
        ConfigError: one asks for something that doesn't exist; the message names it and the choice.
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return OFF
    _check_protocol(environment)
    _check_addresses(environment)
    _check_headers(environment)
    traces = _names(environment, "TRACES", TRACES)
    metrics = _names(environment, "METRICS", METRICS)
    return TelemetryConfig(
        traces="otlp" in traces,
        metrics=metrics - {"none"},
        sampling=_sampling(environment),
        prometheus_host=environment.get("OTEL_EXPORTER_PROMETHEUS_HOST") or "localhost",
        prometheus_port=int(_number(environment, "OTEL_EXPORTER_PROMETHEUS_PORT", 9464, most=65_535)),
        interval_s=_number(environment, "OTEL_METRIC_EXPORT_INTERVAL", 60_000, least=1) / 1000,
    )


def _names(environment: Mapping[str, str], signal: str, known: frozenset[str]) -> frozenset[str]:
    variable = f"OTEL_{signal}_EXPORTER"
    said = environment.get(variable, "")
    if not said:
        endpoint = environment.get(ENDPOINT) or environment.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
        said = "otlp" if endpoint else "none"
    names = frozenset(each.strip() for each in said.split(",") if each.strip())
    if unknown := names - known:
        raise ConfigError(f"{variable}: {', '.join(sorted(unknown))} is not one of {', '.join(sorted(known))}")
    return names


def _check_protocol(environment: Mapping[str, str]) -> None:
    for variable in ("PROTOCOL", "TRACES_PROTOCOL", "METRICS_PROTOCOL"):
        name = f"OTEL_EXPORTER_OTLP_{variable}"
        if environment.get(name, "grpc") not in ("grpc", ""):
            raise ConfigError(f"{name}: only grpc is supported, not {environment[name]}")


def _check_addresses(environment: Mapping[str, str]) -> None:
    for variable in (ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):
        said = environment.get(variable, "")
        try:
            if said:
                http_url(said if "://" in said else f"http://{said}")
        except ValueError as error:
            raise ConfigError(f"{variable}: {error}; as in http://127.0.0.1:4317") from None


def _check_headers(environment: Mapping[str, str]) -> None:
    """Refuse what the SDK would complain of: its complaint repeats the header, and so a token."""
    for variable in ("HEADERS", "TRACES_HEADERS", "METRICS_HEADERS"):
        name = f"OTEL_EXPORTER_OTLP_{variable}"
        if not all(_HEADER.fullmatch(each.strip()) for each in environment.get(name, "").split(",") if each.strip()):
            raise ConfigError(f"{name}: must be name=value,name=value, with percent-encoded values")


def _sampling(environment: Mapping[str, str]) -> Sampling:
    name = environment.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on"
    parent_based, kind = name.startswith("parentbased_"), name.removeprefix("parentbased_")
    if kind == "traceidratio":
        return Sampling(_number(environment, "OTEL_TRACES_SAMPLER_ARG", 1.0, most=1.0), parent_based)
    if kind not in ("always_on", "always_off"):
        known = "always_on, always_off, traceidratio, and each with parentbased_ before it"
        raise ConfigError(f"OTEL_TRACES_SAMPLER: {name} is not one of {known}")
    return Sampling(1.0 if kind == "always_on" else 0.0, parent_based)


def _number(
    environment: Mapping[str, str], variable: str, default: float, *, least: float = 0.0, most: float = float("inf")
) -> float:
    said = environment.get(variable, "")
    try:
        found = float(said) if said else default
    except ValueError as error:
        raise ConfigError(f"{variable}: must be a number, not {said!r}") from error
    if not (math.isfinite(found) and least <= found <= most):
        bounds = f"{least:g} to {most:g}" if math.isfinite(most) else f"at least {least:g}"
        raise ConfigError(f"{variable}: must be {bounds}, not {said}")
    return found
