"""The service as it runs: from environment variables, on both tables of the embedded AWS, with a clean end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from api_stage import ALL_NEW, Stage, earning, ulid
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crossfade.adapters.control.heartbeats import DynamoHeartbeats
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.core.migration.control import control_tables
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.protocol.keyed.item import Item, Role
from crossfade.core.values.shape import Side
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade.gen.engagement.v1.engagement_service_pb2_grpc import EngagementServiceStub
from localaws import Endpoints

pytestmark = pytest.mark.embedded


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
        new = await stage.item("7", Side.TARGET)
        assert new is not None
        assert (new.role, new.generation, new.version) == (Role.ACTIVE, 2, moved.version)
        copied = await until_version(stage, "7", Side.SOURCE, moved.version)
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
            assert time.monotonic() - published_s < 60
            await asyncio.sleep(0.05)


async def until_version(stage: Stage, user: str, side: Side, version: int) -> Item:
    begun_s = time.monotonic()
    while (item := await stage.item(user, side)) is None or (item.version or 0) < version:
        assert time.monotonic() - begun_s < 60
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
