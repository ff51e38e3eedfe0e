"""The IAM policies: every action that a service calls is in its policy and no other, and a linter finds nothing."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from terraform_policies import LISTED, ON_BEHALF, PREPARED, STREAMS, TARGET, UNUSED
from terraform_runs import ROOT, Terraform

from crossfade.core.migration.control import (
    PASSES_PK,
    REPAIRS_PK,
    REPORT_PK,
    RUNNING_PK,
    control_tables,
    pass_blobs_pk,
    pass_parts_pk,
    pass_results_pk,
    repair_pk,
    units_pk,
)
from crossfade_controller.policies import Named, policy, resources
from crossfade_controller.settings import ControllerSettings
from tools import access_policies
from tools.access_policies import STEPS

Pairs = set[tuple[str, str]]

MADE = ("dynamodb:CreateTable", "dynamodb:UpdateContinuousBackups", "dynamodb:UpdateTable")
ONLY_PLAIN = ("dynamodb:GetResourcePolicy", "dynamodb:PutResourcePolicy", "dynamodb:UpdateTimeToLive")

CALLS: dict[str, dict[str, list[str]]] = json.loads((ROOT / "tests/deploy/fixtures/calls.json").read_text())
SERVICES = sorted(CALLS)
LAMBDAS = ("forward", "reverse", "feed")

VARIANTS = {
    "plain": "",
    "creating": "controller_creates = true\n    operator_creates = true",
    "open": "open_mapping = true",
    "encrypted": 'kms_key_arns = ["arn:aws:kms:us-east-1:111122223333:key/0123abcd-0123-0123-0123-0123456789ab"]',
    "spilling": 'spill_prefix = "passes"',
    "any_table": 'protocol = "plain"',
    "any_table_creating": 'protocol = "plain"\n    controller_creates = true\n    operator_creates = true',
    "lambdas": "lambda_roles = {"
    + ", ".join(
        f'{role} = {{ function_name = "{role}", on_failure_arn = "arn:aws:sqs:us-east-1:111122223333:{role}" }}'
        for role in LAMBDAS
    )
    + "}",
}


@pytest.fixture(scope="module")
def policies(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Variant to service to policy, rendered by Terraform."""
    module = terraform.copy(tmp_path_factory.mktemp("access")) / "modules/access"
    own = (module / "tests/access.tftest.hcl").read_text()
    head = own[: own.index("\nrun ")]
    runs = [
        f'run "{name}" {{\n  command = plan\n  variables {{\n    {more}\n  }}\n}}' for name, more in VARIANTS.items()
    ]
    (module / "tests/access.tftest.hcl").write_text("\n".join([head, *runs]))
    ran, plans = terraform.tested(module)
    assert ran.code == 0, ran.said
    rendered = {}
    for name, plan in plans.items():
        found = plan["output_changes"]["policies"]["after"]
        rendered[name] = {service: json.loads(text) for service, text in found.items()}
    return rendered


def allowed(policy: dict[str, Any]) -> Pairs:
    """Return action and resource's name of all that a policy allows."""
    return {
        (action, named(arn))
        for statement in policy["Statement"]
        for action in statement["Action"]
        for arn in statement["Resource"]
    }


def named(arn: str) -> str:
    if arn == "*":
        return "?"
    last = arn.split(":", 5)[5]
    if arn.startswith("arn:aws:s3:::"):
        return last.split("/")[0]
    if last.startswith("log-group:"):
        return last.removeprefix("log-group:")
    return last.split("/")[-1] if last.startswith("role/") else last.split("/")[1] if "/" in last else last


def called(service: str) -> Pairs:
    return {(action, resource) for action, resources in CALLS[service].items() for resource in resources}


def listed(service: str) -> Pairs:
    own = {
        (action, resource)
        for each in LISTED
        if service in each.services
        for action in each.actions
        for resource in each.resources
    }
    behalf = {(action, name) for action, names in ON_BEHALF.items() for name in names}
    return own | behalf if service == "controller" else own


@pytest.mark.parametrize("service", SERVICES)
def test_every_action_that_a_service_calls_is_in_its_policy(service: str, policies: dict[str, Any]) -> None:
    missing = called(service) - allowed(policies["creating"][service])
    assert not missing, f"{service} called these in the demo and may not: {sorted(missing)}"


@pytest.mark.parametrize("service", SERVICES)
def test_no_policy_allows_what_is_neither_called_nor_listed(service: str, policies: dict[str, Any]) -> None:
    more = allowed(policies["creating"][service]) - called(service) - listed(service)
    assert not more, f"{service} may do these, and no code is named that does: {sorted(more)}"


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_listed_is_in_the_policy_and_not_called_in_the_demo_already(
    service: str, policies: dict[str, Any]
) -> None:
    assert not listed(service) - allowed(policies["creating"][service]), "listed, and not allowed"
    already = listed(service) & called(service)
    stub = ("dynamodb:PutItem", "wallet")  # the canary is created so, and any other key by the same line
    assert not already - {stub}, f"the demo calls these: take them off the list: {sorted(already)}"


@pytest.mark.parametrize("each", LISTED, ids=lambda each: f"{'+'.join(each.services)}: {each.why[:40]}")
def test_the_code_that_a_listed_action_is_for_is_there(each: Any) -> None:
    assert each.text in (ROOT / each.file).read_text(), f"{each.file} has no {each.text!r} any more"


def test_the_controller_creates_only_when_told_so(policies: dict[str, Any]) -> None:
    plain, creating = (allowed(policies[name]["controller"]) for name in ("plain", "creating"))
    assert plain < creating
    assert {action for action, _ in creating - plain} == set(PREPARED)
    assert creating - plain <= called("controller"), "more than the demo needs"
    example = (ROOT / "deploy/terraform/examples/engagement/main.tf").read_text()
    for module, file, text in PREPARED.values():
        assert f'module "{module}"' in example
        assert text in (ROOT / file).read_text(), f"{file} does not look first any more"


def test_control_tables_are_made_by_the_operator_and_only_when_told_so(policies: dict[str, Any]) -> None:
    plain, creating = (allowed(policies[name]["operator"]) for name in ("plain", "creating"))
    assert creating - plain == {(action, table) for action in MADE for table in control_tables(TARGET)}
    for service in SERVICES:
        if service != "operator":
            assert not set(MADE) & {action for action, _ in allowed(policies["creating"][service])}, service


def test_every_operation_in_the_code_is_somebody_s_right(policies: dict[str, Any]) -> None:
    """A new call that the demo does not make must not wait for production to be refused."""
    roles = [*policies["creating"].values(), *policies["any_table_creating"].values()]
    rights = {action.split(":")[1] for each in roles for action, _ in allowed(each)}
    found: dict[str, str] = {}
    for path in [*(ROOT / "libs/common/src").rglob("*.py"), *(ROOT / "services").glob("*/src/**/*.py")]:
        for operation in re.findall(r'call\((?:[\w.]+, )?"([A-Z]\w+)"', path.read_text()):
            found[operation] = path.name
    assert {"GetRecords", "UpdateItem", "ImportTable", "DescribeStreamSummary"} <= set(found), (
        "the search finds nothing"
    )
    of_iam = {"BatchExecuteStatement": "PartiQLUpdate", "TransactWriteItems": "ConditionCheckItem"}
    unknown = {name: file for name, file in found.items() if of_iam.get(name, name) not in rights | UNUSED}
    assert not unknown, f"operations that no policy allows: {unknown}"


def test_names_of_tables_are_the_code_s(policies: dict[str, Any]) -> None:
    names = {name for each in policies["plain"].values() for _, name in allowed(each)}
    assert set(control_tables(TARGET)) <= names
    assert {"wallet", "engagement", *STREAMS, "engagement-events"} <= names


def test_open_mappings_are_written_item_by_item(policies: dict[str, Any]) -> None:
    for role, target in (("forward", "engagement"), ("reverse", "wallet")):
        more = allowed(policies["open"][role]) - allowed(policies["plain"][role])
        assert more == {("dynamodb:UpdateItem", target), ("dynamodb:PutItem", target)}  # wide rows go whole: ADR 0015
    assert {("dynamodb:GetItem", "wallet"), ("dynamodb:PutItem", "wallet")} <= allowed(policies["open"]["verifier"])


def test_the_verifier_reaches_its_own_partitions_of_the_reports_and_no_report(policies: dict[str, Any]) -> None:
    of_reports = [
        each
        for each in policies["plain"]["verifier"]["Statement"]
        if any(named(arn) == control_tables(TARGET).reports for arn in each["Resource"])
    ]
    assert len(of_reports) == 1
    patterns = of_reports[0]["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
    partitions = (units_pk, pass_parts_pk, pass_blobs_pk, pass_results_pk, repair_pk)
    own = [PASSES_PK, RUNNING_PK, REPAIRS_PK, *(pk("1") for pk in partitions)]
    assert not [pk for pk in own if not any(fnmatchcase(pk, pattern) for pattern in patterns)]
    assert not [pattern for pattern in patterns if fnmatchcase(REPORT_PK, pattern)]


def test_the_verifier_reaches_the_bucket_only_for_rows_that_it_spills_there(policies: dict[str, Any]) -> None:
    more = allowed(policies["spilling"]["verifier"]) - allowed(policies["plain"]["verifier"])
    doing = {"s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject"}
    assert more == {(action, "crossfade-demo") for action in doing}
    of_s3 = [each for each in policies["spilling"]["verifier"]["Statement"] if each["Action"][0].startswith("s3:")]
    assert [each["Resource"] for each in of_s3] == [
        ["arn:aws:s3:::crossfade-demo/passes/engagement/*"],
        ["arn:aws:s3:::crossfade-demo"],
    ]
    assert of_s3[1]["Condition"] == {"StringLike": {"s3:prefix": ["passes/engagement/*"]}}


def test_a_function_has_lambda_s_rights_and_no_leases(policies: dict[str, Any]) -> None:
    for role in LAMBDAS:
        pod, function = allowed(policies["plain"][role]), allowed(policies["lambdas"][role])
        assert {name for _, name in pod - function} == {"engagement-leases"}
        assert ("dynamodb:GetItem", "engagement-reports") in function
        assert ("dynamodb:Query", "engagement-journal") in function
        services = {action.split(":")[0] for action, _ in function - pod}
        assert services == {"ec2", "kinesis", "logs", "sqs"} | ({"dynamodb"} if role == "feed" else set())


def rights(policy: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Return action, resource and condition of all that a policy allows; Region and account are the reader's."""
    return {
        (action, re.sub(r"^(arn:aws:\w+):[^:]*:[^:]*:", r"\1:::", arn), json.dumps(each.get("Condition")))
        for each in policy["Statement"]
        for action in each["Action"]
        for arn in each["Resource"]
    }


@pytest.mark.parametrize("role", STEPS)
def test_a_plain_migration_s_roles_have_the_rights_of_crossfade_policy_and_no_other(
    role: str, policies: dict[str, Any]
) -> None:
    source, target = STREAMS
    settings = ControllerSettings(
        bucket="crossfade-demo", source_stream=source, target_stream=target, feed_stream="engagement-events"
    )
    arns = resources(settings, Named("engagement", "wallet", "engagement"))
    printed = {right for step in STEPS[role] for right in rights(policy(step, arns))}
    rendered = rights(policies["any_table_creating"][role])
    assert not printed - rendered, "`crossfade policy` prints these, and the module lacks them"
    assert not rendered - printed, "the module grants these, and `crossfade policy` does not print them"
    created = {each for each in printed if each[0] in {*MADE, *PREPARED}}
    assert printed - rights(policies["any_table"][role]) == created & printed, "created only when told so"


def test_a_plain_migration_s_policies_fit_into_a_role_and_say_each_thing_once(policies: dict[str, Any]) -> None:
    for role, each in policies["any_table_creating"].items():
        sids = [statement["Sid"] for statement in each["Statement"]]
        assert len(sids) == len(set(sids)), role
        assert all(sid.isalnum() for sid in sids), role
        assert len(json.dumps(each, separators=(",", ":"))) <= 10_240, f"{role}: of a role's inline policies"


def test_the_module_s_list_is_the_one_that_crossfade_policy_prints_from() -> None:
    assert access_policies.main(["--check"]) == 0


def test_a_keyed_migration_s_roles_do_not_change_with_the_other_protocol(policies: dict[str, Any]) -> None:
    for role in ("forward", "reverse", "verifier", "controller"):
        keyed, plain = (allowed(policies[name][role]) for name in ("plain", "any_table"))
        assert not {each for each in plain if each[0] in ONLY_PLAIN} & keyed, role
    assert set(policies["any_table"]) == {*STEPS, "feed"}, "its application has roles of its own"
    assert policies["any_table"]["feed"] == policies["plain"]["feed"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_linter_of_policies_finds_nothing(
    variant: str, policies: dict[str, Any], terraform: Terraform, tmp_path: Path
) -> None:
    for service, rendered in policies[variant].items():
        (tmp_path / f"{service}.json").write_text(json.dumps(rendered))
    found = terraform.linter("parliament", "--directory", str(tmp_path), "--json", "--minimum_severity", "LOW")
    complaints = [json.loads(line) for line in found.out.splitlines() if line.startswith("{")]
    serious = [each for each in complaints if not known(each)]
    assert not serious, "\n".join(f"{each['title']}: {each['detail']} {each['location']}" for each in serious)


def known(complaint: dict[str, Any]) -> bool:
    """What the linter's own list of actions, of 2023, does not know: in it only streams have policies, not tables."""
    detail = json.dumps(complaint)
    unknown = complaint["issue"] == "UNKNOWN_ACTION" and "UpdateKinesisStreamingDestination" in detail
    policies = {f"dynamodb:{verb}ResourcePolicy" for verb in ("Get", "Put")}
    mismatched = {each["action"] for each in complaint["detail"] if isinstance(each, dict)}
    return unknown or (complaint["issue"] == "RESOURCE_MISMATCH" and mismatched <= policies)


def test_the_linter_finds_what_is_wrong(terraform: Terraform, tmp_path: Path) -> None:
    wrong = {"Effect": "Allow", "Action": ["dynamodb:NoSuchAction"], "Resource": ["arn:aws:s3:::bucket"]}
    (tmp_path / "wrong.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [wrong]}))
    found = terraform.linter("parliament", "--directory", str(tmp_path), "--json")
    assert "NoSuchAction" in found.out
