"""The keyed protocol's phases (design.md, section 5), and whose table a migration goes by."""

from __future__ import annotations

from typing import Final

from crossfade.core.migration.asking import left_by_abort
from crossfade.core.migration.completing import abort, baking, reached
from crossfade.core.migration.gates import (
    Gate,
    calls_reported,
    clean_pass,
    clock_skew,
    dead_letters,
    error_rate,
    expiry,
    feed,
    forward_lag,
    heartbeats,
    latency,
    no_drift,
    no_stray,
    precision,
    quiet_window,
    reverse_lag,
    reverse_proven,
)
from crossfade.core.migration.moving import cut_over, dual_write, ramping, roll_back, rolled_back
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.plain import PLAIN_PHASES
from crossfade.core.migration.snapshotting import snapshot
from crossfade.core.migration.starting import capturing, catching_up, planned
from crossfade.core.migration.table import PhaseTable
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.protocol.seam import WriterProtocol
from crossfade.core.values.errors import ConfigError

_TRANSITIONS: Final = {
    Phase.PLANNED: frozenset({Phase.CAPTURING, Phase.ABORTED}),
    Phase.CAPTURING: frozenset({Phase.SNAPSHOT, Phase.ABORTED}),
    Phase.SNAPSHOT: frozenset({Phase.CATCHING_UP, Phase.ABORTED}),
    Phase.CATCHING_UP: frozenset({Phase.BOTH_WAYS, Phase.ABORTED}),
    Phase.BOTH_WAYS: frozenset({Phase.RAMPING, Phase.ABORTED}),
    Phase.RAMPING: frozenset({Phase.CUT_OVER, Phase.ROLLED_BACK}),
    Phase.CUT_OVER: frozenset({Phase.BAKING, Phase.ROLLED_BACK}),
    Phase.BAKING: frozenset({Phase.COMPLETE, Phase.CUT_OVER, Phase.ROLLED_BACK}),
    Phase.COMPLETE: frozenset[Phase](),
    Phase.ROLLED_BACK: frozenset({Phase.BOTH_WAYS, Phase.ABORTED}),
    Phase.ABORTED: frozenset[Phase](),
}
_UNFINISHED: Final = frozenset(phase for phase, onward in _TRANSITIONS.items() if onward)
_MOVING: Final = frozenset({Phase.RAMPING, Phase.CUT_OVER, Phase.BAKING, Phase.ROLLED_BACK})
_REPLICATING: Final = _MOVING | {Phase.BOTH_WAYS}

STARTING_GATES: Final[tuple[Gate, ...]] = (clock_skew,)
"""Before CAPTURING, SNAPSHOT and CATCHING_UP."""

CATCHING_UP_GATES: Final[tuple[Gate, ...]] = (forward_lag, expiry, precision, clock_skew)
"""Before BOTH_WAYS."""

RAMPING_GATES: Final[tuple[Gate, ...]] = (
    forward_lag,
    reverse_lag,
    quiet_window,
    dead_letters,
    clean_pass,
    no_drift,
    no_stray,
    reverse_proven,
    expiry,
    precision,
    heartbeats,
    clock_skew,
    feed,
    calls_reported,
)
"""Before RAMPING, and before each further step of the ramp."""

DRAINED_GATES: Final[tuple[Gate, ...]] = (
    forward_lag,
    reverse_lag,
    dead_letters,
    clean_pass,
    no_drift,
    no_stray,
    precision,
    heartbeats,
    clock_skew,
    feed,
)
"""Before BAKING and COMPLETE, and before ROLLED_BACK is left."""

KEYED_PHASES: Final = PhaseTable(
    transitions=_TRANSITIONS,
    # START in SNAPSHOT adds to the rows that are left out. RAMP in ROLLED_BACK goes on to BOTH_WAYS first, once all
    # keys are back. CUTOVER in CUT_OVER and BAKING takes up again the keys that were held out. ROLLBACK in ROLLED_BACK
    # says what is to become of the strays that its end waits for.
    allowed={
        Intent.START: frozenset({Phase.PLANNED, Phase.SNAPSHOT}),
        Intent.RAMP: frozenset({Phase.BOTH_WAYS, Phase.RAMPING, Phase.ROLLED_BACK}),
        Intent.CUTOVER: frozenset({Phase.RAMPING, Phase.CUT_OVER, Phase.BAKING}),
        Intent.ROLLBACK: _MOVING,
        Intent.COMPLETE: frozenset({Phase.BAKING}),
        Intent.ABORT: frozenset(phase for phase, onward in _TRANSITIONS.items() if Phase.ABORTED in onward),
        Intent.PAUSE: _UNFINISHED,
        Intent.RESUME: _UNFINISHED,
        Intent.WITHDRAW: _UNFINISHED,
    },
    replicating=_REPLICATING,
    moving=_MOVING,
    gates={
        Phase.PLANNED: STARTING_GATES,
        Phase.CAPTURING: STARTING_GATES,
        Phase.SNAPSHOT: STARTING_GATES,
        Phase.CATCHING_UP: CATCHING_UP_GATES,
        Phase.BOTH_WAYS: RAMPING_GATES,
        Phase.RAMPING: RAMPING_GATES,
        Phase.CUT_OVER: DRAINED_GATES,
        Phase.BAKING: DRAINED_GATES,
        Phase.ROLLED_BACK: DRAINED_GATES,
    },
    # Raises and the cutover in RAMPING, the sweeper in CUT_OVER, and the steps of COMPLETE before its point of no
    # return. Nothing halts a rollback: while strays are about, its end waits. Precision is among them since all proofs
    # are about commit times: without µs, a write may look older than the moment that it followed, and the markers that
    # tell such a moment don't come (ADR 0019).
    halting={
        **dict.fromkeys(_REPLICATING, (no_stray, precision)),
        Phase.RAMPING: (error_rate, latency, no_drift, no_stray, precision),
    },
    decide={
        Phase.PLANNED: planned,
        Phase.CAPTURING: capturing,
        Phase.SNAPSHOT: snapshot,
        Phase.CATCHING_UP: catching_up,
        Phase.BOTH_WAYS: dual_write,
        Phase.RAMPING: ramping,
        Phase.CUT_OVER: cut_over,
        Phase.BAKING: baking,
        Phase.ROLLED_BACK: rolled_back,
    },
    reached=reached,
    left_behind=left_by_abort,
    abort=abort,
    roll_back=roll_back,
)


def phases_of(protocol: WriterProtocol) -> PhaseTable:
    """Return the phases that a migration under a writer protocol goes through.

    Raises:
        ConfigError: nobody has written any for it.
    """
    if protocol is KEYED:
        return KEYED_PHASES
    if protocol is PLAIN:
        return PLAIN_PHASES
    raise ConfigError(f"there is no phase table for the writer protocol {type(protocol).__name__}")
