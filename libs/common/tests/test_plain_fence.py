"""What a copy meets whose condition failed (`crossfade.core.protocol.plain.fence`)."""

from __future__ import annotations

import pytest

from crossfade.core.protocol.plain.fence import Judgement, Met, asked, compared, is_in_doubt, judge, may_replace
from crossfade.core.protocol.plain.map import version_at
from crossfade.core.protocol.plain.rows import parse
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image, of_boolean, of_number, of_string
from crossfade.core.values.shape import Side
from plain_records import FLIPPED, HELD_US, KEY, MAPPING, S, row

V = version_at(HELD_US + 60 * S)
SHAPE = MAPPING.shape(Side.SOURCE)
TOMBSTONE = Transfer(KEY, V, {"cf_deleted": of_boolean(True)})


def copy(total: int = 5, version: int = V) -> Transfer:
    return Transfer(KEY, version, {"total": of_number(total)})


def met(found: Image | None, transfer: Transfer | None = None, floor: int = 0) -> Judgement:
    return judge(transfer or copy(), found, floor, SHAPE)


def test_a_row_that_is_newer_by_a_second_is_newer() -> None:
    assert met(row(9, mv=V + version_at(S))) is Verdict.STALE


def test_within_a_second_other_content_asks_the_owner_and_the_same_is_a_duplicate() -> None:
    """Commit times are approximate: two writes of one key so close to each other don't say which came first."""
    for fence in (V, V + 1, V + version_at(S) - 1):
        assert met(row(9, mv=fence)) is Met.ASKS
        assert met(row(5, mv=fence)) is Verdict.DUPLICATE
        assert met(row(mv=fence, deleted=True)) is Met.ASKS
        assert met(row(mv=fence, deleted=True), TOMBSTONE) is Verdict.DUPLICATE


def test_a_lower_row_takes_the_copy_when_it_is_sent_again() -> None:
    assert met(row(9, mv=V - 1)) is Met.AGAIN
    assert met(None) is Met.AGAIN
    assert met(row(9)) is Met.AGAIN


def test_in_a_later_interval_a_row_without_its_fence_is_touched_for_the_first_time() -> None:
    floor = FLIPPED.floor
    for found in (None, row(9), row(9, mv=floor - 1)):
        assert met(found, floor=floor) is Met.FIRST_TOUCH
    assert met(row(9, mv=floor), floor=floor) is Met.AGAIN


def test_a_fence_that_is_none_is_refused() -> None:
    with pytest.raises(PoisonRecord):
        met(row(9) | {"cf_mv": of_string("high")})


def test_within_a_batch_only_what_is_read_later_and_is_older_leaves_doubt() -> None:
    assert is_in_doubt(copy(4, V - 1), copy(5, V))
    assert is_in_doubt(copy(4, V), copy(5, V))
    assert not is_in_doubt(copy(5, V), copy(5, V))
    assert not is_in_doubt(copy(4, V - version_at(S)), copy(5, V))


def test_a_row_that_has_the_content_is_raised_to_the_record_that_asked() -> None:
    """Else a record from between the two takes it back, after the one that asked was acknowledged."""
    at_us = HELD_US + 60 * S
    assert asked(version_at(at_us), 0, at_us, is_same=True) is None
    assert asked(version_at(at_us) - 1, 0, at_us, is_same=True) == version_at(at_us) + 1
    assert asked(None, 0, at_us, is_same=True) == version_at(at_us) + 1
    assert asked(version_at(at_us) + 7, 0, at_us, is_same=False) == version_at(at_us) + 8
    floor = version_at(at_us + S)
    assert asked(floor - 1, floor, at_us, is_same=True) == floor + 1, (
        "a fence of an earlier interval counts for nothing"
    )


def test_a_compares_copy_is_above_every_record_from_before_the_hold() -> None:
    assert compared(None, HELD_US) == version_at(HELD_US)
    assert compared(V, HELD_US) == V + 1


def test_a_row_of_an_earlier_interval_is_replaced_only_where_a_record_or_a_letter_has_it() -> None:
    floor, other = FLIPPED.floor, parse(row(4), SHAPE)
    for found in (None, row(9), row(9, mv=floor - 1)):
        there = None if found is None else parse(found, SHAPE)
        assert may_replace(there, 0, [])
        assert not may_replace(there, floor, [other])
        assert may_replace(there, floor, [other, there])
    assert may_replace(parse(row(9, mv=floor), SHAPE), floor, [])
    assert may_replace(parse(row(mv=floor - 1, deleted=True), SHAPE), floor, [None])
