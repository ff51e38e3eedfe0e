"""What the function says of a batch, in CloudWatch's embedded metric format: lines of its log, read from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from crossfade.ports.sending import WRITTEN, NotSent
from crossfade.runtime.telemetry.contract import (
    ARRIVAL_LAG,
    BATCH_DURATION,
    CONSUMED,
    FEED_PARKED,
    GROUP,
    ITERATOR_AGE,
    MARK,
    MARKS,
    OLDEST_UNAPPLIED,
    PUBLISHED,
    RECORD_OUTCOME,
    RECORDS,
    SHARD,
    STREAM,
    STREAM_SYSTEM,
    THROTTLED,
)
from crossfade.runtime.telemetry.emf import Measured

NO_OUTCOMES: Final = frozenset({"records", "published", "imprecise", NotSent.THROTTLED.value})


class Ran(NamedTuple):
    """How one batch went.

    Attributes:
        consumer: the consumer, as in its reports.
        stream: the stream.
        shard_id: the shard.
        took_s: time it took.
        age_s: from arrival in the stream to applied: of the first record left, or else of the last one.
        unapplied_s: age of the first record left; 0 when there is none.
        arrival_lag_s: from commit to arrival of the record with the newest commit; None when it can't be told.
        throttled: transfers that the target table sent back.
        counts: what became of the records.
    """

    consumer: str
    stream: str
    shard_id: str
    took_s: float
    age_s: float
    unapplied_s: float
    arrival_lag_s: float | None
    throttled: int
    counts: Mapping[str, int]


def measured(ran: Ran) -> Iterator[Measured]:
    """Yield the metrics of a batch, by the telemetry contract."""
    group = {GROUP: ran.consumer}
    shard = group | {STREAM: ran.stream, SHARD: ran.shard_id}
    yield Measured(BATCH_DURATION, [ran.took_s], group)
    yield Measured(CONSUMED, ran.counts.get("records", 0), group | {STREAM_SYSTEM: "aws.kinesis"})
    yield Measured(ITERATOR_AGE, ran.age_s, shard)
    yield Measured(OLDEST_UNAPPLIED, ran.unapplied_s, shard)
    if ran.arrival_lag_s is not None:
        yield Measured(ARRIVAL_LAG, ran.arrival_lag_s, shard)
    if ran.consumer.startswith("feed"):
        yield Measured(PUBLISHED, ran.counts.get("published", 0), group)
        yield Measured(FEED_PARKED, ran.counts.get("parked", 0), group)
        return
    for outcome, count in ran.counts.items():
        if outcome not in NO_OUTCOMES:
            yield Measured(RECORDS, count, group | {RECORD_OUTCOME: outcome})
    yield Measured(THROTTLED, ran.throttled, group)
    yield Measured(MARKS, ran.counts.get("deduplicated", 0), group | {MARK: "hit"})
    yield Measured(MARKS, sum(ran.counts.get(each, 0) for each in WRITTEN), group | {MARK: "miss"})
