"""What the replicator reads of the journal: the phase, which says when a consumer has work (design.md, section 5), and
from when on a writer outside the protocol is a stray (ADR 0016)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from crossfade.contracts.journal import Entry
from crossfade.core.mapping.interface import Mapping as Migration
from crossfade.core.migration.keyed import phases_of
from crossfade.core.migration.phases import Phase
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.control import Journal


def work_of(mapping: Migration, direction: Direction) -> frozenset[Phase]:
    """Return in which phases a direction has work, as the mapping's writer protocol has them.

    The import is done before forward's first: an imported row could overwrite a newer one. The feed is in no phase's
    hands: it reads a stream as soon as there is one, and goes on after COMPLETE.
    """
    first = {Phase.CATCHING_UP} if direction is Direction.FORWARD else set()
    return phases_of(mapping.protocol).replicating | first | {Phase.COMPLETE}


class Standing(NamedTuple):
    """Where the migration stands.

    Attributes:
        phase: by the last entry of that kind.
        since_us: when that was written, µs; 0 when there is none.
        strays_since_us: by side, the commit time in µs from which writers outside the protocol are strays; empty
            before the first entry into BOTH_WAYS.
    """

    phase: Phase = Phase.PLANNED
    since_us: int = 0
    strays_since_us: Mapping[Side, int] = {}


class PhaseWatch:
    """Follows the phase through the journal, reading each entry once."""

    def __init__(self, journal: Journal) -> None:
        """Take the journal."""
        self._journal = journal
        self._number = 0
        self._standing = Standing()
        self._next: asyncio.Task[Standing] | None = None
        self._looking = asyncio.Lock()

    async def strays_since_us(self, side: Side) -> int:
        """Return from which commit time on writers outside the protocol are strays in a table; 0: they are normal yet.

        The answer is right for all records that were read before the call. While the moment is unknown the journal is
        read by a look that begins after the call, which then sees the entry into BOTH_WAYS if there was one before the
        record was written. Once known, the moment stays, and the journal need not answer.

        Raises:
            StoreUnavailable: the journal doesn't answer, so that nothing may be decided yet.
        """
        if not self._standing.strays_since_us:
            if self._next is None:  # all who ask while a look is under way share the one after it
                self._next = asyncio.create_task(self._look_in_turn())
            await asyncio.shield(self._next)
        return self._standing.strays_since_us.get(side, 0)

    async def _look_in_turn(self) -> Standing:
        async with self._looking:
            self._next = None
            return await self._look()

    async def look(self) -> Standing:
        """Read what is new, and return where the migration stands.

        Raises:
            StateMissing: there is no journal: a phase that nobody tells is not taken for PLANNED.
            StoreUnavailable: the journal doesn't answer.
        """
        async with self._looking:
            return await self._look()

    async def _look(self) -> Standing:
        for entry in await self._journal.entries(after=self._number):
            self._number = entry.number
            if entry.kind == "phase":
                phase = Phase(entry.body["to"])
                since = self._standing.strays_since_us
                if phase is Phase.BOTH_WAYS and not since:  # a rollback comes by here again, and changes nothing
                    since = moments(entry)
                self._standing = Standing(phase, entry.at_us, since)
        return self._standing


def moments(entry: Entry) -> dict[Side, int]:
    """Return from which commit time on writers are strays, by side, as the entry into BOTH_WAYS says.

    An entry that doesn't say is of a controller that measured no commit times: its own time stands for them.
    """
    told: Mapping[str, Any] = entry.body.get("strays_since_us", {})
    return {side: int(told.get(side.value, 0)) or entry.at_us for side in Side}
