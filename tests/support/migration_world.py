"""What a story with real processes needs: the embedded AWS, the machine's pace, the tools and status of a migration."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from crossfade_demo.loopback import ask
from crossfade_demo.pace import Pace, Prober
from crossfade_demo.processes import run_tool
from crossfade_demo.store import Store
from localaws import Endpoints, Stack

PATIENCE_S: Final = 120.0
"""How long anything may take on an idle machine; it grows with the machine's pace, and tells only that it failed."""


class Ran(NamedTuple):
    """What a command line tool did."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> Any:
        """Its answer in JSON."""
        return json.loads(self.out)


class Stage(NamedTuple):
    """An empty AWS, and how fast the machine is."""

    endpoints: Endpoints
    store: Store
    pace: Pace


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Start the embedded AWS, and measure the machine while it is up."""
    async with AsyncExitStack() as cleanup:
        pace = Pace()
        prober = Prober(pace, folder)
        await prober.start()
        cleanup.push_async_callback(prober.finish)
        stack = Stack()
        endpoints = await asyncio.to_thread(stack.start)
        cleanup.push_async_callback(asyncio.to_thread, stack.stop)
        store = Store(endpoints)
        cleanup.push_async_callback(store.close)
        yield Stage(endpoints, store, pace)


class Migration:
    """A migration as its operator sees it: commands, and the controller's page."""

    def __init__(self, pace: Pace, page: Callable[[], str]) -> None:
        """Take the machine's pace, and what says where the controller's page is now, "127.0.0.1:8001"."""
        self._pace, self._page = pace, page

    async def tool(self, command: list[str], settings: Mapping[str, str]) -> Ran:
        """Run a command line tool to its end."""
        return Ran(*await run_tool(command, settings, self._pace.deadline(PATIENCE_S)))

    async def status(self) -> dict[str, Any]:
        """Return the controller's own page; empty while it doesn't answer."""
        return await ask(f"http://{self._page()}/status") or {}

    async def until(self, what: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the status is as wanted, and return it."""
        deadline, status = self._pace.deadline(PATIENCE_S), dict[str, Any]()
        while not deadline.over:
            status = await self.status()
            if status and holds(status):
                return status
            await asyncio.sleep(0.1)
        raise AssertionError(f"never {what}; the last status: {json.dumps(status)[:3000]}")

    async def phase(self, name: str) -> dict[str, Any]:
        """Wait for a phase."""
        return await self.until(f"in {name}", lambda status: status.get("phase") == name)
