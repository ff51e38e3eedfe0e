"""The alerts about the replicators."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from scripts.observability.alerting import Alarm, Alert, Clients, alarm, computed, part
from scripts.observability.presence import CONSUMERS_OF, down, unread
from scripts.observability.promql import SERVICE, one_of
from scripts.observability.wording import (
    CROSSING_S,
    EXPIRY_S,
    FLAPPING,
    LAG_S,
    OVERVIEW,
    PAGE,
    PERCENT,
    REPLICATOR,
    SECONDS,
    THROTTLED,
    TICKET,
    VALUE,
    VERIFIER,
    M,
    W,
    label,
    ratio,
)

from crossfade.runtime.telemetry import contract as c
from crossfade.runtime.telemetry.schema import Service


def _stopped(group: str) -> Alarm:
    """Lambda stores no checkpoints and sends no count of them: then there is nothing to compute, and no alarm."""
    of = {c.GROUP.cloudwatch: group}
    system = {c.STREAM_SYSTEM.cloudwatch: c.STREAM_SYSTEM.values[0]}
    return computed(
        f"checkpoints-stopped-{group}",
        "IF(read > 0, IF(stored > 0, 0, 1), 0)",
        0,
        {"stored": part(c.CHECKPOINTS, **of), "read": part(c.CONSUMED, **system, **of)},
        minutes=10,
    )


def _flapping(group: str) -> Alarm:
    of = {c.GROUP.cloudwatch: group}
    return computed(
        f"leases-flapping-{group}",
        "IF(shards > 0, taken / shards, 0)",
        FLAPPING,
        {"taken": part(c.LEASES_TAKEN, **of), "shards": replace(part(c.SHARDS, **of), statistic="Maximum")},
        minutes=15,
        period_min=15,
    )


OF_REPLICATOR: Final = (
    Alert(
        "ReplicationLag",
        f"{W.worst(c.ITERATOR_AGE, by=(c.GROUP, c.STREAM))} > {LAG_S:g}",
        "5m",
        PAGE,
        Clients.SAFE,
        f"{M}: {label(c.GROUP)} is {SECONDS} behind on {label(c.STREAM)}",
        REPLICATOR,
        (c.ITERATOR_AGE, c.CONSUMED, c.BATCH_DURATION),
        LAG_S,
        (alarm("iterator-age", c.ITERATOR_AGE, LAG_S),),
        reporters=c.CONSUMERS,
        by=(c.GROUP, c.STREAM),
    ),
    Alert(
        "LeasesFlapping",
        f"{W.gained(c.LEASES_TAKEN, by=(c.GROUP,), within='15m')} / {W.worst(c.SHARDS, by=(c.GROUP,))} > {FLAPPING:g}",
        "0m",
        TICKET,
        Clients.SAFE,
        f"{M}: {label(c.GROUP)}'s shards have changed hands {VALUE} times each in a quarter of an hour",
        REPLICATOR,
        (c.LEASES_TAKEN, c.SHARDS),
        FLAPPING,
        tuple(map(_flapping, c.GROUP.values)),
        reporters=c.CONSUMERS,
        by=(c.GROUP,),
    ),
    Alert(
        "RecordsUnread",
        f"{W.worst(c.UNREAD_AGE, by=(c.GROUP,))} > {EXPIRY_S:g}",
        "5m",
        PAGE,
        Clients.SAFE,
        f"{M}: {label(c.GROUP)} may have left records in its stream for {SECONDS}, and nobody reads them",
        REPLICATOR,
        (c.UNREAD_AGE,),
        EXPIRY_S,
        (alarm("unread-age", c.UNREAD_AGE, EXPIRY_S, by=(c.GROUP,)),),
        reporters=(Service.CONTROLLER,),
        by=(c.GROUP,),
    ),
    Alert(
        "RecordsNearExpiry",
        f"{W.worst(c.OLDEST_UNAPPLIED, by=(c.GROUP, c.STREAM))} > {EXPIRY_S:g}",
        "5m",
        PAGE,
        Clients.SAFE,
        f"{M}: {label(c.GROUP)} holds a record of {label(c.STREAM)} that has waited {SECONDS}",
        REPLICATOR,
        (c.OLDEST_UNAPPLIED,),
        EXPIRY_S,
        (alarm("unapplied-age", c.OLDEST_UNAPPLIED, EXPIRY_S),),
        reporters=c.CONSUMERS,
        by=(c.GROUP, c.STREAM),
    ),
    Alert(
        "ReplicatorDown",
        down(*CONSUMERS_OF),
        "2m",
        PAGE,
        Clients.SAFE,
        f"{M}: no {label(SERVICE)} answers Prometheus; what it reads waits in the stream until it expires",
        REPLICATOR,
        (c.LEASES,),
    ),
    Alert(
        "ShardsUnread",
        " or ".join(map(unread, c.GROUP.values)),
        "5m",
        PAGE,
        Clients.SAFE,
        f"{M}: {label(c.GROUP)} doesn't hold every shard of its stream; what is in the others waits",
        REPLICATOR,
        (c.LEASES, c.SHARDS, c.UNREAD_SHARDS),
        alarms=(
            alarm("no-leases", c.LEASES, 1, below=True, by=c.LEASES.attributes, silence=True),
            alarm("unread-shards", c.UNREAD_SHARDS, 0, by=c.UNREAD_SHARDS.attributes),
        ),
    ),
    Alert(
        "CheckpointsStopped",
        f"{W.rate(c.CONSUMED, by=(c.GROUP,))} > 0 unless {W.rate(c.CHECKPOINTS, by=(c.GROUP,))} > 0",
        "5m",
        TICKET,
        Clients.SAFE,
        f"{M}: {label(c.GROUP)} reads {VALUE} records a second and stores no checkpoint",
        REPLICATOR,
        (c.CHECKPOINTS,),
        alarms=tuple(map(_stopped, c.GROUP.values)),
        reporters=c.CONSUMERS,
        by=(c.GROUP,),
    ),
    Alert(
        "DeadLetters",
        f"{W.worst(c.DEAD_LETTERS)} > 0",
        "2m",
        PAGE,
        Clients.SAFE,
        f"{M}: {VALUE} records are parked",
        OVERVIEW,
        (c.DEAD_LETTERS,),
        0,
        (alarm("dead-letters", c.DEAD_LETTERS, 0),),
        reporters=(Service.CONTROLLER,),
    ),
    Alert(
        "TransfersThrottled",
        ratio(W.rate(c.THROTTLED, by=(c.GROUP,)), W.rate(c.CONSUMED, by=(c.GROUP,)), THROTTLED),
        "10m",
        TICKET,
        Clients.SAFE,
        f"{M}: {label(c.GROUP)} has {PERCENT} of its writes sent back by the table",
        REPLICATOR,
        (c.THROTTLED,),
        alarms=(alarm("throttles", c.THROTTLED, 100, statistic="Sum", minutes=10),),
        reporters=c.APPLIERS,
        by=(c.GROUP,),
    ),
    Alert(
        "TableToStreamLag",
        f"{W.worst(c.UNREPLICATED, by=(c.SIDE,))} > {LAG_S:g}",
        "5m",
        PAGE,
        Clients.SAFE,
        f"{M}: a write to the {label(c.SIDE)} table has not reached its stream for {SECONDS}",
        OVERVIEW,
        (c.UNREPLICATED, c.ARRIVAL_LAG),
        LAG_S,
        (
            alarm("table-to-stream-age", c.UNREPLICATED, LAG_S),
            Alarm(
                "failed-replication",
                "FailedToReplicateRecordCount",
                0,
                "Sum",
                "AWS/DynamoDB",
                dimensions=("TableName", "DelegatedOperation"),
                minutes=1,
            ),
        ),
        reporters=(Service.CONTROLLER,),
        by=(c.SIDE,),
    ),
    Alert(
        "ForeignWrites",
        W.risen(c.RECORDS, one_of(c.RECORD_OUTCOME, ["foreign"]), by=(c.GROUP,), within="10m"),
        "0m",
        PAGE,
        Clients.SOME,
        f"{M}: {VALUE} writes from outside the protocol came by {label(c.GROUP)}",
        REPLICATOR,
        (c.RECORDS,),
        alarms=(alarm("foreign-writes", c.RECORDS, 0, statistic="Sum", by=c.RECORDS.attributes, minutes=1),),
        reporters=c.APPLIERS,
        by=(c.GROUP,),
    ),
    Alert(
        "EventsParked",
        W.risen(c.FEED_PARKED, by=(c.GROUP,), within="10m"),
        "0m",
        PAGE,
        Clients.SAFE,
        f"{M}: {VALUE} records' events could not be read by {label(c.GROUP)}",
        REPLICATOR,
        (c.FEED_PARKED, c.PUBLISHED),
        0,
        (alarm("events-parked", c.FEED_PARKED, 0, statistic="Sum", minutes=1),),
        reporters=(Service.FEED,),
        by=(c.GROUP,),
    ),
    Alert(
        "CopiesLate",
        f"{W.quantile(0.99, c.CROSSING, by=(c.DIRECTION,))} > {CROSSING_S:g}",
        "10m",
        TICKET,
        Clients.SAFE,
        f"{M}: p99 of a write's way {label(c.DIRECTION)} is {SECONDS}",
        VERIFIER,
        (c.CROSSING,),
        CROSSING_S,
        (alarm("lag", c.CROSSING, CROSSING_S, statistic="p99", minutes=10),),
        reporters=(Service.VERIFIER,),
        by=(c.DIRECTION,),
    ),
)
