"""A scripted HTTP server on loopback, and a wire client that talks to it without waiting between attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, NamedTuple

import pytest
import uvloop

from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.adapters.wire.client import Permit

KEYS = Credentials("AKIDEXAMPLE", "secret", "token")
NOW_S = 1_790_000_000.0

Run = Callable[[Coroutine[Any, Any, None]], None]


class Request(NamedTuple):
    line: str
    headers: dict[str, str]
    body: bytes
    connection: int


Reply = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def http(body: bytes, *, status: str = "200 OK", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def says(*answers: bytes) -> Reply:
    """Give these answers in turn, the last one forever."""
    left = list(answers)

    async def reply(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return reply


class Server:
    """Reads whole requests and lets a script answer."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.requests: list[Request] = []
        self.connections = 0
        self.open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in list(self.open):
            writer.transport.abort()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self.open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *rest = head.strip().split("\r\n")
                headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in rest)}
                body = await reader.readexactly(int(headers["content-length"]))
                request = Request(line, headers, body, number)
                self.requests.append(request)
                await self.reply(request, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()


class Waits:
    """Takes the place of sleeping between attempts."""

    def __init__(self) -> None:
        self.s: list[float] = []

    async def __call__(self, delay_s: float) -> None:
        self.s.append(delay_s)


def client(
    server: Server,
    waits: Waits | None = None,
    now: Callable[[], float] = lambda: NOW_S,
    permit: Permit | None = None,
    **config: Any,
) -> Wire:
    return Wire(
        "dynamodb",
        WireConfig("us-east-1", server.url, **config),
        StaticCredentials(KEYS),
        now=now,
        sleep=waits or Waits(),
        jitter=lambda: 1.0,
        permit=permit,
    )


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run a coroutine on the loop named by the parameter."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield lambda main: runner.run(asyncio.wait_for(main, 20))


OK = http(b'{"ok":1}')
