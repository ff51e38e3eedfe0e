"""Holds what a system emitted against the telemetry contract: nothing else, nothing missing, and every edge there."""

from __future__ import annotations

from collections.abc import Iterable

from crossfade.runtime.telemetry.contract import METRICS
from crossfade.runtime.telemetry.schema import Edge, Metric, Service, Span, Via
from crossfade.runtime.telemetry.span_contract import EDGES, SPANS
from crossfade_demo.receiver import ReceivedMetric, ReceivedSpan

BY_NAME = {each.name: each for each in METRICS}


def spec_of(span: ReceivedSpan) -> Span | None:
    """The kind of span that the contract knows this one as."""
    return next(
        (
            each
            for each in SPANS
            if each.role.value == span.kind and Service(span.service) in each.services and each.matches(span.name)
        ),
        None,
    )


def wrong_metrics(received: Iterable[ReceivedMetric], services: Iterable[Service]) -> list[str]:
    """What is wrong with the metrics of these services: sentences, empty when nothing is."""
    wrong: list[str] = []
    seen: set[tuple[Metric, Service]] = set()
    for each in received:
        metric = BY_NAME.get(each.name)
        service = Service(each.service)
        if metric is None or service not in metric.services:
            wrong.append(f"{each.service} emits {each.name}, which the contract doesn't name for it")
            continue
        seen.add((metric, service))
        if (each.kind, each.unit) != (metric.kind.value, metric.unit):
            wrong.append(f"{each.service}: {each.name} is a {each.kind} in {each.unit}")
        expected = {attribute.name: attribute for attribute in metric.attributes}
        for point in each.points:
            if point.keys() != expected.keys():
                wrong.append(f"{each.service}: a point of {each.name} has {sorted(point)}")
            for name, value in point.items():
                allowed = expected[name].values if name in expected else ()
                if allowed and value not in allowed:
                    wrong.append(f"{each.service}: {each.name} has {name}={value}")
    wanted = {(m, s) for m in METRICS for s in m.services if s in set(services) and not m.occasional}
    wrong += [f"{service.value} never emitted {metric.name}" for metric, service in wanted - seen]
    return sorted(set(wrong))


def wrong_spans(spans: list[ReceivedSpan]) -> list[str]:
    """What is wrong with the spans of the whole system."""
    wrong: list[str] = []
    seen: set[tuple[str, Service]] = set()
    for span in spans:
        spec = spec_of(span)
        if spec is None:
            wrong.append(
                f"{span.service} emits a {span.kind} span {span.name!r}, which the contract doesn't name for it"
            )
            continue
        seen.add((spec.id, Service(span.service)))
        wrong += _wrong_attributes(span, spec)
    wanted = {(spec.id, service) for spec in SPANS for service in spec.services if _must_be(spec, service)}
    wrong += [f"{service.value} never emitted a span {spec_id}" for spec_id, service in wanted - seen]
    return sorted(set(wrong))


def _must_be(spec: Span, service: Service) -> bool:
    leading = [edge for edge in EDGES if edge.after == spec.id and (not edge.services or service in edge.services)]
    if any(edge.after == spec.id for edge in EDGES):
        return not spec.occasional and any(not edge.occasional for edge in leading)
    return not spec.occasional


def _wrong_attributes(span: ReceivedSpan, spec: Span) -> list[str]:
    required, optional = ({each.name: each for each in some} for some in (spec.attributes, spec.optional))
    known = required | optional
    wrong = [f"{spec.id} without {name}" for name in required.keys() - span.attributes.keys()]
    wrong += [f"{spec.id} with {name}" for name in span.attributes.keys() - known.keys()]
    if span.name != spec.named(dict(span.attributes)):
        wrong.append(f"{spec.id} with the name {span.name!r}")
    for name, value in span.attributes.items():
        values = known[name].values if name in known else ()
        if values and value not in values:
            wrong.append(f"{spec.id} with {name}={value}")
    events = {each.name: {attribute.name for attribute in each.attributes} for each in spec.events}
    for event in span.events:
        if event.name not in events or not event.attributes.keys() <= events[event.name]:
            wrong.append(f"{spec.id} with an event {event.name} {sorted(event.attributes)}")
    if span.end_us < span.start_us:
        wrong.append(f"{spec.id} of {span.service} ends before it begins")
    return [f"{span.service}: {sentence}" for sentence in wrong]


def wrong_edges(spans: list[ReceivedSpan]) -> list[str]:
    """What is wrong with how the spans follow from each other."""
    by_id = {span.span_id: span for span in spans}
    seen: set[tuple[Edge, Service]] = set()
    wrong: list[str] = []
    for span in spans:
        after = spec_of(span)
        if after is None:
            continue
        linked = [by_id[link.span_id] for link in span.links if link.span_id in by_id]
        seen |= {(edge, Service(span.service)) for each in linked if (edge := _edge(each, span, after, links=True))}
        parent = by_id.get(span.parent_id)
        if parent is None:
            continue  # the first of its trace, or its process was killed before it sent the parent
        if parent.trace_id != span.trace_id:
            wrong.append(f"a span {after.id} is in another trace than its parent")
        edge = _edge(parent, span, after, links=False)
        if edge is None:
            wrong.append(f"{span.name} of {span.service} is below {parent.name} of {parent.service}")
        else:
            seen.add((edge, Service(span.service)))
    specs = {each.id: each for each in SPANS}
    for edge in EDGES:
        if not edge.occasional:
            services = edge.services or specs[edge.after].services
            wrong += [
                f"no {edge.after} of {service.value} follows from a {edge.before} ({edge.via.value})"
                for service in services
                if (edge, service) not in seen
            ]
    return sorted(set(wrong))


def _edge(before: ReceivedSpan, after: ReceivedSpan, spec: Span, *, links: bool) -> Edge | None:
    first = spec_of(before)
    for edge in EDGES:
        if (
            first is not None
            and (edge.before, edge.after) == (first.id, spec.id)
            and (edge.via is Via.LINK) is links
            and (not edge.services or Service(after.service) in edge.services)
            and (edge.via is not Via.CHILD or before.service == after.service)
        ):
            return edge
    return None
