"""Sizes at their limits, the write stop and its floors, and what a plain migration costs."""

from __future__ import annotations

import pytest

from crossfade.core.plan.costs import Move, costs
from crossfade.core.plan.sizes import FRAME_BYTES, ITEM_BYTES, RECORD_BYTES, RECORD_MOST_BYTES, Row, sizes
from crossfade.core.plan.stop import METRIC_LATE_S, POLICY_SETTLES_S, How, Stop, stop_of

FENCE = 15
HOW = How(hook=True, settle_s=0.0, guard=False, marker=True, metric_period_s=60.0, listed=0)
MOVE = Move(
    items=1_000_000,
    item_bytes=1_000,
    table_bytes=2_000_000_000,
    indexes=0,
    writes_per_s=None,
    is_measured=False,
    written=False,
    record_bytes=2_600,
)


@pytest.mark.parametrize(
    ("item_bytes", "wide"),
    [(ITEM_BYTES - FENCE, 0), (ITEM_BYTES - FENCE + 1, 1), (ITEM_BYTES, 1), (ITEM_BYTES + 1, 0)],
)
def test_a_row_is_wide_exactly_where_it_fits_and_its_fence_doesn_t(item_bytes: int, wide: int) -> None:
    found = sizes([Row("k", item_bytes, 10)], fence_bytes=FENCE)
    assert found.wide_count == wide
    assert ("no room for a fence" in " ".join(found.sentences)) is bool(wide)


def test_a_record_has_both_images_and_the_stream_drops_what_is_above_its_limit() -> None:
    json_bytes = (RECORD_BYTES - FRAME_BYTES) // 2
    fits, drops = Row("fits", 400, json_bytes), Row("drops", 400, json_bytes + 1)
    found = sizes([fits, drops], fence_bytes=FENCE)
    assert found.skipped == (f"drops ({drops.record_bytes:,} bytes)",)
    assert "update-max-record-size" in " ".join(found.sentences)


def test_with_the_limit_raised_no_row_s_record_is_dropped_but_that_isn_t_relied_on() -> None:
    binary = Row("binary", ITEM_BYTES, ITEM_BYTES * 4 // 3)
    found = sizes([binary], fence_bytes=FENCE, limit_bytes=RECORD_MOST_BYTES)
    assert binary.record_bytes > RECORD_BYTES
    assert found.skipped_count == 0
    assert "the compare of each flip find" in " ".join(found.sentences)


def test_of_many_wide_rows_five_are_named_and_all_are_counted() -> None:
    found = sizes([Row(f"k{number}", ITEM_BYTES, 10) for number in range(9)], fence_bytes=FENCE)
    assert (len(found.wide), found.wide_count) == (5, 9)


def seconds(stop: Stop) -> dict[str, tuple[float, float]]:
    return {each.name: (each.least_s, each.likely_s) for each in stop.parts}


def test_a_stop_with_hook_and_canary_has_no_floor_of_aws_s() -> None:
    assert stop_of(HOW).least_s == 0
    assert stop_of(HOW).likely_s < 3


def test_without_a_canary_key_the_floor_is_the_metric_s_minute() -> None:
    parts = seconds(stop_of(HOW._replace(marker=False)))
    assert parts["first hop"] == (60.0, 60.0 + METRIC_LATE_S)


def test_the_settling_time_counts_whole_unless_the_guard_stands_for_it() -> None:
    assert seconds(stop_of(HOW._replace(settle_s=20.0)))["settling"] == (20.0, 20.0)
    guarded = seconds(stop_of(HOW._replace(settle_s=20.0, guard=True)))
    assert "settling" not in guarded
    assert guarded["guard"] == (0.0, POLICY_SETTLES_S)


def test_listed_keys_are_compared_at_a_rate_and_a_whole_compare_reads_every_row() -> None:
    assert seconds(stop_of(HOW._replace(listed=10_000)))["compare"] == (5.0, 5.0)
    whole = seconds(stop_of(HOW._replace(whole=True, rows=200_000)))
    assert whole["compare, whole"] == (10.0, 10.0)


def figures(move: Move) -> dict[str, float]:
    return {each.name: each.value for each in costs(move, fence_bytes=FENCE)}


def test_figures_of_a_million_rows_of_a_kilobyte() -> None:
    found = figures(MOVE)
    assert found["export"] == pytest.approx(0.20)
    assert found["import"] == pytest.approx(0.15)
    assert found["copies to the standby"] == pytest.approx(3.6 * 0.625)
    assert found["one pass of the verifier"] == pytest.approx(2 * 0.5 * 0.125)
    assert found["mapping, in hours of one core"] == pytest.approx(1e6 / 120_000 / 3600)


def test_a_fence_that_takes_a_row_over_a_kilobyte_costs_a_second_write_unit() -> None:
    by_size = {size: figures(MOVE._replace(item_bytes=size))["copies to the standby"] for size in (1_009, 1_010)}
    assert by_size[1_010] == pytest.approx(2 * by_size[1_009])


def test_each_index_is_written_with_each_row() -> None:
    assert figures(MOVE._replace(indexes=2))["copies to the standby"] == pytest.approx(3 * 3.6 * 0.625)


def test_a_target_that_is_filled_by_writes_is_paid_by_the_write() -> None:
    found = figures(MOVE._replace(written=True))
    assert "import" not in found
    assert found["filling the target by writes"] == pytest.approx(0.625)


@pytest.mark.parametrize(
    ("writes_per_s", "measured", "says"),
    [(None, False, "a default"), (50.0, False, "50 writes/s, as given"), (50.0, True, "busiest quarter of an hour")],
)
def test_each_figure_of_the_peak_says_where_the_peak_is_from(
    writes_per_s: float | None, measured: bool, says: str
) -> None:
    found = costs(MOVE._replace(writes_per_s=writes_per_s, is_measured=measured), fence_bytes=FENCE)
    bases = {each.name: each.basis for each in found}
    assert says in bases["copies to the standby"]
    assert says in bases["shards of each change stream"]
    assert all(bases.values())
