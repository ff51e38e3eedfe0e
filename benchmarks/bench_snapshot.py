"""CPU time and memory of mapping an export file to an import file, a line.

    python benchmarks/bench_snapshot.py [--lines 400000] [--rounds 3] [--kind KIND] [--beside PATH] [--json]

*ours* is what the controller does with a file (`map_file`): read in pieces, unpacked, mapped, packed, MD5. *line by
line* is the same with the mapping itself for every line, without the quick way. *whole* is how it was before ADR 0047:
the whole file in memory, unpacked, mapped line by line. `--beside` adds a module of the same task with a function
`map_stream(read, write, mapping)`, such as a prototype. *identity* is an open mapping that changes nothing, as tables
of the plain protocol have; *shared* a file of which nine rows in ten are somebody else's. CPU time is the best of the
rounds; memory is how much the peak of each run's process is above its start. Compare within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
from apply_records import wallet
from isal import igzip

from crossfade.adapters.s3_export import ExportFile, FilePlaces, map_file
from crossfade.core.mapping.rules import RuleMapping, Table, key_prefixes
from crossfade.core.mapping.snapshot import Fate, LineMapper
from crossfade_replicator.tuning import tune_garbage_collection
from engagement_migration import MAPPING

IDENTITY_OPEN = RuleMapping(
    "identity",
    source=Table("wallet", key=("pk", "sk")),
    target=Table("engagement", key=("pk", "sk")),
    belongs=key_prefixes("USER#", "POINTS#"),
    rules=(),
    is_open=True,
)

OTHERS = 10
"""One row in so many of a shared table is ours."""


def row(number: int, mapping: RuleMapping) -> dict[str, Any]:
    """A wallet that no one has stamped, of some 400 bytes."""
    made = {name: value for name, value in wallet(number).items() if not name.startswith("cf_")}
    if mapping is MAPPING:
        made["created_at"] = {"S": "2024-03-01T10:20:30.123Z"}
    salt = hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()
    made["preferences"] = {"M": {"theme": {"S": "dark"}, "volume": {"N": str(number % 100)}, "seen": {"S": salt}}}
    return made


def write(folder: Path, kind: str, lines: int) -> None:
    mapping = IDENTITY_OPEN if kind == "identity" else MAPPING
    made = []
    for number in range(lines):
        each = row(number, mapping)
        if kind == "shared" and number % OTHERS:
            each["sk"] = {"S": f"LEDGER#{number}"}
        made.append(msgspec.json.encode({"Item": each}))
    (folder / f"{kind}.json.gz").write_bytes(igzip.compress(b"\n".join([*made, b""]), compresslevel=2))


class Files:
    """Files of this machine as a bucket."""

    def __init__(self) -> None:
        self.written = 0

    async def read(self, key: str) -> AsyncIterator[bytes]:
        with Path(key).open("rb") as file:  # noqa: ASYNC230  # nothing else is to go on
            while piece := file.read(1024 * 1024):
                yield piece

    async def write(self, _key: str, pieces: AsyncIterator[bytes]) -> None:
        async for piece in pieces:
            self.written += len(piece)


class ByTheMapping(LineMapper):
    """Without the quick way."""

    def __init__(self, mapping: RuleMapping) -> None:
        super().__init__(mapping)
        self._quick = None


def ours(path: Path, mapping: RuleMapping, mapper: type[LineMapper] = LineMapper) -> tuple[int, int]:
    lines = int(path.with_suffix("").with_suffix(".json.lines").read_text())
    with path.open("rb") as file:
        md5 = b64encode(hashlib.file_digest(file, "md5").digest()).decode()
    files: Any = Files()
    given = mapper(mapping)
    started_s = time.process_time()
    counts = asyncio.run(map_file(files, ExportFile(str(path), lines, md5), given, FilePlaces("a", "b", "c")))
    told(started_s, lines)
    return counts.mapped, files.written


def line_by_line(path: Path, mapping: RuleMapping) -> tuple[int, int]:
    return ours(path, mapping, ByTheMapping)


def whole(path: Path, mapping: RuleMapping) -> tuple[int, int]:
    lines = int(path.with_suffix("").with_suffix(".json.lines").read_text())
    mapper = ByTheMapping(mapping)
    started_s = time.process_time()
    body = path.read_bytes()
    hashlib.md5(body, usedforsecurity=False).digest()
    mapped = []
    for line in [line for line in igzip.decompress(body).split(b"\n") if line]:
        outcome = mapper.map_line(line)
        if outcome.fate is Fate.MAPPED:
            mapped.append(outcome.line)
    packed = igzip.compress(b"\n".join([*mapped, b""]), compresslevel=1)
    told(started_s, lines)
    return len(mapped), len(packed)


def beside(path: Path, mapping: RuleMapping, module: Path) -> tuple[int, int]:
    spec = importlib.util.spec_from_file_location("beside", module)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    started_s = time.process_time()
    with path.open("rb") as file:
        _, mapped, _, _, size, _ = made.map_stream(file.read, len, mapping)
    told(started_s, int(path.with_suffix("").with_suffix(".json.lines").read_text()))
    return mapped, size


def peak_mb() -> float:
    """Return the peak of this process's memory; what `getrusage` tells is its parent's where that had more."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def told(started_s: float, lines: int) -> None:
    print(json.dumps({"us": (time.process_time() - started_s) / lines * 1e6}))


RUNS: dict[str, Callable[..., tuple[int, int]]] = {"ours": ours, "line by line": line_by_line, "whole": whole}
KINDS = ("engagement", "identity", "shared")


def run(path: Path, name: str, module: str) -> None:
    """One measurement, in a process of its own."""
    tune_garbage_collection()
    mapping = IDENTITY_OPEN if path.name.startswith("identity") else MAPPING
    before = peak_mb()
    mapped, _ = beside(path, mapping, Path(module)) if name == "beside" else RUNS[name](path, mapping)
    after = peak_mb()
    lines = int(path.with_suffix("").with_suffix(".json.lines").read_text())
    assert mapped == (lines // OTHERS if path.name.startswith("shared") else lines), mapped
    print(json.dumps({"memory_mb": after - before}))


def measure(folder: Path, name: str, kind: str, module: str, rounds: int) -> dict[str, Any]:
    path = folder / f"{kind}.json.gz"
    best: dict[str, float] = {}
    for _ in range(rounds):
        command = [sys.executable, __file__, "--run", name, "--path", str(path), "--beside", module]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        for each in said:
            for what, value in json.loads(each).items():
                best[what] = min(value, best.get(what, value))
    return {"kind": kind, "name": name, **best, "per_cpu_s": 1e6 / best["us"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", default="")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only these; can be repeated")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        run(asked.path, asked.run, asked.beside)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = asked.kind or KINDS
        for kind in kinds:
            write(folder, kind, asked.lines)
            (folder / f"{kind}.json.lines").write_text(str(asked.lines))
        for kind in kinds:
            names = [*RUNS, *(["beside"] if asked.beside and kind == "engagement" else [])]
            for each in names:
                found = measure(folder, each, kind, asked.beside, asked.rounds)
                if asked.json:
                    print(json.dumps(found))
                else:
                    size_mb = (folder / f"{kind}.json.gz").stat().st_size / 2**20
                    print(
                        f"{kind} ({size_mb:.0f} MB), {each}: {found['us']:.2f} us a line, "
                        f"{found['per_cpu_s']:,.0f} lines a CPU second, {found['memory_mb']:.0f} MB above the start"
                    )


if __name__ == "__main__":
    main()
