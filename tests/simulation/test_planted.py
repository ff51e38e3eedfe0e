"""The simulation can fail: faults that are planted in what it plays are found (docs/reference/planted-faults.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from simulation.found import table
from simulation.planted import PLANTED
from simulation.play import play
from simulation.script import Script, script_of, small_script_of

EARLY = 20
SMALL = {fault: found.small for fault, found in table().items() if found.small is not None and found.small < EARLY}
WHOLE = {fault: found.whole for fault, found in table().items() if found.whole is not None and fault not in SMALL}


def is_found(fault: str, makes: Callable[[int], Script], seeds: Iterable[int]) -> bool:
    """Say whether one of some seeds finds a fault: the table's first, since any change of what is called moves it."""
    return any(play(makes(seed), PLANTED[fault]).broken for seed in seeds)


def test_the_table_has_every_planted_fault_and_a_seed_that_finds_it() -> None:
    assert table().keys() == PLANTED.keys()
    assert not [fault for fault, found in table().items() if found.whole is None]


@pytest.mark.parametrize("fault", SMALL)
def test_a_planted_fault_is_found_by_the_small_play_that_the_table_names_or_an_early_one(fault: str) -> None:
    assert is_found(fault, small_script_of, [SMALL[fault], *range(2 * EARLY)])


@pytest.mark.deep
@pytest.mark.parametrize("fault", WHOLE)
def test_a_planted_fault_is_found_by_the_whole_play_that_the_table_names_or_a_later_one(fault: str) -> None:
    assert is_found(fault, script_of, [WHOLE[fault], *range(100)])
