"""CloudWatch's alarms and dashboard: on metrics that are sent, with the meaning of the alert rules, to a runbook."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from alert_rules import rules
from botocore.session import Session
from cloudwatch_alarms import computed
from promql_names import metrics_in
from terraform_runs import MODULES, ROOT, Terraform

from crossfade.runtime.telemetry.contract import API_OPERATIONS, CALL_COUNTS, CLOUDWATCH_NAMESPACE, GROUP, METRICS

ALARMS = next(each for each in MODULES if each.name == "alarms")
UNSAID: Mapping[str, Any] = {
    "dimensions": {}, "statistic": "Maximum", "percentile": None, "below": False, "expression": None, "parts": {},
    "period_s": 60, "minutes": 5, "silence": False,
}  # fmt: skip
"""What main.tf has for an alarm that doesn't say it."""


def whole(alarm: Mapping[str, Any]) -> dict[str, Any]:
    """Return an alarm with what main.tf has for it."""
    found = {**UNSAID, "alarm": alarm["name"], "watches": [alarm["service"]], **alarm}
    found["runbook"] = Path(rules()[alarm["alert"]]["annotations"]["runbook_url"]).name
    found["parts"] = {key: {"dimensions": {}, "statistic": "Sum"} | part for key, part in found["parts"].items()}
    return found


OWN = [whole(each) for each in yaml.safe_load((ALARMS / "alarms.yaml").read_text())]

IN_CLOUDWATCH = (*METRICS, *CALL_COUNTS)
SENT = {(each.cloudwatch, service.value) for each in IN_CLOUDWATCH if each.cloudwatch for service in each.services}

OF_AWS = {
    "AWS/Kinesis": {
        "GetRecords.IteratorAgeMilliseconds",
        "ReadProvisionedThroughputExceeded",
        "WriteProvisionedThroughputExceeded",
    },
    "AWS/DynamoDB": {
        "AgeOfOldestUnreplicatedRecord",
        "ConsumedWriteCapacityUnits",
        "FailedToReplicateRecordCount",
        "ReadThrottleEvents",
        "ThrottledPutRecordCount",
        "WriteThrottleEvents",
    },
    "AWS/Lambda": {"Errors", "IteratorAge", "Throttles"},
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible"},
    "AWS/ElastiCache": {"DatabaseMemoryUsagePercentage", "EngineCPUUtilization", "Evictions"},
}
"""Metrics as AWS's guides spell them."""


ON_SILENCE = {"api-silent", "no-pods", "unread-shards", "verifier-silent", "no-controller"}
"""On the figure by which a death shows in CloudWatch; their alerts fire on what isn't heard."""
OTHER_BOUNDS = {"throttles": "a sum of ten minutes, where the rule has a share of what was sent"}


@pytest.mark.parametrize("alarm", OWN, ids=lambda each: each["name"])
def test_an_alarm_has_its_alert_s_severity_bound_and_one_of_its_metrics(alarm: dict[str, Any]) -> None:
    rule = rules()[alarm["alert"]]
    assert alarm["severity"] == rule["labels"]["severity"]
    own = rule["expr"].partition(" or (NaN * ")[0]
    about = metrics_in(promql_parser.parse(own))
    sent = [each for each in IN_CLOUDWATCH if each in about or (each in CALL_COUNTS and API_OPERATIONS in about)]
    for part in list(alarm["parts"].values()) or [alarm]:
        meant = [each for each in sent if each.cloudwatch == part["metric"]]
        assert meant or alarm["alarm"] in ON_SILENCE
        if not alarm["below"] and not alarm["parts"] and meant and alarm["alarm"] not in OTHER_BOUNDS:
            bounds = {float(each) for each in re.findall(r"[<>]=? ([\d.]+)", own)}
            assert alarm["bound"] / meant[0].cloudwatch_scale in bounds
    if alarm["parts"] and "/" in alarm["expression"]:
        assert own.endswith(f" > {alarm['bound']:g})")


def test_each_service_and_consumer_that_sends_a_watched_metric_has_its_alarm() -> None:
    for name in {each["alarm"] for each in OWN if not each["parts"]}:
        of = [each for each in OWN if each["alarm"] == name]
        about = metrics_in(promql_parser.parse(rules()[of[0]["alert"]]["expr"])) or set(METRICS)
        senders = {
            service.value
            for each in METRICS
            for service in each.services
            if each.cloudwatch == of[0]["metric"] and (each in about or name in ON_SILENCE)
        }
        assert {each["service"] for each in of} <= senders
        if not any(each["dimensions"] for each in of):
            assert {each["service"] for each in of} == senders, name
        elif set(of[0]["dimensions"]) == {GROUP.cloudwatch}:
            assert [each["dimensions"][GROUP.cloudwatch] for each in of] == list(GROUP.values), name


def test_who_is_watched_is_who_sends_the_metric() -> None:
    """Of a replicator's, the consumers that the alarm names; without a name all that the process is."""
    consumers = {name: f"replicator-{name.partition('-')[0]}" for name in GROUP.values}
    for each in OWN:
        named = {part["dimensions"].get(GROUP.cloudwatch) for part in (each, *each["parts"].values())}
        own = [name for name, service in consumers.items() if service == each["service"]]
        assert each["watches"] == ([name for name in own if name in named] or own or [each["service"]]), each["name"]


def test_alarms_have_names_of_their_own_and_the_failed_first_hop_is_watched() -> None:
    names = [each["name"] for each in OWN]
    assert len(names) == len(set(names))
    assert "failed-replication" in (ALARMS / "aws.tf").read_text()


@pytest.mark.parametrize("alarm", OWN, ids=lambda each: each["name"])
def test_an_alarm_is_on_a_metric_that_its_service_sends_with_these_dimensions(alarm: dict[str, Any]) -> None:
    for part in list(alarm["parts"].values()) or [alarm]:
        assert (part["metric"], alarm["service"]) in SENT
        by_name = [each for each in IN_CLOUDWATCH if each.cloudwatch == part["metric"]]
        dimensions = [{attribute.cloudwatch: attribute for attribute in each.attributes} for each in by_name]
        if part["dimensions"]:
            assert any(set(each) == set(part["dimensions"]) for each in dimensions), "CloudWatch matches all or none"
            for name, value in part["dimensions"].items():
                values = next(each[name].values for each in dimensions if name in each)
                assert not values or value in values


def computed_from(alarm: str, **sums: float | None) -> float | None:
    """What CloudWatch makes of an alarm's expression; a missing sum makes it missing."""
    own = next(each for each in OWN if each["name"] == alarm)
    assert set(sums) == set(own["parts"])
    return computed(own["expression"], sums)


@pytest.mark.parametrize(
    ("alarm", "sums", "alarms"),
    [
        ("api-errors", {"some": 2, "every": 100}, True),
        ("api-errors", {"some": 1, "every": 200}, False),
        ("api-errors", {"some": 0, "every": 0}, False),
        ("dual-write-failing", {"some": 6, "every": 100}, True),
        ("dual-write-failing", {"some": 4, "every": 100}, False),
        ("checkpoints-stopped-reverse", {"read": 10, "stored": 0}, True),
        ("checkpoints-stopped-reverse", {"read": 10, "stored": 1}, False),
        ("checkpoints-stopped-reverse", {"read": 0, "stored": 0}, False),
        ("checkpoints-stopped-reverse", {"read": 10, "stored": None}, False),
        ("leases-flapping-forward", {"taken": 40, "shards": 8}, True),
        ("leases-flapping-forward", {"taken": 24, "shards": 8}, False),
        ("leases-flapping-forward", {"taken": 0, "shards": 0}, False),
    ],
)
def test_a_computed_alarm_goes_off_when_its_rule_fires(alarm: str, sums: dict[str, float | None], alarms: bool) -> None:
    value = computed_from(alarm, **sums)
    bound = next(each["bound"] for each in OWN if each["name"] == alarm)
    assert (value is not None and value > bound) is alarms


def test_a_consumer_s_checkpoints_are_set_against_what_the_same_consumer_read() -> None:
    computed = {each["name"]: each for each in OWN if each["alarm"].startswith("checkpoints-stopped")}
    assert set(computed) == {f"checkpoints-stopped-{each}" for each in GROUP.values}
    for name, each in computed.items():
        consumers = {part["dimensions"]["Consumer"] for part in each["parts"].values()}
        assert consumers == {name.removeprefix("checkpoints-stopped-")}
        assert each["service"] == f"replicator-{consumers.pop().partition('-')[0]}"


def test_each_alarm_s_runbook_is_there() -> None:
    runbooks = ROOT / "deploy/runbooks"
    named = {each["runbook"] for each in OWN} | set(
        re.findall(r'runbook = "([\w-]+\.md)"', (ALARMS / "aws.tf").read_text())
    )
    assert len(named) > 15
    missing = {name for name in named if not (runbooks / name).is_file()}
    assert not missing


@pytest.fixture(scope="module")
def planned(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Every alarm with all options on, as Terraform plans them."""
    module = terraform.copy(tmp_path_factory.mktemp("alarms")) / "modules/alarms"
    tests = module / "tests/alarms.tftest.hcl"
    text = tests.read_text()
    start = text.index('run "lambda_and_the_marks')
    tests.write_text(text[: text.index("\nrun ")] + "\n" + text[start : text.index("\nrun ", start)])
    ran, plans = terraform.tested(module)
    assert ran.code == 0, ran.said
    (plan,) = plans.values()
    return [each["change"]["after"] for each in plan["resource_changes"]]


def test_every_metric_of_aws_is_spelled_as_aws_does(planned: list[dict[str, Any]]) -> None:
    seen = set()
    for alarm in planned:
        if "metric_name" not in alarm:
            if len(alarm["metric_query"]) > 1:
                continue  # on our own metrics
            (query,) = alarm["metric_query"]
            found = re.fullmatch(
                r"SELECT (?:MAX|SUM)\((\w+)\) FROM SCHEMA\(\"(AWS/DynamoDB)\", DelegatedOperation, TableName\) "
                r"WHERE TableName = '(?:wallet|engagement)'",
                query["expression"],
            )
            assert found, query["expression"]
            seen.add((found[2], found[1]))
        elif alarm["namespace"] != CLOUDWATCH_NAMESPACE:
            seen.add((alarm["namespace"], alarm["metric_name"]))
    assert seen
    assert not {(namespace, name) for namespace, name in seen if name not in OF_AWS[namespace]}


def test_every_value_is_one_that_cloudwatch_takes(planned: list[dict[str, Any]]) -> None:
    model = Session().get_service_model("cloudwatch")
    operation = model.operation_model("PutMetricAlarm").input_shape
    comparisons = set(operation.members["ComparisonOperator"].enum)
    statistics = set(operation.members["Statistic"].enum)
    assert len(planned) > 50
    for alarm in planned:
        assert alarm["comparison_operator"] in comparisons
        assert alarm.get("statistic") is None or alarm["statistic"] in statistics
        assert alarm.get("extended_statistic") is None or re.fullmatch(r"p\d+", alarm["extended_statistic"])
        assert alarm["treat_missing_data"] in {"breaching", "notBreaching", "ignore"}
        assert len(alarm["alarm_name"]) <= 255
        assert 1 <= alarm["datapoints_to_alarm"] <= alarm["evaluation_periods"] <= 1440
        metrics = [each["metric"][0] for each in alarm.get("metric_query") or [] if each["metric"]]
        period_s = metrics[0]["period"] if metrics else alarm.get("period", 60)
        seconds = alarm["evaluation_periods"] * period_s
        assert {each["period"] for each in metrics} <= {period_s}
        assert len(metrics) <= 10, "CloudWatch takes no more metrics in an expression"
        assert seconds <= 86400, "an alarm may look back a day"
        if "metric_name" not in alarm:
            assert seconds <= 3 * 3600, "a query may look back three hours"


def test_bounds_are_those_of_the_rules(planned: list[dict[str, Any]]) -> None:
    by_name = {each["alarm_name"]: each for each in planned}
    for own in OWN:
        alarm = by_name[f"engagement-crossfade-{own['name']}"]
        assert alarm["threshold"] == own["bound"]
        assert alarm["evaluation_periods"] * own["period_s"] == own["minutes"] * 60
        common = {"Service": own["service"], "Migration": "engagement"}
        if own["expression"]:
            queries = {each["id"]: each for each in alarm["metric_query"]}
            assert queries.pop("computed")["expression"] == own["expression"]
            asked = {key: each["metric"][0] for key, each in queries.items()}
            assert {key: (each["metric_name"], each["dimensions"]) for key, each in asked.items()} == {
                key: (part["metric"], {**common, **part["dimensions"]}) for key, part in own["parts"].items()
            }
            assert {(key, each["namespace"], each["stat"]) for key, each in asked.items()} == {
                (key, "Crossfade", part["statistic"]) for key, part in own["parts"].items()
            }
            assert [each["id"] for each in alarm["metric_query"] if each["return_data"]] == ["computed"]
        else:
            assert alarm["dimensions"] == {**common, **own["dimensions"]}
        below = alarm["comparison_operator"] == "LessThanThreshold"
        assert below == own["below"]


def test_the_dashboard_draws_metrics_that_are_sent(terraform: Terraform, tmp_path: Path) -> None:
    module = terraform.copy(tmp_path) / "modules/dashboards"
    ran, plans = terraform.tested(module)
    assert ran.code == 0, ran.said
    body = json.loads(plans["widgets_have_places_of_their_own"]["output_changes"]["body"]["after"])
    drawn = [metric for widget in body["widgets"] for metric in widget["properties"].get("metrics", [])]
    own = {(metric[1], metric[3]) for metric in drawn if metric[0] == CLOUDWATCH_NAMESPACE}
    assert len(own) > 20
    assert not own - SENT
    assert all(
        metric[2] == "Service" and metric[4:6] == ["Migration", "engagement"]
        for metric in drawn
        if metric[0] == CLOUDWATCH_NAMESPACE
    )
    assert not {
        (metric[0], metric[1]) for metric in drawn if metric[0] in OF_AWS and metric[1] not in OF_AWS[metric[0]]
    }
