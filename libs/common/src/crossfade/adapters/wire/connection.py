"""One keep-alive HTTP/1.1 connection with at most one request in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, cast

import httptools

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Above any answer of DynamoDB or Kinesis (10 MB of records in base64); more is not buffered."""


class Answer(NamedTuple):
    """A whole HTTP response; header names are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class ConnectionBroken(Exception):
    """The connection ended before the whole answer was there.

    Attributes:
        before_answer: whether not even its first byte had come.
    """

    def __init__(self, message: str, *, before_answer: bool) -> None:
        super().__init__(message)
        self.before_answer = before_answer


class Connection(asyncio.Protocol):
    """A client connection; made by `loop.create_connection`."""

    def __init__(self, on_lost: Callable[[Connection], None], *, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        """Take whom to tell when the connection is gone, and how large an answer's body may be."""
        self._on_lost = on_lost
        self._max_answer_bytes = max_answer_bytes
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reply: asyncio.Future[Answer] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._size_bytes = 0
        self._answer_begun = False
        self._keep_alive = True
        self.served = 0
        self.idle_since_s = 0.0

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent."""
        transport = self._transport
        return self._keep_alive and self._reply is None and transport is not None and not transport.is_closing()

    async def exchange(self, request: bytes) -> Answer:
        """Send one request and return its answer.

        Raises:
            ConnectionBroken: no whole, readable answer came. The connection can't be used again.
        """
        transport = self._transport
        if transport is None or not self.reusable:
            raise ConnectionBroken("the connection is closed", before_answer=True)
        reply: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._reply = reply
        self._answer_begun = False
        transport.write(request)
        # A cancelled wait leaves `_reply` set: no other request is sent before this one's late answer was dropped.
        return await reply

    def abort(self) -> None:
        """Drop the connection at once."""
        self._keep_alive = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # Not isinstance: uvloop's transports aren't subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request in flight and tell the pool."""
        self._keep_alive = False
        self._fail(f"connection closed by the server ({exc or 'end of stream'})")
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        if self._reply is None:
            self.abort()  # nothing was asked: a server's farewell, or an answer nobody waits for
            return
        self._answer_begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"unreadable HTTP answer: {error}")
            self.abort()

    def on_message_begin(self) -> None:
        """Doubt the connection when an answer begins that nobody asked for (called by the parser)."""
        if self._reply is None:
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header (called by the parser)."""
        self._headers[name.lower()] = value

    def on_body(self, chunk: bytes) -> None:
        """Keep a piece of the body (called by the parser)."""
        self._size_bytes += len(chunk)
        if self._size_bytes > self._max_answer_bytes:
            self._fail(f"an answer above {self._max_answer_bytes} bytes")
            self.abort()
            return
        self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        """Hand over the answer (called by the parser)."""
        status, headers, chunks = self._parser.get_status_code(), self._headers, self._chunks
        self._headers, self._chunks, self._size_bytes = {}, [], 0
        if status < 200:
            return  # an interim response: the real one follows
        if not self._parser.should_keep_alive():
            self._keep_alive = False
        reply, self._reply = self._reply, None
        if reply is not None and not reply.done():
            self.served += 1
            reply.set_result(Answer(status, headers, chunks[0] if len(chunks) == 1 else b"".join(chunks)))

    def _fail(self, message: str) -> None:
        reply, self._reply = self._reply, None
        if reply is not None and not reply.done():
            reply.set_exception(ConnectionBroken(message, before_answer=not self._answer_begun))
