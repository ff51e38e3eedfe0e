"""What a consumer counts anyway, as metrics of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from crossfade.adapters.redis_dedup import RedisMarks
from crossfade.ports.clock import Clock
from crossfade.ports.sending import WRITTEN
from crossfade.runtime.telemetry import Observed
from crossfade.runtime.telemetry.contract import (
    ARRIVAL_LAG,
    CHECKPOINTS,
    CONSUMED,
    FEED_PARKED,
    GROUP,
    ITERATOR_AGE,
    LEASES,
    LEASES_TAKEN,
    MARK,
    MARKS,
    MARKS_FAILED,
    MARKS_USABLE,
    OLDEST_UNAPPLIED,
    PUBLISHED,
    RECORD_OUTCOME,
    RECORD_OUTCOMES,
    RECORDS,
    SHARD,
    SHARDS,
    STREAM,
    STREAM_SYSTEM,
    THROTTLED,
)
from crossfade_replicator.consumer import Consumer
from faust_kinesis import EngineReport

LAG_KEPT_S: Final = 60.0
"""A lag that was seen so long ago says nothing of now."""

NO_OUTCOMES: Final = frozenset({"records", "published"})


class Throttled(Protocol):
    """What writes, as far as its figures go."""

    @property
    def throttled(self) -> int:
        """Writes that were sent back so far."""


def observed(
    consumer: Consumer,
    sender: Throttled | None,
    checkpoints: int,
    arrival_lag_s: Mapping[str, tuple[float, float]],
    marks: RedisMarks | None,
    clock: Clock,
) -> Iterator[Observed]:
    """Yield the values now.

    Args:
        consumer: that reads and counts.
        sender: of its writes; None for the feed.
        checkpoints: how often one of its checkpoints moved.
        arrival_lag_s: by shard, from commit to arrival of its newest record, and when that was seen.
        marks: of what was applied; None where there is no store for them.
        clock: of the process.
    """
    total, name = consumer.tallies.total(), consumer.name
    yield Observed(CONSUMED, total.get("records", 0), {STREAM_SYSTEM: "aws.kinesis", GROUP: name})
    yield Observed(CHECKPOINTS, checkpoints, {GROUP: name})
    if sender is None:
        yield Observed(PUBLISHED, total.get("published", 0), {GROUP: name})
        yield Observed(FEED_PARKED, total.get("parked", 0), {GROUP: name})
    else:
        yield from _applied(total, name, sender)
        if marks is not None:
            yield Observed(MARKS_FAILED, marks.failures)
            yield Observed(MARKS_USABLE, int(marks.is_usable))
    engines = consumer.engines()
    yield Observed(LEASES, sum(len(engine.shards) for engine in engines), {GROUP: name})
    yield Observed(LEASES_TAKEN, sum(engine.taken for engine in engines), {GROUP: name})
    yield Observed(SHARDS, sum(engine.readable for engine in engines), {GROUP: name})
    for engine in engines:
        yield from _shards(engine, name, arrival_lag_s, clock)


def _applied(total: dict[str, int], name: str, sender: Throttled) -> Iterator[Observed]:
    for outcome, count in (dict.fromkeys(RECORD_OUTCOMES, 0) | total).items():
        if outcome not in NO_OUTCOMES:
            yield Observed(RECORDS, count, {GROUP: name, RECORD_OUTCOME: outcome})
    yield Observed(MARKS, total.get("deduplicated", 0), {GROUP: name, MARK: "hit"})
    yield Observed(MARKS, sum(total.get(each, 0) for each in WRITTEN), {GROUP: name, MARK: "miss"})
    yield Observed(THROTTLED, sender.throttled, {GROUP: name})


def _shards(
    engine: EngineReport, name: str, arrival_lag_s: Mapping[str, tuple[float, float]], clock: Clock
) -> Iterator[Observed]:
    now_s, monotonic_s = clock.wall_us() / 1e6, clock.monotonic()
    for shard in engine.shards:
        where = {GROUP: name, STREAM: engine.stream, SHARD: shard.shard_id}
        if shard.age_s is not None:
            yield Observed(ITERATOR_AGE, shard.age_s, where)
        oldest_s = shard.oldest_unacked_s
        yield Observed(OLDEST_UNAPPLIED, 0.0 if oldest_s is None else max(0.0, now_s - oldest_s), where)
        lag_s, seen_s = arrival_lag_s.get(shard.shard_id, (0.0, float("-inf")))
        if monotonic_s - seen_s < LAG_KEPT_S:
            yield Observed(ARRIVAL_LAG, lag_s, where)
