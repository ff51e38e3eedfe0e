"""Skew as an interval, and ages without a wall clock."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.adapters.wire.dates import LATELY_S, Dates, date_s
from crossfade.core.values.clocks import CommitUs, LatestCommit, Skew, skew_of

NOW_S = 1_764_000_000.0


@given(
    ahead_s=st.floats(-1e4, 1e4),
    sent_s=st.floats(0, 1e4),
    there_s=st.floats(0, 5),
    back_s=st.floats(0, 5),
)
def test_the_interval_always_holds_the_skew(ahead_s: float, sent_s: float, there_s: float, back_s: float) -> None:
    """Whatever the second's fraction and wherever in the round trip the answer was dated."""
    dated_s = NOW_S + sent_s + there_s
    skew = skew_of(float(int(dated_s)), NOW_S + sent_s + ahead_s, dated_s + back_s + ahead_s)
    assert skew.low_s - 1e-5 <= ahead_s <= skew.high_s + 1e-5
    assert skew.high_s - skew.low_s <= 1 + there_s + back_s + 1e-5


@pytest.mark.parametrize(
    ("skew", "surely_s"),
    [(Skew(-0.5, 0.6), 0.0), (Skew(1.5, 2.6), 1.5), (Skew(-41.0, -39.9), -39.9), (Skew(0.0, 1.0), 0.0)],
)
def test_only_what_nothing_else_explains_counts(skew: Skew, surely_s: float) -> None:
    assert skew.surely_s == surely_s


@pytest.mark.parametrize("header", [None, b"", b"yesterday", b"Sat, 99 Nov 2026 00:00:00 GMT", b"\xff"])
def test_what_is_no_date_tells_nothing(header: bytes | None) -> None:
    assert date_s(header) is None
    dates = Dates(monotonic=lambda: 0.0)
    dates.note(header, NOW_S, NOW_S)
    assert dates.skew() is None


def test_an_old_answer_tells_nothing() -> None:
    now = [100.0]
    dates = Dates(monotonic=lambda: now[0])
    dates.note(formatdate(NOW_S, usegmt=True).encode(), NOW_S + 5.0, NOW_S + 5.2)
    assert dates.skew() == pytest.approx(Skew(4.0, 5.2))
    now[0] += LATELY_S
    assert dates.skew() is not None
    now[0] += 1.0
    assert dates.skew() is None


def test_an_age_is_what_we_saw_pass_or_what_the_table_s_commit_times_tell_whichever_is_more() -> None:
    none = LatestCommit()
    assert none.age_s(CommitUs(5_000_000), 10.0) is None
    seen = none.observe(CommitUs(2_000_000), 10.0)
    assert seen.age_s(CommitUs(0), 13.0) == 3.0
    assert seen.age_s(CommitUs(9_000_000), 13.0) == 7.0
    assert seen.observe(CommitUs(1_000_000), 20.0) == seen, "an old duplicate makes it no younger"
    assert seen.observe(CommitUs(3_000_000), 20.0).age_s(CommitUs(0), 20.0) == 0.0


@given(
    ahead_s=st.sampled_from([0.0, 1.5, -1.5, 40.0, -40.0, 600.0, -600.0]),
    sent_s=st.floats(0, 1e4),
    trip_s=st.floats(0, 0.2),
    later_s=st.floats(0, 30),
)
def test_the_time_by_aws_s_clock_is_right_to_a_second_though_ours_is_not(
    ahead_s: float, sent_s: float, trip_s: float, later_s: float
) -> None:
    """And what is no earlier than AWS's time never is, so that whatever is committed later came later."""
    true_s = NOW_S + sent_s
    dates = Dates(monotonic=lambda: 1.0, wall=lambda: true_s + trip_s + later_s + ahead_s)
    dates.note(formatdate(int(true_s + trip_s / 2), usegmt=True).encode(), true_s + ahead_s, true_s + trip_s + ahead_s)
    now_s = true_s + trip_s + later_s
    assert abs(dates.now_s() - now_s) <= max(1.0 + trip_s + 1e-5, abs(ahead_s) if abs(ahead_s) < 1.5 else 0.0)
    assert now_s - 1e-5 <= dates.at_most_s() <= now_s + 1 + trip_s + 1e-5


def test_our_clock_is_taken_as_it_is_while_nothing_speaks_against_it() -> None:
    dates = Dates(monotonic=lambda: 1.0, wall=lambda: NOW_S)
    assert dates.now_s() == dates.at_most_s() == NOW_S
    dates.note(formatdate(NOW_S, usegmt=True).encode(), NOW_S + 0.1, NOW_S + 0.2)
    assert dates.now_s() == NOW_S
