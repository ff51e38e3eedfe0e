"""What `step` is given beside the state: the gates' verdicts, how the migration is set up, and what the deeds found."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from crossfade.core.migration.acts import Answer, Wait, waits_for
from crossfade.core.migration.deeds import A, Deed, PassResult, Sweep
from crossfade.core.migration.evidence import Bounds, Evidence
from crossfade.core.migration.gates import Gate, GateResult, heartbeats
from crossfade.core.migration.table import PhaseTable
from crossfade.core.values.shape import Side


class FlipSetup(NamedTuple):
    """How the plain protocol stops writes for a flip, and for how long at most; constant while a controller runs.

    Attributes:
        hold, release: the operator's commands; empty when there are none.
        guard: whether resource policies may be changed: they guard the standby, and prove a hold.
        settle_s: how long after the hook's exit a request may still be under way; None where nobody said.
        at_most_s: longest hold, unless the command says otherwise.
        signature_s: how old a signed request may be when DynamoDB still takes it.
        changed_at_most: keys that may be left to compare when a hold begins.
    """

    hold: tuple[str, ...] = ()
    release: tuple[str, ...] = ()
    guard: bool = False
    settle_s: float | None = None
    at_most_s: float = 120.0
    signature_s: float = 900.0
    changed_at_most: int = 10_000

    @property
    def refusal(self) -> str:
        """Why writes can't be stopped and started again; empty when they can."""
        if bool(self.hold) != bool(self.release):
            return (
                "a hold command and a release command come together: set CROSSFADE_HOLD_COMMAND and "
                "CROSSFADE_RELEASE_COMMAND"
            )
        if not self.hold and not self.guard:
            return (
                "nothing can stop the application's writes: set CROSSFADE_HOLD_COMMAND and CROSSFADE_RELEASE_COMMAND, "
                "or let a resource policy do it: CROSSFADE_GUARD=true"
            )
        if not self.guard and self.settle_s is None:
            return (
                "without a guard, say for how long a request may be under way after the hold command's exit: set "
                "CROSSFADE_SETTLE_S to the application's longest attempt plus its back-off"
            )
        return ""


class Setup(NamedTuple):
    """How the migration is set up; constant while a controller runs.

    Attributes:
        migration: its name.
        tables: their names.
        streams: of the source table, the target table and the feed.
        retention_h: of the streams.
        settling_s: how long a stream carries records before the export's moment.
        bucket, bucket_prefix: where export and import files go.
        load: how the target table is filled: "import", which creates it, or "write".
        revoke: the command that takes away the API's right to write the source table; empty when there is none.
        stop: the command that stops replication; empty when there is none.
        flip: how writes are stopped for a flip.
    """

    migration: str
    tables: Mapping[Side, str]
    streams: tuple[str, ...] = ()
    retention_h: int = 0
    settling_s: float = 0.0
    bucket: str = ""
    bucket_prefix: str = ""
    revoke: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    load: str = "import"
    flip: FlipSetup = FlipSetup()


class Seen(NamedTuple):
    """All that a decision looks at, of one moment.

    Attributes:
        setup: of the migration.
        gates: verdicts, by the gate's name; one that is missing is unknown.
        now_us: wall clock, µs: dates the journal, and ends commands that nobody has begun.
        pass_began_s: since the verifier's last clean pass began; None when there was none.
        stray_age_s: since the last stray, at least; None when there was none.
        sweep: the sweeper's pass that is under way.
        swept: the sweeper's last pass that ended; None when there was none, or it was forgotten.
        waited_for: what the last answer waited for.
        answers: what came of each deed of this round.
        driver: names the process that drives, for its life: an attempt to flip is its own.
    """

    setup: Setup
    gates: Mapping[str, GateResult] = {}
    now_us: int = 0
    pass_began_s: float | None = None
    stray_age_s: float | None = None
    sweep: PassResult | None = None
    swept: PassResult | None = None
    waited_for: str = ""
    answers: Mapping[Deed[Any], Any] = {}
    driver: str = ""

    def judge(self, gates: Sequence[Gate]) -> list[GateResult]:
        """Return the gates' verdicts. One that nobody told is unknown, and so shut."""
        if gates and not self.gates:
            return [GateResult("evidence", False, None, None, "no evidence collected yet")]
        return [self.gates.get(gate.__name__) or unknown(gate.__name__) for gate in gates]

    def shut(self, *gates: Gate) -> Wait | None:
        """Return what the gates make wait for; None when all are open."""
        return waits_for(self.judge(gates))

    @property
    def pods(self) -> int | None:
        """Return how many live pods the heartbeats show; None when that is unknown."""
        told = self.gates.get(heartbeats.__name__)
        return None if told is None or told.value is None else int(told.value["pods"])

    @property
    def last_pass(self) -> PassResult | None:
        """The last pass that ended, of this round or before."""
        ended = [each.at for deed, each in self.answers.items() if isinstance(deed, Sweep) and each.has_ended]
        return ended[-1] if ended else self.swept


def unknown(name: str) -> GateResult:
    """Return the verdict on a gate that nobody told."""
    return GateResult(name, False, None, None, "unknown: the controller's last status doesn't tell it")


def judged(table: PhaseTable, evidence: Evidence | None, bounds: Bounds) -> dict[str, GateResult]:
    """Return the verdict of each gate that stands anywhere, by name; empty before the first evidence."""
    if evidence is None:
        return {}
    return {gate.__name__: gate(evidence, bounds) for gate in table.all_gates()}


Decision: TypeAlias = Generator[Deed[Any], Any, A]
"""Asks for deeds, one by one, and ends with what is decided. Played once more from its beginning for each answer."""

Decided: TypeAlias = Decision[Answer] | Answer
"""What a phase's function returns: a decision that asks for nothing needs no generator."""


def done(deed: Deed[A]) -> Generator[Deed[A], A, A]:
    """Ask for a deed; return what comes of it."""
    return (yield deed)
