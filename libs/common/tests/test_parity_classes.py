"""Section 6: each class of difference is called when it holds, and nothing is called too early."""

from sys import getsizeof

import pytest

from crossfade.core.parity.classes import (
    FINAL,
    KEPT_STATES,
    Difference,
    Pair,
    PassBook,
    Reading,
    States,
    classify,
    follow,
    is_equal,
)
from crossfade.core.protocol.keyed.item import FIRST_STAMPED, Item, Role
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.values.shape import Side

ROWS = KEYED.rows()

V = FIRST_STAMPED
BOUND_S = 5.0
SOURCE, TARGET = Side.SOURCE, Side.TARGET


def image(version: int | None, points: int = 0, role: str = "A", **more: object) -> Item:
    stamped = None if version is None else V + version
    base = Item(version=stamped, role=Role(role), content=(("points", b'{"N":"%d"}' % points),))
    return base._replace(**more)  # type: ignore[arg-type]  # fields by name


def called(
    owner: Item | None, standby: Item | None, *, again: Item | None = None, reached: int = 99
) -> Difference | None:
    reading = Reading(SOURCE, owner, standby, again or owner)
    return classify(reading, ROWS, reached=V + reached, late=True)


def test_the_same_version_with_the_same_content_is_equal() -> None:
    assert called(image(5, 1), image(5, 1, "S")) is Difference.EQUAL


def test_the_same_version_with_other_content_is_diverged() -> None:
    assert called(image(5, 1), image(5, 2, "S")) is Difference.DIVERGED


@pytest.mark.parametrize(
    "lacks", [{"recent": frozenset()}, {"floor": b""}, {"event_version": 0}], ids=["recent", "floor", "event_version"]
)
def test_a_standby_without_the_owners_transaction_ids_is_diverged(lacks: dict[str, object]) -> None:
    owner = image(5, 1, recent=frozenset({b"a" * 16}), floor=b"b" * 16, event_version=V + 5)
    assert called(owner, owner._replace(role=Role.STANDBY)) is Difference.EQUAL
    assert called(owner, owner._replace(role=Role.STANDBY, **lacks)) is Difference.DIVERGED  # type: ignore[arg-type]


def test_a_standby_below_what_it_must_have_reached_is_stuck() -> None:
    assert called(image(9), image(5, role="S"), reached=9) is Difference.STUCK


def test_a_standby_that_reached_the_target_is_only_in_flight_behind_a_busy_owner() -> None:
    assert called(image(12), image(9, role="S"), reached=9) is Difference.IN_FLIGHT


def test_a_live_owner_without_a_counterpart_is_missing_there() -> None:
    assert called(image(5), None) is Difference.MISSING


def test_a_standby_without_an_owner_is_extra() -> None:
    reading = Reading(SOURCE, None, image(5, role="S"), None)
    assert classify(reading, ROWS, reached=0, late=True) is Difference.EXTRA


def test_a_standby_above_the_later_owner_read_is_ahead() -> None:
    assert called(image(5), image(7, role="S"), again=image(6)) is Difference.AHEAD


def test_a_standby_above_only_the_earlier_owner_read_is_not_ahead() -> None:
    assert called(image(5), image(7, 1, role="S"), again=image(8), reached=5) is Difference.IN_FLIGHT
    assert called(image(5), image(7, 1, role="S"), again=image(7, 1)) is Difference.EQUAL


def test_a_delete_that_does_not_arrive_is_stuck_and_one_of_the_same_version_diverged() -> None:
    assert called(image(9, deleted=True), image(5, role="S")) is Difference.STUCK
    assert called(image(9, deleted=True), image(9, role="S")) is Difference.DIVERGED
    assert called(image(9), image(9, role="S", deleted=True)) is Difference.DIVERGED
    assert called(image(5, deleted=True), image(9, role="S")) is Difference.AHEAD


@pytest.mark.parametrize("owner", [None, image(5, deleted=True)])
@pytest.mark.parametrize("standby", [None, image(3, role="S", deleted=True)])
def test_tombstones_stubs_and_absent_items_are_all_nothing(owner: Item | None, standby: Item | None) -> None:
    assert is_equal(owner, standby, ROWS)


def test_an_owner_removed_between_its_two_reads_is_looked_at_again() -> None:
    removed = Reading(SOURCE, image(5), image(4, role="S"), None)
    assert classify(removed, ROWS, reached=V, late=True) is Difference.IN_FLIGHT


def test_an_owner_created_between_its_two_reads_was_nothing_as_its_counterpart_was() -> None:
    assert classify(Reading(SOURCE, None, None, image(5)), ROWS, reached=V, late=True) is Difference.EQUAL


def test_a_standby_equal_to_the_earlier_owner_read_is_equal() -> None:
    assert called(image(5, 1), image(5, 1, "S"), again=image(6, 2)) is Difference.EQUAL


def test_both_standby_is_a_handover_and_both_active_needs_a_human_decision() -> None:
    assert called(image(5, role="S"), image(4, role="S")) is Difference.IN_HANDOVER
    assert called(image(5, role="S"), None) is Difference.IN_HANDOVER
    assert called(image(5, 1), image(5, 1)) is Difference.TWO_OWNERS
    assert Difference.TWO_OWNERS in FINAL


def test_a_row_without_a_role_is_active_in_source_and_standby_in_target() -> None:
    bare = image(5)._replace(role=None)
    assert ROWS.owner_of(bare, bare) is SOURCE
    assert KEYED.rows(complete=True).owner_of(bare, bare) is TARGET
    assert called(bare, bare) is Difference.EQUAL


def test_a_source_row_removed_from_under_an_active_new_one_is_missing_not_an_owner() -> None:
    reading = Reading(TARGET, image(5), None, image(5))
    assert ROWS.owner_of(None, image(5)) is TARGET
    assert classify(reading, ROWS, reached=V, late=True) is Difference.MISSING


@pytest.mark.parametrize(
    "again",
    [image(6, role="S", generation=1), image(5, generation=1), image(5, role="S")],
    ids=["sealed", "other generation", "other role"],
)
def test_no_class_is_called_when_the_owner_reads_disagree(again: Item) -> None:
    assert called(image(5, 1), image(9, 2, "S"), again=again) is None


def test_no_class_is_called_from_the_side_that_owns_nothing() -> None:
    assert (
        classify(Reading(TARGET, image(5, role="S"), image(9), image(5, role="S")), ROWS, reached=V, late=True) is None
    )


@pytest.mark.parametrize("standby", [None, image(4, role="S"), image(5, 2, "S"), image(9, role="S")])
def test_nothing_final_is_called_before_the_bound(standby: Item | None) -> None:
    reading = Reading(SOURCE, image(5), standby, image(5))
    assert classify(reading, ROWS, reached=V + 5, late=False) is Difference.IN_FLIGHT


def test_an_unstamped_pair_compares_content() -> None:
    owner = image(None, 7)._replace(role=None)
    imported = image(None, 7, "S")._replace(version=0)
    streamed = image(None, 7, "S")._replace(version=1_764_230_400_000_000)
    assert called(owner, imported) is Difference.EQUAL
    assert called(owner, streamed) is Difference.EQUAL
    assert called(owner, imported._replace(content=())) is Difference.DIVERGED
    assert called(owner, streamed._replace(content=())) is Difference.STUCK


def test_an_owner_that_a_stray_writer_stripped_of_its_version_is_below_its_standby() -> None:
    stripped = image(None, 8)._replace(role=None)
    assert called(stripped, image(5, 7, "S")) is Difference.AHEAD


def test_an_unreadable_value_is_never_equal() -> None:
    broken = image(5)._replace(content=(("points", b"{}"),))
    other = image(5, role="S")._replace(content=(("points", b'{"Q":"1"}'),))
    assert called(broken, other) is Difference.DIVERGED


def test_a_key_under_constant_writes_is_verified_by_one_version_from_either_stream() -> None:
    followed = follow(Pair(image(5), image(4, role="S")), 0.0, ROWS)
    assert not followed.hear(SOURCE, image(6, 6), ROWS)
    assert not followed.hear(SOURCE, image(7, 7), ROWS)
    assert not followed.hear(TARGET, image(5, 5, "S"), ROWS)
    assert followed.hear(TARGET, image(6, 6, "S"), ROWS)


def test_an_active_record_is_accepted_from_the_other_stream_after_a_handover() -> None:
    followed = follow(Pair(image(5), image(4, role="S")), 0.0, ROWS)
    assert not followed.hear(TARGET, image(7, 7, "A", generation=1), ROWS)
    assert followed.hear(SOURCE, image(7, 7, "S", generation=1), ROWS)


def test_an_equal_version_of_other_content_verifies_nothing() -> None:
    followed = follow(Pair(image(5), image(4, role="S")), 0.0, ROWS)
    followed.hear(SOURCE, image(6, 6), ROWS)
    assert not followed.hear(TARGET, image(6, 66, "S"), ROWS)


def test_an_old_duplicate_of_what_the_standby_is_stuck_at_verifies_nothing() -> None:
    followed = follow(Pair(image(9), image(5, 5, "S")), 0.0, ROWS)
    assert not followed.hear(SOURCE, image(5, 5), ROWS)
    assert not followed.hear(TARGET, image(5, 5, "S"), ROWS)


def test_two_active_images_of_one_version_after_a_stray_both_count() -> None:
    followed = follow(Pair(image(5, 1), image(4, role="S")), 0.0, ROWS)
    followed.hear(SOURCE, image(5, 2), ROWS)
    assert followed.hear(TARGET, image(5, 1, "S"), ROWS)


def test_a_stuck_key_is_called_when_the_bound_has_passed_and_not_before() -> None:
    followed = follow(Pair(image(5), image(4, role="S")), 10.0, ROWS)
    reading = Reading(SOURCE, image(5), image(4, role="S"), image(5))
    assert followed.settle(reading, ROWS, 14.9, BOUND_S) is Difference.IN_FLIGHT
    assert followed.settle(reading, ROWS, 15.0, BOUND_S) is Difference.STUCK


def test_a_key_that_was_removed_while_it_was_followed_is_in_flight_and_an_extra_only_a_bound_later() -> None:
    followed = follow(Pair(image(5), image(4, role="S")), 0.0, ROWS)
    gone = Reading(SOURCE, None, image(4, role="S"), None)
    assert followed.settle(gone, ROWS, 5.0, BOUND_S) is Difference.IN_FLIGHT
    assert followed.settle(gone, ROWS, 9.9, BOUND_S) is Difference.IN_FLIGHT
    assert followed.settle(gone, ROWS, 10.0, BOUND_S) is Difference.EXTRA


def test_a_standby_that_stops_getting_on_is_stuck_at_the_next_bound() -> None:
    followed = follow(Pair(image(5), image(4, role="S")), 0.0, ROWS)
    assert (
        followed.settle(Reading(SOURCE, image(8), image(6, 9, "S"), image(8)), ROWS, 5.0, BOUND_S)
        is Difference.IN_FLIGHT
    )
    later = Reading(SOURCE, image(9), image(6, 9, "S"), image(9))
    assert followed.settle(later, ROWS, 9.9, BOUND_S) is Difference.IN_FLIGHT
    assert followed.settle(later, ROWS, 10.0, BOUND_S) is Difference.STUCK


def test_settling_on_an_equal_pair_verifies_it() -> None:
    followed = follow(Pair(image(5), image(4, role="S")), 0.0, ROWS)
    reading = Reading(SOURCE, image(5, 1), image(5, 1, "S"), image(6, 2))
    assert followed.settle(reading, ROWS, 0.1, BOUND_S) is Difference.EQUAL
    assert followed.verified


def test_settling_verifies_an_unstamped_pair_and_a_key_that_is_gone() -> None:
    owner = image(None, 7)._replace(role=None)
    imported = image(None, 7, "S")._replace(version=0)
    followed = follow(Pair(owner, None), 0.0, ROWS)
    assert followed.settle(Reading(SOURCE, owner, imported, owner), ROWS, 0.1, BOUND_S) is Difference.EQUAL
    assert followed.verified
    gone = follow(Pair(image(5), None), 0.0, ROWS)
    assert gone.settle(Reading(SOURCE, None, None, None), ROWS, 0.1, BOUND_S) is Difference.EQUAL
    assert gone.verified


def test_the_age_of_a_handover_counts_from_its_first_sight_and_ends_with_it() -> None:
    followed = follow(Pair(image(5, role="S"), image(4, role="S")), 0.0, ROWS)
    between = Reading(SOURCE, image(5, role="S"), image(4, role="S"), image(5, role="S"))
    assert followed.settle(between, ROWS, 1.0, BOUND_S) is Difference.IN_HANDOVER
    followed.settle(between, ROWS, 9.0, BOUND_S)
    assert followed.handover_since_s == 0.0
    followed.settle(Reading(TARGET, image(6), image(5, role="S"), image(6)), ROWS, 10.0, BOUND_S)
    assert followed.handover_since_s is None


def test_a_pass_is_clean_only_when_every_key_is_verified() -> None:
    book = PassBook()
    book.verify()
    assert book.clean
    book.open = 1
    assert not book.clean
    book.open = 0
    book.call(Difference.IN_FLIGHT)
    assert not book.clean


@pytest.mark.parametrize("found", sorted(FINAL, key=str))
def test_any_final_class_makes_a_pass_unclean(found: Difference) -> None:
    book = PassBook()
    book.call(found)
    assert not book.clean


def test_the_next_bound_runs_from_the_end_of_slow_reads() -> None:
    """The target of the next bound is read last: a bound that began with the first read would be too short for it."""
    followed = follow(Pair(image(1), None), 0.0, ROWS)
    reading = Reading(SOURCE, image(5), image(2, role="S"), image(9))
    followed.settle(reading, ROWS, 10.0, 10.0, ended_s=18.0)
    assert (followed.bound_since_s, followed.reached) == (18.0, FIRST_STAMPED + 9)


# A key that the other table refuses for good (ADR 0014): its owner is active at an odd generation.

HELD = image(9, generation=5)


@pytest.mark.parametrize(
    "standby",
    [
        None,
        image(5, role="S", generation=2),
        image(5, role="S", generation=5),
        Item(version=0, role=Role.STANDBY, generation=5, deleted=True),
    ],
    ids=["missing", "behind", "fenced", "a fence's stub"],
)
def test_a_held_out_key_is_called_so_when_its_counterpart_is_missing_behind_or_fenced(standby: Item | None) -> None:
    assert called(HELD, standby) is Difference.HELD_OUT
    assert called(HELD._replace(generation=4), standby) in (Difference.MISSING, Difference.STUCK)


def test_a_held_out_key_whose_counterpart_is_equal_diverged_or_ahead_is_called_as_any_other() -> None:
    assert called(HELD, image(9, role="S", generation=2)) is Difference.EQUAL
    assert called(HELD, image(9, 7, role="S", generation=2)) is Difference.DIVERGED
    assert called(HELD, image(11, role="S", generation=2)) is Difference.AHEAD


def test_a_pass_with_held_out_keys_is_clean() -> None:
    book = PassBook()
    book.verify()
    book.call(Difference.HELD_OUT)
    assert book.clean
    assert Difference.HELD_OUT not in FINAL
    book.call(Difference.STUCK)
    assert not book.clean


# A key under so many writes, behind so much lag, that most of what the streams show can't be kept.

RATE = 60
SKEW_S = 4.5


@pytest.mark.parametrize("later", [TARGET, SOURCE], ids=["the standby's stream", "the owner's stream"])
def test_a_hot_key_is_verified_however_far_one_stream_is_read_behind_the_other(later: Side) -> None:
    followed, skew = follow(Pair(image(1), image(0, role="S")), 0.0, ROWS), int(RATE * SKEW_S)
    roles = {SOURCE: "A", TARGET: "S"}
    for version in range(2, 2 + skew):
        assert not followed.hear(later.other, image(version, version, roles[later.other]), ROWS)
    assert followed.hear(later, image(2, 2, roles[later]), ROWS)


def test_behind_an_hour_of_lag_a_sample_of_the_versions_verifies_it_and_takes_no_more_room() -> None:
    followed, hour = follow(Pair(image(1), image(0, role="S")), 0.0, ROWS), 3600 * RATE
    for version in range(2, hour):
        followed.hear(SOURCE, image(version, version), ROWS)
    assert len(followed.states) <= KEPT_STATES
    assert any(followed.hear(TARGET, image(version, version, "S"), ROWS) for version in range(2, 30 * RATE))


def test_a_key_that_differs_at_every_version_keeps_no_more_than_its_lag() -> None:
    followed, lag = follow(Pair(image(1), image(0, role="S")), 0.0, ROWS), 100
    for version in range(2, 20_000):
        followed.hear(SOURCE, image(version, version), ROWS)
        if version > lag:
            assert not followed.hear(TARGET, image(version - lag, -1, "S"), ROWS)
        assert len(followed.states) <= 2 * lag + 64
    assert not followed.verified


def test_states_of_one_version_are_bounded_whatever_a_stray_writer_does() -> None:
    followed = follow(Pair(image(5), image(4, role="S")), 0.0, ROWS)
    for points in range(1000):
        followed.hear(SOURCE, image(6, points), ROWS)
    assert size_of(followed.states) < 2000


def test_an_old_duplicate_of_a_standby_that_differs_at_its_owners_version_verifies_nothing() -> None:
    followed = follow(Pair(image(5, 1), image(5, 666, "S")), 0.0, ROWS)
    assert not followed.hear(TARGET, image(5, 1, "S"), ROWS)
    assert not followed.hear(SOURCE, image(5, 1), ROWS)
    still = Reading(SOURCE, image(5, 1), image(5, 666, "S"), image(5, 1))
    assert followed.settle(still, ROWS, BOUND_S, BOUND_S) is Difference.DIVERGED


def size_of(states: States) -> int:
    return sum(getsizeof(each) for each in states._by_version.values())
