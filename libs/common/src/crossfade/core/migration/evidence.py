"""What the gates judge: the evidence that the controller collects, and its bounds (design.md, section 5)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from crossfade.core.protocol.plain.members import Member
from crossfade.core.values.clocks import Skew, utc


class Bounds(NamedTuple):
    """The bounds; the defaults are the design's.

    Attributes:
        lag_s: highest lag of either hop and direction.
        quiet_s: how long the lags must have stayed below it, and how far back no stray may lie.
        clean_pass_s: oldest clean verifier pass that counts.
        expiry_margin_s: least time from the oldest unapplied record to its expiry.
        min_pods: API pods that must report.
        probe_errors: highest share of failed canary writes, 0 to 1.
        probe_p99_ms: highest p99 of canary writes.
        probe_age_s: oldest proof of the reverse path that counts.
        api_errors: highest share of failed API calls, 0 to 1.
        api_p99_ms: highest p99 of API calls.
        feed: whether the feed has to keep up; off only where nobody takes domain events.
        skew_s: how far the controller's wall clock may be off AWS's, beyond what whole seconds leave open.
        signature_s: how old a signed request may be when DynamoDB still takes it.
    """

    lag_s: float = 5.0
    quiet_s: float = 60.0
    clean_pass_s: float = 600.0
    expiry_margin_s: float = 86_400.0
    min_pods: int = 1
    probe_errors: float = 0.01
    probe_p99_ms: float = 500.0
    probe_age_s: float = 60.0
    api_errors: float = 0.01
    api_p99_ms: float = 250.0
    skew_s: float = 2.0
    feed: bool = True
    signature_s: float = 900.0


class Lag(NamedTuple):
    """One direction's two hops.

    Attributes:
        unreplicated_s: table to stream: age of the oldest record not in the stream yet; None when unknown.
        iterator_s: stream to applied; None when a shard's consumer is silent or has never reported.
        why: what is unknown, for the operator; empty when both are known.
    """

    unreplicated_s: float | None
    iterator_s: float | None
    why: str = ""

    @property
    def worst_s(self) -> float | None:
        """The longer hop; None when either is unknown."""
        if self.unreplicated_s is None or self.iterator_s is None:
            return None
        return max(self.unreplicated_s, self.iterator_s)


class Pod(NamedTuple):
    """A live pod's word about its flags."""

    pod: str
    document: Hashable
    dual_write: bool


class Parity(NamedTuple):
    """What the verifier says.

    Attributes:
        reachable: whether it answered.
        clean_pass_age_s: since its last clean pass; None when there was none.
        clean_pass_began_s: since that pass began.
        drift: differences that block, by class, nonzero only: stuck, diverged, missing, extra, ahead, unreadable …
        in_handover: keys standby on both sides, as the last pass saw them.
        detail: a sentence of the verifier's own.
    """

    reachable: bool = False
    clean_pass_age_s: float | None = None
    clean_pass_began_s: float | None = None
    drift: Mapping[str, int] = {}
    in_handover: int = 0
    detail: str = ""


class Probe(NamedTuple):
    """The canary's record.

    Attributes:
        proven_s: since a write of the canary on the target table was last seen in the source; None when never.
        writes: canary writes in the window.
        failed: those that failed.
        p99_ms: of those that succeeded; None when there were none.
        key: the canary key, for the operator.
    """

    proven_s: float | None = None
    writes: int = 0
    failed: int = 0
    p99_ms: float | None = None
    key: str = ""


class ApiCalls(NamedTuple):
    """What the API pods report of their calls in the window.

    Attributes:
        calls: client operations, on every path; each one of a batch, and reads.
        failed: those that failed through our fault.
        p99_ms: the worst pod's; None while no call was timed.
        pods: who reports.
    """

    calls: int
    failed: int
    p99_ms: float | None
    pods: Sequence[str] = ()


class Stray(NamedTuple):
    """One write outside the protocol, as its letter describes it, or one key whose rows differ at one version.

    Attributes:
        letter: name of the letter, for the replicator's tools.
        key: the encoded key.
        table: written to.
        at_us: commit time, or when the difference was found.
        settled: it was carried over: nothing is left to do but to stop the writer.
        cure: for the operator.
    """

    letter: str
    key: str
    table: str
    at_us: int
    settled: bool
    cure: str

    def __str__(self) -> str:
        return f"{self.key} in {self.table} at {utc(self.at_us)}"


class Strays(NamedTuple):
    """What is known of writers outside the protocol (ADR 0016).

    Attributes:
        watched: whether the journal has an entry into BOTH_WAYS: until then such writers are normal.
        age_s: time since the last stray was committed, at least; None when there was none.
        last_us: its commit time; 0 when there was none.
        waiting: letters of strays and of diverged keys that need a human decision; None when they could not be read.
        named: the first of those, oldest first, then of the settled ones.
    """

    watched: bool = False
    age_s: float | None = None
    last_us: int = 0
    waiting: int | None = 0
    named: tuple[Stray, ...] = ()


class Evidence(NamedTuple):
    """All that gates look at, of one moment.

    Attributes:
        forward: source to target.
        reverse: target to source.
        feed: from each table's changes to the feed's stream, by the table's consumer.
        quiet_s: how long both directions' lags have stayed below the bound, on the controller's own clock.
        dead_letters: how many there are; None when unknown.
        parity: the verifier's word.
        strays: what is known of writers outside the protocol.
        imprecise_age_s: time since the last record without µs was, at least; None when there was none.
        precisions: each table's stream precision as the service tells it; "" when there is no stream,
            None when AWS could not be asked.
        oldest_unapplied_s: how long the oldest unapplied record of any shard has been in its stream; 0 when there is
            none.
        retention_s: the shorter of both streams' retention; None when unknown.
        document: the flag document in force; compared, never read.
        dual_write: the flag in force.
        pods: the live pods; None when their heartbeats could not be read.
        probe: the canary's record.
        api: the API's own figures; None when no pod reports any.
        skew: of the controller's wall clock against AWS's; None when no answer told it lately.
        clock: whose wall clock that is: the pod, for the operator.
        members: all that may write a standby row under the plain protocol; None when they could not be read.
    """

    forward: Lag
    reverse: Lag
    quiet_s: float
    dead_letters: int | None
    parity: Parity
    strays: Strays
    imprecise_age_s: float | None
    precisions: Mapping[str, str | None]
    oldest_unapplied_s: float
    retention_s: float | None
    document: Hashable
    dual_write: bool
    pods: Sequence[Pod] | None
    probe: Probe
    api: ApiCalls | None = None
    skew: Skew | None = None
    clock: str = ""
    feed: Mapping[str, Lag] = {}
    members: Sequence[Member] | None = None
