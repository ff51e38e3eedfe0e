"""How late a change arrives, in both hops and by the verifier's own reading.

- **table to stream** is CloudWatch's `AgeOfOldestUnreplicatedRecord`: nobody else can see it.
- **stream read** is how far this process is behind the tip of a stream.
- **crossing** is from the commit of an owner write in one table to the commit of its copy in the other, measured on
  sampled keys by the records of both streams: whatever brought the copy, the API or the replicator, it is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from crossfade.core.replication.change import Change
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.hashes import is_sampled
from crossfade.core.values.keys import Key
from crossfade.core.values.percentile import percentile
from crossfade.core.values.shape import Side
from crossfade_verifier.both import BothTables

WINDOW: Final = 1000
"""Crossings kept of each direction."""

PENDING: Final = 10_000
"""Owner writes kept until their copy is seen; the oldest are forgotten."""


class _Write(NamedTuple):
    side: Side
    version: int
    committed_us: int


class Crossings:
    """Times from one table to the other, of sampled keys.

    Attributes:
        on_taken: called with each one: the side that was copied to, seconds; None for nothing.
    """

    def __init__(self, per_million: int, both: BothTables) -> None:
        """Take the share of keys to measure by.

        Args:
            per_million: keys per million.
            both: both tables.
        """
        self._per_million, self._both = per_million, both
        self._pending: dict[Key, _Write] = {}
        self.on_taken: Callable[[Side, float], None] | None = None
        self._taken_ms: dict[Side, deque[float]] = {side: deque(maxlen=WINDOW) for side in Side}

    def hear(self, side: Side, change: Change) -> None:
        """Take in a change record of either stream."""
        if change.new is None or not is_sampled(change.key, self._per_million):
            return
        try:
            place = self._both.place(side, change, change.new)
        except PoisonRecord:
            return
        if place is None:
            return
        owns, version = place
        waiting = self._pending.get(change.key)
        if owns:
            # A later write waits for nothing of its own: the copy that covers the first one ends its wait.
            if waiting is None or waiting.side is not side:
                self._pending.pop(change.key, None)  # so that the dict stays in the order of time
                self._pending[change.key] = _Write(side, version, change.committed_us)
                if len(self._pending) > PENDING:
                    del self._pending[next(iter(self._pending))]
        elif waiting is not None and waiting.side is not side and version >= waiting.version:
            # An old duplicate has a lower version; commit times of two tables are of one clock, give or take.
            taken_ms = max(0.0, (change.committed_us - waiting.committed_us) / 1000)
            self._taken_ms[waiting.side].append(taken_ms)
            if self.on_taken is not None:
                self.on_taken(side, taken_ms / 1000)
            del self._pending[change.key]

    def report(self, origin: Side) -> dict[str, Any]:
        """Return what was measured from one table to the other, JSON-ready."""
        taken_ms = [(each, 1) for each in self._taken_ms[origin]]
        shares = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
        found_ms = {name: percentile(share, taken_ms) for name, share in shares.items()}
        return {"samples": len(taken_ms)} | {
            name: None if each is None else round(each, 1) for name, each in found_ms.items()
        }
