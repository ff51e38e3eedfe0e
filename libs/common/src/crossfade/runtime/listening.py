"""Ports: requests are read from connections, and what a door answers is written (`crossfade.runtime.http`, ADR 0027).

Without TLS only loopback is opened, unless the caller says that the pages are for everybody: health, metrics. Heads,
bodies, connections and the time that a request takes to arrive have limits. One request a connection: a prober, a
scraper and a person's command need no more, and a stop has nothing idle to wait for. The protocol is h11's.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import h11

from crossfade.core.values.errors import ConfigError
from crossfade.runtime.http import Access, Answer, Door, HttpRefused, Request, Route, failure
from crossfade.runtime.tls import TlsFiles, keep_fresh, server_context
from crossfade.runtime.urls import LOOPBACK, Address

STOP_S: Final = 2.0
"""How long running requests may take after a stop."""


class Limits(NamedTuple):
    """The limits of one port.

    Attributes:
        head_bytes: of the request line and the headers.
        body_bytes: of the body.
        read_s: in which a request arrives whole, and its answer is taken.
        connections: at a time; one more is closed immediately.
    """

    head_bytes: int = 16_384
    body_bytes: int = 1_048_576
    read_s: float = 5.0
    connections: int = 128


USUAL: Final = Limits()


@asynccontextmanager
async def listening(
    routes: Mapping[str, Route],
    address: Address,
    *,
    access: Access | None = None,
    tls: TlsFiles | None = None,
    for_all: bool = False,
    limits: Limits = USUAL,
) -> AsyncIterator[str]:
    """Serve until the context is left; yields the address, "127.0.0.1:8080".

    Args:
        routes: see `Door`.
        address: where.
        access: finds out who asks; None where every route is for anyone.
        tls: makes it HTTPS, for clients with a certificate of ours.
        for_all: may listen beyond loopback without TLS: what it shows is not secret, or nobody else can reach it.
        limits: what it takes.

    Raises:
        ConfigError: the port is taken, the certificates can't be read, or everybody could reach it.
    """
    beyond = address.host not in LOOPBACK
    if beyond and tls is None and not for_all:
        raise ConfigError(f"{address.setting}={address.port}: only loopback without TLS, not {address.host}")
    context = server_context(tls) if tls else None
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise ConfigError(
            f"{address.setting}={address.port}: can't listen on {address.host}: {error.strerror}"
        ) from error
    connections = _Connections(Door(routes, access=access, secure=tls is not None, any_host=beyond), limits)
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(
            connections.serve,
            sock=listener,
            limit=limits.head_bytes,
            ssl=context,
            ssl_handshake_timeout=limits.read_s if context else None,
        )
        stack.push_async_callback(connections.close)
        stack.callback(server.close)
        if tls and context:
            stack.callback(asyncio.create_task(keep_fresh(tls, context)).cancel)
        host, port = listener.getsockname()[:2]
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Connections:
    """Reads one request of each connection, and writes its answer."""

    def __init__(self, door: Door, limits: Limits) -> None:
        self._door, self._limits = door, limits
        self._reading: set[asyncio.Task[Any]] = set()
        self._answering: set[asyncio.Task[Any]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        try:
            if task is not None and len(self._reading) + len(self._answering) < self._limits.connections:
                self._reading.add(task)
                await self._serve(reader, writer, task)
        except (TimeoutError, OSError, asyncio.CancelledError):
            pass  # the client's affair, or the door is closed
        finally:
            self._reading.discard(task)
            self._answering.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[Any]) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.head_bytes)
        try:
            async with asyncio.timeout(self._limits.read_s):
                request = await self._read(connection, reader, _named(writer.get_extra_info("peercert")))
        except h11.RemoteProtocolError as error:
            answer = failure(HTTPStatus(error.error_status_hint), "bad_request", str(error))
        except HttpRefused as error:
            answer = failure(error.status, error.code, str(error), error.headers)
        else:
            if request is None:
                return
            self._reading.discard(task)
            self._answering.add(task)
            answer = await self._door.answer(request)
        if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            async with asyncio.timeout(self._limits.read_s):
                writer.write(_spelled(connection, answer))
                await writer.drain()

    async def _read(self, connection: h11.Connection, reader: asyncio.StreamReader, who: str) -> Request | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(self._limits.head_bytes))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._limits.body_bytes:
                    raise HttpRefused(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                        "too_large",
                        f"a body has at most {self._limits.body_bytes} bytes",
                    )
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
                if [name for name, _ in head.headers].count(b"authorization") > 1:
                    raise HttpRefused(HTTPStatus.BAD_REQUEST, "bad_request", "Authorization: send it once")
                path, _, query = head.target.decode("latin-1").partition("?")
                return Request(head.method.decode("latin-1"), path, headers, bytes(body), who, query)
            else:
                return None

    async def close(self) -> None:
        """End what is being read at once, and what is being answered in STOP_S."""
        for task in self._reading:
            task.cancel()
        if self._answering:
            _, late = await asyncio.wait(self._answering, timeout=STOP_S)
            for task in late:
                task.cancel()


class DoorInThread:
    """A door in a thread of its own: it answers even while the process's event loop is busy."""

    def __init__(self, routes: Mapping[str, Route], address: Address, *, name: str) -> None:
        """Open the port, for everybody (`listening`).

        Raises:
            ConfigError: it is taken.
        """
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        threading.Thread(target=self._loop.run_forever, name=name, daemon=True).start()
        try:
            self.address = self._done(self._stack.enter_async_context(listening(routes, address, for_all=True)))
        except ConfigError:
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise

    def _done(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Close the port."""
        self._done(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)


def _named(certificate: dict[str, Any] | None) -> str:
    """Return the common name of a client's certificate, as ssl tells it."""
    subject = (certificate or {}).get("subject", ())
    return next((value for part in subject for name, value in part if name == "commonName"), "")


def _spelled(connection: h11.Connection, answer: Answer) -> bytes:
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
        *answer.headers.items(),
    ]
    parts = [
        h11.Response(status_code=answer.status, headers=headers, reason=answer.status.phrase.encode()),
        h11.Data(data=answer.body),
        h11.EndOfMessage(),
    ]
    with suppress(h11.LocalProtocolError):  # a HEAD's answer has no body
        return b"".join(connection.send(each) or b"" for each in parts)
    return b""
