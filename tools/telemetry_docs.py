"""The page docs/reference/telemetry.md, from the telemetry contract; `tools.reference` writes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crossfade.runtime.telemetry.contract import CLOUDWATCH_NAMESPACE, METRICS, NAMESPACE
from crossfade.runtime.telemetry.schema import Attribute, Kind, Metric, Service, Span
from crossfade.runtime.telemetry.span_contract import EDGES, SPANS

HEAD = f"""# Telemetry: what is emitted, by whom

Generated from `crossfade/runtime/telemetry/contract.py` by `make reference`; don't edit it by hand. A test runs the
whole system and compares it with this page: everything on it is emitted, and nothing else.

Names follow OpenTelemetry's semantic conventions (rpc, messaging, db, aws) where they exist; Crossfade's own names
begin with `crossfade.`. Each process has `service.namespace` {NAMESPACE}, `service.name` as below,
`service.instance.id` its pod and `crossfade.migration` the migration's name.

## How to turn it on

Everything is off until the environment turns it on. What is off costs a comparison with None.

| Variable | Means |
|---|---|
| `OTEL_EXPORTER_OTLP_ENDPOINT` | where traces and metrics are sent over OTLP gRPC, such as `http://127.0.0.1:4317` |
| `OTEL_TRACES_EXPORTER` | `otlp` or `none`; unset: `otlp` if an endpoint is set |
| `OTEL_METRICS_EXPORTER` | a list of `otlp`, `prometheus`, `emf`, `none`; unset: as for traces |
| `OTEL_EXPORTER_PROMETHEUS_HOST`, `_PORT` | where `/metrics` is: localhost, 9464; port 0: a free one, in the log |
| `OTEL_METRIC_EXPORT_INTERVAL` | in ms, for `otlp` and `emf`: 60000 |
| `OTEL_TRACES_SAMPLER`, `_ARG` | `parentbased_always_on`; `parentbased_traceidratio` and `0.01` for 1 % |
| `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | another name, more attributes |
| `OTEL_SDK_DISABLED` | `true`: everything is off, whatever else is set |

OpenTelemetry's SDK reads batching, limits, headers and certificates under their standard names.

Prometheus has each name with its unit and `_total`, as the table says, and the labels `service_name` and
`crossfade_migration` on every sample; histograms carry exemplars if OpenMetrics is requested. CloudWatch gets JSON
lines on stdout (embedded metric format) in the namespace {CLOUDWATCH_NAMESPACE}, with times in milliseconds, once by
Service and Migration alone and once by the metric's attributes. There, a histogram is at most 100 representative
values: percentiles are right, the sample count is not; calls are counted separately, as Calls and FailedCalls.

Never emitted: amounts, transaction ids, the clients' reasons, statements, credentials. A key is named only where a
reason has to name it: a halt, a handover that is impossible.
"""

TRACE = """## One write, one trace

The caller's context arrives in the gRPC metadata. The call's own goes into the event inside the item (`cf_events`), and
so through DynamoDB, the stream and the feed; every reader of the record of that very write joins the trace. Copies,
seals
and handovers carry the event along, but are not joined again: only a record whose `cf_emv` is new shows its write.

```mermaid
flowchart LR
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD, TRACE.rstrip(), *_flow(), "```", "", *_spans(), *_metrics(), *_attributes()]) + "\n"


def _flow() -> list[str]:
    return [
        f"    {edge.before} {'-.->' if edge.via.value == 'link' else '-->'}|{edge.via.value}| {edge.after}"
        for edge in {(each.before, each.after, each.via): each for each in EDGES}.values()
    ]


def _spans() -> list[str]:
    lines = ["## Spans", ""]
    for each in SPANS:
        lines += [f"### {each.id}: `{each.name}`", "", _sentence(each.meaning), ""]
        lines += [f"- Kind {each.role.value}; by {_services(each.services)}."]
        lines += [f"- Attributes: {_names(each.attributes)}{_optional(each)}."]
        lines += [f"- Event `{event.name}`: {event.meaning} ({_names(event.attributes)})." for event in each.events]
        if each.always:
            lines += ["- Recorded whatever the sampling ratio: such deeds are few."]
        lines += [""]
    return lines


def _optional(span: Span) -> str:
    return f"; sometimes {_names(span.optional)}" if span.optional else ""


def _metrics() -> list[str]:
    head = ("Metric", "Kind, unit", "Means", "Attributes", "Prometheus", "CloudWatch")
    lines = ["## Metrics", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for service in Service:
        own = [each for each in METRICS if each.services[0] is service]
        lines += [_row(each) for each in own]
    lines += ["", "By whom:", ""]
    for service in Service:
        emitted = [f"`{each.name}`" for each in METRICS if service in each.services]
        if emitted:
            lines += [f"- **{service.value}**: {', '.join(emitted)}"]
    return [*lines, ""]


def _row(metric: Metric) -> str:
    missing = "; not always there" if metric.occasional else ""
    cells = (
        f"`{metric.name}`",
        f"{metric.kind.value}, {metric.unit}",
        metric.meaning + missing,
        _names(metric.attributes) if metric.attributes else "",
        f"`{metric.prometheus}{'_bucket' if metric.kind is Kind.HISTOGRAM else ''}`",
        f"{metric.cloudwatch} ({metric.cloudwatch_unit})" if metric.cloudwatch else "",
    )
    return f"| {' | '.join(cells)} |"


def _attributes() -> list[str]:
    used: dict[str, Attribute] = {}
    for attribute in _all_attributes():
        used.setdefault(attribute.name, attribute)
    lines = ["## Attributes", "", "| Attribute | Type | Means | Values | In CloudWatch |", "|---|---|---|---|---|"]
    dimensions = {attribute.name for each in METRICS if each.cloudwatch for attribute in each.attributes}
    for name, each in sorted(used.items()):
        values = ", ".join(f"`{value}`" for value in each.values)
        dimension = each.cloudwatch if name in dimensions else ""
        lines += [f"| `{name}` | {each.type} | {each.meaning} | {values} | {dimension} |"]
    return lines


def _all_attributes() -> Iterable[Attribute]:
    for metric in METRICS:
        yield from metric.attributes
    for span in SPANS:
        yield from (*span.attributes, *span.optional)
        for event in span.events:
            yield from event.attributes


def _names(attributes: Sequence[Attribute]) -> str:
    return ", ".join(f"`{each.name}`" for each in attributes)


def _services(services: Sequence[Service]) -> str:
    return ", ".join(each.value for each in services)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
