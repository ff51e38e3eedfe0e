"""An event loop whose time is virtual: it jumps to the next timer as soon as nothing is left to do.

There is no socket, no thread and no real waiting in it, so a run depends on its seed alone. Which of two acts comes
first is decided by their timers, and those by the seed: every call of a port takes a rolled time (`network`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from heapq import heappop, heappush
from itertools import count
from typing import Any


class Stalled(Exception):
    """Nothing can ever happen again, and the play is not over."""


class _Handle:
    """A callback that is due: as `asyncio.Handle`, which costs a third of a play."""

    __slots__ = ("act", "args", "at_s", "context")

    def __init__(self, act: Callable[..., object], args: tuple[Any, ...], context: Context | None, at_s: float) -> None:
        self.act: Callable[..., object] | None = act
        self.args, self.context, self.at_s = args, context, at_s

    def cancel(self) -> None:
        self.act, self.args = None, ()

    def cancelled(self) -> bool:
        return self.act is None

    def when(self) -> float:
        return self.at_s


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. `time()` begins at 0."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._due: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._numbers = count()

    def time(self) -> float:
        return self._now_s

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        handle = _Handle(callback, args, context, self._now_s)
        self._due.append(handle)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        handle = _Handle(callback, args, context, when)
        heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        due = self._due
        while not due:
            if not self._timers:
                raise Stalled("every task waits for another one")
            at_s, _, handle = heappop(self._timers)
            if handle.act is not None:
                self._now_s = max(self._now_s, at_s)
                due.append(handle)
        for _ in range(len(due)):
            handle = due.popleft()
            act, context = handle.act, handle.context
            if act is None:
                continue
            try:
                if context is None:
                    act(*handle.args)
                else:
                    context.run(act, *handle.args)
            except Exception as error:
                self.call_exception_handler({"message": f"{act} failed", "exception": error})

    def _process_events(self, event_list: list[Any]) -> None:
        """Nothing comes from outside."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Work that the real loop gives to a thread is done at once: the time it takes is no part of the play."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future
