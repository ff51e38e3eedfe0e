"""The rate limit on reads: the sweep must not take the capacity that the traffic needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class Pace:
    """Lets so many items through a second, evenly, whoever asks."""

    def __init__(
        self,
        per_s: float,
        *,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Start with nothing owed.

        Args:
            per_s: items a second.
            now_s: monotonic clock.
            sleep: waits, in seconds.
        """
        self._per_s = per_s
        self._now_s = now_s
        self._sleep = sleep
        self._free_at_s = 0.0

    async def take(self, items: int) -> None:
        """Wait until what was taken before is paid for; then take `items` more."""
        now_s = self._now_s()
        wait_s = max(0.0, self._free_at_s - now_s)
        self._free_at_s = max(now_s, self._free_at_s) + items / self._per_s
        if wait_s:
            await self._sleep(wait_s)
