"""Late records, and the pass after a flip: true is what an untouched row of the old owner holds."""

from __future__ import annotations

import pytest

from crossfade.core.protocol.plain.late import CopyToOwner, Settled, settle
from crossfade.core.protocol.plain.rows import PlainRow

FLOOR = 1_764_230_400_000_000_000
A = PlainRow(content=(("v", b'{"N":"1"}'),))
B = PlainRow(content=(("v", b'{"N":"2"}'),))
TOMBSTONE = PlainRow(deleted=True)


@pytest.mark.parametrize("old", [A.at(FLOOR), B.at(FLOOR + 7), TOMBSTONE.at(FLOOR)])
@pytest.mark.parametrize("present", [A, B, None])
def test_where_reverse_has_written_the_application_has_moved_on(old: PlainRow, present: PlainRow | None) -> None:
    assert settle(old, present, FLOOR, reverse_is_past=True) is Settled.MOVED_ON


@pytest.mark.parametrize(
    ("old", "present"),
    [
        (A, A),
        (A.at(FLOOR - 1), A.at(3)),  # fences of earlier intervals, on either side, mean nothing
        (A, PlainRow(deleted=True, content=A.content)),  # the owner's row, put back with a mark in it
        (A, PlainRow(content=(("v", b'{ "N" : "1.0" }'),))),
        (None, None),
        (TOMBSTONE.at(FLOOR - 1), None),
    ],
)
@pytest.mark.parametrize("past", [False, True])
def test_what_is_equal_needs_nothing(old: PlainRow | None, present: PlainRow | None, past: bool) -> None:
    assert settle(old, present, FLOOR, reverse_is_past=past) is Settled.EQUAL


@pytest.mark.parametrize(
    ("old", "present"), [(A, B), (A, None), (None, A), (A.at(FLOOR - 1), B), (TOMBSTONE.at(FLOOR - 1), A)]
)
def test_what_differs_is_copied_once_reverse_is_past_the_reads(old: PlainRow | None, present: PlainRow | None) -> None:
    assert settle(old, present, FLOOR, reverse_is_past=False) is Settled.WAIT
    copy = settle(old, present, FLOOR, reverse_is_past=True)
    assert isinstance(copy, CopyToOwner)
    assert copy.content == (None if old is None or old.deleted else PlainRow(content=old.content))
