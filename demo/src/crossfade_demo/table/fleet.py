"""The processes of a plain migration, and its operator's tools: the orders example, and the services as black boxes."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

from crossfade_demo.loopback import ask, send
from crossfade_demo.pace import Pace
from crossfade_demo.processes import Service, python_module, run_tool
from crossfade_demo.services import GROWING, OPERATOR, stretched
from crossfade_demo.story import free_port
from localaws.endpoints import Endpoints

BUCKET: Final = "orders-snapshots"
SOURCE: Final = "orders"
TARGET: Final = "orders-next"
APPLICATIONS: Final = ("north", "south")
SIGNATURE_S: Final = 2.0
"""How old a signed request may be; on AWS 15 minutes. The embedded AWS enforces it."""
STEP_S: Final = 90.0

CONTROLLER: Final = {
    "CROSSFADE_BUCKET": BUCKET,
    "CROSSFADE_SETTLING_S": "2",
    "CROSSFADE_EVIDENCE_S": "0.3",
    "CROSSFADE_FACTS_S": "1",
    "CROSSFADE_METRIC_PERIOD_S": "1",
    "CROSSFADE_REPORT_S": "4",
    "CROSSFADE_LEASE_S": "5",
    "CROSSFADE_DOOR_S": "60",  # beside other work it may lose its lease for a moment
    "CROSSFADE_GATE_LAG_S": "4",
    "CROSSFADE_GATE_QUIET_S": "1",
    "CROSSFADE_GATE_CLEAN_PASS_S": "60",
    "CROSSFADE_SETTLE_S": "0.2",  # on loopback nothing is under way for longer once its client is gone
    "CROSSFADE_HOLD_COMMAND": json.dumps([sys.executable, "-m", "orders.switch", "hold"]),
    "CROSSFADE_RELEASE_COMMAND": json.dumps([sys.executable, "-m", "orders.switch", "release"]),
}
"""Settings of the controller and the CLI beside the endpoints."""

VERIFIER: Final = {
    "CROSSFADE_READS_PER_S": "5000",
    "CROSSFADE_SEGMENTS": "1",
    "CROSSFADE_PAGE": "500",
    "CROSSFADE_IN_FLIGHT_BOUND_S": "3",
}


class ToolFailed(Exception):
    """A tool ended with another code than 0; the message says what it said.

    Attributes:
        code: its exit code.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Fleet:
    """Everything that runs beside the embedded AWS.

    Attributes:
        services: of the migration, by name.
        applications: processes of the application, by name.
        folder: of the application: its books and its switch.
        pace: of the machine.
    """

    def __init__(self, endpoints: Endpoints, folder: Path, examples: Path, pace: Pace) -> None:
        """Take the embedded AWS, a folder for books and logs, and where the examples are."""
        self.pace, self.folder = pace, folder
        self._endpoints, self._logs = endpoints, folder / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._ports = {name: free_port() for name in ("controller", "verifier")}
        orders = {
            "PYTHONPATH": str(examples),
            "ORDERS_FOLDER": str(folder),
            "AWS_ENDPOINT_URL": endpoints.aws_endpoint,
            "AWS_DEFAULT_REGION": endpoints.region,
            "AWS_ACCESS_KEY_ID": "application",
            "AWS_SECRET_ACCESS_KEY": endpoints.secret_access_key,
        }
        self._orders = orders
        self._shared = {
            "PYTHONPATH": str(examples),
            "ORDERS_FOLDER": str(folder),
            "AWS_ACCESS_KEY_ID": endpoints.access_key_id,
            "AWS_SECRET_ACCESS_KEY": endpoints.secret_access_key,
            "CROSSFADE_REGION": endpoints.region,
            "CROSSFADE_AWS_ENDPOINT_URL": endpoints.aws_endpoint,
            "CROSSFADE_REDIS_URL": endpoints.redis_url or "",
            "CROSSFADE_MIGRATION_MAPPING": "orders.mapping:MAPPING",
            "CROSSFADE_SOURCE_STREAM": "orders-changes",
            "CROSSFADE_TARGET_STREAM": "orders-next-changes",
        }
        signature = {"CROSSFADE_SIGNATURE_S": f"{SIGNATURE_S:g}"}
        self._controller = (
            CONTROLLER | signature | {"CROSSFADE_VERIFIER_URL": f"http://127.0.0.1:{self._ports['verifier']}"}
        )
        replicator = signature | {"CROSSFADE_MEMBER_LEASE_S": "3"}
        self.services = {
            "verifier": self._service("verifier", "crossfade_verifier.main", self._port("verifier") | VERIFIER),
            "controller": self._service(
                "controller", "crossfade_controller.main", self._port("controller") | self._controller
            ),
        } | {
            name: self._service(
                name,
                "crossfade_replicator.main",
                replicator | {"CROSSFADE_CONSUMER": name, "CROSSFADE_WORKER": name},
            )
            for name in ("forward", "reverse")
        }
        self.applications: dict[str, Service] = {}

    def _port(self, name: str) -> dict[str, str]:
        return {"CROSSFADE_HTTP_PORT": str(self._ports[name])}

    def _service(self, name: str, module: str, settings: dict[str, str]) -> Service:
        told = self._shared | {"AWS_ACCESS_KEY_ID": name} | stretched(settings, GROWING, self.pace.now)
        return Service(name, python_module(module), told, self._logs, self.pace)

    async def fill(self, customers: int) -> None:
        """Make the table and the bucket."""
        await asyncio.to_thread(send, f"{self._endpoints.aws_endpoint}/{BUCKET}", method="PUT")
        await self.orders("fill", str(customers), *APPLICATIONS)

    async def begin_application(self, customers: int, per_second: float, seed: int) -> None:
        """Start the application."""
        for name in APPLICATIONS:
            command = python_module(
                "orders.app", name, "--customers", str(customers), "--per-second", str(per_second), "--seed", str(seed)
            )
            self.applications[name] = Service(name, command, self._orders, self._logs, self.pace)
        for each in self.applications.values():
            await each.start()

    async def begin_services(self) -> None:
        """Create the control tables, and start the migration's services."""
        await self.crossfade("control", "create", "--execute")
        for each in self.services.values():
            await each.start()
        await asyncio.gather(*(self.services[name].ready() for name in ("controller", "verifier")))

    async def orders(self, module: str, *arguments: str, fails: bool = False) -> tuple[int, str]:
        """Run one of the application's own tools; return its exit code and what it printed.

        Raises:
            ToolFailed: it ended with another code than 0, and isn't one that `fails`.
        """
        command = python_module(f"orders.{module}", *arguments)
        code, out, err = await run_tool(command, self._orders, self.pace.deadline(STEP_S))
        if code and not fails:
            raise ToolFailed(
                f"orders.{module} {' '.join(arguments)} ended with {code}: {err[-1500:]}{out[-1500:]}", code
            )
        return code, out

    async def crossfade(self, *arguments: str) -> dict[str, Any]:
        """Run a command of the operator's CLI to its end; return what it said.

        Raises:
            ToolFailed: it ended with another code than 0.
        """
        command = python_module("crossfade_controller.cli", *arguments, "--json")
        told = self._shared | self._controller | {"AWS_ACCESS_KEY_ID": OPERATOR}
        code, out, err = await run_tool(command, told, self.pace.deadline(STEP_S))
        if code:
            raise ToolFailed(f"crossfade {' '.join(arguments)} ended with {code}: {err[-1500:]}{out[-3000:]}", code)
        said: dict[str, Any] = json.loads(out)
        return said

    async def status(self) -> dict[str, Any]:
        """Return the controller's own page; empty while it doesn't answer."""
        return await ask(f"http://127.0.0.1:{self._ports['controller']}/status") or {}

    @property
    def verifier_url(self) -> str:
        """Where the verifier's page is."""
        return f"http://127.0.0.1:{self._ports['verifier']}"

    async def stop(self) -> dict[str, int | None]:
        """Stop everything; return the exit codes."""
        every = [*self.applications.values(), *self.services.values()]
        codes = await asyncio.gather(*(each.stop() for each in every))
        return {each.name: code for each, code in zip(every, codes, strict=True)}
