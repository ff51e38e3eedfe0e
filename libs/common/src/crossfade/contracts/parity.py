"""What the verifier says of both tables: GET /parity, read by the controller, by on-call and by metrics.

Versions and digests are text: JSON readers round 64-bit numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

from crossfade.contracts.document import Document

Verdict: TypeAlias = Literal["clean", "drift", "unsettled", "waiting"]


class PassReport(msgspec.Struct, frozen=True):
    """One pass over both tables.

    Attributes:
        id: its number.
        state: "waiting", "running", "done" or "failed".
        asked: whether somebody asked for it.
        clean: whether it found no difference.
        with_repairs: whether keys were repaired meanwhile, so that it doesn't count as clean.
        repairs: how many.
        age_s: since it ended; None while it runs.
        started_age_s: since it began; None before that.
        took_s: from its beginning to its end, or till now.
        verified: keys found equal.
        differences: keys by class.
        why: what ended it, if it failed.
        stage, scanned, following, percent: how far it is, while it runs.
    """

    id: str
    state: str
    asked: bool
    clean: bool
    with_repairs: bool
    repairs: int
    age_s: float | None
    started_age_s: float | None
    took_s: float | None
    verified: int
    differences: Mapping[str, int]
    why: str
    stage: str | None = None
    scanned: Mapping[str, int] | None = None
    following: int | None = None
    percent: float | None = None


class DifferenceReport(msgspec.Struct, frozen=True):
    """Keys of one class, and samples of them."""

    count: int
    samples: Sequence[Any] = ()


class SideReport(msgspec.Struct, frozen=True):
    """One table, by the last pass; None before there was one.

    Attributes:
        items: live items that belong to the migration.
        digest: sum of their digests, hexadecimal.
        scanned: rows read.
        belonging: rows that belong to the migration, tombstones and stubs included.
    """

    items: int | None = None
    digest: str | None = None
    scanned: int | None = None
    belonging: int | None = None


class BucketReport(msgspec.Struct, frozen=True):
    """Buckets whose digests differ: how many, and the first numbers."""

    count: int
    differing: int
    numbers: Sequence[int] = ()


class LagReport(msgspec.Struct, frozen=True):
    """How late the verifier itself sees the changes of a table.

    Attributes:
        table_to_stream_s: age of the oldest record that is not in the stream yet; None where that is unknown.
        table_to_stream_unknown: why.
        stream_read_s: how late the stream is read; None where it is not.
        stream_read_unknown: why.
        records_read: since the start.
        records_unreadable: of them.
        crossing: measured times from one table to the other.
    """

    table_to_stream_s: float | None
    table_to_stream_unknown: str | None
    stream_read_s: float | None
    stream_read_unknown: str | None
    records_read: int
    records_unreadable: int
    crossing: Mapping[str, Any]


class HandoverReport(msgspec.Struct, frozen=True):
    """Keys that are standby on both sides: how many, how many for too long, and the oldest."""

    keys: int
    over_bound: int
    bound_s: float
    oldest: Sequence[Mapping[str, Any]] = ()


class SafeReport(msgspec.Struct, frozen=True):
    """Whether it is safe to cut over, and why."""

    answer: bool
    because: Sequence[str]


class ParityReport(Document, frozen=True):
    """The whole answer.

    Attributes:
        verdict: "clean", "drift", "unsettled" or "waiting".
        reason: one line for a person.
        at_us: wall clock of the verifier, µs, as text.
        sides: by the side's name.
        buckets: whose digests differ.
        verified: keys that the last pass found equal.
        left_out: rows of the last pass that are no part of the migration.
        strangers_in_new: rows of the new table that don't belong there.
        differences: by class.
        lags: by the side's name.
        last_pass, last_clean_pass, running_pass: None where there is none.
        last_clean_pass_age_s: None where there is none.
        resting: why no pass runs; None while one does.
        in_handover: keys that are between the tables.
        because: what speaks against a cutover.
        safe_to_cut_over: the answer for on-call.
    """

    NAME: ClassVar[str] = "parity report"

    verdict: Verdict
    reason: str
    at_us: str
    sides: Mapping[str, SideReport]
    buckets: BucketReport
    verified: int
    left_out: int
    strangers_in_new: int
    differences: Mapping[str, DifferenceReport]
    lags: Mapping[str, LagReport]
    last_pass: PassReport | None
    last_clean_pass: PassReport | None
    last_clean_pass_age_s: float | None
    running_pass: PassReport | None
    resting: str | None
    in_handover: HandoverReport
    because: Sequence[str]
    safe_to_cut_over: SafeReport
