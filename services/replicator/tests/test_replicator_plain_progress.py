"""When the other direction's consumer is past a moment, as its reports say (ADR 0044)."""

from __future__ import annotations

from crossfade.adapters.memory.clock import MemoryClock
from crossfade.contracts.report import Report
from crossfade.ports.streams import Fetched, StreamShard
from crossfade_replicator.plain.progress import Progress

S = 1_000_000


class Shards:
    """A stream of three shards: one was split into the other two."""

    async def list_shards(self, stream: str) -> list[StreamShard]:
        del stream
        return [StreamShard("old", ()), StreamShard("a", ("old",)), StreamShard("b", ("old",))]

    async def shard_iterator(
        self, stream: str, shard_id: str, *, after: str | None = None, at_s: float | None = None, latest: bool = False
    ) -> str:
        raise AssertionError("nothing is read here")

    async def get_records(self, iterator: str, limit: int = 1000) -> Fetched:
        raise AssertionError("nothing is read here")


class Reports:
    """A consumer that reports on its shards each second, by a clock of its own."""

    def __init__(self, *, ages_ms: dict[str, int], lags_for: int = 0) -> None:
        self.asked = 0
        self._ages_ms, self._lags_for = ages_ms, lags_for

    async def all(self) -> list[Report]:
        self.asked += 1
        behind = 60_000 if self.asked <= self._lags_for else 0
        found = [self._report(shard, 7_000 * S + self.asked * S, age + behind) for shard, age in self._ages_ms.items()]
        return [*found, self._report("old", 5 * S, 0), self._report("a", 1, 0, consumer="forward")]

    @staticmethod
    def _report(shard: str, at_us: int, age_ms: int, consumer: str = "reverse") -> Report:
        return Report(
            consumer=consumer,
            shard=f"changes/{shard}",
            at_us=at_us,
            iterator_age_ms=age_ms,
            oldest_unapplied_us=0,
            applied_commit_us=0,
            counts={},
        )


async def looks(reports: Reports) -> int:
    await Progress(reports, "reverse", Shards(), "changes", MemoryClock(), settle_s=3.0).is_past_now()
    return reports.asked


async def test_only_reports_of_after_the_call_count_and_the_way_to_the_stream_is_added() -> None:
    """One look at the call; the second report after it is of after the call; three seconds more by its own clock."""
    assert await looks(Reports(ages_ms={"a": 0, "b": 0})) == 1 + 2 + 3


async def test_a_lag_counts_until_it_is_worked_off() -> None:
    assert await looks(Reports(ages_ms={"a": 0, "b": 2_000})) == 1 + 2 + 3 + 2
    assert await looks(Reports(ages_ms={"a": 0, "b": 0}, lags_for=20)) == 21


async def test_a_shard_that_was_split_reports_no_more_and_is_not_waited_for() -> None:
    assert await looks(Reports(ages_ms={"a": 0, "b": 0})) > 0
