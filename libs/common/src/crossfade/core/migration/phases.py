"""The phases of a migration, as tables (design.md, section 5). Phases are never compared: what may be is looked up."""

from __future__ import annotations

from enum import Enum
from typing import Final

from crossfade.core.values.errors import IllegalTransition


class Phase(Enum):
    """Where a migration stands."""

    PLANNED = "PLANNED"
    CAPTURING = "CAPTURING"  # the legacy table's stream is being enabled
    SNAPSHOT = "SNAPSHOT"  # export, map and filter, import
    CATCHING_UP = "CATCHING_UP"  # the stream is applied from before the export's moment
    DUAL_WRITE = "DUAL_WRITE"  # the API copies its writes; replication runs both ways
    RAMPING = "RAMPING"  # keys move to the new table as they are used
    CUT_OVER = "CUT_OVER"  # the sweeper moves the keys nobody touched
    BAKING = "BAKING"  # all keys are on the new table; reverse replication keeps the way back open
    COMPLETE = "COMPLETE"
    ROLLED_BACK = "ROLLED_BACK"  # keys move back; left when all are
    ABORTED = "ABORTED"


TRANSITIONS: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.PLANNED: frozenset({Phase.CAPTURING, Phase.ABORTED}),
    Phase.CAPTURING: frozenset({Phase.SNAPSHOT, Phase.ABORTED}),
    Phase.SNAPSHOT: frozenset({Phase.CATCHING_UP, Phase.ABORTED}),
    Phase.CATCHING_UP: frozenset({Phase.DUAL_WRITE, Phase.ABORTED}),
    Phase.DUAL_WRITE: frozenset({Phase.RAMPING, Phase.ABORTED}),
    Phase.RAMPING: frozenset({Phase.CUT_OVER, Phase.ROLLED_BACK}),
    Phase.CUT_OVER: frozenset({Phase.BAKING, Phase.ROLLED_BACK}),
    Phase.BAKING: frozenset({Phase.COMPLETE, Phase.CUT_OVER, Phase.ROLLED_BACK}),
    Phase.COMPLETE: frozenset(),
    Phase.ROLLED_BACK: frozenset({Phase.DUAL_WRITE, Phase.ABORTED}),
    Phase.ABORTED: frozenset(),
}
"""Where each phase may go."""


class Intent(Enum):
    """What an operator asks of the controller."""

    START = "start"
    RAMP = "ramp"
    CUTOVER = "cutover"
    ROLLBACK = "rollback"
    COMPLETE = "complete"
    ABORT = "abort"
    PAUSE = "pause"
    RESUME = "resume"
    WITHDRAW = "withdraw"


_UNFINISHED: Final = frozenset(phase for phase, onward in TRANSITIONS.items() if onward)

ALLOWED: Final[dict[Intent, frozenset[Phase]]] = {
    Intent.START: frozenset({Phase.PLANNED, Phase.SNAPSHOT}),
    Intent.RAMP: frozenset({Phase.DUAL_WRITE, Phase.RAMPING, Phase.ROLLED_BACK}),
    Intent.CUTOVER: frozenset({Phase.RAMPING, Phase.CUT_OVER, Phase.BAKING}),
    Intent.ROLLBACK: frozenset({Phase.RAMPING, Phase.CUT_OVER, Phase.BAKING, Phase.ROLLED_BACK}),
    Intent.COMPLETE: frozenset({Phase.BAKING}),
    Intent.ABORT: frozenset(phase for phase, onward in TRANSITIONS.items() if Phase.ABORTED in onward),
    Intent.PAUSE: _UNFINISHED,
    Intent.RESUME: _UNFINISHED,
    Intent.WITHDRAW: _UNFINISHED,
}
"""In which phases each intent makes sense.

START in SNAPSHOT adds to the rows that are left out. RAMP in ROLLED_BACK goes on to DUAL_WRITE first, once all keys are
back. CUTOVER in CUT_OVER and BAKING takes up again the keys that were held out. ROLLBACK in ROLLED_BACK says what is to
become of the strays that its end waits for.
"""

REPLICATING: Final = frozenset({Phase.DUAL_WRITE, Phase.RAMPING, Phase.CUT_OVER, Phase.BAKING, Phase.ROLLED_BACK})
"""Where both directions of replication must run."""

MOVING: Final = frozenset({Phase.RAMPING, Phase.CUT_OVER, Phase.BAKING, Phase.ROLLED_BACK})
"""Where keys may be in handover, so that the sweeper watches."""

FINISHED: Final = frozenset(TRANSITIONS) - _UNFINISHED
"""Where nothing happens any more."""

PAUSE_RESTS: Final = (
    "phase changes",
    "flag documents",
    "the sweeper's moves",
    "snapshot, mapping and import",
    "the verifier's repairs",
    "commands other than resume and withdraw",
)
"""What a pause holds, in every phase (ADR 0017)."""

PAUSE_GOES_ON: Final = (
    "clients' calls, and the handovers they make at the share in force",
    "replication both ways and the feed",
    "help for keys left between the tables",
    "the verifier's passes",
    "halts, gates and status",
)
"""What a pause never touches: holding any of it would hurt clients, or widen the gap between the tables."""


def check_transition(here: Phase, there: Phase) -> None:
    """Make sure that the table has a transition.

    Raises:
        IllegalTransition: it has not; the message says what is possible.
    """
    if there not in TRANSITIONS[here]:
        onward = ", ".join(sorted(phase.value for phase in TRANSITIONS[here])) or "nowhere"
        raise IllegalTransition(f"{here.value} doesn't go to {there.value}; it goes to: {onward}")


def check_intent(intent: Intent, here: Phase) -> None:
    """Make sure that an intent makes sense in a phase.

    Raises:
        IllegalTransition: it doesn't; the message says where it would.
    """
    if here not in ALLOWED[intent]:
        phases = ", ".join(phase.value for phase in Phase if phase in ALLOWED[intent])
        raise IllegalTransition(f"{intent.value} is not possible in {here.value}; it is in: {phases}")
