"""Time, as whoever runs a process gives it: no service asks the machine for it (ADR 0031).

So a simulation plays hours in seconds, with clocks that differ from process to process.
"""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """A process's two clocks, and a wait. What each may be compared with: `crossfade.core.values.clocks`."""

    def wall_us(self) -> int:
        """Return the wall clock, µs since the epoch: it dates what a person reads, and seeds versions."""
        ...

    def monotonic(self) -> float:
        """Return seconds of this process alone; durations are differences of these."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...
