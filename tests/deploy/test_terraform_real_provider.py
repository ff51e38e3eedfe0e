"""The real AWS provider, of 2021, on the embedded AWS: it checks values that a schema can't, and the roles get made.

Its 3.39 is the newest that a package index has. Of the modules it knows access, alarms and dashboards, but for two
names that are newer; the others need arguments that it never heard of.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import boto3
import pytest
from terraform_runs import LONGEST_S, Terraform

from localaws import Stack

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(
        (platform.system(), platform.machine()) != ("Linux", "x86_64"),
        reason="the package has the provider for Linux on x86-64 only",
    ),
]

ROOT_MODULE = """
variable "endpoint" { type = string }

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "terraform"
  secret_key                  = "terraform"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_get_ec2_platforms      = true
  endpoints {
    iam        = var.endpoint
    sts        = var.endpoint
    cloudwatch = var.endpoint
  }
}

locals {
  tables  = { source = "wallet", target = "engagement" }
  streams = { source = "wallet-changes", target = "engagement-changes", feed = "engagement-events" }
}

module "access" {
  source              = "./modules/access"
  migration           = "engagement"
  tables              = local.tables
  streams             = local.streams
  bucket              = "crossfade-demo"
  oidc_provider_arn   = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE"
  operator_principals = ["arn:aws:iam::111122223333:role/sre"]
}

module "alarms" {
  source        = "./modules/alarms"
  migration     = "engagement"
  tables        = local.tables
  streams       = local.streams
  alarm_actions = ["arn:aws:sns:us-east-1:111122223333:pager"]
  dedup_nodes   = ["marks-001"]
  functions     = { forward = { function_name = "f", on_failure_queue = "f-on-failure" } }
}

module "dashboard" {
  source    = "./modules/dashboards"
  migration = "engagement"
  tables    = local.tables
  streams   = local.streams
}
"""

NEWER = {
    "access/names.tf": (),
    "access/policies.tf": (),
    "dashboards/main.tf": (),
    "alarms/aws.tf": ("    period      = 60\n",),
}
"""Files with names that 3.39 does not know, and lines that it does not take."""


@pytest.fixture
def root(terraform: Terraform, tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    shutil.copytree(terraform.copy(tmp_path) / "modules", folder / "modules")
    for file, dropped in NEWER.items():
        path = folder / "modules" / file
        text = path.read_text().replace("aws_region.current.region", "aws_region.current.name")
        for line in dropped:
            assert line in text, f"{file} has changed"
            text = text.replace(line, "")
        path.write_text(text)
    (folder / "main.tf").write_text(ROOT_MODULE)
    return folder


def run(terraform: Terraform, root: Path, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "TF_CLI_CONFIG_FILE": str(terraform.tools / "real.tfrc"),
        "TF_VAR_endpoint": endpoint,
        "CHECKPOINT_DISABLE": "1",
        "TF_IN_AUTOMATION": "1",
    }
    return subprocess.run(
        [terraform.program, *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S,
    )


def test_the_roles_are_made_as_planned_and_alarms_and_dashboard_are_what_the_provider_takes(
    terraform: Terraform, root: Path
) -> None:
    with Stack(redis=False) as stack:
        endpoint = stack.endpoints.aws_endpoint
        assert run(terraform, root, endpoint, "get").returncode == 0
        applied = run(
            terraform, root, endpoint, "apply", "-auto-approve", "-no-color", "-parallelism=30", "-target=module.access"
        )
        assert applied.returncode == 0, applied.stderr
        iam = boto3.client("iam", **stack.endpoints.client_arguments())
        roles = {each["RoleName"] for each in iam.list_roles()["Roles"]}
        role = iam.get_role_policy(RoleName="engagement-crossfade-reverse", PolicyName="crossfade")
        planned = run(terraform, root, endpoint, "plan", "-json")
    services = ("engagement-api", "forward", "reverse", "feed", "verifier", "controller", "operator")
    assert roles == {f"engagement-crossfade-{service}" for service in services}
    assert role["PolicyDocument"]["Statement"][0]["Sid"] == "ReadChanges"
    changes = actions(planned)
    assert {change["action"] for change in changes} == {"create"}, "the provider reads back other than it wrote"
    kinds = {change["resource"]["resource_type"] for change in changes}
    assert kinds == {"aws_cloudwatch_dashboard", "aws_cloudwatch_metric_alarm"}
    assert len(changes) > 60


def actions(planned: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    messages = [json.loads(line) for line in planned.stdout.splitlines() if line.startswith("{")]
    errors = [each["diagnostic"] for each in messages if each.get("@level") == "error"]
    assert not errors, errors
    return [each["change"] for each in messages if each["type"] == "planned_change"]
