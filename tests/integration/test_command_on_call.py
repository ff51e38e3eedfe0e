"""The commands for on-call as processes, on a terminal and on a pipe, before a verifier's real door."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from certificates import Authority
from crossfade.adapters.clock import SYSTEM
from crossfade.runtime.access import ByCertificate, access_of
from crossfade.runtime.listening import listening
from crossfade.runtime.roles import Certificates
from crossfade.runtime.urls import Address
from identity import AUDIENCE, ISSUER, Issuer
from verifier_service import Running, is_safe, running

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


@pytest.fixture
async def service() -> AsyncIterator[Running]:
    async with running(pause_s=60.0) as opened:
        yield opened


@pytest.fixture
async def url(service: Running) -> AsyncIterator[str]:
    access = access_of(service.settings, SYSTEM)
    async with listening(service.door.routes, Address("127.0.0.1", 0, ""), access=access) as address:
        await service.until(lambda body: is_safe(body) and not body["running_pass"])
        yield f"http://{address}"


def environment(url: str, **more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CROSSFADE_", "AWS_"))}
    return {**clean, "CROSSFADE_VERIFIER_URL": url, **more}


COMMAND = (sys.executable, "-m", "crossfade_controller.cli")


async def ended(url: str, *words: str, **more: str) -> tuple[int | None, str, str]:
    """Run a command on pipes; return its exit code, stdout and stderr."""
    pipe, env = asyncio.subprocess.PIPE, environment(url, **more)
    process = await asyncio.create_subprocess_exec(*COMMAND, *words, env=env, stdout=pipe, stderr=pipe)
    out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


class OnTerminal:
    """A command on a terminal of its own."""

    def __init__(self, url: str, *words: str, **more: str) -> None:
        self._url, self._words, self._more = url, words, {"TERM": "xterm", "COLUMNS": "80", "LINES": "60"} | more
        self.shown = ""

    async def __aenter__(self) -> OnTerminal:
        self._ours, theirs = pty.openpty()
        env = environment(self._url, **self._more)
        self.process = await asyncio.create_subprocess_exec(
            *COMMAND, *self._words, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        os.close(self._ours)

    async def until(self, holds: Callable[[str], object]) -> None:
        """Read what is shown until something holds."""
        while not holds(self.shown):
            more = await asyncio.to_thread(self._read)
            assert more, self.shown
            self.shown += more

    async def end(self) -> int:
        """Read to the end; return the exit code."""
        while more := await asyncio.to_thread(self._read):
            self.shown += more
        return await self.process.wait()

    def _read(self) -> str:
        try:
            return os.read(self._ours, 65_536).decode()
        except OSError:  # the other end is closed
            return ""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
async def test_a_watch_on_a_terminal_stops_cleanly_at(sent: signal.Signals, url: str) -> None:
    async with OnTerminal(url, "parity", "--watch") as terminal:
        await terminal.until(lambda shown: "SAFE to cut over" in shown)
        terminal.process.send_signal(sent)
        code = await terminal.end()
    assert terminal.shown.startswith(ENTER)
    drawn, left, after = terminal.shown.partition(LEAVE)
    assert left, "the terminal is as it was, with its cursor"
    assert "SAFE to cut over" in drawn
    assert "SAFE to cut over" in after, "the last report stays on the screen"
    assert code == (4 if "NOT SAFE" in after else 0), terminal.shown
    assert "Traceback" not in terminal.shown


class Silent:
    """A server that takes connections and never answers. Attributes: `asked` is set by the first."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        writer.close()


@pytest.fixture
async def asked() -> Silent:
    return Silent()


@pytest.fixture
async def silent(asked: Silent) -> AsyncIterator[str]:
    server = await asyncio.start_server(asked.answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_ctrl_c_stops_a_watch_while_the_verifier_does_not_answer(asked: Silent, silent: str) -> None:
    async with OnTerminal(silent, "parity", "--watch") as terminal:
        await asked.asked.wait()
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.end() == 1
    assert "Traceback" not in terminal.shown


async def test_a_watch_on_a_pipe_has_a_document_for_each_change_and_stops_cleanly(service: Running, url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "parity", "--watch", "--json", env=environment(url), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    first: dict[str, Any] = json.loads(await process.stdout.readline())
    assert first["verdict"] == "clean"
    service.aws.down = True
    changed = first
    while "no route to CloudWatch" not in str(changed["because"]):
        changed = json.loads(await process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    assert await process.stdout.read() == b""
    assert await process.wait() == 4


@pytest.mark.parametrize("words", [("parity",), ("parity", "--watch", "--json")], ids=" ".join)
async def test_a_reader_that_is_gone_ends_it_without_a_trace(url: str, words: tuple[str, ...]) -> None:
    ours, theirs = os.pipe()
    os.close(ours)  # as `| head` does once it has seen enough
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *words, env=environment(url), stdout=theirs, stderr=asyncio.subprocess.PIPE
    )
    os.close(theirs)
    _, errors = await process.communicate()
    assert errors == b""


async def test_colours_are_on_a_terminal_alone_and_not_with_no_color(url: str) -> None:
    _, out, _ = await ended(url, "parity")
    assert "\x1b" not in out
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        async with OnTerminal(url, "parity", **more) as terminal:
            await terminal.end()
        assert bool(re.search(r"\x1b\[[0-9;]*m", terminal.shown)) is coloured


async def test_a_verifier_that_is_not_there_is_exit_code_1_with_its_runbook() -> None:
    code, out, errors = await ended("http://127.0.0.1:9", "parity", "--json")
    told = json.loads(out)
    assert (code, told["code"], told["exit_code"]) == (1, "no_verifier", 1)
    assert "verifier-down" in told["cure"]
    assert errors.startswith("no_verifier: the verifier doesn't answer: http://127.0.0.1:9/parity")


# ---- who asks -------------------------------------------------------------------------------------


async def test_a_token_says_who_asks_and_what_they_may(service: Running, tmp_path: Path) -> None:
    issuer, tokens = Issuer(), {}
    for role in ("viewer", "operator"):
        tokens[role] = tmp_path / role
        tokens[role].write_text(issuer.token(f"crossfade-{role}", sub=role) + "\n")
    keys = issuer.publish(tmp_path / "jwks.json")
    guarded = service.settings.model_copy(
        update={"jwks": str(keys), "token_issuer": ISSUER, "token_audience": AUDIENCE}
    )
    access = access_of(guarded, SYSTEM)
    async with listening(service.door.routes, Address("127.0.0.1", 0, ""), access=access) as address:
        url = f"http://{address}"
        assert (await ended(url, "parity"))[0] == 3, "nobody in particular"
        assert (await ended(url, "parity", "--token-file", str(tokens["viewer"])))[0] in (0, 4)
        code, _, errors = await ended(url, "verify", "start", "--token-file", str(tokens["viewer"]))
        assert code == 3
        assert errors.startswith("the last pass took") or "refused: viewer is a viewer" in errors
        by_setting = {"CROSSFADE_TOKEN_FILE": str(tokens["operator"])}
        code, out, _ = await ended(url, "verify", "start", "--json", **by_setting)
        assert (code, json.loads(out)["who"]) == (0, "operator")


async def test_by_tls_it_shows_the_controllers_certificate(service: Running, tmp_path: Path) -> None:
    authority = Authority()
    ours, theirs = (authority.files(tmp_path / name, subject=name) for name in ("ann", "verifier"))
    access = ByCertificate(Certificates(frozenset({"ann"}), tls=True))
    shown = {
        "CROSSFADE_TLS_CERT_FILE": str(ours.cert),
        "CROSSFADE_TLS_KEY_FILE": str(ours.key),
        "CROSSFADE_TLS_CLIENT_CA_FILE": str(ours.client_ca),
        "CROSSFADE_OPERATORS": '["ann"]',
    }
    address = Address("127.0.0.1", 0, "")
    async with listening(service.door.routes, address, access=access, tls=theirs) as at:
        code, out, errors = await ended(f"https://{at}", "verify", "start", "--json", **shown)
        assert code == 0, errors
        assert json.loads(out)["who"] == "ann"
        code, out, _ = await ended(f"https://{at}", "parity", "--json")
        assert (code, json.loads(out)["code"]) == (1, "no_verifier"), "without a certificate"


# ---- late answers ---------------------------------------------------------------------------------


async def test_a_late_answer_is_spoken_of_and_given_up(silent: str) -> None:
    code, out, errors = await ended(silent, "parity", "--json")
    assert code == 1
    first, *_ = errors.splitlines()
    assert first.startswith(f"still asking the verifier at {silent} after 2 s")
    assert json.loads(out)["code"] == "no_verifier"


async def test_ctrl_c_ends_a_wait_and_not_the_pass(service: Running, url: str) -> None:
    service.target.gate = asyncio.Event()  # no pass gets on
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "verify", "start", "--wait"),
        env=environment(url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr
    while b"scanning" not in await process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    out, errors = await process.communicate()
    assert process.returncode == 130
    assert b"the pass goes on: crossfade verify status" in out
    assert b"Traceback" not in errors
    assert b"still asking" not in errors, "each answer comes at once, however long the wait"
    assert (await service.parity())["running_pass"]
    service.target.gate.set()
