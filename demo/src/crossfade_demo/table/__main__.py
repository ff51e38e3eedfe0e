"""`make demo-table`: a table whose application nobody changes, moved for real, on the embedded AWS."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

from crossfade_demo.checks import Check
from crossfade_demo.report import Verdict
from crossfade_demo.table.story import TableStory

BUILD: Final = Path("build/demo-table")
EXAMPLES: Final = Path("examples")


def verdict_of(checks: list[Check]) -> Verdict:
    """Say what came of a run: one claim that doesn't hold for another reason than a busy machine is a failure."""
    wrong = [each for each in checks if not each.passed]
    if not checks or not all(each.too_busy for each in wrong):
        return Verdict.FAILED
    return Verdict.TOO_BUSY if wrong else Verdict.PASSED


def main() -> int:
    """Play the story; return 0 only if every claim was checked and held, 75 if the machine is too busy to tell."""
    parser = argparse.ArgumentParser(prog="make demo-table ARGS=…", description=__doc__)
    parser.add_argument("--customers", type=int, default=24, help="of each of the two processes (%(default)s)")
    parser.add_argument("--per-second", type=float, default=15.0, help="requests of each process (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of the application's choices (%(default)s)")
    options = parser.parse_args()
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # what was started is stopped, too
    began_s = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began_s:6.1f} s  {text}\n")
        sys.stdout.flush()

    story = TableStory(BUILD.absolute(), EXAMPLES.absolute(), say, **vars(options))
    asyncio.run(story.play())
    verdict = verdict_of(story.checks)
    for each in story.checks:
        mark = "✓" if each.passed else "…" if each.too_busy else "✗"
        numbers = "  ".join(f"{name} {value}" for name, value in each.evidence.items() if name != "wrong")
        sys.stdout.write(f"{mark} {each.claim}   {numbers}\n")
        sys.stdout.writelines(f"    {sentence[:400]}\n" for sentence in each.wrong)
    longest = max(story.stops_s, default=None)
    sys.stdout.write(f"Longest write stop: {longest} s   steps: {story.took_s}\n")
    sys.stdout.write(f"{verdict.value}   {BUILD}/report.json\n")
    report = {
        "verdict": verdict.value,
        "checks": [each._asdict() for each in story.checks],
        "stops_s": story.stops_s,
        "took_s": story.took_s,
        "pace": story.pace.as_json(),
    }
    (BUILD / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
