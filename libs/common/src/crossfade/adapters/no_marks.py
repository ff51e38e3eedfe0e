"""The dedup port of a process without Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction


class NoMarks:
    """The marks of a process without Redis: there are none, so every copy is written."""

    async def seen(self, direction: Direction, keys: Sequence[Key]) -> list[int | None]:
        """See `crossfade.ports.dedup.Marks`."""
        del direction
        return [None] * len(keys)

    async def mark(self, direction: Direction, versions: Mapping[Key, int]) -> None:
        """See `crossfade.ports.dedup.Marks`."""
