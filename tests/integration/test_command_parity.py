"""`crossfade parity` as a process, on a terminal and on a pipe, before a verifier's real door."""

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
from typing import Any

import pytest

from crossfade.adapters.clock import SYSTEM
from crossfade.runtime.access import access_of
from crossfade.runtime.listening import listening
from crossfade.runtime.urls import Address
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


async def ended(url: str, *words: str) -> tuple[int | None, str, str]:
    """Run a command on pipes; return its exit code, stdout and stderr."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*COMMAND, *words, env=environment(url), stdout=pipe, stderr=pipe)
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
    assert code == 0, terminal.shown
    assert terminal.shown.startswith(ENTER)
    drawn, left, after = terminal.shown.partition(LEAVE)
    assert left, "the terminal is as it was, with its cursor"
    assert "SAFE to cut over" in drawn
    assert "SAFE to cut over" in after, "the last report stays on the screen"
    assert "Traceback" not in terminal.shown


async def test_ctrl_c_stops_a_watch_while_the_verifier_does_not_answer() -> None:
    waiting = asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with OnTerminal(address, "parity", "--watch") as terminal:
        await waiting.wait()
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.end() == 1
    server.close()
    assert "Traceback" not in terminal.shown


async def test_a_watch_on_a_pipe_has_a_document_for_each_change_and_stops_cleanly(service: Running, url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "parity", "--watch", "--json", env=environment(url), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    assert is_safe(json.loads(await process.stdout.readline()))
    service.aws.down = True
    changed: dict[str, Any] = json.loads(await process.stdout.readline())
    assert not is_safe(changed)
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
    code, out, _ = await ended(url, "parity")
    assert (code, "\x1b" in out) == (0, False)
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        async with OnTerminal(url, "parity", **more) as terminal:
            assert await terminal.end() == 0
        assert bool(re.search(r"\x1b\[[0-9;]*m", terminal.shown)) is coloured


async def test_a_verifier_that_is_not_there_is_exit_code_1_with_its_runbook() -> None:
    code, out, errors = await ended("http://127.0.0.1:9", "parity", "--json")
    told = json.loads(out)
    assert (code, told["code"], told["exit_code"]) == (1, "no_verifier", 1)
    assert "verifier-down" in told["cure"]
    assert errors.startswith("no_verifier: the verifier doesn't answer: http://127.0.0.1:9/parity")
