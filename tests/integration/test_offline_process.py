"""The offline comparison as a process: real exports of both tables in S3, compared by several workers, and stopped."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from botocore.config import Config
from msgspec import Raw

from crossfade.core.values.image import encode_image
from crossfade.core.values.shape import Side
from engagement_migration.samples import legacy_wallet
from export_files import lines_of, write_export
from localaws import Endpoints
from replicator_world import HERE, World, open_world
from verifier_world import World as Wallets
from verifier_world import wallet

pytestmark = pytest.mark.embedded

WALLETS: Final = 40


@pytest.fixture
async def world(local_aws: Endpoints) -> AsyncIterator[World]:
    async with open_world(local_aws) as opened:
        yield opened


def filled() -> Wallets:
    """Return wallets of all sorts, equal on both sides."""
    made = Wallets()
    for number in range(WALLETS):
        more = {"expires_at": Raw(b'{"N":"4102444800"}'), "badges": Raw(b'{"SS":["a","b"]}')} if number % 2 else {}
        made.tables[Side.SOURCE].put(legacy_wallet(str(number), "c", number) | more)
        made.earn(wallet(number), 1)
        made.copy(wallet(number))
        if number % 3 == 0:
            made.hand_over(wallet(number), 2)
            made.copy(wallet(number))
    return made


class Exports:
    """Both tables of a world, filled, and their exports in a bucket."""

    def __init__(self, world: World) -> None:
        arguments = world.endpoints.client_arguments()
        self.dynamodb = boto3.client("dynamodb", **arguments)
        self.s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}), **arguments)
        self.world, self.bucket = world, f"exports-{world.id}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.tables = {side: world.mapping.shape(side).table for side in Side}
        for table in self.tables.values():
            self.dynamodb.update_continuous_backups(
                TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
            )

    def put(self, wallets: Wallets) -> None:
        for side, table in self.tables.items():
            for image in wallets.tables[side].images.values():
                self.dynamodb.put_item(TableName=table, Item=_of_wire(json.loads(encode_image(image))))

    def at_once(self) -> dict[Side, str]:
        """Export both tables as of one moment; return where the exports are."""
        at_s = int(time.time()) + 1
        while time.time() < at_s:
            time.sleep(0.05)
        arns = {}
        for side, table in self.tables.items():
            arn = self.dynamodb.describe_table(TableName=table)["Table"]["TableArn"]
            shown = self.dynamodb.export_table_to_point_in_time(
                TableArn=arn, S3Bucket=self.bucket, S3Prefix="some/where", ExportTime=at_s
            )
            arns[side] = shown["ExportDescription"]["ExportArn"]
        for arn in arns.values():
            while self.dynamodb.describe_export(ExportArn=arn)["ExportDescription"]["ExportStatus"] == "IN_PROGRESS":
                time.sleep(0.05)
        return {
            side: f"s3://{self.bucket}/some/where/AWSDynamoDB/{arn.rpartition('/')[2]}" for side, arn in arns.items()
        }


def _of_wire(image: dict[str, Any]) -> dict[str, Any]:
    """Return an image as boto3 takes it: binary values are bytes there."""

    def each(value: dict[str, Any]) -> dict[str, Any]:
        [(kind, inner)] = value.items()
        match kind:
            case "B":
                return {kind: base64.b64decode(inner)}
            case "BS":
                return {kind: [base64.b64decode(part) for part in inner]}
            case "M":
                return {kind: {name: each(part) for name, part in inner.items()}}
            case "L":
                return {kind: [each(part) for part in inner]}
            case _:
                return value

    return {name: each(value) for name, value in image.items()}


def start(mapping: str, endpoints: Endpoints | None, places: dict[Side, str], *more: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
    environment |= {"PYTHONPATH": str(HERE), "CROSSFADE_MIGRATION_MAPPING": mapping}
    if endpoints is not None:
        environment |= {
            "AWS_ACCESS_KEY_ID": endpoints.access_key_id,
            "AWS_SECRET_ACCESS_KEY": endpoints.secret_access_key,
            "CROSSFADE_AWS_ENDPOINT_URL": endpoints.aws_endpoint,
        }
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "crossfade_verifier.offline", "--json"),
            *(f"--{side.value}={place}" for side, place in places.items()),
            *more,
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    """Wait for a run; return its exit code, what it answered, and what it told meanwhile."""
    out, err = await asyncio.to_thread(process.communicate)
    assert out, err
    return process.returncode, json.loads(out), err


async def test_exports_that_the_service_wrote_are_read_from_s3_by_several_workers(world: World, tmp_path: Path) -> None:
    exports, wallets = Exports(world), filled()
    await asyncio.to_thread(exports.put, wallets)
    clean = await asyncio.to_thread(exports.at_once)
    mapping, options = f"replicator_world:m_{world.id}", ("--workers=2", f"--folder={tmp_path / 'work'}")
    code, answer, told = await ended(start(mapping, world.endpoints, clean, *options))
    assert (code, answer["verdict"], answer["verified"]) == (0, "clean", WALLETS), told
    wallets.tables[Side.TARGET].put(wallets.tables[Side.TARGET].images[wallet(1)] | {"points": Raw(b'{"N":"4711"}')})
    wallets.tables[Side.TARGET].delete(wallet(2))
    await asyncio.to_thread(exports.put, wallets)
    exports.dynamodb.delete_item(
        TableName=exports.tables[Side.TARGET], Key={"pk": {"S": "USER#2"}, "sk": {"S": "POINTS#c"}}
    )
    different = await asyncio.to_thread(exports.at_once)
    code, answer, told = await ended(start(mapping, world.endpoints, different, *options))
    assert code == 4, told
    found = {name: [each["key"] for each in of["samples"]] for name, of in answer["differences"].items() if of["count"]}
    assert found == {"diverged": [wallet(1).decode()], "missing": [wallet(2).decode()]}
    assert answer["differences"]["diverged"]["samples"][0]["differs"] == ["balance"]


async def _read_by(process: subprocess.Popen[str], pipe: Path) -> int:
    """Open a pipe for writing once a process reads it: what is written before that, nobody gets."""
    while True:
        assert process.poll() is None, process.communicate()
        with suppress(OSError):
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        await asyncio.sleep(0.02)


async def test_a_run_that_sigterm_stops_ends_with_1_and_the_same_command_goes_on(tmp_path: Path) -> None:
    wallets = filled()
    exports = {side: write_export(tmp_path / side.value, side, lines_of(wallets, side), per_file=4) for side in Side}
    places, options = {side: str(path) for side, path in exports.items()}, ("--workers=2", f"--folder={tmp_path / 'w'}")
    held = sorted((exports[Side.TARGET] / "data").iterdir())[1]  # none that the plan takes its sample from
    content = held.read_bytes()
    held.unlink()
    os.mkfifo(held)  # whoever reads it waits, until somebody writes into it
    process = start("engagement_migration:MAPPING", None, places, *options)
    while not (tmp_path / "w" / "sums-source-0").exists():
        assert process.poll() is None, process.communicate()
        await asyncio.sleep(0.02)  # it is another process's
    pipe = await _read_by(process, held)
    summed = (tmp_path / "w" / "sums-source-0").stat().st_mtime_ns
    process.send_signal(signal.SIGTERM)
    os.write(pipe, content)
    os.close(pipe)
    code, answer, told = await ended(process)
    assert (code, answer["code"]) == (1, "stopped"), told
    assert "start the same command again" in told
    assert (tmp_path / "w" / "sums-source-0").stat().st_mtime_ns == summed
    held.unlink()
    held.write_bytes(content)
    code, answer, told = await ended(start("engagement_migration:MAPPING", None, places, *options))
    assert (code, answer["verified"]) == (0, WALLETS), told
    assert not (tmp_path / "w").exists()
