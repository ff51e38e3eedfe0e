"""Which transaction ids an item remembers (design.md, section 4, Exactly once)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.ownership.trim import (
    AHEAD_MS,
    FULL_SIZE,
    SOFT_SIZE,
    WINDOW_MS,
    Full,
    Trim,
    is_from_the_future,
    plan_trim,
    soft_size,
    ulid_ms,
)
from ownership_cases import NOW_MS, ulid

ages_ms = st.integers(min_value=-AHEAD_MS, max_value=3 * WINDOW_MS)


def test_the_time_of_an_id_is_its_first_48_bits() -> None:
    assert ulid_ms(ulid(7, age_ms=1234)) == NOW_MS - 1234


@given(st.frozensets(st.builds(ulid, st.integers(0, 2**80 - 1), ages_ms), max_size=60))
def test_an_id_of_the_window_is_never_trimmed_and_never_below_the_floor(recent: frozenset[bytes]) -> None:
    trim = plan_trim(recent, b"", NOW_MS)
    assert isinstance(trim, Trim)
    young = {each for each in recent if ulid_ms(each) > NOW_MS - WINDOW_MS}
    assert trim.kept == young
    assert all(each > trim.floor for each in young)
    assert all(each <= trim.floor for each in recent - young)


def test_the_floor_never_falls() -> None:
    high = ulid(0, age_ms=WINDOW_MS + 5)
    trim = plan_trim(frozenset({ulid(0, age_ms=WINDOW_MS + 9)}), high, NOW_MS)
    assert isinstance(trim, Trim)
    assert trim.floor == high


def test_a_trim_that_finds_nothing_old_leaves_the_floor_empty_and_doubles_the_soft_size() -> None:
    recent = frozenset(map(ulid, range(SOFT_SIZE)))
    assert plan_trim(recent, b"", NOW_MS) == Trim(recent, b"", 2 * (SOFT_SIZE + 1))


def test_the_soft_size_is_the_larger_of_32_and_twice_what_was_left_up_to_the_full_size() -> None:
    assert [soft_size(left) for left in (0, 16, 17, 400, 900)] == [32, 32, 34, 800, FULL_SIZE]


def test_a_set_full_of_ids_of_the_window_says_when_the_first_may_go() -> None:
    recent = frozenset(ulid(n, age_ms=WINDOW_MS - 2500) for n in range(FULL_SIZE))
    assert plan_trim(recent, b"", NOW_MS) == Full(retry_after_s=2.5)


def test_one_old_id_makes_room_in_a_full_set() -> None:
    recent = frozenset(map(ulid, range(FULL_SIZE - 1))) | {ulid(0, age_ms=WINDOW_MS)}
    trim = plan_trim(recent, b"", NOW_MS)
    assert isinstance(trim, Trim)
    assert len(trim.kept) == FULL_SIZE - 1


def test_an_id_more_than_five_seconds_ahead_is_from_the_future() -> None:
    assert not is_from_the_future(ulid(1, age_ms=-AHEAD_MS), NOW_MS)
    assert is_from_the_future(ulid(1, age_ms=-AHEAD_MS - 1), NOW_MS)
