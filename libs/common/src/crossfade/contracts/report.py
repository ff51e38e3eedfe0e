"""What a stream consumer reports on each of its shards: written by replicators and feeds, read by the controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from crossfade.contracts.document import Document


class Report(Document, frozen=True):
    """One consumer's report on one shard, every second or so.

    Attributes:
        consumer: "forward", "reverse", "feed-source" or "feed-target".
        shard: stream and shard id, "wallet-changes/shardId-000000000000".
        at_us: wall clock at the time of writing, µs. If a report is old, the lag is unknown, which shuts the gates.
        iterator_age_ms: lag from stream to applied: the age of the oldest record that was fetched and isn't applied
            yet, or the distance to the tip if that is more.
        oldest_unapplied_us: arrival time of the oldest record that isn't applied yet; 0 if all are.
        applied_commit_us: highest commit time seen so far, µs; old duplicates don't lower it.
        counts: totals since the process started: applied, stale, duplicate, deduplicated, parked, stray, echo, …
        stray_last_us: commit time of the last stray; 0 if there was none. It survives restarts.
        imprecise_last_us: commit time of the last record without microseconds; 0 if there was none. It survives too.
        position: opaque sequence number up to which everything is applied; empty unless the consumer keeps no
            checkpoint of its own (AWS Lambda).
    """

    NAME: ClassVar[str] = "report"

    consumer: str
    shard: str
    at_us: int
    iterator_age_ms: int
    oldest_unapplied_us: int
    applied_commit_us: int
    counts: Mapping[str, int]
    stray_last_us: int = 0
    imprecise_last_us: int = 0
    position: str = ""
