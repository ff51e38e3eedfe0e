"""Whom the wire client trusts: a chain to a known authority, and the name that was asked for."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from certificates import Authority
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.values.errors import StoreUnavailable
from crossfade.runtime.tls import TlsFiles


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A certificate for "localhost", and not for 127.0.0.1."""
    return Authority("known").files(tmp_path_factory.mktemp("tls"), "127.0.0.2")


@pytest.fixture(scope="module")
def unknown(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return Authority("unknown").files(tmp_path_factory.mktemp("tls"))


class Served(NamedTuple):
    port: int
    requests: list[bytes]


@pytest.fixture
async def server(known: TlsFiles) -> AsyncIterator[Served]:
    """A TLS server with the known authority's certificate."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                requests.append(await reader.readuntil(b"\r\n\r\n{}"))
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"ok":1}')
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(known.cert, known.key)
    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield Served(listening.sockets[0].getsockname()[1], requests)
    listening.close()


def client(port: int, ca: Path | None, *, host: str = "localhost") -> Wire:
    config = WireConfig("us-east-1", f"https://{host}:{port}", attempts=3, ca_file=str(ca) if ca else None)
    return Wire("dynamodb", config, StaticCredentials(Credentials("a", "b")))


async def test_a_certificate_of_a_trusted_authority_for_the_name_asked_for_is_accepted(
    server: Served, known: TlsFiles
) -> None:
    async with client(server.port, known.client_ca) as wire:
        assert await wire.call("GetItem", b"{}") == b'{"ok":1}'
        assert await wire.call("GetItem", b"{}") == b'{"ok":1}'
    assert len(server.requests) == 2


async def test_a_certificate_of_an_authority_that_is_not_trusted_is_refused_before_anything_is_sent(
    server: Served, unknown: TlsFiles
) -> None:
    for ca in (unknown.client_ca, None):
        async with client(server.port, ca) as wire:
            with pytest.raises(StoreUnavailable, match="not who it claims"):
                await wire.call("GetItem", b"{}")
    assert server.requests == []


async def test_a_trusted_certificate_for_another_name_is_refused_before_anything_is_sent(
    server: Served, known: TlsFiles
) -> None:
    async with client(server.port, known.client_ca, host="127.0.0.1") as wire:
        with pytest.raises(StoreUnavailable, match="not who it claims"):
            await wire.call("GetItem", b"{}")
    assert server.requests == []


async def test_a_handshake_that_never_ends_is_bounded_by_the_time_to_connect(known: TlsFiles) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    config = WireConfig("us-east-1", f"https://localhost:{port}", connect_timeout_s=0.1, ca_file=str(known.client_ca))
    async with Wire("dynamodb", config, StaticCredentials(Credentials("a", "b"))) as wire:
        with pytest.raises(StoreUnavailable, match=r"no connection within 0\.1 s"):
            await wire.call("GetItem", b"{}", attempts=1)
    listening.close()


async def test_plain_text_where_tls_was_asked_for_is_no_connection(known: TlsFiles) -> None:
    async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"ok":1}')

    listening = await asyncio.start_server(speak_plainly, "127.0.0.1", 0)
    async with client(listening.sockets[0].getsockname()[1], known.client_ca) as wire:
        with pytest.raises(StoreUnavailable, match="can't reach"):
            await wire.call("GetItem", b"{}", attempts=1)
    listening.close()
