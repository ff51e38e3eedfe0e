"""The command: python -m crossfade_verifier.offline --source EXPORT --target EXPORT."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from crossfade.adapters.clock import SYSTEM
from crossfade.contracts.offline import OfflineReport
from crossfade.core.values.errors import ConfigError, CrossfadeError
from crossfade.core.values.shape import Side
from crossfade.runtime.settings import read_settings
from crossfade_verifier.offline.against import compare_file
from crossfade_verifier.offline.comparing import Progress, compare_exports
from crossfade_verifier.offline.crew import Stopped, stoppable
from crossfade_verifier.offline.plan import default_folder
from crossfade_verifier.settings import Settings

CLEAN: Final = 0
ERROR: Final = 1
USAGE: Final = 2
DIFFERENT: Final = 4

ABOUT: Final = """\
Compares two exports of the same moment, one of each table, without reading the tables: it costs no read unit.
Both are summed up by bucket; only rows of buckets whose sums differ are compared one by one.
"""

TEACHES: Final = """\
1. export both tables as of one moment (both need point-in-time recovery; exports use no read capacity):
     AT=$(date -u -d '-10 minutes' +%Y-%m-%dT%H:%M:00Z)
     for arn in SOURCE_TABLE_ARN TARGET_TABLE_ARN; do
       aws dynamodb export-table-to-point-in-time --table-arn $arn --export-time $AT --s3-bucket BUCKET
     done
2. compare them, in S3 or copied to folders (aws s3 cp --recursive):
     python -m crossfade_verifier.offline --workers 8 --out differences.jsonl \\
       --source s3://BUCKET/AWSDynamoDB/0123-source --target s3://BUCKET/AWSDynamoDB/0123-target
   The mapping is CROSSFADE_MIGRATION_MAPPING, region and endpoint are the verifier's settings, too.
3. read what differs:
     jq -r '[.class, .key, (.differs // [] | join(","))] | @tsv' differences.jsonl

One export can also be compared with what you know: a file with the table's key attributes and any others, as columns or
as JSON lines. It needs DuckDB (pip install 'crossfade-verifier[file]'), which the verifier's image leaves out:
     python -m crossfade_verifier.offline --target EXPORT --against known.parquet --out differences.jsonl

A stopped run (Ctrl-C, SIGTERM, a crash) goes on where it was when the same command is started again. Its folder holds
rows of both tables while buckets differ: --folder puts it where there is room, for both exports in the worst case.

exit codes:
  0  clean: every key is equal
  1  an error, or stopped; start the same command again
  2  wrong usage, settings or mapping; exports of other tables, kinds or moments
  4  something differs
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog="python -m crossfade_verifier.offline",
        description=ABOUT,
        epilog=TEACHES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for side in ("source", "target"):
        found.add_argument(f"--{side}", metavar="EXPORT", help=f"folder or s3://… of the {side} table's export")
    found.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="compare one export with a file of keys and values (.parquet, .csv, .jsonl), by the table's own names",
    )
    found.add_argument("--subset", action="store_true", help="the file has only some of the keys")
    found.add_argument(
        "--complete",
        action="store_true",
        help="the target table owns what doesn't tell otherwise: the migration is complete, or plain and cut over",
    )
    found.add_argument("--out", type=Path, metavar="FILE", help="write every difference to it, a JSON object a line")
    found.add_argument("--json", action="store_true", help="print the report as JSON; 64-bit numbers are strings")
    found.add_argument("--samples", type=int, default=10, metavar="N", help="keys shown of each class (default: 10)")
    found.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: one a core)"
    )
    found.add_argument("--folder", type=Path, help="where unfinished work is kept (default: below $TMPDIR)")
    found.add_argument(
        "--other-moments", action="store_true", help="compare exports of different moments; changes in between differ"
    )
    found.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    wanted = parser().parse_args(arguments)
    if wanted.workers < 1 or wanted.samples < 0:
        parser().error("--workers must be at least 1, and --samples at least 0")
    given = {side: getattr(wanted, side.value) for side in Side if getattr(wanted, side.value)}
    if len(given) != (1 if wanted.against else 2):
        parser().error("give --source and --target, or one of them and --against FILE")
    try:
        report = with_file(wanted, given) if wanted.against else of_two(wanted)
    except CrossfadeError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        if isinstance(error, Stopped):
            sys.stderr.write("start the same command again: it goes on from here\n")
        code = USAGE if isinstance(error, ConfigError) else ERROR
        if wanted.json:
            sys.stdout.write(json.dumps({"error": str(error), "code": error.code, "exit_code": code}) + "\n")
        return code
    sys.stdout.write((report.to_text() if wanted.json else described(report)) + "\n")
    return CLEAN if report.clean else DIFFERENT


def of_two(wanted: argparse.Namespace) -> OfflineReport:
    """Compare two exports; errors as of `compare_exports`."""
    with stoppable() as stop:
        return compare_exports(
            read_settings(Settings).migration_mapping,
            wanted.source,
            wanted.target,
            complete=wanted.complete,
            workers=wanted.workers,
            folder=wanted.folder,
            out=wanted.out,
            samples=wanted.samples,
            other_moments=wanted.other_moments,
            clock=SYSTEM,
            progress=told(stop, quiet=wanted.quiet),
        )


def with_file(wanted: argparse.Namespace, given: dict[Side, str]) -> OfflineReport:
    """Compare one export with a file; errors as of `compare_file`."""
    mapping = read_settings(Settings).mapping()
    [(side, export)] = given.items()
    folder = wanted.folder or default_folder(mapping, export, str(wanted.against))
    return compare_file(
        mapping,
        side,
        export,
        wanted.against,
        clock=SYSTEM,
        folder=folder,
        out=wanted.out,
        samples=wanted.samples,
        subset=wanted.subset,
    )


def told(stop: threading.Event, *, quiet: bool) -> Callable[[Progress], None]:
    """Return what shows progress on stderr every two seconds, in place on a terminal, and stops when asked."""
    last_s = SYSTEM.monotonic()
    end = "\r" if sys.stderr.isatty() else "\n"

    def tell(progress: Progress) -> None:
        nonlocal last_s
        if stop.is_set():
            raise Stopped(f"stopped while {progress.stage}, at {progress.rows:,} of {progress.of:,} rows")
        if quiet or SYSTEM.monotonic() - last_s < 2:
            return
        last_s = SYSTEM.monotonic()
        eta = "unknown" if progress.eta_s is None else f"{progress.eta_s:,.0f} s"
        share = 100 * progress.rows / max(1, progress.of)
        sys.stderr.write(
            f"{progress.stage}: {share:.1f} %, {progress.rows:,} of {progress.of:,} rows, "
            f"{progress.rows_per_s:,.0f} rows/s, {eta} left   {end}"
        )
        sys.stderr.flush()

    return tell


def described(report: OfflineReport) -> str:
    """Return the report as text."""
    lines = [f"{report.verdict}: {report.reason}"]
    for name, side in report.sides.items():
        dropped = ", ".join(f"{each} in {count:,}" for each, count in side.dropped.items())
        lines.append(
            f"  {name}: {side.rows:,} rows of table {side.table or '?'} at {side.at or '?'}, {side.belonging:,} belong"
            + (f"; not carried: {dropped}" if dropped else "")
        )
    lines.append(
        f"  buckets: {report.buckets.differing:,} of {report.buckets.count:,} differ; {report.compared:,} keys were "
        f"compared one by one, {report.verified:,} are equal"
    )
    for name, found in {**report.differences, "not ours": report.not_ours, "lines": report.lines}.items():
        if not found.count:
            continue
        lines.append(f"  {found.count:,} {name}: {found.cure}")
        for sample in found.samples:
            told = ", ".join(sample.get("differs", ())) or sample.get("cause", "")
            lines.append(f"    {sample.get('key', sample.get('where'))}" + (f"  {told}" if told else ""))
    lines += [f"  note: {each}" for each in report.warnings]
    if report.out:
        lines.append(f"  every difference: {report.out}")
    lines.append(f"  {report.took_s:,.1f} s, {report.cpu_s:,.1f} s of CPU")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
