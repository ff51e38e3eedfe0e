"""The controller as a process, operated by its CLI, on the embedded AWS: to BOTH_WAYS, killed on the way."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from crossfade.adapters.control.heartbeats import DynamoHeartbeats
from crossfade.adapters.control.reports import DynamoReports
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.flagd import parse_flagd_file
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.contracts.heartbeat import Heartbeat
from crossfade.contracts.report import Report
from crossfade.core.migration.control import control_tables
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.image import encode_image
from crossfade.runtime.http_client import call_json
from engagement_migration.samples import NOT_OURS, WALLETS, legacy_wallet
from localaws import Stack
from localaws.endpoints import Endpoints
from localaws.fixture import Control

pytestmark = pytest.mark.embedded

BUCKET = "controller-test"


@pytest.fixture(scope="module")
def aws() -> Iterator[Endpoints]:
    """An AWS of its own: table and stream names are the mapping's."""
    with Stack(redis=False) as stack:
        yield stack.endpoints


def seed(aws: Endpoints) -> None:
    client = boto3.client("dynamodb", **aws.client_arguments())
    client.create_table(
        TableName="wallet",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    client.update_continuous_backups(
        TableName="wallet", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    for row in (*WALLETS, *NOT_OURS, *(legacy_wallet(f"w{number}", "chan", number) for number in range(40))):
        item = {
            name: {kind: value}
            for name, typed in json.loads(encode_image(row)).items()
            for kind, value in typed.items()
        }
        client.put_item(TableName="wallet", Item=item)
    boto3.client("s3", **aws.client_arguments()).create_bucket(Bucket=BUCKET)


def environment(aws: Endpoints, flags: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CROSSFADE_", "AWS_"))}
    return {
        **kept,
        "AWS_ACCESS_KEY_ID": aws.access_key_id,
        "AWS_SECRET_ACCESS_KEY": aws.secret_access_key,
        "CROSSFADE_REGION": aws.region,
        "CROSSFADE_AWS_ENDPOINT_URL": aws.aws_endpoint,
        "CROSSFADE_BUCKET": BUCKET,
        "CROSSFADE_FLAG_FILE": str(flags),
        "CROSSFADE_VERIFIER_URL": "http://127.0.0.1:9",
        "CROSSFADE_SETTLING_S": "1",
        "CROSSFADE_EVIDENCE_S": "0.3",
        "CROSSFADE_FACTS_S": "1",
        "CROSSFADE_REPORT_S": "3",
        "CROSSFADE_LEASE_S": "2",
        "CROSSFADE_METRIC_PERIOD_S": "1",
        "CROSSFADE_DOOR_S": "60",
    }


def crossfade(env: dict[str, str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "crossfade_controller.cli", *arguments, "--json"]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=300, check=False
    )  # a bound on a hang, not on a busy machine
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def start_controller(env: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "crossfade_controller.main"], env=env, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    for line in process.stdout:
        if (told := json.loads(line))["event"] == "ready":
            return process, str(told["address"])
    raise AssertionError("the controller ended before it was ready")


@contextlib.contextmanager
def verifier(env: dict[str, str]) -> Iterator[str]:
    """A verifier, which `plan` and `start` ask whether it is there; yields its base URL."""
    known = {
        name: value
        for name, value in env.items()
        if not name.startswith("CROSSFADE_") or name in {"CROSSFADE_REGION", "CROSSFADE_AWS_ENDPOINT_URL"}
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "crossfade_verifier.main"], env=known, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield f"http://{next_event(process, 'ready')['address']}"
    finally:
        process.kill()
        process.communicate()


def published(flags: Path) -> tuple[FlagDocument, bool]:
    return parse_flagd_file(flags.read_text())


def next_event(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """Read the log up to an event."""
    assert process.stdout is not None
    for line in process.stdout:
        told: dict[str, Any] = json.loads(line)
        if told["event"] == event:
            return told
    raise AssertionError(f"the controller ended before it said {event!r}")


def until_published(flags: Path, deadline_s: float) -> None:
    while not flags.is_file() and time.monotonic() < deadline_s:
        time.sleep(0.1)


async def until_both_ways(address: str) -> dict[str, Any]:
    """Look at the page that a screen would show."""
    deadline_s = time.monotonic() + 180
    status: dict[str, Any] = {}
    while time.monotonic() < deadline_s:
        with contextlib.suppress(StoreUnavailable):  # until it holds the lease it answers 503
            status = await call_json(f"http://{address}/status")
            if status["phase"] == "BOTH_WAYS" and status["waiting_for"].startswith("crossfade ramp"):
                return status
        await asyncio.sleep(0.2)
    raise AssertionError(status)


async def pretend_to_be_a_fleet(aws: Endpoints, flags: Path, stop: asyncio.Event) -> None:
    """Beat and report as one pod and both replicators would."""
    credentials = StaticCredentials(Credentials(aws.access_key_id, aws.secret_access_key, None))
    config = WireConfig(region=aws.region, endpoint_url=aws.aws_endpoint)
    tables = control_tables("engagement")
    async with Wire("dynamodb", config, credentials) as wire:
        db = DynamoDB(wire)
        beats, reports = DynamoHeartbeats(db, tables.heartbeats), DynamoReports(db, tables.reports)
        while not stop.is_set():
            now_us = time.time_ns() // 1000
            document, dual_write = await asyncio.to_thread(published, flags)
            await beats.beat(Heartbeat("pod-a", document, dual_write, 3.0, now_us))
            await reports.put(
                [
                    Report(consumer, f"{stream}/shardId-000000000000", now_us, 5, 0, now_us, {"applied": 1})
                    for consumer, stream in (("forward", "wallet-changes"), ("reverse", "engagement-changes"))
                ]
            )
            await asyncio.sleep(0.3)


async def test_the_cli_brings_a_migration_to_dual_write_though_the_controller_is_killed(
    aws: Endpoints, tmp_path: Path
) -> None:
    seed(aws)
    flags = tmp_path / "flags.json"
    env = environment(aws, flags)
    code, created, _ = await asyncio.to_thread(crossfade, env, "control", "create", "--execute")
    assert (code, len(created["tables"])) == (0, 5)
    code, plan, _ = await asyncio.to_thread(crossfade, env, "plan")
    assert (code, [each["name"] for each in plan["checks"] if not each["open"]]) == (4, ["verifier"])
    verifying = contextlib.ExitStack()
    env["CROSSFADE_VERIFIER_URL"] = await asyncio.to_thread(verifying.enter_context, verifier(env))
    code, plan, _ = await asyncio.to_thread(crossfade, env, "plan")
    assert code == 0, [each for each in plan["checks"] if not each["open"]]
    assert plan["sample"]["ours"] == 44
    assert plan["sample"]["staying"] == 3
    assert plan["sample"]["whole"]
    alone = env | {"CROSSFADE_DOOR_S": "0"}
    code, alone_told, _ = await asyncio.to_thread(crossfade, alone, "start", "--execute")
    assert (code, alone_told["code"]) == (1, "no_controller"), "nobody would carry it out, so nothing is written"
    controller, _ = await asyncio.to_thread(start_controller, env)
    stop = asyncio.Event()
    fleet = None
    try:
        code, dry, _ = await asyncio.to_thread(crossfade, env, "start")
        deadline_s = time.monotonic() + 120  # a bound on a hang, not on a busy machine
        while code == 4 and "evidence" in str(dry) and time.monotonic() < deadline_s:  # no status was written yet
            code, dry, _ = await asyncio.to_thread(crossfade, env, "start")
        assert (code, dry["outcome"], dry["phase"]) == (0, "dry run", "PLANNED"), dry
        nobody = '[{"S":"USER#nobody"},{"S":"POINTS#chan"}]'
        code, dry, _ = await asyncio.to_thread(crossfade, env, "start", "--exclude", nobody)
        assert (code, dry["code"]) == (3, "refused")
        assert f"{nobody} has no row in wallet" in dry["because"]
        code, asked, _ = await asyncio.to_thread(crossfade, env, "start", "--execute")
        assert (code, asked["outcome"], asked["entry"]) == (0, "asked", 1)
        fleet = asyncio.create_task(pretend_to_be_a_fleet(aws, flags, stop))
        await asyncio.sleep(1.5)
        controller.send_signal(signal.SIGKILL)
        controller.wait()
        controller, address = await asyncio.to_thread(start_controller, env)
        status = await until_both_ways(address)
        await asyncio.to_thread(verifying.close)
        code, shown, _ = await asyncio.to_thread(crossfade, env, "status")
        assert (code, shown["phase"], shown["is_old"]) == (0, "BOTH_WAYS", False)
        assert status["snapshot"]["map"]["mapped"] == 45  # the canary, too
        assert status["snapshot"]["map"]["not_ours"] == 3
        assert status["snapshot"]["import"]["imported"] == 45
        assert published(flags)[1]
        code, ramp, _ = await asyncio.to_thread(crossfade, env, "ramp", "1")
        assert code == 4, ramp
        assert "clean_pass" in {each["name"] for each in ramp["shut"]}
        code, late, said = await asyncio.to_thread(crossfade, env, "ramp", "1", "--execute", "--wait", "--timeout", "2")
        assert (code, late["outcome"]) == (5, "timeout")
        assert "clean_pass" in said
        code, refused, _ = await asyncio.to_thread(crossfade, env, "cutover", "--execute")
        assert (code, refused["outcome"]) == (3, "refused")
        items = boto3.client("dynamodb", **aws.client_arguments()).scan(TableName="engagement")["Items"]
        wallets = [each for each in items if "cf_deleted" not in each]
        assert len(wallets) == 44
        assert all(each["cf_role"] == {"S": "S"} and each["cf_mv"] == {"N": "0"} for each in wallets)
        assert all("cents" not in each for each in items)
    finally:
        verifying.close()
        stop.set()
        if fleet is not None:
            await fleet
        controller.send_signal(signal.SIGTERM)
        assert controller.wait(10) == 0


async def test_a_store_that_is_away_for_longer_than_the_lease_is_waited_for(tmp_path: Path) -> None:
    with Stack(redis=False) as stack:
        env = environment(stack.endpoints, tmp_path / "flags.json") | {"CROSSFADE_LEASE_S": "1"}
        assert crossfade(env, "control", "create", "--execute")[0] == 0
        process, address = start_controller(env)
        try:
            os.kill(stack.pids[0], signal.SIGKILL)
            deadline_s = time.monotonic() + 20
            told: list[str] = []
            while "not driving" not in told and time.monotonic() < deadline_s:
                assert process.stdout is not None
                told.append(json.loads(await asyncio.to_thread(process.stdout.readline))["event"])
            assert process.poll() is None
            assert await call_json(f"http://{address}/healthz") == {"ok": True}
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 10) == 0
        finally:
            process.kill()
            process.communicate()


async def until(address: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Look at the status until something holds."""
    deadline_s = time.monotonic() + 120  # a bound on a hang, not on a busy machine
    status: dict[str, Any] = {}
    while time.monotonic() < deadline_s:
        with contextlib.suppress(StoreUnavailable):  # until it holds the lease it answers 503
            status = await call_json(f"http://{address}/status")
            if holds(status):
                return status
        await asyncio.sleep(0.2)
    raise AssertionError(status)


async def test_a_clock_that_is_off_aws_s_is_named_and_holds_the_start_until_it_is_right(tmp_path: Path) -> None:
    with Stack(redis=False) as stack, contextlib.ExitStack() as verifying:
        aws = stack.endpoints
        await asyncio.to_thread(seed, aws)
        env = environment(aws, tmp_path / "flags.json")
        env["CROSSFADE_VERIFIER_URL"] = await asyncio.to_thread(verifying.enter_context, verifier(env))
        assert (await asyncio.to_thread(crossfade, env, "control", "create", "--execute"))[0] == 0
        clock = Control(aws.aws_endpoint)
        clock.post("date", offset_s=-600.0)  # to us it looks as if we were ten minutes ahead
        process, address = await asyncio.to_thread(start_controller, env)
        try:
            code, _, _ = await asyncio.to_thread(crossfade, env, "start", "--execute")
            assert code == 0
            status = await until(address, lambda told: "clock_skew" in told["waiting_for"])
            assert status["phase"] == "PLANNED"
            assert "ahead of AWS's, 2 s are allowed: let NTP set the clock" in status["clock"]
            clock.post("date", offset_s=0.0)
            status = await until(address, lambda told: told["phase"] not in {"PLANNED", "CAPTURING"})
            assert status["clock"] == ""
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


async def test_a_flag_file_that_can_not_be_written_any_more_does_not_end_the_controller(tmp_path: Path) -> None:
    """Something stands in its place, which not even root may replace; once it is gone the flags are published."""
    flags = tmp_path / "flags.json"
    with Stack(redis=False) as stack:
        env = environment(stack.endpoints, flags)
        assert crossfade(env, "control", "create", "--execute")[0] == 0
        first, _ = start_controller(env)
        await asyncio.to_thread(next_event, first, "phase")  # it holds the lease, and is not just writing the file
        first.send_signal(signal.SIGKILL)
        first.wait()
        process, _ = start_controller(env)  # the lease of the first has to expire
        try:
            flags.unlink(missing_ok=True)
            (flags / "in the way").mkdir(parents=True)
            said = await asyncio.to_thread(next_event, process, "not driving")
            assert "CROSSFADE_FLAG_FILE" in said["error"]
            assert "can't be published" in said["error"]
            shutil.rmtree(flags)
            await asyncio.to_thread(until_published, flags, time.monotonic() + 60)
            assert published(flags) == (FlagDocument(), False)
            assert os.listdir(tmp_path) == ["flags.json"]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def test_a_flag_file_that_can_not_be_written_is_said_before_ready(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Stack(redis=False) as stack:
        env = environment(stack.endpoints, tmp_path / "file" / "flags.json")
        command = [sys.executable, "-m", "crossfade_controller.main"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "CROSSFADE_FLAG_FILE=" in done.stderr
    assert "give it a directory that it may write" in done.stderr
    assert "ready" not in done.stdout
