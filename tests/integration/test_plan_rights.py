"""`plan` with too few rights: what IAM refuses is unknown by name, nothing crashes, and nothing is taken for absent."""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from crossfade.adapters.describing import describe
from crossfade.core.plan.aspects import Fate
from crossfade.core.plan.carry import carry_over
from crossfade.core.plan.described import QUESTIONS, unknowns
from crossfade.runtime.clients import Clients
from crossfade.runtime.settings import ServiceSettings
from crossfade_controller.plan_command import run_plan
from crossfade_controller.settings import ControllerSettings
from localaws import Endpoints
from refusing_server import refusing

UNANSWERED = {"dax", "osis", "redshift", "glue", "application-autoscaling"}
"""Services that the embedded AWS hasn't."""


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "localaws")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "localaws")


@pytest.fixture
async def denied() -> AsyncIterator[str]:
    async with refusing() as url:
        yield url


def asked(**more: Any) -> argparse.Namespace:
    given = {"writes_per_s": None, "execute": False, "json": True, "save": "", "compare": ""}
    return argparse.Namespace(**given | more)


def table(at: Endpoints) -> str:
    name = f"orders-{uuid.uuid4().hex[:8]}"
    client = boto3.client("dynamodb", **at.client_arguments())
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk", "status")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-status",
                "KeySchema": [{"AttributeName": "status", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        Tags=[{"Key": "team", "Value": "shop"}],
        DeletionProtectionEnabled=True,
    )
    return name


async def test_one_refusal_hides_one_thing_and_leaves_the_rest_as_it_is(local_aws: Endpoints) -> None:
    name, port = table(local_aws), urlsplit(local_aws.aws_endpoint).port
    async with (
        refusing(port, only={"DynamoDB_20120810.ListTagsOfResource"}) as url,
        Clients(ServiceSettings(aws_endpoint_url=url), attempts=1) as clients,
    ):
        told = await describe(clients.lazy, name, now_s=1_764_000_000.0)
    unknown = unknowns(told)
    assert {each for each, answer in unknown.items() if not answer.because} == {"tags"}
    assert {answer.needs.split(":")[0] for answer in unknown.values() if answer.because} == UNANSWERED
    rows = {each.name: each for each in carry_over(told, None, table="new")}
    assert rows["tags"].fate is Fate.UNKNOWN
    assert rows["deletion protection"].fate is Fate.MISSING
    assert rows["global indexes"].fate is Fate.CARRIED


async def test_a_plan_without_any_right_ends_in_unknowns_and_not_in_a_crash(
    denied: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ControllerSettings(aws_endpoint_url=denied, bucket="exports")
    assert await run_plan(settings, asked(json=False)) == 4
    text = capsys.readouterr().out
    assert "SHUT source_table: unknown: needs dynamodb:DescribeTable" in text
    assert "SHUT source_stream: unknown: needs kinesis:DescribeStreamSummary" in text
    assert "NOT possible" in text
    lacking = text.split("it lacks the rights ")[1].split(" (")[0].split(", ")
    assert set(lacking) == {each.action for each in QUESTIONS if not each.later}


def saved_at(path: Path) -> Any:
    return json.loads(path.read_text())


async def test_a_plan_is_saved_and_what_changed_since_is_said(
    local_aws: Endpoints, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = table(local_aws)
    (tmp_path / "moved.py").write_text(
        "from engagement_migration import MAPPING as POINTS\n"
        f"MAPPING = POINTS.with_tables(source={name!r}, target={name + '-new'!r}, name={name!r})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = ControllerSettings(aws_endpoint_url=local_aws.aws_endpoint, migration_mapping="moved:MAPPING")
    saved = tmp_path / "plan.json"
    await run_plan(settings, asked(save=str(saved)))
    body = json.loads(capsys.readouterr().out)
    assert saved_at(saved) == body
    assert {each["name"]: each["fate"] for each in body["carry_over"]}["tags"] == "not carried"
    boto3.client("dynamodb", **local_aws.client_arguments()).update_table(
        TableName=name, DeletionProtectionEnabled=False
    )
    await run_plan(settings, asked(compare=str(saved)))
    assert json.loads(capsys.readouterr().out)["changes"] == [
        "deletion protection: was on, not carried; is off, carried"
    ]
