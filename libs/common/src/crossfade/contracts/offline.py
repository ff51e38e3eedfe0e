"""What two exports of one moment say about both tables: the answer of `python -m crossfade_verifier.offline --json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, TypeAlias

import msgspec

from crossfade.contracts.document import Document
from crossfade.contracts.parity import BucketReport, DifferenceReport

OfflineVerdict: TypeAlias = Literal["clean", "drift", "unsettled"]


class OfflineSide(msgspec.Struct, frozen=True):
    """One export.

    Attributes:
        where: folder or S3 address, as given.
        table: its table, as its manifest says.
        at: the moment that it shows, as its manifest says.
        rows: number of rows in it.
        belonging: number of rows that belong to the migration, including tombstones and stubs.
        valued: number of those that had to be read value by value.
        dropped: attributes that the mapping doesn't carry to the other table, by name, and in how many rows.
    """

    where: str
    table: str
    at: str
    rows: int
    belonging: int
    valued: int = 0
    dropped: Mapping[str, int] = {}


class OfflineReport(Document, frozen=True):
    """The whole answer.

    Attributes:
        verdict: "clean"; "drift" if a difference was called; "unsettled" if all that differ are behind or between the
            tables, which one moment can't tell from what is in flight.
        reason: the verdict explained in one line.
        clean: whether nothing differs.
        sides: both exports, by the name of the side.
        buckets: buckets whose sums differ; all others needed no row compared.
        compared: number of keys that were compared row by row.
        verified: number of keys found equal.
        differences: differences by class; `behind` is what passes call in_flight or stuck.
        not_ours: rows in the target table that don't belong to the migration.
        lines: lines that are no rows: export, cause and beginning of each.
        warnings: what limits the answer.
        out: file with every difference; null if none was asked for.
        took_s: wall time.
        cpu_s: CPU time of all processes.
    """

    NAME: ClassVar[str] = "offline report"

    verdict: OfflineVerdict
    reason: str
    clean: bool
    sides: Mapping[str, OfflineSide]
    buckets: BucketReport
    compared: int
    verified: int
    differences: Mapping[str, DifferenceReport]
    not_ours: DifferenceReport
    lines: DifferenceReport
    warnings: Sequence[str]
    out: str | None
    took_s: float
    cpu_s: float
