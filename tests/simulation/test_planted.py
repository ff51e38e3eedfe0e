"""The simulation can fail: faults that are planted in what it plays are found (docs/reference/planted-faults.md)."""

from __future__ import annotations

import pytest

from simulation.found import table
from simulation.planted import PLANTED
from simulation.play import play
from simulation.script import script_of

FAST = (
    "no fence",
    "a blind way back",
    "transfer copies role",
    "unfenced transfer",
    "tombstones expire",
    "recent set not checked",
    "an applier's checkpoint before its effect",
)


def test_the_table_has_every_planted_fault() -> None:
    assert table().keys() == PLANTED.keys()


@pytest.mark.parametrize("fault", FAST)
def test_a_planted_fault_is_found_by_the_seed_that_the_table_names(fault: str) -> None:
    seed = table()[fault]
    assert seed is not None
    assert play(script_of(seed), PLANTED[fault]).broken
