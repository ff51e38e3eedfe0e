"""Seeded runs of plain migrations there, back and there again; `make flip-runs` plays all faults at all steps."""

import pytest

from simulation.flips.play import played
from simulation.flips.script import PAIRS, SEEDS, faults_of


def test_fifty_seeds_plan_every_fault_at_every_step() -> None:
    planned = [tuple(each) for seed in range(SEEDS) for each in faults_of(seed)]
    assert sorted(planned) == sorted(PAIRS)


@pytest.mark.parametrize("seed", [0, 2, 4, 6, 9, 11, 23, 34, 41, 62])
async def test_the_book_equals_the_owning_table_after_each_flip(seed: int) -> None:
    run = await played(seed)
    assert not run.broken
    assert sorted(run.hit) == sorted(faults_of(seed)), "each fault that was planned has hit"
    assert run.flips >= 3
    assert run.kept_back >= 3 * run.flips, "records that come after the release"
