"""What the verifier says about both tables: the answer to GET /parity, read by the controller, on-call and metrics.

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
        id: number of the pass.
        state: "waiting", "running", "done" or "failed".
        asked: whether it was requested.
        clean: whether it found no difference.
        with_repairs: whether keys were repaired during the pass, in which case it doesn't count as clean.
        repairs: number of keys repaired.
        age_s: time since it ended; null while it is running.
        started_age_s: time since it began; null before that.
        took_s: time from its beginning to its end, or until now.
        verified: number of keys found equal.
        differences: number of keys by class.
        why: why it failed, if it did.
        stage, scanned, following, percent: its progress while it is running.
        held: why its scan is on hold while it is running; empty when it isn't.
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
    held: str = ""


class DifferenceReport(msgspec.Struct, frozen=True):
    """Number of keys of one class, with samples.

    Attributes:
        count: how many.
        samples: some of them, each with its key.
        cure: what to do about them; empty from a verifier of an older build.
    """

    count: int
    samples: Sequence[Any] = ()
    cure: str = ""


class SideReport(msgspec.Struct, frozen=True):
    """One table, as the last pass found it; null before the first pass.

    Attributes:
        items: number of live items that belong to the migration.
        digest: sum of their digests, in hexadecimal.
        scanned: number of rows read.
        belonging: number of rows that belong to the migration, including tombstones and stubs.
        dropped: attributes that the mapping doesn't carry to the other table, by name, and in how many rows.
    """

    items: int | None = None
    digest: str | None = None
    scanned: int | None = None
    belonging: int | None = None
    dropped: Mapping[str, int] = {}


class BucketReport(msgspec.Struct, frozen=True):
    """Buckets whose digests differ: how many, and the first of their numbers."""

    count: int
    differing: int
    numbers: Sequence[int] = ()


class LagReport(msgspec.Struct, frozen=True):
    """How late the verifier itself sees a table's changes.

    Attributes:
        table_to_stream_s: age of the oldest record that isn't in the stream yet; null if unknown.
        table_to_stream_unknown: why it is unknown.
        stream_read_s: how far the verifier is behind the tip of the stream; null if it isn't reading.
        stream_read_unknown: why it isn't reading.
        records_read: number of records read since the start.
        records_unreadable: how many of those couldn't be decoded.
        crossing: measured times from a commit in one table to the commit of its copy in the other.
    """

    table_to_stream_s: float | None
    table_to_stream_unknown: str | None
    stream_read_s: float | None
    stream_read_unknown: str | None
    records_read: int
    records_unreadable: int
    crossing: Mapping[str, Any]


class HandoverReport(msgspec.Struct, frozen=True):
    """Keys that are standby on both sides: how many, how many for longer than the bound, and the oldest."""

    keys: int
    over_bound: int
    bound_s: float
    oldest: Sequence[Mapping[str, Any]] = ()


class SafeReport(msgspec.Struct, frozen=True):
    """Whether it is safe to cut over, and why."""

    answer: bool
    because: Sequence[str]


class InputReport(msgspec.Struct, frozen=True):
    """One source of "safe to cut over", with the age of what it said last.

    Attributes:
        of: of which table, stream, journal or pair of tables it spoke; null before it was asked.
        age_s: time since it was asked for its last answer; null if it never answered.
        bound_s: the oldest answer that counts.
        trouble: why there is no newer answer, if anything is wrong.
    """

    of: str | None
    age_s: float | None
    bound_s: float
    trouble: str


class ParityReport(Document, frozen=True):
    """The whole answer.

    Attributes:
        verdict: what the last pass found.
        reason: the verdict explained in one line.
        at_us: the verifier's wall clock, µs, as text.
        sides: each table, by the name of its side.
        buckets: buckets whose digests differ.
        verified: number of keys that the last pass found equal.
        left_out: number of keys that the last pass couldn't settle; their buckets are compared without them.
        not_ours_in_target: number of rows in the target table that don't belong to the migration.
        differences: differences by class.
        lags: the verifier's own lag, by the name of the side.
        last_pass, last_clean_pass, running_pass: the passes; null if there is none.
        last_clean_pass_age_s: time since the last clean pass ended; null if there is none.
        resting: why no pass is running; null while one is.
        in_handover: keys that are between the tables.
        because: every reason against a cutover.
        safe_to_cut_over: whether to cut over, for whoever is on call.
        not_ours: rows in the target table that don't belong to the migration, with their keys.
        inputs: what that is made of, by the name that reasons begin with; empty from a verifier before ages were kept.
    """

    NAME: ClassVar[str] = "parity report"

    verdict: Verdict
    reason: str
    at_us: str
    sides: Mapping[str, SideReport]
    buckets: BucketReport
    verified: int
    left_out: int
    not_ours_in_target: int
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
    inputs: Mapping[str, InputReport] = {}
    not_ours: DifferenceReport = DifferenceReport(0)
