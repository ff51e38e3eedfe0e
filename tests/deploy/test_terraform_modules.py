"""The modules by Terraform itself: format, validity, their own tests; and each of these checks can fail."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from terraform_runs import EXAMPLE, MODULES, ROOT, TERRAFORM, Terraform

FOLDERS = [*MODULES, EXAMPLE]
NAMES = [each.name for each in FOLDERS]


def test_the_modules_are_those_of_the_design() -> None:
    assert {each.name for each in MODULES} == {
        "access", "alarms", "change-stream", "dashboards", "dedup", "replicator-lambda", "snapshot", "table",
    }  # fmt: skip


def test_everything_is_formatted(terraform: Terraform) -> None:
    found = terraform.run(TERRAFORM, "fmt", "-check", "-recursive", "-diff")
    assert found.code == 0, found.said


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_a_folder_is_valid_by_the_provider_s_schema(folder: Path, terraform: Terraform) -> None:
    found = terraform.run(folder, "validate", "-no-color")
    assert found.code == 0, found.said


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_a_folder_s_own_tests_pass(folder: Path, terraform: Terraform) -> None:
    found = terraform.run(folder, "test", "-no-color")
    assert found.code == 0, found.said
    assert "0 failed" in found.out
    assert not re.search(r"Success! 0 passed", found.out)


@pytest.mark.parametrize("folder", MODULES, ids=[each.name for each in MODULES])
def test_a_module_says_what_it_is_and_what_its_variables_mean(folder: Path) -> None:
    readme = (folder / "README.md").read_text()
    assert readme.startswith(f"# {folder.name}\n")
    for kind, name, body in blocks(folder):
        assert "description = " in body, f"{kind} {name} has no description"
        for message in re.findall(r'error_message\s*=\s*"(.*)"\n', body):
            assert len(message) >= 30, f"{kind} {name}: the message names no cure: {message}"


def blocks(folder: Path) -> list[tuple[str, str, str]]:
    found = []
    for path in sorted(folder.glob("*.tf")):
        found += re.findall(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', path.read_text(), re.M | re.S)
    return found


def test_no_module_configures_a_provider_and_all_take_the_version_that_is_tested() -> None:
    for folder in MODULES:
        text = "".join(path.read_text() for path in folder.glob("*.tf"))
        assert not re.search(r'^provider "', text, re.M), folder.name
        assert 'version = ">= 6.62, < 7.0"' in text, folder.name


INVALID = {
    "an argument that there is not": ("table/main.tf", "billing_mode = ", "billing = "),
    "a type that does not exist": ("dedup/main.tf", "aws_elasticache_subnet_group", "aws_elasticache_subnets"),
    "a needed argument left out": ("replicator-lambda/main.tf", "  role          = var.role_arn\n", ""),
    "a block that there is not": ("snapshot/main.tf", "versioning_configuration {", "versioning {"),
    "an attribute that there is not": ("change-stream/outputs.tf", "this.arn", "this.stream_arn"),
}


@pytest.mark.parametrize("fault", INVALID)
def test_validation_finds(fault: str, terraform: Terraform, tmp_path: Path) -> None:
    file, before, after = INVALID[fault]
    path = terraform.copy(tmp_path) / "modules" / file
    plant(path, before, after)
    assert terraform.run(path.parent, "validate", "-no-color").code != 0


FAULTS = {
    "a batch counts as done though a record failed": (
        "replicator-lambda/main.tf", '["ReportBatchItemFailures"]', "[]",
    ),
    "a poison record stops its shard": ("replicator-lambda/main.tf", "bisect_batch_on_function_error = true", ""),
    "old records are left out": ("replicator-lambda/main.tf", '"TRIM_HORIZON"', '"LATEST"'),
    "two batches of a shard at once": (
        "replicator-lambda/main.tf", "parallelization_factor             = 1", "parallelization_factor             = 2",
    ),
    "lambda gives up after the record has expired": (
        "replicator-lambda/main.tf", "var.retention_h - 24", "var.retention_h",
    ),
    "still shards shut the gates": ("replicator-lambda/main.tf", "rate(1 minute)", "rate(1 hour)"),
    "records of a day only": ("change-stream/variables.tf", "var.retention_h >= 48", "var.retention_h >= 24"),
    "milliseconds": ("change-stream/main.tf", '"MICROSECOND"', '"MILLISECOND"'),
    "marks are evicted": ("dedup/main.tf", '"noeviction"', '"allkeys-lru"'),
    "plain connections": ("dedup/main.tf", '"required"', '"preferred"'),
    "the api keeps its right": ("access/policies.tf", "var.source_writes_revoked ? [] :", "false ? [] :"),
    "the verifier deletes": (
        "access/policies.tf", 'sid       = "CompareAndRepair"\n      actions   = concat([',
        'sid       = "CompareAndRepair"\n      actions   = concat(["dynamodb:DeleteItem", ',
    ),
    "the map is written by all": (
        "access/plain.json", '"dynamodb:LeadingKeys": ["journal"]', '"dynamodb:LeadingKeys": ["*"]',
    ),
    "a keyed role gets the other protocol's rights": (
        "access/policies.tf", "{ keyed = local.keyed,", "{ keyed = local.plain,",
    ),
    "any service account": ("access/main.tf", "${local.accounts[service]}", "*"),
    "nobody is woken": ("alarms/aws.tf", "local.actions[each.value.severity]", "[]"),
    "lost records stay unseen": ("alarms/aws.tf", 'function = "SUM", bound = 0', 'function = "SUM", bound = 1000'),
    "a public bucket": ("snapshot/main.tf", "restrict_public_buckets = true", "restrict_public_buckets = false"),
    "a table that can be deleted": (
        "table/main.tf", "deletion_protection_enabled = var.deletion_protection", "deletion_protection_enabled = false",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_modules_own_tests_find(fault: str, terraform: Terraform, tmp_path: Path) -> None:
    file, before, after = FAULTS[fault]
    path = terraform.copy(tmp_path) / "modules" / file
    plant(path, before, after)
    found = terraform.run(path.parent, "test", "-no-color")
    assert found.code != 0
    assert "Test assertion failed" in found.said or "Missing expected failure" in found.said, found.said


def plant(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text, f"{path.name} has changed: the fault can't be planted"
    path.write_text(text.replace(before, after))


def test_what_is_missing_is_named() -> None:
    script = ROOT / "tools/terraform_tools.sh"
    done = subprocess.run(
        ["/bin/bash", script], capture_output=True, text=True, check=False, env={**os.environ, "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 3
    assert "needs terraform 1.11 or newer on the PATH" in done.stderr
