"""What was lately seen, in bounded memory: two generations; the older one goes when the younger one is full."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """The latest entries of a mapping from 64-bit hashes: at least `most`, and never more than twice as many."""

    def __init__(self, most: int) -> None:
        """Start empty."""
        self._most: Final = most
        self._young: dict[int, V] = {}
        self._old: dict[int, V] = {}

    def get(self, point: int) -> V | None:
        """Return an entry, if it is still there."""
        found = self._young.get(point)
        return self._old.get(point) if found is None else found

    def put(self, point: int, value: V) -> None:
        """Remember an entry."""
        self._young[point] = value
        if len(self._young) >= self._most:
            self._young, self._old = {}, self._young

    def drop(self, point: int) -> None:
        """Forget an entry."""
        self._young.pop(point, None)
        self._old.pop(point, None)
