"""The dashboard of the replicators: forward, reverse, feed."""

from __future__ import annotations

from typing import Final

from crossfade.runtime.telemetry import contract as c
from crossfade.runtime.telemetry.schema import Service
from tools.observability.panels import Board, Look, Panel, Query, Row, Unit, Variable, shown
from tools.observability.promql import SERVICE, SHOWN, Where, one_of
from tools.observability.wording import EXPIRY_S, LAG_S, REPLICATOR

S = SHOWN
CONSUMER = Where(c.GROUP, "$consumer")
OF_SHARD = (Where(c.GROUP, "$consumer"), Where(c.STREAM, "$stream"))
BY_SHARD = (c.GROUP, c.STREAM, c.SHARD)
SHARD_LEGEND: Final = f"{shown(c.GROUP)} {shown(c.SHARD)}"
MINE = one_of(SERVICE, [each.value for each in (Service.FORWARD, Service.REVERSE, Service.FEED)])

BEHIND: Final = Row(
    "How far behind",
    (
        Panel(
            "Iterator age by shard",
            "From arrival in the stream to applied. One shard alone is a hot key or a record that is tried again.",
            (Query(S.worst(c.ITERATOR_AGE, *OF_SHARD, by=BY_SHARD), SHARD_LEGEND),),
            Unit.SECONDS,
            (c.ITERATOR_AGE,),
            bound=LAG_S,
        ),
        Panel(
            "Oldest unapplied record",
            "Read and not applied; it is lost if it reaches the stream's retention.",
            (Query(S.worst(c.OLDEST_UNAPPLIED, *OF_SHARD, by=BY_SHARD), SHARD_LEGEND),),
            Unit.SECONDS,
            (c.OLDEST_UNAPPLIED,),
            bound=EXPIRY_S,
        ),
        Panel(
            "Table to stream, seen",
            "From commit to arrival, of what arrived. What never arrived is only in the overview's table to stream.",
            (Query(S.worst(c.ARRIVAL_LAG, *OF_SHARD, by=BY_SHARD), SHARD_LEGEND),),
            Unit.SECONDS,
            (c.ARRIVAL_LAG,),
            bound=LAG_S,
        ),
    ),
)

WORK: Final = Row(
    "Work",
    (
        Panel(
            "Change records read",
            "The throughput of each consumer.",
            (Query(S.rate(c.CONSUMED, CONSUMER, by=(c.GROUP,)), shown(c.GROUP)),),
            Unit.PER_SECOND,
            (c.CONSUMED,),
        ),
        Panel(
            "Records by outcome",
            "`stale`, `duplicate`, `echo` and `deduplicated` are normal. `stray` and `parked` never are.",
            (Query(S.rate(c.RECORDS, CONSUMER, by=(c.RECORD_OUTCOME,)), shown(c.RECORD_OUTCOME)),),
            Unit.PER_SECOND,
            (c.RECORDS,),
            Look.STACK,
        ),
        Panel(
            "Time of a batch",
            "Until it may be acknowledged. The points are traces: click one.",
            (
                Query(
                    S.quantile(0.99, c.BATCH_DURATION, CONSUMER, by=(c.GROUP,)), f"p99 {shown(c.GROUP)}", exemplars=True
                ),
                Query(S.quantile(0.5, c.BATCH_DURATION, CONSUMER, by=(c.GROUP,)), f"p50 {shown(c.GROUP)}"),
            ),
            Unit.SECONDS,
            (c.BATCH_DURATION,),
        ),
        Panel(
            "Batches",
            "How many took how long. The points are traces.",
            (Query(S.buckets(c.BATCH_DURATION, CONSUMER), "{{le}}", exemplars=True),),
            Unit.SECONDS,
            (c.BATCH_DURATION,),
            Look.HEAT,
        ),
        Panel(
            "DynamoDB, p99 by operation",
            "Retries included.",
            (
                Query(
                    S.quantile(0.99, c.DB_DURATION, MINE, by=(c.DB_OPERATION,)), shown(c.DB_OPERATION), exemplars=True
                ),
            ),
            Unit.SECONDS,
            (c.DB_DURATION,),
        ),
        Panel(
            "Transfers sent back",
            "Throttled by the target table; they are tried again, so it only costs time.",
            (Query(S.rate(c.THROTTLED, CONSUMER, by=(c.GROUP,)), shown(c.GROUP)),),
            Unit.PER_SECOND,
            (c.THROTTLED,),
        ),
    ),
)

STATE: Final = Row(
    "State",
    (
        Panel(
            "Writes spared by marks",
            "Share of transfers that Redis knows to be applied. It falls to 0 without Redis, which only costs writes.",
            (
                Query(
                    f"{S.rate(c.MARKS, CONSUMER, one_of(c.MARK, ['hit']), by=(c.GROUP,))}"
                    f" / {S.rate(c.MARKS, CONSUMER, by=(c.GROUP,))}",
                    shown(c.GROUP),
                ),
            ),
            Unit.SHARE,
            (c.MARKS,),
        ),
        Panel(
            "Checkpoints",
            "That moved. None while records are read means that a restart repeats work.",
            (Query(S.rate(c.CHECKPOINTS, CONSUMER, by=(c.GROUP,)), shown(c.GROUP)),),
            Unit.PER_SECOND,
            (c.CHECKPOINTS,),
        ),
        Panel(
            "Shards held",
            "By all processes of a consumer together, and how many there are to hold. 0 means that nobody reads.",
            (
                Query(S.total(c.LEASES, CONSUMER, by=(c.GROUP,)), shown(c.GROUP)),
                Query(S.worst(c.SHARDS, CONSUMER, by=(c.GROUP,)), f"{shown(c.GROUP)}, there are"),
            ),
            Unit.COUNT,
            (c.LEASES, c.SHARDS),
        ),
        Panel(
            "Shards taken",
            "Changes of holder. A restart moves each shard once or twice; again and again means that leases flap.",
            (Query(S.rate(c.LEASES_TAKEN, CONSUMER, by=(c.GROUP,)), shown(c.GROUP)),),
            Unit.PER_SECOND,
            (c.LEASES_TAKEN,),
        ),
        Panel(
            "Records that nobody reads",
            "Age of the oldest one that a consumer may have left, as the controller knows it: of the dead, too, and "
            "since capture began while nobody ever read.",
            (Query(S.worst(c.UNREAD_AGE, CONSUMER, by=(c.GROUP,)), shown(c.GROUP)),),
            Unit.SECONDS,
            (c.UNREAD_AGE,),
            bound=EXPIRY_S,
        ),
        Panel(
            "Shards that nobody reads",
            "Open shards of which no living process reports, as the controller sees them.",
            (Query(S.worst(c.UNREAD_SHARDS, CONSUMER, by=(c.GROUP,)), shown(c.GROUP)),),
            Unit.COUNT,
            (c.UNREAD_SHARDS,),
            bound=0,
        ),
        Panel(
            "Events published",
            "Domain events that the feed stream has acknowledged.",
            (Query(S.rate(c.PUBLISHED, CONSUMER, by=(c.GROUP,)), shown(c.GROUP)),),
            Unit.PER_SECOND,
            (c.PUBLISHED,),
        ),
        Panel(
            "Events parked",
            "Records whose events could not be read, since the start of the processes.",
            (Query(S.total(c.FEED_PARKED, CONSUMER, by=(c.GROUP,)), shown(c.GROUP)),),
            Unit.COUNT,
            (c.FEED_PARKED,),
            bound=0,
        ),
        Panel(
            "Marks out of use",
            "The store doesn't answer, or refuses, as a replica does after a failover. It costs writes, never data.",
            (
                Query(f"count({S.of(c.MARKS_USABLE)} == 0) or vector(0)", "processes that can't use it"),
                Query(S.total(c.MARKS_FAILED), "calls that failed, since the processes began"),
            ),
            Unit.COUNT,
            (c.MARKS_USABLE, c.MARKS_FAILED),
            bound=0,
        ),
    ),
)

BOARD: Final = Board(
    REPLICATOR,
    "Crossfade: replicator",
    "Both directions of replication and the event feed, by consumer and shard.",
    (BEHIND, WORK, STATE),
    (
        Variable("consumer", "Consumer", c.LEASES, c.GROUP),
        Variable("stream", "Stream", c.ITERATOR_AGE, c.STREAM),
    ),
)
