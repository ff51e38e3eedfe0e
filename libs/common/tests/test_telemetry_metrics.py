"""Metrics of the contract: observed in the loop's own thread, with exemplars, as OpenMetrics and for CloudWatch."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from crossfade.runtime.telemetry import Observed, OutsideContract
from crossfade.runtime.telemetry.contract import (
    API_OPERATIONS,
    BATCH_DURATION,
    CHECKPOINTS,
    GROUP,
    HANDOVER_STEPS,
    ITERATOR_AGE,
    LEASES,
    OPERATIONS,
    OUTCOME,
    RESULT,
    RPC_DURATION,
    RPC_METHOD,
    RPC_STATUS,
    RPC_SYSTEM,
    SHARD,
    STEP,
    STREAM,
)
from crossfade.runtime.telemetry.emf import Measured, collected_lines, emf_lines
from crossfade.runtime.telemetry.emf_exporter import EmfExporter
from crossfade.runtime.telemetry.openmetrics import render
from crossfade.runtime.telemetry.schema import Service
from crossfade.runtime.telemetry.span_contract import RPC
from telemetry_bench import SAMPLED, TRACE, Kept, kept

CALL = {RPC_SYSTEM: "grpc", RPC_METHOD: "S/Earn", RPC_STATUS: "OK"}
WHERE = {GROUP: "forward", STREAM: "wallet-changes", SHARD: "shard-1"}


async def collected(bench: Kept, *values: Observed) -> Any:
    """Collect in another thread, as exporters do, while the loop is free."""
    bench.telemetry.observe(lambda: iter(values))
    return await asyncio.to_thread(bench.collected)


# ---- observing ---------------------------------------------------------------------------------


async def test_a_source_is_asked_in_the_loops_own_thread() -> None:
    asked: list[int] = []

    def source() -> Iterator[Observed]:
        asked.append(threading.get_ident())
        yield Observed(LEASES, 2, {GROUP: "forward"})

    with kept(Service.FORWARD) as bench:
        bench.telemetry.observe(source)
        await asyncio.to_thread(bench.collected)
    assert set(asked) == {threading.get_ident()}


async def test_all_instruments_of_one_collection_share_one_look() -> None:
    looks = 0

    def source() -> Iterator[Observed]:
        nonlocal looks
        looks += 1
        yield Observed(LEASES, 2, {GROUP: "forward"})
        yield Observed(CHECKPOINTS, 7, {GROUP: "forward"})

    with kept(Service.FORWARD) as bench:
        bench.telemetry.observe(source)
        await asyncio.to_thread(bench.collected)
    assert looks == 1


async def test_a_source_that_fails_takes_nothing_from_the_others() -> None:
    def broken() -> Iterator[Observed]:
        raise RuntimeError("not now")

    with kept(Service.FORWARD) as bench:
        bench.telemetry.observe(broken)
        bench.telemetry.observe(lambda: iter([Observed(LEASES, 2, {GROUP: "forward"})]))
        (point,) = await asyncio.to_thread(bench.points, LEASES)
    assert point.value == 2


async def test_a_source_that_is_forgotten_is_asked_no_more() -> None:
    def source() -> Iterator[Observed]:
        yield Observed(LEASES, 2, {GROUP: "forward"})

    with kept(Service.FORWARD) as bench:
        bench.telemetry.observe(source)
        bench.telemetry.forget(source)
        assert await asyncio.to_thread(bench.points, LEASES) == []


@pytest.mark.parametrize(
    "wrong",
    [Observed(LEASES, 1, {}), Observed(OPERATIONS, 1, {OUTCOME: "applied"}), Observed(BATCH_DURATION, 1, {GROUP: "x"})],
)
async def test_what_the_contract_does_not_name_is_not_emitted(wrong: Observed) -> None:
    with kept(Service.FORWARD) as bench:
        await collected(bench, wrong)
        assert bench.points(wrong.metric) == []


def test_a_histogram_of_another_service_or_with_other_attributes_is_refused() -> None:
    with kept(Service.FORWARD) as bench:
        with pytest.raises(OutsideContract):
            bench.telemetry.record(RPC_DURATION, 0.1, CALL)
        with pytest.raises(OutsideContract):
            bench.telemetry.record(BATCH_DURATION, 0.1, {STREAM: "s"})


def test_a_recorded_value_in_a_trace_becomes_its_exemplar() -> None:
    with kept(Service.API) as bench:
        span = bench.telemetry.start(RPC, {RPC_SYSTEM: "grpc", RPC_METHOD: "S/Earn"}, parent=SAMPLED)
        bench.telemetry.record(RPC_DURATION, 0.03, CALL, span)
        bench.telemetry.record(RPC_DURATION, 0.2, CALL)
        point = bench.histogram(RPC_DURATION)
    assert point.explicit_bounds == RPC_DURATION.buckets
    assert [f"{each.trace_id:032x}" for each in point.exemplars] == [TRACE]


def test_metrics_that_are_off_cost_nothing_and_refuse_nothing() -> None:
    with kept(Service.API, measures=False) as bench:
        bench.telemetry.record(RPC_DURATION, 0.2, CALL)
        bench.telemetry.observe(lambda: iter([]))
        assert not bench.telemetry.measures


# ---- /metrics ----------------------------------------------------------------------------------


async def test_openmetrics_has_names_units_labels_and_exemplars() -> None:
    with kept(Service.API) as bench:
        span = bench.telemetry.start(RPC, {RPC_SYSTEM: "grpc", RPC_METHOD: "S/Earn"}, parent=SAMPLED)
        bench.telemetry.record(RPC_DURATION, 0.03, CALL, span)
        data = await collected(bench, Observed(OPERATIONS, 3, {OUTCOME: "applied"}))
    lines = render(data, openmetrics=True).splitlines()
    common = 'service_name="engagement-api",crossfade_migration="engagement"'
    assert f'crossfade_operations_total{{{common},crossfade_outcome="applied"}} 3' in lines
    assert "# TYPE crossfade_operations counter" in lines
    assert "# UNIT rpc_server_call_duration_seconds seconds" in lines
    (bucket,) = [line for line in lines if 'le="0.05"' in line]
    assert bucket.split(" # ")[0].endswith("} 1")
    assert f'trace_id="{TRACE}"' in bucket.split(" # ")[1]
    (below,) = [line for line in lines if 'le="0.025"' in line]
    assert below.endswith("} 0")
    assert any(line.startswith("target_info{") for line in lines)
    assert lines[-1] == "# EOF"


async def test_the_older_text_format_has_no_exemplars_and_whole_counter_names() -> None:
    with kept(Service.API) as bench:
        span = bench.telemetry.start(RPC, {RPC_SYSTEM: "grpc", RPC_METHOD: "S/Earn"}, parent=SAMPLED)
        bench.telemetry.record(RPC_DURATION, 0.03, CALL, span)
        data = await collected(bench, Observed(OPERATIONS, 3, {OUTCOME: "applied"}))
    text = render(data, openmetrics=False)
    assert "# TYPE crossfade_operations_total counter" in text
    assert " # " not in text.replace("\n# ", "\n")
    assert "# EOF" not in text


async def test_labels_are_escaped() -> None:
    with kept(Service.API) as bench:
        data = await collected(bench, Observed(OPERATIONS, 1, {OUTCOME: 'a "b"\n\\c'}))
    assert 'crossfade_outcome="a \\"b\\"\\n\\\\c"' in render(data, openmetrics=True)


# ---- CloudWatch --------------------------------------------------------------------------------


def test_embedded_metrics_have_the_names_units_and_dimensions_of_cloudwatch() -> None:
    (line,) = emf_lines("replicator-forward", "engagement", [Measured(ITERATOR_AGE, 1.5, WHERE)], at_ms=7)
    said = json.loads(line)
    (directive,) = said["_aws"]["CloudWatchMetrics"]
    assert said["_aws"]["Timestamp"] == 7
    assert directive["Namespace"] == "Crossfade"
    assert directive["Metrics"] == [{"Name": "IteratorAge", "Unit": "Milliseconds"}]
    assert directive["Dimensions"] == [
        ["Service", "Migration"],
        ["Service", "Migration", "Consumer", "Stream", "Shard"],
    ]
    assert (said["IteratorAge"], said["Shard"], said["Service"]) == (1500.0, "shard-1", "replicator-forward")


def test_values_with_the_same_attributes_share_a_line_and_others_do_not() -> None:
    lines = emf_lines(
        "replicator-forward",
        "engagement",
        [
            Measured(LEASES, 2, {GROUP: "forward"}),
            Measured(CHECKPOINTS, 3, {GROUP: "forward"}),
            Measured(LEASES, 1, {GROUP: "x"}),
        ],
    )
    assert [set(json.loads(line)) & {"Leases", "Checkpoints"} for line in lines] == [
        {"Leases", "Checkpoints"},
        {"Leases"},
    ]


def test_a_metric_without_a_name_in_cloudwatch_is_left_out() -> None:
    assert emf_lines("engagement-api", "engagement", [Measured(HANDOVER_STEPS, 2, {STEP: "sealed"})]) == []


def test_a_histogram_goes_to_cloudwatch_as_values_that_keep_its_shape() -> None:
    with kept(Service.API) as bench:
        for n in range(1000):
            bench.telemetry.record(RPC_DURATION, 0.004 if n < 900 else 0.2, CALL)
        (line,) = collected_lines(bench.collected())
    values = json.loads(line)["Duration"]
    assert len(values) <= 100
    assert (min(values), max(values)) == (4.0, 200.0)
    assert 0.85 < sum(value < 10 for value in values) / len(values) < 0.95


def test_one_value_goes_to_cloudwatch_as_it_is() -> None:
    with kept(Service.API) as bench:
        bench.telemetry.record(RPC_DURATION, 0.03, CALL)
        (line,) = collected_lines(bench.collected())
    assert json.loads(line)["Duration"] == [30.0]


async def test_cloudwatch_can_count_operations_and_those_that_fail_on_whatever_path() -> None:
    """The list of times has room for 100, and a batch is one call: so operations are counted apart."""
    counted = [
        Observed(API_OPERATIONS, count, {RPC_METHOD: method, RESULT: result})
        for method, result, count in (
            ("EarnPoints", "ok", 500),
            ("BatchEarnPoints", "failed", 1850),
            ("GetBalance", "failed", 2),
            ("SpendPoints", "refused", 40),
            ("SpendPoints", "cancelled", 3),
        )
    ]
    with kept(Service.API) as bench:
        said = [json.loads(line) for line in collected_lines(await collected(bench, *counted))]
    (counts,) = [each for each in said if "Calls" in each]
    assert (counts["Calls"], counts["FailedCalls"]) == (2395, 1852)
    assert counts["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Service", "Migration"]]


async def test_the_exporter_writes_lines_and_asks_for_deltas() -> None:
    written: list[str] = []
    exporter = EmfExporter(written.append)
    with kept(Service.FORWARD) as bench:
        exporter.export(await collected(bench, Observed(LEASES, 2, {GROUP: "forward"})))
    assert json.loads(written[0])["Leases"] == 2
    kinds = {each.__name__: how.name for each, how in exporter._preferred_temporality.items()}  # type: ignore[union-attr]  # set above
    assert kinds == {"Counter": "DELTA", "ObservableCounter": "DELTA", "Histogram": "DELTA"}
