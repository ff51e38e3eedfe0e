"""How slow the machine is just now, and the demo's bounds in the time that an idle one would have needed.

A process of its own does a fixed piece of work twice a second: some computing, a walk through memory, a file written
and synced. What it takes against what it takes idle is the *slowness*: 1 on an idle machine, 3 where everything takes
three times as long. A bound of 90 s is 90 s of *work*: at a slowness of 3 it is over after 270 s. It grows up to `MOST`
times. Beyond that the machine is too busy for the demo to tell a slow system from a slow machine, and it says so.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from localaws.leash import leashed

MOST: Final = 5.0
"""Bounds grow so many times at most."""

EVERY_S: Final = 0.5
RECENT: Final = 8
"""Samples that tell how slow it is now: some seconds."""

ROUNDS: Final = 400_000
WALKED_BYTES: Final = 4 << 20
WRITTEN_BYTES: Final = 64 << 10
SYNC_IDLE_S: Final = 0.010
"""What writing and syncing takes on an idle disk, at most; computing is measured against its own CPU time."""


class Sample(NamedTuple):
    """One piece of work.

    Attributes:
        since_s, until_s: monotonic clock, at its start and end.
        cpu_s: CPU time that it took.
    """

    since_s: float
    until_s: float
    cpu_s: float


class Pace:
    """What was measured so far.

    Attributes:
        samples: in the order of time.
        is_measured: whether more are to come.
        monotonic: clock.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.samples: list[Sample] = []
        self.is_measured = True
        self.monotonic = monotonic

    def note(self, sample: Sample) -> None:
        """Take a sample, in the order of time."""
        self.samples.append(sample)

    @property
    def now(self) -> float:
        """How slow the machine is now, from 1 to `MOST`; 1 before anything was measured."""
        recent = [self._slowness(each) for each in self.samples[-RECENT:]]
        return min(MOST, statistics.median_high([*recent, self._untold(self.monotonic())]))

    def worked_s(self, since_s: float, until_s: float, *, most: float = MOST) -> float:
        """Return the time that an idle machine would have needed for what was done between two moments.

        Args:
            since_s: monotonic clock.
            until_s: monotonic clock; what wasn't measured yet counts like the last sample, or as overdue.
            most: the highest slowness that is believed.
        """
        worked_s, at_s = 0.0, since_s
        for each in self.samples:
            end_s = min(each.until_s, until_s)
            if end_s > at_s:
                worked_s += (end_s - at_s) / min(most, self._slowness(each))
                at_s = end_s
        return worked_s + max(0.0, until_s - at_s) / min(most, self._untold(until_s))

    def slowness(self, since_s: float, until_s: float) -> float:
        """Return how many times as long as idle things took between two moments; 1 for no time at all."""
        worked_s = self.worked_s(since_s, until_s, most=float("inf"))
        return (until_s - since_s) / worked_s if worked_s > 0 else 1.0

    def deadline(self, bound_s: float) -> Deadline:
        """Return a deadline so much work from now."""
        return Deadline(self, bound_s, self.monotonic())

    def as_json(self) -> dict[str, Any]:
        """Return what was measured, for the report."""
        found = sorted(map(self._slowness, self.samples))
        if not found:
            return {"samples": 0, "median": None, "p90": None, "highest": None, "bounds_grow_to": MOST}
        return {
            "samples": len(found),
            "median": round(statistics.median(found), 2),
            "p90": round(found[int(0.9 * (len(found) - 1))], 2),
            "highest": round(found[-1], 1),
            "bounds_grow_to": MOST,
        }

    @property
    def _idle_s(self) -> float:
        return min(each.cpu_s for each in self.samples) + SYNC_IDLE_S

    def _untold(self, now_s: float) -> float:
        """Return how slow it has been since the last sample: as then, or slower when the next one is overdue."""
        if not (self.samples and self.is_measured):
            return 1.0
        overdue_s = now_s - self.samples[-1].until_s - 2 * EVERY_S
        return max(self._slowness(self.samples[-1]), overdue_s / self._idle_s)

    def _slowness(self, sample: Sample) -> float:
        return max(1.0, (sample.until_s - sample.since_s) / self._idle_s)


class Deadline:
    """A bound in work, begun at a moment."""

    def __init__(self, pace: Pace, bound_s: float, since_s: float) -> None:
        self._pace, self.bound_s, self._since_s = pace, bound_s, since_s

    @property
    def over(self) -> bool:
        """Whether the bound has passed, however far it may grow."""
        return self._pace.worked_s(self._since_s, self._pace.monotonic()) >= self.bound_s

    @property
    def too_busy(self) -> bool:
        """Whether the machine has been slower since it began than bounds grow: then it is to blame, or may be."""
        return self._pace.slowness(self._since_s, self._pace.monotonic()) > MOST

    @property
    def took_s(self) -> float:
        """Time since it began, by the clock."""
        return self._pace.monotonic() - self._since_s

    def __str__(self) -> str:
        return f"{self.took_s:.0f} s ({self.bound_s:.0f} s on an idle machine)"


class Late(Exception):
    """Something did not happen in time.

    Attributes:
        too_busy: whether the machine may be to blame.
    """

    def __init__(self, message: str, deadline: Deadline) -> None:
        super().__init__(message)
        self.too_busy = deadline.too_busy


class Prober:
    """Runs the probe, and notes what it measures."""

    def __init__(self, pace: Pace, folder: Path) -> None:
        self._pace, self._folder = pace, folder
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the probe; it ends with this process, however that ends."""
        command = [sys.executable, "-m", "crossfade_demo.pace", str(self._folder)]
        self._process = await asyncio.create_subprocess_exec(
            *leashed(command), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        if self._process.stdout:
            self._reader = asyncio.create_task(self._read(self._process.stdout))

    async def finish(self) -> None:
        """Stop it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._reader:
            await self._reader

    async def _read(self, output: asyncio.StreamReader) -> None:
        async for line in output:
            self._pace.note(Sample(*json.loads(line)))
        self._pace.is_measured = False  # a probe that was ended must not look like a machine that stands still


def work(place: Path) -> Sample:
    """Do the piece of work once."""
    since_s, cpu_s = time.monotonic(), time.process_time()
    total = 0
    for number in range(ROUNDS):
        total += number * number
    walked = bytearray(WALKED_BYTES)
    walked[::64] = bytes(len(walked[::64]))
    with place.open("wb") as file:
        file.write(walked[:WRITTEN_BYTES])
        file.flush()
        os.fsync(file.fileno())
    return Sample(since_s, time.monotonic(), time.process_time() - cpu_s)


def main() -> None:
    """Work and tell, until killed."""
    place = Path(sys.argv[1]) / "pace"
    while True:
        sys.stdout.write(json.dumps(work(place)) + "\n")
        sys.stdout.flush()
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
