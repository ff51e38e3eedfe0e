"""The door: every HTTP port of a Crossfade process is opened, guarded and answered here, and nowhere else (ADR 0027).

A page that somebody has open in a browser may send requests to 127.0.0.1, and a name that they resolve may point there.
So, on each port alike:

Host            on loopback, only the names of loopback (421): a name that was rebound is none of them. With TLS the
                client has checked the name against our certificate.
Origin          absent or our own, and no browser says that another site asks (403)
Content-Type    application/json for whatever isn't a GET (415): no page can send that to another origin unasked

Without TLS only loopback is opened, unless the caller says that the pages are for everybody: health, metrics. Heads,
bodies, connections and the time that a request takes to arrive have limits. One request a connection: a prober, a
scraper and a person's command need no more, and a stop has nothing idle to wait for. The protocol is h11's.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

import h11
import msgspec
import structlog

from crossfade.core.values.errors import ConfigError, CrossfadeError, MigrationPaused
from crossfade.runtime.tls import TlsFiles, keep_fresh, server_context
from crossfade.runtime.urls import LOOPBACK, Address

log = structlog.get_logger()

JSON: Final = "application/json"
PARAMETERS: Final = 20
"""Of one query, at most."""

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


class Request(NamedTuple):
    """What was asked.

    Attributes:
        method: "GET", "POST".
        path: without the query, escaped as it was sent: "/passes/7".
        headers: by name in small letters.
        body: as sent.
        who: name of the client's certificate; "" where none is shown.
        query: what follows the "?", as sent: "class=stuck&limit=10".
        named: what stands in the place of each "{name}" of the route, unescaped.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    who: str = ""
    query: str = ""
    named: Mapping[str, str] = {}

    def fields(self) -> dict[str, Any]:
        """Return the body, an object of JSON; empty where nothing was sent.

        Raises:
            HttpRefused: 400, it is something else.
        """
        try:
            body = json.loads(self.body or b"{}")
        except ValueError as error:
            raise invalid("the body is not JSON") from error
        if not isinstance(body, dict):
            raise invalid("the body must be an object")
        return body

    def parameters(self, *known: str) -> dict[str, str]:
        """Return the query's parameters. One that nobody knows is refused: a misspelled filter would show everything.

        Args:
            known: names that this route takes.

        Raises:
            HttpRefused: 400, a name is unknown or given twice, or the query can't be decoded.
        """
        try:
            pairs = parse_qsl(self.query, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS)
        except ValueError as error:
            raise invalid(f"the query can't be read: {error}") from error
        given = dict(pairs)
        if unknown := sorted(given.keys() - set(known)):
            takes = f"takes {', '.join(known)}" if known else "takes no parameters"
            raise invalid(f"unknown parameter: {unknown[0][:80]!r}; {self.path} {takes}")
        if len(given) < len(pairs):
            raise invalid("a parameter is given more than once")
        return given


class Answer(NamedTuple):
    """What is answered."""

    status: HTTPStatus
    body: bytes
    content_type: str = JSON


Handler = Callable[[Request], Awaitable[Answer]]
Page = Callable[[], tuple[HTTPStatus, Any]]


class HttpRefused(Exception):
    """A request that isn't carried out.

    Attributes:
        status: of HTTP.
        code: for programs, "invalid_argument".
    """

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def invalid(message: str) -> HttpRefused:
    """Return the refusal of an argument that is wrong: 400. The message names it."""
    return HttpRefused(HTTPStatus.BAD_REQUEST, "invalid_argument", message)


def told(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """Return an answer of JSON."""
    return Answer(status, msgspec.json.encode(value))


def page(tell: Page) -> Handler:
    """Return what answers with a status and a value of JSON that are at hand."""

    async def answer(_request: Request) -> Answer:
        status, value = tell()
        return told(value, status)

    return answer


class Door:
    """Checks requests and has them answered; `listening` gives it a port."""

    def __init__(self, routes: Mapping[str, Handler], *, secure: bool = False, any_host: bool = False) -> None:
        """Say what there is.

        Args:
            routes: by method and path, "GET /parity"; a part of a path may be a "{name}": "POST /passes/{id}/cancel".
            secure: requests come by TLS.
            any_host: requests may name any host.
        """
        self.routes = dict(routes)
        self._scheme = "https" if secure else "http"
        self._any_host = secure or any_host

    async def answer(self, request: Request) -> Answer:
        """Answer a request, whatever it is."""
        try:
            self._judge(request)
            handler, named = self._found(request)
            return await handler(request._replace(named=named))
        except HttpRefused as error:
            return _failure(error.status, error.code, str(error))
        except CrossfadeError as error:
            paused = isinstance(error, MigrationPaused)
            status = HTTPStatus.CONFLICT if paused else HTTPStatus.SERVICE_UNAVAILABLE
            return _failure(status, error.code, str(error))
        except Exception:
            log.exception("request failed", path=request.path)
            return _failure(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "see the log of the service")

    def _judge(self, request: Request) -> None:
        host = request.headers.get("host", "")
        if not self._any_host and _name(host) not in LOOPBACK:
            raise HttpRefused(
                HTTPStatus.MISDIRECTED_REQUEST,
                "wrong_host",
                f"Host: {host[:80]!r} is not a loopback name: use 127.0.0.1 or localhost",
            )
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "none")
        if origin not in (None, f"{self._scheme}://{host}") or site not in ("none", "same-origin"):
            raise HttpRefused(HTTPStatus.FORBIDDEN, "wrong_origin", "pages of another origin may not call this service")
        sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method != "GET" and sent != JSON:
            raise HttpRefused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "wrong_content_type", f"Content-Type must be {JSON}: curl --json"
            )

    def _found(self, request: Request) -> tuple[Handler, dict[str, str]]:
        methods = []
        for route, handler in self.routes.items():
            method, _, path = route.partition(" ")
            named = _matched(path, request.path)
            if named is None:
                continue
            if method == request.method:
                return handler, named
            methods.append(method)
        if methods:
            raise HttpRefused(
                HTTPStatus.METHOD_NOT_ALLOWED, "wrong_method", f"{request.path}: {', '.join(methods)} only"
            )
        raise HttpRefused(HTTPStatus.NOT_FOUND, "not_found", f"available: {', '.join(self.routes)}")


@asynccontextmanager
async def listening(
    routes: Mapping[str, Handler],
    address: Address,
    *,
    tls: TlsFiles | None = None,
    for_all: bool = False,
    limits: Limits = USUAL,
) -> AsyncIterator[str]:
    """Serve until the context is left; yields the address, "127.0.0.1:8080".

    Args:
        routes: see `Door`.
        address: where.
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
    connections = _Connections(Door(routes, secure=tls is not None, any_host=beyond), limits)
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
            answer = _failure(HTTPStatus(error.error_status_hint), "bad_request", str(error))
        except HttpRefused as error:
            answer = _failure(error.status, error.code, str(error))
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

    def __init__(self, routes: Mapping[str, Handler], address: Address, *, name: str) -> None:
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


def _matched(route: str, path: str) -> dict[str, str] | None:
    """Return what stands in the place of each "{name}" of a route's path; None where the path is another.

    Raises:
        HttpRefused: 400, the path isn't escaped UTF-8.
    """
    wanted, given = route.split("/"), path.split("/")
    if len(wanted) != len(given):
        return None
    named = {}
    for want, part in zip(wanted, given, strict=True):
        if want.startswith("{") and part:
            try:
                named[want[1:-1]] = unquote(part, errors="strict")
            except ValueError as error:
                raise invalid(f"the path is not UTF-8, escaped by %: {part[:80]!r}") from error
        elif want != part:
            return None
    return named


def _name(host: str) -> str:
    """Return the name in "localhost:8080", "[::1]:8080"."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _named(certificate: dict[str, Any] | None) -> str:
    """Return the common name of a client's certificate, as ssl tells it."""
    subject = (certificate or {}).get("subject", ())
    return next((value for part in subject for name, value in part if name == "commonName"), "")


def _failure(status: HTTPStatus, code: str, message: str) -> Answer:
    return told({"error": {"code": code, "message": message}}, status)


def _spelled(connection: h11.Connection, answer: Answer) -> bytes:
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
    ]
    parts = [
        h11.Response(status_code=answer.status, headers=headers, reason=answer.status.phrase.encode()),
        h11.Data(data=answer.body),
        h11.EndOfMessage(),
    ]
    with suppress(h11.LocalProtocolError):  # a HEAD's answer has no body
        return b"".join(connection.send(each) or b"" for each in parts)
    return b""
