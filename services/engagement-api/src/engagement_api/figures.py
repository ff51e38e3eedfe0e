"""The API's own figures for the controller's gates: how many calls failed by our fault, and how slow they are.

The ramp halts by itself when they break a gate; the canary alone would not see what clients see.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from crossfade.core.errors import CrossfadeError
from crossfade.ports.control import Report, Reports

log = structlog.get_logger()

ROLE: Final = "api"
"""Role under which a pod reports; its shard is the pod's name."""

WINDOW_S: Final = 10.0
MOST: Final = 20_000
"""Calls remembered at most; with more in the window, the latest ones are looked at."""


class Figures:
    """The calls of the last seconds."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """Take the clock."""
        self.now_s = now_s
        self._calls: deque[tuple[float, float, bool]] = deque(maxlen=MOST)

    def note(self, began_s: float, *, failed: bool) -> None:
        """Remember a call that ends now.

        Args:
            began_s: when it began, on the same clock.
            failed: by our fault; a refusal that the contract names is no failure.
        """
        now_s = self.now_s()
        self._calls.append((now_s, now_s - began_s, failed))

    def counts(self) -> dict[str, int]:
        """Return `calls`, `failed` and `p99_us` of the window; no p99 without a call that succeeded."""
        since_s = self.now_s() - WINDOW_S
        while self._calls and self._calls[0][0] < since_s:
            self._calls.popleft()
        took = sorted(took_s for _, took_s, failed in self._calls if not failed)
        counts = {"calls": len(self._calls), "failed": len(self._calls) - len(took)}
        if took:
            counts["p99_us"] = int(took[int(0.99 * (len(took) - 1))] * 1e6)
        return counts


async def tell(every_s: float, figures: Figures, reports: Reports, pod: str) -> None:
    """Report the figures per interval until cancelled. A report that can't be written is left out.

    Args:
        every_s: interval.
        figures: of this pod.
        reports: where the controller looks.
        pod: name of this process.
    """
    while True:
        await asyncio.sleep(every_s)
        report = Report(
            role=ROLE,
            shard=pod,
            at_us=time.time_ns() // 1000,
            iterator_age_ms=0,
            oldest_unapplied_us=0,
            applied_commit_us=0,
            counts=figures.counts(),
        )
        try:
            await reports.put([report])
        except CrossfadeError as error:  # the control tables come with the migration
            log.debug("figures not reported", error=str(error))
