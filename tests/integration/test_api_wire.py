"""The wire surface of the API: what clients that nobody here wrote (`buf curl`, grpcio-status) see on a real server."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from api_world import Pod, World
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.values.errors import ConfigError
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade.gen.engagement.v1 import errors_pb2
from crossfade.gen.engagement.v1.engagement_service_pb2_grpc import (
    EngagementServiceStub,
    add_EngagementServiceServicer_to_server,
)
from crossfade.runtime.admission import READ_TIMES
from crossfade.runtime.grpc import RpcServer
from engagement_api.servicer import SERVICE

CONTRACT = Path(__file__).parents[2] / "proto/README.md"
BUF = Path(__file__).parents[2] / ".venv/bin/buf"
MAX_BYTES = 1 << 16

Detail = TypeVar("Detail", bound=Message)


class Served(NamedTuple):
    pod: Pod
    server: RpcServer
    address: str


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    pod = await World().pod()
    server = RpcServer(max_message_bytes=MAX_BYTES)
    server.add(add_EngagementServiceServicer_to_server, pod.servicer)
    address = await server.start()
    await server.serving(True)
    yield Served(pod, server, address)
    await server.stop(grace_s=0.1)


class Curled(NamedTuple):
    code: int
    answer: dict[str, Any]


async def curl(served: Served, method: str, request: dict[str, Any]) -> Curled:
    """Call by reflection, with a client that has never seen our contract."""
    process = await asyncio.create_subprocess_exec(
        *(BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--data", json.dumps(request)),
        f"http://{served.address}/{method}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 30)
    return Curled(process.returncode or 0, json.loads(out or errors))


async def test_buf_curl_finds_the_service_by_reflection_and_earns(served: Served) -> None:
    earn = {
        "user": "7",
        "channel": "chan",
        "amount": "5",
        "reason": "watched",
        "transactionId": served.pod.world.clock.ulid(),
    }
    done = await curl(served, f"{SERVICE}/EarnPoints", earn)
    assert done.code == 0
    assert done.answer["balance"] == "5"
    assert int(done.answer["version"]) > 2**53  # a string in JSON, since no double holds it
    assert isinstance(done.answer["version"], str)
    again = await curl(served, f"{SERVICE}/EarnPoints", earn)
    assert again.answer | {"serverTime": ""} == done.answer | {"replayed": True, "serverTime": ""}


async def test_buf_curl_reads_the_typed_details_of_an_error(served: Served) -> None:
    refused = await curl(served, f"{SERVICE}/EarnPoints", {"user": "7", "channel": "chan"})
    assert refused.code != 0
    assert refused.answer["code"] == "invalid_argument"
    details = {each["type"]: base64.b64decode(each["value"] + "==") for each in refused.answer["details"]}
    wrong = error_details_pb2.BadRequest.FromString(details["google.rpc.BadRequest"])
    assert wrong.field_violations[0].field == "amount"
    info = error_details_pb2.ErrorInfo.FromString(details["google.rpc.ErrorInfo"])
    assert (info.reason, info.domain) == ("INVALID_ARGUMENT", "crossfade.engagement.v1")


async def refusal(served: Served, method: str, message: bytes) -> grpc.aio.AioRpcError:
    """Send bytes as they are, as a client of another make may."""
    async with grpc.aio.insecure_channel(served.address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{method}")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(message)
    return refused.value


def detail(error: grpc.aio.AioRpcError, kind: Callable[[], Detail]) -> Detail:
    """Return the one detail of a kind that an error carries."""
    [status] = [value for name, value in error.trailing_metadata() or () if name == "grpc-status-details-bin"]
    assert isinstance(status, bytes)
    found = kind()
    assert sum(each.Unpack(found) for each in status_pb2.Status.FromString(status).details) == 1
    return found


@pytest.mark.parametrize(
    "message",
    [b"\xff\xff", b"\x0a\x7fshort", b"\x0a\x02\xc3\x28", b"\x18" + b"\xff" * 11],
    ids=["no-tag", "cut-off", "not-utf-8", "endless-varint"],
)
@pytest.mark.parametrize("method", ["EarnPoints", "GetBalance", "BatchEarnPoints"])
async def test_bytes_that_are_no_message_are_an_invalid_argument_with_details(
    served: Served, method: str, message: bytes
) -> None:
    if method == "BatchEarnPoints":
        message = b"\x0a" + bytes([len(message)]) + message
    error = await refusal(served, method, message)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"{method}Request" in (error.details() or "")
    info = detail(error, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("INVALID_ARGUMENT", "crossfade.engagement.v1")
    assert detail(error, error_details_pb2.BadRequest).field_violations[0].description
    assert served.pod.figures.totals == {(method, "refused"): 1}


async def test_a_call_of_a_method_that_there_is_not_is_counted(served: Served) -> None:
    error = await refusal(served, "BurnPoints", pb.EarnPointsRequest().SerializeToString())
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert served.pod.figures.totals == {("unknown", "refused"): 1}


@pytest.mark.parametrize("method", ["GetBalance", "BatchGetBalances"])
async def test_a_read_consistency_that_nobody_knows_is_refused(served: Served, method: str) -> None:
    request: Any = pb.GetBalanceRequest(user="7", channel="chan", consistency=cast("Any", 7))
    if method == "BatchGetBalances":
        request = pb.BatchGetBalancesRequest(wallets=[pb.Wallet(user="7", channel="c")], consistency=cast("Any", 7))
    error = await refusal(served, method, request.SerializeToString())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(error, error_details_pb2.BadRequest).field_violations[0].field == "consistency"


@pytest.mark.parametrize(
    ("field", "value"),
    [("user", "a\x85b"), ("channel", "\x9b"), ("transaction_id", "0" * 24 + "ß"), ("reason", "\x80")],
)
async def test_what_only_looks_like_a_name_or_an_id_is_refused_alone_and_in_a_batch(
    served: Served, field: str, value: str
) -> None:
    bad = served.pod.earning()
    setattr(bad, field, value)
    error = await refusal(served, "EarnPoints", bad.SerializeToString())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(error, error_details_pb2.BadRequest).field_violations[0].field == field
    async with grpc.aio.insecure_channel(served.address) as channel:
        batch = pb.BatchEarnPointsRequest(operations=[served.pod.earning(), bad])
        good, refused = (await EngagementServiceStub(channel).BatchEarnPoints(batch)).outcomes
    assert good.response.balance == 5
    wrong = error_details_pb2.BadRequest()
    assert sum(each.Unpack(wrong) for each in refused.error.details) == 1
    assert wrong.field_violations[0].field == f"operations[1].{field}"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_is_served_in_both_versions(served: Served, version: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--reflect-protocol", f"grpc-{version}"),
        *("--list-methods", f"http://{served.address}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, errors.decode()
    methods = out.decode().split()
    assert f"{SERVICE}/EarnPoints" in methods
    assert {each for each in methods if "reflection" in each} == {
        f"grpc.reflection.{each}.ServerReflection/ServerReflectionInfo" for each in ("v1", "v1alpha")
    }


async def test_buf_curl_checks_the_health_of_the_service(served: Served) -> None:
    asked = {"service": SERVICE}
    assert (await curl(served, "grpc.health.v1.Health/Check", asked)).answer == {"status": "SERVING"}
    await served.server.serving(False)
    assert (await curl(served, "grpc.health.v1.Health/Check", asked)).answer == {"status": "NOT_SERVING"}


async def test_the_status_library_of_grpc_reads_the_details(served: Served) -> None:
    async with grpc.aio.insecure_channel(served.address) as channel:
        spend = pb.SpendPointsRequest(user="7", channel="chan", amount=3, transaction_id=served.pod.world.clock.ulid())
        call = EngagementServiceStub(channel).SpendPoints(spend)
        assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
        status = await rpc_status.aio.from_call(call)
    told, info = errors_pb2.InsufficientPoints(), error_details_pb2.ErrorInfo()
    for each in status.details:
        each.Unpack(told)
        each.Unpack(info)
    assert (told.balance, told.asked) == (0, 3)
    assert (info.reason, info.domain) == ("INSUFFICIENT_POINTS", "crossfade.engagement.v1")


async def test_the_trace_context_is_read_from_the_calls_metadata(served: Served) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with grpc.aio.insecure_channel(served.address) as channel:
        earn = served.pod.earning()
        await EngagementServiceStub(channel).EarnPoints(earn, metadata=(("traceparent", trace),))
    assert any(trace.encode() in change for table in served.pod.world.tables.values() for change in table.changes)


@pytest.mark.parametrize("times", [1, READ_TIMES - 0.01], ids=["a little", "nearly four times"])
async def test_a_message_above_the_bound_is_refused_with_its_size_the_limit_and_the_cure(
    served: Served, times: float
) -> None:
    request = pb.EarnPointsRequest(user="x" * int(times * MAX_BYTES))
    async with grpc.aio.insecure_channel(served.address) as channel:
        call = EngagementServiceStub(channel).EarnPoints(request)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        status = await rpc_status.aio.from_call(call)
    why = f"the request has {request.ByteSize()} bytes, {MAX_BYTES} are allowed: send fewer operations in a call"
    assert status.message == why
    bad, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
    for each in status.details:
        each.Unpack(bad)
        each.Unpack(info)
    assert (info.reason, info.domain) == ("INVALID_ARGUMENT", "crossfade.engagement.v1")
    assert [(each.field, each.description) for each in bad.field_violations] == [("", why)]
    assert served.pod.figures.totals == {("EarnPoints", "refused"): 1}


async def test_what_grpcs_core_turns_away_is_as_the_contract_says(served: Served) -> None:
    async with grpc.aio.insecure_channel(served.address) as channel:
        call = EngagementServiceStub(channel).EarnPoints(pb.EarnPointsRequest(user="x" * READ_TIMES * MAX_BYTES))
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await rpc_status.aio.from_call(call) is None
    assert "without details: the message is more than four times as long" in CONTRACT.read_text()


async def test_a_response_longer_than_the_longest_request_is_sent() -> None:
    pod = await World().pod()
    server = RpcServer(max_message_bytes=300)
    server.add(add_EngagementServiceServicer_to_server, pod.servicer)
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = EngagementServiceStub(channel)
        await stub.EarnPoints(pod.earning(amount=1_000_000))
        wanted = pb.BatchGetBalancesRequest(wallets=[pb.Wallet(user="7", channel="chan")] * 20)
        answer = await stub.BatchGetBalances(wanted)
        assert wanted.ByteSize() <= 300 < answer.ByteSize()
    await server.stop(grace_s=0.1)


async def test_at_the_end_health_turns_and_running_calls_are_waited_for(served: Served) -> None:
    gate, entered = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        entered.set()
        await gate.wait()

    for table in served.pod.world.tables.values():
        table.first = waits
    async with grpc.aio.insecure_channel(served.address) as channel:
        running = EngagementServiceStub(channel).EarnPoints(served.pod.earning())
        await entered.wait()
        words = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await words.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(served.server.stop(grace_s=5))
        assert (await words.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        words.cancel()
        gate.set()
        assert (await running).balance == 5
        await stopping
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await EngagementServiceStub(channel).EarnPoints(served.pod.earning(), timeout=1)
        assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_a_port_that_is_taken_is_an_error_that_names_it(served: Served) -> None:
    port = int(served.address.rpartition(":")[2])
    with pytest.raises(ConfigError, match=str(port)):
        await RpcServer(port=port).start()


class Hanging:
    """Points that never answer."""

    async def operate(self, operation: Operation) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("ends", ["deadline", "cancel"])
async def test_a_call_that_nobody_answered_counts_against_us_however_its_caller_gave_up(
    served: Served, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.pod.servicer, "_points", Hanging())
    monkeypatch.setattr(served.pod.figures, "now_s", time.monotonic)
    async with grpc.aio.insecure_channel(served.address) as channel:
        call = EngagementServiceStub(channel).EarnPoints(
            served.pod.earning(), timeout=0.6 if ends == "deadline" else None
        )
        if ends == "cancel":
            await asyncio.sleep(0.6)
            call.cancel()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call
    for _ in range(200):  # the server hears of it a moment later
        if served.pod.figures.totals:
            break
        await asyncio.sleep(0.05)
    assert served.pod.figures.totals == {("EarnPoints", "failed"): 1}
