"""Just enough HTTP/1.1 for a status page, and for asking the verifier: no framework, no start-up cost."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from crossfade.core.values.errors import StoreUnavailable

MAX_HEAD_BYTES: Final = 16_384
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
READ_S: Final = 5.0

Page = Callable[[], tuple[HTTPStatus, Any]]
"""Answers one path with a status and JSON."""


async def serve(host: str, port: int, pages: dict[str, Page], *, tls: ssl.SSLContext | None = None) -> asyncio.Server:
    """Serve pages to GET requests; one request a connection.

    Args:
        host: address to listen on.
        port: 0 for any free one.
        pages: by path.
        tls: makes it HTTPS.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_S):
                head = await reader.readuntil(b"\r\n\r\n")
            method, path, *_ = head.split(b" ", 2)
            page = pages.get(path.partition(b"?")[0].decode("latin-1"))
            if method != b"GET":
                status, body = HTTPStatus.METHOD_NOT_ALLOWED, b'{"error":"GET only"}'
            elif page is None:
                known = ", ".join(pages)
                status, body = HTTPStatus.NOT_FOUND, msgspec.json.encode({"error": f"there are: {known}"})
            else:
                status, answered = page()
                body = msgspec.json.encode(answered)
            writer.write(
                b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
                % (status, status.phrase.encode(), len(body), body)
            )
            await writer.drain()
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client's trouble
        finally:
            writer.close()

    return await asyncio.start_server(answer, host, port, limit=MAX_HEAD_BYTES, ssl=tls)


async def call_json(
    url: str, *, method: str = "GET", timeout_s: float = READ_S, tls: ssl.SSLContext | None = None
) -> Any:
    """Ask a service.

    Args:
        url: whole.
        method: "GET", or "POST" with an empty object.
        timeout_s: for the whole call.
        tls: for an https address.

    Raises:
        StoreUnavailable: no answer of status 2xx with JSON in time.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and tls is None:
        raise StoreUnavailable(f"{url}: https needs CROSSFADE_TLS_CERT_FILE and the files that go with it")
    secure = tls if parts.scheme == "https" else None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(
                parts.hostname, parts.port or (443 if secure else 80), ssl=secure
            )
            try:
                writer.write(
                    f"{method} {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n"
                    f"Content-Length: {0 if method == 'GET' else 2}\r\nConnection: close\r\n\r\n"
                    f"{'' if method == 'GET' else '{}'}".encode()
                )
                head = await reader.readuntil(b"\r\n\r\n")
                body = await _body(reader, head.lower())
            finally:
                writer.close()
        status = int(head.split(b" ", 2)[1])
        if not 200 <= status < 300:
            raise StoreUnavailable(f"{url} answered {status}")
        return msgspec.json.decode(body)
    except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise StoreUnavailable(f"{url}: {error or type(error).__name__}") from error


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"transfer-encoding: chunked" in head:
        chunks = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            chunks.append(await reader.readexactly(size))
            await reader.readexactly(2)
        return b"".join(chunks)
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            size = int(line.partition(b":")[2])
            if size > MAX_BODY_BYTES:
                raise ValueError(f"{size} bytes are too many")
            return await reader.readexactly(size)
    return await reader.read(MAX_BODY_BYTES)
