"""What a change record tells under the plain protocol, at one view of the map (ADR 0043)."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.core.protocol.plain.map import OwnerMap, version_at
from crossfade.core.protocol.plain.records import (
    Ask,
    Decision,
    Expired,
    Late,
    Left,
    Stray,
    needs_the_map,
)
from crossfade.core.protocol.writing import Transfer
from crossfade.core.replication.change import decode_change
from crossfade.core.replication.plain import PlainRule
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image, boolean, of_number
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Direction, Side
from plain_records import BEGAN_US, FIRST, FLIPPED, HELD_US, KEY, MAPPING, S, back, payload, row

FORWARD, REVERSE = (PlainRule(MAPPING, direction) for direction in Direction)


def told(new: Image | None, old: Image | None, now: OwnerMap = FIRST, **more: Any) -> Decision:
    rule = FORWARD if more.get("side", Side.SOURCE) is Side.SOURCE else REVERSE
    return rule.decide(decode_change(payload(new, old, **more), ("customer", "entry")), now)


def test_an_owners_write_travels_at_its_commit_time() -> None:
    at_us = BEGAN_US + 7 * S + 3
    assert told(row(5), row(4), at_us=at_us) == Transfer(KEY, version_at(at_us), {"total": of_number(5)})


def test_an_owners_delete_travels_as_a_tombstone_and_so_does_one_by_its_ttl() -> None:
    for ttl in (False, True):
        found = told(None, row(4), ttl=ttl)
        assert isinstance(found, Transfer)
        assert boolean(found.image["cf_deleted"])


def test_nothing_of_crossfades_own_travels_from_an_owner() -> None:
    found = told(row(5, mv=77), row(4, mv=77))
    assert isinstance(found, Transfer)
    assert set(found.image) == {"total"}


def test_a_record_from_before_the_first_interval_is_never_applied() -> None:
    """Kinesis delivers old duplicates hours later; one of a row deleted before the export would bring it back."""
    assert told(row(5), None, at_us=BEGAN_US - 1) is Left.OLD
    assert isinstance(told(row(5), None, at_us=BEGAN_US), Transfer)


def test_on_an_owner_a_raised_fence_proves_nothing() -> None:
    """An application puts back a row that it read with the fence in it."""
    assert told(row(5, mv=78), row(4, mv=77)) == Ask(KEY, BEGAN_US + S)
    assert told(row(5, mv=78), None) == Ask(KEY, BEGAN_US + S)


def test_the_purge_of_an_owners_tombstone_is_skipped() -> None:
    old = row(deleted=True, mv=version_at(HELD_US))
    found = told(None, old, FLIPPED, side=Side.TARGET, at_us=HELD_US + S)
    assert found is Left.TOMBSTONE_REMOVED


def test_on_a_standby_a_raised_fence_is_an_echo_and_anything_else_a_stray() -> None:
    mv = version_at(BEGAN_US)
    assert told(row(5, mv=mv), None, side=Side.TARGET) is Left.ECHO
    assert told(row(5, mv=mv + 1), row(4, mv=mv), side=Side.TARGET) is Left.ECHO
    for new, old in ((row(5), None), (row(5, mv=mv), row(4, mv=mv)), (row(5, mv=mv - 1), row(4, mv=mv))):
        assert isinstance(told(new, old, side=Side.TARGET), Stray)
    assert isinstance(told(None, row(4, mv=mv), side=Side.TARGET), Stray)
    assert told(None, row(deleted=True, mv=mv), side=Side.TARGET) is Left.TOMBSTONE_REMOVED


def test_a_removal_by_the_ttl_service_on_the_standby_is_no_stray() -> None:
    found = told(None, row(4), FLIPPED, at_us=HELD_US + 60 * S, ttl=True)
    assert found == Expired(KEY, HELD_US + 60 * S)


def test_a_record_of_an_ended_interval_is_a_hint_whenever_it_comes() -> None:
    assert told(row(5), row(4), FLIPPED, at_us=HELD_US - S) == Late(KEY, HELD_US - S, past_hold=False)
    assert isinstance(told(row(5), row(4), back(), at_us=HELD_US - S), Late)


def test_a_write_past_the_hold_says_that_the_hold_was_broken() -> None:
    assert told(row(5), row(4), FLIPPED, at_us=HELD_US + 1) == Late(KEY, HELD_US + 1, past_hold=True)
    assert isinstance(told(row(5), row(4), FLIPPED, at_us=HELD_US + 5 * S + 1), Stray)


def test_a_copy_that_comes_back_soon_after_a_flip_breaks_no_hold() -> None:
    """The old owner's interval ends 5 s after the hold, and the new one's writes are copied back by then."""
    mv = version_at(HELD_US + 2 * S)
    for old in (None, row(4), row(4, mv=version_at(HELD_US - 60 * S))):
        assert told(row(5, mv=mv), old, FLIPPED, at_us=HELD_US + 3 * S) is Left.ECHO
        assert told(row(mv=mv, deleted=True), old, FLIPPED, at_us=HELD_US + 3 * S) is Left.ECHO
    put_back = row(5, mv=version_at(HELD_US - 60 * S))
    assert told(put_back, None, FLIPPED, at_us=HELD_US + 3 * S) == Late(KEY, HELD_US + 3 * S, past_hold=True)


def test_the_new_owners_interval_begins_before_the_hold() -> None:
    for at_us, kind in ((HELD_US - 5 * S, Transfer), (HELD_US - 5 * S - 1, Stray)):
        assert isinstance(told(row(5), row(4), FLIPPED, side=Side.TARGET, at_us=at_us), kind)


def test_after_a_flip_and_back_each_record_is_judged_by_the_interval_that_it_is_of() -> None:
    now, second_us = back(), HELD_US + 600 * S
    assert isinstance(told(row(5), row(4), now, at_us=second_us), Transfer)
    assert isinstance(told(row(5), row(4), now, at_us=HELD_US), Late)
    assert isinstance(told(row(5), row(4), now, at_us=HELD_US + 60 * S), Stray)
    assert isinstance(told(row(5), row(4), now, side=Side.TARGET, at_us=HELD_US + 60 * S), Late)
    assert told(row(5, mv=version_at(second_us)), row(4), now, side=Side.TARGET, at_us=second_us + 6 * S) is Left.ECHO


def test_other_rows_of_a_shared_table_are_left_alone_and_another_tables_record_is_refused() -> None:
    other = key_of_strings("INVOICE#7", "ORDER#1")
    assert told(row(5, other), None) is Left.NOT_OURS
    strange = decode_change(payload(row(5), None, side=Side.TARGET), ("customer", "entry"))
    with pytest.raises(PoisonRecord, match="in the stream of"):
        FORWARD.decide(strange, FIRST)


def test_what_a_view_takes_for_no_owners_write_needs_the_map() -> None:
    """Where a flip has made the table an owner since, an echo or a stray is an acknowledged write."""
    mv = version_at(BEGAN_US)
    views = [
        told(row(5, mv=mv), None, side=Side.TARGET),
        told(row(5), None, side=Side.TARGET),
        told(None, row(4), FLIPPED, at_us=HELD_US + 60 * S, ttl=True),
        told(row(5), row(4), FLIPPED, at_us=HELD_US - S),
        told(row(5), None, at_us=BEGAN_US - 1),
    ]
    assert all(map(needs_the_map, views))
    assert not needs_the_map(told(row(5), row(4)))


def test_the_first_copies_of_reverse_dont_break_the_hold_that_they_follow() -> None:
    """They land within the seconds that the old owner's interval goes on after its hold."""
    at_us, fence = HELD_US + S, version_at(HELD_US + S // 2)
    assert told(row(5, mv=fence), row(4), FLIPPED, at_us=at_us) is Left.ECHO
    assert told(row(5, mv=fence), None, FLIPPED, at_us=at_us) is Left.ECHO
    put_back = told(row(5, mv=FLIPPED.floor - 1), row(4), FLIPPED, at_us=at_us)
    assert put_back == Late(KEY, at_us, past_hold=True), "a fence that the application had read before"


def test_nor_do_they_after_a_flip_back() -> None:
    at_us, fence = HELD_US + S, version_at(HELD_US + S // 2)
    assert told(row(5, mv=fence), row(4), back(), at_us=at_us) is Left.ECHO


def test_the_ttl_and_a_purge_right_after_the_hold_break_no_hold() -> None:
    assert told(None, row(4), FLIPPED, at_us=HELD_US + S, ttl=True) == Expired(KEY, HELD_US + S)
    assert told(None, row(deleted=True, mv=FLIPPED.floor), FLIPPED, at_us=HELD_US + S) is Left.TOMBSTONE_REMOVED
    assert told(None, row(4), FLIPPED, at_us=HELD_US + S) == Late(KEY, HELD_US + S, past_hold=True)


def test_an_old_removal_by_the_ttl_crosses_nowhere_once_its_table_owns_again() -> None:
    """Its other table is the standby by then, where a plain delete would look like a stray's."""
    for at_us in (HELD_US + S, HELD_US + 60 * S):
        assert not isinstance(told(None, row(4), back(), at_us=at_us, ttl=True), Expired)
