"""Two small things that asyncio does not have."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Any

_AT_ONCE = 16


async def some_at_once(works: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Run all, a few at the same time.

    Raises:
        Exception: what the first one raised; those begun go on, those not begun are dropped.
    """
    waiting = deque(works)

    async def draw() -> None:
        while waiting:
            await waiting.popleft()

    try:
        await asyncio.gather(*(draw() for _ in range(min(_AT_ONCE, len(waiting)))))
    finally:
        for work in waiting:
            work.close()
        waiting.clear()


async def wait_for(event: asyncio.Event, timeout_s: float) -> bool:
    """Return whether the event came within `timeout_s`."""
    if event.is_set():
        return True
    if timeout_s <= 0:
        return False
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
