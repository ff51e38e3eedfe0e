"""The wire client's connections, against a scripted HTTP server, on plain asyncio and on uvloop."""

from __future__ import annotations

import asyncio
import zlib

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreKeys

from crossfade.core.values.errors import StoreUnavailable
from wire_server import KEYS, OK, Request, Run, Server, Waits, client, http, run, says

__all__ = ["run"]  # a fixture


def test_what_arrives_is_a_request_that_botocore_would_have_signed_the_same(run: Run) -> None:
    async def main() -> None:
        async with Server(says(OK)) as server, client(server) as wire:
            assert await wire.call("GetItem", b'{"TableName":"t"}') == b'{"ok":1}'
            (request,) = server.requests
            assert request.line == "POST / HTTP/1.1"
            assert request.body == b'{"TableName":"t"}'
            assert request.headers["x-amz-target"] == "DynamoDB_20120810.GetItem"
            signed = ("content-type", "x-amz-target", "x-amz-date", "x-amz-security-token")
            again = AWSRequest("POST", server.url + "/", {name: request.headers[name] for name in signed}, request.body)
            again.context["timestamp"] = request.headers["x-amz-date"]
            auth = SigV4Auth(BotocoreKeys(*KEYS), "dynamodb", "us-east-1")
            signature = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
            assert request.headers["authorization"].endswith(f"Signature={signature}")

    run(main())


def test_calls_one_after_the_other_share_a_connection(run: Run) -> None:
    async def main() -> None:
        async with Server(says(OK)) as server, client(server) as wire:
            for _ in range(5):
                await wire.call("GetItem", b"{}")
            assert server.connections == 1

    run(main())


def test_many_calls_at_once_use_no_more_connections_than_allowed_and_all_are_answered(run: Run) -> None:
    async def echo(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.001)
        writer.write(http(request.body))

    async def main() -> None:
        async with Server(echo) as server, client(server, max_connections=3) as wire:
            bodies = [b'{"n":%d}' % number for number in range(60)]
            assert await asyncio.gather(*(wire.call("GetItem", body) for body in bodies)) == bodies
            assert server.connections == 3

    run(main())


def test_chunked_and_large_answers_come_whole(run: Run) -> None:
    large = bytes(range(256)) * 8192

    async def chunks(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-amz-crc32: %d\r\n\r\n" % zlib.crc32(large))
        for start in range(0, len(large), 50_000):
            piece = large[start : start + 50_000]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async def main() -> None:
        async with Server(chunks) as server, client(server) as wire:
            assert await wire.call("GetRecords", b"{}") == large
            assert await wire.call("GetRecords", b"{}") == large
            assert server.connections == 1

    run(main())


def test_an_answer_that_does_not_match_its_checksum_is_asked_for_again(run: Run) -> None:
    good = http(b'{"n":1}', x_amz_crc32=str(zlib.crc32(b'{"n":1}')))
    bad = http(b'{"n":2}', x_amz_crc32=str(zlib.crc32(b'{"n":1}')))

    async def main() -> None:
        async with Server(says(bad, good)) as server, client(server) as wire:
            assert await wire.call("GetItem", b"{}") == b'{"n":1}'
            assert len(server.requests) == 2
        async with Server(says(bad)) as server, client(server, attempts=3) as wire:
            with pytest.raises(StoreUnavailable, match="checksum"):
                await wire.call("GetItem", b"{}")
            assert len(server.requests) == 3

    run(main())


def test_when_all_resting_connections_are_stale_one_retry_is_enough(run: Run) -> None:
    async def hang_up_on_the_second(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.body == b"all":
            await asyncio.sleep(0.02)
            writer.write(OK)
        elif request.connection <= 4:
            writer.close()
        else:
            writer.write(OK)

    async def main() -> None:
        async with Server(hang_up_on_the_second) as server, client(server) as wire:
            await asyncio.gather(*(wire.call("GetItem", b"all") for _ in range(4)))
            assert server.connections == 4
            assert await wire.call("GetItem", b"one", attempts=2) == b'{"ok":1}'

    run(main())


async def half_closed_race(request: Request, writer: asyncio.StreamWriter) -> None:
    """Answer the first request; take the second one on the same connection and hang up without a word."""
    if request.connection == 1 and request.body == b"second":
        writer.close()
    else:
        writer.write(OK)


def test_a_resting_connection_that_the_server_closes_under_the_request_costs_no_failure_and_no_wait(run: Run) -> None:
    async def main() -> None:
        waits = Waits()
        async with Server(half_closed_race) as server, client(server, waits) as wire:
            await wire.call("GetItem", b"first")
            await wire.call("GetItem", b"second")
            assert [(request.body, request.connection) for request in server.requests] == [
                (b"first", 1),
                (b"second", 1),
                (b"second", 2),
            ]
            assert waits.s == []

    run(main())


def test_with_one_attempt_a_request_is_never_sent_twice(run: Run) -> None:
    async def main() -> None:
        async with Server(half_closed_race) as server, client(server) as wire:
            await wire.call("PutItem", b"first")
            with pytest.raises(StoreUnavailable):
                await wire.call("PutItem", b"second", attempts=1)
            assert [request.body for request in server.requests] == [b"first", b"second"]
        async with Server(says(http(b"{}", status="500 Oops"))) as server, client(server) as wire:
            with pytest.raises(StoreUnavailable):
                await wire.call("PutItem", b"{}", attempts=1)
            assert len(server.requests) == 1

    run(main())


def test_a_connection_that_the_server_closed_at_rest_is_replaced_without_a_failure(run: Run) -> None:
    async def main() -> None:
        async with Server(says(OK)) as server, client(server) as wire:
            await wire.call("GetItem", b"{}")
            for writer in list(server.open):
                writer.close()
            await asyncio.sleep(0.05)
            await wire.call("GetItem", b"{}", attempts=1)
            assert server.connections == 2

    run(main())


def test_a_server_that_says_close_is_taken_at_its_word(run: Run) -> None:
    async def main() -> None:
        async with Server(says(http(b"{}", Connection="close"))) as server, client(server) as wire:
            await wire.call("GetItem", b"{}", attempts=1)
            await wire.call("GetItem", b"{}", attempts=1)
            assert server.connections == 2

    run(main())


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"SMTP ready\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    ],
)
def test_half_an_answer_or_nonsense_is_a_failure_that_is_tried_again(run: Run, broken: bytes) -> None:
    async def break_once(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.connection == 1:
            writer.write(broken)
            await writer.drain()
            writer.close()
        else:
            writer.write(OK)

    async def main() -> None:
        waits = Waits()
        async with Server(break_once) as server, client(server, waits) as wire:
            assert await wire.call("GetItem", b"{}") == b'{"ok":1}'
            assert len(waits.s) == 1
        async with Server(break_once) as server, client(server) as wire:
            with pytest.raises(StoreUnavailable):
                await wire.call("GetItem", b"{}", attempts=1)

    run(main())


def test_a_late_answer_is_unavailable_and_never_meets_the_next_request(run: Run) -> None:
    async def main() -> None:
        given_up, answered = asyncio.Event(), asyncio.Event()

        async def late(request: Request, writer: asyncio.StreamWriter) -> None:
            if request.body == b"slow":
                await given_up.wait()
            writer.write(http(request.body))
            if request.body == b"slow":
                answered.set()

        async with Server(late) as server, client(server, max_connections=1) as wire:
            with pytest.raises(StoreUnavailable, match=r"no answer within 0.05 s"):
                await wire.call("PutItem", b"slow", timeout_s=0.05, attempts=1)
            assert await wire.call("GetItem", b"quick") == b"quick"
            given_up.set()
            await answered.wait()
            assert await wire.call("GetItem", b"quick too") == b"quick too"

    run(main())


def test_a_cancelled_call_leaves_no_answer_behind(run: Run) -> None:
    async def late(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.body == b"slow":
            await asyncio.sleep(0.05)
        writer.write(http(request.body))

    async def main() -> None:
        async with Server(late) as server, client(server, max_connections=1) as wire:
            task = asyncio.create_task(wire.call("GetItem", b"slow"))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await wire.call("GetItem", b"quick") == b"quick"

    run(main())


def test_an_answer_nobody_asked_for_does_not_answer_the_next_request(run: Run) -> None:
    async def twice(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(http(request.body) + http(b"stray"))

    async def main() -> None:
        async with Server(twice) as server, client(server) as wire:
            for number in range(4):
                body = b"%d" % number
                assert await wire.call("GetItem", body, attempts=1) == body

    run(main())


def test_the_wait_for_a_connection_counts_against_the_deadline(run: Run) -> None:
    async def never(_request: Request, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async def main() -> None:
        async with Server(never) as server, client(server, max_connections=1) as wire:
            holder = asyncio.create_task(wire.call("GetItem", b"{}", timeout_s=5))
            await asyncio.sleep(0.02)
            with pytest.raises(StoreUnavailable, match="no answer within"):
                await wire.call("GetItem", b"{}", timeout_s=0.05, attempts=1)
            holder.cancel()

    run(main())


def test_nobody_there_is_unavailable(run: Run) -> None:
    async def main() -> None:
        async with Server(says(OK)) as server:
            wire = client(server, attempts=2)
        with pytest.raises(StoreUnavailable, match=r"can't reach 127\.0\.0\.1"):
            await wire.call("GetItem", b"{}")

    run(main())


def test_a_closed_client_says_so_and_calls_in_flight_end(run: Run) -> None:
    async def never(_request: Request, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async def main() -> None:
        async with Server(never) as server:
            wire = client(server, max_connections=1)
            flying, waiting = (asyncio.create_task(wire.call("GetItem", b"{}")) for _ in range(2))
            await asyncio.sleep(0.05)
            await wire.close()
            for call in (flying, waiting, wire.call("GetItem", b"{}")):
                with pytest.raises(StoreUnavailable):
                    await call

    run(main())
