"""The alert rules: what they name exists, each is tested to fire and to be silent, each leads to a runbook."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from promql_names import BESIDES, LABELS, SERIES, labels_of, metrics_in, series_in, wrong_names

from crossfade.core.migration.evidence import Bounds
from crossfade.runtime.telemetry.contract import API_OPERATIONS, CALL_COUNTS, METRICS
from tools.observability.alerts import ALERTS
from tools.observability.presence import RECORDED

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ALARMS = DEPLOY / "terraform" / "modules" / "alarms"
ROW = re.compile(r"\| `(Crossfade\w+)` \| (\w+) \| (\w+) \| (.*) \| \[[\w-]+\]\(\.\./runbooks/([\w-]+\.md)\) \|")


@functools.cache
def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "alerts" / "crossfade.rules.yaml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


@functools.cache
def recorded() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "alerts" / "crossfade.rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "record" in rule]


@functools.cache
def unit_tests() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "alerts" / "crossfade.test.yaml").read_text())["tests"]
    return found


@functools.cache
def table() -> dict[str, re.Match[str]]:
    lines = (DEPLOY / "alerts" / "README.md").read_text().splitlines()
    return {found[1]: found for line in lines if (found := ROW.fullmatch(line))}


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
    groups = yaml.safe_load((DEPLOY / "alerts" / "crossfade.rules.yaml").read_text())["groups"]
    expected, rest = groups
    assert {rule["record"] for rule in expected["rules"]} == {"crossfade:expected"}
    kinds = ["record" if "record" in rule else "alert" for rule in rest["rules"]]
    assert kinds == sorted(kinds, reverse=True)


SILENT = {"CrossfadeWatchdog", "CrossfadeNothingExpected"}
"""Alerts about the alerting."""


@pytest.mark.parametrize("name", sorted(rules().keys() - SILENT))
def test_no_alert_is_over_because_whoever_would_tell_of_it_is_dead(name: str) -> None:
    """It fires on silence, so that its left side is there when nobody is; or it is kept while its reporter is dead."""
    expr = rules()[name]["expr"]
    on_silence = all(
        part.lstrip("(").startswith(("crossfade:", "label_replace(max by (crossfade_migration) (crossfade:"))
        for part in expr.split(" or ")
    )
    kept = f'ALERTS{{alertname="{name}",alertstate="firing"}}' in expr and expr.count("crossfade:") == 1
    assert on_silence is not kept


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
    for test in unit_tests():
        for each in test.get("alert_rule_test", []):
            (fires if each["exp_alerts"] else silent).add(each["alertname"])
    assert fires == set(rules())
    assert silent == set(rules()) - {"CrossfadeWatchdog"}


def test_the_series_of_the_tests_are_those_that_the_contract_makes() -> None:
    for test in unit_tests():
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


def test_the_table_has_every_alert_with_what_the_rule_says() -> None:
    found = table()
    assert set(found) == set(rules())
    for name, rule in rules().items():
        row = found[name]
        assert row[2] == rule["labels"]["severity"], name
        assert row[3] == rule["labels"]["clients_hurt"], name
        assert row[5] == Path(rule["annotations"]["runbook_url"]).name, name


def test_an_alarm_in_the_table_is_on_a_metric_that_cloudwatch_is_sent() -> None:
    """The alarm's metric is one that the alert's own query is about, or the alert itself."""
    sent = {each.cloudwatch for each in METRICS if each.cloudwatch}
    alerts = {each.full_name: each for each in ALERTS}
    for name, row in table().items():
        about = metrics_in(promql_parser.parse(rules()[name]["expr"])) | set(alerts[name].metrics)
        for metric in re.findall(r"`[\w-]+`: ([A-Z]\w+)[, ]", row[4]):
            counted = {each.cloudwatch for each in CALL_COUNTS} if API_OPERATIONS in about else set()
            assert metric in counted | {each.cloudwatch for each in about}, name
            assert metric in sent | counted


def test_terraforms_alarms_the_table_and_the_rules_agree() -> None:
    """An alarm is named in its alert's row, with the same metric and runbook; none in the table is missing there."""
    rows, made = table(), json.loads((ALARMS / "alarms.json").read_text())
    for each in made:
        row = rows[each["alert"]]
        assert f"`{each['alarm']}`: {each['metric']}" in row[4], each["name"]
        assert f" {each['bound']:g}, {each['minutes']} min" in row[4], each["name"]
        assert (each["severity"], each["runbook"]) == (row[2], row[5]), each["name"]
    module = "".join(path.read_text() for path in ALARMS.glob("*.tf"))
    there = {(each["alert"], each["alarm"]) for each in made}
    for name, row in rows.items():
        for alarm, metric in re.findall(r"`([\w-]+)`: (?:AWS/\w+ )?(\w+)", row[4]):
            assert (name, alarm) in there or f'metric = "{metric}"' in module, f"{name}: {alarm}"


def test_alarms_on_awss_own_metrics_lead_to_runbooks_that_exist() -> None:
    module = "".join(path.read_text() for path in ALARMS.glob("*.tf"))
    named = set(re.findall(r'"([\w-]+\.md)"', module)) | set(re.findall(r"/([\w-]+\.md)", module))
    assert named
    assert {each for each in named if not (DEPLOY / "runbooks" / each).is_file()} == set()


def test_the_alarms_in_the_table_have_names_of_their_own() -> None:
    names = [each for row in table().values() for each in re.findall(r"`([\w-]+)`:", row[4])]
    assert len(names) > 10
    assert len(set(names)) == len(names)
