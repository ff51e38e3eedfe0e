"""Keys that were not equal at once, until each is verified or called.

Streams and reads both add to what is known of a key (`crossfade.core.parity.classes.Followed`); only reads call a
class. A list keeps neither rows nor images, and has a bound of keys: over it, whoever scans waits for `room`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from crossfade.core.parity.classes import SETTLED, Difference, Pair, Reading, is_equal
from crossfade.core.parity.plain import PlainFollowed
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import RowReader
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.runtime.pace import Pace
from crossfade_verifier.both import AnyFollowed, BothTables
from crossfade_verifier.owning import View

CHUNK: Final = 100
"""Keys read together: one BatchGetItem."""

READS: Final = 3
"""Owner, standby, and the owner again."""


class Outcome(Protocol):
    """Where the list tells what became of a key."""

    def called(self, key: Key, found: Difference, pair: Pair, *, verified_by: Row | None) -> None:
        """Take in one key's class, once.

        Args:
            key: the encoded key.
            found: one of `SETTLED`, or what the key was when the list gave up on it.
            pair: as last read; of nothing where a stream verified it.
            verified_by: the image that verified it from a stream; None when reads did.
        """
        ...


NOTHING: Final = Pair(None, None)


@dataclass(slots=True)
class _Entry:
    followed: AnyFollowed
    side: Side
    since_us: int
    read_s: float


class Handovers:
    """Since when keys have been standby on both sides; it outlives a pass, or nothing would ever grow old.

    They are kept in the order of their age, so that nobody sorts a hundred thousand of them to name the oldest.
    """

    def __init__(self) -> None:
        self._since_s: dict[Key, float] = {}
        self._seen_s: dict[Key, float] = {}
        self._oldest: list[tuple[float, Key]] = []

    def see(self, key: Key, since_s: float | None, now_s: float) -> None:
        """Note that a key is in handover since then, or (None) no longer."""
        if since_s is None:
            self._forget(key)
            return
        if key not in self._since_s:
            self._since_s[key] = since_s
            insort(self._oldest, (since_s, key))
        self._seen_s[key] = now_s

    def since_s(self, key: Key) -> float | None:
        """Return since when a key has been in handover, monotonic; None when it isn't."""
        return self._since_s.get(key)

    def keys_now(self) -> list[Key]:
        """Return the keys in handover."""
        return list(self._since_s)

    def forget_unseen(self, since_s: float) -> None:
        """Forget the keys that a whole pass, begun at that time, has not met: they are gone from both tables."""
        for key in [key for key, seen_s in self._seen_s.items() if seen_s < since_s]:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        since_s = self._since_s.pop(key, None)
        if since_s is not None:
            del self._seen_s[key]
            del self._oldest[bisect_left(self._oldest, (since_s, key))]

    def older_than(self, bound_s: float, now_s: float) -> int:
        """Return how many keys have been in handover for longer than the bound."""
        return bisect_left(self._oldest, (now_s - bound_s,))

    def oldest(self, count: int, now_s: float) -> list[tuple[Key, float]]:
        """Return some keys in handover with their age in seconds, oldest first."""
        return [(key, now_s - since_s) for since_s, key in self._oldest[:count]]

    def __len__(self) -> int:
        return len(self._since_s)


class FollowList:
    """Follows keys until each is verified or called.

    Attributes:
        most: keys at which it is full.
        held_since_s: since when whoever scans waits for room, monotonic; None when nobody does.
    """

    def __init__(
        self,
        both: BothTables,
        outcome: Outcome,
        pace: Pace,
        handovers: Handovers,
        *,
        bound_s: float,
        limit_s: float,
        every_s: float,
        rows: RowReader,
        clock: Clock,
        at_most_us: Callable[[], int],
        most: int,
        proven: Callable[[Key, int], bool] = lambda _key, _version: False,
    ) -> None:
        """Start with no key.

        Args:
            both: both tables.
            outcome: called with each key once.
            pace: of all reads.
            handovers: called with each key that is standby on both sides.
            bound_s: a key behind for longer is stuck.
            limit_s: how long a key is followed after the scan, or while a full list holds it, before it is given up.
            every_s: pause between two rounds of reads.
            rows: reads them, as the flag document says.
            clock: of the process.
            at_most_us: a moment that the tables' clock has surely not passed yet, µs: what is committed later was
                committed after a key was added.
            most: keys at which the list is full. One that is added nevertheless is followed.
            proven: whether the continuous mode has verified a key at a version or above. Asked after a bound, by when
                it has heard of whatever made the key differ.
        """
        self._both, self._outcome, self._pace, self._handovers = both, outcome, pace, handovers
        self._bound_s, self._limit_s, self._every_s = bound_s, limit_s, every_s
        self._rows, self._clock, self._at_most_us = rows, clock, at_most_us
        self._keys: dict[Key, _Entry] = {}
        self._proven = proven
        self._less = asyncio.Event()
        self._ended_s: float | None = None
        self._view = both.owning.view
        self.most = most
        self.held_since_s: float | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    @property
    def full(self) -> bool:
        """Whether it follows so many keys that no more should be scanned."""
        return len(self._keys) >= self.most

    async def room(self) -> None:
        """Wait until the list isn't full. Keys leave it as `settle` reads them, or gives them up."""
        while self.full:
            if self.held_since_s is None:
                self.held_since_s = self._clock.monotonic()
            self._less.clear()
            await self._less.wait()
        self.held_since_s = None

    def add(self, key: Key, pair: Pair) -> None:
        """Follow a key that is not equal; one that is followed already stays as it is."""
        if key not in self._keys:
            now_s = self._clock.monotonic()
            followed = self._both.follow(pair, now_s, self._rows, since_us=self._at_most_us())
            self._follow(key, followed, self._rows.owner_of(*pair))
            self._handovers.see(key, followed.handover_since_s, now_s)

    def suspect(self, key: Key, first: int, since_s: float, side: Side | None = None, *, reached: int = 0) -> None:
        """Follow a key that nobody has read; one that is followed already stays as it is.

        Args:
            key: the encoded key.
            first: the owner's version then: streams that show the sides alike at it, or above, verify the key. 0 where
                it isn't known, or the sides differ at it: then the first read tells which version will.
            since_s: monotonic clock; the bound runs from then.
            side: whose the key was then.
            reached: a version that the standby must have reached, where `first` is 0.
        """
        if key not in self._keys:
            followed = self._both.suspected(first, since_s, reached=reached, since_us=self._at_most_us())
            self._follow(key, followed, side)

    def open_keys(self) -> Iterator[tuple[Key, int]]:
        """Return what to `suspect` where this list is no more: keys with the versions that standbys must reach."""
        return ((key, entry.followed.first) for key, entry in self._keys.items())

    def _follow(self, key: Key, followed: AnyFollowed, side: Side | None) -> None:
        read_s = min(self._clock.monotonic(), followed.since_s, followed.bound_since_s)
        self._keys[key] = _Entry(followed, side or self._view.owner, self._at_most_us(), read_s)

    def passed(self, key: Key) -> None:
        """Note a key that was equal at once, and so needs no following."""
        self._handovers.see(key, None, self._clock.monotonic())

    def passed_all(self, keys: Iterable[Key]) -> None:
        """As `passed`, of many; nearly always nothing is in handover, and it costs nothing."""
        if len(self._handovers):
            for key in keys:
                self.passed(key)

    def hear(self, side: Side, change: Change) -> None:
        """Take in a change record of either stream."""
        entry = self._keys.get(change.key)
        if entry is None:
            return
        try:
            item = self._both.heard(side, change)
        except PoisonRecord:
            return  # what can't be read proves nothing; the reads will call it
        if item is None:
            return
        if item.version is None:
            if change.committed_us < entry.since_us:
                return  # an unstamped duplicate from before would prove what was, not what is
            item = item.at(change.committed_us)
        if entry.followed.hear(side, item, self._rows):
            self._finish(change.key, Difference.EQUAL, NOTHING)

    async def settle(self, scanned: asyncio.Event) -> None:
        """Read the followed keys again and again, until each is verified or called.

        While the scan goes on, more keys may come, and a key is read once in a bound: only then can it be called, and
        the streams verify most before. After that, all are read in each round, until the limit has passed.

        Args:
            scanned: set when no more keys will come.
        """
        while self._keys or not scanned.is_set():
            if scanned.is_set() and self._ended_s is None:
                self._ended_s = self._clock.monotonic()
            await self.look(all_of_them=scanned.is_set())
            if not scanned.is_set():
                await self._rest(scanned)
            elif self._keys:
                await self._clock.sleep(self._every_s)

    async def look(self, *, all_of_them: bool = False) -> None:
        """Read the keys whose bound has passed since they were last read, or all, once."""
        for chunk in self._due(all_of_them=all_of_them):
            view = await self._both.look()
            self._turn_to(view)
            for side in Side if view.is_open else ():
                mine = [key for key in chunk if key in self._keys and self._keys[key].side is side]
                await self._read(side, mine, view)

    def _turn_to(self, view: View) -> None:
        """Look at the table that owns by now. What was read or heard around a flip says nothing."""
        if view != self._view:
            self._view = view
            if self._ended_s is not None:
                self._ended_s = self._clock.monotonic()  # no key is given up for what nothing could be said of
            for entry in self._keys.values():
                entry.side = view.owner
                self._unsaid(entry)

    def _unsaid(self, entry: _Entry) -> None:
        if isinstance(entry.followed, PlainFollowed):
            entry.followed.unsaid(self._at_most_us())
            entry.read_s = entry.followed.bound_since_s

    def _due(self, *, all_of_them: bool) -> list[list[Key]]:
        before_s = self._clock.monotonic() - self._bound_s
        for key in [key for key, entry in self._keys.items() if self._is_proven(key, entry, before_s)]:
            self._finish(key, Difference.EQUAL, NOTHING)
        keys = [key for key, entry in self._keys.items() if all_of_them or entry.read_s <= before_s]
        return [keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK)]

    def _is_proven(self, key: Key, entry: _Entry, before_s: float) -> bool:
        followed = entry.followed
        return followed.since_s <= before_s and not followed.by_reads and self._proven(key, followed.first)

    async def _rest(self, scanned: asyncio.Event) -> None:
        """Sleep until the next round, or the end of the scan."""
        tasks = [asyncio.ensure_future(self._clock.sleep(self._every_s)), asyncio.ensure_future(scanned.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in tasks:
                each.cancel()

    async def _read(self, side: Side, keys: list[Key], view: View) -> None:
        if not keys:
            return
        await self._pace.take(READS * len(keys))
        began_s = self._clock.monotonic()
        owners = await self._both.read(side, keys)
        standbys = await self._both.read(side.other, keys)
        again = await self._both.read(side, keys)
        same = await self._both.look() == view
        for key in keys:
            entry = self._keys.get(key)
            if entry is not None and not same:
                self._unsaid(entry)
            elif entry is not None:  # a stream may have verified it meanwhile
                self._settle(key, entry, Reading(side, owners.get(key), standbys.get(key), again.get(key)), began_s)

    def _settle(self, key: Key, entry: _Entry, reading: Reading, began_s: float) -> None:
        found = entry.followed.settle(reading, self._rows, began_s, self._bound_s, ended_s=self._clock.monotonic())
        entry.read_s = max(began_s, entry.followed.bound_since_s)
        owner = reading.owner_again
        if found is Difference.EQUAL and not is_equal(owner, reading.standby, self._rows):
            owner = reading.owner  # the pair that was equal is what counts
        later = (owner, reading.standby)
        pair = Pair(*later) if reading.side is Side.SOURCE else Pair(*reversed(later))
        entry.side = self._rows.owner_of(*pair) or entry.side
        if entry.side is not reading.side:
            entry.read_s -= self._bound_s  # the reads began at the wrong side, and say nothing: due at once
        self._handovers.see(key, entry.followed.handover_since_s, self._clock.monotonic())
        if found in SETTLED or self._is_given_up(entry):
            self._finish(key, found, pair)

    def _is_given_up(self, entry: _Entry) -> bool:
        """After the scan, and while a full list holds it: nothing calls a key in handover, which would stay."""
        since_s = self._ended_s
        if since_s is None:
            since_s = entry.followed.since_s if self.full else self._clock.monotonic()
        return self._clock.monotonic() - since_s >= self._limit_s

    def _finish(self, key: Key, found: Difference, pair: Pair) -> None:
        entry = self._keys.pop(key)
        if not self.full:
            self._less.set()
        if found is not Difference.IN_HANDOVER:
            self._handovers.see(key, None, self._clock.monotonic())
        self._outcome.called(key, found, pair, verified_by=entry.followed.image)
