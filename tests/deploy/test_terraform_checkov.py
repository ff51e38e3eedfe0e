"""checkov on the modules: nothing found, and each skip says why."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from terraform_runs import TERRAFORM, Terraform


def scanned(terraform: Terraform, folder: Path) -> dict[str, Any]:
    arguments = ("-d", str(folder), "--framework", "terraform", "--skip-download", "--compact", "-o", "json")
    found = terraform.linter("checkov", *arguments)
    assert found.out.startswith("{"), found.said
    report: dict[str, Any] = json.loads(found.out)
    return report


def test_checkov_finds_nothing_and_each_skip_says_why(terraform: Terraform) -> None:
    report = scanned(terraform, TERRAFORM)
    failed = [f"{each['check_id']} {each['resource']}" for each in report["results"]["failed_checks"]]
    assert not failed, failed
    assert not report["results"]["parsing_errors"]
    assert report["summary"]["passed"] > 80, "it has not looked at the modules"
    skipped = report["results"]["skipped_checks"]
    assert skipped
    assert all(len(each["check_result"]["suppress_comment"]) > 30 for each in skipped)


def test_every_skip_in_the_code_has_a_reason_beside_it() -> None:
    for path in TERRAFORM.rglob("*.tf"):
        for line in re.findall(r"checkov:skip.*", path.read_text()):
            assert re.fullmatch(r"checkov:skip=CKV2?_AWS_\d+: .{30,}", line), f"{path.name}: {line}"


def test_checkov_finds_what_is_wrong(terraform: Terraform, tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text('resource "aws_kinesis_stream" "this" {\n  name = "x"\n}\n')
    report = scanned(terraform, tmp_path)
    assert report["results"]["failed_checks"]
