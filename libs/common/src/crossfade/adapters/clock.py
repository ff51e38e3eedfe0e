"""The machine's own clocks. A process's entry hands them out; nothing else of a service imports this."""

from __future__ import annotations

import asyncio
import time
from typing import Final


class SystemClock:
    """See `crossfade.ports.clock.Clock`."""

    def wall_us(self) -> int:
        """Return the wall clock, µs since the epoch."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


SYSTEM: Final = SystemClock()
