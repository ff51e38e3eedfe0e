"""The durable list of tombstones on a standby, so that a flip purges them without a scan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side


class Tombstones(Protocol):
    """Keys of rows that may be tombstones. A key is listed before its tombstone is written, and taken out after."""

    async def add(self, side: Side, keys: Sequence[Key]) -> None:
        """List keys of a table."""
        ...

    def listed(self, side: Side) -> AsyncIterator[Sequence[Key]]:
        """Return the keys of a table, page by page."""
        ...

    async def remove(self, side: Side, keys: Sequence[Key]) -> None:
        """Take keys out whose tombstones are gone."""
        ...
