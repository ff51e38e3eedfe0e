"""A clock that stands still until a sleep, or a test, moves it."""

from __future__ import annotations


class MemoryClock:
    """`crossfade.ports.clock.Clock` in memory: both clocks are one.

    Attributes:
        now_us: µs since the epoch.
        slept: how long each sleep was, s.
    """

    def __init__(self, now_us: int = 0) -> None:
        """Start at a moment, µs since the epoch."""
        self.now_us = now_us
        self.slept: list[float] = []

    def wall_us(self) -> int:
        """Return the moment."""
        return self.now_us

    def monotonic(self) -> float:
        """Return the same in seconds."""
        return self.now_us / 1e6

    async def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.slept.append(seconds)
        self.pass_s(seconds)

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now_us += round(seconds * 1e6)
