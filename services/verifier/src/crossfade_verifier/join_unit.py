"""A share of the rows that were spilled, of both tables: matched by digests, and read by key where those differ."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, Final, cast

from crossfade.contracts.passes import PassRecord, UnitRecord
from crossfade.core.parity.classes import Pair, agrees
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.joining import Spilled, decode_spilled, partition_of, spilled_rows
from crossfade_verifier.reading.typed import AnyRow
from crossfade_verifier.scan_unit import blob_name
from crossfade_verifier.units import CHUNK, Checkpoint, Means, Unit

JOINED_AT_ONCE: Final = 100_000
"""Spilled rows that one join unit holds at a time."""

NO_ROWS: Final = b"\x90"
"""A blob of none."""


class JoinUnit(Unit):
    """A share of the rows that were spilled, of both tables."""

    def __init__(self, means: Means, whole: PassRecord, record: UnitRecord, *, complete: bool) -> None:
        """See `Unit`."""
        super().__init__(means, whole, record, complete=complete)
        self._place = (0, b"")

    def _checkpoint(self) -> Checkpoint:
        kept = super()._checkpoint()
        kept.place = self._place
        return kept

    def _resume(self, kept: Checkpoint) -> None:
        super()._resume(kept)
        self._place = kept.place

    async def _go_through(self) -> None:
        store, whole, part = self._means.store, self._whole, self.record.number
        units = await self._insist(lambda: store.units(whole))
        counted, total = set(), 0
        for each in units:
            total += each.head.get("spilled", 0)
            for counter, numbers in each.head.get("spills", ()):
                counted |= {blob_name(part, each.number, counter, number) for number in range(1, numbers + 1)}
        there = await self._insist(lambda: store.blobs(whole.id, f"{part:05d}-"))
        names = [name for name in there if name in counted]
        rounds = max(1, ceil(total / whole.scan_units / JOINED_AT_ONCE))
        for number in range(self._place[0], rounds):
            pairs = await self._spilled_pairs(names, number, rounds)
            await self._match(pairs)
            self._place = (number + 1, b"")

    async def _spilled_pairs(self, names: Sequence[str], number: int, rounds: int) -> dict[bytes, list[Spilled | None]]:
        store, parts = self._means.store, self._whole.scan_units
        found: dict[bytes, list[Spilled | None]] = {}
        for name in names:
            blob = await self._insist(lambda name=name: store.blob(self._whole.id, name))  # type: ignore[misc]
            for row in decode_spilled(blob or NO_ROWS):
                if partition_of(row.key, parts * rounds) // parts == number:
                    pair = found.setdefault(row.key, [None, None])
                    pair[0 if row.side == Side.SOURCE.value else 1] = row
        return found

    async def _both_rows(self, keys: Sequence[bytes]) -> list[tuple[bytes, AnyRow, AnyRow]]:
        there = {side: await self._rows_of(side, keys) for side in Side}
        return [(key, there[Side.SOURCE].get(key), there[Side.TARGET].get(key)) for key in keys]

    async def _match(self, pairs: dict[bytes, list[Spilled | None]]) -> None:
        rows, number = spilled_rows(self._rows), self._place[0]
        keys = sorted(key for key in pairs if key > self._place[1])
        for start in range(0, len(keys), CHUNK):
            await self.followed.room()
            chunk = keys[start : start + CHUNK]
            equal = {key for key in chunk if agrees(Pair(*cast("Any", pairs[key])), cast("Any", rows))}
            read = await self._both_rows([key for key in chunk if key not in equal])
            for key in sorted(equal):
                source, target = pairs[key]
                either = source or target
                self.findings.verify_digest(Key(key), None if either is None else either.digest)
                self.followed.passed(Key(key))
            self._judge(self._means.both.reading.compare(read, self._rows))
            self._place = (number, chunk[-1])
