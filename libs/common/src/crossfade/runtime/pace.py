"""Waiting and rates in the services' loops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class Pace:
    """Lets a fixed amount through per second, evenly, for all callers. Work is paid for after it is done."""

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
        self._free_at_s = now_s()

    def spend(self, items: int) -> None:
        """Note that so much was done."""
        self._free_at_s = max(self._free_at_s, self._now_s()) + items / self._per_s

    def is_free(self) -> bool:
        """Say whether more may be done now."""
        return self._now_s() >= self._free_at_s

    async def take(self, items: int) -> None:
        """Wait until what was taken before is paid for; then take `items` more."""
        wait_s = max(0.0, self._free_at_s - self._now_s())
        self.spend(items)
        if wait_s:
            await self._sleep(wait_s)


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event no longer than so many seconds; return whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()
