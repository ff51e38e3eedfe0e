"""More calls than a pod takes, connections that age, and a server that ends: what its callers are told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typing_extensions import override

from api_world import Pod, World
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade.gen.engagement.v1.engagement_service_pb2_grpc import (
    EngagementServiceServicer,
    EngagementServiceStub,
    add_EngagementServiceServicer_to_server,
)
from crossfade.runtime.grpc import DETAILS_KEY, RpcServer, answers_errors
from crossfade.runtime.statuses import Refusal
from engagement_api.servicer import SERVICE

BURST = 4_000
LIMIT = 100


@asynccontextmanager
async def serving(server: RpcServer) -> AsyncIterator[tuple[Pod, str]]:
    pod = await World().pod(operation_s=60)
    server.add(add_EngagementServiceServicer_to_server, pod.servicer)
    address = await server.start()
    await server.serving(True)
    yield pod, address
    await server.stop(grace_s=0.1)


class Gate:
    """Holds each operation until it is opened."""

    def __init__(self, pod: Pod) -> None:
        self._open = asyncio.Event()
        for table in pod.world.tables.values():
            table.first = self._wait

    def open(self) -> None:
        self._open.set()

    async def _wait(self) -> None:
        await self._open.wait()


def details(error: grpc.aio.AioRpcError) -> tuple[str, float]:
    """Return the reason and the retry delay that an error carries, in seconds; -1 without one."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    retry.retry_delay.seconds = -1
    for name, value in error.trailing_metadata() or ():
        if name == DETAILS_KEY:
            assert isinstance(value, bytes)
            for each in status_pb2.Status.FromString(value).details:
                each.Unpack(info)
                each.Unpack(retry)
    return info.reason, retry.retry_delay.ToMilliseconds() / 1000


async def test_a_burst_above_the_limit_is_resource_exhausted_with_a_retry_after_and_never_cancelled() -> None:
    server = RpcServer(max_concurrent_calls=LIMIT)
    async with serving(server) as (pod, address), grpc.aio.insecure_channel(address) as channel:
        gate, stub = Gate(pod), EngagementServiceStub(channel)
        ends: Counter[tuple[str, str, float]] = Counter()
        refused = asyncio.Event()

        async def one(number: int) -> None:
            try:
                await stub.EarnPoints(pod.earning(user=str(number)))
                ends["OK", "", 0] += 1
            except grpc.aio.AioRpcError as error:
                ends[error.code().name, *details(error)] += 1
                if ends.total() == BURST - LIMIT:
                    refused.set()

        calls = [asyncio.create_task(one(number)) for number in range(BURST)]
        await asyncio.wait_for(refused.wait(), 60)
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))).status == 1, "it still lives"
        gate.open()
        await asyncio.gather(*calls)
        assert ends == {("OK", "", 0): LIMIT, ("RESOURCE_EXHAUSTED", "OVERLOADED", 0.2): BURST - LIMIT}
        assert pod.figures.totals == {("EarnPoints", "ok"): LIMIT, ("EarnPoints", "failed"): BURST - LIMIT}


async def test_what_is_not_yet_taken_when_a_server_ends_without_notice_is_answered() -> None:
    server = RpcServer()
    async with serving(server) as (pod, address), grpc.aio.insecure_channel(address) as channel:
        stub = EngagementServiceStub(channel)
        await stub.EarnPoints(pod.earning())  # the connection stands
        calls = [stub.EarnPoints(pod.earning(user=str(number))) for number in range(200)]
        first, *rest = [asyncio.ensure_future(ended(call)) for call in calls]
        await first
        await server.stop(notice_s=0, grace_s=5)
        ends = Counter(await asyncio.gather(first, *rest))
        assert ends.total() == 200
        assert set(ends) <= {("OK", "", 0), ("UNAVAILABLE", "UNAVAILABLE", 0.1)}


async def ended(call: grpc.aio.UnaryUnaryCall) -> tuple[str, str, float]:  # type: ignore[type-arg] # any
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, *details(error)
    return "OK", "", 0


class Peers(EngagementServiceServicer):
    """Notes over which connections it is called."""

    domain, service = "crossfade.test.v1", SERVICE

    def __init__(self) -> None:
        self.peers: set[str] = set()

    def note_refusal(self, method: str, request: Message | None, error: Refusal) -> None:
        raise AssertionError(f"{method} refused: {error}")

    @override
    @answers_errors
    async def GetBalance(self, request: pb.GetBalanceRequest, context: Any) -> pb.GetBalanceResponse:
        self.peers.add(context.peer())
        await asyncio.sleep(float(request.user))
        return pb.GetBalanceResponse()


def peers() -> Peers:
    return Peers()  # type: ignore[abstract]  # on purpose: nobody calls the other methods


async def test_connections_age_and_no_call_fails_by_it() -> None:
    server, servicer = RpcServer(connection_age_s=0.3, connection_grace_s=10), peers()
    server.add(add_EngagementServiceServicer_to_server, servicer)
    async with grpc.aio.insecure_channel(await server.start()) as channel, asyncio.timeout(30):
        stub = EngagementServiceStub(channel)
        long = asyncio.ensure_future(ended(stub.GetBalance(pb.GetBalanceRequest(user="2"))))
        answered = 0
        while len(servicer.peers) < 4:
            await stub.GetBalance(pb.GetBalanceRequest(user="0.001"))
            answered += 1
        assert answered > 3, "a connection serves more than one call"
        assert await long == ("OK", "", 0), "a call that runs outlasts its connection's age"
    await server.stop(grace_s=0)


async def test_without_an_age_a_connection_stays() -> None:
    server, servicer = RpcServer(), peers()
    server.add(add_EngagementServiceServicer_to_server, servicer)
    async with grpc.aio.insecure_channel(await server.start()) as channel, asyncio.timeout(30):
        for _ in range(20):
            await EngagementServiceStub(channel).GetBalance(pb.GetBalanceRequest(user="0.05"))
    assert len(servicer.peers) == 1
    await server.stop(grace_s=0)
