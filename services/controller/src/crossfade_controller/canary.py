"""The canary: a key of the mapping's own, never a client's, that proves the paths and measures the protocol.

It is a stub, hidden from reads and counts, and its writes are lifts: the version rises, no value changes and no event
is emitted. In BOTH_WAYS it is handed over to the target table, ahead of all clients, so that each lift there has to
come back to the source table by reverse replication. That is what "reverse path proven" means.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

import structlog

from crossfade.core.migration.evidence import Probe
from crossfade.core.migration.phases import Phase
from crossfade.core.migration.state import Migration
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import Aim
from crossfade.core.protocol.writing import Applied
from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.percentile import percentile
from crossfade.core.values.shape import Side
from crossfade_controller.world import World

log = structlog.get_logger()

AHEAD: Final = frozenset({Phase.BOTH_WAYS, Phase.RAMPING})
"""Where the canary has to be on the target table. A forward ramp soon after a rollback may pass BOTH_WAYS between two
probes, so it is looked for in RAMPING, too."""


class _Write(NamedTuple):
    took_ms: float
    failed: bool


class Prober(Protocol):
    """What proves the paths and measures the protocol, while evidence is collected."""

    def record(self) -> Probe:
        """Return what is known."""

    async def probe(self, state: Migration) -> None:
        """Write once more, if it is time to."""

    async def go_home(self) -> None:
        """Leave nothing in the way of a migration that is given up."""


class Canary:
    """Writes in intervals, and remembers what became of it."""

    def __init__(self, world: World, allocate: Callable[[str], Awaitable[int]]) -> None:
        """Take the ports.

        Args:
            world: the ports.
            allocate: reserves a generation durably; the same purpose finds the same one until it was used.
        """
        self._world = world
        self._rows, self._acts = world.mapping.protocol.rows(), world.mapping.protocol.acts
        self._allocate = allocate
        self.key = world.settings.canary(world.mapping)
        self._writes: deque[_Write] = deque(maxlen=world.settings.probe_window)
        self._expected: int | None = None
        self._proven_at_s: float | None = None
        self._probed_s = float("-inf")

    def record(self) -> Probe:
        """Return what is known."""
        p99_ms = percentile(0.99, ((each.took_ms, 1) for each in self._writes if not each.failed))
        now_s = self._world.clock.monotonic()
        return Probe(
            proven_s=None if self._proven_at_s is None else now_s - self._proven_at_s,
            writes=len(self._writes),
            failed=sum(each.failed for each in self._writes),
            p99_ms=None if p99_ms is None else round(p99_ms, 1),
            key=self.key.decode(),
        )

    async def probe(self, state: Migration) -> None:
        """Write once more, if it is time to, and see whether the last write came back."""
        if state.phase not in state.table.replicating:
            return
        try:
            await self._see_return()
            now_s = self._world.clock.monotonic()
            if self._expected is None and now_s - self._probed_s >= self._world.settings.probe_s:
                self._probed_s = now_s
                await self._write(state)
        except CrossfadeError as error:
            self._writes.append(_Write(0.0, failed=True))
            log.warning("canary failed", error=str(error), code=error.code)

    async def go_home(self) -> None:
        """Hand the canary back to the source table, before a migration is given up."""
        key, tables = self.key, self._world.tables
        if self._rows.owns(await tables[Side.TARGET].read(key), Side.TARGET):
            generation = await self._allocate("canary home")
            await self._world.ownership.hand_over_many([key], Aim(Side.SOURCE, generation))

    async def _see_return(self) -> None:
        if self._expected is None:
            return
        source = await self._world.tables[Side.SOURCE].read(self.key)
        if source is not None and self._rows.owns(source, Side.SOURCE):
            self._expected = None  # handed back meanwhile: a handover is no proof of replication
        elif self._rows.version_of(source) >= self._expected:
            self._expected, self._proven_at_s = None, self._world.clock.monotonic()
        elif self._world.clock.monotonic() - self._probed_s > self._world.settings.gate_probe_age_s:
            self._expected = None  # write again; the proof stays as old as it is

    async def _write(self, state: Migration) -> None:
        tables = self._world.tables
        owner, item = await self._owner()
        if state.phase in AHEAD and owner is not Side.TARGET and not state.paused:
            await self._move_ahead(item)
            owner, item = await self._owner()
        if owner is None or item is None:
            return  # on its way, or never handed over: nothing to lift
        complete, now_us = state.document.complete, self._world.clock.wall_us()
        lift = self._acts.lift(self.key, item.version, now_us=now_us, complete=complete)
        begun_s = self._world.clock.monotonic()
        answer = await tables[owner].perform(lift.write)
        self._writes.append(_Write((self._world.clock.monotonic() - begun_s) * 1000, failed=False))
        if isinstance(answer, Applied) and owner is Side.TARGET:
            self._expected = lift.version

    async def _owner(self) -> tuple[Side | None, Row | None]:
        for side in (Side.TARGET, Side.SOURCE):
            item = await self._world.tables[side].read(self.key)
            if item is not None and self._rows.owns(item, side):
                return side, item
        return None, None

    async def _move_ahead(self, item: Row | None) -> None:
        generation = await self._allocate("canary")
        source = self._world.tables[Side.SOURCE]
        if item is None and await source.read(self.key) is None:
            await source.perform(self._acts.stub(self.key, generation, now_us=self._world.clock.wall_us()).write)
        for done in await self._world.ownership.hand_over_many([self.key], Aim(Side.TARGET, generation)):
            if isinstance(done, Exception):
                raise done
