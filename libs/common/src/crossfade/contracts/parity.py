"""What the verifier says about both tables: the answer to GET /parity, read by the controller, on-call and metrics.

Versions, digests and times in µs are text: JSON readers round 64-bit numbers. No value of a row is in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

from crossfade.contracts.document import Document

Verdict: TypeAlias = Literal["clean", "drift", "unsettled", "waiting"]
CalledBy: TypeAlias = Literal["sweep", "continuous"]


class UnitReport(msgspec.Struct, frozen=True):
    """One part of a pass.

    Attributes:
        kind: "scan", a segment of both tables; or "join", rows that a scan kept for the end.
        number: within its kind, from 0.
        state: "open" or "done".
        pod: the verifier that is working on it, or has ended it; empty if nobody has taken it.
        saved_us: when its last checkpoint was saved, µs; null before the first.
        scanned: rows read, by the name of the side; empty before the first checkpoint.
        read_units: read units that it has used.
        following: keys that it follows.
        trouble: the fault that is being retried; empty when there is none.
    """

    kind: str
    number: int
    state: str
    pod: str
    saved_us: str | None
    scanned: Mapping[str, int]
    read_units: float
    following: int
    trouble: str


class PassReport(msgspec.Struct, frozen=True):
    """One pass over both tables.

    Attributes:
        id: of the pass, unique.
        state: "waiting", "running", "done", "given up" or "cancelled".
        asked: whether it was requested.
        clean: whether it found no difference.
        with_repairs: whether keys were repaired during the pass, in which case it doesn't count as clean.
        repairs: number of keys repaired.
        age_s: time since it ended; null while it is running.
        started_age_s: time since it began; null before that.
        took_s: time from its beginning to its end, or until now.
        verified: number of keys found equal.
        differences: number of keys by class.
        why: why it isn't going on, or why it was ended; empty otherwise.
        stage, scanned, following, percent: its progress while it is running.
        held: why its scan is on hold while it is running; empty when it isn't.
        who: who requested it, or ended it; empty if nobody did.
        begun_us, ended_us: when it began and ended, by the verifier's wall clock, µs; null before that.
        read_units: read units that it has used so far; null if unknown.
        read_units_expected: read units that it will have used; null if unknown.
        rows_per_s: rows scanned per second, lately; null if unknown.
        eta_s: time that the rest takes at that rate; null if unknown.
        units: parts that the pass is divided into; verifiers share them.
        units_done: parts that have ended.
        pods: verifiers that are working on it.
        trouble: the fault that is being retried; empty when there is none.
        waiting_rows: rows of either table that wait for their counterparts; null if unknown.
        work: its parts and who works on each; only in the answer to GET /passes/{id}, while it is running.
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
    who: str = ""
    begun_us: str | None = None
    ended_us: str | None = None
    read_units: float | None = None
    read_units_expected: float | None = None
    rows_per_s: float | None = None
    eta_s: float | None = None
    units: int | None = None
    units_done: int | None = None
    pods: Sequence[str] = ()
    trouble: str = ""
    waiting_rows: int | None = None
    work: Sequence[UnitReport] = ()


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
    """Buckets whose digests differ.

    Attributes:
        count: number of buckets.
        differing: number of those that differ.
        numbers: the first of those; GET /parity/buckets?differing=true has all.
    """

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
    """Keys that are standby on both sides.

    Attributes:
        keys: how many.
        over_bound: how many for longer than the bound.
        bound_s: the bound.
        oldest: some of those, each with `key` and `age_s`.
    """

    keys: int
    over_bound: int
    bound_s: float
    oldest: Sequence[Mapping[str, Any]] = ()


class SafeReport(msgspec.Struct, frozen=True):
    """Whether it is safe to cut over.

    Attributes:
        answer: whether it is.
        because: why, or every reason against.
    """

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


class ContinuousReport(msgspec.Struct, frozen=True):
    """What both streams have shown since the verifier began to hear them.

    Attributes:
        resting: why it doesn't hear them; null while it does.
        since_s: time without a gap; a stream that couldn't be read is one, a restart another.
        heard: number of change records, by the name of the side.
        duplicates: those of them that came twice.
        verified: how often an owner's state was found in its standby.
        open: keys whose match hasn't been heard yet.
        following: keys that are overdue or suspected, and are being read.
        unobserved: keys that were given up, because there were too many or records were lost; a pass sees them.
        called: keys that differ now, by class, with the times when they were called first and last.
        buckets_off: buckets whose running sums differ although none of their keys is open; null before a clean pass.
        asked_for_a_pass_age_s: time since it last asked for a pass on their account; null if it never did.
        trouble: why suspected keys can't be read now; empty if they can.
    """

    resting: str | None
    since_s: float
    heard: Mapping[str, int]
    duplicates: int
    verified: int
    open: int
    following: int
    unobserved: int
    called: Mapping[str, DifferenceReport]
    buckets_off: int | None
    asked_for_a_pass_age_s: float | None
    trouble: str = ""


class OwnerReport(msgspec.Struct, frozen=True):
    """Which table owns all rows, under the plain protocol, as the map said last.

    Attributes:
        side: the table that owns, "source" or "target".
        table: its name.
        epoch: rises with each change of the map; 0 before it was written.
        open: whether no flip is under way.
        why: why nothing is called now; empty while the map is open.
    """

    side: str
    table: str
    epoch: int
    open: bool
    why: str = ""


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
        continuous: what both streams have shown; null from a verifier that couldn't hear them yet.
        owner: which table owns all rows; null where each row tells who owns it. While the target owns,
            `safe_to_cut_over` says whether it is safe to roll back.
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
    continuous: ContinuousReport | None = None
    owner: OwnerReport | None = None


class PassList(Document, frozen=True):
    """The answer to GET /passes.

    Attributes:
        running: the pass that is running; null if none is.
        passes: the newest first, the running and the requested ones included.
    """

    NAME: ClassVar[str] = "list of passes"

    running: PassReport | None
    passes: Sequence[PassReport]


class BucketSum(msgspec.Struct, frozen=True):
    """One table's rows of a bucket.

    Attributes:
        items: number of live items.
        digest: sum of their digests, in hexadecimal.
    """

    items: int
    digest: str


class Bucket(msgspec.Struct, frozen=True):
    """The keys whose hash falls into one bucket.

    Attributes:
        number: of the bucket.
        source, target: what each table had in that pass.
        differs: whether the two were different.
        called: keys of the bucket that differ now, as the continuous mode has called them.
        off: whether the running sums differ although none of its keys is open: the continuous mode asks for a pass.
    """

    number: int
    source: BucketSum
    target: BucketSum
    differs: bool
    called: int = 0
    off: bool = False


class BucketPage(Document, frozen=True):
    """The answer to GET /parity/buckets.

    Attributes:
        count: number of buckets.
        differing: number of buckets in which the tables differed in that pass.
        pass_id: the pass that counted them, the last one that is done; empty before the first.
        counted_us: when that pass ended, µs; null before the first.
        rebased_us: end of the clean pass that the running sums start from, µs; null if they know of none.
        buckets: one page, by number.
        next: number of the last bucket of the page, for `after`; null after the last page.
    """

    NAME: ClassVar[str] = "page of buckets"

    count: int
    differing: int
    pass_id: str
    counted_us: str | None
    rebased_us: str | None
    buckets: Sequence[Bucket]
    next: int | None


class KeyDifference(msgspec.Struct, frozen=True):
    """One key that was called.

    Attributes:
        key: encoded.
        short: the same, as people write it; null where it can't be.
        found: its class; "class" in JSON.
        cause: why a row can't be read, or why the other table refuses it; empty if unknown.
        bucket: number of its bucket.
        first_seen_us: when the first of the passes that called it one after the other did, µs; null if unknown.
        last_seen_us: when it was called last, µs; null if unknown.
        called_by: which mode called it.
        pass_id: the pass that called it last; empty in the continuous mode.
        sample: versions, roles, generations, and the names of the attributes that differ; null where none was kept.
    """

    key: str
    short: str | None
    found: str = msgspec.field(name="class")
    cause: str
    bucket: int
    first_seen_us: str | None
    last_seen_us: str | None
    called_by: CalledBy
    pass_id: str
    sample: Mapping[str, Any] | None


class DifferencePage(Document, frozen=True):
    """The answer to GET /parity/differences.

    Attributes:
        counts: number of keys by class; of more than can be listed, too.
        means: what each class of the page means.
        cures: what to do about each class of the page.
        differences: one page, by class and key. It may be short, or empty, although more follow.
        next: for `after`; null after the last page.
    """

    NAME: ClassVar[str] = "page of differences"

    counts: Mapping[str, int]
    means: Mapping[str, str]
    cures: Mapping[str, str]
    differences: Sequence[KeyDifference]
    next: str | None
