"""What a stream consumer tells of each shard: written by replicators and the feed, read by the controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from crossfade.contracts.document import Document


class Report(Document, frozen=True):
    """What one stream consumer says of itself, per shard, every second or so.

    Attributes:
        role: "forward", "reverse", "feed-legacy", "feed-new".
        shard: stream and shard id, "wallet-changes/shardId-000000000000".
        at_us: wall clock when it was written, µs. An old report means an unknown lag, which shuts the gates.
        iterator_age_ms: stream to applied: age of the oldest fetched and unapplied record, or how far behind the tip.
        oldest_unapplied_us: arrival of the oldest record not applied yet; 0 when all are.
        applied_commit_us: highest commit time seen so far, µs; old duplicates don't lower it.
        counts: totals since the start of the process: applied, stale, duplicate, deduplicated, parked, foreign, echo, …
        foreign_last_us: commit time of the last stray; 0 when there was none. A restart doesn't forget it.
        imprecise_last_us: commit time of the last record without µs; 0 when there was none. Nor this.
        position: sequence number up to which all is applied, opaque; only of a consumer that keeps no checkpoint of
            its own (AWS Lambda), else empty.
    """

    NAME: ClassVar[str] = "report"

    role: str
    shard: str
    at_us: int
    iterator_age_ms: int
    oldest_unapplied_us: int
    applied_commit_us: int
    counts: Mapping[str, int]
    foreign_last_us: int = 0
    imprecise_last_us: int = 0
    position: str = ""
