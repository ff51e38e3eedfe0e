"""Images that are really built here, and what they do when they run: `make test-images`.

The base is made of Debian's packages, so no image registry is needed. Chroot isolation shares the machine's network:
what listens listens on loopback.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from crossfade.adapters.control.journal import DynamoJournal
from crossfade.adapters.control.tables import create_control_tables
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.migration.control import control_tables
from crossfade.core.migration.phases import Phase
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Side
from engagement_migration import MAPPING
from localaws import Endpoints, Stack
from tools import requirements_of

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "tools/images.sh"
SERVICES = ("engagement-api", "replicator", "verifier", "controller")
BUILD_S = 900

pytestmark = pytest.mark.timeout(BUILD_S + 120)


def script(*arguments: str, timeout_s: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {"BASE": os.environ.get("BASE", "debian"), **environment}
    return subprocess.run(
        [SCRIPT, *arguments], capture_output=True, text=True, check=False, timeout=timeout_s, env=os.environ | settings
    )


@pytest.fixture(scope="session")
def built() -> set[str]:
    """Build once what the tests run; all of them with IMAGES=all."""
    wanted = ["replicator", "replicator-lambda"]
    if chosen := os.environ.get("IMAGES"):
        wanted = [*SERVICES, "replicator-lambda"] if chosen == "all" else [*chosen.split(","), "replicator-lambda"]
    done = script("build", *wanted, timeout_s=BUILD_S)
    assert done.returncode == 0, done.stderr[-4000:]
    return set(wanted)


@pytest.fixture(scope="session")
def endpoints() -> Iterator[Endpoints]:
    with Stack(redis=False) as stack:
        yield stack.endpoints


@pytest.fixture
async def world(endpoints: Endpoints) -> AsyncIterator[Any]:
    """Tables, streams and journal under the names that the images know, in the phase BOTH_WAYS."""
    arguments = endpoints.client_arguments()
    dynamodb, kinesis = boto3.client("dynamodb", **arguments), boto3.client("kinesis", **arguments)
    for stream in ("wallet-changes", "engagement-changes"):
        with contextlib.suppress(kinesis.exceptions.ResourceInUseException):
            kinesis.create_stream(StreamName=stream, ShardCount=1)
    for side in Side:
        names = MAPPING.shape(side).key
        with contextlib.suppress(dynamodb.exceptions.ResourceInUseException):
            dynamodb.create_table(
                TableName=MAPPING.shape(side).table,
                KeySchema=[
                    {"AttributeName": name, "KeyType": kind}
                    for name, kind in zip(names, ("HASH", "RANGE"), strict=True)
                ],
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
                BillingMode="PAY_PER_REQUEST",
            )
    keys = StaticCredentials(Credentials(endpoints.access_key_id, endpoints.secret_access_key))
    async with Wire("dynamodb", WireConfig(endpoints.region, endpoints.aws_endpoint), keys) as wire:
        tables = control_tables(MAPPING.name)
        await create_control_tables(wire, tables)
        journal = DynamoJournal(DynamoDB(wire), tables.journal, who="test", code="0")
        if not await journal.entries():
            await journal.append("phase", {"from": "", "to": Phase.BOTH_WAYS.value, "gates": []})
        yield dynamodb


def settings(endpoints: Endpoints, **more: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": endpoints.access_key_id,
        "AWS_SECRET_ACCESS_KEY": endpoints.secret_access_key,
        "CROSSFADE_AWS_ENDPOINT_URL": endpoints.aws_endpoint,
        "CROSSFADE_CONSUMER": "forward",
    } | more


@contextlib.contextmanager
def running(image: str, *command: str, seconds: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run an image for some seconds at most; what is left of it is ended at the end."""
    inside = f"timeout --signal=TERM --kill-after=10 {seconds} {' '.join(command)}"
    process = subprocess.Popen(
        [SCRIPT, "run", image],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | environment | {"ENTRYPOINT": inside},
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def line_with(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """Read a process's log until an event, and return that line."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith("{") and (told := json.loads(line)).get("event") == event:
            found: dict[str, Any] = told
            return found
    raise AssertionError(f"no event {event!r} in:\n{''.join(seen)}")


def page_at(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310  # loopback, from its own log
        return json.load(answer)


def test_every_service_tells_its_version(built: set[str]) -> None:
    for image in sorted(built & set(SERVICES)):
        told = script("run", image, "--version")
        assert (told.returncode, told.stdout.strip()) == (0, f"{image} 0.1.0"), told.stderr


def test_it_runs_as_nobody_and_without_what_only_building_needs(built: set[str]) -> None:
    code = "import os, shutil, sys; print(os.getuid(), os.getgid(), [shutil.which(each) for each in ('gcc', 'cc')])"
    for image in sorted(built):
        told = script("run", image, "-c", code, ENTRYPOINT="/opt/crossfade/bin/python")
        assert told.stdout.strip() == "10001 10001 [None, None]", told.stderr
        told = script("run", image, "-m", "pip", "--version", ENTRYPOINT="/opt/crossfade/bin/python")
        assert "No module named pip" in told.stderr


def test_every_module_that_its_service_reaches_can_be_imported(built: set[str]) -> None:
    code = (
        "import importlib, importlib.util, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(sorted(each for each in ('faust', 'openfeature') if importlib.util.find_spec(each)))"
    )
    for image in sorted(built & set(SERVICES)):
        entry = f"{image.replace('-', '_')}.main"
        modules = sorted(requirements_of.reached([entry])[0])
        told = script("run", image, "-c", code, *modules, ENTRYPOINT="/opt/crossfade/bin/python")
        others = ["faust"] if image == "replicator" else ["openfeature"]
        assert told.stdout.splitlines()[-1:] == [str(others)], told.stderr


def test_keys_of_a_role_can_be_had_with_what_is_left_of_botocore(built: set[str]) -> None:
    code = (
        "import botocore.session as s; each = s.Session().create_client('sts', region_name='eu-central-1');"
        "print(hasattr(each, 'assume_role_with_web_identity'))"
    )
    told = script("run", "replicator", "-c", code, ENTRYPOINT="/opt/crossfade/bin/python")
    assert told.stdout.strip() == "True", told.stderr


async def test_the_replicator_gets_ready_answers_its_health_command_and_stops_cleanly(
    built: set[str], endpoints: Endpoints, world: Any
) -> None:
    environment = settings(endpoints, CROSSFADE_HEALTH_PORT="0")
    with running("replicator", "replicator", seconds=12, **environment) as process:
        page = await asyncio.to_thread(line_with, process, "health page")
        await asyncio.to_thread(line_with, process, "ready")
        address = f"http://{page['address']}/readyz"
        assert await asyncio.to_thread(page_at, address) == {"state": "ready"}
        asked = await asyncio.to_thread(
            script,
            "run",
            "replicator",
            "-m",
            "crossfade.runtime.probe",
            address,
            ENTRYPOINT="/opt/crossfade/bin/python",
        )
        assert asked.returncode == 0, asked.stderr
        stopped = await asyncio.to_thread(line_with, process, "stopped")
        assert stopped["service"] == "replicator-forward"


class RuntimeApi:
    """Lambda's Runtime API, as much of it as one invocation takes."""

    def __init__(self, event: dict[str, Any]) -> None:
        self.answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        events = queue.Queue[dict[str, Any]]()
        events.put(event)
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = json.dumps(events.get()).encode()  # the second one waits for ever, as Lambda does
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", "request-1")
                self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + 20) * 1000)))
                self.send_header(
                    "Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:f"
                )
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answers.put((self.path.rpartition("/")[2], told))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"


async def test_the_lambda_image_applies_a_batch_that_the_runtime_api_hands_out(
    built: set[str], endpoints: Endpoints, world: Any
) -> None:
    from apply_cases import V, payload, protocol, source

    key = key_of_strings("USER#77", "POINTS#chan-3")
    record = payload(source(key, 5, **protocol(V, "A", 1, V)), None)
    event = {
        "Records": [
            {
                "eventID": "shardId-000000000000:7",
                "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/wallet-changes",
                "kinesis": {
                    "sequenceNumber": "7",
                    "data": base64.b64encode(record).decode(),
                    "approximateArrivalTimestamp": time.time(),
                },
            }
        ]
    }
    api = RuntimeApi(event)
    environment = settings(endpoints, AWS_LAMBDA_RUNTIME_API=api.address, CROSSFADE_PARTIAL_RESPONSES="1")
    command = "/opt/crossfade/bin/python -m awslambdaric crossfade_replicator.lambda_handler.lambda_handler"
    with running("replicator-lambda", command, seconds=40, **environment):
        kind, answer = await asyncio.to_thread(api.answers.get, True, 40)
    api.server.shutdown()
    assert (kind, answer) == ("response", {"batchItemFailures": []})
    names = MAPPING.shape(Side.TARGET).key
    found = world.get_item(
        TableName=MAPPING.shape(Side.TARGET).table,
        Key={names[0]: {"S": "USER#77"}, names[1]: {"S": "POINTS#chan-3"}},
        ConsistentRead=True,
    )["Item"]
    assert found["cf_mv"] == {"N": str(V)}
