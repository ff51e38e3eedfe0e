"""The controller's own HTTP: small, on loopback, and not to be upset."""

import asyncio
from http import HTTPStatus

import pytest

from controller.http import call_json, serve
from crossfade.core.values.errors import StoreUnavailable


async def started() -> tuple[asyncio.Server, str, int]:
    pages = {
        "/status": lambda: (HTTPStatus.OK, {"phase": "RAMPING", "text": "Grüße"}),
        "/readyz": lambda: (HTTPStatus.SERVICE_UNAVAILABLE, {"driving": False}),
    }
    server = await serve("127.0.0.1", 0, pages)
    port = server.sockets[0].getsockname()[1]
    return server, f"http://127.0.0.1:{port}", port


async def test_a_page_is_json_and_a_query_does_not_matter() -> None:
    server, url, _ = await started()
    assert await call_json(f"{url}/status") == {"phase": "RAMPING", "text": "Grüße"}
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    writer.write(b"GET /status?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    server.close()


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/readyz", "GET", 503), ("/nope", "GET", 404), ("/status", "POST", 405)]
)
async def test_what_is_no_page_answers_with_its_status(path: str, method: str, status: int) -> None:
    server, url, _ = await started()
    with pytest.raises(StoreUnavailable, match=f"answered {status}"):
        await call_json(url + path, method=method)
    server.close()


@pytest.mark.parametrize("sent", [b"\r\n\r\n", b"GET\r\n\r\n", b"\x00" * 20_000, b"GET /status", b""])
async def test_nonsense_ends_its_own_connection_only(sent: bytes) -> None:
    server, url, port = await started()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    writer.close()
    assert (await call_json(f"{url}/status"))["phase"] == "RAMPING"
    server.close()


async def test_a_service_that_is_not_there_or_never_answers_is_unavailable() -> None:
    silent = await asyncio.start_server(lambda _r, _w: asyncio.sleep(5), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    with pytest.raises(StoreUnavailable):
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
