"""What may go wrong in a flip, and where: every pair of a fault and a step, dealt out to the seeds."""

from __future__ import annotations

import random
from typing import Final, NamedTuple

STEPS: Final = (
    "draining",
    "guarded",
    "hooked",
    "held",
    "drained",
    "sealed",
    "acknowledged",
    "compared",
    "flipped",
    "taken-back",
    "purged",
    "released",
    "opened",
)
"""Steps of a flip, by their entries in the journal. A fault hits right after the entry."""

WRITABLE: Final = ("draining", "guarded", "released", "opened")
"""Steps after which the application may write."""

STOPPED: Final = ("hooked", "held", "drained", "sealed", "acknowledged", "compared", "flipped", "taken-back", "purged")

FAULTS: Final[dict[str, tuple[str, ...]]] = {
    "controller killed": STEPS,
    "controller killed at its next request": STEPS[:-1],
    "controller stopped, replaced, goes on": STEPS,
    "controller stopped at its next request, replaced, request comes late": STEPS[:-1],
    "forward worker killed": STEPS,
    "reverse worker killed": STEPS,
    "forward worker stopped for longer than its lease": STEPS,
    "reverse worker stopped for longer than its lease": STEPS,
    "verifier killed": STEPS,
    "records twice": STEPS,
    "records shuffled": STEPS,
    "records of earlier intervals again": STEPS,
    "records from before the export again": STEPS,
    "a late record comes": STEPS,
    "a record never comes": WRITABLE,
    "throttling": STEPS,
    "clocks go four minutes wrong": STEPS,
    "a writer ignores the hold": STOPPED,
    "the hold command fails": ("guarded",),
    "the hold command hangs": ("guarded",),
    "the release command fails": ("purged",),
    "equal commit times": WRITABLE,
    "the owner's TTL deletes": STEPS,
    "the standby's TTL deletes": STEPS,
}

PAIRS: Final = tuple((fault, step) for fault, steps in FAULTS.items() for step in steps)
SEEDS: Final = 50
"""So many seeds cover all pairs."""


class Fault(NamedTuple):
    """A fault, and the step of a flip that it hits."""

    name: str
    step: str


def faults_of(seed: int) -> list[Fault]:
    """Return what a seed plans, in the order of its flips."""
    pairs = list(PAIRS)
    random.Random(seed // SEEDS).shuffle(pairs)
    return [Fault(*each) for each in pairs[seed % SEEDS :: SEEDS]]
