"""Exports written as the service writes them: manifests, and data files of gzip members."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.shape import Side
from engagement_migration import MAPPING
from verifier_world import World

AT: Final = "2026-11-28T18:00:00.000Z"


def lines_of(world: World, side: Side) -> list[bytes]:
    """Return the lines of a table, as it stands."""
    return [msgspec.json.encode({"Item": image}) for image in world.tables[side].images.values()]


def write_export(
    folder: Path,
    side: Side,
    lines: Sequence[bytes],
    *,
    mapping: Mapping = MAPPING,
    at: str = AT,
    per_file: int = 50,
    per_member: int | None = None,
    prefix: str = "exports/AWSDynamoDB",
    kind: str = "FULL_EXPORT",
) -> Path:
    """Write an export into a folder that is named as the export is.

    Args:
        folder: the export's own.
        side: whose table it is of.
        lines: of it.
        mapping: names the table.
        at: the moment that it shows.
        per_file: lines of a data file.
        per_member: lines of a gzip member in it; None: all.
        prefix: of its keys in the bucket.
        kind: as the manifest calls it.
    """
    (folder / "data").mkdir(parents=True)
    files = []
    for number, part in enumerate(_parts(lines, per_file)):
        members = [gzip.compress(_text(each)) for each in _parts(part, per_member or len(part) or 1)]
        body = b"".join(members)
        name = f"data/{number:026}.json.gz"
        (folder / name).write_bytes(body)
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        files.append(
            {
                "itemCount": len(part),
                "md5Checksum": md5,
                "etag": "e",
                "dataFileS3Key": f"{prefix}/{folder.name}/{name}",
            }
        )
    (folder / "manifest-files.json").write_bytes(_text(msgspec.json.encode(each) for each in files))
    summary = {
        "exportArn": f"arn:aws:dynamodb:us-east-1:0:table/t/export/{folder.name}",
        "tableArn": f"arn:aws:dynamodb:us-east-1:0:table/{mapping.shape(side).table}",
        "exportTime": at,
        "itemCount": len(lines),
        "manifestFilesS3Key": f"{prefix}/{folder.name}/manifest-files.json",
        "outputFormat": "DYNAMODB_JSON",
        "exportType": kind,
    }
    (folder / "manifest-summary.json").write_bytes(msgspec.json.encode(summary))
    return folder


def write_both(folder: Path, world: World) -> dict[Side, Path]:
    """Write exports of both tables of a world."""
    return {side: write_export(folder / f"01-{side.value}", side, lines_of(world, side)) for side in Side}


def _parts(lines: Sequence[bytes], size: int) -> list[Sequence[bytes]]:
    return [lines[first : first + size] for first in range(0, len(lines), size)] or [[]]


def _text(lines: Iterable[bytes]) -> bytes:
    return b"".join(each + b"\n" for each in lines)
