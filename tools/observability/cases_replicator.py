"""What promtool tests of the alerts about the replicators: when each fires, with its words, and when it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tools.observability.cases_words import (
    ALL_READ,
    EVERYBODY,
    FORWARD,
    HOLDS_NOT,
    MIGRATION,
    PLANNED,
    READ,
    REVERSE,
    SHARD,
    WAITS,
    Case,
    E,
    Fires,
    buckets,
    leases,
    of,
    phase,
    service,
)

OF_REPLICATOR: Final[Mapping[str, tuple[Case, ...]]] = {
    "ReplicationLag": (
        Case(
            "a shard falls behind",
            {f"crossfade_iterator_age_seconds{{{FORWARD},{SHARD}}}": "0+30x20"},
            "10m",
            (
                Fires(
                    "engagement: forward is 5m 0s behind on wallet-changes",
                    of("forward", messaging_destination_name="wallet-changes"),
                ),
            ),
        ),
        Case(
            "a burst that is worked off",
            {f"crossfade_iterator_age_seconds{{{FORWARD},{SHARD}}}": "0 90 120 5+0x9"},
            "10m",
        ),
    ),
    "RecordsNearExpiry": (
        Case(
            "a record is tried again for a day",
            {f"crossfade_unapplied_age_seconds{{{FORWARD},{SHARD}}}": "86000+600x20"},
            "10m",
            (
                Fires(
                    "engagement: forward holds a record of wallet-changes that has waited 1d 1h 33m 20s",
                    of("forward", messaging_destination_name="wallet-changes"),
                ),
            ),
        ),
        Case("an hour behind", {f"crossfade_unapplied_age_seconds{{{FORWARD},{SHARD}}}": "3600+60x20"}, "10m"),
    ),
    "ReplicatorDown": (
        Case(
            "no process of the reverse direction is scraped",
            {},
            "5m",
            (Fires(f"engagement: no replicator-reverse {WAITS}", service("replicator-reverse")),),
            dead=("replicator-reverse",),
        ),
        Case(
            "none of all three, and nobody is left to tell the phase",
            {},
            "5m",
            tuple(
                Fires(f"engagement: no {each} {WAITS}", service(each))
                for each in ("replicator-forward", "replicator-reverse", "replicator-feed")
            ),
            dead=EVERYBODY,
        ),
        Case("all are scraped", {}, "5m"),
        Case("there is no migration yet", PLANNED, "5m", dead=EVERYBODY[1:4]),
        Case("complete: the feed goes on alone", phase("COMPLETE"), "5m", dead=EVERYBODY[1:3]),
        Case(
            "complete: the feed is gone",
            phase("COMPLETE"),
            "5m",
            (Fires(f"engagement: no replicator-feed {WAITS}", service("replicator-feed")),),
            dead=EVERYBODY[1:4],
        ),
    ),
    "ShardsUnread": (
        Case(
            "nobody holds a shard of the reverse direction",
            {**leases("forward", "feed-source", "feed-target"), **leases("reverse", held="0+0x60")},
            "10m",
            (Fires(f"engagement: reverse {HOLDS_NOT}", of("reverse")),),
        ),
        Case(
            "two processes hold seven of eight",
            {
                **leases("reverse", "feed-source", "feed-target"),
                f'crossfade_shards{{{FORWARD},instance="a"}}': "8+0x60",
                f'crossfade_shards{{{FORWARD},instance="b"}}': "8+0x60",
                f'crossfade_leases{{{FORWARD},instance="a"}}': "4+0x60",
                f'crossfade_leases{{{FORWARD},instance="b"}}': "3+0x60",
            },
            "10m",
            (Fires(f"engagement: forward {HOLDS_NOT}", of("forward")),),
        ),
        Case(
            "its processes live, and can't look at their shards",
            {**leases("forward", "feed-source", "feed-target"), f"crossfade_leases{{{REVERSE}}}": "0+0x60"},
            "10m",
            (Fires(f"engagement: reverse {HOLDS_NOT}", of("reverse")),),
        ),
        Case(
            "nobody does, and nobody is left to tell the phase",
            {},
            "10m",
            tuple(Fires(f"engagement: {each} {HOLDS_NOT}", of(each)) for each in ALL_READ),
            dead=EVERYBODY,
        ),
        Case("all four read", leases(*ALL_READ), "10m"),
        Case(
            "a shard changes hands",
            {**leases("reverse", "feed-source", "feed-target"), **leases("forward", held="2+0x4 1 1 2+0x50")},
            "12m",
        ),
        Case("there is no migration yet", PLANNED, "10m"),
        Case("complete: the feed goes on alone", {**phase("COMPLETE"), **leases("feed-target")}, "10m"),
    ),
    "LeasesFlapping": (
        Case(
            "two processes take eight shards from each other, again and again",
            {
                f"crossfade_shards{{{FORWARD}}}": "8+0x40",
                f'crossfade_leases_taken_total{{{FORWARD},instance="a"}}': "0+2x40",
                f'crossfade_leases_taken_total{{{FORWARD},instance="b"}}': "0+2x40",
            },
            "30m",
            (
                Fires(
                    "engagement: forward's shards have changed hands 7.5 times each in a quarter of an hour",
                    of("forward"),
                ),
            ),
        ),
        Case(
            "a rolling restart",
            {
                f"crossfade_shards{{{FORWARD}}}": "8+0x40",
                f"crossfade_leases_taken_total{{{FORWARD}}}": "0+0x20 8+0x5 16+0x20",
            },
            "30m",
        ),
    ),
    "RecordsUnread": (
        Case(
            "nobody has read for a day",
            {f"crossfade_unread_age_seconds{{{FORWARD}}}": "90000+60x15"},
            "10m",
            (
                Fires(
                    "engagement: forward may have left records in its stream for 1d 1h 10m 0s, and nobody reads them",
                    of("forward"),
                ),
            ),
        ),
        Case(
            "an import takes days, and forward has no lease yet",
            {**phase("SNAPSHOT"), f"crossfade_unread_age_seconds{{{FORWARD}}}": "100000+60x30"},
            "10m",
            (
                Fires(
                    "engagement: forward may have left records in its stream for 1d 3h 56m 40s, and nobody reads them",
                    of("forward"),
                ),
            ),
        ),
        Case("an import takes hours", {f"crossfade_unread_age_seconds{{{FORWARD}}}": "10000+60x30"}, "10m"),
    ),
    "CheckpointsStopped": (
        Case(
            "records are read, no checkpoint moves",
            {READ: "0+600x20", f"crossfade_checkpoints_total{{{FORWARD}}}": "7+0x20"},
            "12m",
            (Fires("engagement: forward reads 10 records a second and stores no checkpoint", of("forward")),),
        ),
        Case("checkpoints move", {READ: "0+600x20", f"crossfade_checkpoints_total{{{FORWARD}}}": "0+50x20"}, "12m"),
        Case("nothing to read", {READ: "5+0x20", f"crossfade_checkpoints_total{{{FORWARD}}}": "7+0x20"}, "12m"),
    ),
    "DeadLetters": (
        Case(
            "three records are parked",
            {f"crossfade_dead_letters{{{E}}}": "0 3+0x9"},
            "5m",
            (Fires("engagement: 3 records are parked"),),
        ),
        Case("a conflict that leaves on its own", {f"crossfade_dead_letters{{{E}}}": "0 1 0+0x9"}, "5m"),
    ),
    "TransfersThrottled": (
        Case(
            "one write in ten is sent back",
            {READ: "0+1000x30", f"crossfade_statements_throttled_total{{{FORWARD}}}": "0+100x30"},
            "20m",
            (Fires("engagement: forward has 10% of its writes sent back by the table", of("forward")),),
        ),
        Case(
            "one in a hundred",
            {READ: "0+1000x30", f"crossfade_statements_throttled_total{{{FORWARD}}}": "0+10x30"},
            "20m",
        ),
    ),
    "MarksUnusable": (
        Case(
            "after a failover one process still asks the old primary",
            {
                f'crossfade_dedup_usable{{{E},service_name="replicator-forward"}}': "1 0+0x30",
                f'crossfade_dedup_usable{{{E},service_name="engagement-api"}}': "1+0x30",
            },
            "20m",
            (Fires("engagement: 1 processes can't use the store of marks; each copy is written twice"),),
        ),
        Case(
            "a failover takes a minute",
            {f'crossfade_dedup_usable{{{E},service_name="replicator-forward"}}': "1 0 1+0x30"},
            "20m",
        ),
    ),
    "TableToStreamLag": (
        Case(
            "DynamoDB does not get its records into the stream",
            {f'crossfade_table_to_stream_age_seconds{{{E},crossfade_side="source"}}': "0+60x20"},
            "10m",
            (
                Fires(
                    "engagement: a write to the source table has not reached its stream for 10m 0s",
                    {**MIGRATION, "crossfade_side": "source"},
                ),
            ),
        ),
        Case("seconds", {f'crossfade_table_to_stream_age_seconds{{{E},crossfade_side="source"}}': "2+0x20"}, "10m"),
    ),
    "StrayWrites": (
        Case(
            "somebody writes past the API",
            {f'crossfade_apply_records_total{{{FORWARD},crossfade_record_outcome="stray"}}': "_x9 1+0x20"},
            "12m",
            (Fires("engagement: 1 writes from outside the protocol came by forward", of("forward")),),
        ),
        Case(
            "that was long ago",
            {f'crossfade_apply_records_total{{{FORWARD},crossfade_record_outcome="stray"}}': "1+0x40"},
            "30m",
        ),
        Case(
            "owner writes are applied",
            {f'crossfade_apply_records_total{{{FORWARD},crossfade_record_outcome="applied"}}': "0+100x20"},
            "12m",
        ),
    ),
    "EventsParked": (
        Case(
            "an event can't be read",
            {f'crossfade_feed_parked_total{{{E},messaging_consumer_group_name="feed-target"}}': "0+0x9 2+0x20"},
            "11m",
            (Fires("engagement: 2 records' events could not be read by feed-target", of("feed-target")),),
        ),
        Case(
            "all can",
            {f'crossfade_feed_parked_total{{{E},messaging_consumer_group_name="feed-target"}}': "0+0x20"},
            "11m",
        ),
    ),
    "CopiesLate": (
        Case(
            "copies take a minute",
            buckets(
                "crossfade_crossing_duration_seconds",
                ',crossfade_direction="to-target"',
                le_30_0="0+50x30",
                le_60_0="0+100x30",
                le_inf="0+100x30",
            ),
            "20m",
            (
                Fires(
                    "engagement: p99 of a write's way to-target is 59.4s",
                    {**MIGRATION, "crossfade_direction": "to-target"},
                ),
            ),
        ),
        Case(
            "copies take a second",
            buckets(
                "crossfade_crossing_duration_seconds",
                ',crossfade_direction="to-target"',
                le_1_0="0+100x30",
                le_60_0="0+100x30",
                le_inf="0+100x30",
            ),
            "20m",
        ),
    ),
}
