"""Export and import files: manifests checked, lines mapped and filtered, gzip to gzip.

The formats are those of AWS's export to S3 (aws-facts.md): `manifest-summary.json`, `manifest-files.json` (one JSON
object a line, with item count and MD5), `data/*.json.gz`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from isal import isal_zlib

from crossfade.core.mapping.snapshot import LineMapper
from crossfade.core.values.errors import SnapshotBroken
from crossfade.ports.admin import Objects

GZIP_BITS: Final = 31
"""What zlib calls a gzip frame; frames one after the other are one gzip file."""

_IsalError: Any = isal_zlib.error

BLOCK_BYTES: Final = 32 * 1024
"""Unpacked at once, packed: what it unpacks to stays in the processor's cache while its rows are decoded."""

TEXT_BYTES: Final = 512 * 1024
"""Of what a block unpacks to, handed on at once: rows that are alike pack a hundred to one."""

PIECE_BYTES: Final = 1024 * 1024
"""Of an object, read at once."""

LISTING_BYTES: Final = 4 * 1024 * 1024
"""How much of a listing of rows is kept in memory, packed; a longer one goes on in a file."""

SAMPLES: Final = 20
"""Rows of a kind that a file's result names."""


class Readable(Protocol):
    """Where an export lies: a bucket (`crossfade.ports.admin.Objects`), or a copy of it."""

    async def get(self, key: str) -> bytes | None:
        """Return an object; None if it doesn't exist."""
        ...


class _Summary(msgspec.Struct, rename="camel"):
    item_count: int
    manifest_files_s3_key: str = msgspec.field(name="manifestFilesS3Key")
    output_format: str = "DYNAMODB_JSON"
    export_arn: str = ""
    export_time: str = ""
    export_type: str = "FULL_EXPORT"
    table_arn: str = ""


class _File(msgspec.Struct, rename="camel"):
    item_count: int
    md5_checksum: str = msgspec.field(name="md5Checksum")
    data_file_s3_key: str = msgspec.field(name="dataFileS3Key")


class ExportFile(NamedTuple):
    """One data file of an export, as its manifest promises it.

    Attributes:
        key: in the bucket.
        items: lines in it.
        md5: base64 of the MD5 of the file as stored.
    """

    key: str
    items: int
    md5: str


class Export(NamedTuple):
    """A whole export, as its manifests promise it.

    Attributes:
        arn: of the export; empty where its manifest doesn't tell.
        table: name of the table; empty likewise.
        at: the moment that it shows, as the manifest spells it (RFC 3339); empty likewise.
        kind: "FULL_EXPORT" or "INCREMENTAL_EXPORT".
        files: its data files.
    """

    arn: str
    table: str
    at: str
    kind: str
    files: list[ExportFile]

    @property
    def items(self) -> int:
        """Rows in it."""
        return sum(each.items for each in self.files)


class FileCounts(NamedTuple):
    """What became of the lines of a file.

    Attributes:
        read: lines read.
        mapped: lines of the import file.
        not_ours: rows of the shared table that don't belong; they stay where they are.
        excluded: rows that the operator left out.
        unmappable: rows that belong but can't be mapped.
        highest_generation: any row carries, from an earlier migration: the counter must go on above it.
        samples: key and reason of the first unmappable ones.
        inexact: mapped rows with a number that the domain can't answer exactly.
        inexact_samples: key and reason of the first of them.
    """

    read: int = 0
    mapped: int = 0
    not_ours: int = 0
    excluded: int = 0
    unmappable: int = 0
    highest_generation: int = 0
    samples: tuple[str, ...] = ()
    inexact: int = 0
    inexact_samples: tuple[str, ...] = ()

    def plus(self, other: FileCounts) -> FileCounts:
        """Add up two files."""
        return FileCounts(
            self.read + other.read,
            self.mapped + other.mapped,
            self.not_ours + other.not_ours,
            self.excluded + other.excluded,
            self.unmappable + other.unmappable,
            max(self.highest_generation, other.highest_generation),
            (self.samples + other.samples)[:SAMPLES],
            self.inexact + other.inexact,
            (self.inexact_samples + other.inexact_samples)[:SAMPLES],
        )

    def as_json(self) -> dict[str, Any]:
        """Return the counts as evidence."""
        return {**self._asdict(), "samples": list(self.samples), "inexact_samples": list(self.inexact_samples)}

    @classmethod
    def of_json(cls, body: dict[str, Any]) -> FileCounts:
        """Read what `as_json` gave, in this build or another: what one of them doesn't know is left out."""
        known: dict[str, Any] = {name: body[name] for name in cls._fields if name in body}
        lists = {name: tuple(each) for name, each in known.items() if isinstance(each, list)}
        return cls(**{**known, **lists})


class GzipLines:
    """Unpacks a gzip file of one or more members, as it comes, in blocks of whole lines.

    Args:
        name: of the file, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._unpacker = isal_zlib.decompressobj(GZIP_BITS)
        self._begun = False
        self._rest = b""

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """Yield what of a piece can be unpacked so far; a block has at least one line.

        Raises:
            SnapshotBroken: it is no gzip.
        """
        try:
            for first in range(0, len(packed), BLOCK_BYTES):
                yield from self._block(packed[first : first + BLOCK_BYTES])
        except (OSError, _IsalError) as error:
            raise SnapshotBroken(f"{self._name} can't be unpacked: {error}") from error

    def _block(self, packed: bytes) -> Iterator[bytes]:
        text = b""
        while packed or len(text) == TEXT_BYTES:  # as much as is given at once may have left more behind
            text, self._begun = self._unpacker.decompress(packed, TEXT_BYTES), True
            packed = self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail
            cut = text.rfind(b"\n") + 1
            if cut:
                yield b"".join((self._rest, memoryview(text)[:cut]))
                self._rest = text[cut:]
            else:
                self._rest += text
            if self._unpacker.eof:
                self._unpacker, self._begun, text = isal_zlib.decompressobj(GZIP_BITS), False, b""

    def end(self) -> Iterator[bytes]:
        """Yield the last line, if the file ends within it.

        Raises:
            SnapshotBroken: the file is cut short.
        """
        if self._begun:
            raise SnapshotBroken(f"{self._name} can't be unpacked: it is cut short")
        if self._rest:
            yield self._rest + b"\n"


class Listing:
    """Rows with a reason, each as a JSON line {"key": …, "reason": …}, packed as they come into a file on disk."""

    def __init__(self) -> None:
        self._packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, GZIP_BITS)
        self._file = tempfile.SpooledTemporaryFile(LISTING_BYTES)  # noqa: SIM115  # closed by `open_listing`
        self.rows = 0
        self.samples: tuple[str, ...] = ()

    def add(self, encoded: bytes, reason: str) -> None:
        """Take a row."""
        key = encoded.decode(errors="replace")
        self.rows += 1
        if self.rows <= SAMPLES:
            self.samples += (f"{key or 'a line'}: {reason}",)
        self._file.write(self._packer.compress(msgspec.json.encode({"key": key, "reason": reason}) + b"\n"))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield it as a gzip file, once; nothing when it has no row."""
        if not self.rows:
            return
        self._file.write(self._packer.flush())
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES):
            yield piece

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


@contextmanager
def listing() -> Iterator[Listing]:
    """Keep a listing while it is needed."""
    opened = Listing()
    try:
        yield opened
    finally:
        opened.close()


async def read_manifest(objects: Readable, summary_key: str) -> list[ExportFile]:
    """Return the files of an export; see `read_export`."""
    return (await read_export(objects, summary_key)).files


async def read_export(objects: Readable, summary_key: str) -> Export:
    """Read an export's manifests, and check that they agree.

    Args:
        objects: the bucket.
        summary_key: of `manifest-summary.json`, as the export's description names it.

    Raises:
        SnapshotBroken: a manifest is missing, unreadable, or its counts don't add up: the export is not whole.
    """
    try:
        summary = msgspec.json.decode(await _present(objects, summary_key), type=_Summary)
        listed = await _present(objects, summary.manifest_files_s3_key)
        files = [msgspec.json.decode(line, type=_File) for line in listed.splitlines() if line.strip()]
    except msgspec.MsgspecError as error:
        raise SnapshotBroken(f"the manifest of {summary_key} can't be read: {error}") from error
    if summary.output_format != "DYNAMODB_JSON":
        raise SnapshotBroken(f"the export is in {summary.output_format}, not in DYNAMODB_JSON")
    promised = sum(each.item_count for each in files)
    if promised != summary.item_count:
        raise SnapshotBroken(f"the export's summary counts {summary.item_count} items, its files {promised}")
    table = summary.table_arn.rpartition("/")[2]
    listed_files = [ExportFile(each.data_file_s3_key, each.item_count, each.md5_checksum) for each in files]
    return Export(summary.export_arn, table, summary.export_time, summary.export_type, listed_files)


async def _present(objects: Readable, key: str) -> bytes:
    body = await objects.get(key)
    if body is None:
        raise SnapshotBroken(f"{key} is missing from the export")
    return body


class FilePlaces(NamedTuple):
    """Where what becomes of an export file goes, as keys of the bucket.

    Attributes:
        mapped: the import file; none is written when it would be empty.
        unmappable: all rows that can't be mapped, gzip of JSON lines {"key": …, "reason": …}; none when there is none.
        inexact: in the same form, all mapped rows with a number that the domain can't answer exactly.
    """

    mapped: str
    unmappable: str
    inexact: str


class _FileMapper:
    """One export file on its way: pieces of it in, pieces of the import file out.

    Attributes:
        counts: what became of the lines so far.
    """

    def __init__(self, file: ExportFile, mapper: LineMapper, unmappable: Listing, inexact: Listing) -> None:
        self._file, self._mapper = file, mapper
        self._unmappable, self._inexact = unmappable, inexact
        self._lines, self._md5 = GzipLines(file.key), hashlib.md5(usedforsecurity=False)
        self._packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, GZIP_BITS)
        self.counts = FileCounts()

    def feed(self, piece: bytes) -> bytes:
        self._md5.update(piece)
        return b"".join(map(self._block, self._lines.feed(piece)))

    def end(self) -> bytes:
        last = b"".join(map(self._block, self._lines.end()))
        counts, file = self.counts, self._file
        md5 = base64.b64encode(self._md5.digest()).decode()
        if md5 != file.md5:
            raise SnapshotBroken(f"{file.key}: MD5 {md5}, the manifest says {file.md5}: damaged, or another export's")
        if counts.read != file.items:
            raise SnapshotBroken(f"{file.key} holds {counts.read} items, the manifest says {file.items}")
        refused, inexact = self._unmappable, self._inexact
        self.counts = counts._replace(
            samples=refused.samples, inexact=inexact.rows, inexact_samples=inexact.samples, unmappable=refused.rows
        )
        return last + self._packer.flush() if counts.mapped else b""

    def _block(self, block: bytes) -> bytes:
        lines = [line for line in block.split(b"\n") if line]
        done = self._mapper.map_lines(lines)
        for each in done.unmappable:
            self._unmappable.add(each.key, each.reason)
        for each in done.inexact:
            self._inexact.add(each.key, each.inexact)
        told = FileCounts(len(lines), done.mapped, done.not_ours, done.excluded, highest_generation=done.standing)
        self.counts = self.counts.plus(told)
        return self._packer.compress(done.text) if done.text else b""


async def map_file(objects: Objects, file: ExportFile, mapper: LineMapper, places: FilePlaces) -> FileCounts:
    """Map and filter one export file, as it comes: memory doesn't grow with it.

    Nothing appears under `places` before the whole file was read, counted, and found to be the manifest's.

    Raises:
        SnapshotBroken: it is missing, damaged, or holds other rows than the manifest says.
        StoreUnavailable: the bucket doesn't answer.
    """
    with listing() as unmappable, listing() as inexact:
        work = _FileMapper(file, mapper, unmappable, inexact)

        async def mapped() -> AsyncIterator[bytes]:
            async for piece in objects.read(file.key):
                if packed := await asyncio.to_thread(work.feed, piece):
                    yield packed
            if packed := await asyncio.to_thread(work.end):
                yield packed

        await objects.write(places.mapped, mapped())
        await objects.write(places.unmappable, unmappable.pieces())
        await objects.write(places.inexact, inexact.pieces())
        return work.counts
