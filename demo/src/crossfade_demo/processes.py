"""The processes of the demo: started, waited for, killed and stopped by their ids."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from crossfade_demo.pace import Deadline, Late, Pace
from localaws.leash import leashed

START_S: Final = 60.0
STOP_S: Final = 15.0
LOOK_S: Final = 0.2
SAID: Final = 1500  # characters of what a tool said, from the end


class ProcessFailed(Exception):
    """A service ended when it should have started."""


class Service:
    """One service process; its JSON log goes to a file and is read for the ready line."""

    def __init__(self, name: str, command: list[str], settings: Mapping[str, str], logs: Path, pace: Pace) -> None:
        self.name = name
        self.stopped_late = False
        self._pace = pace
        self.address = ""
        self._command = command
        self._settings = dict(settings)
        self._log = logs / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    def configure(self, **settings: str) -> None:
        """Change settings for the next start."""
        self._settings.update(settings)

    async def start(self) -> None:
        """Start the process, without waiting for it to be ready."""
        self._ready.clear()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
        self._process = await asyncio.create_subprocess_exec(
            *leashed(self._command),  # it ends with the demo, even when that is killed
            env=inherited | self._settings,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**20,
        )
        if self._process.stdout:
            self._reader = asyncio.create_task(self._read(self._process.stdout))

    async def ready(self) -> None:
        """Wait for the ready line.

        Raises:
            ProcessFailed: it ended; the message ends with its last log lines, and so does the next one's.
            Late: it took too long.
        """
        deadline = self._pace.deadline(START_S)
        while not self._ready.is_set():
            if self._reader is None or self._reader.done():
                raise ProcessFailed(f"{self.name} ended before it was ready:\n{self.tail()}")
            if deadline.over:
                raise Late(f"{self.name} is not ready after {deadline}:\n{self.tail()}", deadline)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), LOOK_S)

    async def kill(self) -> None:
        """End it with SIGKILL, as a lost machine would."""
        if self._process is not None and self.alive:
            self._process.kill()
            await self._process.wait()

    def freeze(self, *, thaw: bool = False) -> None:
        """Stop it where it stands with SIGSTOP, or let it go on."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGCONT if thaw else signal.SIGSTOP)

    async def stop(self) -> int | None:
        """Ask it to stop by SIGTERM; kill it when it does not. Return its exit code."""
        if self._process is None:
            return None
        if self.alive:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            deadline = self._pace.deadline(STOP_S)
            while self.alive and not deadline.over:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._process.wait(), LOOK_S)
            self.stopped_late = self.alive and deadline.too_busy
            await self.kill()
        if self._reader:
            await asyncio.wait({self._reader}, timeout=2.0)
        return self._process.returncode

    def tail(self, lines: int = 8) -> str:
        """Return the last lines of its log."""
        if not self._log.exists():
            return "(no log)"
        return "\n".join(line[:400] for line in self._log.read_text(errors="replace").splitlines()[-lines:])

    async def _read(self, output: asyncio.StreamReader) -> None:
        with self._log.open("a") as log:
            async for line in output:
                log.write(line.decode(errors="replace"))
                log.flush()
                if b'"ready"' in line:
                    self._note_ready(line)

    def _note_ready(self, line: bytes) -> None:
        with suppress(ValueError):
            said: Any = json.loads(line)
            if isinstance(said, dict) and said.get("event") == "ready":
                self.address = str(said.get("address") or "")
                self._ready.set()


async def run_tool(command: list[str], settings: Mapping[str, str], deadline: Deadline) -> tuple[int, str, str]:
    """Run a command line tool to its end.

    Returns:
        Exit code, standard output, standard error.

    Raises:
        Late: it took too long, and was ended; the message says what it had said on stderr.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
    process = await asyncio.create_subprocess_exec(
        *command,
        env=inherited | dict(settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    ended = asyncio.create_task(process.communicate())
    while not ended.done() and not deadline.over:
        await asyncio.wait({ended}, timeout=LOOK_S)
    late = not ended.done()
    if late:
        process.kill()
    out, err = (each.decode(errors="replace") for each in await ended)  # what it had said by then is kept
    if late:
        raise Late(f"no end after {deadline}; it said: {err.strip()[-SAID:]}", deadline)
    return process.returncode or 0, out, err


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this very interpreter."""
    return [sys.executable, "-m", module, *arguments]
