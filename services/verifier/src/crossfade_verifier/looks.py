"""The verifier's first look at a sampled write: the last spans of its trace.

    owner's stream, version v    receive (commit to here) ─▶ verify ───────┐ begins
    other stream, version ≥ v    the copy, compared with what was looked at ┘ ends

Whichever of the two records is read first; the streams are read independently. A write whose copy isn't seen in time
ends as unseen: there is no replication (yet, or any more), or a later write overtook it before the record was read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple

from crossfade.core.parity.classes import is_equal
from crossfade.core.protocol.events import EVENTS
from crossfade.core.protocol.row import Row
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.runtime.telemetry import Started, Telemetry
from crossfade.runtime.telemetry.config import joins
from crossfade.runtime.telemetry.contract import DB_TABLE, STREAM, STREAM_OPERATION, STREAM_SYSTEM, VERDICT, VERSION
from crossfade.runtime.telemetry.span_contract import RECEIVE, VERIFY
from crossfade_verifier.both import BothTables

UNSEEN_S: Final = 30.0
"""A copy that isn't seen for so long isn't waited for."""

REMEMBERED: Final = 10_000
"""Looks that are remembered, so that duplicates are none."""

_SAMPLED: Final = b'-01"'


class _Look(NamedTuple):
    key: Key
    side: Side
    version: int
    item: Row
    spans: tuple[Started, ...]
    since_s: float


class FirstLooks:
    """Follows sampled writes through both streams."""

    def __init__(
        self,
        telemetry: Telemetry,
        both: BothTables,
        streams: Mapping[Side, str],
        *,
        clock: Clock,
    ) -> None:
        """Follow.

        Args:
            telemetry: of the process.
            both: knows the shapes and the mapping.
            streams: name of each table's stream.
            clock: of the process.
        """
        self._telemetry, self._both, self._streams, self._clock = telemetry, both, streams, clock
        self._waiting: OrderedDict[tuple[Key, int], _Look] = OrderedDict()
        self._keys: dict[Key, int] = {}
        self._copies: OrderedDict[Key, tuple[Side, Row]] = OrderedDict()
        self._seen: OrderedDict[tuple[Key, int], None] = OrderedDict()

    def hear(self, side: Side, change: Change) -> None:
        """Take in a change record of either stream."""
        new = change.new
        if new is None:
            return
        events = new.get(EVENTS)
        sampled = events is not None and _SAMPLED in bytes(events)
        if not sampled and change.key not in self._keys:
            return
        try:
            item = self._both.heard(side, change)
            if item is None:
                return
            if self._both.rows().owns(item, side):
                if sampled:
                    self._owner(side, change, item)
            elif item.version is not None:
                self._copy(side, change.key, item)
        except PoisonRecord:
            return  # the sweep calls what can't be read

    def close(self) -> None:
        """End what still waits."""
        for look in list(self._waiting.values()):
            self._end(look, "unseen")

    def _owner(self, side: Side, change: Change, item: Row) -> None:
        traces = self._traces(side, change)
        version = item.version
        if version is None or not traces or (change.key, version) in self._seen:
            return
        self._seen[change.key, version] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        self._expire()
        spans = tuple(span for each in traces if (span := self._begun(side, change, version, each)) is not None)
        if not spans:
            return
        look = _Look(change.key, side, version, item, spans, self._clock.monotonic())
        self._waiting[look.key, version] = look
        self._keys[look.key] = self._keys.get(look.key, 0) + 1
        copy = self._copies.get(look.key)
        if copy is not None and copy[0] is not side:
            self._compare(look, copy[1])

    def _begun(self, side: Side, change: Change, version: int, traceparent: str) -> Started | None:
        received = {
            STREAM_SYSTEM: "aws.kinesis",
            STREAM: self._streams[side],
            STREAM_OPERATION: "receive",
            VERSION: str(version),
        }
        hop = self._telemetry.start(RECEIVE, received, parent=traceparent, start_us=change.committed_us)
        if hop is None:
            return None
        hop.end()
        looked = {
            DB_TABLE: self._both.mapping.shape(side.other).table,
            VERDICT: "unseen",
            VERSION: str(version),
        }
        return self._telemetry.start(VERIFY, looked, parent=hop)

    def _copy(self, side: Side, key: Key, item: Row) -> None:
        self._copies[key] = (side, item)
        self._copies.move_to_end(key)
        if len(self._copies) > REMEMBERED:
            self._copies.popitem(last=False)
        for look in [each for each in self._waiting.values() if each.key == key and each.side is not side]:
            self._compare(look, item)
        self._expire()

    def _compare(self, look: _Look, copy: Row) -> None:
        version = copy.version or 0
        if version == look.version:
            self._end(look, "equal" if is_equal(look.item, copy, self._both.rows()) else "diverged")
        elif version > look.version:
            self._end(look, "overtaken")

    def _expire(self) -> None:
        now_s = self._clock.monotonic()
        while self._waiting:
            look = next(iter(self._waiting.values()))
            if now_s - look.since_s < UNSEEN_S:
                return
            self._end(look, "unseen")

    def _end(self, look: _Look, verdict: str) -> None:
        del self._waiting[look.key, look.version]
        left = self._keys[look.key] - 1
        if left:
            self._keys[look.key] = left
        else:
            del self._keys[look.key]
        for span in look.spans:
            span.set(VERDICT, verdict)
            span.end()

    def _traces(self, side: Side, change: Change) -> list[str]:
        """Return the sampled traces of the events that this very record tells; copies and handovers tell none."""
        told = dict.fromkeys(each.event.traceparent for each in self._both.readers[side].events(change))
        return [each for each in told if joins(each)]
