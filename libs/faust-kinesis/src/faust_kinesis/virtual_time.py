"""An event loop whose clock jumps: hours of waiting pass in milliseconds, in the right order.

For tests of code that takes its time from the loop: `asyncio.sleep`, timeouts, `loop.time()`.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_EPOCH_S = 1_700_000_000.0


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, moves the clock on by the time it was to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise RuntimeError("every task waits, and nothing will ever wake them")
            self.elapsed_s += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time; no sockets or threads may be waited for."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Return virtual monotonic time, in seconds."""
        return self._jumping.elapsed_s

    def skip(self, duration_s: float) -> None:
        """Move the clock on at once."""
        self._jumping.elapsed_s += duration_s


def freeze(duration_s: float) -> None:
    """Let time pass while nothing of this process runs, as after SIGSTOP: timers fire late."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise TypeError("only virtual time can be made to pass")
    loop.skip(duration_s)


def wall_clock_s() -> float:
    """Return the wall clock that belongs to the running virtual loop, seconds since the epoch."""
    return _EPOCH_S + asyncio.get_running_loop().time()


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on virtual time, and return its result."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario)
