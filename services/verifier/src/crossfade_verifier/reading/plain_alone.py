"""What one row says alone where owners' rows tell no version: a digest of its key and content; nothing of a tombstone.

As `crossfade_verifier.reading.alone`, by value: a copy has a fence, which its owner's row has not.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

import msgspec
import xxhash

from crossfade.core.values.declared import Attributes
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.shape import Side
from crossfade_verifier.reading.plain import PlainReading, PlainStateReading
from crossfade_verifier.reading.sums import VALUED, Sums, decode_line

_PLACE_SEED = 3
_digest = xxhash.xxh3_64_intdigest


class PlainAlone:
    """One side's rows, read without their counterparts."""

    def __init__(self, reading: PlainReading, side: Side, *, buckets: int) -> None:
        """Take what a row is read by.

        Args:
            reading: of both tables.
            side: whose rows.
            buckets: of the sums, a power of 2.
        """
        self._reading, self._side, self._mask = reading, side, buckets - 1
        self._states = PlainStateReading(reading, side, lambda: side)  # content alone is asked for
        self.constants = reading.constants(side)

    def add(self, block: bytes, sums: Sums) -> None:
        """Sum up a block of whole lines."""
        for number, line in enumerate(block.splitlines(), 1):
            sums.rows += 1
            try:
                image = decode_line(line).Item
                key, is_ours = self._reading.keyed(self._side, image)
            except (msgspec.MsgspecError, PoisonRecord) as error:
                sums.meet_odd(f"not an export line: {error}", number)
                continue
            if not is_ours:
                sums.meet_other(key)
            elif (digest := self._digest_of(key, image)) is None:
                sums.nothing += 1
            else:
                sums.belonging += 1
                sums.lanes[VALUED][_digest(key) & self._mask] += digest

    def _digest_of(self, key: bytes, image: Attributes) -> int | None:
        """Return the digest of a row; None for a tombstone."""
        try:
            row = self._reading.row(self._side, image) if self._reading.is_odd(image) else None
            if row is not None and row.unreadable:
                return _digest(f"{self._side.value}: {row.unreadable}".encode() + key)
            state = self._states.state(key, image)
        except PoisonRecord as error:
            return _digest(f"{self._side.value}: {error}".encode() + key)  # equal to nothing
        return None if state.deleted else _digest(state.digest)

    def pick(self, block: bytes, wanted: Container[int], places: int) -> Iterator[tuple[int, bytes]]:
        """Return the lines of a block whose keys are in one of the wanted buckets; see `Alone.pick`."""
        for line in block.splitlines():
            try:
                image = decode_line(line).Item
                key, is_ours = self._reading.keyed(self._side, image)
            except (msgspec.MsgspecError, PoisonRecord):
                continue  # it was counted as odd
            if is_ours and _digest(key) & self._mask in wanted and self._digest_of(key, image) is not None:
                yield _digest(key, _PLACE_SEED) % places, line
