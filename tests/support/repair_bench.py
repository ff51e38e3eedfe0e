"""Repairs on memory: verifiers that can be killed at any call, on tables that change while they work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from crossfade.adapters.memory.control import ControlStore, MemoryJournal
from crossfade.adapters.memory.repairs import MemoryRepairs, RepairRows
from crossfade.contracts.repairs import OVER, RepairRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.both import BothTables
from crossfade_verifier.repair import Repairer
from crossfade_verifier.repairs import Repairs
from engagement_migration import MAPPING
from verifier_world import World

CALLS: Final = frozenset(
    {"read_answers", "transfer", "perform", "append", "entries"}
    | {"create", "get", "replace", "all", "put_steps", "steps", "put_outcomes", "outcomes", "remove"}
)


class Line:
    """What the calls of one verifier travel over.

    Attributes:
        calls: how many were made, those that only look for something to do left out.
        dies_at: number of the call with which the verifier is killed; None for never.
        arrives: whether that last call still takes effect.
        dead: set then; nothing arrives any more.
        before: done before each call; what it returns is awaited.
        after: done after each call.
    """

    def __init__(self, *, dies_at: int | None = None, arrives: bool = False) -> None:
        self.calls, self.dies_at, self.arrives = 0, dies_at, arrives
        self.dead = asyncio.Event()
        self.before: Callable[[str], Awaitable[object] | None] = lambda _name: None
        self.after: Callable[[str], Awaitable[object] | None] = lambda _name: None

    async def call(self, name: str, method: Any, arguments: Any, named: Any) -> Any:
        await asyncio.sleep(0)  # others get on meanwhile
        if self.dead.is_set():
            raise asyncio.CancelledError
        self.calls += name != "all"  # it only looks, as often as time allows
        if self.calls == self.dies_at:
            if self.arrives:
                await method(*arguments, **named)
            self.dead.set()
            raise asyncio.CancelledError
        if (first := self.before(name)) is not None:
            await first
        answer = await method(*arguments, **named)
        if (then := self.after(name)) is not None:
            await then
        return answer

    def to(self, target: Any) -> Any:
        """Return something as it is reached over this line."""
        return _Far(self, target)


class _Far:
    def __init__(self, line: Line, target: Any) -> None:
        self._line, self._target = line, target

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in CALLS:
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            return await self._line.call(name, found, arguments, named)

        return call


class Uncounted:
    """Stands for the passes, which nobody asks here."""

    def repairing(self, keys: int) -> AbstractContextManager[None]:
        return nullcontext()


class RepairBench:
    """One migration's tables, journal and repairs; and as many verifiers as are wanted."""

    def __init__(self, wallets: int, *, per_s: int = 4) -> None:
        self.world = World(wallets)
        self.rows, self.control = RepairRows(), ControlStore()
        self.per_s = per_s
        self._verifiers = 0
        self.store, self.journal = MemoryRepairs(self.rows), MemoryJournal(self.control, who="operator")
        self.desk = self.verifier(Line())

    def verifier(self, line: Line) -> Repairs:
        """Return a new process's repairs."""
        self._verifiers += 1
        pod = f"pod-{self._verifiers}"
        tables = {side: line.to(self.world.tables[side]) for side in Side}
        repairer = Repairer(
            BothTables(MAPPING, tables[Side.SOURCE], tables[Side.TARGET]), tables, Uncounted(), clock=self.world.clock
        )
        return Repairs(
            repairer,
            line.to(self.store),
            line.to(MemoryJournal(self.control, who=pod)),
            clock=self.world.clock,
            pod=pod,
            per_s=self.per_s,
            retry_s=0.1,
            every_s=0.001,
        )

    async def planned(self, keys: list[Key]) -> str:
        """Plan a repair; return its id."""
        record = await self.desk.plan(keys, asked={"keys": len(keys)}, who="ann")
        record = await self.desk.planned(record.id, within_s=10)
        assert record.state == "planned", record
        return record.id

    async def over(self, repair: str, *verifiers: Repairs, until: asyncio.Event | None = None) -> RepairRecord:
        """Let verifiers run until a repair is over, or an event is set. Time passes only here and by their sleeping."""
        tasks = [asyncio.create_task(each.run()) for each in verifiers]
        try:
            for _ in range(20_000):
                record = await self.desk.get(repair)
                if record.state in OVER or (until is not None and until.is_set()):
                    return record
                await asyncio.sleep(0)
                self.world.clock.now += 0.05
            raise AssertionError(record)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def outcomes(self, repair: str) -> list[str | None]:
        """Return what became of each step."""
        record = await self.desk.get(repair)
        return [each.outcome for each in (await self.desk.report(record, limit=record.keys)).steps]
