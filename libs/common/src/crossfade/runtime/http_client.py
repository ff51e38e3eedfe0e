"""Asking another Crossfade service over HTTP (`crossfade.runtime.http` is what answers)."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

import h11
import msgspec

from crossfade.core.values.errors import StoreUnavailable

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
CALL_S: Final = 5.0


class Answered(StoreUnavailable):
    """A service answered, but not with what was requested.

    Attributes:
        status: of HTTP.
        reason: its code, "refused"; empty where it gave none.
        told: its message.
    """

    def __init__(self, url: str, status: int, body: bytes) -> None:
        try:
            error = msgspec.json.decode(body)["error"]
            self.reason, self.told = str(error["code"]), str(error["message"])
        except (ValueError, KeyError, TypeError):
            self.reason, self.told = "", ""
        self.status = status
        super().__init__(f"{url} answered {status}{f': {self.reason}: {self.told}' if self.reason else ''}")


async def call_json(
    url: str, body: object = None, *, timeout_s: float = CALL_S, tls: ssl.SSLContext | None = None
) -> Any:
    """Ask a service.

    Args:
        url: whole.
        body: what is sent as JSON, by POST; without it, GET.
        timeout_s: for the whole call.
        tls: for an https address.

    Raises:
        Answered: by another status than 2xx.
        StoreUnavailable: no answer with JSON in time.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and tls is None:
        raise StoreUnavailable(f"{url}: https needs CROSSFADE_TLS_CERT_FILE and the files that go with it")
    secure = tls if parts.scheme == "https" else None
    sent = b"" if body is None else msgspec.json.encode(body)
    request = h11.Request(
        method="GET" if body is None else "POST",
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        headers=[
            ("Host", parts.netloc),
            ("Accept", "application/json"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(sent))),
            ("Connection", "close"),
        ],
    )
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(
                parts.hostname, parts.port or (443 if secure else 80), ssl=secure
            )
            try:
                connection = h11.Connection(h11.CLIENT)
                for event in (request, h11.Data(data=sent), h11.EndOfMessage()):
                    writer.write(connection.send(event) or b"")
                status, answered = await _answer(connection, reader)
            finally:
                writer.close()
        if not 200 <= status < 300:
            raise Answered(url, status, answered)
        return msgspec.json.decode(answered)
    except (TimeoutError, OSError, ValueError, h11.ProtocolError) as error:
        raise StoreUnavailable(f"{url}: {str(error) or type(error).__name__}") from error


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status, body = 0, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                raise ValueError(f"the answer has more than {MAX_BODY_BYTES} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(body)
        elif not isinstance(event, h11.InformationalResponse):
            raise ValueError("the connection was closed before the answer")
