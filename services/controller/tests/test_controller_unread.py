"""Records that nobody reads: counted from the last word of the dead, or from when capture began."""

from __future__ import annotations

from crossfade.contracts.report import Report
from crossfade.core.migration.keyed import KEYED_PHASES
from crossfade.core.migration.phases import Phase
from crossfade.core.migration.state import Migration
from crossfade.core.values.shape import Side
from crossfade_controller.unread import Unread, unread

HOUR_US = 3_600_000_000
NOW_US = 1_000 * HOUR_US
SHARDS = {Side.SOURCE: tuple(f"shard-{n}" for n in range(8)), Side.TARGET: ("shard-0",)}


def standing(phase: Phase, **captured_h: float) -> Migration:
    """A migration whose tables are captured since so many hours."""
    moments = {"capture": "flows_us", "capture_target": "active_us"}
    facts = {
        name.replace("_", "-"): {moments[name]: round(NOW_US - hours * HOUR_US)} for name, hours in captured_h.items()
    }
    return Migration(KEYED_PHASES, phase=phase, facts=facts)


def report(shard: int = 0, said_h_ago: float = 0, *, role: str = "forward", unapplied_h: float | None = None) -> Report:
    oldest_us = 0 if unapplied_h is None else round(NOW_US - unapplied_h * HOUR_US)
    age_ms = round((unapplied_h or 0) * 3_600_000)
    return Report(role, f"changes/shard-{shard}", round(NOW_US - said_h_ago * HOUR_US), age_ms, oldest_us, 0, {})


def left(state: Migration, *reports: Report, dead: frozenset[int] = frozenset()) -> dict[str, Unread]:
    living = {(each.consumer, each.shard) for n, each in enumerate(reports) if n not in dead}
    return unread(state, reports, living, SHARDS, NOW_US)


def test_before_the_first_lease_records_wait_since_capture_began() -> None:
    found = left(standing(Phase.SNAPSHOT, capture=100))
    assert found["forward"] == Unread(0, 100 * 3600), "an import may take as long; only the retention may not"
    assert "reverse" not in found, "nothing of the target table is captured yet"


def test_nothing_waits_before_capture_began() -> None:
    assert left(standing(Phase.PLANNED)) == {}


def test_a_dead_consumers_last_word_holds_for_when_it_was_said() -> None:
    dead = [report(n, said_h_ago=5) for n in range(8)]
    found = left(standing(Phase.BAKING, capture=100), *dead, dead=frozenset(range(8)))
    assert found["forward"] == Unread(8, 5 * 3600)


def test_seven_of_eight_shards_are_read() -> None:
    found = left(
        standing(Phase.RAMPING, capture=100), *(report(n, said_h_ago=3 if n == 5 else 0) for n in range(8)),
        dead=frozenset({5}),
    )  # fmt: skip
    assert found["forward"] == Unread(1, 3 * 3600)


def test_a_shard_that_nobody_has_read_yet_is_missing_and_does_not_wait_since_capture() -> None:
    """A split's child is as old as the split, and its records as the parent's last."""
    found = left(standing(Phase.RAMPING, capture=100), *(report(n) for n in range(7)))
    assert found["forward"] == Unread(1, 0.0)


def test_a_living_consumer_tells_its_oldest_record() -> None:
    found = left(standing(Phase.RAMPING, capture=100), *(report(n, unapplied_h=n) for n in range(8)))
    assert found["forward"] == Unread(0, 7 * 3600)


def test_a_shard_that_was_split_is_not_waited_for() -> None:
    found = left(standing(Phase.RAMPING, capture=100), *(report(n) for n in range(8)), report(77, said_h_ago=90))
    assert found["forward"] == Unread(0, 0.0)


def test_after_complete_the_feed_of_the_target_table_reads_alone() -> None:
    found = left(standing(Phase.COMPLETE, capture=500, capture_target=400))
    assert found == {"feed-target": Unread(1, 400 * 3600)}
    assert left(standing(Phase.ABORTED, capture=500, capture_target=400)) == {}
