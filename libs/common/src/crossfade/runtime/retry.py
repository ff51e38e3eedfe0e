"""Trying again in the services' background work: what a store takes late is no error there.

A request of a client has a deadline, and its own way to end: `crossfade.application.ownership`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from crossfade.core.values.backoff import backoff_s
from crossfade.core.values.errors import CrossfadeError

FIRST_WAIT_S: Final = 0.05
LONGEST_WAIT_S: Final = 5.0

T = TypeVar("T")

log = structlog.get_logger()


def wait_s(failures: int, jitter: float) -> float:
    """Return how long background work waits before trying again, in seconds.

    Args:
        failures: in a row, from 1.
        jitter: random number from 0 to 1.
    """
    return backoff_s(failures, first_s=FIRST_WAIT_S, longest_s=LONGEST_WAIT_S, jitter=jitter, least=0.5)


async def persist(call: Callable[[], Awaitable[T]], *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> T:
    """Repeat a call that is safe to repeat until the store takes it.

    Args:
        call: makes one attempt.
        sleep: waits between attempts.

    Raises:
        CrossfadeError: one that trying again can't cure.
    """
    failures = 0
    while True:
        try:
            return await call()
        except CrossfadeError as error:
            if not error.retryable:
                raise
            failures += 1
            log.warning("trying again", error=str(error), failures=failures)
            await sleep(wait_s(failures, random.random()))
