"""Finds what a PromQL expression names that the telemetry contract has not."""

from __future__ import annotations

import re
from typing import Any, Final

import promql_parser
from alert_rules import INFO, RECORDED

from crossfade.runtime.telemetry.contract import METRICS
from crossfade.runtime.telemetry.openmetrics import RESOURCE_LABELS
from crossfade.runtime.telemetry.schema import Attribute, Kind, Metric

COMMON: Final = frozenset(RESOURCE_LABELS.values())
"""Labels of every sample."""

SERIES: Final[dict[str, Metric]] = {
    f"{each.prometheus}{suffix}": each
    for each in METRICS
    for suffix in (("_bucket", "_sum", "_count") if each.kind is Kind.HISTOGRAM else ("",))
}
"""Every series that the contract's metrics make in Prometheus."""

BESIDES: Final[dict[str, frozenset[str]]] = {
    **RECORDED,
    INFO: COMMON | {"service_namespace"},
    "ALERTS": COMMON
    | {label.prometheus for each in METRICS for label in each.attributes}
    | {"alertname", "alertstate"},
}
"""The labels of series that no metric makes: what the rules record, what a process says of itself, what fires."""

LABELS: Final[dict[str, Attribute]] = {label.prometheus: label for each in METRICS for label in each.attributes}


def plain(expr: str) -> str:
    """Return an expression with Grafana's windows replaced by one of Prometheus."""
    return expr.replace("$__rate_interval", "1m").replace("$__range", "1h")


def labels_of(series: str) -> set[str]:
    """Return the labels that a series has."""
    if series in BESIDES:
        return set(BESIDES[series])
    found = {each.prometheus for each in SERIES[series].attributes} | COMMON
    return found | ({"le"} if series.endswith("_bucket") else set())


def wrong_names(expr: str) -> list[str]:
    """Return what an expression names that isn't there: metrics, labels, values of labels.

    Raises:
        ValueError: it is no PromQL.
    """
    wrong: list[str] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            wrong.extend(_of_selector(node))
        elif isinstance(node, promql_parser.AggregateExpr):
            wrong.extend(_of_grouping(node.modifier.labels if node.modifier else [], node))
        elif isinstance(node, promql_parser.BinaryExpr) and node.modifier and node.modifier.matching:
            wrong.extend(_of_grouping(node.modifier.matching.labels, node))
        elif isinstance(node, promql_parser.Call):
            wrong.extend(_of_call(node))
        return True

    promql_parser.walk(promql_parser.parse(plain(expr)), visit)
    return wrong


def selectors_in(node: Any) -> list[Any]:
    """Return all selectors in an expression."""
    found: list[Any] = []

    def visit(each: Any) -> bool:
        if isinstance(each, promql_parser.VectorSelector):
            found.append(each)
        return True

    promql_parser.walk(node, visit)
    return found


def series_in(node: Any) -> set[str]:
    """Return the names of all series in an expression."""
    return {str(each.name) for each in selectors_in(node)}


def metrics_in(node: Any) -> set[Metric]:
    """Return the metrics of the contract in an expression."""
    return {SERIES[each] for each in series_in(node) & SERIES.keys()}


def _of_selector(node: Any) -> list[str]:
    if node.name not in SERIES.keys() | BESIDES.keys():
        return [f"no metric makes the series {node.name}"]
    wrong = []
    for matcher in node.matchers.matchers:
        if matcher.name not in labels_of(node.name):
            wrong.append(f"{node.name} has no label {matcher.name}")
            continue
        known = LABELS[matcher.name].values if matcher.name in LABELS else ()
        if known and "$" not in matcher.value:
            wrong += [
                f"{matcher.name} is never {value}" for value in matcher.value.split("|") if not _any(value, known)
            ]
    return wrong


def _any(pattern: str, known: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, each) for each in known)


def _of_grouping(labels: list[str], node: Any) -> list[str]:
    there = {label for series in series_in(node) & (SERIES.keys() | BESIDES.keys()) for label in labels_of(series)}
    return [f"nothing in {sorted(series_in(node))} has the label {label}" for label in labels if label not in there]


def _of_call(node: Any) -> list[str]:
    if node.func.name == "label_replace":
        label = node.args[1].val
        return [] if label in LABELS else [f"label_replace makes a label {label}"]
    if node.func.name == "histogram_quantile":
        inner = node.args[1]
        grouped = inner.modifier.labels if isinstance(inner, promql_parser.AggregateExpr) and inner.modifier else []
        if "le" not in grouped or not all(name.endswith("_bucket") for name in series_in(inner)):
            return ["histogram_quantile needs buckets, by le"]
    return []
