"""The policies of `crossfade policy`: each call that the code makes is in one, and each right is a call in the code."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from crossfade.core.migration.control import (
    MEMBER_PK,
    OWNER_PK,
    PASSES_PK,
    REPAIRS_PK,
    REPORT_PK,
    RUNNING_PK,
    pass_blobs_pk,
    pass_parts_pk,
    pass_results_pk,
    repair_pk,
    tombstones_pk,
    units_pk,
)
from crossfade.core.plan.described import QUESTIONS
from crossfade_controller.before_options import STEPS
from crossfade_controller.cli import main
from crossfade_controller.policies import POLICIES, Named, policy, resources
from crossfade_controller.settings import ControllerSettings

ROOT = Path(__file__).parents[3]
ARN = re.compile(r"arn:aws:[a-z0-9]+:[a-z0-9*-]*:[0-9*]*:.+")
NAMED = Named("orders", "orders", "arn:aws:dynamodb:eu-west-1:222233334444:table/orders-new")

ON_BEHALF = {
    "kinesis:DescribeStream",
    "kinesis:ListStreams",
    "iam:CreateServiceLinkedRole",
    "logs:CreateLogGroup",
    "logs:CreateLogStream",
    "logs:DescribeLogGroups",
    "logs:DescribeLogStreams",
    "logs:PutLogEvents",
    "logs:PutRetentionPolicy",
    "s3:AbortMultipartUpload",
    "s3:PutObjectAcl",
}
"""What AWS does with the controller's right: see tests/deploy/terraform_policies.py."""

S3 = {
    "s3:GetObject": "get_object",
    "s3:PutObject": "put_object",
    "s3:DeleteObject": "delete_object",
    "s3:ListBucket": "head_bucket",
}
OF_IAM = {"BatchExecuteStatement": "the keyed protocol's", "TransactWriteItems": "ConditionCheckItem"}
KEYED_ONLY = {"BatchExecuteStatement", "DisableKinesisStreamingDestination"}


def operations() -> set[str]:
    """Return the operations that the code calls through the wire client."""
    found: set[str] = set()
    for path in [*(ROOT / "libs/common/src").rglob("*.py"), *(ROOT / "services").glob("*/src/**/*.py")]:
        found |= set(re.findall(r'(?:call|told)\((?:[\w.]+, )?"([A-Z]\w+)"', path.read_text()))
    return found


def actions(step: str) -> set[str]:
    return {action for each in POLICIES[step] for action in each.actions}


def test_there_is_a_policy_for_each_step_that_can_be_asked_for() -> None:
    assert set(STEPS) == set(POLICIES)


def test_every_operation_in_the_code_is_in_a_policy() -> None:
    rights = {action.partition(":")[2] for step in POLICIES for action in actions(step)}
    found = operations() - KEYED_ONLY
    assert {"GetRecords", "ImportTable", "DescribeStreamSummary"} <= found, "the search finds nothing"
    assert {each for each in found if OF_IAM.get(each, each) not in rights} == set()


def test_every_right_is_a_call_in_the_code_a_question_of_plan_or_aws_s_own() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "libs/common/src").rglob("*.py"))
    called = {f"{service}:{each}" for each in operations() for service in ("dynamodb", "kinesis")}
    called |= {each.action for each in QUESTIONS} | ON_BEHALF | {name for name, call in S3.items() if call in text}
    called |= {"dynamodb:ConditionCheckItem", "cloudwatch:ListMetrics"}
    given = {action for step in POLICIES for action in actions(step)}
    assert given - called == set()


def test_the_policy_of_plan_has_each_of_its_questions_and_writes_nothing_but_its_note() -> None:
    assert {each.action for each in QUESTIONS} <= actions("plan")
    writes = {each for each in actions("plan") if not each.partition(":")[2].startswith(("Describe", "List", "Get"))}
    assert writes == {"dynamodb:Scan", "dynamodb:Query", "dynamodb:PutItem"}
    assert [each.on for each in POLICIES["plan"] if "dynamodb:PutItem" in each.actions] == [("journal",)]


@pytest.mark.parametrize("step", ["start", "cutover", "rollback", "complete"])
def test_a_step_has_less_rights_than_the_controller_that_does_them_all(step: str) -> None:
    assert actions(step) < actions("controller")


def test_rows_are_deleted_on_the_source_by_retire_and_nothing_of_start_touches_them() -> None:
    start = {action for each in POLICIES["start"] if "source" in each.on for action in each.actions}
    assert "dynamodb:DeleteItem" not in start
    assert [
        each.on for each in POLICIES["retire"] if "dynamodb:DeleteItem" in each.actions and "source" in each.on
    ] == [("source",)]


def reached(step: str, kind: str, action: str) -> set[str]:
    """Return the partitions of a control table in which a step may do something; "*" where it may in all."""
    found: set[str] = set()
    for each in POLICIES[step]:
        if kind in each.on and action in each.actions:
            of_keys = (each.condition or {}).get("ForAllValues:StringLike", {"dynamodb:LeadingKeys": ["*"]})
            found |= set(of_keys["dynamodb:LeadingKeys"])
    return found


@pytest.mark.parametrize("step", ["controller", "replicator"])
@pytest.mark.parametrize("verb", ["DeleteItem", "PutItem", "Query"])
def test_who_writes_standby_rows_reaches_members_reports_and_tombstones_and_no_pass(step: str, verb: str) -> None:
    patterns = reached(step, "reports", f"dynamodb:{verb}")
    for own in (MEMBER_PK, REPORT_PK, tombstones_pk("source", 0), tombstones_pk("target", 15)):
        assert any(fnmatchcase(own, pattern) for pattern in patterns), own
    for other in (PASSES_PK, RUNNING_PK, REPAIRS_PK, units_pk("1"), repair_pk("1")):
        assert not any(fnmatchcase(other, pattern) for pattern in patterns), other


@pytest.mark.parametrize("verb", ["DeleteItem", "PutItem", "Query"])
def test_the_verifier_reaches_its_passes_and_what_a_member_keeps_and_no_report(verb: str) -> None:
    patterns = reached("verifier", "reports", f"dynamodb:{verb}")
    parts = (units_pk, pass_parts_pk, pass_blobs_pk, pass_results_pk, repair_pk)
    kept = (MEMBER_PK, tombstones_pk("source", 0), PASSES_PK, RUNNING_PK, REPAIRS_PK, *(pk("1") for pk in parts))
    for own in kept:
        assert any(fnmatchcase(own, pattern) for pattern in patterns), own
    assert not any(fnmatchcase(REPORT_PK, pattern) for pattern in patterns)


@pytest.mark.parametrize("step", ["replicator", "verifier"])
def test_the_map_is_read_by_all_and_written_by_the_controller_alone(step: str) -> None:
    assert OWNER_PK in reached(step, "journal", "dynamodb:GetItem")
    assert not reached(step, "journal", "dynamodb:PutItem") & {OWNER_PK, "*"}
    assert reached("controller", "journal", "dynamodb:PutItem") == {"*"}


@pytest.mark.parametrize("step", STEPS)
def test_each_policy_is_one_that_iam_takes(step: str) -> None:
    found = policy(step, resources(ControllerSettings(bucket="exports"), NAMED))
    sids = [each["Sid"] for each in found["Statement"]]
    assert len(sids) == len(set(sids))
    assert all(sid.isalnum() for sid in sids)
    assert len(json.dumps(found, separators=(",", ":"))) <= 10_240, "of a role's inline policies"
    for each in found["Statement"]:
        assert each["Action"]
        assert all(
            arn == "*" or re.fullmatch(r"arn:aws:[a-z0-9]+:[a-z0-9*-]*:[0-9*]*:.+", arn) for arn in each["Resource"]
        )


def test_each_side_s_resources_are_in_its_own_region_and_account() -> None:
    settings = ControllerSettings(
        region="us-east-1", source_role_arn="arn:aws:iam::111122223333:role/migrates", target_region="ap-south-1"
    )
    found = resources(settings, NAMED)
    assert found["source"] == ["arn:aws:dynamodb:us-east-1:111122223333:table/orders"]
    assert found["target"] == ["arn:aws:dynamodb:eu-west-1:222233334444:table/orders-new"], "the ARN says where"
    assert found["target-stream"][0].startswith("arn:aws:kinesis:eu-west-1:222233334444:stream/")
    assert found["journal"] == ["arn:aws:dynamodb:us-east-1:*:table/orders-journal"]


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "init", "--source", "orders"]) == 0
    [statement] = json.loads(capsys.readouterr().out)["Statement"]
    assert statement["Resource"] == ["arn:aws:dynamodb:us-east-1:*:table/orders"]
