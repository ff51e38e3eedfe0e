"""One connection: one answer to one request, and no use of it once it can't be trusted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crossfade.adapters.wire.connection import Answer, Connection, ConnectionBroken


class Line(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = False
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Talk:
    """A connection, its line, and the connections that were reported lost."""

    def __init__(self, *, max_answer_bytes: int = 1000) -> None:
        self.lost: list[Connection] = []
        self.line = Line()
        self.connection = Connection(self.lost.append, max_answer_bytes=max_answer_bytes)
        self.connection.connection_made(self.line)

    async def ask(self) -> asyncio.Task[Answer]:
        task = asyncio.create_task(self.connection.exchange(b"request"))
        await asyncio.sleep(0)
        return task

    def hear(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.connection.data_received(piece)


async def test_an_interim_response_is_not_the_answer() -> None:
    talk = Talk()
    asked = await talk.ask()
    talk.hear(b"HTTP/1.1 100 Continue\r\n\r\n", OK)
    answer = await asked
    assert (answer.status, answer.body) == (200, b"{}")
    assert talk.connection.reusable


async def test_the_beginning_of_a_second_answer_makes_the_connection_useless_not_the_next_answer_wrong() -> None:
    talk = Talk()
    asked = await talk.ask()
    talk.hear(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nst")
    assert (await asked).body == b"{}"
    assert not talk.connection.reusable


async def test_words_at_rest_end_the_connection() -> None:
    talk = Talk()
    asked = await talk.ask()
    talk.hear(OK)
    await asked
    talk.hear(b"HTTP/1.1 408 Request Timeout\r\n")
    assert talk.line.closing
    assert not talk.connection.reusable


async def test_an_answer_above_the_bound_is_not_kept() -> None:
    talk = Talk(max_answer_bytes=10)
    asked = await talk.ask()
    talk.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x" * 8, b"x" * 8)
    with pytest.raises(ConnectionBroken, match="above 10 bytes"):
        await asked
    assert talk.line.closing


@pytest.mark.parametrize(("heard", "before_answer"), [((), True), ((b"HTTP/1.1 2",), False), ((OK[:-1],), False)])
async def test_a_lost_connection_tells_whether_an_answer_had_begun(
    heard: tuple[bytes, ...], before_answer: bool
) -> None:
    talk = Talk()
    for _ in range(2):  # the second time on a connection that has answered before
        asked = await talk.ask()
        if not talk.connection.served:
            talk.hear(OK)
            await asked
    talk.hear(*heard)
    talk.connection.connection_lost(None)
    with pytest.raises(ConnectionBroken) as broken:
        await asked
    assert broken.value.before_answer is before_answer
    assert talk.lost == [talk.connection]
    assert not talk.connection.reusable


async def test_a_late_answer_to_a_request_given_up_is_never_the_answer_to_the_next() -> None:
    talk = Talk()
    asked = await talk.ask()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not talk.connection.reusable
    with pytest.raises(ConnectionBroken):
        await talk.connection.exchange(b"too early")
    talk.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
    asked = await talk.ask()
    talk.hear(OK)
    assert (await asked).body == b"{}"


async def test_two_requests_at_once_are_refused_and_the_second_never_sent() -> None:
    talk = Talk()
    first = await talk.ask()
    with pytest.raises(ConnectionBroken):
        await talk.connection.exchange(b"second")
    assert talk.line.written == [b"request"]
    talk.hear(OK)
    assert (await first).status == 200


async def test_a_closed_connection_takes_no_request() -> None:
    talk = Talk()
    talk.connection.abort()
    with pytest.raises(ConnectionBroken):
        await talk.connection.exchange(b"request")
    assert talk.line.written == []
