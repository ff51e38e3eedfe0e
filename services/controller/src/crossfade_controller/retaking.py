"""Takes rows again that couldn't be mapped: reads each from the source by its key, as an operator has corrected it.

A later state of a row is as good as the export's: the stream carries every change since before the export's moment, and
the fence orders it. A row that is gone by now stays gone, by its removal in the stream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from isal import isal_zlib

from crossfade.adapters.s3_export import GZIP_BITS, FileCounts, GzipLines, Listing, listing
from crossfade.core.mapping.snapshot import LineMapper
from crossfade.core.values.image import encode_image
from crossfade.core.values.keys import Key, key_image
from crossfade.ports.admin import Objects
from crossfade.ports.raw_rows import RawRows
from crossfade_controller.file_run import FileRun, Files, Work
from crossfade_controller.mapping_run import Folder

AGAIN: Final = "again"
"""The name of what was taken again, beside the export's files, which have numbers."""

KEYS_AT_ONCE: Final = 100


class _Listed(msgspec.Struct):
    key: str
    reason: str


_decode = msgspec.json.Decoder(_Listed).decode


class Retaking:
    """Takes rows again, those that a list names."""

    def __init__(self, objects: Objects, source: RawRows, mapper: LineMapper, key: tuple[str, ...]) -> None:
        """Take the bucket, the source's rows, what maps them, and the names of the source's key attributes."""
        self._objects, self._source, self._mapper, self._key = objects, source, mapper, key
        self.counts = FileCounts()

    async def take(self, listed: str, folder: Folder, refused: str) -> FileCounts:
        """Read, map, and write an import file of those that can be mapped now.

        Args:
            listed: key of the list of rows that couldn't be mapped.
            folder: of the import files.
            refused: key of the list of those that still can't.

        Returns:
            What became of them; a row that is gone is read and nothing else.
        """
        with listing() as left:
            await self._objects.write(f"{folder.imports}{AGAIN}.json.gz", self._mapped(listed, left))
            await self._objects.write(refused, left.pieces())
            counts = self.counts._replace(unmappable=left.rows, samples=left.samples)
        await self._objects.put(f"{folder.notes}{AGAIN}.json", msgspec.json.encode(counts.as_json()))
        return counts

    async def _mapped(self, listed: str, left: Listing) -> AsyncIterator[bytes]:
        packer, lines = isal_zlib.compressobj(1, isal_zlib.DEFLATED, GZIP_BITS), GzipLines(listed)
        async for piece in self._objects.read(listed):
            for block in lines.feed(piece):
                if packed := packer.compress(await self._block(block, left)):
                    yield packed
        for block in lines.end():
            if packed := packer.compress(await self._block(block, left)):
                yield packed
        # Always a file, if only an empty one: it replaces what was taken again before.
        yield packer.flush()

    async def _block(self, block: bytes, left: Listing) -> bytes:
        rows = [_decode(line) for line in block.splitlines()]
        for row in rows:
            if not row.key:  # a line that could not be read that far can't be asked for
                left.add(b"", row.reason)
        keys = [Key(row.key.encode()) for row in rows if row.key]
        texts = []
        for first in range(0, len(keys), KEYS_AT_ONCE):
            wanted = keys[first : first + KEYS_AT_ONCE]
            found = await self._source.read([key_image(key, self._key) for key in wanted])
            done = self._mapper.map_lines([b'{"Item":%b}' % encode_image(image) for image in found])
            texts.append(done.text)
            for each in done.unmappable:
                left.add(each.key, each.reason)
            told = FileCounts(len(wanted), done.mapped, done.not_ours, done.excluded, highest_generation=done.standing)
            self.counts = self.counts.plus(told)
        return b"".join(texts)


def left_of(folder: Folder, number: int) -> str:
    """Return the key of the list of rows that a command took again and that still can't be mapped."""
    return f"{folder.notes}{AGAIN}-{number}.left.jsonl.gz"


def retake_run(
    objects: Objects, retaking: Retaking, listed: str, folder: Folder, *, number: int, rows: int
) -> FileRun[FileCounts]:
    """Begin to take rows again, in the background.

    Args:
        objects: the bucket.
        retaking: does it.
        listed: key of the list of rows that couldn't be mapped.
        folder: of the import files.
        number: of the command that asked for it; what an earlier one brought is replaced.
        rows: in the list.
    """

    @asynccontextmanager
    async def by_number() -> AsyncIterator[Work[FileCounts]]:
        yield lambda _number: retaking.take(listed, folder, left_of(folder, number))

    note = f"{folder.notes}{AGAIN}-{number}.json"
    files = Files(f"{folder.notes}{AGAIN}-", [note], [rows], FileCounts.of_json)
    return FileRun(objects, files, by_number(), at_once=1, is_held=lambda: False)


def with_taken_again(counts: FileCounts, again: FileCounts) -> FileCounts:
    """Return what became of all rows: those of the export that were mapped, and those that were taken again."""
    return counts._replace(
        mapped=counts.mapped + again.mapped,
        excluded=counts.excluded + again.excluded,
        highest_generation=max(counts.highest_generation, again.highest_generation),
        unmappable=again.unmappable,
        samples=again.samples,
    )
