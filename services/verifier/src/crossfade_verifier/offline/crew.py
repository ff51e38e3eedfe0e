"""Processes that do the units of a plan, with progress and a clean stop."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.errors import CrossfadeError
from crossfade.runtime.settings import load_mapping
from crossfade_verifier.offline.plan import Plan
from crossfade_verifier.offline.work import Worker

Task: TypeAlias = tuple[str, tuple[Any, ...]]
"""Name of a method of `Worker`, and its arguments."""

LOOK_EVERY_S: Final = 0.5


class Stopped(CrossfadeError):
    """The work was asked to stop; what is done so far is kept."""

    code = "stopped"
    retryable = True


class WorkerDied(CrossfadeError):
    """A process of the crew ended on its own: for lack of memory, as a rule."""

    code = "worker_died"
    retryable = True


class Crew:
    """Does tasks of one plan, in this process or in several."""

    def __init__(self, mapping: Mapping | str, plan: Plan, workers: int, told: Callable[[int], None]) -> None:
        """Take the plan.

        Args:
            mapping: the migration's; by name where there are several processes.
            plan: of the comparison.
            workers: processes; 1 is this one.
            told: called with the rows done since its last call; an exception that it raises stops the work.
        """
        self._mapping, self._plan, self._workers, self._told = mapping, plan, workers, told
        self._worker: Worker | None = None
        self.cpu_s = 0.0

    def do(self, tasks: Sequence[Task]) -> None:
        """Do all tasks, in any order.

        Raises:
            CrossfadeError: one of them failed, or the work was asked to stop.
        """
        if self._workers > 1 and len(tasks) > 1:
            self._do_beside(tasks)
            return
        if self._worker is None:
            mapping = load_mapping(self._mapping) if isinstance(self._mapping, str) else self._mapping
            self._worker = Worker(mapping, self._plan, self._told)
        started_s = time.process_time()
        try:
            for name, arguments in tasks:
                getattr(self._worker, name)(*arguments)
        finally:
            self.cpu_s += time.process_time() - started_s

    def _do_beside(self, tasks: Sequence[Task]) -> None:
        context = multiprocessing.get_context("spawn")
        rows, stop = context.Value("Q", 0), context.Event()
        begin: Any = _begin  # typeshed pairs the two arguments by overloads that a tuple of four doesn't fit
        arguments: Any = (self._mapping, self._plan, rows, stop)
        pool = ProcessPoolExecutor(min(self._workers, len(tasks)), context, initializer=begin, initargs=arguments)
        told = 0
        try:
            left: set[Future[float]] = {pool.submit(_do, *task) for task in tasks}
            while left:
                done, left = wait(left, LOOK_EVERY_S, FIRST_COMPLETED)
                self.cpu_s += sum(each.result() for each in done)
                now = rows.value
                self._told(now - told)
                told = now
        except BrokenProcessPool as error:
            raise WorkerDied(
                "a worker process was killed; if memory ran out, use fewer --workers. The same command goes on where "
                "it stopped"
            ) from error
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


_mine: Worker | None = None


def _begin(mapping: str, plan: Plan, rows: Any, stop: threading.Event) -> None:
    """Prepare a process of the crew. Ctrl-C reaches all of a terminal's processes; the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def tick(count: int) -> None:
        with rows.get_lock():
            rows.value += count
        if stop.is_set():
            raise Stopped("asked to stop")

    global _mine
    _mine = Worker(load_mapping(mapping), plan, tick)


def _do(name: str, arguments: tuple[Any, ...]) -> float:
    """Do one task; return the CPU time that it took, in seconds."""
    if _mine is None:
        raise AssertionError("the process was not prepared")
    started_s = time.process_time()
    getattr(_mine, name)(*arguments)
    return time.process_time() - started_s


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Set an event at the first SIGTERM or Ctrl-C; a second one ends the process as usual."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def asked(_number: int, _frame: object) -> None:
        stop.set()
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, asked)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
