"""The contract says what the code says, and it is consistent in itself."""

from __future__ import annotations

from collections import Counter

import pytest

from crossfade.core.migration.control import CONSUMERS
from crossfade.core.migration.phases import Phase
from crossfade.core.ownership.decisions import Outcome, StepKind
from crossfade.core.parity.classes import Difference
from crossfade.core.protocol.seam import Skip
from crossfade.core.protocol.writing import Verdict
from crossfade.core.values.shape import Side
from crossfade.runtime.telemetry import contract
from crossfade.runtime.telemetry.contract import ALL, METRICS
from crossfade.runtime.telemetry.schema import Attribute, Kind, Metric, Service, Span, prometheus_name
from crossfade.runtime.telemetry.span_contract import EDGES, PICTURE, SPANS

ATTRIBUTES = [each for each in vars(contract).values() if isinstance(each, Attribute)]


def test_every_value_that_the_contract_lists_is_one_that_the_code_knows() -> None:
    assert set(contract.PHASE.values) == {each.value for each in Phase}
    assert set(contract.STEP.values) == {each.value for each in StepKind}
    assert set(contract.CLASS.values) == {each.value for each in Difference}
    assert set(contract.SIDE.values) == {each.value for each in Side}
    assert set(contract.DIRECTION.values) == {f"to-{each.value}" for each in Side}
    assert set(contract.GROUP.values) == set(CONSUMERS)
    others = {Outcome.SETTLED, Outcome.HELD_OUT, Outcome.READ}  # no operation ends so
    assert set(contract.OUTCOMES) == {each.value for each in Outcome if each not in others}
    known = {each.value for each in (*Verdict, *Skip)} | {"coalesced", "deduplicated", "stray", "parked", "held_out"}
    assert set(contract.RECORD_OUTCOMES) <= known


@pytest.mark.parametrize("what", [METRICS, SPANS, ATTRIBUTES])
def test_each_name_is_given_once(what: list[Metric | Span | Attribute]) -> None:
    names = Counter(each.id if isinstance(each, Span) else each.name for each in what)
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("service", ALL)
def test_no_two_metrics_of_a_service_share_a_name_in_prometheus_or_cloudwatch(service: Service) -> None:
    mine = [each for each in METRICS if service in each.services]
    assert len({each.prometheus for each in mine}) == len(mine)
    named = [each.cloudwatch for each in mine if each.cloudwatch]
    assert len(set(named)) == len(named)


def test_every_service_has_metrics_and_spans() -> None:
    assert {service for each in METRICS for service in each.services} == set(ALL)
    assert {service for each in SPANS for service in each.services} >= set(ALL)


def test_only_histograms_have_buckets_and_they_rise() -> None:
    for each in METRICS:
        assert bool(each.buckets) is (each.kind is Kind.HISTOGRAM), each.name
        assert sorted(set(each.buckets)) == list(each.buckets), each.name


def test_edges_join_spans_that_there_are() -> None:
    spans = {each.id: each for each in SPANS}
    assert {end for edge in EDGES for end in (edge.before, edge.after)} <= spans.keys()
    assert set(PICTURE) <= spans.keys()
    for edge in EDGES:
        assert set(edge.services) <= set(spans[edge.after].services), edge


def test_names_are_opentelemetrys_or_our_own() -> None:
    ours_or_theirs = ("crossfade.", "rpc.", "db.", "messaging.", "aws.", "error.")
    named: list[Metric | Attribute] = [*METRICS, *ATTRIBUTES]
    assert all(each.name.startswith(ours_or_theirs) for each in named)


@pytest.mark.parametrize(
    ("name", "unit", "total", "expected"),
    [
        ("crossfade.operations", "{operation}", True, "crossfade_operations_total"),
        ("rpc.server.call.duration", "s", False, "rpc_server_call_duration_seconds"),
        ("crossfade.ramp", "%", False, "crossfade_ramp_percent"),
        ("some.share", "1", False, "some_share_ratio"),
    ],
)
def test_names_in_prometheus_follow_opentelemetrys_rules(name: str, unit: str, total: bool, expected: str) -> None:
    assert prometheus_name(name, unit, total=total) == expected


@pytest.mark.parametrize("name", ["IteratorAge", "Duration", "Throughput", "Lag"])
def test_cloudwatch_users_find_the_names_that_they_look_for(name: str) -> None:
    assert any(each.cloudwatch == name for each in METRICS)
