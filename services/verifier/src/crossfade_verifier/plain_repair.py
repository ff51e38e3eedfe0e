"""Repair under the plain protocol: the owner's content goes to the standby, under the fence that was seen (ADR 0046).

    stuck, diverged, missing    put the owner's content, mapped, at the fence that stands there, one last digit higher
    extra                       put a tombstone, likewise; it is listed first, so that a flip purges it

The condition is the fence that was seen, so a copy that comes meanwhile wins, and so does any later one. While it
writes, the verifier is a member of the migration: it registers, reads the map, and works; unless the map is open,
nothing is written. It leaves after each slice, so that one that is killed while it only compares keeps no flip waiting.
After a flip a row without a fence of this turn is never overwritten: it may be the only copy of a write
(`crossfade_verifier.handing`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

from crossfade.application.membership import Membership
from crossfade.contracts.repairs import RepairStep
from crossfade.core.mapping.keying import CARRIED_KEY
from crossfade.core.parity.classes import Difference, Reading
from crossfade.core.protocol.plain.map import State
from crossfade.core.protocol.plain.rows import DELETED, MV, TOMBSTONE, PlainRow, owned
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import Act, RowReader
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values.errors import CrossfadeError, PoisonRecord
from crossfade.core.values.image import Image, of_number, of_string
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import Side, direction_to
from crossfade.ports.clock import Clock
from crossfade.ports.tombstones import Tombstones
from crossfade_verifier.both import BothTables
from crossfade_verifier.reading.rows import Seen
from crossfade_verifier.repair import LEFT, Counting, Repairer, Step

MISSED: Final = (
    "no copy has come to this row since the flip, so it may be the only copy of a write: it is settled by the pass "
    "after the flip, or its letter says what to do"
)


class Standby(Protocol):
    """What of `crossfade.ports.plain_table.PlainTable` is needed."""

    async def put(self, image: Image, *, met: Image | None) -> bool:
        """Replace a row by another, key included, if it still has the fence that was met."""
        ...


class Member(NamedTuple):
    """What this process writes standby rows with, as a member.

    Attributes:
        membership: of this process.
        tables: either side, to be written while it is the standby.
        tombstones: the durable list of them.
    """

    membership: Membership
    tables: Mapping[Side, Standby]
    tombstones: Tombstones


class PlainRepairer(Repairer):
    """Plans steps of a repair, and carries them out."""

    def __init__(self, both: BothTables, member: Member, counting: Counting, *, clock: Clock) -> None:
        """Take the tables, what to write with, and who counts."""
        super().__init__(both, {}, counting, clock=clock)
        self._member = member
        self._working = 0
        self._beating: asyncio.Task[None] | None = None

    async def plan(self, keys: Sequence[Key], *, now_us: int | None = None) -> list[Step]:
        """See `Repairer.plan`. Around a flip nothing is to be done to any key."""
        view = await self._both.look()
        steps = await super().plan(keys, now_us=now_us)
        if view.is_open and await self._both.look() == view:
            return steps
        why = self._both.owning.view.why or "the tables were flipped while they were read: plan again"
        return [each._replace(side=None, write=None, why=why) for each in steps]

    async def carry_out(self, steps: Sequence[RepairStep], *, now_us: int, again: int = 0) -> list[str]:
        """See `Repairer.carry_out`."""
        membership = self._member.membership
        self._working += 1
        try:
            await membership.beat()
            self._beating = self._beating or asyncio.create_task(membership.run())
            return await super().carry_out(steps, now_us=now_us, again=again)
        finally:
            self._working -= 1
            if not self._working:
                beating, self._beating = self._beating, None
                if beating is not None:
                    beating.cancel()
                    await asyncio.gather(beating, return_exceptions=True)
                await membership.leave()

    def _class_of(self, reading: Reading, rows: RowReader) -> Difference:
        return self._both.classify(reading, rows) or Difference.IN_FLIGHT

    def _what(
        self,
        key: Key,
        side: Side,
        found: Difference,
        owner: Row | None,
        standby: Row | None,
        now_us: int,
        complete: bool,
    ) -> tuple[Side | None, Act | Transfer | None, str]:
        del now_us, complete  # the map says who owns, and no version is seeded
        if found in LEFT:
            return None, None, LEFT[found]
        fence = 0 if standby is None or standby.version is None else standby.version
        if self._both.owning.view.floor > fence:
            return None, None, MISSED
        try:
            image = self._copy(key, side, owner)
            there = self._both.key_at(side.other, key)
        except PoisonRecord as error:
            return None, None, f"the owner can't be mapped: {error}"
        image |= key_image(there, self._both.mapping.shape(side.other).key) | {MV: of_number(fence + 1)}
        why = "the owner has nothing" if DELETED in image else "the standby must hold what its owner holds"
        return side.other, Transfer(key, fence + 1, image), why

    def _copy(self, key: Key, side: Side, owner: Row | None) -> Image:
        """Return an owner's row as it stands on the other side, without key and fence; a tombstone for none."""
        image = {} if owner is None else cast("Seen", owner).image
        row = None if owner is None else owned(cast("PlainRow", self._both.core_row(side, owner)))
        if row is not None:
            return dict(self._both.mapping.carry(direction_to(side.other), image))
        kept = self._both.mapping.shape(side.other).kept
        return {DELETED: TOMBSTONE} | ({CARRIED_KEY: of_string(key.decode())} if kept else {})

    async def _write(self, step: Step) -> str:
        if not isinstance(step.write, Transfer) or step.side is None:
            return ""
        view, side = self._both.owning.view, step.side
        try:
            if not (await self._both.look()).is_open:
                return self._both.owning.view.why
            async with self._member.membership.working() as now:
                if now.state is not State.OPEN or now.epoch != view.epoch:
                    return f"the map is {now.state.value} at epoch {now.epoch} by now: plan again"
                if step.found is Difference.EXTRA:
                    await self._member.tombstones.add(side, [self._both.key_at(side, step.key)])
                done = await self._member.tables[side].put(step.write.image, met=_image(step.met))
        except CrossfadeError as error:
            if error.retryable:
                raise
            return f"{error.code}: {error}"
        return "" if done else "the item changed"


def _image(row: Any) -> Image | None:
    return row.image if isinstance(row, Seen) else None
