"""Terraform, the charts and the code name the same things."""

from __future__ import annotations

import importlib
import json
import re
from typing import Any

import pytest
from helm_charts import HELM_DIR, Helm, of_kind
from terraform_runs import EXAMPLE, TERRAFORM, Terraform

from crossfade.core.migration.control import control_tables
from crossfade.core.values.shape import Side
from crossfade.runtime.settings import PREFIX, ServiceSettings
from crossfade_controller.settings import ControllerSettings
from crossfade_replicator.function_settings import FunctionSettings
from engagement_migration import MAPPING

RELEASE = "wallet"


@pytest.fixture(scope="module")
def made(terraform: Terraform) -> dict[str, Any]:
    """What the example makes before the start: attributes by address."""
    ran, plans = terraform.tested(EXAMPLE, "-filter=tests/engagement.tftest.hcl")
    assert ran.code == 0, ran.said
    changes = plans["before_the_start_there_is_all_but_the_target_table"]["resource_changes"]
    return {each["address"]: each["change"]["after"] for each in changes}


def test_each_role_is_for_the_service_account_that_the_umbrella_makes(helm: Helm, made: dict[str, Any]) -> None:
    values = HELM_DIR / "crossfade/ci/insecure-values.yaml"
    accounts = of_kind(helm.template("crossfade", "--values", values, release=RELEASE), "ServiceAccount")
    subjects = {
        f"system:serviceaccount:{each['metadata'].get('namespace', 'migration')}:{each['metadata']['name']}"
        for each in accounts
    }
    trusted = set()
    for address, role in made.items():
        if ".aws_iam_role.service[" in address:
            (statement,) = json.loads(role["assume_role_policy"])["Statement"]
            trusted |= {value for key, value in statement["Condition"]["StringEquals"].items() if key.endswith(":sub")}
    assert len(trusted) == 6
    assert trusted <= subjects


def test_streams_and_tables_are_those_of_settings_and_mapping(made: dict[str, Any]) -> None:
    streams = {each["name"] for address, each in made.items() if ".aws_kinesis_stream." in address}
    fields = ServiceSettings.model_fields
    assert streams == {fields[name].default for name in ("source_stream", "target_stream", "feed_stream")}
    tables = {each["name"] for address, each in made.items() if ".aws_dynamodb_table." in address}
    assert tables == set(control_tables(MAPPING.name))
    text = (EXAMPLE / "main.tf").read_text()
    source, target = (MAPPING.shape(side).table for side in Side)
    assert f'tables    = {{ source = "{source}", target = "{target}" }}' in text
    assert f'migration = "{MAPPING.name}"' in text


def test_control_tables_have_the_key_that_the_code_writes(made: dict[str, Any]) -> None:
    for address, each in made.items():
        if ".aws_dynamodb_table." in address:
            assert (each["hash_key"], each["range_key"]) == ("pk", "sk")
            assert each["billing_mode"] == "PAY_PER_REQUEST"


def test_retention_is_what_the_controller_wants(made: dict[str, Any]) -> None:
    wanted = ControllerSettings.model_fields["retention_h"].default
    assert all(each["retention_period"] == wanted for name, each in made.items() if ".aws_kinesis_stream." in name)
    least = next(each.ge for each in ControllerSettings.model_fields["retention_h"].metadata if hasattr(each, "ge"))
    text = (TERRAFORM / "modules/change-stream/variables.tf").read_text()
    assert f"var.retention_h >= {least}" in text


def test_the_bucket_s_prefix_is_the_controller_s() -> None:
    default = ControllerSettings.model_fields["bucket_prefix"].default
    for module in ("snapshot", "access"):
        text = (TERRAFORM / f"modules/{module}/variables.tf").read_text()
        assert re.search(rf'prefix" \{{\n  description = .*\n  type        = string\n  default     = "{default}"', text)


def test_the_function_s_handler_and_settings_exist() -> None:
    variables = (TERRAFORM / "modules/replicator-lambda/variables.tf").read_text()
    found = re.search(r'variable "handler" \{.*?default\s+= "([\w.]+)"', variables, re.S)
    assert found
    module, _, name = found[1].rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
    text = (TERRAFORM / "modules/replicator-lambda/main.tf").read_text() + (EXAMPLE / "main.tf").read_text()
    told = set(re.findall(rf"{PREFIX}(\w+) =", text))
    assert {"CONSUMER", "PARTIAL_RESPONSES"} <= told
    assert {each.lower() for each in told} <= set(FunctionSettings.model_fields)
