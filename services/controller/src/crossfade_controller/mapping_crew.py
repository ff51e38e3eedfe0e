"""Maps export files, in this process or in several: a file at a time each, from the bucket to the bucket."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from functools import partial
from multiprocessing.connection import wait
from typing import Any, Final, NamedTuple, TypeAlias

from crossfade.adapters.s3_export import ExportFile, FileCounts, FilePlaces, map_file
from crossfade.adapters.s3_objects import LazyClient, S3Objects
from crossfade.core.mapping.snapshot import LineMapper
from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import IndexKey
from crossfade.ports.admin import Objects
from crossfade.runtime.aws import control_client
from crossfade_controller.settings import ControllerSettings

SMALL_ROWS: Final = 200_000
"""An export of so many rows is mapped sooner than another process has started."""

MapOne: TypeAlias = Callable[[ExportFile, FilePlaces], Awaitable[FileCounts]]
"""Maps one file; see `map_file`."""


class WorkerDied(CrossfadeError):
    """A process that mapped files ended on its own: for lack of memory, as a rule."""

    code = "worker_died"
    retryable = True


class Rules(NamedTuple):
    """What decides the fate of a line, beside the mapping.

    Attributes:
        excluded: keys that the operator left out.
        index_keys: of the target table's indexes.
    """

    excluded: frozenset[Key]
    index_keys: tuple[IndexKey, ...]


@asynccontextmanager
async def here(objects: Objects, mapper: LineMapper) -> AsyncIterator[MapOne]:
    """Map files in threads of this process."""
    yield lambda file, places: map_file(objects, file, mapper, places)


@asynccontextmanager
async def beside(settings: ControllerSettings, rules: Rules, workers: int) -> AsyncIterator[MapOne]:
    """Map files in processes of their own, which end with this one.

    Args:
        settings: of this process.
        rules: see there.
        workers: how many processes.
    """
    context = multiprocessing.get_context("spawn")
    begin: Any = _begin  # typeshed pairs the two arguments by overloads that a tuple of two doesn't fit
    given: Any = (settings, rules)
    pool = ProcessPoolExecutor(workers, context, initializer=begin, initargs=given)
    loop = asyncio.get_running_loop()

    async def one(file: ExportFile, places: FilePlaces) -> FileCounts:
        try:
            return await loop.run_in_executor(pool, _map, file, places)
        except BrokenProcessPool as error:
            raise WorkerDied(
                f"a process that mapped export files was killed while {file.key} was mapped. If memory ran out, lower "
                "CROSSFADE_MAP_AT_ONCE. The controller continues with the files that are left"
            ) from error

    try:
        yield one
    finally:
        await asyncio.to_thread(partial(_end, pool))


def _end(pool: ProcessPoolExecutor) -> None:
    """End the processes, in the middle of a file if need be: nothing of it has appeared, so it is mapped again."""
    processes: Sequence[Any] = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


class _Worker:
    """This process, as one of the crew."""

    def __init__(self, settings: ControllerSettings, rules: Rules) -> None:
        self._runner = asyncio.Runner()
        self._objects = S3Objects(LazyClient(partial(control_client, settings, "s3")), settings.bucket)
        self._mapper = LineMapper(settings.mapping(), rules.excluded, rules.index_keys)

    def map(self, file: ExportFile, places: FilePlaces) -> FileCounts:
        return self._runner.run(map_file(self._objects, file, self._mapper, places))


_mine: _Worker | None = None


def _begin(settings: ControllerSettings, rules: Rules) -> None:
    """Prepare a process. Ctrl-C reaches all of a terminal's processes; the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_follow, daemon=True).start()
    global _mine
    _mine = _Worker(settings, rules)


def _follow() -> None:
    """End with the controller, however it ends: another one maps the files that are left."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _map(file: ExportFile, places: FilePlaces) -> FileCounts:
    if _mine is None:
        raise AssertionError("the process was not prepared")
    return _mine.map(file, places)
