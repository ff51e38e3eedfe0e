"""CPU time of comparing two exports, a pair of rows, beside DuckDB's sums over the same files.

    python benchmarks/bench_offline.py [--pairs 200000] [--rounds 3] [--workers 1] [--json]

Two exports of engagement wallets of some 500 bytes, with ids that don't repeat, so that they pack as rows do. *offline*
is the whole comparison (`compare_exports`): manifests, unpacking, MD5, rows, sums. *one wrong* has a wrong row in each
of a hundred buckets, *respelled* has its sets in another order on one side, so that every row is joined and read value
by value. *duckdb sums* is what DuckDB needs for less: a hash of each whole line by bucket, of two exports that are the
same bytes, with neither roles nor versions nor a mapping; *own sums* does that with isal and xxh3. CPU time is of all
processes and threads, of the best round; memory is the peak of each run's process. Compare within one run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import xxhash
from apply_records import IDENTITY, wallet
from isal import igzip

from crossfade.adapters.clock import SYSTEM
from crossfade.core.mapping.rules import RuleMapping
from crossfade.core.values.shape import Side
from crossfade_replicator.tuning import tune_garbage_collection
from crossfade_verifier.offline.comparing import compare_exports
from engagement_migration import MAPPING

PER_FILE = 50_000
WRONG = 100
MAPPINGS = {"identity": IDENTITY, "engagement": MAPPING}


def row(number: int, side: Side, mapping: RuleMapping) -> dict[str, Any]:
    """A wallet as the protocol leaves it in one of the tables."""
    made = wallet(number)
    ids = [
        b64encode(hashlib.md5(b"%d %d" % (number, each), usedforsecurity=False).digest()).decode() for each in range(3)
    ]
    made["cf_recent"] = {"BS": ids}
    made["cf_events"]["L"][0]["M"]["txn"] = {"B": ids[0]}
    if side is Side.SOURCE:
        return made
    made |= {"cf_role": {"S": "S"}, "cf_gen": {"N": "0"}}
    if mapping is MAPPING:
        made["points"] = made.pop("balance")
        del made["wallet_type"]
    return dict(sorted(made.items()))


def write(folder: Path, side: Side, mapping: RuleMapping, pairs: int, kind: str) -> None:
    (folder / "data").mkdir(parents=True)
    files = []
    for first in range(0, pairs, PER_FILE):
        lines = []
        for number in range(first, min(first + PER_FILE, pairs)):
            made = row(number, Side.SOURCE if kind == "same" else side, mapping)
            if side is Side.TARGET and kind == "respelled":
                made["badges"] = {"SS": made["badges"]["SS"][::-1]}
            if side is Side.TARGET and kind == "one wrong" and number % (pairs // WRONG) == 0:
                made["tier"] = {"S": "lead"}
            lines.append(msgspec.json.encode({"Item": made}))
        body = igzip.compress(b"\n".join([*lines, b""]), compresslevel=2)
        name = f"data/{first}.json.gz"
        (folder / name).write_bytes(body)
        md5 = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        files.append({"itemCount": len(lines), "md5Checksum": md5, "dataFileS3Key": f"{folder.name}/{name}"})
    (folder / "manifest-files.json").write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in files))
    summary = {
        "itemCount": pairs,
        "manifestFilesS3Key": f"{folder.name}/manifest-files.json",
        "exportTime": "2026-11-28T18:00:00Z",
        "tableArn": f"arn:aws:dynamodb:us-east-1:0:table/{mapping.shape(side).table}",
    }
    (folder / "manifest-summary.json").write_bytes(msgspec.json.encode(summary))


# ---- what is measured, each in a process of its own ----------------------------------------------


def offline(folder: Path, mapping: str, workers: int) -> None:
    tune_garbage_collection()
    given: Any = MAPPINGS[mapping] if workers == 1 else f"bench_offline:{mapping.upper()}"
    report = compare_exports(
        given, folder / "source", folder / "target", clock=SYSTEM, workers=workers, folder=folder / "work"
    )
    expected = {"one wrong": WRONG}.get(folder.name, 0)
    assert report.differences["diverged"].count == expected, report.reason
    assert report.clean is not bool(expected), report.reason


def duckdb_sums(folder: Path) -> None:
    import duckdb

    with duckdb.connect() as db:
        db.execute("SET threads=2; SET memory_limit='1GB'")
        sums = """SELECT (hash(j->>'$.Item.pk.S', j->>'$.Item.sk.S') % 1024)::INT b, sum(hash(j::VARCHAR)::HUGEINT) s,
                  count(*) c FROM read_ndjson_objects('{}/data/*.json.gz') t(j) GROUP BY 1"""
        one, other = (sums.format(folder / side.value) for side in Side)
        found = db.execute(
            f"SELECT count(*) FILTER (a.s<>b.s OR a.c<>b.c) FROM ({one}) a FULL JOIN ({other}) b USING (b)"  # noqa: S608
        ).fetchone()
    assert found == (0,), found


class Text(msgspec.Struct, gc=False):
    S: str


class Key(msgspec.Struct, gc=False):
    pk: Text
    sk: Text


class Line(msgspec.Struct, gc=False):
    Item: Key


def own_sums(folder: Path) -> None:
    decode = msgspec.json.Decoder(Line).decode
    found = []
    for side in Side:
        sums, counts = [0] * 1024, [0] * 1024
        for file in sorted((folder / side.value / "data").iterdir()):
            with igzip.open(file, "rb") as lines:
                for line in lines:
                    item = decode(line).Item
                    bucket = xxhash.xxh3_64_intdigest(f"{item.pk.S}|{item.sk.S}".encode()) & 1023
                    sums[bucket] += xxhash.xxh3_128_intdigest(line)
                    counts[bucket] += 1
        found.append((sums, counts))
    assert found[0] == found[1]


RUNS: dict[str, tuple[str, Callable[..., None]]] = {
    "offline": ("equal", offline),
    "offline, one wrong": ("one wrong", offline),
    "offline, respelled": ("respelled", offline),
    "duckdb sums": ("same", duckdb_sums),
    "own sums": ("same", own_sums),
}


def spent(work: Callable[[], None], pairs: int) -> tuple[float, int]:
    """Return µs of CPU a pair, all threads and children included, and the peak memory of this process in MB."""
    started = _cpu_s()
    work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return (_cpu_s() - started) / pairs * 1e6, peak


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measured(folder: Path, mapping: str, pairs: int, rounds: int, workers: int) -> dict[str, dict[str, float]]:
    for kind in {kind for kind, _ in RUNS.values()}:
        for side in Side:
            write(folder / kind / side.value, side, MAPPINGS[mapping], pairs, kind)
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in RUNS}
    for _ in range(rounds):
        for name, (kind, _) in RUNS.items():
            asked = [sys.executable, __file__, "--run", name, "--mapping", mapping, "--folder", str(folder / kind)]
            asked += ["--pairs", str(pairs), "--workers", str(workers)]
            found[name].append(tuple(json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout)))
    return {
        name: {"us": min(us for us, _ in each), "peak_mb": max(peak for _, peak in each)}
        for name, each in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    for hidden in ("--run", "--mapping", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.run:
        _, work = RUNS[wanted.run]
        folder = Path(wanted.folder)
        more = (wanted.mapping, wanted.workers) if work is offline else ()
        print(json.dumps(spent(lambda: work(folder, *more), wanted.pairs)))
        return
    found = {}
    for mapping in MAPPINGS:
        with tempfile.TemporaryDirectory() as scratch:
            started = time.monotonic()
            found[mapping] = measured(Path(scratch), mapping, wanted.pairs, wanted.rounds, wanted.workers)
            print(f"{mapping}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    if wanted.json:
        print(json.dumps(found))
        return
    for mapping, runs in found.items():
        print(f"{mapping}, {wanted.pairs:,} pairs")
        for name, each in runs.items():
            print(
                f"  {name:20} {each['us']:7.2f} µs a pair  {1e6 / each['us']:9,.0f} pairs a CPU-second  "
                f"{each['peak_mb']:5.0f} MB"
            )


ENGAGEMENT = MAPPING

if __name__ == "__main__":
    main()
