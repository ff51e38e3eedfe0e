"""The story of `make demo-table`: orders under traffic, moved there, back, and there again, and cleaned."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from crossfade_demo.checks import Check, check
from crossfade_demo.loopback import ask
from crossfade_demo.pace import MOST, Late, Pace, Prober
from crossfade_demo.store import Store
from crossfade_demo.table.checks import check_book, check_clean, check_errors, check_indexes, check_stops
from crossfade_demo.table.fleet import SIGNATURE_S, STEP_S, TARGET, Fleet, ToolFailed
from localaws import Stack

STOP_S: Final = 3.0
DEAD_S: Final = 2.5
SOMETHING_LEFT: Final = 4
"""Exit code of a clean that met rows which changed under it."""
FLIPS: Final = ("cutover", "rollback", "second cutover")
INDEXES: Final = {"by-status": ("status", "placed_at"), "on-the-way": ("courier", "due_at")}


class TableStory:
    """One run, from an empty machine to the checks."""

    def __init__(
        self, folder: Path, examples: Path, say: Callable[[str], None], *, customers: int, per_second: float, seed: int
    ) -> None:
        """Take a folder, the folder of the examples, where steps are announced, and the load."""
        self._folder, self._examples, self._say = folder, examples, say
        self._customers, self._per_second, self._seed = customers, per_second, seed
        self.pace = Pace()
        self.checks: list[Check] = []
        self.stops_s: list[float] = []
        self.took_s: dict[str, float] = {}
        self._began_s = self.pace.monotonic()

    async def play(self) -> None:
        """Play it to the end, whatever happens; `checks` say what held."""
        async with AsyncExitStack() as cleanup:
            prober = Prober(self.pace, self._folder)
            await prober.start()
            cleanup.push_async_callback(prober.finish)
            stack = Stack(signature_age_s=SIGNATURE_S)
            endpoints = await asyncio.to_thread(stack.start)
            cleanup.push_async_callback(asyncio.to_thread, stack.stop)
            self._store = Store(endpoints)
            cleanup.push_async_callback(self._store.close)
            self._fleet = fleet = Fleet(endpoints, self._folder, self._examples, self.pace)
            cleanup.push_async_callback(fleet.stop)
            await self._migrate()
            codes = await fleet.stop()
            failed = [f"{name} ended with {code}" for name, code in codes.items() if code]
            self._keep(check("clean_stops", "every process stopped cleanly on SIGTERM", failed))
            await self._compare_at_the_end()

    async def _migrate(self) -> None:
        why, late = [], False
        try:
            await self._drive()
        except Late as error:
            why, late = [str(error)], error.too_busy
        except ToolFailed as error:
            why = [str(error)]
        claim = "the migration went there, back, there again, and through to COMPLETE"
        self._keep(check("completed", claim, why, too_busy=late))

    async def _drive(self) -> None:
        fleet = self._fleet
        await fleet.fill(self._customers)
        self._say(f"{2 * self._customers} customers with their orders, written by two processes of the application")
        await fleet.begin_application(self._customers, self._per_second, self._seed)
        await fleet.begin_services()
        self._say("start: capture, snapshot, catch-up")
        await self._timed("start", fleet.crossfade("start", "--execute", "--wait"))
        self._say("SIGKILL: the forward worker")
        await fleet.services["forward"].kill()
        await asyncio.sleep(DEAD_S)
        await fleet.services["forward"].start()
        for flip in FLIPS:
            self._say(f"{flip}: one short write stop")
            verb = flip.split()[-1]
            said = await self._timed(flip, fleet.crossfade(verb, "--execute", "--wait"))
            self._say(str(said.get("because")))
            code, out = await fleet.orders("book", fails=True)
            self._keep(check_book(flip, code, json.loads(out) if out else {}))
        self._say("both tables are compared in a full pass")
        self._keep(await self._parity())
        self._say("complete")
        await self._timed("complete", fleet.crossfade("complete", "--confirm", "orders", "--execute", "--wait"))
        for name in ("forward", "reverse"):
            await fleet.services[name].stop()
        self._say("clean: nothing of Crossfade stays in the rows")
        await self._timed("clean", self._clean())

    async def _clean(self) -> dict[str, Any]:
        """Clean until nothing is left: a row that the application writes meanwhile is left to the next run."""
        deadline = self.pace.deadline(STEP_S)
        while True:
            try:
                return await self._fleet.crossfade("clean", "--rows-per-s", "5000", "--execute")
            except ToolFailed as error:
                if error.code != SOMETHING_LEFT or deadline.over:
                    raise

    async def _parity(self) -> Check:
        """Ask for passes until one that began now is clean."""
        url, deadline, last = self._fleet.verifier_url, self.pace.deadline(STEP_S), dict[str, Any]()
        while not deadline.over and not last.get("clean"):
            asked = await ask(f"{url}/passes", {})
            while asked and not deadline.over:
                last = await ask(f"{url}/passes/{asked['id']}") or {}
                if last.get("state") not in ("waiting", "asked", "running"):
                    break
                await asyncio.sleep(0.2)
        wrong = [] if last.get("clean") and not last.get("with_repairs") else [f"last pass: {json.dumps(last)[:800]}"]
        claim = "the verifier's full pass over both tables is clean, under traffic, without repairs"
        return check(
            "parity_clean", claim, wrong, too_busy=deadline.over and deadline.too_busy, verified=last.get("verified")
        )

    async def _compare_at_the_end(self) -> None:
        """Check the data, whatever failed before."""
        code, out = await self._fleet.orders("book", fails=True)
        told = json.loads(out) if out else {}
        self._keep(check_book("end", code, told))
        if not told:
            return
        self._keep(check_errors(told))
        self.stops_s = told["stops_s"]
        slowness = min(MOST, self.pace.slowness(self._began_s, self.pace.monotonic()))
        self._keep(check_stops(self.stops_s, len(FLIPS), STOP_S, slowness=slowness))
        if told["table"] == TARGET:
            rows = [row async for row in self._store.scan(TARGET)]
            self._keep(check_clean(rows))
            indexed = {
                name: (await self._store.call("Scan", TableName=TARGET, IndexName=name))["Items"] for name in INDEXES
            }
            self._keep(check_indexes(rows, indexed, INDEXES))
            ttl = (await self._store.call("DescribeTimeToLive", TableName=TARGET))["TimeToLiveDescription"]
            wrong = [] if ttl.get("TimeToLiveStatus") == "ENABLED" else [f"it is {ttl}"]
            self._keep(check("ttl", "the new table's own TTL is on", wrong))

    async def _timed(self, name: str, doing: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        began_s = time.monotonic()
        said = await doing
        self.took_s[name] = round(time.monotonic() - began_s, 1)
        return said

    def _keep(self, found: Check) -> None:
        self.checks.append(found)
        if not found.passed:
            self._say(f"check failed: {found.name}: {'; '.join(found.wrong)[:300]}")
