"""The small HTTP server: requests in pieces and in a row, answers at once and later."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from localaws import http_server
from localaws.dates import Clock
from localaws.http_server import Connection, Message, Request, response

DATE = b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
"""The example of RFC 9110, section 5.6.7."""


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def quick(request: Request) -> bytes | None:
    """Answer /quick at once with what came; leave all else to the application."""
    if request.target.startswith(b"/quick"):
        return response(200, [(b"x-method", request.method.encode())], request.body or b"none")
    return None


async def application(scope: Message, receive: Any, send: Any) -> None:
    """Answer with path and body, in one piece or in two."""
    body = (await receive())["body"]
    await asyncio.sleep(0)
    if scope["path"] == "/fault":
        raise RuntimeError("the application is broken")
    shown = scope["path"].encode() + b" " + body
    status = 204 if scope["path"] == "/nothing" else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"x-query", scope["query_string"])]})
    if scope["path"] == "/pieces":
        await send({"type": "http.response.body", "body": shown, "more_body": True})
        await send({"type": "http.response.body", "body": b"!", "more_body": False})
    else:
        await send({"type": "http.response.body", "body": b"" if status == 204 else shown})


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    monkeypatch.setattr(http_server, "clock", Clock(now=lambda: 784_111_777.9))
    return Wire()


@pytest.fixture
async def connection(wire: Wire) -> Connection:
    made = Connection(quick, application, set())
    made.connection_made(wire)
    return made


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_quick_answer_is_written_within_the_call(connection: Connection, wire: Wire) -> None:
    connection.data_received(b"POST /quick HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    assert wire.sent == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + DATE + b"x-method: POST\r\n\r\nhi"
    assert not wire.closed


async def test_a_request_may_come_byte_by_byte(connection: Connection, wire: Wire) -> None:
    for byte in b"POST /quick HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi":
        connection.data_received(bytes([byte]))
    assert wire.sent.endswith(b"\r\n\r\nhi")


async def test_requests_in_one_packet_are_answered_in_order(connection: Connection, wire: Wire) -> None:
    slow = b"GET /slow?a=1 HTTP/1.1\r\nHost: a\r\n\r\n"
    fast = b"POST /quick HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n2"
    connection.data_received(slow + fast + slow)
    await settled()
    answers = wire.sent.split(b"HTTP/1.1 ")[1:]
    assert [each.rpartition(b"\r\n\r\n")[2] for each in answers] == [b"/slow ", b"2", b"/slow "]
    assert b"x-query: a=1\r\n" in answers[0]


async def test_a_client_that_asks_first_is_told_to_go_on(connection: Connection, wire: Wire) -> None:
    connection.data_received(b"PUT /quick HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert wire.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(b"hi")
    assert wire.sent.endswith(b"\r\n\r\nhi")


async def test_an_answer_in_pieces_of_unknown_length_is_chunked(connection: Connection, wire: Wire) -> None:
    connection.data_received(b"GET /pieces HTTP/1.1\r\nHost: a\r\n\r\n")
    await settled()
    head, _, body = wire.sent.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert body == b"8\r\n/pieces \r\n1\r\n!\r\n0\r\n\r\n"


async def test_a_head_request_gets_the_length_and_no_body(connection: Connection, wire: Wire) -> None:
    connection.data_received(b"HEAD /it HTTP/1.1\r\nHost: a\r\n\r\n")
    await settled()
    assert b"content-length: 4" in wire.sent
    assert wire.sent.endswith(b"\r\n\r\n")


async def test_an_answer_without_content_has_no_length(connection: Connection, wire: Wire) -> None:
    connection.data_received(b"DELETE /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
    await settled()
    assert wire.sent == b"HTTP/1.1 204 No Content\r\n" + DATE + b"x-query: \r\n\r\n"


async def test_a_client_that_wants_to_close_is_closed_after_its_answer(connection: Connection, wire: Wire) -> None:
    connection.data_received(b"GET /quick HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert wire.sent.endswith(b"none")
    assert wire.closed


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
)
async def test_what_is_no_http_is_refused_and_closed(connection: Connection, wire: Wire, garbage: bytes) -> None:
    connection.data_received(garbage)
    assert wire.sent.startswith(b"HTTP/1.1 400")
    assert wire.closed


async def test_a_fault_of_the_application_answers_500_and_closes(
    connection: Connection, wire: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    connection.data_received(b"GET /fault HTTP/1.1\r\nHost: a\r\n\r\n")
    await settled()
    assert wire.sent.startswith(b"HTTP/1.1 500")
    assert wire.closed
    assert "the application is broken" in capsys.readouterr().err


async def test_a_client_that_goes_ends_the_work_for_it(connection: Connection, wire: Wire) -> None:
    connection.data_received(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    connection.connection_lost(None)
    await settled()
    assert wire.sent == b""
