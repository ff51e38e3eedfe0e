"""Export and import files: manifests checked, lines mapped and filtered, gzip to gzip.

The formats are those of AWS's export to S3 (aws-facts.md): `manifest-summary.json`, `manifest-files.json` (one JSON
object a line, with item count and MD5), `data/*.json.gz`.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from isal import igzip, isal_zlib

from crossfade.core.mapping.snapshot import Fate, LineMapper
from crossfade.core.values.errors import SnapshotBroken
from crossfade.core.values.keys import Key

_GZIP_BITS: Final = 31
"""What zlib calls a gzip frame; frames one after the other are one gzip file."""

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


class MappedFile(NamedTuple):
    """What an export file became.

    Attributes:
        body: the import file, gzip.
        counts: what became of its lines.
        unmappable: all rows that can't be mapped, gzip of JSON lines {"key": …, "reason": …}; empty when there is none.
        inexact: in the same form, all mapped rows with a number that the domain can't answer exactly.
    """

    body: bytes
    counts: FileCounts
    unmappable: bytes
    inexact: bytes


class _Listing:
    """Gathers rows with a reason, packed as they come: reasons repeat, so that thousands take little memory.

    Attributes:
        rows: how many.
        samples: the first ones.
    """

    def __init__(self) -> None:
        self._packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _GZIP_BITS)
        self._packed: list[bytes] = []
        self.rows = 0
        self.samples: tuple[str, ...] = ()

    def add(self, encoded: Key, reason: str) -> None:
        key = encoded.decode(errors="replace")
        self.rows += 1
        if self.rows <= SAMPLES:
            self.samples += (f"{key or 'a line'}: {reason}",)
        self._packed.append(self._packer.compress(msgspec.json.encode({"key": key, "reason": reason}) + b"\n"))

    def whole(self) -> bytes:
        return b"".join([*self._packed, self._packer.flush()]) if self.rows else b""


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


async def read_file(objects: Readable, file: ExportFile) -> bytes:
    """Read a data file as it is stored, and check it against the manifest.

    Raises:
        SnapshotBroken: it is missing, or not the file that was exported.
    """
    body = await _present(objects, file.key)
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    if md5 != file.md5:
        raise SnapshotBroken(f"{file.key}: MD5 {md5}, the manifest says {file.md5}: damaged, or another export's")
    return body


async def _present(objects: Readable, key: str) -> bytes:
    body = await objects.get(key)
    if body is None:
        raise SnapshotBroken(f"{key} is missing from the export")
    return body


def map_file(body: bytes, file: ExportFile, mapper: LineMapper) -> MappedFile:
    """Map and filter one export file. Blocks: run it in a thread.

    Args:
        body: the file as stored, gzip.
        file: what the manifest says of it.
        mapper: the migration's.

    Raises:
        SnapshotBroken: the file doesn't hold as many lines as the manifest says, or can't be unpacked.
    """
    try:
        lines = [line for line in igzip.decompress(body).split(b"\n") if line]
    except (OSError, EOFError, igzip.BadGzipFile) as error:
        raise SnapshotBroken(f"{file.key} can't be unpacked: {error}") from error
    if len(lines) != file.items:
        raise SnapshotBroken(f"{file.key} holds {len(lines)} items, the manifest says {file.items}")
    mapped: list[bytes] = []
    refused, inexact = _Listing(), _Listing()
    counts = dict.fromkeys(Fate, 0)
    highest = 0
    for line in lines:
        outcome = mapper.map_line(line)
        counts[outcome.fate] += 1
        highest = max(highest, outcome.standing)
        if outcome.fate is Fate.MAPPED:
            mapped.append(outcome.line)
            if outcome.inexact:
                inexact.add(outcome.key, outcome.inexact)
        elif outcome.fate is Fate.UNMAPPABLE:
            refused.add(outcome.key, outcome.reason)
    text = b"\n".join([*mapped, b""]) if mapped else b""
    total = FileCounts(
        read=len(lines),
        mapped=counts[Fate.MAPPED],
        not_ours=counts[Fate.NOT_OURS],
        excluded=counts[Fate.EXCLUDED],
        unmappable=counts[Fate.UNMAPPABLE],
        highest_generation=highest,
        samples=refused.samples,
        inexact=inexact.rows,
        inexact_samples=inexact.samples,
    )
    return MappedFile(igzip.compress(text, compresslevel=1), total, refused.whole(), inexact.whole())
