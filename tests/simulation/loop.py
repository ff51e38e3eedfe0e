"""An event loop whose time is virtual: it jumps to the next timer as soon as nothing is left to do.

There is no socket, no thread and no real waiting in it, so a run depends on its seed alone. Which of two acts comes
first is decided by their timers, and those by the seed: every call of a port takes a rolled time (`network`).
"""

from __future__ import annotations

import asyncio
from asyncio.events import _set_running_loop
from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial
from heapq import heappop, heappush
from threading import get_ident
from typing import Any


class Stalled(Exception):
    """Nothing can ever happen again, and the play is not over."""


class _Handle:
    """A callback that is due: as `asyncio.Handle`, which costs a third of a play."""

    __slots__ = ("act", "args", "at_s")

    def __init__(self, act: Callable[..., object], args: tuple[Any, ...], at_s: float) -> None:
        self.act: Callable[..., object] | None = act
        self.args, self.at_s = args, at_s

    def run(self) -> None:
        if self.act is not None:
            self.act(*self.args)

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
        self._due: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._number = 0
        self.create_future = partial(asyncio.Future, loop=self)  # type: ignore[method-assign]
        self.get_debug = bool  # type: ignore[method-assign]  # asked for each future
        self._stopping = False
        self._thread_id: int | None = None

    def time(self) -> float:
        return self._now_s

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        if context is not None:  # a task's next step, whose handle nobody looks at
            self._due.append((context.run, (callback, *args)))
            return None
        handle = _Handle(callback, args, self._now_s)
        self._due.append((handle.run, ()))
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        handle = _Handle(callback, args, when)
        self._number += 1
        heappush(self._timers, (when, self._number, handle))
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        when = self._now_s + delay
        handle = _Handle(callback, args, when)
        self._number += 1
        heappush(self._timers, (when, self._number, handle))
        return handle

    def run_forever(self) -> None:
        """Do what is due, until `stop`: as the base does, without sockets and debugging."""
        self._thread_id = get_ident()
        _set_running_loop(self)
        due, timers, take = self._due, self._timers, self._due.popleft
        try:
            while not self._stopping:
                if not due:
                    if not timers:
                        raise Stalled("every task waits for another one")
                    at_s, _, handle = heappop(timers)
                    if handle.act is None:
                        continue
                    if at_s > self._now_s:
                        self._now_s = at_s
                    act, args = handle.act, handle.args
                else:
                    act, args = take()
                try:
                    act(*args)
                except Exception as error:
                    self.call_exception_handler({"message": f"{act} failed", "exception": error})
        finally:
            self._stopping, self._thread_id = False, None
            _set_running_loop(None)

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
