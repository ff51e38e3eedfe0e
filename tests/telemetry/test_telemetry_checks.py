"""The checks that the system is held to can fail: each is shown a planted fault."""

from __future__ import annotations

import pytest

from crossfade.runtime.telemetry.contract import ALL, METRICS, OPERATIONS
from crossfade.runtime.telemetry.schema import Attribute, Edge, Service, Span, Via
from crossfade.runtime.telemetry.span_contract import EDGES, RPC, SPANS
from crossfade_demo.receiver import Happened, Link, ReceivedMetric, ReceivedSpan
from crossfade_demo.traces import missing
from crossfade_demo.waterfall import waterfall
from telemetry_checks import wrong_edges, wrong_metrics, wrong_spans

SPEC = {each.id: each for each in SPANS}


class System:
    """Spans as a system makes them that keeps the contract: one trace along every edge."""

    def __init__(self) -> None:
        self.spans: list[ReceivedSpan] = []
        self._made: dict[tuple[str, Service], ReceivedSpan] = {}
        for spec in SPANS:
            for service in spec.services:
                self._make(spec, service)

    def _make(self, spec: Span, service: Service) -> ReceivedSpan:
        if (spec.id, service) in self._made:
            return self._made[spec.id, service]
        number = len(self._made) + 1
        attributes = {each.name: _value(each) for each in spec.attributes}
        span = ReceivedSpan(
            service=service.value,
            trace_id="t" * 32,
            span_id=f"{number:016x}",
            parent_id="",
            name=spec.named(dict(attributes)),
            kind=spec.role.value,
            start_us=number,
            end_us=number + 5,
            attributes=attributes,
            events=(),
            links=(),
            failed=False,
        )
        self._made[spec.id, service] = span
        for edge in EDGES:
            if edge.after == spec.id and (not edge.services or service in edge.services):
                span = self._joined(span, edge, service)
        self._made[spec.id, service] = span
        self.spans.append(span)
        return span

    def _joined(self, span: ReceivedSpan, edge: Edge, service: Service) -> ReceivedSpan:
        before = SPEC[edge.before]
        by = service if service in before.services else before.services[0]
        other = self._make(before, by)
        if edge.via is Via.LINK:
            return span._replace(links=(*span.links, Link(other.trace_id, other.span_id)))
        if span.parent_id:  # a second one of the kind, below another parent
            twin = span._replace(span_id=f"{len(self._made) + len(self.spans) + 1000:016x}", parent_id=other.span_id)
            self.spans.append(twin)
            return span
        return span._replace(parent_id=other.span_id)

    def without(self, spec_id: str, service: Service) -> list[ReceivedSpan]:
        gone = self._made[spec_id, service]
        return [each for each in self.spans if (each.name, each.service) != (gone.name, gone.service)]

    def changed(self, spec_id: str, by: Service, **changes: object) -> list[ReceivedSpan]:
        old = self._made[spec_id, by]
        return [each._replace(**changes) if each.span_id == old.span_id else each for each in self.spans]  # type: ignore[arg-type]  # fields of a span


def _value(attribute: Attribute) -> object:
    return attribute.values[0] if attribute.values else ["t"] if attribute.type == "string[]" else "x"


def metrics() -> list[ReceivedMetric]:
    return [
        ReceivedMetric(
            service.value,
            each.name,
            each.unit,
            each.kind.value,
            ({attribute.name: str(_value(attribute)) for attribute in each.attributes},),
            (),
        )
        for each in METRICS
        for service in each.services
    ]


def test_a_system_that_keeps_the_contract_passes() -> None:
    spans = System().spans
    assert (wrong_spans(spans), wrong_edges(spans), wrong_metrics(metrics(), ALL)) == ([], [], [])


def test_a_span_that_is_missing_is_found() -> None:
    assert wrong_spans(System().without("APPLY", Service.REVERSE)) == ["replicator-reverse never emitted a span APPLY"]


def test_a_span_that_need_not_happen_may_be_missing() -> None:
    assert wrong_spans(System().without("REPAIRING", Service.VERIFIER)) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "something else"}, "RPC with the name 'something else'"),
        ({"kind": "consumer"}, "which the contract doesn't name for it"),
        ({"service": "verifier"}, "which the contract doesn't name for it"),
        ({"attributes": {}}, "RPC without rpc.method"),
        ({"end_us": 0}, "ends before it begins"),
        ({"events": (Happened("handover", {"crossfade.verdict": "equal"}),)}, "RPC with an event handover"),
    ],
)
def test_a_span_outside_the_contract_is_found(changes: dict[str, object], says: str) -> None:
    found = wrong_spans(System().changed("RPC", Service.API, **changes))
    assert any(says in sentence for sentence in found), found


def test_an_attribute_or_value_outside_the_contract_is_found() -> None:
    system = System()
    attributes = dict(system._made["RPC", Service.API].attributes)
    more = wrong_spans(system.changed("RPC", Service.API, attributes=attributes | {"user": "7"}))
    assert more == ["engagement-api: RPC with user"]
    other = wrong_spans(system.changed("RPC", Service.API, attributes=attributes | {"rpc.system.name": "dubbo"}))
    assert other == ["engagement-api: RPC with rpc.system.name=dubbo"]


def test_an_edge_that_is_missing_is_found() -> None:
    system = System()
    call = system._made["RPC", Service.API].span_id
    lost = [each._replace(parent_id="") if each.parent_id == call else each for each in system.spans]
    found = wrong_edges(lost)
    assert "no RECEIVE of verifier follows from a RPC (traceparent in the item's event)" in found
    assert "no DB of engagement-api follows from a RPC (child)" in found


def test_an_edge_that_the_contract_does_not_have_is_found() -> None:
    system = System()
    look = system._made["VERIFY", Service.VERIFIER]
    found = wrong_edges(system.changed("RPC", Service.API, parent_id=look.span_id))
    assert any("is below verify" in sentence for sentence in found), found


def test_a_link_that_is_missing_is_found() -> None:
    found = wrong_edges(System().changed("APPLY", Service.FORWARD, links=()))
    assert found == ["no APPLY of replicator-forward follows from a BATCH (link)"]


def test_a_child_in_another_trace_is_found() -> None:
    found = wrong_edges(System().changed("VERIFY", Service.VERIFIER, trace_id="u" * 32))
    assert found == ["a span VERIFY is in another trace than its parent"]


def test_a_metric_that_is_missing_is_found() -> None:
    left = [each for each in metrics() if each.name != OPERATIONS.name]
    assert wrong_metrics(left, ALL) == ["engagement-api never emitted crossfade.operations"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "crossfade.secrets"}, "which the contract doesn't name for it"),
        ({"service": "verifier"}, "which the contract doesn't name for it"),
        ({"unit": "s"}, "is a counter in s"),
        ({"kind": "gauge"}, "is a gauge in {operation}"),
        ({"points": ({},)}, "a point of crossfade.operations has []"),
        ({"points": ({"crossfade.outcome": "applied", "user": "7"},)}, "has ['crossfade.outcome', 'user']"),
    ],
)
def test_a_metric_outside_the_contract_is_found(changes: dict[str, object], says: str) -> None:
    changed = [each._replace(**changes) if each.name == OPERATIONS.name else each for each in metrics()]  # type: ignore[arg-type]  # fields of a metric
    assert any(says in sentence for sentence in wrong_metrics(changed, ALL))


# ---- the demo's own check ----------------------------------------------------------------------


def test_the_demo_takes_a_trace_for_whole_only_with_every_part_in_its_place() -> None:
    system = System()
    assert missing(system.spans) == []
    for spec_id in ("APPLY", "PUBLISH", "VERIFY"):
        services = SPEC[spec_id].services
        left = [
            each
            for each in system.spans
            if not (SPEC[spec_id].matches(each.name) and Service(each.service) in services)
        ]
        assert missing(left) == [spec_id]
    call = system._made["RPC", Service.API].span_id
    assert missing([each for each in system.spans if each.parent_id != call]) == [
        "DB",
        "RECEIVE",
        "APPLY",
        "PUBLISH",
        "VERIFY",
    ]
    assert missing([each for each in system.spans if each.kind != RPC.role.value]) == ["RPC"]


def test_the_waterfall_shows_each_span_below_its_parent() -> None:
    system = System()
    call = system._made["RPC", Service.API]
    picture = waterfall([call, *(each for each in system.spans if each.parent_id == call.span_id)])
    assert picture[1].startswith("engagement-api")
    assert all(line.split(maxsplit=1)[1] for line in picture[1:])
    assert any("  receive" in line for line in picture)
    assert waterfall([]) == []
