"""What the state machine answers beside a deed: wait, or record a decision, such as a phase entered (ADR 0030).

A record goes into the journal, and a new round begins. Deeds, which reach the world, are in
`crossfade.core.migration.deeds`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from crossfade.core.migration.gates import GateResult, shut, waiting_for
from crossfade.core.migration.phases import Phase
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import CrossfadeError

HALTED: Final = "halted"
"""The gate that a halt shuts."""


class Wait(NamedTuple):
    """Nothing can be done now.

    Attributes:
        gate: what it stands at: the first gate that is shut, the code of an error, or one word: "command", "stream" …
        reason: a sentence for the operator.
        cure: what helps; empty where nothing is to be done, or where the reason says it.
        shut: all gates that are shut; empty when it waits for something else.
    """

    gate: str
    reason: str
    cure: str = ""
    shut: tuple[GateResult, ...] = ()

    @property
    def text(self) -> str:
        """One line: all shut gates, each with its reason and cure, or the reason."""
        return waiting_for(self.shut) if self.shut and self.gate != HALTED else self.reason


def waits_for(results: Sequence[GateResult]) -> Wait | None:
    """Return what shut gates make wait for; None when all are open."""
    found = shut(results)
    return Wait(found[0].name, found[0].because, found[0].cure, tuple(found)) if found else None


def failed(error: CrossfadeError) -> Wait:
    """Return what an error makes wait: nothing was journaled, so the same deed is asked for again."""
    return Wait(error.code, f"{error.code}: {error}")


@dataclass(frozen=True)
class Record(ABC):
    """A decision. `entries` are what the journal takes of it, in order."""

    @abstractmethod
    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Return kind and body of each entry."""


@dataclass(frozen=True)
class Enter(Record):
    """Enter a phase."""

    here: Phase
    phase: Phase
    gates: Sequence[GateResult] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the transition, with its evidence."""
        body = {"from": self.here.value, "to": self.phase.value, "gates": gates_json(self.gates), **self.evidence}
        return [("phase", body)]


@dataclass(frozen=True)
class Begin(Record):
    """A step is about to take effect."""

    step: str
    evidence: Mapping[str, Any]

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the beginning of the step."""
        return [("begun", {"step": self.step, **self.evidence})]


@dataclass(frozen=True)
class Finish(Record):
    """A step took effect."""

    step: str
    evidence: Mapping[str, Any]

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the end of the step."""
        return [("step", {"step": self.step, **self.evidence})]


@dataclass(frozen=True)
class Again(Record):
    """Steps are to be taken once more, for a fresh export."""

    evidence: Mapping[str, Any]

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what begins once more."""
        return [("again", dict(self.evidence))]


@dataclass(frozen=True)
class Allocate(Record):
    """A generation becomes durable before it is used."""

    counter: int
    purpose: str

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the counter. An odd one, found in a row, is rounded up to an even one."""
        return [("generation", {"counter": self.counter + self.counter % 2, "for": self.purpose})]


@dataclass(frozen=True)
class Publish(Record):
    """Flags are published: journaled before, and again when that is done. Those in force, where a kill came between."""

    document: FlagDocument
    dual_write: bool
    gates: Sequence[GateResult] = ()

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what is journaled before."""
        body = {
            "document": document_json(self.document),
            "dual_write": self.dual_write,
            "gates": gates_json(self.gates),
        }
        return [("share", body)]


@dataclass(frozen=True)
class Admit(Record):
    """A command is taken up; the one before it, if there is one, is superseded."""

    number: int
    instead_of: Settle | None = None

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the end of the one before, and the beginning of this one."""
        before = self.instead_of.entries() if self.instead_of is not None else []
        return [*before, ("admitted", {"intent": self.number})]


@dataclass(frozen=True)
class Settle(Record):
    """A command ends: done, refused, superseded, withdrawn or expired."""

    number: int
    verb: str
    outcome: str
    because: str = ""

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the outcome."""
        told = {"intent": self.number, "verb": self.verb, "outcome": self.outcome, "because": self.because}
        return [("outcome", told)]


@dataclass(frozen=True)
class Rest(Record):
    """A pause begins or ends, and with that the command that asked for it."""

    paused: bool
    who: str
    settled: Settle

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the pause, and the outcome."""
        return [("pause", {"paused": self.paused, "who": self.who}), *self.settled.entries()]


@dataclass(frozen=True)
class Withdraw(Record):
    """A command is withdrawn, and with that the command that asked for it ends."""

    withdrawn: Settle
    settled: Settle

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Return both outcomes."""
        return [*self.withdrawn.entries(), *self.settled.entries()]


@dataclass(frozen=True)
class Halt(Record):
    """The migration halts, or goes on when `because` is empty."""

    because: str
    gates: Sequence[GateResult]

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the halt."""
        return [("halt", {"because": self.because, "gates": gates_json(self.gates)})]


Answer: TypeAlias = Wait | Record
"""What a phase decides, once its deeds are answered."""


def wait_json(wait: Wait) -> dict[str, str]:
    """Return what is waited for, as status and dry runs show it."""
    return {"gate": wait.gate, "reason": wait.reason, "cure": wait.cure}


def gates_json(results: Sequence[GateResult]) -> list[dict[str, Any]]:
    """Return verdicts as evidence."""
    return [each.as_json() for each in results]


def document_json(document: FlagDocument) -> dict[str, Any]:
    """Return a flag document as the journal and the CLI show it: generations as strings, for readers whose numbers
    are floating point.
    """
    return {
        "share": document.share,
        "target_gen": str(document.target_gen),
        "source_gen": str(document.source_gen),
        "complete": document.complete,
    }
