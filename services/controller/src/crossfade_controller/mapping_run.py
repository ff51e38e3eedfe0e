"""The mapping of an export, while the state machine goes on: file by file, each noted when it is done.

A file's note lies beside the import files, not among them, since all of those are imported. A controller that takes
over reads the notes and maps the files that have none. A corrected mapping maps all files again, into a folder of its
own: no table gets rows of two mappings.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from crossfade.adapters.s3_export import ExportFile, FileCounts, FilePlaces
from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.errors import CrossfadeError
from crossfade.ports.admin import Objects
from crossfade_controller.mapping_crew import MapOne

NOTES_AT_ONCE: Final = 32
"""Notes read at the same time."""


class Held(CrossfadeError):
    """The migration was paused or left the phase: no further file is begun."""

    code = "held"
    retryable = True


class Folder(NamedTuple):
    """Where an export's import files go, and what is noted of them.

    Attributes:
        imports: prefix of the import files.
        notes: prefix of the rest.
    """

    imports: str
    notes: str

    def places(self, number: int) -> FilePlaces:
        """Return where what becomes of a file goes."""
        note = f"{self.notes}{number:06d}"
        return FilePlaces(f"{self.imports}{number:06d}.json.gz", f"{note}.refused.jsonl.gz", f"{note}.inexact.jsonl.gz")

    def note(self, number: int) -> str:
        """Return where a file's counts are noted when it is done."""
        return f"{self.notes}{number:06d}.json"


def folder_of(destination: str, mark: str) -> Folder:
    """Return the folder of an export under one mapping.

    Args:
        destination: prefix of the import files of this choice of rows, `…/import-0/`.
        mark: of the mapping.
    """
    return Folder(f"{destination}{mark}/", f"{destination.replace('/import-', '/mapped-')}{mark}/")


def mark_of(mapping: Mapping) -> str:
    """Return a mark that changes with what a mapping says, and with the code that it computes by."""
    declared = mapping.declared
    functions = [declared.belongs, *(each for one in declared.computed for each in (one.forward, one.reverse))]
    rules = (declared.keys.items(), declared.ttl, declared.moved, declared.constants, declared.is_open)
    named = [(one.source, one.target) for one in declared.computed]
    digest = hashlib.sha256(repr((mapping.name, *rules, named, declared.prefixes)).encode())
    for path in sorted({path for each in (mapping, *functions) for path in _sources(each)}):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _sources(thing: Any) -> Iterator[Path]:
    """Yield the source files of the package that something is from, unless that is Crossfade's own."""
    module = inspect.getmodule(thing) or inspect.getmodule(type(thing))
    file = getattr(module, "__file__", None)
    if module is None or file is None or module.__name__.partition(".")[0] == "crossfade":
        return
    path = Path(file)
    if "." in module.__name__ or path.name == "__init__.py":
        yield from path.parents[module.__name__.count(".") - (path.name != "__init__.py")].rglob("*.py")
    else:
        yield path


class MapRun:
    """Maps the files of one export, in the background.

    Attributes:
        read: rows of the files that are done.
        files: how many files are done.
        folder: where everything goes.
    """

    def __init__(
        self,
        objects: Objects,
        files: Sequence[ExportFile],
        folder: Folder,
        crew: AbstractAsyncContextManager[MapOne],
        *,
        at_once: int,
        is_held: Callable[[], bool],
    ) -> None:
        """Begin.

        Args:
            objects: the bucket.
            files: of the export.
            folder: where everything goes.
            crew: maps one file.
            at_once: files at the same time.
            is_held: whether no further file may be begun.
        """
        self._objects, self._files, self.folder = objects, files, folder
        self._is_held, self._at_once = is_held, at_once
        self.read = self.files = 0
        self._task = asyncio.create_task(self._all(crew))
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may ask any more

    @property
    def of_files(self) -> int:
        """Files in all."""
        return len(self._files)

    async def listings(self, suffix: str) -> list[str]:
        """Return the keys of the files' listings of one kind, in their order."""
        return [each for each in await self._objects.keys(self.folder.notes) if each.endswith(suffix)]

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(each.items for each in self._files)

    async def done(self, within_s: float) -> FileCounts | None:
        """Return what became of all rows; None if that takes longer.

        Raises:
            CrossfadeError: a file could not be mapped, or the run was held. Those that are done needn't be done again.
        """
        await asyncio.wait({self._task}, timeout=within_s)
        return self._task.result() if self._task.done() else None

    async def close(self) -> None:
        """Stop, in the middle of a file if need be."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, CrossfadeError):
            await self._task

    async def _all(self, crew: AbstractAsyncContextManager[MapOne]) -> FileCounts:
        known = await self._known()
        counts = dict(known)
        self.files, self.read = len(known), sum(self._files[number].items for number in known)
        left = iter([number for number in range(len(self._files)) if number not in known])

        async def one_after_the_other(map_one: MapOne) -> None:
            for number in left:
                if self._is_held():
                    return
                file = self._files[number]
                counts[number] = await map_one(file, self.folder.places(number))
                await self._objects.put(self.folder.note(number), msgspec.json.encode(counts[number].as_json()))
                self.files, self.read = self.files + 1, self.read + file.items

        if len(known) < len(self._files):
            async with crew as map_one:
                await _together([one_after_the_other(map_one) for _ in range(self._at_once)])
        if len(counts) < len(self._files):
            raise Held("the migration is paused, or isn't in SNAPSHOT any more: no further file is mapped")
        total = FileCounts()
        for number in sorted(counts):
            total = total.plus(counts[number])
        return total

    async def _known(self) -> dict[int, FileCounts]:
        """Read the notes of the files that were done before."""
        noted = set(await self._objects.keys(self.folder.notes))
        found: dict[int, FileCounts] = {}
        numbers = iter([number for number in range(len(self._files)) if self.folder.note(number) in noted])

        async def some() -> None:
            for number in numbers:
                body = await self._objects.get(self.folder.note(number))
                if body is not None:
                    found[number] = FileCounts.of_json(msgspec.json.decode(body))

        await _together([some() for _ in range(NOTES_AT_ONCE)])
        return found


async def _together(works: Sequence[Any]) -> None:
    """Do them side by side; the first error ends them all, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors


async def joined(objects: Objects, keys: Sequence[str]) -> AsyncIterator[bytes]:
    """Yield some gzip files as one: members one after the other are one file."""
    for key in keys:
        async for piece in objects.read(key):
            yield piece
