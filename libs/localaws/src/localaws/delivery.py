"""The way of a change record from its table to its stream, with faults on request.

Kinesis Data Streams for DynamoDB may deliver records twice and out of order. The emulator does neither on
its own; here both are brought about on purpose, before the record reaches the stream, so that everything
behind it runs unchanged. No clock and no socket: the caller passes the time and calls `release_due`.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple

SHUFFLE_HOLD_S = 1.0
"""Longest time that a record waits in a shuffle window that traffic does not fill."""


@dataclass(frozen=True)
class Faults:
    """What goes wrong between a table and its stream; all zero: nothing.

    Attributes:
        duplicate: share of the records that are delivered once more, 0 to 1.
        duplicate_after_ms: the second delivery comes at a random time within this span.
        shuffle_window: so many records wait together, and leave in random order.
        delay_ms: each record waits a random time within this span before it joins the window.
        seed: of the random choices, so that a run can be repeated.
    """

    duplicate: float = 0.0
    duplicate_after_ms: int = 5000
    shuffle_window: int = 0
    delay_ms: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ValueError: naming the setting and what it may be.
        """
        if not 0 <= self.duplicate <= 1:
            raise ValueError(f"duplicate is a share from 0 to 1, not {self.duplicate}")
        for name in ("duplicate_after_ms", "shuffle_window", "delay_ms"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, and is {getattr(self, name)}")

    @property
    def any(self) -> bool:
        """Say whether anything goes wrong at all."""
        return bool(self.duplicate or self.shuffle_window or self.delay_ms)

    def changed(self, settings: dict[str, Any]) -> Faults:
        """Return these faults with other settings.

        Raises:
            ValueError: a setting is unknown, of the wrong type or out of range.
        """
        known = {each.name for each in fields(self)}
        if unknown := set(settings) - known:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}, and stream")
        for name, value in settings.items():
            wanted = (int, float) if name == "duplicate" else (int,)
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise ValueError(f"{name} must be a number, and is {value!r}")
        return replace(self, **settings)


class Record(NamedTuple):
    """A change record on its way.

    Attributes:
        table: name of its table.
        stream_arn: where it goes.
        partition_key: the same for all records of one item.
        payload: JSON, as the stream carries it.
        committed_us: commit time in µs since the epoch, unique and rising.
    """

    table: str
    stream_arn: str
    partition_key: str
    payload: bytes
    committed_us: int


class _Waiting(NamedTuple):
    """A record in the heap of delayed ones, by the time it is due."""

    due_s: float
    order: int
    record: Record
    again: bool


@dataclass
class Counters:
    """What became of the records of one stream."""

    emitted: int = 0  # distinct change records that its tables wrote
    delivered: int = 0  # records put on the stream, second deliveries too
    duplicated: int = 0  # second deliveries, those to come too
    shuffled: int = 0  # first deliveries after that of a later commit
    refused: int = 0  # the stream did not take them: it was deleted, or they are larger than its records can be


@dataclass
class _Lane:
    """The way to one stream."""

    faults: Faults
    choose: random.Random
    counters: Counters = field(default_factory=Counters)
    delayed: list[_Waiting] = field(default_factory=list)
    window: list[_Waiting] = field(default_factory=list)
    last_committed_us: int = 0
    order: int = 0


class Delivery:
    """Takes change records and puts them on their streams, now or later."""

    def __init__(self, put: Callable[[str, str, bytes], bool]) -> None:
        """Deliver by `put(stream_arn, partition_key, payload)`, which says whether the stream took it."""
        self._put = put
        self._lanes: dict[str, _Lane] = {}
        self._default = Faults()
        self._tables: dict[str, dict[str, int]] = defaultdict(lambda: {"records": 0, "last_committed_us": 0})

    def take(self, record: Record, now_s: float) -> None:
        """Take a record that its table has just written."""
        lane = self._lane(record.stream_arn)
        lane.counters.emitted += 1
        table = self._tables[record.table]
        table["records"] += 1
        table["last_committed_us"] = record.committed_us
        faults, choose = lane.faults, lane.choose
        if not faults.any:
            self._deliver(lane, record, again=False)
            return
        self._delay(lane, now_s + choose.uniform(0, faults.delay_ms) / 1000, record, again=False)
        if choose.random() < faults.duplicate:
            lane.counters.duplicated += 1
            after_ms = faults.delay_ms + choose.uniform(0, faults.duplicate_after_ms)
            self._delay(lane, now_s + after_ms / 1000, record, again=True)
        self._release(lane, now_s)

    def release_due(self, now_s: float) -> bool:
        """Deliver what has waited long enough; say whether anything still waits."""
        for lane in self._lanes.values():
            self._release(lane, now_s)
        return any(lane.delayed or lane.window for lane in self._lanes.values())

    def set_faults(self, settings: dict[str, Any], stream: str | None = None) -> None:
        """Change what goes wrong; a stream without faults gets at once all that still waits for it.

        Args:
            settings: names and values of `Faults`; what is left out keeps its value.
            stream: name of the only stream to change; None changes all of them, those to come too.

        Raises:
            ValueError: a setting is unknown or makes no sense.
        """
        if stream is None:
            self._default = self._default.changed(settings)
        lanes = [lane for arn, lane in self._lanes.items() if stream in (None, arn.rpartition("/")[2])]
        if stream is not None and not lanes:
            raise ValueError(f"no change record went to a stream named {stream} yet")
        for lane in lanes:
            lane.faults = lane.faults.changed(settings) if stream else self._default
            lane.choose = random.Random(lane.faults.seed)
            if not lane.faults.any:
                self._flush(lane)

    def oldest_waiting_us(self) -> dict[str, int]:
        """Return, per table, the commit time of the oldest record that its stream has not got at all."""
        oldest: dict[str, int] = {}
        for lane in self._lanes.values():
            for waiting in (*lane.delayed, *lane.window):
                if not waiting.again:
                    table, at_us = waiting.record.table, waiting.record.committed_us
                    oldest[table] = min(oldest.get(table, at_us), at_us)
        return oldest

    def report(self) -> dict[str, Any]:
        """Return the settings and counters, per stream and per table, as the control endpoint shows them."""
        streams = {
            arn.rpartition("/")[2]: {
                "faults": asdict(lane.faults),
                **asdict(lane.counters),
                "pending": len(lane.delayed) + len(lane.window),
            }
            for arn, lane in self._lanes.items()
        }
        return {"faults": asdict(self._default), "streams": streams, "tables": dict(self._tables)}

    def _lane(self, stream_arn: str) -> _Lane:
        lane = self._lanes.get(stream_arn)
        if lane is None:
            lane = self._lanes[stream_arn] = _Lane(self._default, random.Random(self._default.seed))
        return lane

    def _delay(self, lane: _Lane, due_s: float, record: Record, *, again: bool) -> None:
        lane.order += 1
        heapq.heappush(lane.delayed, _Waiting(due_s, lane.order, record, again))

    def _release(self, lane: _Lane, now_s: float) -> None:
        while lane.delayed and lane.delayed[0].due_s <= now_s:
            lane.window.append(heapq.heappop(lane.delayed))
        while len(lane.window) > lane.faults.shuffle_window:
            self._deliver_waiting(lane, lane.window.pop(lane.choose.randrange(len(lane.window))))
        waited = [each for each in lane.window if each.due_s + SHUFFLE_HOLD_S <= now_s]
        for each in waited:
            lane.window.remove(each)
            self._deliver_waiting(lane, each)

    def _flush(self, lane: _Lane) -> None:
        waiting = [*lane.window, *sorted(lane.delayed)]
        lane.window, lane.delayed = [], []
        for each in waiting:
            self._deliver_waiting(lane, each)

    def _deliver_waiting(self, lane: _Lane, waiting: _Waiting) -> None:
        self._deliver(lane, waiting.record, again=waiting.again)

    def _deliver(self, lane: _Lane, record: Record, *, again: bool) -> None:
        if not self._put(record.stream_arn, record.partition_key, record.payload):
            lane.counters.refused += 1
            return
        lane.counters.delivered += 1
        if again:
            return
        lane.counters.shuffled += record.committed_us < lane.last_committed_us
        lane.last_committed_us = max(lane.last_committed_us, record.committed_us)
