"""A small HTTP/1.1 server: what can be answered at once is answered at once, all else goes to an ASGI application.

An ASGI server makes a task, two queues and a dictionary of every request, which together cost more than
most requests to the emulator. Here a request that needs no waiting is answered within the call that
brought its last byte. Connections stay open as long as the client wants.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, NamedTuple, cast

import httptools

from localaws.dates import clock

Message = dict[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

LARGEST_BODY_BYTES = 256 * 1024 * 1024
NO_BODY = (204, 304)


class Request(NamedTuple):
    """A whole request; header names are in lower case."""

    method: str
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes


Quick = Callable[[Request], bytes | None]
"""Returns the whole response, or None when the application is to answer."""


Held = Callable[[Request], Awaitable[None] | None]
"""Returns what a request waits for before it is looked at, or None when it isn't held."""


def response(status: int, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> bytes:
    """Return the bytes of a whole response with its length and date."""
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, _phrase(status)), b"content-length: %d\r\n" % len(body), clock.line()]
    lines += [b"%s: %s\r\n" % header for header in headers]
    return b"%s\r\n%s" % (b"".join(lines), body)


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


class Connection(asyncio.Protocol):
    """One connection: parses requests and answers them in order."""

    def __init__(
        self, quick: Quick, application: Application, open_connections: set[Connection], held: Held | None = None
    ) -> None:
        """Answer by `quick`, else by `application`; be one of `open_connections` while open; hold what `held` says."""
        self._held = held
        self._is_held = False
        self._quick = quick
        self._application = application
        self._open = open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport | None = None
        self._start()

    def _start(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size_bytes = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the `on_` methods."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(400)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # the protocol's signature
        """Give up what still runs for this client."""
        self._open.discard(self)
        self.transport = None
        if self._task is not None and not self._is_held:
            self._task.cancel()

    # httptools

    def on_url(self, url: bytes) -> None:
        """Take the request target, which may come in pieces."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a repeated one carries a list."""
        name = name.lower()
        known = self._headers.get(name)
        self._headers[name] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        """Tell a client that waits for it to send the body."""
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._size_bytes += len(body)
        if self._size_bytes > LARGEST_BODY_BYTES:
            self._refuse(413)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer the request, or queue it behind the one that is being answered."""
        method = self._parser.get_method().decode()
        request = Request(method, self._target, self._headers, b"".join(self._body))
        keep_alive = self._parser.should_keep_alive()
        self._start()
        if self._task is None:
            self._answer(request, keep_alive)
        else:
            self._waiting.append((request, keep_alive))

    # ours

    def _answer(self, request: Request, keep_alive: bool) -> None:
        if self._held is not None and (hold := self._held(request)) is not None:
            self._is_held = True
            self._task = asyncio.get_running_loop().create_task(self._answer_late(hold, request, keep_alive))
        else:
            self._answer_now(request, keep_alive)

    async def _answer_late(self, hold: Awaitable[None], request: Request, keep_alive: bool) -> None:
        """Carry out a request that was on its way for long; whoever sent it may have gone."""
        await hold
        self._task, self._is_held = None, False
        self._answer_now(request, keep_alive)

    def _answer_now(self, request: Request, keep_alive: bool) -> None:
        if (quick := self._quick(request)) is not None:
            self._write(quick)
            self._finish(keep_alive)
        else:
            self._task = asyncio.get_running_loop().create_task(self._answer_slowly(request, keep_alive))

    async def _answer_slowly(self, request: Request, keep_alive: bool) -> None:
        try:
            await _Exchange(request, self._write).run(self._application)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self._refuse(500)
        finally:
            self._task = None
        self._finish(keep_alive)

    def _finish(self, keep_alive: bool) -> None:
        if not keep_alive and self.transport is not None:
            self.transport.close()
        elif self._waiting and self.transport is not None:
            self._answer(*self._waiting.popleft())

    def _refuse(self, status: int) -> None:
        if self.transport is not None:
            self.transport.write(response(status, [(b"connection", b"close")]))
            self.transport.close()

    def _write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)


class _Exchange:
    """One request as an ASGI application sees it."""

    def __init__(self, request: Request, write: Callable[[bytes], None]) -> None:
        self._request = request
        self._write = write
        self._received = False
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self._started = False
        self._chunked = False

    async def run(self, application: Application) -> None:
        path, _, query = self._request.target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self._request.method,
            "scheme": "http",
            "path": _unquoted(path),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(self._request.headers.items()),
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 0),
        }
        await application(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._received:
            await asyncio.Event().wait()  # until the client has gone, which cancels the task
        self._received = True
        return {"type": "http.request", "body": self._request.body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            self._send_body(message.get("body", b""), more=message.get("more_body", False))

    def _send_body(self, body: bytes, *, more: bool) -> None:
        if not self._started:
            self._start(body, more=more)
        elif self._chunked:
            self._write(b"%x\r\n%s\r\n" % (len(body), body) if body else b"")
        else:
            self._write(body)
        if self._chunked and not more:
            self._write(b"0\r\n\r\n")

    def _start(self, body: bytes, *, more: bool) -> None:
        self._started = True
        bodiless = self._request.method == "HEAD" or self._status in NO_BODY
        sized = any(name.lower() == b"content-length" for name, _ in self._headers)
        self._chunked = more and not sized and not bodiless
        headers = [header for header in self._headers if header[0].lower() != b"date"]
        if self._chunked:
            headers.append((b"transfer-encoding", b"chunked"))
            body = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
        elif not sized and self._status not in NO_BODY:
            headers.append((b"content-length", b"%d" % len(body)))
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        head = b"HTTP/1.1 %d %s\r\n%s%s\r\n" % (self._status, _phrase(self._status), clock.line(), lines)
        self._write(head if bodiless else head + body)


def _unquoted(path: bytes) -> str:
    from urllib.parse import unquote

    return unquote(path.decode("ascii"))
