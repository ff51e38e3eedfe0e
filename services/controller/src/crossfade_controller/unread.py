"""How long records wait that nobody reads: from the reports of the living and of the dead, or from when capture began.

A consumer's own figures end with it, and before its first lease there are none. Retention doesn't wait for either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from crossfade.contracts.report import Report
from crossfade.core.migration.phases import Phase
from crossfade.core.migration.state import Migration
from crossfade.core.migration.table import PhaseTable
from crossfade.core.values.shape import Side

READS: Final[Mapping[str, Side]] = {
    "forward": Side.SOURCE,
    "reverse": Side.TARGET,
    "feed-source": Side.SOURCE,
    "feed-target": Side.TARGET,
}
"""By consumer, the side whose changes it reads."""

_CAPTURE: Final = {Side.SOURCE: ("capture", "flows_us"), Side.TARGET: ("capture-target", "active_us")}
"""The step that turned capture on, and its evidence of when. Hours are at stake, so it doesn't matter whose clock it
was."""


def _must_read(consumer: str, table: PhaseTable) -> frozenset[Phase]:
    """Return the phases in which a consumer has to read."""
    beside = {"forward": Phase.CATCHING_UP, "feed-target": Phase.COMPLETE}
    return table.replicating | ({beside[consumer]} if consumer in beside else set())


class Unread(NamedTuple):
    """What one consumer may have left in its stream.

    Attributes:
        shards: open shards that it must read now and of which no living process reports.
        waited_s: age of the oldest record that it may not have applied.
    """

    shards: int
    waited_s: float


def unread(
    state: Migration,
    reports: Iterable[Report],
    living: Collection[tuple[str, str]],
    open_shards: Mapping[Side, Collection[str]],
    now_us: int,
) -> dict[str, Unread]:
    """Return, by consumer, what may be left in its stream; without those that need not read in this phase.

    Args:
        state: of the migration; its journal knows when capture began.
        reports: the last one of each consumer and shard, of the dead, too.
        living: consumer and shard of those whose process lives.
        open_shards: of each side's stream; a side is missing while AWS didn't answer.
        now_us: wall clock, µs.
    """
    found = {}
    last = list(reports)
    for consumer, side in READS.items():
        step, moment = _CAPTURE[side]
        began_us = int(state.facts.get(step, {}).get(moment, 0))
        must_read = state.phase in _must_read(consumer, state.table)
        if not began_us or (state.phase in state.table.finished and not must_read):
            continue
        mine = {each.shard.rpartition("/")[2]: each for each in last if each.consumer == consumer}
        alive = {shard for shard, each in mine.items() if (consumer, each.shard) in living}
        there = open_shards.get(side, mine.keys())
        waits_s = [_waits_s(each, shard in alive, now_us) for shard, each in mine.items() if shard in there]
        missing = set(there) - alive if must_read else ()
        found[consumer] = Unread(len(missing), max(waits_s, default=max(0.0, (now_us - began_us) / 1e6)))
    return found


def _waits_s(report: Report, alive: bool, now_us: int) -> float:
    """A duration, as the consumer measured it; the dead one's last word is as old as it is, and hours are at stake.

    So a clock that is off by minutes does no harm here.
    """
    if alive:
        return report.iterator_age_ms / 1000 if report.oldest_unapplied_us else 0.0
    return max(0.0, (now_us - report.at_us) / 1e6) + report.iterator_age_ms / 1000
