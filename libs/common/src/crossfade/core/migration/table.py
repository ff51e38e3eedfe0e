"""The phase table of a writer protocol: where a phase leads, which commands it accepts, which gates it has (ADR 0030).

Each writer protocol brings one: the keyed protocol's is `crossfade.core.migration.keyed.KEYED_PHASES`, and
`crossfade.core.migration.keyed.phases_of` finds a protocol's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from crossfade.core.migration.gates import Gate
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.values.errors import IllegalTransition

if TYPE_CHECKING:
    from crossfade.core.migration.seen import Setup
    from crossfade.core.migration.state import Migration, Pending


class PhaseTable(NamedTuple):
    """Everything that a writer protocol says about phases.

    Attributes:
        transitions: where each phase may go.
        allowed: in which phases each intent makes sense.
        replicating: where both directions of replication must run.
        moving: where keys may be in handover, so that the sweeper watches.
        gates: that stand before what comes next, by phase.
        halting: gates that halt the migration automatically, by phase.
        decide: what each unfinished phase does next: a decision of `crossfade.core.migration.step`, given the state and
            what is seen.
        reached: what a command has brought about, when it has; empty while it has not.
        left_behind: what stays after an abort, for somebody to remove or to keep.
        abort: what `abort` does, in any phase where it is allowed.
        roll_back: what `rollback` does where it is taken up; None where each phase decides that.
        holds: whether something is under way that neither a pause nor a halt may come between.
        refused: commands that make no sense under this protocol, and why.
        flags: whether flag documents steer the writers.
    """

    transitions: Mapping[Phase, frozenset[Phase]]
    allowed: Mapping[Intent, frozenset[Phase]]
    replicating: frozenset[Phase]
    moving: frozenset[Phase]
    gates: Mapping[Phase, tuple[Gate, ...]]
    halting: Mapping[Phase, tuple[Gate, ...]]
    decide: Mapping[Phase, Callable[..., Any]]
    reached: Callable[[Migration, Pending], str]
    left_behind: Callable[[Setup, Migration], list[str]]
    abort: Callable[..., Any]
    roll_back: Callable[..., Any] | None = None
    holds: Callable[[Migration], bool] = lambda _state: False
    refused: Mapping[Intent, str] = {}
    flags: bool = True

    @property
    def finished(self) -> frozenset[Phase]:
        """Where nothing more happens."""
        return frozenset(phase for phase, onward in self.transitions.items() if not onward)

    def all_gates(self) -> tuple[Gate, ...]:
        """Return each gate that stands anywhere, once."""
        rows = (*self.gates.values(), *self.halting.values())
        return tuple(dict.fromkeys(gate for row in rows for gate in row))

    def shown(self, phase: Phase) -> tuple[Gate, ...]:
        """Return what status shows of a phase: the gates before what comes next, and those that halt it."""
        return tuple(dict.fromkeys((*self.gates.get(phase, ()), *self.halting.get(phase, ()))))

    def check_transition(self, here: Phase, there: Phase) -> None:
        """Make sure that there is a transition.

        Raises:
            IllegalTransition: there is none; the message says what is possible.
        """
        if there not in self.transitions[here]:
            onward = ", ".join(sorted(phase.value for phase in self.transitions[here])) or "nothing"
            raise IllegalTransition(f"{here.value} can't be followed by {there.value}, only by: {onward}")

    def check_intent(self, intent: Intent, here: Phase) -> None:
        """Make sure that an intent makes sense in a phase.

        Raises:
            IllegalTransition: it doesn't; the message says where it would, or why nowhere.
        """
        if intent in self.refused:
            raise IllegalTransition(self.refused[intent])
        if here not in self.allowed[intent]:
            phases = ", ".join(phase.value for phase in Phase if phase in self.allowed[intent])
            raise IllegalTransition(f"{intent.value} is not possible in {here.value}, only in: {phases}")
