"""Writes of standby rows: copies with no read before, and what a copy that met another row asks for (ADR 0044).

copy        one conditional PutItem
ask         both rows are read, the standby's first; where they differ the owner's content is copied, on the
            condition that the standby's row is the one that was read
first touch no record has shown the standby's row since its table became the standby: unless it is what the record
            says was there before, it is kept in a letter, and then overwritten on the same condition
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Final, Protocol, TypeAlias

import structlog

from crossfade.adapters.plain_transfers import Copied, Met
from crossfade.adapters.wire.errors import UNFIT
from crossfade.core.mapping.interface import Mapping as Migration
from crossfade.core.protocol.plain import fence
from crossfade.core.protocol.plain.rows import (
    DELETED,
    MV,
    TOMBSTONE,
    PlainRow,
    fence_of,
    is_tombstone,
    parse,
    same,
    standing,
)
from crossfade.core.protocol.writing import Transfer, Unfit, Verdict
from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord, StoreRefused, StoreUnavailable
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import Direction
from crossfade.ports.clock import Clock
from crossfade.ports.plain_table import PlainTable
from crossfade.ports.sending import NotSent
from crossfade.ports.tombstones import Tombstones
from crossfade.runtime.retry import persist, wait_s

log = structlog.get_logger()

SLICE: Final = 500
"""Copies between two looks at whether the standby was sealed meanwhile."""

ROUNDS: Final = 8
"""How often a row may change between its read and its write before its key is taken up again later."""


_APPLIED: Final = Verdict.APPLIED
ANOTHERS: Final = Unfit("its key is taken there by a row that came from another key of the source")
"""What becomes of a second row of the source that a mapping gives a key that is taken."""


class Undone(Enum):
    """Why a key was not settled: it is taken up again at the next view of the map."""

    STOPPED = "stopped"


class Copies(Protocol):
    """`crossfade.adapters.plain_transfers.PlainTransfers`, and its twin in memory."""

    async def copy(self, transfers: Sequence[Transfer], floor: int) -> list[Copied]:
        """Write copies of different keys."""
        ...


Settled: TypeAlias = Verdict | Unfit | Undone | fence.Met
Keep: TypeAlias = Callable[[Mapping[str, Image | None]], object]


class StandbyWrites:
    """Writes to one table while it is the standby.

    Attributes:
        throttled: copies that were sent back so far.
    """

    def __init__(
        self,
        mapping: Migration,
        direction: Direction,
        *,
        copies: Copies,
        standby: PlainTable,
        owner: PlainTable,
        tombstones: Tombstones,
        clock: Clock,
        stops: Callable[[], bool],
        jitter: Callable[[], float] = random.random,
        on_request: Callable[[], None] = lambda: None,
    ) -> None:
        """Put the parts together.

        Args:
            mapping: of the migration.
            direction: its origin owns, its destination is the standby.
            copies: writes copies to the destination.
            standby: the destination, whole rows.
            owner: the origin, which is only read here.
            tombstones: the durable list.
            clock: waits before what was throttled is sent again.
            stops: says whether the standby was sealed meanwhile, so that what isn't sent yet waits.
            jitter: random number from 0 to 1.
            on_request: called after each slice of copies.
        """
        self._mapping, self._direction, self._carry = mapping, direction, mapping.carry
        self._copies, self._standby, self._owner = copies, standby, owner
        self._tombstones, self._clock = tombstones, clock
        self._stops, self._jitter, self._on_request = stops, jitter, on_request
        self._shape, self._owner_shape = mapping.shape(direction.destination), mapping.shape(direction.origin)
        self.throttled = 0

    async def copy(self, transfers: Sequence[Transfer], floor: int) -> list[Settled]:
        """Write copies of different keys; return what became of each.

        Args:
            transfers: the copies.
            floor: the lowest fence of this interval.

        Raises:
            StoreRefused: the table is gone, or may not be written.
        """
        settled: list[Settled] = [Undone.STOPPED] * len(transfers)
        if deleted := [each.key for each in transfers if DELETED in each.image]:
            await self._list(deleted)
        pending, failures = list(range(len(transfers))), 0
        while pending and not self._stops():
            part, pending = pending[:SLICE], pending[SLICE:]
            again = []
            answers = await self._send([transfers[index] for index in part], floor)
            for index, answer in zip(part, answers, strict=True):
                if answer is Verdict.APPLIED:
                    settled[index] = Verdict.APPLIED
                    continue
                found = self._judged(transfers[index], answer, floor)
                if found is fence.Met.AGAIN:
                    again.append(index)
                else:
                    settled[index] = found
            self._on_request()
            failures = failures + 1 if again else 0
            if again:
                pending += again
                await self._clock.sleep(wait_s(failures, self._jitter()))
        return settled

    async def _send(self, transfers: Sequence[Transfer], floor: int) -> Sequence[Copied]:
        try:
            if self._shape.kept:
                return [await self._read_then_put(each, floor) for each in transfers]
            return await self._copies.copy(transfers, floor)
        except StoreUnavailable as error:
            log.warning("the table doesn't answer, trying again", error=str(error))
            return [NotSent.THROTTLED] * len(transfers)

    async def _read_then_put(self, transfer: Transfer, floor: int) -> Copied:
        """Do as a copy does where two rows of the source may meet in one key: a condition can't tell them apart."""
        met = (await self._standby.read_many([transfer.key])).get(transfer.key)
        if met is not None and self._mapping.is_anothers(met, transfer.image):
            return ANOTHERS
        try:
            there = None if met is None else fence_of(met)
        except PoisonRecord:
            return Met(met)
        takes = not floor if there is None else floor <= there < transfer.version
        return (await self._put(transfer, met) if takes else None) or Met(met)

    def _judged(self, transfer: Transfer, answer: Copied, floor: int) -> Settled:
        if isinstance(answer, Met):
            try:
                return fence.judge(transfer, answer.row, floor, self._shape)
            except PoisonRecord:
                return Verdict.UNVERSIONED
        if answer is NotSent.THROTTLED:
            self.throttled += 1
            return fence.Met.AGAIN
        return answer

    async def ask(
        self, key: Key, own: Key, committed_us: int, floor: int, befores: Sequence[Image | None]
    ) -> Settled | Found:
        """Have the owner decide what stands on the standby.

        Args:
            key: of the standby's row.
            own: of the owner's.
            committed_us: of the record that asks.
            floor: as in `copy`.
            befores: see `touch`.

        Returns:
            APPLIED or DUPLICATE; STOPPED; Unfit; or the row that must be kept in a letter first: then call again with
            it in `befores`.
        """
        for _ in range(ROUNDS):
            if self._stops():
                break
            met, ours = await self.read(key, own)
            if ours is None or is_tombstone(ours, self._owner_shape):
                ours = None
                carried = self._carry(self._direction, key_image(own, self._owner_shape.key) | {DELETED: TOMBSTONE})
            else:
                carried = self._carry(self._direction, ours)
            is_same = self._is_same(standing(parse(carried, self._shape)), met)
            version = fence.asked(None if met is None else fence_of(met), floor, committed_us, is_same=is_same)
            if version is None:
                return Verdict.DUPLICATE
            if met is not None and self._mapping.is_anothers(met, carried):
                return ANOTHERS
            if not is_same and not self._may_replace(met, floor, befores):
                return Found(met)
            if put := await self._put(Transfer(key, version, carried), met):
                return put
        return Undone.STOPPED

    async def touch(self, transfer: Transfer, floor: int, befores: Sequence[Image | None]) -> Settled | Found:
        """Write the first copy of this interval over a row.

        Args:
            transfer: the copy.
            floor: as in `copy`.
            befores: what may be overwritten, in the standby's names: rows that records show as they were before a
                change, None for no row, and those that a letter keeps.

        Returns:
            As `ask`; `fence.Met.ASKS` where the copy has been overtaken in doubt.
        """
        for _ in range(ROUNDS):
            if self._stops():
                break
            found = await persist(lambda: self._standby.read_many([transfer.key]))
            met = found.get(transfer.key)
            judged = fence.judge(transfer, met, floor, self._shape)
            if judged not in (fence.Met.FIRST_TOUCH, fence.Met.AGAIN):
                return judged
            if met is not None and self._mapping.is_anothers(met, transfer.image):
                return ANOTHERS
            alike = self._is_same(standing(parse(transfer.image, self._shape)), met)
            if not alike and not self._may_replace(met, floor, befores):
                return Found(met)
            if put := await self._put(transfer, met):
                return put
        return Undone.STOPPED

    async def _put(self, transfer: Transfer, met: Image | None) -> Verdict | Unfit | None:
        """Write a copy over the row that was read; None if another one stands there by now."""
        if DELETED in transfer.image:
            await self._list([transfer.key])
        image = key_image(transfer.key, self._shape.key) | transfer.image
        image[MV] = wire.of_number(transfer.version)
        try:
            return _APPLIED if await persist(partial(self._standby.put, image, met=met)) else None
        except StoreRefused as error:
            if error.reason not in UNFIT:
                raise
            return Unfit(str(error))

    async def read(self, key: Key, own: Key) -> tuple[Image | None, Image | None]:
        """Read both rows consistently, the standby's first: a copy that arrives meanwhile makes no false agreement."""
        met = (await persist(lambda: self._standby.read_many([key]))).get(key)
        return met, (await persist(lambda: self._owner.read_many([own]))).get(own)

    def _is_same(self, wanted: PlainRow | None, met: Image | None) -> bool:
        return same(wanted, standing(None if met is None else parse(met, self._shape)))

    def _may_replace(self, met: Image | None, floor: int, befores: Sequence[Image | None]) -> bool:
        known = (None if before is None else parse(before, self._shape) for before in befores)
        return fence.may_replace(None if met is None else parse(met, self._shape), floor, known)

    async def _list(self, keys: Sequence[Key]) -> None:
        await persist(lambda: self._tombstones.add(self._direction.destination, keys))


class Found:
    """A row that no record has shown, to be kept before it is overwritten.

    Attributes:
        row: as it stands there; None for none.
    """

    def __init__(self, row: Image | None) -> None:
        self.row = row
