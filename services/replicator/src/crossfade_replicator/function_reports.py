"""Reports of the function to the controller, whose gates want to hear of every shard.

No process lives on between two invocations, so each one reads the report before it, adds its own, and puts it back.
That is right as long as one invocation at a time works on a shard: parallelisation factor 1.

A shard without records invokes nobody, and its report grows old, which shuts the gates. So the function also takes the
event `{"crossfade": "report"}`, once a minute from a schedule: then it looks behind the last position of each shard and
says that nothing waits there, or how long.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import structlog

from crossfade.adapters.control.reports import Held
from crossfade.contracts.report import Report
from crossfade.ports.clock import Clock
from crossfade.ports.streams import StreamReader
from crossfade_replicator.outcome import BatchOutcome

log = structlog.get_logger()

TRIES: Final = 5
"""Of replacing a report that another invocation has just replaced."""

EMPTY_PAGES: Final = 20
"""Kinesis may return empty pages before the first record; more than so many leave the shard unknown."""


class Reach(NamedTuple):
    """How far a shard is after a batch.

    Attributes:
        age_s: from arrival in the stream to applied.
        left_s: when the first record that is not applied arrived, seconds since the epoch; 0 when all are.
        position: sequence number of the last record before it; empty when there is none.
    """

    age_s: float
    left_s: float
    position: str


class Store(Protocol):
    """Keeps reports; `crossfade.adapters.control.reports.DynamoReports` does."""

    async def held(self, consumer: str, shard: str) -> Held | None:
        """Return the last report of a consumer on a shard."""

    async def replace(self, held: Held | None, report: Report) -> bool:
        """Replace it, unless another writer came between; say whether it was replaced."""


def merged(
    held: Report | None, consumer: str, shard: str, outcome: BatchOutcome, reach: Reach, *, now_us: int
) -> Report:
    """Add a batch to what was reported before.

    Args:
        held: the report before; None for the first one.
        consumer: of the consumer.
        shard: stream and shard id, "wallet-changes/shardId-000000000000".
        outcome: of this batch alone.
        reach: after this batch.
        now_us: wall clock, µs.
    """
    before = held or Report(consumer, shard, 0, 0, 0, 0, {})
    counts = dict(before.counts)
    for name, count in outcome.counts.items():
        counts[name] = counts.get(name, 0) + count
    return Report(
        consumer=consumer,
        shard=shard,
        at_us=now_us,
        iterator_age_ms=round(reach.age_s * 1000),
        oldest_unapplied_us=round(reach.left_s * 1e6),
        applied_commit_us=max(before.applied_commit_us, outcome.applied_commit_us),
        counts=counts,
        stray_last_us=max(before.stray_last_us, outcome.stray_last_us),
        imprecise_last_us=max(before.imprecise_last_us, outcome.imprecise_last_us),
        position=reach.position or before.position,
    )


class FunctionReports:
    """Writes them, and never over another invocation's."""

    def __init__(self, reports: Store, kinesis: StreamReader, *, clock: Clock) -> None:
        """Take the store, and the stream's client for shards that are still.

        Args:
            reports: the control table.
            kinesis: reads behind a position.
            clock: dates reports.
        """
        self._reports = reports
        self._kinesis = kinesis
        self._clock = clock

    async def add(self, consumer: str, stream: str, shard_id: str, outcome: BatchOutcome, reach: Reach) -> None:
        """Report a batch.

        Raises:
            CrossfadeError: the store doesn't answer.
        """
        shard = f"{stream}/{shard_id}"
        for _ in range(TRIES):
            held = await self._reports.held(consumer, shard)
            before = None if held is None else held.report
            if await self._reports.replace(
                held, merged(before, consumer, shard, outcome, reach, now_us=self._clock.wall_us())
            ):
                return
        log.warning("others report on the same shard: the parallelisation factor must be 1", shard=shard)

    async def refresh(self, consumer: str, stream: str) -> int:
        """Report on every shard of a stream as it is now; return how many were reported.

        Raises:
            CrossfadeError: the stream or the store doesn't answer.
        """
        refreshed = 0
        for shard in await self._kinesis.list_shards(stream):
            held = await self._reports.held(consumer, f"{stream}/{shard.shard_id}")
            refreshed += await self._refresh(consumer, stream, shard.shard_id, held)
        return refreshed

    async def _refresh(self, consumer: str, stream: str, shard_id: str, held: Held | None) -> bool:
        position = held.report.position if held is not None else ""
        waiting_s = await waiting_since_s(self._kinesis, stream, shard_id, position)
        if waiting_s is None:
            return False
        now_us = self._clock.wall_us()
        reach = Reach(max(0.0, now_us / 1e6 - waiting_s) if waiting_s else 0.0, waiting_s, position)
        before = None if held is None else held.report
        report = merged(before, consumer, f"{stream}/{shard_id}", BatchOutcome(), reach, now_us=now_us)
        return await self._reports.replace(held, report)  # a batch that came between has reported itself


async def waiting_since_s(kinesis: StreamReader, stream: str, shard_id: str, position: str) -> float | None:
    """Return when the first record behind a position arrived, seconds since the epoch.

    Args:
        kinesis: reads.
        stream: its name.
        shard_id: the shard.
        position: the last record that was applied; empty for none.

    Returns:
        0 when there is no record behind it; None when the stream did not say.
    """
    iterator: str | None = await kinesis.shard_iterator(stream, shard_id, after=position or None)
    for _ in range(EMPTY_PAGES):
        if iterator is None:
            return 0.0
        fetched = await kinesis.get_records(iterator, 1)
        if fetched.records:
            return fetched.records[0].arrived_s
        if fetched.behind_ms == 0:
            return 0.0
        iterator = fetched.next_iterator
    return None
