"""The API's own figures: every operation on every path, who is responsible for its outcome, and how long it took (ADR
0022).

The controller's gates, the alerts and CloudWatch all read them. An operation of a batch counts like a call of
its own, reads count, and so does a call that its caller gave up on: a hanging pod answers nothing, and must not look
healthy because of that.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final

import structlog
from msgspec import Struct

from crossfade.contracts.report import Report
from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.percentile import percentile
from crossfade.ports.control import Reports
from crossfade.runtime.statuses import is_fault
from crossfade.runtime.telemetry.contract import CANCELLED, FAILED, OK, REFUSED

log = structlog.get_logger()

CONSUMER: Final = "api"
"""Consumer under which a pod reports; its shard is the pod's name."""

WINDOW_S: Final = 10.0
MOST: Final = 20_000
"""Calls remembered at most; with more in the window, the latest ones are looked at."""

PATIENCE_S: Final = 0.25
"""A call that its caller gave up on after waiting longer than this failed through our fault, whoever set the deadline;
giving up sooner is the caller's own decision. It is the design's bound on p99, `Bounds.api_p99_ms`."""


class _Ended(Struct, frozen=True, gc=False):
    at_s: float
    took_s: float
    operations: int
    failed: int
    is_timed: bool


class Figures:
    """What became of the operations: in total, and in the last seconds.

    Attributes:
        totals: operations since the start, by method and result: OK, REFUSED, CANCELLED or FAILED.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """Take the clock."""
        self.now_s = now_s
        self.totals: Counter[tuple[str, str]] = Counter()
        self._calls: deque[_Ended] = deque(maxlen=MOST)

    def counting(self, method: str, operations: int = 1) -> Counting:
        """Count a call: its context is the call's own.

        Args:
            method: its bare name, "EarnPoints".
            operations: how many it asks for. An empty batch asks for one thing: an answer.
        """
        return Counting(self, method, max(1, operations))

    def note(self, method: str, began_s: float, results: Mapping[str, int], *, is_timed: bool) -> None:
        """Remember a call that ends now.

        Args:
            method: its bare name.
            began_s: when it began, on the same clock.
            results: how many of its operations ended how.
            is_timed: whether the time it took says how slow we are: it was answered, or waited for in vain.
        """
        now_s = self.now_s()
        for result, count in results.items():
            self.totals[method, result] += count
        self._calls.append(_Ended(now_s, now_s - began_s, sum(results.values()), results.get(FAILED, 0), is_timed))

    def counts(self) -> dict[str, int]:
        """Return `calls` (operations), `failed` and `p99_us` of the window; no p99 while nothing was timed."""
        since_s = self.now_s() - WINDOW_S
        while self._calls and self._calls[0].at_s < since_s:
            self._calls.popleft()
        counts = {
            "calls": sum(each.operations for each in self._calls),
            "failed": sum(each.failed for each in self._calls),
        }
        p99_s = percentile(0.99, ((each.took_s, each.operations) for each in self._calls if each.is_timed))
        if p99_s is not None:
            counts["p99_us"] = int(p99_s * 1e6)
        return counts


class Counting:
    """One call that runs. A batch says of each of its operations how it ended; what nobody spoke of ended as the call.

    An error that ends the call ends all of its operations.
    """

    __slots__ = ("_began_s", "_figures", "_method", "_operations", "_results")

    def __init__(self, figures: Figures, method: str, operations: int) -> None:
        self._figures, self._method, self._operations = figures, method, operations
        self._results: dict[str, int] = {}
        self._began_s = figures.now_s()

    def refuse(self, error: Exception) -> None:
        """Say that one operation of the batch ended with an error."""
        result = FAILED if is_fault(error) else REFUSED
        self._results[result] = self._results.get(result, 0) + 1

    def __enter__(self) -> Counting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        result, is_timed = OK, True
        if isinstance(error, asyncio.CancelledError):
            is_timed = self._figures.now_s() - self._began_s > PATIENCE_S
            result = FAILED if is_timed else CANCELLED
        elif isinstance(error, Exception):
            result, is_timed = (FAILED, False) if is_fault(error) else (REFUSED, True)
        results = {result: self._operations}
        if error is None and self._results:
            results[result] -= sum(self._results.values())
            results |= self._results
        self._figures.note(self._method, self._began_s, results, is_timed=is_timed)


async def tell(
    every_s: float,
    figures: Figures,
    reports: Reports,
    pod: str,
    *,
    wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> None:
    """Report the figures per interval until cancelled. A report that can't be written is left out.

    Args:
        every_s: interval.
        figures: of this pod.
        reports: where the controller looks.
        pod: name of this process.
        wall_us: wall clock, µs.
    """
    while True:
        await asyncio.sleep(every_s)
        report = Report(
            consumer=CONSUMER,
            shard=pod,
            at_us=wall_us(),
            iterator_age_ms=0,
            oldest_unapplied_us=0,
            applied_commit_us=0,
            counts=figures.counts(),
        )
        try:
            await reports.put([report])
        except CrossfadeError as error:  # the control tables come with the migration
            log.debug("figures not reported", error=str(error))
