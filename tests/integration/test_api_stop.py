"""API processes that end or may not write: what health says, and what their clients notice of a rolling restart."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from api_stage import ALL_NEW, Stage, earning
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crossfade.adapters.control.tables import create_control_tables
from crossfade.core.migration.control import control_tables
from crossfade.core.values.errors import StoreUnavailable
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade.gen.engagement.v1.engagement_service_pb2_grpc import EngagementServiceStub
from crossfade.runtime.probe import probe
from engagement_api.servicer import SERVICE
from engagement_api.settings import Settings

pytestmark = pytest.mark.embedded


async def asked(url: str) -> str:
    return await asyncio.to_thread(probe, url, 5.0)


WORKERS = 8
WALLET_CALLS = 500
"""A wallet takes 1,000 operations a minute, so a fast machine needs several."""

MOST_CALLS = 40_000
"""A bound against a test that never ends; the calls of a restart are a few thousand."""


async def ended(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def test_calls_not_yet_taken_at_sigterm_are_answered_by_default(stage: Stage) -> None:
    process, address = stage.start()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = EngagementServiceStub(channel)
        await stub.EarnPoints(earning("first"))
        calls = [asyncio.ensure_future(ended(stub.EarnPoints(earning(str(number))))) for number in range(600)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        process.send_signal(signal.SIGTERM)
        assert Counter(await asyncio.gather(*calls)) == {"OK": 600}
    assert Settings.model_fields["drain_notice_s"].default == 2.0
    assert await asyncio.to_thread(process.wait, 30) == 0


@asynccontextmanager
async def watched(address: str) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Yield what waits until the pod's health has a status."""
    async with grpc.aio.insecure_channel(address) as channel:
        words = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))

        async def until(status: int) -> None:
            async with asyncio.timeout(30):
                while (await words.read()).status != status:
                    pass

        yield until
        words.cancel()


async def test_a_pod_that_may_not_write_says_so_with_the_reason_until_it_may(stage: Stage) -> None:
    await stage.flags.publish(ALL_NEW, dual_write=False)
    process, address = stage.start(health_port=0)
    page = f"http://{stage.health_page(process)}/readyz"
    async with watched(address) as until:
        await until(health_pb2.HealthCheckResponse.SERVING)
        assert "ready" in await asked(page)
        heartbeats = control_tables(stage.mapping.name).heartbeats
        unprotect = {"TableName": heartbeats, "DeletionProtectionEnabled": False}
        await stage.wire.call("UpdateTable", json.dumps(unprotect).encode())
        await stage.wire.call("DeleteTable", json.dumps({"TableName": heartbeats}).encode())
        await until(health_pb2.HealthCheckResponse.NOT_SERVING)
        with pytest.raises(StoreUnavailable, match=r"no owner writes.*heartbeat.*state_missing"):
            await asked(page)
        async with grpc.aio.insecure_channel(address) as channel:
            stub = EngagementServiceStub(channel)
            assert await ended(stub.EarnPoints(earning("7"))) == "UNAVAILABLE"
            assert (await stub.GetBalance(pb.GetBalanceRequest(user="7", channel="chan"))).balance == 0, "reads go on"
        await create_control_tables(stage.wire, control_tables(stage.mapping.name))
        await until(health_pb2.HealthCheckResponse.SERVING)
        assert "ready" in await asked(page)


class Load:
    """Workers that earn without a pause, each on wallets of its own, and count how their calls end."""

    def __init__(self, send: Callable[[int, pb.EarnPointsRequest], Awaitable[str]]) -> None:
        self.ends: Counter[str] = Counter()
        self.earned: Counter[str] = Counter()
        self._send = send
        self._stop = asyncio.Event()
        self._more = asyncio.Condition()

    async def more(self, calls: int) -> None:
        """Wait until so many more calls have ended well."""
        async with self._more, asyncio.timeout(60):
            wanted = self.ends["OK"] + calls
            await self._more.wait_for(lambda: self.ends["OK"] >= wanted)

    async def work(self, worker: int) -> None:
        sent = 0
        while not self._stop.is_set() and self.ends.total() < MOST_CALLS:
            user = f"worker-{worker}-{sent // WALLET_CALLS}"
            end = await self._send(worker, earning(user, 1))
            sent += 1
            self.ends[end] += 1
            self.earned[user] += end == "OK"
            async with self._more:
                self._more.notify_all()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for worker in range(WORKERS):
                group.create_task(self.work(worker))
            yield
            self._stop.set()


def ports(address: str) -> int:
    return int(address.rpartition(":")[2])


async def roll(stage: Stage, pods: dict[str, subprocess.Popen[str]], load: Load) -> None:
    """Restart each pod on its own address, one after the other, while calls run."""
    for address, process in list(pods.items()):
        await load.more(200)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 30) == 0
        again, same = await asyncio.to_thread(stage.start, port=ports(address))
        assert same == address
        pods[address] = again
        async with watched(address) as until:
            await until(health_pb2.HealthCheckResponse.SERVING)
        await load.more(200)


async def check_books(address: str, load: Load) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        for user, earned in load.earned.items():
            asked_for = pb.GetBalanceRequest(user=user, channel="chan")
            assert (await EngagementServiceStub(channel).GetBalance(asked_for)).balance == earned


async def test_a_rolling_restart_fails_no_call_of_a_client_that_heeds_health_and_never_retries(stage: Stage) -> None:
    notice_s = 4.0  # twice the default: the client must hear of it while this machine is busy
    pods = {
        address: process
        for process, address in (stage.start(pod=name, drain_notice_s=notice_s) for name in ("one", "other"))
    }
    config = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": SERVICE}}
    options = [("grpc.service_config", json.dumps(config)), ("grpc.enable_retries", 0), *QUICK]
    async with grpc.aio.insecure_channel("ipv4:" + ",".join(pods), options=options) as channel:
        stub = EngagementServiceStub(channel)

        async def send(_: int, request: pb.EarnPointsRequest) -> str:
            return await ended(stub.EarnPoints(request, wait_for_ready=True, timeout=30))

        load = Load(send)
        async with load.running():
            await roll(stage, pods, load)
    assert set(load.ends) == {"OK"}, load.ends
    await check_books(next(iter(pods)), load)


async def test_a_rolling_restart_fails_no_call_of_a_client_that_knows_no_health_and_retries_by_the_contract(
    stage: Stage,
) -> None:
    pods = {address: process for process, address in (stage.start(pod=name) for name in ("one", "other"))}
    channels = [grpc.aio.insecure_channel(each, options=[("grpc.enable_retries", 0), *QUICK]) for each in pods]
    stubs = [EngagementServiceStub(each) for each in channels]
    attempts: Counter[str] = Counter()

    chosen = {worker: worker % 2 for worker in range(WORKERS)}

    async def send(worker: int, request: pb.EarnPointsRequest) -> str:
        for _ in range(100):
            end = await ended(stubs[chosen[worker]].EarnPoints(request, timeout=30))
            attempts[end] += 1
            if end not in ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"):
                return end
            chosen[worker] = 1 - chosen[worker]  # and stay there: what refused once is left alone
            await asyncio.sleep(0.05)
        return end

    load = Load(send)
    async with load.running():
        await roll(stage, pods, load)
    assert set(load.ends) == {"OK"}, attempts
    assert set(attempts) <= {"OK", "UNAVAILABLE"}, attempts
    await check_books(next(iter(pods)), load)
    for each in channels:
        await each.close()


QUICK = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100)]
