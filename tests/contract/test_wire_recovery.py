"""What the wire client does about refusals, throttles, faults, wrong clocks and expired keys."""

from __future__ import annotations

import asyncio
import time

import pytest

from crossfade.adapters.wire import Credentials, ServiceError, Wire, WireConfig
from crossfade.core.values.errors import StoreUnavailable, Throttled
from wire_server import NOW_S, OK, Request, Run, Server, Waits, client, http, run, says

__all__ = ["run"]  # a fixture


def throttled(**headers: str) -> bytes:
    body = b'{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow"}'
    return http(body, status="400 Bad Request", **headers)


def test_throttles_are_waited_out_and_named_when_they_do_not_end(run: Run) -> None:
    async def main() -> None:
        waits = Waits()
        async with Server(says(throttled(), throttled(Retry_After="2"), OK)) as server, client(server, waits) as wire:
            assert await wire.call("PutItem", b"{}") == b'{"ok":1}'
            assert waits.s == [0.1, 2.2]
        async with Server(says(throttled())) as server, client(server, attempts=4) as wire:
            with pytest.raises(Throttled, match="ProvisionedThroughputExceededException: slow"):
                await wire.call("PutItem", b"{}")
            assert len(server.requests) == 4

    run(main())


def test_a_long_wait_asked_for_is_the_callers_decision(run: Run) -> None:
    async def main() -> None:
        async with Server(says(throttled(Retry_After="3600"))) as server, client(server) as wire:
            with pytest.raises(Throttled) as refusal:
                await wire.call("PutItem", b"{}")
            assert refusal.value.retry_after_s == 3600
            assert len(server.requests) == 1

    run(main())


def test_a_fault_of_the_service_is_tried_again_and_a_refusal_is_not(run: Run) -> None:
    fault = http(b'{"__type":"InternalServerError"}', status="500 Internal Server Error")
    refusal = http(b'{"__type":"x#ResourceNotFoundException","message":"no table"}', status="400 Bad Request")

    async def main() -> None:
        async with Server(says(fault, fault, OK)) as server, client(server) as wire:
            assert await wire.call("GetItem", b"{}") == b'{"ok":1}'
            assert server.connections == 1, "an error answer leaves the connection whole"
        async with Server(says(refusal)) as server, client(server) as wire:
            with pytest.raises(ServiceError) as error:
                await wire.call("GetItem", b"{}")
            assert error.value.reason == "ResourceNotFoundException"
            assert len(server.requests) == 1

    run(main())


def test_when_everything_fails_the_budget_ends_the_retries(run: Run) -> None:
    fault = http(b"{}", status="503 Service Unavailable")

    async def main() -> None:
        async with Server(says(fault)) as server, client(server, attempts=5) as wire:
            for _ in range(60):
                with pytest.raises(StoreUnavailable):
                    await wire.call("GetItem", b"{}")
            assert len(server.requests) == 60 + 100, "each call once, and 100 retries of the 240 that attempts allow"
            server.reply = says(OK)
            for _ in range(5):
                await wire.call("GetItem", b"{}")
            server.reply = says(fault, OK)
            assert await wire.call("GetItem", b"{}") == b'{"ok":1}', "five successes pay for one retry"

    run(main())


def test_a_clock_that_is_wrong_is_corrected_by_the_services_own(run: Run) -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(NOW_S))
    skewed = http(b'{"__type":"InvalidSignatureException","message":"expired"}', status="400 Bad Request", Date=date)

    async def main() -> None:
        waits = Waits()
        async with Server(says(skewed, OK)) as server, client(server, waits, now=lambda: NOW_S - 3600) as wire:
            assert await wire.call("GetItem", b"{}") == b'{"ok":1}'
            assert server.requests[1].headers["x-amz-date"] == time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(NOW_S))
            assert waits.s == []
        async with Server(says(skewed)) as server, client(server) as wire:
            with pytest.raises(ServiceError, match="InvalidSignatureException"):
                await wire.call("GetItem", b"{}")
            assert len(server.requests) == 1, "the clock is right: the secret is wrong"

    run(main())


class TwoSets:
    """Credentials that a role has replaced."""

    def __init__(self) -> None:
        self.keys = Credentials("OLD", "old")

    async def current(self) -> Credentials:
        return self.keys

    def refused(self, credentials: Credentials) -> bool:
        self.keys = Credentials("NEW", "new")
        return credentials.access_key == "OLD"


def test_expired_keys_are_replaced_and_the_call_goes_on(run: Run) -> None:
    async def only_target(request: Request, writer: asyncio.StreamWriter) -> None:
        expired = http(b'{"__type":"x#ExpiredTokenException"}', status="400 Bad Request")
        writer.write(OK if "Credential=NEW/" in request.headers["authorization"] else expired)

    async def main() -> None:
        config_of = WireConfig("us-east-1", None)
        async with Server(only_target) as server:
            async with Wire("dynamodb", config_of._replace(endpoint_url=server.url), TwoSets(), sleep=Waits()) as wire:
                assert await wire.call("GetItem", b"{}") == b'{"ok":1}'
            async with client(server) as wire:
                with pytest.raises(ServiceError, match="ExpiredTokenException"):
                    await wire.call("GetItem", b"{}")

    run(main())
