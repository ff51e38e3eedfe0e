"""Marks of applied writes (design.md, section 3, rule 7): they save writes, correctness never depends on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction


class Marks(Protocol):
    """The highest applied version of each key and direction, kept for a while.

    Versions are compared as 20 digits of text, never as numbers. A store that is down, slow or empty answers "no mark":
    neither method raises.
    """

    async def seen(self, direction: Direction, keys: Sequence[Key]) -> list[int | None]:
        """Return the marked version of each key, None where there is none."""
        ...

    async def mark(self, direction: Direction, versions: Mapping[Key, int]) -> None:
        """Raise the marks to these versions; a lower version never replaces a higher one. Call it after the write."""
        ...
