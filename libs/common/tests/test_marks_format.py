"""Rule 7: how a mark is spelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply_cases import V
from crossfade.core.replication.marks import mark_prefix, mark_value, marked_version
from crossfade.core.values.shape import Direction

versions = st.integers(0, 10**20 - 1)


def test_rule_7_a_mark_names_migration_table_id_and_direction() -> None:
    assert mark_prefix("engagement", "id-1", Direction.REVERSE) == b"cf:engagement:id-1:reverse:"


def test_rule_7_a_version_is_text_of_20_digits() -> None:
    assert mark_value(V) == str(V).rjust(20, "0").encode()
    assert marked_version(mark_value(V)) == V


@given(versions, versions)
def test_rule_7_marks_order_as_bytes_as_versions_do(one: int, other: int) -> None:
    assert (mark_value(one) < mark_value(other)) == (one < other)
    assert marked_version(mark_value(one)) == one


@pytest.mark.parametrize("version", [-1, 10**20])
def test_a_version_that_does_not_fit_is_refused(version: int) -> None:
    with pytest.raises(ValueError, match="20 digits"):
        mark_value(version)


@pytest.mark.parametrize("value", [None, b"", b"7", b"1.764230400123456e+1", b"x" * 20, b"-" + b"1" * 19])
def test_what_is_no_mark_of_ours_is_no_mark(value: bytes | None) -> None:
    assert marked_version(value) is None
