"""The service as it runs: from environment variables, on both tables of the embedded AWS, with a clean end."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crossfade.adapters.control.heartbeats import DynamoHeartbeats
from crossfade.adapters.control.tables import create_control_tables
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.flagd import FlagFile
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.migration.control import control_tables
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.protocol.keyed.item import Item, Role
from crossfade.core.values.shape import Side
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade.gen.engagement.v1.engagement_service_pb2_grpc import EngagementServiceStub
from crossfade.ports.control import Heartbeat
from engagement_api.ulids import encode_ulid
from engagement_migration import MAPPING
from engagement_migration.keys import wallet_key
from localaws import Endpoints

pytestmark = pytest.mark.embedded

ALL_NEW = FlagDocument(share=10_000, new_gen=2)


def ulid() -> str:
    return encode_ulid(((time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)).to_bytes(16, "big"))


class Stage:
    """Tables of its own on the embedded AWS, a flag file, and the API processes on them."""

    def __init__(self, aws: Endpoints, folder: Path) -> None:
        name = secrets.token_hex(4)
        self.aws, self.flag_file = aws, folder / "flags.json"
        self.names = {Side.LEGACY: f"wallet-{name}", Side.NEW: f"engagement-{name}"}
        self.mapping = MAPPING.with_tables(legacy=self.names[Side.LEGACY], new=self.names[Side.NEW])
        self.flags = FlagFile(self.flag_file)
        self.processes: list[subprocess.Popen[str]] = []
        keys = StaticCredentials(Credentials(aws.access_key_id, aws.secret_access_key))
        self.wire = Wire("dynamodb", WireConfig(aws.region, aws.aws_endpoint), keys)

    async def prepare(self) -> None:
        for name in self.names.values():
            request = {
                "TableName": name,
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
                "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
                "BillingMode": "PAY_PER_REQUEST",
            }
            await self.wire.call("CreateTable", json.dumps(request).encode())
        await create_control_tables(self.wire, control_tables(self.mapping.name))
        await self.flags.publish(FlagDocument(), dual_write=False)

    def environment(self, **settings: object) -> dict[str, str]:
        common: dict[str, object] = {
            "AWS_ENDPOINT_URL": self.aws.aws_endpoint,
            "REDIS_URL": self.aws.redis_url,
            "FLAG_FILE": self.flag_file,
            "MIGRATION_MAPPING": "api_mapping:MAPPING",
            "PORT": 0,
            "LEASE_S": 3,
            "OPERATION_S": 1.5,
        }
        chosen = {f"CROSSFADE_{name.upper()}": str(value) for name, value in (common | settings).items()}
        return (
            {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
            | {"AWS_ACCESS_KEY_ID": self.aws.access_key_id, "AWS_SECRET_ACCESS_KEY": self.aws.secret_access_key}
            | {"API_TEST_LEGACY": self.names[Side.LEGACY], "API_TEST_NEW": self.names[Side.NEW]}
            | {"PYTHONPATH": str(Path(__file__).parent)}
            | chosen
        )

    def start(self, **settings: object) -> tuple[subprocess.Popen[str], str]:
        """Start a process; return it with its address, once it is ready."""
        process = subprocess.Popen(
            [sys.executable, "-m", "engagement_api.main"],
            env=self.environment(**settings),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if (said := json.loads(line))["event"] == "ready":
                assert said["service"] == "engagement-api"
                return process, str(said["address"])
        raise AssertionError("".join(lines))

    async def item(self, user: str, side: Side) -> Item | None:
        return await DynamoTable(DynamoDB(self.wire), self.mapping, side).read(wallet_key(user, "chan"))

    async def heartbeat(self, pod: str) -> Heartbeat | None:
        beats = await DynamoHeartbeats(DynamoDB(self.wire), control_tables(self.mapping.name).heartbeats).all()
        return next((each for each in beats if each.pod == pod), None)

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


@pytest.fixture
async def stage(local_aws: Endpoints, tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(local_aws, tmp_path)
    try:
        await made.prepare()
        yield made
    finally:
        made.end()
        await made.wire.close()


def earning(user: str, amount: int = 5, transaction_id: str = "") -> pb.EarnPointsRequest:
    return pb.EarnPointsRequest(user=user, channel="chan", amount=amount, transaction_id=transaction_id or ulid())


async def test_two_processes_share_the_tables_follow_the_flags_and_end_cleanly(stage: Stage) -> None:
    one, first = stage.start(pod="one")
    other, second = stage.start(pod="other", flag_poll_s=0.1)
    assert first != second
    assert {address.partition(":")[0] for address in (first, second)} == {"127.0.0.1"}
    async with grpc.aio.insecure_channel(first) as channel, grpc.aio.insecure_channel(second) as elsewhere:
        api, peer = EngagementServiceStub(channel), EngagementServiceStub(elsewhere)
        transaction_id = ulid()
        earned = await api.EarnPoints(earning("7", 5, transaction_id))
        again = await peer.EarnPoints(earning("7", 5, transaction_id))
        assert (earned.balance, again.balance, again.replayed) == (5, 5, True)

        await stage.flags.publish(ALL_NEW, dual_write=True)
        await until_document(stage, ALL_NEW, "one", "other")
        moved = await api.EarnPoints(earning("7"))
        assert moved.balance == 10
        new = await stage.item("7", Side.NEW)
        assert new is not None
        assert (new.role, new.generation, new.version) == (Role.ACTIVE, 2, moved.version)
        copied = await until_version(stage, "7", Side.LEGACY, moved.version)
        assert copied.role is Role.STANDBY
        outcomes = (await peer.BatchEarnPoints(pb.BatchEarnPointsRequest(operations=map(earning, "abca")))).outcomes
        assert [each.response.balance for each in outcomes] == [5, 5, 5, 10]
        assert (await peer.GetBalance(pb.GetBalanceRequest(user="7", channel="chan"))).balance == 10

        one.send_signal(signal.SIGTERM)
        assert one.wait(10) == 0
        assert await stage.heartbeat("one") is None
        assert (await peer.SpendPoints(spending("7", 3))).balance == 7
    other.send_signal(signal.SIGTERM)
    assert other.wait(10) == 0


def spending(user: str, amount: int) -> pb.SpendPointsRequest:
    return pb.SpendPointsRequest(user=user, channel="chan", amount=amount, transaction_id=ulid())


async def until_document(stage: Stage, document: FlagDocument, *pods: str) -> None:
    """Wait until the pods vouch for a document, which takes them about half a second."""
    published_s = time.monotonic()
    for pod in pods:
        while (beat := await stage.heartbeat(pod)) is None or beat.document != document:
            assert time.monotonic() - published_s < 2
            await asyncio.sleep(0.05)


async def until_version(stage: Stage, user: str, side: Side, version: int) -> Item:
    begun_s = time.monotonic()
    while (item := await stage.item(user, side)) is None or (item.version or 0) < version:
        assert time.monotonic() - begun_s < 5
        await asyncio.sleep(0.05)
    return item


async def test_at_sigterm_running_calls_end_and_health_turns_first(stage: Stage) -> None:
    process, address = stage.start(drain_notice_s=1.0)
    async with grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest(service="crossfade.engagement.v1.EngagementService")
        assert (await health.Check(asked)).status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        async for word in health.Watch(asked):
            if word.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                break
        # Balancers still send calls until they have noticed.
        assert (await EngagementServiceStub(channel).EarnPoints(earning("7"))).balance == 5
    assert await asyncio.to_thread(process.wait, 10) == 0


async def test_a_killed_process_is_counted_until_its_lease_ends_and_its_peer_serves_on(stage: Stage) -> None:
    doomed, _ = stage.start(pod="doomed", lease_s=1, operation_s=0.5)
    _, address = stage.start(pod="peer")
    doomed.kill()
    heartbeats = DynamoHeartbeats(DynamoDB(stage.wire), control_tables(stage.mapping.name).heartbeats)
    found = {each.pod: each for each in await heartbeats.all()}
    assert not found["doomed"].expired
    async with grpc.aio.insecure_channel(address) as channel:
        assert (await EngagementServiceStub(channel).EarnPoints(earning("7"))).balance == 5
    await asyncio.sleep(1.1)
    found = {each.pod: each for each in await heartbeats.all()}
    assert (found["doomed"].expired, found["peer"].expired) == (True, False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prot": 1}, "CROSSFADE_PROT: unknown setting; did you mean CROSSFADE_PORT?"),
        ({"host": "192.0.2.1"}, "CROSSFADE_HOST: only loopback addresses are allowed"),
        ({"lease_s": 2}, "CROSSFADE_OPERATION_S must be at most half of CROSSFADE_LEASE_S"),
        ({"migration_mapping": "nowhere:MAPPING"}, "CROSSFADE_MIGRATION_MAPPING=nowhere:MAPPING"),
        ({"flag_file": "/nowhere/flags.json"}, "/nowhere/flags.json"),
    ],
)
def test_a_bad_setting_is_named_before_anything_starts(
    local_aws: Endpoints, tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    stage = Stage(local_aws, tmp_path)
    stage.flags.write(FlagDocument(), dual_write=False)
    done = subprocess.run(
        [sys.executable, "-m", "engagement_api.main", "--check"],
        env=stage.environment(**settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr


@pytest.fixture(scope="module")
def help_text() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "engagement_api.main", "--help"], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    "name", ["CROSSFADE_PORT", "CROSSFADE_LEASE_S", "CROSSFADE_FLAG_FILE", "CROSSFADE_DUAL_WRITE_BUDGET_MS"]
)
def test_help_lists_every_setting(help_text: str, name: str) -> None:
    assert name in help_text
