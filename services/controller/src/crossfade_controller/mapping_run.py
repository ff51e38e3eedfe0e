"""The mapping of an export, while the state machine goes on: file by file, each noted when it is done.

A file's note lies beside the import files, not among them, since all of those are imported. A controller that takes
over reads the notes and maps the files that have none. A corrected mapping maps all files again, into a folder of its
own: no table gets rows of two mappings.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from crossfade.adapters.s3_export import ExportFile, FileCounts, FilePlaces, GzipLines
from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.errors import ConfigError, SnapshotBroken
from crossfade.core.values.shape import Side
from crossfade.ports.admin import Objects, TableFacts
from crossfade_controller.file_run import FileRun, Files, Work
from crossfade_controller.mapping_crew import MapOne

REFUSED: Final = ".refused.jsonl.gz"
"""Beside an export file's counts: its rows that can't be mapped."""


MERGES: Final = (
    "the mapping's key rule has no way back, so two rows of the source may get one key: an import would keep either of "
    "them, and tell nobody. Create the target table, and set CROSSFADE_LOAD=write, which lists such rows"
)
"""Why an import isn't begun under such a mapping."""


class _Line(msgspec.Struct):
    Item: dict[str, msgspec.Raw]


_decode = msgspec.json.Decoder(_Line).decode


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
        return FilePlaces(f"{self.imports}{number:06d}.json.gz", f"{note}{REFUSED}", f"{note}.inexact.jsonl.gz")

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


def mark_of(mapping: Mapping, reference: str) -> str:
    """Return a mark that changes with what a mapping says, and with the code that it decides and computes by.

    Args:
        mapping: of the migration.
        reference: where it is, as module:attribute.
    """
    declared = mapping.declared
    module = sys.modules.get(reference.partition(":")[0])
    functions = [module, mapping.belongs, *(each for one in declared.computed for each in (one.forward, one.reverse))]
    rules = (declared.keys.items(), declared.ttl, declared.moved, declared.constants, declared.is_open)
    named = [(one.source, one.target) for one in declared.computed]
    kept = mapping.shape(Side.TARGET).kept
    digest = hashlib.sha256(repr((mapping.name, kept, *rules, named, declared.prefixes)).encode())
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


def map_run(
    objects: Objects,
    files: Sequence[ExportFile],
    folder: Folder,
    crew: AbstractAsyncContextManager[MapOne],
    *,
    at_once: int,
    is_held: Callable[[], bool],
) -> FileRun[FileCounts]:
    """Begin to map the files of an export.

    Args:
        objects: the bucket.
        files: of the export.
        folder: where everything goes.
        crew: maps one file.
        at_once: files at the same time.
        is_held: whether no further file may be begun.
    """

    @asynccontextmanager
    async def by_number() -> AsyncIterator[Work[FileCounts]]:
        async with crew as map_one:
            yield lambda number: map_one(files[number], folder.places(number))

    notes = [folder.note(number) for number in range(len(files))]
    of_them = Files(folder.notes, notes, [each.items for each in files], FileCounts.of_json)
    return FileRun(objects, of_them, by_number(), at_once=at_once, is_held=is_held)


def summed(counts: Iterable[FileCounts]) -> FileCounts:
    """Add up the counts of all files."""
    total = FileCounts()
    for each in counts:
        total = total.plus(each)
    return total


async def listings(objects: Objects, folder: Folder, suffix: str) -> list[str]:
    """Return the keys of the files' listings of one kind, in their order."""
    return [each for each in await objects.keys(folder.notes) if each.endswith(suffix)]


async def key_of(objects: Objects, prefix: str, mapping: Mapping, source: TableFacts) -> list[tuple[str, str]]:
    """Return (name, type) of the target's key attributes.

    Where keys keep their values, they have the source's types; else those of the rows that were mapped.

    Raises:
        ConfigError: an import could merge rows, unseen.
        SnapshotBroken: there is no import file.
    """
    if mapping.shape(Side.TARGET).kept:
        raise ConfigError(MERGES)
    names = mapping.shape(Side.TARGET).key
    if mapping.declared.source_key is None:
        return [(name, kind) for name, (_, kind) in zip(names, source.key, strict=True)]
    for name in await objects.keys(prefix):
        lines = GzipLines(name)
        async for piece in objects.read(name):
            for block in lines.feed(piece):
                row = _decode(block[: block.index(b"\n")]).Item
                return [(each, next(iter(msgspec.json.decode(row[each], type=dict[str, str])))) for each in names]
    raise SnapshotBroken(f"there is no row under {prefix}")


async def joined(objects: Objects, keys: Sequence[str]) -> AsyncIterator[bytes]:
    """Yield some gzip files as one: members one after the other are one file."""
    for key in keys:
        async for piece in objects.read(key):
            yield piece
