"""The processes of the demo: started, waited for, killed and stopped by their ids."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from localaws.leash import leashed

STOP_S: Final = 15.0


class ProcessFailed(Exception):
    """A service did not start, or ended by itself."""


class Service:
    """One service process; its JSON log goes to a file and is read for the ready line."""

    def __init__(self, name: str, command: list[str], settings: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self.address = ""
        self.started_at_s = 0.0
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
        self.started_at_s = time.monotonic()
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

    async def ready(self, timeout_s: float = 60.0) -> None:
        """Wait for the ready line.

        Raises:
            ProcessFailed: it ended, or took too long; the message ends with its last log lines.
        """
        waiting = asyncio.create_task(self._ready.wait())
        ended = {self._reader} if self._reader else set()
        await asyncio.wait({waiting, *ended}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not self._ready.is_set():
            raise ProcessFailed(f"{self.name} is not ready after {timeout_s:.0f} s:\n{self.tail()}")

    async def kill(self) -> None:
        """End it with SIGKILL, as a lost machine would."""
        if self._process is not None and self.alive:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> int | None:
        """Ask it to stop by SIGTERM; kill it when it does not. Return its exit code."""
        if self._process is None:
            return None
        if self.alive:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_S)
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


async def run_tool(command: list[str], settings: Mapping[str, str], timeout_s: float) -> tuple[int, str, str]:
    """Run a command line tool to its end.

    Returns:
        Exit code, standard output, standard error. A tool that takes longer than `timeout_s` is ended: exit code 124.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
    process = await asyncio.create_subprocess_exec(
        *command,
        env=inherited | dict(settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        process.kill()
        await process.wait()
        return 124, "", f"{' '.join(command)}: not done after {timeout_s:.0f} s"
    return process.returncode or 0, out.decode(), err.decode()


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this very interpreter."""
    return [sys.executable, "-m", module, *arguments]
