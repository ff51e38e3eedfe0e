"""A segment of both tables, scanned side by side and matched in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import ceil
from typing import Any, Final

from crossfade.contracts.passes import PassRecord, UnitRecord
from crossfade.core.values.shape import Side
from crossfade_verifier.joining import Join, Spilled, Suspect, encode_spilled, partition_of, spilled
from crossfade_verifier.reading.pages import Page
from crossfade_verifier.units import CHUNK, Checkpoint, Means, Unit

SUSPECTS_FREE: Final = 1000
"""Suspects of a pass that are read by key in any case."""

SUSPECTS_SHARE: Final = 100
"""Of so many rows scanned one may be a suspect that is read by key."""

RESOLVED_MOST: Final = 5000
"""Keys of a unit that were read by key while their partners may still come."""

WAITING_BYTES: Final = 64_000_000
"""Most bytes of rows that wait in one unit."""

UNIT_BYTES: Final = 4096
"""What a read unit buys: so much read consistently, or twice as much otherwise."""


class ScanUnit(Unit):
    """A segment of both tables, scanned side by side."""

    def __init__(self, means: Means, whole: PassRecord, record: UnitRecord, *, complete: bool) -> None:
        """See `Unit`."""
        super().__init__(means, whole, record, complete=complete)
        self._join = Join(means.both.reading, self._rows)
        self._after: dict[Side, bytes] = {}
        self._unread: dict[Side, list[bytes]] = {side: [] for side in Side}
        self._spills: dict[int, int] = {}
        self._spilled = self._suspects = 0

    def head(self) -> dict[str, Any]:
        """See `Unit.head`; spills are what a join unit finds the blobs by."""
        spills = sorted(self._spills.items())
        return super().head() | {"waiting": len(self._join), "spilled": self._spilled, "spills": spills}

    def _checkpoint(self) -> Checkpoint:
        kept = super()._checkpoint()
        kept.after = {side.value: after for side, after in self._after.items()}
        kept.ended = [side.value for side in Side if self._join.scanned_to_end[side]]
        kept.waiting = {side.value: self._unread[side] + self._join.waiting(side) for side in Side}
        kept.resolved = list(self._join.resolved)
        kept.spills, kept.spilled, kept.suspects = dict(self._spills), self._spilled, self._suspects
        return kept

    def _resume(self, kept: Checkpoint) -> None:
        super()._resume(kept)
        self._after = {Side(name): after for name, after in kept.after.items()}
        for name in kept.ended:
            self._join.scanned_to_end[Side(name)] = True
        self._join.resolved |= set(kept.resolved)
        self._unread = {Side(name): list(keys) for name, keys in kept.waiting.items()}
        self._spills, self._spilled, self._suspects = dict(kept.spills), kept.spilled, kept.suspects

    async def _read_unread(self) -> None:
        """Read again by key, each on its side, the rows that waited when the last holder saved."""
        for side, keys in self._unread.items():
            while keys:
                chunk = keys[:CHUNK]
                rows = await self._rows_of(side, chunk)
                del keys[: len(chunk)]
                self._join.put_back(side, rows)

    async def _go_through(self) -> None:
        await self._read_unread()
        join, settings = self._join, self._means.settings
        while sides := self._turn():
            await self.followed.room()
            pages = await asyncio.gather(*(self._page(side) for side in sides))
            for side, page in zip(sides, pages, strict=True):
                self._take(side, page)
            await self._look_at_suspects()
            if len(join) > settings.waiting_rows or join.bytes > WAITING_BYTES:
                await self._spill(join.oldest(len(join) // 2))
        while await self._look_at_suspects():
            await self.followed.room()
        while len(join):
            await self._spill(join.oldest(settings.page))

    def _turn(self) -> list[Side]:
        """Return the sides whose next pages are wanted; first the one that is behind, whose rows others wait for."""
        left = [side for side in Side if not self._join.scanned_to_end[side]]
        ahead = {side: self._join.ahead(side) for side in left}
        left.sort(key=ahead.__getitem__)
        if len(left) == 2 and 2 * (ahead[left[1]] - ahead[left[0]]) > self._means.settings.page:
            return left[:1]
        return left

    async def _page(self, side: Side) -> Page:
        reading, table, settings = self._means.both.reading, self._means.both.table(side), self._means.settings
        await self._means.pace.take(settings.page)

        async def ask() -> Page:
            answer = await table.scan_answer(
                segment=self.record.number,
                segments=self._whole.scan_units,
                start=self._after.get(side),
                limit=settings.page,
            )
            page = reading.page(side, answer)
            if page.read_units is None:
                page = page._replace(read_units=ceil(len(answer) / UNIT_BYTES) / 2)
            return page

        return await self._insist(ask)

    def _take(self, side: Side, page: Page) -> None:
        found = self.findings
        found.scanned[side] += page.scanned
        found.belonging[side] += len(page.rows)
        found.read_units += page.read_units or 0.0
        if side is Side.TARGET:
            found.meet_others(page.others)
        if page.next is not None:
            self._after[side] = page.next
        self._judge(self._join.take(side, page))

    def _budget(self) -> int:
        free = ceil(SUSPECTS_FREE / self._whole.scan_units)
        allowed = max(free, sum(self.findings.belonging.values()) // SUSPECTS_SHARE)
        return min(allowed - self._suspects, RESOLVED_MOST - len(self._join.resolved), 4 * CHUNK)

    async def _look_at_suspects(self) -> bool:
        """Read the counterparts of rows whose partners should have come, within the budget; say whether any was.

        Once something was spilled, their partners may be there: a key that was read here would be met again by its
        join unit, and count twice.
        """
        apart = self._means.both.keys_change  # so that a partner may be in any unit
        suspects = [] if self._spilled or apart else self._join.suspects(max(0, self._budget()))
        if not suspects:
            return False
        wanted = {side: [each.key for each in suspects if each.side is side.other] for side in Side}
        there = {side: await self._rows_of(side, keys) for side, keys in wanted.items()}
        self._suspects += len(suspects)
        self._judge(self._join.resolve(suspects, there))
        return True

    async def _spill(self, rows: Sequence[Suspect]) -> None:
        """Keep rows outside of memory; they count as spilled once all of them are, and the checkpoint says so."""
        reading, store, whole, counter = self._means.both.reading, self._means.store, self._whole, self.record.counter
        number = self._spills.get(counter, 0) + 1
        seen = [(key, reading.seen(side, row)) for key, side, row in rows]
        parts: dict[int, list[Spilled]] = {}
        for key, row in seen:
            parts.setdefault(partition_of(key, whole.scan_units), []).append(spilled(key, row, self._rows))
        for part, forms in sorted(parts.items()):
            name, content = blob_name(part, self.record.number, counter, number), encode_spilled(forms)
            await self._insist(lambda name=name, content=content: store.put_blob(whole.id, name, content))  # type: ignore[misc]
        self._join.remove(rows)
        self._spills[counter] = number
        self._spilled += len(rows)
        for _, row in seen:
            self.findings.drop(row)


def blob_name(part: int, unit: int, counter: int, number: int) -> str:
    """Return the name of a blob of spilled rows: of a partition, by a scan unit's holder, its so many-th."""
    return f"{part:05d}-{unit:05d}-{counter:06d}-{number:06d}"
