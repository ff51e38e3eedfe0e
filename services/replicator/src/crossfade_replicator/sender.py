"""Sends transfers in requests of up to 25, several at once, until every one is written or judged (rule 11).

Throttling makes requests smaller and rarer: what was throttled goes back to the queue, each sender waits with jitter,
and the size of the requests is halved; it grows by one with each request that went through. Nothing is ever dropped:
where time is bounded (AWS Lambda), what it did not suffice for is reported, and delivered again.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import structlog

from crossfade.core.protocol.writing import Transfer
from crossfade.core.values.errors import StoreUnavailable
from crossfade.ports.clock import Clock
from crossfade.ports.sending import NotSent, Sent
from crossfade.ports.table import TransferTable
from crossfade.runtime.retry import wait_s

T = TypeVar("T")

log = structlog.get_logger()

FULL_SIZE: Final = 25
"""Transfers in a request that nobody throttles."""

IN_FLIGHT: Final = 8
_THROTTLED: Final = NotSent.THROTTLED


class Sender:
    """Writes transfers to one table, at the pace it can bear.

    Attributes:
        size: transfers in the next request.
        throttled: transfers that were sent back so far.
    """

    def __init__(
        self,
        table: TransferTable,
        *,
        clock: Clock,
        in_flight: int = IN_FLIGHT,
        jitter: Callable[[], float] = random.random,
        on_request: Callable[[], None] = lambda: None,
        time_left_s: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """Prepare.

        Args:
            table: written to.
            clock: waits before a request is repeated.
            in_flight: requests of one batch at the same time.
            jitter: random number from 0 to 1.
            on_request: called after each request.
            time_left_s: how long requests may still be made, in seconds.
        """
        self._table = table
        self._in_flight = in_flight
        self._clock = clock
        self._jitter = jitter
        self._on_request = on_request
        self._time_left_s = time_left_s
        self.size = FULL_SIZE
        self.throttled = 0

    async def send(self, transfers: Sequence[Transfer]) -> list[Sent]:
        """Write transfers of different keys; return the final verdict of each, THROTTLED only if time didn't suffice.

        Raises:
            StoreRefused: the table is gone, or may not be written.
        """
        verdicts: list[Sent] = [NotSent.THROTTLED] * len(transfers)
        queue = deque(range(len(transfers)))
        senders = min(self._in_flight, -(-len(transfers) // FULL_SIZE))
        if senders == 1:
            await self._work(transfers, queue, verdicts)
        else:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(senders):
                        group.create_task(self._work(transfers, queue, verdicts))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from errors
        return verdicts

    async def _work(self, transfers: Sequence[Transfer], queue: deque[int], verdicts: list[Sent]) -> None:
        failures = 0
        while queue and self._time_left_s() > 0:
            chunk = [queue.popleft() for _ in range(min(self.size, len(queue)))]
            try:
                answers = await self._table.transfer([transfers[index] for index in chunk])
            except StoreUnavailable as error:
                answers = [_THROTTLED] * len(chunk)
                log.warning("the table doesn't answer, trying again", error=str(error))
            again = 0
            for index, verdict in zip(chunk, answers, strict=True):
                verdicts[index] = verdict
                if verdict is _THROTTLED:
                    queue.append(index)
                    again += 1
            if again:
                failures += 1
                self.throttled += again
                self.size = max(1, self.size // 2)
                pause_s = wait_s(failures, self._jitter())
                if pause_s >= self._time_left_s():
                    return
                await self._clock.sleep(pause_s)
            else:
                failures = 0
                self.size = min(FULL_SIZE, self.size + 1)
            self._on_request()
