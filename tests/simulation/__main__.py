"""`make simulate SEEDS=1000`: plays seeds on all cores; tells the first failure as a story, made small.

python -m simulation [--seeds 1000] [--first 0] [--workers 2] [--story] [--whole] [--planted NAME] [--table]
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

from simulation.found import write_table
from simulation.planted import PLANTED
from simulation.play import REAL, Code, Played, play
from simulation.script import Script, script_of, smaller

SHOWN: int = 400


def brief(planted: str, seed: int) -> tuple[int, str, int, int, int]:
    """Play a seed; return it, the broken promise, the faults, the calls and the operations."""
    played = play(script_of(seed), PLANTED[planted] if planted else REAL)
    return seed, played.broken, played.faults, played.calls, played.operations


def kind_of(broken: str) -> str:
    """Return a broken promise without what names one run: shrinking must not wander off to another failure."""
    return re.sub(r"\[\{.*?\}\]|\W|\d|_", "", broken.partition(": ")[0])[:24]


def shrunk(script: Script, code: Code = REAL, *, tries: int = 300, say: Callable[[str], None] = print) -> Played:
    """Return a play of a script that is simpler and still breaks the same promise."""
    found = play(script, code)
    kind, left = kind_of(found.broken), tries

    def breaks(simpler: Script) -> bool:
        nonlocal found, left
        left -= 1
        played = play(simpler, code)
        if kind_of(played.broken) != kind:
            return False
        found = played
        say(f"smaller: {len(played.story.acts)} acts, {len(played.happened)} of chance")
        return True

    size = len(found.happened)
    while left > 0 and size:  # delta debugging (Zeller, 1999): without one part of what chance did, then smaller ones
        start = 0
        while left > 0 and start < len(found.happened):
            kept = (*found.happened[:start], *found.happened[start + size :])
            start += 0 if breaks(replace(found.script, only=frozenset(kept))) else size
        size //= 2
    while left > 0 and any(left > 0 and breaks(each) for each in smaller(found.script)):
        pass
    return found


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--story", action="store_true", help="tell the story of the first seed, whatever its end")
    parser.add_argument("--whole", action="store_true", help="don't make a failing seed smaller")
    parser.add_argument("--planted", default="", help="a fault to plant, by its name in `planted.py`")
    parser.add_argument("--table", action="store_true", help="look for each planted fault, and write the table")
    wanted = parser.parse_args(None if arguments is None else list(arguments))
    code = PLANTED[wanted.planted] if wanted.planted else REAL
    if wanted.table:
        return write_table(range(wanted.first, wanted.first + wanted.seeds), wanted.workers)
    if wanted.story:
        played = play(script_of(wanted.first), code)
        print(played.story.told(), f"\n{played.broken or 'every promise was kept'}")
        return bool(played.broken)
    began_s, failed = time.monotonic(), []
    faults = calls = operations = 0
    seeds = range(wanted.first, wanted.first + wanted.seeds)
    with ProcessPoolExecutor(wanted.workers) as pool:
        for seed, broken, *counts in pool.map(partial(brief, wanted.planted), seeds, chunksize=4):
            faults, calls, operations = faults + counts[0], calls + counts[1], operations + counts[2]
            if broken:
                failed.append(seed)
                print(f"seed {seed}: {broken[:300]}", flush=True)
    took_s = time.monotonic() - began_s
    print(
        f"{len(seeds)} seeds in {took_s:.0f} s ({len(seeds) / took_s:.1f} a second): {operations} operations, "
        f"{calls} calls of ports, {faults} faults of the network; {len(failed)} seeds failed"
    )
    if failed:
        script = script_of(failed[0])
        played = play(script, code) if wanted.whole else shrunk(script, code)
        print(f"\nseed {failed[0]}, {played.script}\n{played.story.told(SHOWN)}\n{played.broken}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
