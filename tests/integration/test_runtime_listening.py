"""What listens: the health page, mutual TLS of gRPC and HTTP, renewed certificates; and the probe that asks."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from certificates import Authority
from crossfade.core.values.errors import ConfigError, CrossfadeError, StoreUnavailable
from crossfade.runtime import tls
from crossfade.runtime.grpc import RpcServer
from crossfade.runtime.health import READY, Health, health_page
from crossfade.runtime.http import anyone, page
from crossfade.runtime.http_client import call_json
from crossfade.runtime.listening import listening
from crossfade.runtime.probe import main as probe_main
from crossfade.runtime.probe import probe
from crossfade.runtime.tls import TlsFiles, client_context, server_context
from crossfade.runtime.urls import Address


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> TlsFiles:
    return authority.files(tmp_path / "service")


async def asked(url: str, tls: TlsFiles | None = None) -> str:
    return await asyncio.to_thread(probe, url, 5.0, tls)


# ---- the health page ---------------------------------------------------------------------------------------------


async def test_the_page_answers_by_the_state() -> None:
    health = Health()
    async with health_page(health, Address("127.0.0.1", 0)) as address:
        with pytest.raises(StoreUnavailable, match=r"503.*starting"):
            await asked(f"http://{address}/readyz")
        assert "starting" in await asked(f"http://{address}/healthz")
        health.state = READY
        assert "ready" in await asked(f"http://{address}/readyz?verbose=1")
        with pytest.raises(StoreUnavailable, match="404"):
            await asked(f"http://{address}/status")


async def test_the_page_tells_what_is_stuck() -> None:
    health = Health()
    async with health_page(health, Address("127.0.0.1", 0)) as address:
        with health.working("a batch of shard-7", longest_s=-1), pytest.raises(StoreUnavailable, match=r"503.*shard-7"):
            await asked(f"http://{address}/healthz")


async def test_nonsense_does_not_upset_the_page() -> None:
    async with health_page(Health(), Address("127.0.0.1", 0)) as address:
        host, port = address.split(":")
        for nonsense in (b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\x00" * 9000, b"POST /healthz HTTP/1.1\r\n\r\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(nonsense)
            with suppress(OSError):
                assert b"200" not in await reader.read()
            writer.close()
        assert "starting" in await asked(f"http://{address}/healthz")


async def test_a_taken_port_is_named() -> None:
    async with health_page(Health(), Address("127.0.0.1", 0)) as address:
        port = int(address.split(":")[1])
        with pytest.raises(ConfigError, match=f"CROSSFADE_HEALTH_PORT={port}"):
            async with health_page(Health(), Address("127.0.0.1", port, "CROSSFADE_HEALTH_PORT")):
                pass


async def test_without_an_address_nothing_listens() -> None:
    async with health_page(Health(), None) as address:
        assert address == ""


# ---- mutual TLS --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def grpc_server(files: TlsFiles) -> AsyncIterator[str]:
    server = RpcServer(tls=files)
    address = await server.start()
    await server.serving(True)
    try:
        yield address
    finally:
        await server.stop(grace_s=0)


@asynccontextmanager
async def http_door(files: TlsFiles) -> AsyncIterator[str]:
    routes = {"GET /parity": anyone(page(lambda: (HTTPStatus.OK, {"verdict": "clean"})))}
    async with listening(routes, Address("127.0.0.1", 0), tls=files) as address:
        yield address


SERVERS = [("grpcs://{}", grpc_server), ("https://{}/parity", http_door)]
every_server = pytest.mark.parametrize(("url", "server"), SERVERS, ids=["grpc", "http"])


@every_server
async def test_a_client_with_our_certificate_is_served(url: str, server: object, files: TlsFiles) -> None:
    async with server(files) as address:  # type: ignore[operator]  # a parameter
        assert await asked(url.format(address), files)


@every_server
async def test_a_client_without_a_certificate_or_with_a_strange_one_is_not(
    url: str, server: object, files: TlsFiles, tmp_path: Path
) -> None:
    strange = Authority("somebody else").files(tmp_path / "strange")
    strange = TlsFiles(strange.cert, strange.key, files.client_ca)  # it trusts us; we don't know it
    async with server(files) as address:  # type: ignore[operator]  # a parameter
        with pytest.raises(StoreUnavailable):
            await asked(url.format(address), strange)
        with pytest.raises(StoreUnavailable):
            await asked(url.format(address).replace("https", "http").replace("grpcs", "grpc"))


async def test_a_client_that_shows_no_certificate_gets_no_answer(files: TlsFiles) -> None:
    async with http_door(files) as address:
        with pytest.raises(StoreUnavailable):
            await call_json(f"https://{address}/parity", tls=ssl.create_default_context(cafile=files.client_ca))


@every_server
async def test_a_server_with_a_strange_certificate_is_not_believed(
    url: str, server: object, files: TlsFiles, tmp_path: Path
) -> None:
    strange = Authority("somebody else").files(tmp_path / "strange")
    strange = TlsFiles(strange.cert, strange.key, files.client_ca)
    async with server(strange) as address:  # type: ignore[operator]  # a parameter
        with pytest.raises(StoreUnavailable):
            await asked(url.format(address), files)


async def test_the_controller_asks_the_verifier_over_mutual_tls(files: TlsFiles) -> None:
    async with http_door(files) as address:
        assert await call_json(f"https://{address}/parity", tls=client_context(files)) == {"verdict": "clean"}
        with pytest.raises(StoreUnavailable, match="CROSSFADE_TLS_CERT_FILE"):
            await call_json(f"https://{address}/parity")


async def test_grpc_takes_up_renewed_certificates(authority: Authority, files: TlsFiles) -> None:
    def ask() -> None:
        credentials = grpc.ssl_channel_credentials(
            files.client_ca.read_bytes(), files.key.read_bytes(), files.cert.read_bytes()
        )
        with grpc.secure_channel(address, credentials) as channel:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)

    async with grpc_server(files) as address:
        await asyncio.to_thread(ask)
        first = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", int(address.split(":")[1])))
        Authority("the next").files(files.cert.parent)
        await asyncio.to_thread(ask)  # only the renewed ones know the next authority
        assert files.cert.read_text().split() != first.split()
        files.cert.write_text("half written")
        with pytest.raises(grpc.RpcError):
            await asyncio.to_thread(ask)  # the client's own files are broken, too
        Authority("the one after").files(files.cert.parent)
        await asyncio.to_thread(ask)


async def test_http_takes_up_renewed_certificates(files: TlsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "LOOK_S", 0.05)
    ours = client_context(files)
    async with http_door(files) as address:
        url = f"https://{address}/parity"
        assert await call_json(url, tls=ours)
        await asyncio.sleep(0.1)
        files.cert.write_text("half written")
        await asyncio.sleep(0.2)
        assert await call_json(url, tls=ours), "what is broken is not taken up"
        Authority("the next").files(files.cert.parent)
        await asyncio.sleep(0.2)
        assert await call_json(url, tls=client_context(files)), "it knows the next authority only"


async def test_missing_or_broken_files_are_named_before_anything_listens(files: TlsFiles) -> None:
    files.key.write_text("no key")
    for start in (grpc_server, http_door):
        with pytest.raises(ConfigError, match=r"CROSSFADE_TLS_KEY_FILE=.*tls\.key"):
            async with start(files):
                pass
    files.key.unlink()
    with pytest.raises(ConfigError, match=r"CROSSFADE_TLS_KEY_FILE=.*tls\.key"):
        server_context(files)


# ---- the probe ---------------------------------------------------------------------------------------------------


async def test_the_probe_ends_as_the_answer_is(capsys: pytest.CaptureFixture[str]) -> None:
    health = Health()
    async with health_page(health, Address("127.0.0.1", 0)) as address:
        url = f"http://{address}/readyz"
        assert await asyncio.to_thread(probe_main, [url]) == 1
        assert "starting" in capsys.readouterr().err
        waiting = asyncio.create_task(asyncio.to_thread(probe_main, ["--wait", "10", url]))
        await asyncio.sleep(0.2)
        health.state = READY
        assert await waiting == 0
    assert await asyncio.to_thread(probe_main, ["--timeout", "1", url]) == 1


async def test_the_probe_says_what_grpc_says() -> None:
    server = RpcServer()
    address = await server.start()
    with pytest.raises(StoreUnavailable, match="NOT_SERVING"):
        await asked(f"grpc://{address}")
    await server.serving(True)
    assert await asked(f"grpc://{address}") == "SERVING"
    await server.stop(grace_s=0)


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "/etc/passwd", "file:///etc/passwd", "https://127.0.0.1:1", "grpcs://a:1"]
)
def test_the_probe_refuses_what_it_can_not_ask(url: str) -> None:
    with pytest.raises(ConfigError):
        probe(url, 1.0)


# ---- processes ---------------------------------------------------------------------------------------------------


async def test_a_replicator_that_waits_for_its_work_is_ready_and_says_so() -> None:
    """Without AWS at all: it waits, and is ready to; so an installation before the migration can succeed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "crossfade_replicator.main",
        stdout=asyncio.subprocess.PIPE,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")},
            "CROSSFADE_CONSUMER": "forward",
            "CROSSFADE_AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "CROSSFADE_HEALTH_PORT": "0",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        },
    )
    assert process.stdout is not None
    try:
        address = ""
        async with asyncio.timeout(30):
            while not address:
                line = (await process.stdout.readline()).decode()
                assert line, "it ended"
                if '"health page"' in line:
                    address = line.split('"address": "')[1].split('"')[0]
            while True:
                with suppress(CrossfadeError):
                    assert "ready" in await asked(f"http://{address}/readyz")
                    break
                await asyncio.sleep(0.1)
        process.terminate()
        async with asyncio.timeout(15):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
