"""Repairs: plans and what became of them, kept by the verifiers in the control tables; and the answers of `/repairs`.

A step of a plan never changes. What an answer shows of 64-bit numbers is text: JSON readers round them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, TypeAlias

import msgspec

from crossfade.contracts.document import Document

RepairState: TypeAlias = Literal[
    "planning", "planned", "running", "paused", "cancelling", "done", "cancelled", "expired", "failed"
]
"""`planned` waits for an execute; `paused` for the migration's resume; from `done` on it is over."""

OPEN: Final = frozenset({"running", "paused", "cancelling"})
"""States in which a verifier carries a plan out, or is to go on with it."""

OVER: Final = frozenset({"done", "cancelled", "expired", "failed"})
"""States that nothing leaves."""


class RowSeen(msgspec.Struct, frozen=True):
    """One row of a key, as a plan saw it.

    Attributes:
        version: `cf_mv`, as text; null where there is none.
        role: "A", "S"; null where there is none.
        generation: `cf_gen`, as text.
        deleted: whether it is a tombstone or a stub.
        state: digest of all its attributes, 32 hexadecimal digits; empty in answers.
    """

    version: str | None
    role: str | None
    generation: str
    deleted: bool
    state: str


class RepairStep(msgspec.Struct, frozen=True):
    """What a plan does to one key, on the condition that both rows are still as it saw them.

    Attributes:
        number: its place in the plan, from 1.
        key: the encoded key.
        found: class of the difference; "class" in JSON.
        action: "transfer at 12", "lift to 13", "bury at 13" or "none".
        table: which table is written, "source" or "target"; null when none is.
        why: for humans.
        source, target: the rows; null where there is none.
        differs: names of attributes that differ, where both rows have the same version.
    """

    number: int
    key: str
    found: str = msgspec.field(name="class")
    action: str
    table: str | None
    why: str
    source: RowSeen | None
    target: RowSeen | None
    differs: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether a row is written."""
        return self.table is not None


class StepReport(RepairStep, frozen=True, kw_only=True):
    """A step, and what became of it.

    Attributes:
        outcome: "repaired", "already right", "refused: why" or "can't: why"; null while it isn't done.
    """

    outcome: str | None = None


class RepairRecord(Document, frozen=True):
    """A plan and its execution, as the store keeps them; its steps lie beside it, in chunks.

    The record is its own lease: whoever carries the plan out replaces it every few seconds, on the condition that
    nobody else has. One whose revision stands still is taken over.

    Attributes:
        id: of the plan, unique.
        state: see `RepairState`.
        asked: what the plan was requested for: a class with limit and after, or a number of keys.
        planned_by: who requested it.
        planned_us: wall clock, µs; versions that the plan gives to rows without one come from it, too.
        expires_us: until when it may be executed, µs.
        revision: rises with each write of the record.
        because: why it is paused, waiting or failed; empty otherwise.
        keys: steps of the plan.
        writes: steps that write.
        by_class: steps by class.
        by_action: steps by action: "transfer", "lift", "bury", "none".
        left: keys of the class that the plan leaves out.
        go_on: the request for the next plan of the class; null if there is none.
        executed_by: who had it carried out; empty until then.
        cancelled_by: who cancelled it; empty otherwise.
        pace_per_s: most steps a second; 0 until it is executed.
        begun_us, ended_us: when the execution began and ended, µs; 0 before that.
        begun_entry: number of the journal entry that precedes the first write; 0 before that.
        holder: the process that carries it out, unique per start; empty if none does.
        pod: that process's name.
        done: steps that are done: a prefix of the plan.
        trying: steps that may have been written: `done`, or the end of the slice after it.
        outcomes: done steps by outcome: "repaired", "already right", "refused", "can't".
        worked_us: time spent carrying it out, without pauses, µs.
    """

    NAME: ClassVar[str] = "repair"

    id: str
    state: RepairState
    asked: Mapping[str, Any]
    planned_by: str
    planned_us: int
    expires_us: int
    revision: int = 0
    because: str = ""
    keys: int = 0
    writes: int = 0
    by_class: Mapping[str, int] = {}
    by_action: Mapping[str, int] = {}
    left: int = 0
    go_on: Mapping[str, Any] | None = None
    executed_by: str = ""
    cancelled_by: str = ""
    pace_per_s: int = 0
    begun_us: int = 0
    ended_us: int = 0
    begun_entry: int = 0
    holder: str = ""
    pod: str = ""
    done: int = 0
    trying: int = 0
    outcomes: Mapping[str, int] = {}
    worked_us: int = 0


class RepairReport(Document, frozen=True):
    """The answer about one repair.

    Attributes:
        id: of the plan.
        state: see `RepairState`.
        because: why it is paused, waiting or failed; empty otherwise.
        asked: what the plan was requested for.
        planned_by: who requested it.
        planned_at_us: when, µs, as text.
        expires_at_us: until when it may be executed, µs, as text.
        keys: steps of the plan.
        writes: steps that write.
        by_class: steps by class.
        by_action: steps by action.
        left: keys of the class that the plan leaves out.
        go_on: the body of the next `POST /repairs`; null if none is left, or the next pass has to find the others.
        executed_by, cancelled_by: who did; empty if nobody.
        begun_at_us, ended_at_us: when the execution began and ended, µs, as text; null before that.
        pace: most steps a second.
        done: steps that are done.
        outcomes: done steps by outcome.
        rate_per_s: steps done per second of work; null before the first.
        eta_s: time that the rest takes at that rate; null if unknown or nothing is left.
        verifier: the pod that carries it out; empty if none does.
        steps: one page of the plan; empty in lists.
        next: number of the last step of the page, for `after`; null after the last page.
    """

    NAME: ClassVar[str] = "repair report"

    id: str
    state: RepairState
    because: str
    asked: Mapping[str, Any]
    planned_by: str
    planned_at_us: str
    expires_at_us: str
    keys: int
    writes: int
    by_class: Mapping[str, int]
    by_action: Mapping[str, int]
    left: int
    go_on: Mapping[str, Any] | None
    executed_by: str
    cancelled_by: str
    begun_at_us: str | None
    ended_at_us: str | None
    pace: int
    done: int
    outcomes: Mapping[str, int]
    rate_per_s: float | None
    eta_s: float | None
    verifier: str
    steps: Sequence[StepReport] = ()
    next: int | None = None


class RepairList(Document, frozen=True):
    """The answer to `GET /repairs`.

    Attributes:
        repairs: the newest first, without their steps.
    """

    NAME: ClassVar[str] = "list of repairs"

    repairs: Sequence[RepairReport]
