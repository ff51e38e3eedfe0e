"""The traces that a batch touches: each sampled record joins the trace of the call that wrote it.

The call's trace context travels in the event inside the item, and only the record of that very write tells it (the
feed's rule): copies, seals and handovers of the item do not join it again.

    trace of the call:  … ─▶ receive (commit to here) ─▶ apply, or send ┐
    trace of the batch: process ─▶ requests to DynamoDB ◀── links ──────┘
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Final, NamedTuple

from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.ports.sending import Sent, sent_name
from crossfade.ports.table import TransferTable
from crossfade.runtime.telemetry import Started, Telemetry, current
from crossfade.runtime.telemetry.config import joins
from crossfade.runtime.telemetry.contract import (
    BATCH_DURATION,
    DB_TABLE,
    GROUP,
    MESSAGE_ID,
    RECORD_OUTCOME,
    SHARD,
    STREAM,
    STREAM_BATCH,
    STREAM_OPERATION,
    STREAM_SYSTEM,
    VERSION,
)
from crossfade.runtime.telemetry.schema import Attribute
from crossfade.runtime.telemetry.span_contract import APPLY, BATCH, PUBLISH, RECEIVE
from crossfade.runtime.telemetry.spans import Value
from crossfade_replicator.letters import parks
from crossfade_replicator.outcome import BatchOutcome
from crossfade_replicator.records import Decoded, Pipeline, Record, decoded

KINESIS: Final = "aws.kinesis"
_SAMPLED: Final = re.compile(rb'-01"').search
"""How a sampled trace context ends in JSON; what has it is decoded and looked at, once for all; the rest is passed by.

An expression finds this in half the time that `in` takes: quotation marks are frequent in JSON.
"""


class Joined(NamedTuple):
    """What a record has to do with a trace.

    Attributes:
        place: of the record in its batch.
        traceparent: of the call that wrote it.
        version: of the write.
        committed_us: when the table took it.
        key: that was written.
    """

    place: int
    traceparent: str
    version: int
    committed_us: int
    key: Key


def looked_into(records: Sequence[Record], key_names: Sequence[str]) -> list[Record]:
    """Return the records of a batch, those decoded that may be sampled."""
    return [decoded(record, key_names) if _SAMPLED(record.data) else record for record in records]


def joined(records: Sequence[Record], mapping: Mapping, side: Side) -> list[Joined]:
    """Return the sampled records of a batch.

    Args:
        records: of one batch, looked into.
        mapping: of the migration.
        side: the table that they come from.
    """
    found: list[Joined] = []
    events_of = mapping.protocol.reader(mapping.shape(side)).events
    for place, record in enumerate(records):
        if not isinstance(record, Decoded):
            continue
        change = record.change
        try:
            events = events_of(change) if mapping.belongs(change.key) else []
        except PoisonRecord:
            continue  # the pipeline parks it
        found += [
            Joined(place, traceparent, events[0].version, change.committed_us, change.key)
            for traceparent in dict.fromkeys(each.event.traceparent for each in events)
            if joins(traceparent)
        ]
    return found


class BatchTrace:
    """The spans of one batch's sampled records, until it is known what became of each.

    Attributes:
        span: of the batch.
        keys: of the sampled records.
    """

    def __init__(self, span: Started, works: dict[int, list[Started]], keys: frozenset[Key]) -> None:
        """Take the batch's span, and the records' by their place."""
        self.span = span
        self.keys = keys
        self._works = works

    def note(self, place: int, outcome: str) -> None:
        """Say what became of a record."""
        for span in self._works.pop(place, ()):
            span.set(RECORD_OUTCOME, outcome)
            span.end()

    def close(self, error: str = "") -> None:
        """End what nobody spoke of."""
        for spans in self._works.values():
            for span in spans:
                if error:
                    span.fail(error)
                span.end()
        self._works.clear()


batch_trace: Final[ContextVar[BatchTrace | None]] = ContextVar("batch_trace", default=None)
"""Of the batch that the running task works on; None when none of its records is sampled."""


def note_but(
    trace: BatchTrace | None, indices: Iterable[int], others: Iterable[int], places: Sequence[int], outcome: str
) -> None:
    """Say what became of those transfers that are among `indices` and not among `others`.

    Args:
        trace: of the batch, if it has one.
        indices: of transfers.
        others: of those that went another way.
        places: of each transfer's record.
        outcome: what became of them.
    """
    if trace is not None:
        left_out = set(others)
        for index in indices:
            if index not in left_out:
                trace.note(places[index], outcome)


def note_verdicts(
    trace: BatchTrace | None, wave: Sequence[int], others: Sequence[tuple[int, Sent]], places: Sequence[int]
) -> None:
    """Say what became of transfers that were sent: applied, but for the others, whose verdicts are told."""
    if trace is not None:
        note_but(trace, wave, [index for index, _ in others], places, Verdict.APPLIED.value)
        for index, verdict in others:
            trace.note(places[index], "parked" if parks(verdict) else sent_name(verdict))


class ObservedTransfers:
    """A table whose requests are spans of the batch only where a sampled record is among them."""

    def __init__(self, table: TransferTable) -> None:
        self._table = table

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        """See `TransferTable`."""
        trace = batch_trace.get()
        if trace is None or any(each.key in trace.keys for each in transfers):
            return await self._table.transfer(transfers, timeout_s=timeout_s)
        token = current.set(None)
        try:
            return await self._table.transfer(transfers, timeout_s=timeout_s)
        finally:
            current.reset(token)


class Observed:
    """A pipeline that telemetry watches: `crossfade_replicator.records.Pipeline` around another one."""

    def __init__(
        self,
        pipeline: Pipeline,
        telemetry: Telemetry,
        mapping: Mapping,
        side: Side,
        *,
        consumer: str,
        stream: str,
        publishes_to: str = "",
        clock: Clock,
    ) -> None:
        """Trace what a pipeline does with its batches.

        Args:
            pipeline: does the work.
            telemetry: of the process.
            mapping: of the migration.
            side: the table that the records come from.
            consumer: of the consumer.
            stream: that it reads.
            publishes_to: the feed stream; empty for a pipeline that applies.
            clock: of the process.
        """
        self._pipeline, self._telemetry, self._mapping, self._side = pipeline, telemetry, mapping, side
        self._consumer, self._stream, self._publishes_to = consumer, stream, publishes_to
        self._target, self._key_names = mapping.shape(side.other).table, mapping.shape(side).key
        self._clock = clock
        self.arrival_lag_s: dict[str, tuple[float, float]] = {}
        self._newest_us: dict[str, int] = {}

    async def apply(self, shard_id: str, records: Sequence[Record]) -> BatchOutcome:
        """See `Pipeline`."""
        started_s = self._clock.monotonic()
        trace, seen = None, records
        if self._telemetry.traces:
            seen = looked_into(records, self._key_names)
            trace = self._begun(shard_id, seen)
        if trace is None:
            outcome = await self._pipeline.apply(shard_id, seen)
        else:
            outcome = await self._in_trace(trace, shard_id, seen)
        taken_s = self._clock.monotonic() - started_s
        span = None if trace is None else trace.span
        self._telemetry.record(BATCH_DURATION, taken_s, {GROUP: self._consumer}, span)
        self._note_arrival(shard_id, records, outcome.applied_commit_us)
        return outcome

    def _note_arrival(self, shard_id: str, records: Sequence[Record], committed_us: int) -> None:
        """Note how long the newest record was on its way; an old duplicate is no lag."""
        if committed_us > self._newest_us.get(shard_id, 0):
            self._newest_us[shard_id] = committed_us
            arrived_s = float(getattr(records[-1], "arrived_s", 0.0))
            if arrived_s:
                self.arrival_lag_s[shard_id] = (max(0.0, arrived_s - committed_us / 1e6), self._clock.monotonic())

    async def _in_trace(self, trace: BatchTrace, shard_id: str, records: Sequence[Record]) -> BatchOutcome:
        token = batch_trace.set(trace)
        try:
            with trace.span:
                return await self._pipeline.apply(shard_id, records)
        except Exception as error:
            trace.close(str(getattr(error, "code", type(error).__name__)))
            raise
        finally:
            batch_trace.reset(token)
            trace.close()

    def _begun(self, shard_id: str, records: Sequence[Record]) -> BatchTrace | None:
        found = joined(records, self._mapping, self._side)
        if not found:
            return None
        links = dict.fromkeys(each.traceparent for each in found)
        common = {STREAM_SYSTEM: KINESIS, STREAM: self._stream, SHARD: shard_id, GROUP: self._consumer}
        batch: dict[Attribute, Value] = {**common, STREAM_OPERATION: "process", STREAM_BATCH: len(records)}
        span = self._telemetry.start(BATCH, batch, parent=next(iter(links)), links=links, root=True)
        if span is None:
            return None
        works: dict[int, list[Started]] = {}
        for each in found:
            received = {
                **common,
                STREAM_OPERATION: "receive",
                VERSION: str(each.version),
                MESSAGE_ID: records[each.place].sequence_number,
            }
            hop = self._telemetry.start(RECEIVE, received, parent=each.traceparent, start_us=each.committed_us)
            if hop is not None:
                hop.end()
                work = self._work(each, hop, span)
                if work is not None:
                    works.setdefault(each.place, []).append(work)
        return BatchTrace(span, works, frozenset(each.key for each in found))

    def _work(self, record: Joined, hop: Started, batch: Started) -> Started | None:
        links = (batch.traceparent,)
        if self._publishes_to:
            attributes = {
                STREAM_SYSTEM: KINESIS,
                STREAM: self._publishes_to,
                STREAM_OPERATION: "send",
                GROUP: self._consumer,
                VERSION: str(record.version),
            }
            return self._telemetry.start(PUBLISH, attributes, parent=hop, links=links)
        # The outcome is set when it is known; a span that ends without one is an error.
        applied = {
            DB_TABLE: self._target,
            GROUP: self._consumer,
            VERSION: str(record.version),
            RECORD_OUTCOME: "skipped",
        }
        return self._telemetry.start(APPLY, applied, parent=hop, links=links)
