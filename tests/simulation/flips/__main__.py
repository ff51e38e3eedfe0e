"""`make flip-runs SEEDS=50`: plays seeds; prints which fault hit which step, and fails if a pair was not hit."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter

import structlog

from simulation.flips.play import Played, played
from simulation.flips.script import FAULTS, PAIRS, SEEDS, STEPS


def told(run: Played) -> str:
    """Say in a line what became of a seed."""
    hit = "; ".join(f"{each.name} @ {each.step}" for each in run.hit)
    parked = f", parked: {', '.join(sorted(run.parked))}" if run.parked else ""
    return f"seed {run.seed}: {run.flips} flips, {run.kept_back} records kept back{parked}. {hit}"


def table(counts: Counter[tuple[str, str]]) -> str:
    """Return how often each fault hit each step; a dash where it can't."""
    width = max(map(len, FAULTS))
    lines = [" " * width + "  " + " ".join(f"{step[:8]:>8}" for step in STEPS)]
    for name, steps in FAULTS.items():
        cells = [f"{counts[name, step]:>8}" if step in steps else f"{'-':>8}" for step in STEPS]
        lines.append(f"{name:<{width}}  {' '.join(cells)}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    counts: Counter[tuple[str, str]] = Counter()
    broken = 0
    for seed in range(asked.first, asked.first + asked.seeds):
        run = asyncio.run(played(seed))
        counts.update((each.name, each.step) for each in run.hit)
        print(told(run))
        if run.broken:
            broken += 1
            print(f"  BROKEN: {run.broken}")
    print(table(counts))
    missing = [pair for pair in PAIRS if not counts[pair]]
    if missing and asked.seeds >= SEEDS:
        print(f"{len(missing)} pairs were not hit: {missing[:10]}")
    print(f"{asked.seeds} seeds, {broken} broken, {len(PAIRS) - len(missing)} of {len(PAIRS)} pairs hit")
    return 1 if broken or (missing and asked.seeds >= SEEDS) else 0


if __name__ == "__main__":
    sys.exit(main())
