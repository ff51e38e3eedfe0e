"""The verifier as a process of its own, on the embedded AWS, and what its HTTP says."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from crossfade.core.values.shape import Side
from crossfade.runtime.http_client import call_json
from replicator_world import HERE, World


class Verifier:
    """One verifier process and its HTTP; its access key is its own, so that its calls can be counted."""

    def __init__(self, world: World, **settings: str) -> None:
        self._world = world
        self.access_key_id = f"verifier-{uuid.uuid4().hex}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
        environment |= {
            "PYTHONPATH": str(HERE),
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": world.endpoints.secret_access_key,
            "CROSSFADE_MIGRATION_MAPPING": f"replicator_world:m_{world.id}",
            "CROSSFADE_AWS_ENDPOINT_URL": world.endpoints.aws_endpoint,
            "CROSSFADE_SOURCE_STREAM": world.streams[Side.SOURCE],
            "CROSSFADE_TARGET_STREAM": world.streams[Side.TARGET],
            "CROSSFADE_PAUSE_S": "0.3",
            "CROSSFADE_IN_FLIGHT_BOUND_S": "3",
            "CROSSFADE_SETTLE_EVERY_S": "0.3",
            "CROSSFADE_POLL_S": "0.2",
            "CROSSFADE_RETRY_S": "0.3",
        }
        environment |= {f"CROSSFADE_{name.upper()}": value for name, value in settings.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "crossfade_verifier.main"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        world.processes.append(self.process)
        self.log: list[dict[str, Any]] = []
        self.address = ""

    async def ready(self) -> None:
        assert self.process.stdout is not None
        while not self.address:
            line = await asyncio.to_thread(self.process.stdout.readline)
            assert line, self.log
            self.log.append(json.loads(line))
            if self.log[-1]["event"] == "ready":
                self.address = self.log[-1]["address"]

    async def call(self, path: str, body: object = None) -> Any:
        return await call_json(f"http://{self.address}{path}", body, timeout_s=10)

    async def scans(self) -> int:
        """Return how many pages of both tables it has asked for, as the tables counted them."""
        url = f"{self._world.endpoints.aws_endpoint}/_localaws/calls"
        calls = (await call_json(url, timeout_s=10)).get(self.access_key_id, {})
        tables = {self._world.mapping.shape(side).table for side in Side}
        return sum(count for table, count in calls.get("dynamodb:Scan", {}).items() if table in tables)

    def kill(self) -> None:
        """End it at once, as a lost machine does."""
        self.process.kill()
        self.process.wait()

    async def until(
        self, holds: Callable[[dict[str, Any]], object], *, path: str = "/parity", within_s: float = 30.0
    ) -> dict[str, Any]:
        started_s = time.monotonic()
        while time.monotonic() - started_s < within_s:
            body: dict[str, Any] = await self.call(path)
            if holds(body):
                return body
            await asyncio.sleep(0.2)
        raise AssertionError(json.dumps(body, indent=1))

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        out, _ = await asyncio.to_thread(self.process.communicate, timeout=15)
        self.log += [json.loads(line) for line in out.splitlines() if line.strip()]
        return self.process.returncode
