"""The plain protocol where others interfere: the real decisions, every interleaving; each rule left out is missed.

`test_plain_exhaustive` exhausts flips, deaths and attempts that end, with one applier a direction. Here two processes
work on one key, and one joins or dies; commit times are equal; somebody writes to the standby; the TTL takes rows on
both sides; records never come, or are older than the export.
"""

from __future__ import annotations

import pytest

from faults_exploration import explore
from faults_planted import PLANTED
from faults_scopes import LARGE, SMALL


@pytest.mark.deep
@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_lost_doubled_or_brought_back(name: str) -> None:
    states, wrong = explore(SMALL[name])
    assert not wrong
    assert states > 10, "there is less to explore than there was"


@pytest.mark.deep
@pytest.mark.parametrize("name", PLANTED)
def test_a_rule_that_is_left_out_is_missed(name: str) -> None:
    code, scope = PLANTED[name]
    assert explore(SMALL[scope], code)[1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", LARGE)
def test_nor_in_larger_scopes(name: str) -> None:
    assert not explore(LARGE[name])[1]
