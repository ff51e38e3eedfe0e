"""One seed plays a whole migration: a hundred of them here, a thousand by `make simulate` (ADR 0028)."""

from __future__ import annotations

import pytest

from simulation.play import play
from simulation.script import script_of

SEEDS = 20


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_seed_plays_a_whole_migration_and_every_promise_is_kept(seed: int) -> None:
    played = play(script_of(seed))
    assert not played.broken, f"{played.script}\n{played.story.told(100)}\n{played.broken}"
    assert played.operations, "nobody did anything"
