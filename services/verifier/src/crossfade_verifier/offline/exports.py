"""Exports of a table in a folder or in S3: found, checked, and read in blocks of whole lines."""

from __future__ import annotations

import asyncio
import atexit
import base64
import hashlib
from collections.abc import Callable, Coroutine, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from crossfade.adapters.s3_export import Export, ExportFile, GzipLines, read_export
from crossfade.adapters.s3_objects import LazyClient, S3Objects
from crossfade.core.values.errors import ConfigError, SnapshotBroken
from crossfade.runtime.aws import control_client
from crossfade.runtime.settings import read_settings
from crossfade_verifier.settings import Settings

SUMMARY: Final = "manifest-summary.json"
READ_BYTES: Final = 32 * 1024
"""Read at once, packed: what it unpacks to stays in the processor's cache while its rows are decoded."""

_T = TypeVar("_T")


class Place(NamedTuple):
    """Where an export lies.

    Attributes:
        where: as the operator gave it.
        bucket: of S3; empty for a folder.
        home: the folder of its manifests, as a path or as a key.
        export: what its manifests say.
    """

    where: str
    bucket: str
    home: str
    export: Export


class _Folder:
    """A folder that an export's own folder was copied to; its manifests name keys of the bucket."""

    def __init__(self, home: Path) -> None:
        self._home = home

    async def get(self, key: str) -> bytes | None:
        path = _within(self._home, key)
        return path.read_bytes() if path.is_file() else None


def _within(home: Path, key: str) -> Path:
    """Return where a key of the bucket lies in an export's folder: `…/AWSDynamoDB/<export>/data/x.json.gz`."""
    _, marker, rest = key.rpartition(f"{home.name}/")
    return home / (rest if marker else f"data/{key.rpartition('/')[2]}" if "/data/" in key else key.rpartition("/")[2])


def find(where: str) -> Place:
    """Find an export and read its manifests.

    Args:
        where: a folder, or s3://bucket/prefix: the export's own, one above it that holds no other, or the path of its
            `manifest-summary.json`.

    Raises:
        ConfigError: there is none, more than one, or one of another kind.
        SnapshotBroken: its manifests are damaged, or don't agree.
        StoreUnavailable: S3 doesn't answer.
    """
    place = _in_s3(where) if where.startswith("s3://") else _in_folder(where)
    if place.export.kind != "FULL_EXPORT":
        raise ConfigError(f"{where} is of the type {place.export.kind}: compare full exports, which show whole tables")
    return place


def _in_folder(where: str) -> Place:
    path = Path(where).expanduser().absolute()
    if path.is_file():
        path = path.parent
    if not path.is_dir():
        raise ConfigError(f"there is no folder {where}: give the folder of an export, with its {SUMMARY}")
    home = Path(_only_one(where, [str(each) for each in sorted(path.rglob(SUMMARY))])).parent
    return Place(where, "", str(home), asyncio.run(read_export(_Folder(home), SUMMARY)))


def _in_s3(where: str) -> Place:
    bucket, _, prefix = where.removeprefix("s3://").partition("/")

    async def found(client: LazyClient) -> Place:
        objects = S3Objects(client, bucket)
        keys = [each for each in await objects.keys(prefix) if each.endswith(f"/{SUMMARY}") or each == SUMMARY]
        key = _only_one(where, keys)
        return Place(where, bucket, key.rpartition("/")[0], await read_export(objects, key))

    return _s3().run(found)


class _S3:
    """The client of this process: one for all files, since it takes seconds to make."""

    def __init__(self) -> None:
        settings = read_settings(Settings)
        self._runner = asyncio.Runner()
        self._client = LazyClient(lambda: control_client(settings, "s3"))
        atexit.register(self.close)

    def run(self, work: Callable[[LazyClient], Coroutine[Any, Any, _T]]) -> _T:
        """Do something with the client, and wait for it."""
        return self._runner.run(work(self._client))

    def close(self) -> None:
        """Close the client."""
        self._runner.run(self._client.close())
        self._runner.close()


_s3 = cache(_S3)


def _only_one(where: str, summaries: list[str]) -> str:
    if not summaries:
        raise ConfigError(
            f"there is no {SUMMARY} in {where}: give the folder `AWSDynamoDB/<export id>` of an export that is complete"
        )
    if len(summaries) > 1:
        listed = ", ".join(each.rpartition("/")[0] for each in summaries[:5])
        raise ConfigError(f"{where} holds {len(summaries)} exports: name one of {listed}")
    return summaries[0]


def blocks(place: Place, file: ExportFile, scratch: Path) -> Iterator[bytes]:
    """Read a data file in blocks of whole lines; memory doesn't grow with the file.

    Args:
        place: of its export.
        file: as the manifest lists it.
        scratch: a folder where a file of S3 may lie while it is read.

    Raises:
        SnapshotBroken: it is missing, damaged, or not the file that was exported.
        StoreUnavailable: S3 doesn't answer.
    """
    if not place.bucket:
        yield from _checked(_within(Path(place.home), file.key), file)
        return
    path = scratch / f"{hashlib.sha256(file.key.encode()).hexdigest()[:24]}.gz"
    try:
        _s3().run(lambda client: S3Objects(client, place.bucket).fetch(file.key, path))
        yield from _checked(path, file)
    finally:
        path.unlink(missing_ok=True)


def local_files(place: Place, scratch: Path) -> list[Path]:
    """Return the data files of an export as files of this machine, each checked against its manifest.

    Raises:
        SnapshotBroken: one is missing or damaged.
        StoreUnavailable: S3 doesn't answer.
    """
    found = []
    for file in place.export.files:
        path = _within(Path(place.home), file.key)
        if place.bucket:
            path = scratch / f"{hashlib.sha256(file.key.encode()).hexdigest()[:24]}.json.gz"
            _s3().run(lambda client, file=file, path=path: S3Objects(client, place.bucket).fetch(file.key, path))  # type: ignore[misc]
        for _ in _checked(path, file):
            pass
        found.append(path)
    return found


def _checked(path: Path, file: ExportFile) -> Iterator[bytes]:
    """Yield the blocks of a file; at its end, say whether it was the one of the manifest."""
    digest = hashlib.md5(usedforsecurity=False)
    yield from unpacked(path, file.key, digest.update)
    found = base64.b64encode(digest.digest()).decode()
    if found != file.md5:
        raise SnapshotBroken(f"{file.key}: MD5 {found}, the manifest says {file.md5}: damaged, or another export's")


def check_lines(file: ExportFile, lines: int) -> None:
    """Check that as many lines were read as the manifest says; whoever reads them has counted them already.

    Raises:
        SnapshotBroken: they were more, or fewer.
    """
    if lines != file.items:
        raise SnapshotBroken(f"{file.key} holds {lines} items, the manifest says {file.items}")


def unpacked(path: Path, name: str, seen: Callable[[bytes], None]) -> Iterator[bytes]:
    """Unpack a gzip file of one or more members, in blocks of whole lines.

    Args:
        path: of the file.
        name: for messages.
        seen: gets what is read, as it is stored.

    Raises:
        SnapshotBroken: it is missing, cut short, or no gzip file.
    """
    lines = GzipLines(name)
    try:
        with path.open("rb") as stream:
            while packed := stream.read(READ_BYTES):
                seen(packed)
                yield from lines.feed(packed)
    except FileNotFoundError as error:
        raise SnapshotBroken(f"{name} is missing from the export: copy it to {path}") from error
    yield from lines.end()
