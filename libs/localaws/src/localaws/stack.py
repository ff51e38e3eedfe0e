"""The whole embedded AWS as child processes: the emulator and a Redis-compatible server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType

from localaws.endpoints import ACCOUNT_ID, LOOPBACK, REGION, Endpoints
from localaws.errors import StartFailed
from localaws.redis import RedisServer

STOP_TIMEOUT_S = 5.0

__all__ = ["Stack", "StartFailed"]


class Stack:
    """Starts the emulator and Redis, knows where they listen, and stops them.

    Both end when this process ends, however it ends: the emulator watches its stdin, Redis is on a leash
    (see `leash`). Use it as a context manager, or call `start` and `stop`; both block for about a second.
    """

    def __init__(
        self,
        port: int = 0,
        redis_port: int = 0,
        *,
        redis: bool = True,
        without: Sequence[str] = (),
        verbose: bool = False,
        account_id: str = ACCOUNT_ID,
        region: str = REGION,
        signature_age_s: float | None = None,
    ) -> None:
        """Choose ports and parts.

        Args:
            port: of the AWS endpoint; 0 takes any free one.
            redis_port: of the Redis-compatible server; 0 takes any free one.
            redis: start a Redis-compatible server at all.
            without: names of patches to leave out, to show what the bare emulator does.
            verbose: let the emulator log its warnings to stderr.
            account_id: the account that it stands for, 12 digits; two stacks can be two accounts.
            region: what `endpoints` say, and the Region of a request that names none.
            signature_age_s: age from which a signature is refused; None for AWS's 15 minutes.
        """
        self._port = port
        self._without = tuple(without)
        self._verbose = verbose
        self._account_id, self._region = account_id, region
        self._signature_age_s = signature_age_s
        self._emulator: subprocess.Popen[str] | None = None
        self._redis = RedisServer(redis_port) if redis else None
        self._endpoints: Endpoints | None = None

    @property
    def endpoints(self) -> Endpoints:
        """Return where the running stack listens.

        Raises:
            StartFailed: it does not run.
        """
        if self._endpoints is None:
            raise StartFailed("the stack is not running: call start() first")
        return self._endpoints

    @property
    def pids(self) -> list[int]:
        """Return the ids of the running processes: the emulator first."""
        redis = self._redis.pid if self._redis else None
        return [pid for pid in (self._emulator.pid if self._emulator else None, redis) if pid is not None]

    def start(self) -> Endpoints:
        """Start both servers and wait until they answer.

        Raises:
            StartFailed: a port is taken, or there is no Redis binary; nothing is left running.
        """
        command = [sys.executable, "-m", "localaws.server", "--port", str(self._port), "--until-stdin-closes"]
        command += [part for name in self._without for part in ("--without", name)]
        command += ["--account-id", self._account_id, "--region", self._region]
        if self._signature_age_s is not None:
            command += ["--signature-age-s", str(self._signature_age_s)]
        command += ["--verbose"] if self._verbose else []
        self._emulator = subprocess.Popen(  # noqa: S603  # the command is ours
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            if self._redis:
                self._redis.start()  # while the emulator imports
            port = self._emulator_port()
        except BaseException:
            self.stop()
            raise
        redis_url = f"redis://{LOOPBACK}:{self._redis.port}/0" if self._redis else None
        self._endpoints = Endpoints(f"http://{LOOPBACK}:{port}", redis_url, self._region, account_id=self._account_id)
        return self._endpoints

    def stop(self) -> None:
        """Stop both servers and wait until they have ended; without effect when they don't run."""
        self._endpoints = None
        if self._redis:
            self._redis.stop()
        if self._emulator is None:
            return
        self._emulator.terminate()
        try:
            self._emulator.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._emulator.kill()
            self._emulator.communicate()
        self._emulator = None

    def wait(self) -> str:
        """Wait until one of the servers ends on its own, and say which."""
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        emulator = self._emulator is not None and ended is not None and ended.si_pid == self._emulator.pid
        return "the emulator" if emulator else "Redis"

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _emulator_port(self) -> int:
        """Read the one line that the emulator prints when it listens."""
        line = self._emulator.stdout.readline() if self._emulator and self._emulator.stdout else ""
        if not line:
            raise StartFailed(f"the emulator ended before it listened on port {self._port}; see above")
        port: int = json.loads(line)["port"]
        return port
