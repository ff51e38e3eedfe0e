"""The policies that `crossfade policy` prints, by the linter that reads Terraform's."""

from __future__ import annotations

import json
from pathlib import Path

from terraform_runs import Terraform
from test_terraform_access import known

from crossfade_controller.before_options import STEPS
from crossfade_controller.policies import Named, policy, resources
from crossfade_controller.settings import ControllerSettings


def test_the_linter_of_policies_finds_nothing(terraform: Terraform, tmp_path: Path) -> None:
    arns = resources(ControllerSettings(bucket="exports"), Named("orders", "orders", "orders-next"))
    for step in STEPS:
        (tmp_path / f"{step}.json").write_text(json.dumps(policy(step, arns)))
    found = terraform.linter("parliament", "--directory", str(tmp_path), "--json", "--minimum_severity", "LOW")
    complaints = [json.loads(line) for line in found.out.splitlines() if line.startswith("{")]
    serious = [each for each in complaints if not known(each)]
    assert not serious, "\n".join(f"{each['title']}: {each['detail']} {each['location']}" for each in serious)
