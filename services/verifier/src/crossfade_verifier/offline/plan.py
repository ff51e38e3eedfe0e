"""What a comparison does, decided before it begins and kept beside its results: a second start goes on by it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from crossfade.adapters.s3_export import Export, ExportFile
from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Side
from crossfade.runtime import lifecycle
from crossfade_verifier.offline.exports import Place, blocks
from crossfade_verifier.protocols import reading_of
from crossfade_verifier.reading.sums import Layout, layout_of

UNIT_ROWS: Final = 200_000
"""Rows of a unit of work."""

SAMPLED_FILES: Final = 4
SAMPLED_LINES: Final = 500
FEW_BUCKETS: Final = 4096
MANY_BUCKETS: Final = 65536
MANY_ROWS: Final = 50_000_000
"""From here on there are many buckets: a differing key has all rows of its bucket compared."""


class Unit(NamedTuple):
    """Consecutive data files of one side.

    Attributes:
        side: theirs.
        number: of the unit, from 0.
        files: of it.
    """

    side: Side
    number: int
    files: tuple[ExportFile, ...]

    @property
    def name(self) -> str:
        """How its results are named."""
        return f"{self.side.value}-{self.number}"


class Plan(NamedTuple):
    """A comparison.

    Attributes:
        places: both exports.
        units: what is read, each once.
        layout: under which both sides are summed.
        buckets: how many.
        complete: whether a row without a role in the target table owns its key.
        folder: of the results so far.
        kept: samples of each kind.
        out: whether every difference is written down.
    """

    places: dict[Side, Place]
    units: list[Unit]
    layout: Layout
    buckets: int
    complete: bool
    folder: Path
    kept: int
    out: bool

    @property
    def rows(self) -> int:
        """Rows of both exports."""
        return sum(place.export.items for place in self.places.values())


def units_of(side: Side, export: Export, rows: int) -> list[Unit]:
    """Return the units of an export."""
    found: list[Unit] = []
    files: list[ExportFile] = []
    for file in export.files:
        files.append(file)
        if sum(each.items for each in files) >= rows:
            found.append(Unit(side, len(found), tuple(files)))
            files = []
    return [*found, Unit(side, len(found), tuple(files))] if files else found


def planned(
    mapping: Mapping,
    places: dict[Side, Place],
    folder: Path,
    *,
    complete: bool,
    kept: int,
    out: bool,
    unit_rows: int = UNIT_ROWS,
) -> Plan:
    """Plan a comparison, or read the plan that the folder has already.

    Raises:
        ConfigError: the folder holds another comparison.
    """
    identity = {
        "mapping": mapping.name,
        "build": lifecycle.code_version(),
        "exports": {
            side.value: [place.where, place.export.arn, place.export.at, [each.md5 for each in place.export.files]]
            for side, place in places.items()
        },
        "options": [complete, kept, out, unit_rows],
    }
    file = folder / "plan.json"
    if file.exists():
        body = msgspec.json.decode(file.read_bytes())
        if body["identity"] != identity:
            raise ConfigError(
                f"{folder} holds an unfinished comparison of other exports, by another build or with other options: "
                "name another folder by --folder"
            )
        layout = Layout.of_json(body["layout"])
    else:
        reading = reading_of(mapping)
        layout = layout_of(reading, {side: _sample(place, folder) for side, place in places.items()})
        write_whole(file, msgspec.json.encode({"identity": identity, "layout": layout.as_json()}))
    units = [unit for side in Side for unit in units_of(side, places[side].export, unit_rows)]
    many = max(place.export.items for place in places.values()) >= MANY_ROWS
    buckets = MANY_BUCKETS if many else FEW_BUCKETS
    return Plan(places, units, layout, buckets, complete, folder, kept, out)


def _sample(place: Place, scratch: Path) -> Iterator[bytes]:
    files = [each for each in place.export.files if each.items]
    for file in files[:: max(1, len(files) // SAMPLED_FILES)][:SAMPLED_FILES]:
        lines = (line for block in blocks(place, file, scratch) for line in block.splitlines())
        yield from islice(lines, SAMPLED_LINES)


def write_whole(path: Path, body: bytes) -> None:
    """Write a file that is there whole, or not at all."""
    beside = path.with_suffix(path.suffix + ".tmp")
    beside.write_bytes(body)
    os.replace(beside, path)


def default_folder(mapping: Mapping, source: str, target: str) -> Path:
    """Return the folder of a comparison for which none was named: the same one when it is started again."""
    name: Any = hashlib.sha256(msgspec.json.encode([mapping.name, source, target, os.getuid()])).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"crossfade-offline-{name}"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder: what is in it are rows of customers, and one process at a time works on it.

    Raises:
        ConfigError: it is somebody else's, others may read it, or another process uses it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(f"{folder} must be a folder of your own that nobody else may open (chmod 700)")
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"{folder} is in use by another comparison: wait for it, or name another one") from error
        yield
