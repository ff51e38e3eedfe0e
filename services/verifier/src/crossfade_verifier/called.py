"""Keys that the continuous mode has called, until they are equal again, or a later pass is done without them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

from crossfade.core.parity.classes import Difference, Pair, PassBook
from crossfade.core.protocol.seam import RowReader
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.findings import sample

KEPT: Final = 10_000
"""Called keys that are kept; of more, only the number is."""


class Swept(NamedTuple):
    """The last pass that is done.

    Attributes:
        id: of the pass.
        started_s: when it began, monotonic clock of this process.
        clean: whether it was clean.
        keys: the keys that it called; None if it called more than it keeps.
    """

    id: str
    started_s: float
    clean: bool
    keys: Set[Key] | None


@dataclass(slots=True)
class Called:
    """A key that reads have called.

    Attributes:
        found: its class.
        first_us: when it was called first, wall clock, µs.
        last_us: when it was called last.
        last_s: the same, monotonic clock.
        side: whose the key was.
        shown: the pair, for humans.
    """

    found: Difference
    first_us: int
    last_us: int
    last_s: float
    side: Side
    shown: dict[str, Any]


class CalledKeys:
    """The keys that differ, as reads said last.

    Also what a report asks of the findings of a pass: `drift`, `book`, `samples`, `keys`, `not_ours` and `others`.

    Attributes:
        more: called keys that aren't kept, by class; a later pass takes them back.
        others: none, since the streams tell nothing of them.
        not_ours: none.
    """

    others: Sequence[Key] = ()
    not_ours: int = 0

    def __init__(self, rows: RowReader, samples: int, most: int = KEPT) -> None:
        """Start with none.

        Args:
            rows: reads rows.
            samples: of each class, keys that are described.
            most: keys that are kept.
        """
        self._rows, self._samples, self._most = rows, samples, most
        self._keys: dict[Key, Called] = {}
        self._counts: Counter[Difference] = Counter()
        self.more: Counter[Difference] = Counter()

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, key: Key) -> Called | None:
        """Return what is known of a key."""
        return self._keys.get(key)

    def call(self, key: Key, found: Difference, pair: Pair, side: Side, now_s: float, now_us: int) -> bool:
        """Take in what reads say; return whether there was room."""
        known = self.clear(key)
        if known is None and len(self._keys) >= self._most:
            self.more[found] += 1
            return False
        first_us = now_us if known is None else known.first_us
        causes = {each: self._rows.why_unreadable(pair.of(each)) for each in Side}
        cause = "; ".join(f"{each.value}: {cause}" for each, cause in causes.items() if cause)
        shown = sample(key, pair, self._rows) | ({"cause": cause} if cause else {})
        self._keys[key] = Called(found, first_us, now_us, now_s, side, shown)
        self._counts[found] += 1
        return True

    def clear(self, key: Key) -> Called | None:
        """Note that a key is equal."""
        known = self._keys.pop(key, None)
        if known is not None:
            self._counts[known.found] -= 1
        return known

    def forget(self) -> list[Key]:
        """Forget all: after a flip nothing holds that was called before. Return the keys."""
        keys = list(self._keys)
        self._keys.clear()
        self._counts.clear()
        self.more.clear()
        return keys

    def due(self, before_s: float, most: int) -> list[tuple[Key, Called]]:
        """Return keys that were not looked at since a time, those first that it is longest for."""
        first = islice(self._keys.items(), most)
        return [(key, each) for key, each in first if each.last_s <= before_s]

    def swept(self, done: Swept) -> list[Key]:
        """Clear the keys that a pass, begun after they were called, has not called; return them."""
        if done.clean:
            self.more.clear()
        if done.keys is None:
            return []
        gone = [key for key, each in self._keys.items() if each.last_s < done.started_s and key not in done.keys]
        for key in gone:
            self.clear(key)
        return gone

    def in_order(self, found: Difference) -> Iterator[tuple[Key, Called]]:
        """Return the kept keys of a class, by key."""
        return iter(sorted((key, each) for key, each in self._keys.items() if each.found is found))

    @property
    def drift(self) -> dict[Difference, int]:
        """Keys that differ now, by class."""
        total = self._counts + self.more  # which leaves out what is zero
        return {each: total[each] for each in Difference if total[each]}

    @property
    def book(self) -> PassBook:
        """See `drift`."""
        return PassBook(by_class=self.drift)

    @property
    def keys(self) -> dict[Difference, list[Key]]:
        """The kept keys of each class."""
        return {found: [key for key, each in self._keys.items() if each.found is found] for found in self.drift}

    @property
    def samples(self) -> dict[Difference, list[dict[str, Any]]]:
        """Some keys of each class, for humans, and when they were called."""
        shown: dict[Difference, list[dict[str, Any]]] = {}
        for each in self._keys.values():
            samples = shown.setdefault(each.found, [])
            if len(samples) < self._samples:
                seen = {"first_seen_us": str(each.first_us), "last_seen_us": str(each.last_us)}
                samples.append(each.shown | seen)
        return shown
