"""Reports of a consumer: to the control table every second, to the log every half minute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from crossfade.adapters.control.reports import Held
from crossfade.contracts.report import Report
from crossfade_replicator.tally import Tally
from faust_kinesis import EngineReport


class Kept(Protocol):
    """Keeps reports; `crossfade.adapters.control.reports.DynamoReports` does."""

    async def held(self, consumer: str, shard: str) -> Held | None:
        """Return the last report of a consumer on a shard."""


class Tallies:
    """One tally per shard that this process has worked on."""

    def __init__(self) -> None:
        """Start with none."""
        self._tallies: dict[str, Tally] = {}
        self._recalled: set[str] = set()

    def of(self, shard_id: str) -> Tally:
        """Return the tally of a shard."""
        tally = self._tallies.get(shard_id)
        if tally is None:
            tally = self._tallies[shard_id] = Tally()
        return tally

    async def recall(self, consumer: str, engine: EngineReport, kept: Kept) -> None:
        """Take over, once a shard, what an earlier process reported of it and a restart must not forget.

        Raises:
            CrossfadeError: the store doesn't answer.
        """
        for shard in engine.shards:
            if shard.shard_id in self._recalled:
                continue
            held = await kept.held(consumer, f"{engine.stream}/{shard.shard_id}")
            if held is not None:
                tally = self.of(shard.shard_id)
                tally.stray_last_us = max(tally.stray_last_us, held.report.stray_last_us)
                tally.imprecise_last_us = max(tally.imprecise_last_us, held.report.imprecise_last_us)
            self._recalled.add(shard.shard_id)

    def total(self) -> dict[str, int]:
        """Return the counts of all shards together, by name."""
        total: Counter[str] = Counter()
        for tally in self._tallies.values():
            total.update(tally.counts)
        return dict(sorted(total.items()))


def reports(consumer: str, engine: EngineReport, tallies: Tallies, *, now_us: int) -> list[Report]:
    """Say how far each shard is. A shard that was never read is left out: an absent report means an unknown lag.

    Args:
        consumer: of the consumer.
        engine: what the reader says.
        tallies: what was counted.
        now_us: wall clock, µs.
    """
    found = []
    for shard in engine.shards:
        if shard.age_s is None:
            continue
        tally = tallies.of(shard.shard_id)
        each = Report(
            consumer=consumer,
            shard=f"{engine.stream}/{shard.shard_id}",
            at_us=now_us,
            iterator_age_ms=round(shard.age_s * 1000),
            oldest_unapplied_us=0 if shard.oldest_unacked_s is None else round(shard.oldest_unacked_s * 1e6),
            applied_commit_us=tally.applied_commit_us,
            counts={name: count for name, count in tally.counts.items() if count},
            stray_last_us=tally.stray_last_us,
            imprecise_last_us=tally.imprecise_last_us,
        )
        found.append(each)
    return found


def is_drained(engines: Iterable[EngineReport], since_s: float, settle_s: float, *, now_s: float) -> bool:
    """Say whether everything that was written before a moment is applied.

    Args:
        engines: what the readers say.
        since_s: the moment, on this process's monotonic clock.
        settle_s: time that a write may need from its table to the stream.
        now_s: monotonic.
    """
    shards = [shard for engine in engines for shard in engine.shards]
    if not shards:
        return False
    return all(shard.age_s is not None and now_s - shard.age_s >= since_s + settle_s for shard in shards)
