"""One table under the plain protocol, as a coordinator and its cleaning commands use it: whole rows, each write on the
condition that what it met is unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import TableShape


class RowPage(NamedTuple):
    """One page of a scan.

    Attributes:
        rows: those that belong to the mapping, by encoded key, as they stand there.
        scanned: rows read, others' included.
        next: where the following page starts, opaque; None after the last page of the segment.
    """

    rows: Sequence[tuple[Key, Image]]
    scanned: int
    next: bytes | None


class PlainTable(Protocol):
    """Reads whole rows, consistently, and writes them on a condition.

    Writes raise Throttled (not applied), StoreUnavailable (the outcome is unknown; safe to send again), StoreRefused.
    """

    @property
    def shape(self) -> TableShape:
        """What the table looks like."""
        ...

    async def read_many(self, keys: Sequence[Key]) -> Mapping[Key, Image]:
        """Read rows; keys without one are missing in the result."""
        ...

    async def scan_page(
        self, *, segment: int = 0, segments: int = 1, start: bytes | None = None, limit: int = 500
    ) -> RowPage:
        """Read one page of a parallel, consistent scan, filtered to the rows that belong to the mapping."""
        ...

    async def put(self, image: Image, *, met: Image | None) -> bool:
        """Replace a row by another, key included, if it still has the fence that was met.

        Args:
            image: the row.
            met: what stood there when it was read; None for nothing.

        Returns:
            False if something else stands there by now.
        """
        ...

    async def delete_tombstone(self, key: Key, *, fence: int) -> bool:
        """Delete a tombstone, if it still is one of that fence; False if something else, or nothing, stands there."""
        ...

    async def delete(self, met: Image) -> bool:
        """Delete a row if each of its attributes is as it was met; False if one isn't, or nothing stands there."""
        ...

    async def strip(self, key: Key, names: Sequence[str], *, fence: int) -> bool:
        """Take attributes of ours out of a row, if it still has that fence; creates none. False if it hasn't."""
        ...
