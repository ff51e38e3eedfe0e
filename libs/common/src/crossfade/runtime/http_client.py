"""Asking another Crossfade service over HTTP (`crossfade.runtime.http` is what answers)."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import h11
import msgspec

from crossfade.core.values.errors import ConfigError, StoreUnavailable
from crossfade.runtime.urls import LOOPBACK

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


def is_token(text: str) -> bool:
    """Say whether a text may be sent as a token; it is never shown why not."""
    return bool(text) and all("!" <= each <= "~" for each in text)


class Bearer:
    """The token that we show, by which a door knows who asks (ADR 0039). It never appears in a message."""

    def __init__(self, token: str = "", file: Path | None = None, *, plain: bool = False) -> None:
        """Take where it comes from.

        Args:
            token: itself; "" for none.
            file: with the token, which somebody renews: it is read before each call.
            plain: may be sent beyond loopback without TLS.
        """
        self._token, self._file, self._plain = token, file, plain

    def headers(self, url: str) -> list[tuple[str, str]]:
        """Return the header that shows it to a service; none where there is no token.

        Raises:
            ConfigError: the token can't be read, or anybody on the way could.
        """
        token = self.read()
        if not token:
            return []
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in LOOPBACK and not self._plain:
            raise ConfigError(f"{url}: a token is sent by https only: others on the way could read it")
        return [("Authorization", f"Bearer {token}")]

    def read(self) -> str:
        """Return the token; "" for none.

        Raises:
            ConfigError: the file can't be read, or has something else.
        """
        token, of = self._token, "CROSSFADE_TOKEN"
        if self._file is not None:
            of = f"CROSSFADE_TOKEN_FILE={self._file}"
            try:
                token = self._file.read_text().strip()
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not text"
                raise ConfigError(f"{of}: {why}") from None
            if not token:
                raise ConfigError(f"{of}: it is empty")
        if token and not is_token(token):
            raise ConfigError(f"{of}: a token is one word of printable ASCII")
        return token


NO_TOKEN: Final = Bearer()


async def call_json(
    url: str,
    body: object = None,
    *,
    timeout_s: float = CALL_S,
    tls: ssl.SSLContext | None = None,
    bearer: Bearer = NO_TOKEN,
) -> Any:
    """Ask a service.

    Args:
        url: whole.
        body: what is sent as JSON, by POST; without it, GET.
        timeout_s: for the whole call.
        tls: for an https address.
        bearer: says who asks.

    Raises:
        ConfigError: there is a token, and it can't be sent.
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
            *bearer.headers(url),
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
