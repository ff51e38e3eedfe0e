"""The control plane's memory: journal, heartbeats, consumer reports, dead letters.

All of it lives in the control tables of `crossfade.core.migration.control`. What must be right is in the journal, never
only in a metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.keys import Key

STRAY: Final = "stray"
"""Code of the dead letters that tell of a writer outside the protocol."""

DIVERGED: Final = "diverged"
"""Code of the dead letters that tell of a key whose rows hold different things at one version (ADR 0017)."""

COUNT_AT_MOST: Final = 10_000
"""Letters of one consumer and kind that are counted; whoever reads a larger number needs no exact one."""


class Entry(NamedTuple):
    """One journal entry.

    Attributes:
        number: 1, 2, 3 …, without gaps.
        kind: "phase", "intent", "gate", "share", "generation", "snapshot", "note", "repair" …
        at_us: wall clock of the writer, µs.
        who: the writer: user or pod.
        code: version of the code that wrote it.
        body: JSON-ready evidence; 64-bit versions as strings.
    """

    number: int
    kind: str
    at_us: int
    who: str
    code: str
    body: Mapping[str, Any]


class Journal(Protocol):
    """Append-only; each number is taken once."""

    async def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Append an entry under the next free number.

        Raises:
            LeaseLost: the writer's lease (if it writes under one) is another's by now.
        """
        ...

    async def entries(self, *, after: int = 0) -> list[Entry]:
        """Return the entries with higher numbers, in order."""
        ...


class Lease(Protocol):
    """Time-bounded right to do something alone; a holder can lose it at any moment, so the store checks it, too."""

    @property
    def counter(self) -> int:
        """Rises with each holder."""
        ...

    @property
    def held(self) -> bool:
        """Whether it is surely ours, on our own clock."""
        ...

    async def acquire(self) -> bool:
        """Take it if it is free, ours, or stood still for a whole lease time; call again until True."""
        ...

    async def renew(self) -> None:
        """Beat once more.

        Raises:
            LeaseLost: another took over.
        """
        ...

    async def release(self) -> None:
        """Give it up at a clean stop; does nothing when it is another's."""
        ...


class Heartbeat(NamedTuple):
    """An API pod's word about the flag document it works under.

    Attributes:
        pod: name of the process, unique per start.
        document: the flag document; no operation begun under an older one is running.
        dual_write: the flag of that name.
        lease_s: how long the word counts.
        beat_us: wall clock of the pod when it wrote, µs.
        expired: judged by the reader: the beat stood still for lease_s on the reader's own clock. Never so at first
            sight: a dead pod counts for one lease time more, which is safe.
    """

    pod: str
    document: FlagDocument
    dual_write: bool
    lease_s: float
    beat_us: int
    expired: bool = False


class Heartbeats(Protocol):
    """Who works under which flag document."""

    async def beat(self, heartbeat: Heartbeat) -> None:
        """Write the pod's word."""
        ...

    async def leave(self, pod: str) -> None:
        """Withdraw it, at a clean stop."""
        ...

    async def all(self) -> list[Heartbeat]:
        """Return every pod's last word."""
        ...


class Report(NamedTuple):
    """What one stream consumer says of itself, per shard, every second or so.

    Attributes:
        role: "forward", "reverse", "feed-legacy", "feed-new".
        shard: stream and shard id, "wallet-changes/shardId-000000000000".
        at_us: wall clock when it was written, µs. An old report means an unknown lag, which shuts the gates.
        iterator_age_ms: stream to applied: age of the oldest fetched and unapplied record, or how far behind the tip.
        oldest_unapplied_us: arrival of the oldest record not applied yet; 0 when all are.
        applied_commit_us: highest commit time seen so far, µs; old duplicates don't lower it.
        counts: totals since the start of the process: applied, stale, duplicate, deduplicated, parked, foreign, echo, …
        foreign_last_us: commit time of the last stray; 0 when there was none. A restart doesn't forget it.
        imprecise_last_us: commit time of the last record without µs; 0 when there was none. Nor this.
        position: sequence number up to which all is applied, opaque; only of a consumer that keeps no checkpoint of
            its own (AWS Lambda), else empty.
    """

    role: str
    shard: str
    at_us: int
    iterator_age_ms: int
    oldest_unapplied_us: int
    applied_commit_us: int
    counts: Mapping[str, int]
    foreign_last_us: int = 0
    imprecise_last_us: int = 0
    position: str = ""


class Reports(Protocol):
    """The consumers' reports."""

    async def put(self, reports: Sequence[Report]) -> None:
        """Replace the reports of these roles and shards."""
        ...

    async def all(self) -> list[Report]:
        """Return the last report of each role and shard."""
        ...


class DeadLetter(NamedTuple):
    """A record that could not be applied, or that no pod made (a stray, ADR 0016), with its payload.

    Attributes:
        role: the consumer that parked it, as in `Report`.
        sequence: opaque, with the role it is the letter's identity: the stream position "shard:sequence number", or of
            a stray "stray:…", which is the same whenever and wherever the same write is read again.
        key: the encoded key; empty when the record could not be decoded.
        version: of the transfer; None when there is none.
        reason: for a person.
        code: for machines: "conflict", "poison_record", "unmappable", "unversioned", "stray" …
        payload: the record as it came.
        trace: traceparent of the write, if the record carries one.
        at_us: when it was parked.
        table: that the record tells of; empty when it could not be decoded.
        committed_us: commit time of the record in that table, µs; 0 when it could not be decoded.
        settled: nothing is left to do but to stop the writer: a stray on an owner, which was carried over and lifted.
        cure: what a person does about it, one sentence; empty where the code says enough.
    """

    role: str
    sequence: str
    key: Key
    version: int | None
    reason: str
    code: str
    payload: bytes
    trace: str
    at_us: int
    table: str = ""
    committed_us: int = 0
    settled: bool = False
    cure: str = ""


class DeadLetters(Protocol):
    """The dead-letter store. Settled letters wait for nobody: they are neither listed nor counted with the others."""

    async def park(self, letter: DeadLetter) -> None:
        """Keep a letter; parking the same one again changes nothing. A settled one takes the place of an older one."""
        ...

    async def all(self, *, limit: int = 1000, code: str = "") -> list[DeadLetter]:
        """Return the letters that wait for a person, oldest first.

        Args:
            limit: most letters.
            code: only those of one code; empty for all.
        """
        ...

    async def settled(self, *, limit: int = 1000) -> list[DeadLetter]:
        """Return the settled letters, in no order: one a key."""
        ...

    async def count(self) -> int:
        """Return how many wait for a person. From `COUNT_AT_MOST` of a kind on it counts no further."""
        ...

    async def remove(self, letter: DeadLetter) -> None:
        """Take a letter out, after it was applied, merged, overtaken or discarded."""
        ...


class StatusBoard(Protocol):
    """The controller's last status, for whoever asks without reaching the controller itself."""

    async def put(self, status: Mapping[str, Any]) -> None:
        """Replace the status."""
        ...

    async def get(self) -> Mapping[str, Any] | None:
        """Return the last status; None when there never was one."""
        ...
