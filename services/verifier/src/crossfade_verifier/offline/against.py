"""One export against a file of keys and values that the operator brings: parquet, CSV or JSON lines, joined by DuckDB.

DuckDB matches rows by key, in as much memory as it is given, and each pair is judged here, by the verifier's own
reading of values. The verifier's image leaves DuckDB out: the extra `crossfade-verifier[file]` has it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from crossfade.contracts.offline import OfflineReport, OfflineSide
from crossfade.contracts.parity import BucketReport, DifferenceReport
from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.declared import Attributes
from crossfade.core.values.errors import ConfigError, PoisonRecord, SnapshotBroken
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade_verifier.offline.exports import Place, find, local_files
from crossfade_verifier.offline.joining import Joined
from crossfade_verifier.offline.plan import held
from crossfade_verifier.offline.values import is_plainly
from crossfade_verifier.protocols import reading_of
from crossfade_verifier.reading.pages import belonging
from crossfade_verifier.reading.plain import PlainReading
from crossfade_verifier.reading.typed import KeyValue, TypedSide, decode_image

MEMORY: Final = "1GB"
ROWS_AT_ONCE: Final = 5000

_WHOLE: Final = "whole row"
"""Column of a file whose lines are whole rows."""

_READERS: Final = {
    ".parquet": "SELECT * FROM read_parquet($file)",
    ".csv": "SELECT * FROM read_csv($file, header=true, all_varchar=true)",
    ".jsonl": 'SELECT json AS "whole row" FROM read_ndjson_objects($file)',
    ".ndjson": 'SELECT json AS "whole row" FROM read_ndjson_objects($file)',
}

_CURES: Final = {
    "missing": "the file has the key, the table has not, or it is deleted there",
    "extra": "the table has the key, the file has not; --subset, if the file is meant to have only some",
    "diverged": "the attributes that the file names have other values in the table",
    "unreadable": "correct the row that `cause` names",
}


def compare_file(
    mapping: Mapping,
    side: Side,
    export: str | Path,
    file: Path,
    *,
    clock: Clock,
    folder: Path,
    out: Path | None = None,
    samples: int = 10,
    subset: bool = False,
) -> OfflineReport:
    """Compare an export with a file. The file names attributes as the side's table does, and has its key.

    Args:
        mapping: the migration's.
        side: whose export it is.
        export: see `crossfade_verifier.offline.exports.find`.
        file: .parquet, .csv, .jsonl or .ndjson; attributes that it doesn't name are not compared.
        clock: of the process.
        folder: for what DuckDB can't keep in memory, and for files of S3.
        out: file that gets every difference, a JSON object a line.
        samples: keys described of each class.
        subset: whether the file has only some of the keys.

    Raises:
        ConfigError: DuckDB isn't there, or the file has another form, no key, or a key twice.
        SnapshotBroken: the export is damaged.
    """
    started_s = clock.monotonic()
    place = find(str(export))
    if place.export.table not in ("", mapping.shape(side).table):
        raise ConfigError(f"{export} is an export of table {place.export.table}, not of {mapping.shape(side).table}")
    with held(folder):
        judged = _Judged(mapping, side, samples, subset=subset, text=file.suffix == ".csv")
        beside = folder / "differences"
        with beside.open("wb") as stream:
            for item, given in _joined(place, file, mapping.shape(side).key, folder):
                judged.judge(item, given, stream)
        if judged.rows != place.export.items:
            raise SnapshotBroken(f"{export}: {judged.rows} rows were read, its manifest says {place.export.items}")
        if out is not None:
            shutil.copyfile(beside, out)
    shutil.rmtree(folder)
    return judged.report(place, file, out, clock.monotonic() - started_s)


def _joined(
    place: Place, file: Path, key: tuple[str, ...], folder: Path
) -> Iterator[tuple[bytes | None, dict[str, Any] | None]]:
    """Yield (row of the export, row of the file) by key; None where one of them has none."""
    try:
        import duckdb
    except ImportError as error:
        raise ConfigError(
            "comparing with a file needs DuckDB, which isn't installed, and isn't in the verifier's image (70 MB): "
            "pip install 'crossfade-verifier[file]' where you run the comparison"
        ) from error
    reader = _READERS.get(file.suffix)
    if reader is None or not file.is_file():
        raise ConfigError(f"{file} must be an existing file, one of *{', *'.join(_READERS)}")
    options: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "temp_directory": str(folder),
        "autoinstall_known_extensions": False,
    }
    with duckdb.connect(config=options) as db:
        try:
            given = db.execute(f"SELECT * FROM ({reader}) LIMIT 0", {"file": str(file)})  # noqa: S608  # of _READERS
            names = [each[0] for each in given.description or []]
            whole = names == [_WHOLE]
            if not whole and (lacking := [name for name in key if name not in names]):
                raise ConfigError(f"{file} has no column {', '.join(lacking)}: its columns are {', '.join(names)}")
            ours = [f"json->'Item'->{_text(name)}" for name in key]
            ours = [f"coalesce({each}->>'S', {each}->>'N', {each}->>'B')" for each in ours]
            theirs = [f'"{_WHOLE}"->>{_text(name)}' if whole else f"CAST({_name(name)} AS VARCHAR)" for name in key]
            keys = [f"k{number}" for number in range(len(key))]
            exported = ", ".join(f"{each} AS {name}" for each, name in zip(ours, keys, strict=True))
            brought = ", ".join(f"{each} AS {name}" for each, name in zip(theirs, keys, strict=True))
            brought = f"SELECT *, {brought} FROM ({reader})"  # noqa: S608  # names are quoted
            _refuse_twice(db, brought, keys, file)
            found = db.execute(
                f"SELECT e.item, g.* FROM (SELECT json->'Item' AS item, {exported} FROM read_ndjson_objects($files)) e "  # noqa: S608
                f"FULL OUTER JOIN ({brought}) g ON {' AND '.join(f'e.{each} = g.{each}' for each in keys)}",
                {"file": str(file), "files": [str(each) for each in local_files(place, folder)]},
            )
            while rows := found.fetchmany(ROWS_AT_ONCE):
                for item, *values in rows:
                    row = dict(zip(names, values, strict=False)) if values[-1] is not None else None
                    if whole and row is not None:
                        row = json.loads(row[_WHOLE], parse_float=Decimal)
                    yield None if item is None else item.encode(), row
        except duckdb.Error as error:
            raise ConfigError(f"{file} can't be compared: {error}") from error


def _refuse_twice(db: Any, brought: str, keys: list[str], file: Path) -> None:
    listed = ", ".join(keys)
    found = db.execute(
        f"SELECT {listed} FROM ({brought}) GROUP BY {listed} HAVING count(*) > 1 OR k0 IS NULL LIMIT 1",  # noqa: S608
        {"file": str(file)},
    ).fetchone()
    if found is not None:
        raise ConfigError(f"{file} has the key {', '.join(map(str, found))} twice, or has no key in a row")


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


class _Judged:
    """What became of the pairs."""

    def __init__(self, mapping: Mapping, side: Side, samples: int, *, subset: bool, text: bool) -> None:
        self._side, self._subset, self._text = side, subset, text
        self._reading, self._typed = reading_of(mapping), TypedSide(mapping.declared, side)
        self._belongs, self._key = belonging(mapping.declared), mapping.shape(side).key
        self._joined = Joined(samples)
        self.rows = self._given = self._belonging = 0

    def judge(self, item: bytes | None, given: dict[str, Any] | None, out: Any) -> None:
        """Judge one key."""
        self._given += given is not None
        if item is None:
            values = [(given or {}).get(name) for name in self._key]
            named = [{"S" if isinstance(value, str) else "N": str(value)} for value in values]
            self._call("missing", {"key": msgspec.json.encode(named).decode()}, out)
            return
        self.rows += 1
        image = decode_image(item)
        parts = self._typed.key_of(image)
        key = msgspec.json.encode(parts)
        seen = self._reading.seen(self._side, image)
        is_ours = self._is_ours(parts, key, image)
        self._belonging += is_ours
        shown: dict[str, Any] = {"key": key.decode()}
        if given is None:
            if is_ours and not seen.deleted and not self._subset:
                self._call("extra", shown, out)
        elif seen.unreadable:
            self._call("unreadable", shown | {"cause": seen.unreadable}, out)
        elif seen.deleted:
            self._call("missing", shown, out)
        else:
            self._compare(image, given, shown, out)

    def _is_ours(self, parts: tuple[KeyValue, ...], key: bytes, image: Attributes) -> bool:
        if not isinstance(self._reading, PlainReading):
            return self._belongs(parts, key)
        try:
            return self._reading.keyed(self._side, image)[1]
        except PoisonRecord:
            return False  # it has no way back

    def _compare(self, image: Any, given: dict[str, Any], shown: dict[str, Any], out: Any) -> None:
        names = [name for name in given if name not in self._key]
        differs = [name for name in names if not is_plainly(image.get(name), given[name], text=self._text)]
        if differs:
            self._call("diverged", shown | {"differs": differs}, out)
        else:
            self._joined.verified += 1

    def _call(self, name: str, shown: dict[str, Any], out: Any) -> None:
        self._joined.call(name, shown)
        out.write(msgspec.json.encode({"class": name, **shown}) + b"\n")

    def report(self, place: Place, file: Path, out: Path | None, took_s: float) -> OfflineReport:
        """Return the whole answer."""
        counts, verified = self._joined.counts, self._joined.verified
        told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        reason = (
            f"{told}; {verified} keys are as the file says" if told else f"all {verified} keys are as the file says"
        )
        export = OfflineSide(place.where, place.export.table, place.export.at, self.rows, self._belonging)
        return OfflineReport(
            verdict="drift" if told else "clean",
            reason=reason,
            clean=not told,
            sides={self._side.value: export, "file": OfflineSide(str(file), "", "", self._given, self._given)},
            buckets=BucketReport(0, 0),
            compared=verified + counts.get("diverged", 0),
            verified=verified,
            differences={
                name: DifferenceReport(counts.get(name, 0), self._joined.samples.get(name, []), cure)
                for name, cure in _CURES.items()
            },
            not_ours=DifferenceReport(0),
            lines=DifferenceReport(0),
            warnings=["a file shows the moment at which it was made; what was written since then differs"],
            out=None if out is None else str(out),
            took_s=round(took_s, 3),
            cpu_s=0.0,
        )
