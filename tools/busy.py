"""The demo on a busy machine, again and again: `make demo-busy`, RUNS=10 for ten runs.

Beside each run, work for twice the cores: half of it computes, a quarter writes files and syncs them, a quarter walks
through memory. All of it ends with this process, and after LONGEST_S at the latest. Ends with 0 if every run PASSED.

python -m tools.busy --runs 10 --chaos --seed 1947
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from localaws.leash import leashed

LONGEST_S: Final = 1_800.0
FILE_BYTES: Final = 8 << 20
WALKED_BYTES: Final = 256 << 20
LINE_BYTES: Final = 64
COLUMNS: Final = "{:>3}  {:<9} {:>5}  {:>6}  {:>12}  {:>12}  {:<}"


def compute(_folder: Path) -> None:
    """Keep a core busy for a moment."""
    sum(number * number for number in range(200_000))


def write(folder: Path) -> None:
    """Keep the disk busy for a moment."""
    place = folder / f"busy-{os.getpid()}"
    with place.open("wb") as file:
        file.write(os.urandom(1 << 16) * (FILE_BYTES >> 16))
        file.flush()
        os.fsync(file.fileno())
    place.unlink()


_walked: list[bytearray] = []


def walk(_folder: Path) -> None:
    """Keep the memory's bus busy for a moment: one byte of each cache line."""
    if not _walked:
        _walked.append(bytearray(WALKED_BYTES))
    _walked[0][::LINE_BYTES] = bytes(WALKED_BYTES // LINE_BYTES)


KINDS: Final[dict[str, Callable[[Path], None]]] = {"compute": compute, "write": write, "walk": walk}


def kinds(cores: int) -> list[str]:
    """Return what to do beside the demo: twice as much as there are cores, half of it disk and memory work."""
    return ["compute"] * cores + ["write", "walk"] * (cores // 2) + ["write"] * (cores % 2)


def work(kind: str, folder: Path, seconds: float) -> None:
    """Do one kind of work for so long."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        KINDS[kind](folder)


@contextmanager
def load(folder: Path, wanted: Sequence[str], seconds: float = LONGEST_S) -> Iterator[list[int]]:
    """Make load in processes of their own until the context is left; yields their ids."""
    command = [sys.executable, "-m", "tools.busy", "--work"]
    running = [
        subprocess.Popen(leashed([*command, kind, str(folder), str(seconds)]))  # the command is ours
        for kind in wanted
    ]
    try:
        yield [each.pid for each in running]
    finally:
        for each in running:
            each.kill()
            each.wait()
        for left in folder.glob("busy-*"):
            left.unlink()


def play(arguments: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Play the demo once; return its exit code and report."""
    command = [sys.executable, "-m", "crossfade_demo", "--json", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # the command is ours
    report: dict[str, Any] = {}
    with suppress(ValueError):
        report = json.loads(done.stdout)
    return done.returncode, report


def line(number: int, code: int, took_s: float, report: dict[str, Any]) -> str:
    """Return a run as a line of the table."""
    pace = report.get("pace", {})
    wrong = [f"{each['name']}: {'; '.join(each['wrong'])}" for each in report.get("checks", []) if not each["passed"]]
    verdict = report.get("verdict", "no report")
    slowness = f"{pace.get('median')}/{pace.get('p90')}"
    p99_ms = report.get("latency", {}).get("during", {}).get("p99_ms", "")
    return COLUMNS.format(number, verdict, code, f"{took_s:.0f}", slowness, p99_ms, " | ".join(wrong)[:2_000])


def main() -> int:
    """Run what was asked for; return 0 if every run passed."""
    parser = argparse.ArgumentParser(
        prog="tools.busy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1, help="how often (%(default)s); what follows is the demo's")
    parser.add_argument("--work", nargs=3, metavar=("KIND", "FOLDER", "SECONDS"), help=argparse.SUPPRESS)
    asked, rest = parser.parse_known_args()
    if asked.work:
        kind, folder, seconds = asked.work
        work(kind, Path(folder), float(seconds))
        return 0
    wanted = kinds(os.cpu_count() or 1)
    sys.stdout.write(f"beside each run: {', '.join(wanted)}\n")
    sys.stdout.write(COLUMNS.format("run", "verdict", "code", "s", "slow med/p90", "p99 ms", "what failed") + "\n")
    passed = 0
    Path("build").mkdir(exist_ok=True)  # on the disk that the demo writes to
    with tempfile.TemporaryDirectory(prefix="busy-", dir="build") as folder:
        for number in range(1, asked.runs + 1):
            begun_s = time.monotonic()
            with load(Path(folder), wanted):
                code, report = play(rest)
            passed += code == 0
            sys.stdout.write(line(number, code, time.monotonic() - begun_s, report) + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"{passed} of {asked.runs} PASSED\n")
    return 0 if passed == asked.runs else 1


if __name__ == "__main__":
    sys.exit(main())
