"""`crossfade init` on the embedded AWS: a folder whose test passes, that says what is next, and overwrites nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest

from crossfade_controller.cli import parser
from crossfade_controller.init_command import run_before
from localaws import Endpoints
from refusing_server import refusing

BIN = Path(sys.executable).parent


@pytest.fixture
def at(local_aws: Endpoints, monkeypatch: pytest.MonkeyPatch) -> Endpoints:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "localaws")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "localaws")
    monkeypatch.setenv("CROSSFADE_AWS_ENDPOINT_URL", local_aws.aws_endpoint)
    return local_aws


def table(at: Endpoints, *, kinds: str = "SN", rows: int = 40) -> str:
    """Make a table with a key of one or two attributes, an index and a TTL; return its name."""
    client = boto3.client("dynamodb", **at.client_arguments())
    name = f"ord.ers-{uuid.uuid4().hex[:8]}"
    schema = [("customer", "HASH"), ("number", "RANGE")][: len(kinds)]
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            *({"AttributeName": each, "AttributeType": kind} for (each, _), kind in zip(schema, kinds, strict=True)),
            {"AttributeName": "status", "AttributeType": "S"},
            {"AttributeName": "due", "AttributeType": "N"},
        ],
        KeySchema=[{"AttributeName": each, "KeyType": kind} for each, kind in schema],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-status",
                "KeySchema": [
                    {"AttributeName": "status", "KeyType": "HASH"},
                    {"AttributeName": "due", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    client.update_time_to_live(TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"})
    made = {"S": lambda number: {"S": f'é\\"{number}'}, "N": lambda number: {"N": str(number)}}
    for number in range(rows):
        key = {each: made[kind](number) for (each, _), kind in zip(schema, kinds, strict=True)}
        more: dict[str, Any] = {
            "status": {"S": "open"},
            "due": {"N": "1.50"},
            "expires": {"N": "1893456000"},
            "lines": {"L": [{"M": {"sku": {"S": "x"}, "price": {"N": "12.340"}}}]},
            "tags": {"SS": ["b", "a"]},
            "photo": {"B": b"\x00\xff"},
        }
        client.put_item(TableName=name, Item={**key, **more})
    return name


async def init(*arguments: str) -> int:
    return await run_before(parser().parse_args(["init", *arguments]))


def texts(folder: Path) -> dict[str, str]:
    return {str(each.relative_to(folder)): each.read_text() for each in folder.rglob("*") if each.is_file()}


def names(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_the_folder_s_test_passes_on_rows_of_the_table_and_its_settings_load_the_mapping(
    at: Endpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, folder = table(at), tmp_path / "folder"
    assert await init("--source", name, "--target", f"{name}-new", "--into", str(folder)) == 0
    said = capsys.readouterr().out
    for command in (
        "pytest",
        ". ./settings.env",
        "crossfade control create --execute",
        "crossfade plan",
        "crossfade start",
    ):
        assert command in said, "the output teaches what is next"
    assert "customer (S), number (N); TTL expires; 25 rows sampled" in said
    tested = run(folder, "python -m pytest -q")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "26 passed" in tested.stdout
    loads = (
        "from crossfade_controller.settings import ControllerSettings; from crossfade.core.values.shape import Side; "
        "found = ControllerSettings().mapping(); print(found.name, [found.shape(side) for side in Side])"
    )
    loaded = run(folder, f'. ./settings.env && . ./controller.env && python -c "{loads}"')
    assert loaded.returncode == 0, loaded.stderr
    assert name in loaded.stdout
    assert "ttl='expires'" in loaded.stdout
    assert loaded.stdout.count("IndexKey(name='due', kind='N', sorts=True)") == 2


async def test_a_mapping_that_loses_something_makes_the_folder_s_test_red(at: Endpoints, tmp_path: Path) -> None:
    name, folder = table(at, kinds="S", rows=3), tmp_path / "folder"
    assert await init("--source", name, "--target", f"{name}-new", "--into", str(folder)) == 0
    [mapping] = folder.glob("migrate_*/__init__.py")
    text = mapping.read_text()
    text = text.replace("import RuleMapping, Table", "import Compute, RuleMapping, Table")
    loss = 'Compute(("due",), ("when",), lambda row: {"when": row["due"]}, lambda row: {}),'
    mapping.write_text(text.replace("rules=(),", f"rules=({loss}),"))
    tested = run(folder, "python -m pytest -q")
    assert tested.returncode == 1
    assert "3 failed" in tested.stdout


async def test_nothing_that_is_there_is_overwritten(
    at: Endpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, folder = table(at, rows=1), tmp_path / "folder"
    folder.mkdir()
    (folder / "precious").write_text("mine")
    arguments = ("--source", name, "--target", "new", "--into", str(folder), "--json")
    assert await init(*arguments) == 2
    told = json.loads(capsys.readouterr().out)
    assert "precious" in told["error"]
    assert "--into" in told["error"]
    assert texts(folder) == {"precious": "mine"}
    assert names(tmp_path) == ["folder"], "nothing half-written beside it"


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [("nowhere", "new", "no table nowhere"), ("one", "one", "one table"), ("a", "b", "no table a")],
)
async def test_what_can_t_be_migrated_writes_nothing_and_says_why(
    at: Endpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, target: str, says: str
) -> None:
    code = await init("--source", source, "--target", target, "--into", str(tmp_path / "folder"))
    assert code == 2
    assert says in capsys.readouterr().err
    assert names(tmp_path) == []


async def test_a_ttl_that_may_not_be_read_is_said_where_it_has_to_be_filled_in(
    at: Endpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, folder = table(at, rows=1), tmp_path / "folder"
    port = int(at.aws_endpoint.rpartition(":")[2])
    async with refusing(port, only={"DynamoDB_20120810.DescribeTimeToLive"}) as url:
        monkeypatch.setenv("CROSSFADE_AWS_ENDPOINT_URL", url)
        assert await init("--source", name, "--target", "new", "--into", str(folder)) == 0
    assert "TTL unknown: needs dynamodb:DescribeTimeToLive" in capsys.readouterr().out
    [mapping] = [text for path, text in texts(folder).items() if path.startswith("migrate_")]
    assert "needs dynamodb:DescribeTimeToLive: name its attribute with ttl=" in mapping
