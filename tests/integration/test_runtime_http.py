"""The door: on loopback, guarded alike for every service, bounded, and not to be upset."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import pytest

from crossfade.core.values.errors import ConfigError, MigrationPaused, StoreUnavailable
from crossfade.runtime.access import ByCertificate
from crossfade.runtime.http import Answer, Door, Request, anyone, operator, page, told, viewer
from crossfade.runtime.http_client import call_json
from crossfade.runtime.listening import DoorInThread, Limits, listening
from crossfade.runtime.roles import Certificates
from crossfade.runtime.urls import Address

USUAL = Limits()
QUICK = Limits(head_bytes=4096, body_bytes=100, read_s=0.3, connections=2)
LOOPBACK = Address("127.0.0.1", 0)


async def echo(request: Request) -> Answer:
    return told({"path": request.path, "named": request.named, "given": request.fields()})


async def filtered(request: Request) -> Answer:
    return told(request.parameters("class", "after"))


async def slow(_request: Request) -> Answer:
    await asyncio.sleep(0.3)
    return told("done")


async def paused(_request: Request) -> Answer:
    raise MigrationPaused("paused by an operator")


async def broken(_request: Request) -> Answer:
    raise RuntimeError("nobody thought of this")


ROUTES = {
    "GET /status": anyone(page(lambda: (HTTPStatus.OK, {"phase": "RAMPING", "text": "Grüße"}))),
    "GET /readyz": anyone(page(lambda: (HTTPStatus.SERVICE_UNAVAILABLE, {"driving": False}))),
    "GET /passes/{id}": anyone(echo),
    "POST /passes": anyone(echo),
    "POST /passes/{id}/cancel": anyone(echo),
    "GET /buckets/{bucket}/keys/{key}": anyone(echo),
    "GET /differences": anyone(filtered),
    "POST /slow": anyone(slow),
    "POST /paused": anyone(paused),
    "POST /broken": anyone(broken),
}


@asynccontextmanager
async def opened(limits: Limits = USUAL) -> AsyncIterator[str]:
    async with listening(ROUTES, LOOPBACK, limits=limits) as address:
        yield address


async def sent(address: str, data: bytes, *, then: bytes = b"") -> bytes:
    """Send bytes as they are, and return all that comes back."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        if then:
            await asyncio.sleep(0.1)
            writer.write(then)
        with suppress(ConnectionResetError):
            return await reader.read()
        return b""
    finally:
        writer.close()


def post(path: str, body: bytes = b"{}", /, **headers: str) -> bytes:
    given = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))} | headers
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def status(answered: bytes) -> int:
    return int(answered.split(b" ", 2)[1])


def code(answered: bytes) -> Any:
    return json.loads(answered.partition(b"\r\n\r\n")[2])["error"]["code"]


# ---- what is answered ------------------------------------------------------------------------------


async def test_a_page_is_json_and_a_query_does_not_matter() -> None:
    async with opened() as address:
        assert await call_json(f"http://{address}/status") == {"phase": "RAMPING", "text": "Grüße"}
        assert status(await sent(address, b"GET /status?x=1 HTTP/1.1\r\nHost: localhost:80\r\n\r\n")) == 200
        assert (await call_json(f"http://{address}/passes/7"))["named"] == {"id": "7"}
        assert (await call_json(f"http://{address}/passes", {"a": 1}))["given"] == {"a": 1}


async def test_a_path_names_several_parts_and_a_key_arrives_unescaped() -> None:
    async with opened() as address:
        key = '[{"S":"ART#7/ü"},{"S":"SHOP#1 +"}]'
        answered = await call_json(f"http://{address}/buckets/17/keys/{quote(key, safe='')}")
        assert answered["named"] == {"bucket": "17", "key": key}
        cancelled = await call_json(f"http://{address}/passes/a-7/cancel", {})
        assert cancelled["named"] == {"id": "a-7"}
        assert cancelled["path"] == "/passes/a-7/cancel"


async def test_a_query_is_decoded_and_a_parameter_nobody_knows_is_refused() -> None:
    async with opened() as address:
        key = '[{"S":"a&b=c"}]'
        assert await call_json(f"http://{address}/differences?class=stuck&after={quote(key)}") == {
            "class": "stuck",
            "after": key,
        }
        assert await call_json(f"http://{address}/differences?after=") == {"after": ""}
        for query, why in {
            "clas=stuck": "unknown parameter: 'clas'; /differences takes class, after",
            "class=a&class=b": "a parameter is given more than once",
            "class=%ff": "the query can't be read",
            "&".join("after=1" for _ in range(21)): "the query can't be read",
        }.items():
            with pytest.raises(StoreUnavailable, match=f"answered 400: invalid_argument: {why}"):
                await call_json(f"http://{address}/differences?{query}")


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/readyz", None, "answered 503"),
        ("/nope", None, "answered 404: not_found: available: GET /status"),
        ("/passes/7/8", None, "answered 404"),
        ("/passes/", None, "answered 404"),
        ("/passes//cancel", {}, "answered 404"),
        ("/passes/7/cancel", None, "answered 405: wrong_method: /passes/7/cancel: POST only"),
        ("/passes/%ff", None, "answered 400: invalid_argument: the path is not UTF-8"),
        ("/status", {}, "answered 405: wrong_method: /status: GET only"),
        ("/paused", {}, "answered 409: paused: paused by an operator"),
        ("/broken", {}, "answered 500: internal"),
        ("/passes", [1], "answered 400: invalid_argument: the body must be an object"),
    ],
)
async def test_what_is_no_answer_has_its_status_code_and_reason(path: str, body: object, told: str) -> None:
    async with opened() as address:
        with pytest.raises(StoreUnavailable, match=told):
            await call_json(f"http://{address}{path}", body)


# ---- who may ask -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Content_Type": "text/plain", "Origin": "https://elsewhere.example"}, "wrong_origin"),
        ({"Content_Type": "text/plain"}, "wrong_content_type"),
        ({"Content_Type": "application/x-www-form-urlencoded"}, "wrong_content_type"),
        ({"Origin": "https://elsewhere.example"}, "wrong_origin"),
        ({"Origin": "null"}, "wrong_origin"),
        ({"Sec_Fetch_Site": "cross-site"}, "wrong_origin"),
        ({"Host": "elsewhere.example"}, "wrong_host"),
        ({"Host": "localhost.elsewhere.example:8080"}, "wrong_host"),
    ],
)
async def test_a_page_of_another_origin_is_refused(headers: dict[str, str], expected: str) -> None:
    async with opened() as address:
        assert code(await sent(address, post("/passes", **headers))) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "127.0.0.1:80", "Origin": "http://127.0.0.1:80"},
        {"Host": "[::1]:80", "Sec_Fetch_Site": "same-origin"},
        {"Content_Type": "application/json; charset=utf-8"},
    ],
)
async def test_a_command_and_a_page_of_our_own_are_served(headers: dict[str, str]) -> None:
    async with opened() as address:
        assert status(await sent(address, post("/passes", **headers))) == 200


async def test_without_tls_only_loopback_is_opened_unless_it_is_for_everybody() -> None:
    everywhere = Address("0.0.0.0", 0, "CROSSFADE_HTTP_PORT")  # noqa: S104 - refused, and then of this machine only
    with pytest.raises(ConfigError, match=r"CROSSFADE_HTTP_PORT=0: only loopback without TLS, not 0\.0\.0\.0"):
        async with listening(ROUTES, everywhere):
            pass


async def test_pages_for_everybody_are_served_whatever_the_host_is_called() -> None:
    own = Address("127.0.0.2", 0)  # no name of loopback for the door, and reached by nobody else
    async with listening(ROUTES, own, for_all=True) as address:
        assert status(await sent(address, b"GET /status HTTP/1.1\r\nHost: replicator-0:8081\r\n\r\n")) == 200


# ---- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET /status HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (post("/passes", b'{"a":"' + b"x" * 200 + b'"}'), 413),
        (b"GET /status HTTP/1.1\r\n\r\n", 400),
        (b"GET /status HTTP/1.1\r\nHost: localhost\r\nHost: elsewhere.example\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
    ],
)
async def test_what_is_too_much_or_no_http_is_refused(data: bytes, expected: int) -> None:
    async with opened(QUICK) as address:
        assert status(await sent(address, data)) == expected


@pytest.mark.parametrize("data", [b"", b"GET /status", post("/passes")[:-1]])
async def test_a_request_that_does_not_arrive_is_not_waited_for(data: bytes) -> None:
    async with opened(QUICK) as address:
        started_s = time.monotonic()
        assert await sent(address, data) == b""
        assert time.monotonic() - started_s < 3


async def test_more_connections_than_allowed_are_closed_and_the_others_are_served() -> None:
    async with opened(QUICK) as address:
        halves = [asyncio.create_task(sent(address, b"GET /sta", then=b"tus HTTP/1.1\r\nHost: localhost\r\n\r\n"))]
        halves.append(asyncio.create_task(sent(address, post("/slow"))))
        await asyncio.sleep(0.05)
        assert await sent(address, b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
        assert [status(await each) for each in halves] == [200, 200]
        assert await call_json(f"http://{address}/status")


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"GET\r\n\r\n", b"\x00" * 20_000, b"GET /status", b""])
async def test_nonsense_ends_its_own_connection_only(data: bytes) -> None:
    async with opened() as address:
        host, _, port = address.partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        writer.close()
        assert (await call_json(f"http://{address}/status"))["phase"] == "RAMPING"


async def test_a_stop_answers_what_is_in_work_and_waits_for_nobody_who_says_nothing() -> None:
    async with opened() as address:
        answering = asyncio.create_task(sent(address, post("/slow")))
        silent = asyncio.create_task(sent(address, b""))
        await asyncio.sleep(0.1)
        started_s = time.monotonic()
    assert status(await answering) == 200
    assert await silent == b""
    assert time.monotonic() - started_s < 2


async def test_a_door_in_a_thread_answers_while_the_loop_is_busy_and_closes() -> None:
    door = DoorInThread(ROUTES, LOOPBACK, name="metrics")
    asked = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(call_json(f"http://{door.address}/status"))))
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 - the loop is busy
    assert asked.done() or await asked
    door.close()
    with pytest.raises(StoreUnavailable):
        await call_json(f"http://{door.address}/status", timeout_s=0.5)


# ---- asking ----------------------------------------------------------------------------------------


async def test_a_service_that_is_not_there_or_never_answers_is_unavailable() -> None:
    silent = await asyncio.start_server(lambda _r, _w: asyncio.sleep(5), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    with pytest.raises(StoreUnavailable, match="/parity: TimeoutError"):
        await call_json(f"http://127.0.0.1:{port}/parity", timeout_s=0.1)
    silent.close()
    with pytest.raises(StoreUnavailable):
        await call_json("http://127.0.0.1:9/parity")


async def test_a_chunked_answer_is_read_whole() -> None:
    async def chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n')
        await writer.drain()

    server = await asyncio.start_server(chunked, "127.0.0.1", 0)
    assert await call_json(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/") == {"a": 1}
    server.close()


# ---- roles -----------------------------------------------------------------------------------------


async def who_asked(request: Request) -> Answer:
    return told({"who": request.who, "role": request.role.name})


GUARDED = {"GET /seen": viewer(who_asked), "POST /done": operator(who_asked), "GET /healthz": anyone(who_asked)}


@pytest.mark.parametrize(
    ("certificate", "tls", "seen", "done"),
    [
        ("", False, 200, 200),  # a machine with one user
        ("ann", True, 200, 200),
        ("replicator", True, 200, 403),
        ("", True, 200, 403),  # signed by our authority, but named nothing
    ],
)
async def test_each_route_has_the_lowest_role_that_may_ask(certificate: str, tls: bool, seen: int, done: int) -> None:
    door = Door(GUARDED, access=ByCertificate(Certificates(frozenset({"ann", ""}), tls=tls)))
    headers = {"host": "localhost", "content-type": "application/json"}
    asked = [("GET", "/healthz"), ("GET", "/seen"), ("POST", "/done")]
    answers = [await door.answer(Request(method, path, headers, who=certificate)) for method, path in asked]
    assert [each.status for each in answers] == [200, seen, done]
    if done == 403:
        named = certificate or "no name"
        assert json.loads(answers[2].body)["error"] == {
            "code": "wrong_role",
            "message": f"POST /done needs the role operator; {certificate or 'who asks'} is a viewer: the "
            f"certificate of {named} isn't one of those that CROSSFADE_OPERATORS names",
        }
        assert answers[2].headers["WWW-Authenticate"].endswith('error="insufficient_scope", scope="operator"')


def test_a_door_with_roles_and_nothing_that_finds_out_who_asks_does_not_open() -> None:
    with pytest.raises(ConfigError, match="needs an `Access`"):
        Door(GUARDED)
    Door({"GET /healthz": anyone(who_asked)})
