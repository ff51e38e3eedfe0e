"""Work on many files in the background, while the state machine goes on: each is noted when it is done.

Whoever takes over reads the notes, and does the files that have none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from crossfade.core.values.errors import CrossfadeError
from crossfade.ports.admin import Objects

NOTES_AT_ONCE: Final = 32
"""Notes read at the same time."""


class Held(CrossfadeError):
    """The migration was paused or left the phase: no further file is begun."""

    code = "held"
    retryable = True


class Counts(Protocol):
    """What became of a file."""

    def as_json(self) -> dict[str, Any]:
        """Return it as it is noted."""
        ...


C = TypeVar("C", bound=Counts)

Work: TypeAlias = Callable[[int], Awaitable[C]]
"""Does one file, by its number."""


class Files(NamedTuple, Generic[C]):
    """The files of one piece of work.

    Attributes:
        folder: prefix of the notes.
        notes: where each file is noted, in their order.
        rows: in each of them.
        of_json: reads a note.
        is_final: whether a file of these counts needn't be done again by whoever takes over.
    """

    folder: str
    notes: Sequence[str]
    rows: Sequence[int]
    of_json: Callable[[dict[str, Any]], C]
    is_final: Callable[[C], bool] = lambda _counts: True


class FileRun(Generic[C]):
    """One piece of work.

    Attributes:
        read: rows of the files that are done.
        done_files: how many files those are.
    """

    def __init__(
        self,
        objects: Objects,
        files: Files[C],
        crew: AbstractAsyncContextManager[Work[C]],
        *,
        at_once: int,
        is_held: Callable[[], bool],
    ) -> None:
        """Begin.

        Args:
            objects: the bucket.
            files: what there is to do.
            crew: does it.
            at_once: files at the same time.
            is_held: whether no further file may be begun.
        """
        self._objects, self._files = objects, files
        self._is_held, self._at_once = is_held, at_once
        self.read = self.done_files = 0
        self._task = asyncio.create_task(self._all(crew))
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may ask any more

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(self._files.rows)

    @property
    def files(self) -> int:
        """Files in all."""
        return len(self._files.notes)

    async def done(self, within_s: float) -> Mapping[int, C] | None:
        """Return what became of each file, by its number; None if that takes longer.

        Raises:
            CrossfadeError: a file could not be done, or the run was held. Those that are done needn't be done again.
        """
        await asyncio.wait({self._task}, timeout=within_s)
        return self._task.result() if self._task.done() else None

    async def close(self) -> None:
        """Stop, in the middle of a file if need be."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, CrossfadeError):
            await self._task

    async def _all(self, crew: AbstractAsyncContextManager[Work[C]]) -> Mapping[int, C]:
        counts = await self._known()
        self.done_files, self.read = len(counts), sum(self._files.rows[number] for number in counts)
        left = iter([number for number in range(self.files) if number not in counts])

        async def one_after_the_other(work: Work[C]) -> None:
            for number in left:
                if self._is_held():
                    return
                counts[number] = await work(number)
                await self._objects.put(self._files.notes[number], msgspec.json.encode(counts[number].as_json()))
                self.done_files, self.read = self.done_files + 1, self.read + self._files.rows[number]

        if len(counts) < self.files:
            async with crew as work:
                await together([one_after_the_other(work) for _ in range(self._at_once)])
        if len(counts) < self.files:
            raise Held("the migration is paused, or isn't in SNAPSHOT any more: no further file is begun")
        return dict(sorted(counts.items()))

    async def _known(self) -> dict[int, C]:
        """Read the notes of the files that were done before."""
        noted = set(await self._objects.keys(self._files.folder))
        found: dict[int, C] = {}
        numbers = iter([number for number, note in enumerate(self._files.notes) if note in noted])

        async def some() -> None:
            for number in numbers:
                body = await self._objects.get(self._files.notes[number])
                counts = None if body is None else self._files.of_json(msgspec.json.decode(body))
                if counts is not None and self._files.is_final(counts):
                    found[number] = counts

        await together([some() for _ in range(NOTES_AT_ONCE)])
        return found


async def together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do them side by side; the first error ends them all, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
