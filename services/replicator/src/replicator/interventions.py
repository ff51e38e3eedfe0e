"""What the apply rule asks for beside transfers: lift an owner, put back a standby, call a person (rules 3 and 5)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import structlog

from crossfade.core.apply import Foreign, ForeignStandby, RemovedStandby, lifted_version
from crossfade.core.digest import same_content
from crossfade.core.errors import PoisonRecord
from crossfade.core.item import FIRST_STAMPED, version_of
from crossfade.core.keys import Key
from crossfade.core.mapping import Mapping
from crossfade.core.shape import Direction, TableShape
from crossfade.core.writes import Answer, Applied, Lift, Restore, Write
from crossfade.ports.table import OwnedTable
from replicator.sender import persist
from replicator.tally import Tally

log = structlog.get_logger()


def _wall_us() -> int:
    return time.time_ns() // 1000


class OwnerSide(Protocol):
    """The table that an intervention writes to."""

    @property
    def shape(self) -> TableShape:
        """What the table looks like."""

    async def perform(self, write: Write) -> Answer:
        """Perform one write."""


class Interventions:
    """Acts on the source table, for one direction."""

    def __init__(
        self,
        mapping: Mapping,
        direction: Direction,
        source: OwnerSide,
        target: OwnedTable,
        *,
        now_us: Callable[[], int] = _wall_us,
    ) -> None:
        """Take both sides.

        Args:
            mapping: of the migration.
            direction: which way the records are applied.
            source: the table that the records tell of.
            target: the other one, only read here.
            now_us: wall clock, µs: seeds the version of an owner that lost its own.
        """
        self._mapping = mapping
        self._reverse = Direction.REVERSE if direction is Direction.FORWARD else Direction.FORWARD
        self._source = source
        self._target = target
        self._now_us = now_us

    async def lift(self, foreign: Foreign, tally: Tally) -> None:
        """Raise the version of an owner that a foreign writer changed: then the write travels like any other."""
        tally.foreign(foreign.committed_us)
        standby = await self._standby_version(foreign.key)
        applied = await self._lift(foreign.key, foreign.seen, foreign.before, standby)
        tally.counts["lifted" if applied else "lift_overtaken"] += 1

    async def lift_if_stamped(self, key: Key, seen: int | None, committed_us: int, tally: Tally) -> None:
        """Do the same for an unstamped write that came too late, if its standby is stamped and the owner is not.

        An old duplicate of a time before the first stamp looks the same, but then the owner has a version by now.
        """
        standby = await self._standby_version(key)
        if standby >= FIRST_STAMPED and await self._lift(key, seen, 0, standby):
            tally.foreign(committed_us)
            tally.counts["lifted"] += 1

    async def restore(self, removed: RemovedStandby, tally: Tally) -> None:
        """Put back a standby row that somebody removed, and ask for a halt."""
        answer = await persist(lambda: self._source.perform(Restore(removed.key, removed.item)))
        tally.counts["restored" if isinstance(answer, Applied) else "restore_overtaken"] += 1
        self._page("standby_removed", removed.key, "somebody removed a standby row; it was put back", tally)

    async def foreign_standby(self, found: ForeignStandby, tally: Tally) -> None:
        """Call a person about a changed standby item, unless it now holds just what its owner has: a repair."""
        if await self._repaired(found):
            tally.counts["repair"] += 1
            return
        tally.foreign(found.committed_us)
        self._page("foreign_standby", found.key, "a writer outside the protocol changed a standby row", tally)

    async def _repaired(self, found: ForeignStandby) -> bool:
        if found.item.version is None:
            return False
        owner = await persist(lambda: self._target.read(found.key))
        if owner is None or owner.version != found.item.version:
            return False
        try:
            return same_content(self._mapping.map_item(self._reverse, owner), found.item)
        except PoisonRecord:
            return False

    async def _standby_version(self, key: Key) -> int:
        return version_of(await persist(lambda: self._target.read(key)))

    async def _lift(self, key: Key, seen: int | None, before: int, standby: int) -> bool:
        write = Lift(key, seen, lifted_version(seen, before, standby, self._now_us() << 10))
        return isinstance(await persist(lambda: self._source.perform(write)), Applied)

    def _page(self, event: str, key: Key, reason: str, tally: Tally) -> None:
        table = self._source.shape.table
        tally.counts[event] += 1
        tally.halt(f"{reason}: {key.decode()} in {table}")
        log.error(event, table=table, key=key.decode(), reason=reason)
