"""The door: requests at every HTTP port of a Crossfade process are judged and answered here alone (ADR 0027).

A page that somebody has open in a browser may send requests to 127.0.0.1, and a name that they resolve may point there.
So, on each port alike:

Host            on loopback, only the names of loopback (421): a name that was rebound is none of them. With TLS the
                client has checked the name against our certificate.
Origin          absent or our own, and no browser says that another site asks (403)
Content-Type    application/json for whatever isn't a GET (415): no page can send that to another origin unasked
Role            each route names the lowest that may ask (403); the door's `Access` finds out who asks (401; ADR 0039)

`crossfade.runtime.listening` gives a door its port.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote

import msgspec
import structlog

from crossfade.core.values.errors import ConfigError, CrossfadeError, MigrationPaused
from crossfade.runtime.roles import Caller, Role
from crossfade.runtime.urls import LOOPBACK

log = structlog.get_logger()

JSON: Final = "application/json"
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
LONGEST_NAME: Final = 100
NOBODY: Final = "somebody"
"""Who asks where nothing says it: the user of this machine, by a program that doesn't tell."""

PARAMETERS: Final = 20
"""Of one query, at most."""


class Request(NamedTuple):
    """What was asked.

    Attributes:
        method: "GET", "POST".
        path: without the query, escaped as it was sent: "/passes/7".
        headers: by name in small letters.
        body: as sent.
        who: asks, by the token or else by the client's certificate; "" where neither is shown.
        query: what follows the "?", as sent: "class=stuck&limit=10".
        named: what stands in the place of each "{name}" of the route, unescaped.
        role: of who asks.
        how: which setting would give them more.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    who: str = ""
    query: str = ""
    named: Mapping[str, str] = NOTHING
    role: Role = Role.ANYONE
    how: str = ""

    def demand(self, role: Role, to: str) -> None:
        """Make sure that who asks has a role, where a part of an answer needs more than its route does.

        Args:
            role: the lowest that may.
            to: what for: "POST /passes", "revealing values".

        Raises:
            HttpRefused: 403, they don't have it.
        """
        if self.role >= role:
            return
        needed, who = role.name.lower(), self.who or "who asks"
        has = f"{who} is a {self.role.name.lower()}" if self.role else f"{who} has no role"
        raise HttpRefused(
            HTTPStatus.FORBIDDEN,
            "wrong_role",
            f"{to} needs the role {needed}; {has}" + (f": {self.how}" if self.how else ""),
            {"WWW-Authenticate": f'Bearer realm="crossfade", error="insufficient_scope", scope="{needed}"'},
        )

    def name(self, said: str) -> str:
        """Return who asks, for records and the journal: a name that was proven wins over one that is only said.

        Args:
            said: what they call themselves; "" for nothing.

        Raises:
            HttpRefused: 400, that is not a name.
        """
        if len(said) > LONGEST_NAME or not said.isprintable():
            raise invalid(f"who: must be a name of {LONGEST_NAME} printable characters at most")
        return self.who or said or NOBODY

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
    headers: Mapping[str, str] = NOTHING


Handler = Callable[[Request], Awaitable[Answer]]
Page = Callable[[], tuple[HTTPStatus, Any]]


class Route(NamedTuple):
    """What a door opens to.

    Attributes:
        handler: answers.
        role: the lowest that may ask.
    """

    handler: Handler
    role: Role


class Access(Protocol):
    """Finds out who asks; `crossfade.runtime.access` has those that there are."""

    async def caller(self, certificate: str, authorization: str | None) -> Caller:
        """Return who asks.

        Args:
            certificate: name of the client's; "" where none is shown.
            authorization: the header of this name; None without one.

        Raises:
            HttpRefused: 401, a token is missing or isn't good; 503, nobody can tell now.
        """
        ...


class HttpRefused(Exception):
    """A request that isn't carried out.

    Attributes:
        status: of HTTP.
        code: for programs, "invalid_argument".
        headers: of the answer.
    """

    def __init__(self, status: HTTPStatus, code: str, message: str, headers: Mapping[str, str] = NOTHING) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers


def invalid(message: str) -> HttpRefused:
    """Return the refusal of an argument that is wrong: 400. The message names it."""
    return HttpRefused(HTTPStatus.BAD_REQUEST, "invalid_argument", message)


def told(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """Return an answer of JSON."""
    return Answer(status, msgspec.json.encode(value))


def anyone(handler: Handler) -> Route:
    """Return a route for everybody: health and metrics, which show no secret."""
    return Route(handler, Role.ANYONE)


def viewer(handler: Handler) -> Route:
    """Return a route that shows the migration, and no customer's values."""
    return Route(handler, Role.VIEWER)


def operator(handler: Handler) -> Route:
    """Return a route that changes something, costs something, or shows customers' values."""
    return Route(handler, Role.OPERATOR)


def page(tell: Page) -> Handler:
    """Return what answers with a status and a value of JSON that are at hand."""

    async def answer(_request: Request) -> Answer:
        status, value = tell()
        return told(value, status)

    return answer


class Door:
    """Checks requests and has them answered; `listening` gives it a port."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        *,
        access: Access | None = None,
        secure: bool = False,
        any_host: bool = False,
    ) -> None:
        """Say what there is.

        Args:
            routes: by method and path, "GET /parity"; a part of a path may be a "{name}": "POST /passes/{id}/cancel".
            access: finds out who asks; None where every route is for anyone.
            secure: requests come by TLS.
            any_host: requests may name any host.

        Raises:
            ConfigError: a route needs a role, and nothing finds out who asks.
        """
        if access is None and any(route.role is not Role.ANYONE for route in routes.values()):
            raise ConfigError("a door whose routes need roles needs an `Access`, which finds out who asks")
        self.routes, self._access = dict(routes), access
        self._scheme = "https" if secure else "http"
        self._any_host = secure or any_host

    async def answer(self, request: Request) -> Answer:
        """Answer a request, whatever it is."""
        try:
            self._judge(request)
            route, named = self._found(request)
            return await route.handler(await self._permitted(request._replace(named=named), route.role))
        except HttpRefused as error:
            return failure(error.status, error.code, str(error), error.headers)
        except CrossfadeError as error:
            paused = isinstance(error, MigrationPaused)
            status = HTTPStatus.CONFLICT if paused else HTTPStatus.SERVICE_UNAVAILABLE
            return failure(status, error.code, str(error))
        except Exception:
            log.exception("request failed", path=request.path)
            return failure(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "see the log of the service")

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

    async def _permitted(self, request: Request, role: Role) -> Request:
        """Return the request with who asks."""
        if role is Role.ANYONE or self._access is None:
            return request
        who, has, how = await self._access.caller(request.who, request.headers.get("authorization"))
        known = request._replace(who=who, role=has, how=how)
        known.demand(role, f"{request.method} {request.path}")
        return known

    def _found(self, request: Request) -> tuple[Route, dict[str, str]]:
        methods = []
        for title, route in self.routes.items():
            method, _, path = title.partition(" ")
            named = _matched(path, request.path)
            if named is None:
                continue
            if method == request.method:
                return route, named
            methods.append(method)
        if methods:
            raise HttpRefused(
                HTTPStatus.METHOD_NOT_ALLOWED, "wrong_method", f"{request.path}: {', '.join(methods)} only"
            )
        raise HttpRefused(HTTPStatus.NOT_FOUND, "not_found", f"available: {', '.join(self.routes)}")


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


def failure(status: HTTPStatus, code: str, message: str, headers: Mapping[str, str] = NOTHING) -> Answer:
    """Return the answer of what isn't carried out: one form for all."""
    return told({"error": {"code": code, "message": message}}, status)._replace(headers=headers)
