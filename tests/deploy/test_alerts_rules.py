"""The alert rules: what they name exists, each is tested to fire and to be silent, each leads to a runbook."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import alert_cases
import promql_parser
import pytest
from alert_rules import DEPLOY, EVERYBODY, GROUP, MIGRATION, RECORDED, groups, recorded, rules
from promql_names import BESIDES, LABELS, SERIES, labels_of, metrics_in, series_in, wrong_names

from crossfade.core.migration.evidence import Bounds
from crossfade.runtime.telemetry.contract import CONSUMERS


@pytest.mark.parametrize("name", rules())
def test_a_rule_names_only_what_the_contract_has(name: str) -> None:
    assert not wrong_names(rules()[name]["expr"])


def test_a_recording_rule_names_only_what_there_is_and_makes_the_labels_it_promises() -> None:
    for rule in recorded():
        assert not wrong_names(rule["expr"]), rule
        assert set(rule.get("labels", {})) <= RECORDED[rule["record"]], rule
    assert {rule["record"] for rule in recorded()} == RECORDED.keys()


def test_an_alert_and_what_it_stands_on_are_evaluated_in_one_round_and_in_order() -> None:
    """Groups are evaluated at moments of their own: an alert would be over before its reporter's death is known."""
    expected, rest = groups()
    assert {rule["record"] for rule in expected["rules"]} == {"crossfade:expected"}
    kinds = ["record" if "record" in rule else "alert" for rule in rest["rules"]]
    assert kinds == sorted(kinds, reverse=True)


SILENT = {"CrossfadeWatchdog", "CrossfadeNothingExpected"}
"""Alerts about the alerting."""


def kept_labels(own: str) -> list[str]:
    """Return the labels that an expression's sums keep."""
    found: list[str] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            found.extend(each for each in node.modifier.labels if each not in (*found, "le"))
        return True

    promql_parser.walk(promql_parser.parse(own), visit)
    return found


@pytest.mark.parametrize("name", sorted(rules().keys() - SILENT))
def test_no_alert_is_over_because_its_reporter_is_dead(name: str) -> None:
    """It fires on silence, so its left side is there when nobody is; or it is kept while those who send it are dead."""
    expr = rules()[name]["expr"]
    own, kept, _ = expr.partition(" or (NaN * ")
    if not kept:
        assert all(
            part.lstrip("(").startswith(("crossfade:", "label_replace(max by (crossfade_migration) (crossfade:"))
            for part in expr.split(" or ")
        )
        return
    labels = kept_labels(own)
    tell = [
        each for each in EVERYBODY if any(each in metric.services for metric in metrics_in(promql_parser.parse(own)))
    ]
    if GROUP in labels and set(tell) <= set(CONSUMERS):
        gone = f"on ({MIGRATION}, {GROUP}) crossfade:consumer_down"
    else:
        gone = f'on ({MIGRATION}) crossfade:down{{service_name=~"{"|".join(each.value for each in tell)}"}}'
    fired = f'max by ({", ".join(labels)}) (ALERTS{{alertname="{name}",alertstate="firing"}})'
    assert expr == f"{own} or (NaN * {fired} and {gone})"


@pytest.mark.parametrize("name", rules())
def test_a_rule_tells_migrations_apart(name: str) -> None:
    """Every sum keeps the migration: one that is well must not hide another that is not."""
    expr = promql_parser.parse(rules()[name]["expr"])
    wrong: list[str] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.AggregateExpr):
            labels = node.modifier.labels if node.modifier else []
            if "crossfade_migration" not in labels:
                wrong.append(node.prettify())
        return True

    promql_parser.walk(expr, visit)
    assert not wrong


@pytest.mark.parametrize("name", rules())
def test_a_rules_words_use_labels_that_its_query_keeps(name: str) -> None:
    rule = rules()[name]
    used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert "crossfade_migration" in used or name == "CrossfadeWatchdog"
    assert used <= LABELS.keys() | {"crossfade_migration", "service_name"}
    kept = {
        label for series in series_in(promql_parser.parse(rule["expr"])) & RECORDED.keys() for label in RECORDED[series]
    }
    for label in used:
        assert label in rule["expr"] or label in kept, label


def test_every_alert_is_tested_to_fire_and_to_be_silent() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for test in alert_cases.tests():
        for each in test.get("alert_rule_test", ()):
            (fires if each["exp_alerts"] else silent).add(each["alertname"])
    assert fires == set(rules())
    assert silent == set(rules()) - {"CrossfadeWatchdog"}


def test_the_series_of_the_tests_are_those_that_the_contract_makes() -> None:
    for test in alert_cases.tests():
        for each in test["input_series"]:
            selector = promql_parser.parse(each["series"])
            assert isinstance(selector, promql_parser.VectorSelector)
            assert selector.name in SERIES or selector.name in BESIDES, each["series"]
            there = {matcher.name for matcher in selector.matchers.matchers} - {"instance"}
            assert there <= labels_of(selector.name), each["series"]


def test_every_alert_says_whom_it_concerns_and_whether_clients_are_hurt() -> None:
    for name, rule in rules().items():
        assert rule["labels"]["severity"] in (("none",) if name == "CrossfadeWatchdog" else ("page", "ticket")), name
        assert rule["labels"]["clients_hurt"] in ("yes", "some", "no"), name
        if rule["labels"]["clients_hurt"] == "yes":
            assert rule["labels"]["severity"] == "page", name


def test_every_alert_links_a_runbook_and_a_dashboard_that_exist() -> None:
    boards = {json.loads(path.read_text())["uid"] for path in DEPLOY.glob("dashboards/*.json")}
    for name, rule in rules().items():
        runbook = DEPLOY.parent / rule["annotations"]["runbook_url"]
        assert runbook.is_file(), name
        assert runbook.read_text().startswith(f"# {name}:"), name
        assert rule["annotations"]["dashboard"] in boards, name


def test_every_runbook_is_an_alerts() -> None:
    linked = {Path(rule["annotations"]["runbook_url"]).name for rule in rules().values()}
    assert {path.name for path in (DEPLOY / "runbooks").glob("*.md")} - {"README.md"} == linked


def test_bounds_that_a_gate_has_too_are_the_gates() -> None:
    gates, found = Bounds(), rules()
    assert f"> {gates.api_errors:g}) or" in found["CrossfadeApiErrors"]["expr"]
    assert f"> {gates.api_p99_ms / 1000:g}) or" in found["CrossfadeApiSlow"]["expr"]
    assert f"> {gates.expiry_margin_s:g}) or" in found["CrossfadeRecordsNearExpiry"]["expr"]


def test_errors_are_the_operations_that_failed_by_our_fault_on_whatever_path() -> None:
    expression = rules()["CrossfadeApiErrors"]["expr"]
    assert re.search(r'crossfade_result=~?"failed"', expression)
    assert "rpc_method" not in expression
