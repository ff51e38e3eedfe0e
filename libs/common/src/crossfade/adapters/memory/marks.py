"""Marks in memory: the shipped fake of the dedup port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction


class MemoryMarks:
    """Marks that live as long as the process and never expire."""

    def __init__(self) -> None:
        self._versions: dict[tuple[Direction, Key], int] = {}

    async def seen(self, direction: Direction, keys: Sequence[Key]) -> list[int | None]:
        """See `crossfade.ports.dedup.Marks`."""
        return [self._versions.get((direction, key)) for key in keys]

    async def mark(self, direction: Direction, versions: Mapping[Key, int]) -> None:
        """See `crossfade.ports.dedup.Marks`."""
        for key, version in versions.items():
            place = (direction, key)
            self._versions[place] = max(version, self._versions.get(place, version))

    def flush(self) -> None:
        """Forget everything, as a Redis that was flushed does."""
        self._versions.clear()
