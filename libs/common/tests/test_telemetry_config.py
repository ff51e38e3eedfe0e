"""What OpenTelemetry's standard variables turn on, and what they can't."""

from __future__ import annotations

import pytest

from crossfade.core.values.errors import ConfigError
from crossfade.runtime.telemetry.config import Sampling, joins, read_config
from telemetry_bench import SAMPLED, UNSAMPLED

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}


def test_nothing_is_on_until_the_environment_asks_for_it() -> None:
    assert read_config({}).is_off
    assert read_config({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}).is_off


def test_an_endpoint_turns_on_traces_and_metrics() -> None:
    found = read_config(ENDPOINT)
    assert (found.traces, found.metrics) == (True, frozenset({"otlp"}))
    assert (found.sampling, found.interval_s) == (Sampling(1.0, True), 60.0)


def test_an_endpoint_of_one_signal_turns_on_that_one() -> None:
    found = read_config({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4317"})
    assert (found.traces, found.metrics) == (True, frozenset())


def test_the_exporters_are_chosen_by_name() -> None:
    found = read_config(ENDPOINT | {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "prometheus, emf"})
    assert (found.traces, found.metrics) == (False, frozenset({"prometheus", "emf"}))


def test_none_beside_another_name_takes_nothing_away() -> None:
    assert read_config({"OTEL_METRICS_EXPORTER": "none,prometheus"}).metrics == {"prometheus"}


def test_disabled_wins_over_everything() -> None:
    assert read_config(ENDPOINT | {"OTEL_SDK_DISABLED": "true"}).is_off


def test_address_port_and_interval_are_read() -> None:
    found = read_config(
        {
            "OTEL_METRICS_EXPORTER": "prometheus",
            "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
            "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
            "OTEL_METRIC_EXPORT_INTERVAL": "2500",
        }
    )
    assert (found.prometheus_host, found.prometheus_port, found.interval_s) == ("127.0.0.1", 0, 2.5)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "zipkin is not one of none, otlp"),
        ("OTEL_METRICS_EXPORTER", "otlp,statsd", "statsd is not one of emf, none, otlp, prometheus"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "only grpc is supported"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "only grpc is supported"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "jaeger_remote is not one of"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon", "must be a number, not 'soon'"),
    ],
)
def test_what_there_is_not_is_refused_by_name(variable: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        read_config({variable: value})
    assert str(refused.value).startswith(variable)


@pytest.mark.parametrize("ratio", ["1.5", "-0.1"])
def test_a_ratio_outside_0_to_1_is_refused(ratio: str) -> None:
    with pytest.raises(ConfigError, match="must be 0 to 1"):
        read_config({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": ratio})


@pytest.mark.parametrize(
    ("sampler", "argument", "expected"),
    [
        ("always_on", "", Sampling(1.0, False)),
        ("always_off", "", Sampling(0.0, False)),
        ("traceidratio", "0.25", Sampling(0.25, False)),
        ("parentbased_always_on", "", Sampling(1.0, True)),
        ("parentbased_always_off", "", Sampling(0.0, True)),
        ("parentbased_traceidratio", "0.01", Sampling(0.01, True)),
    ],
)
def test_every_standard_sampler_is_known(sampler: str, argument: str, expected: Sampling) -> None:
    found = read_config({"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument})
    assert found.sampling == expected


def test_parent_based_sampling_follows_the_caller_whatever_the_ratio() -> None:
    assert Sampling(0.0, True).wants(SAMPLED)
    assert not Sampling(1.0, True).wants(UNSAMPLED)


def test_without_a_parent_the_ratio_decides() -> None:
    assert Sampling(1.0).wants("")
    assert not Sampling(0.0).wants("")
    share = sum(Sampling(0.3).wants("") for _ in range(4000)) / 4000
    assert 0.25 < share < 0.35


def test_by_trace_id_every_service_decides_alike() -> None:
    low, high = ("00-" + "0" * 16 + half + "-00f067aa0ba902b7-01" for half in ("1" * 16, "f" * 16))
    assert Sampling(0.5, False).wants(low)
    assert not Sampling(0.5, False).wants(high)


@pytest.mark.parametrize(
    "text", ["", "nonsense-01", SAMPLED[:-1], UNSAMPLED, SAMPLED.upper(), "ff" + SAMPLED[2:], SAMPLED + "x"]
)
def test_only_a_valid_sampled_context_is_joined(text: str) -> None:
    assert joins(SAMPLED)
    assert not joins(text)
