"""The plain protocol's phases: one table owns, and a flip gives the rows to the other (ADR 0043, ADR 0045).

    PLANNED → CAPTURING → SNAPSHOT → CATCHING_UP → BOTH_WAYS ⇄ CUT_OVER → BAKING → COMPLETE
                                                       ↑                    ⇅
                                                       └────────────── ROLLED_BACK

In BOTH_WAYS the source table owns, in BAKING the target table. CUT_OVER and ROLLED_BACK are the flips, each of which
ends in one of these two: where it went, or where it came from when the attempt was given up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from crossfade.core.migration import flip_deeds
from crossfade.core.migration.acts import Answer, Begin, Enter, Finish, Wait, failed, waits_for
from crossfade.core.migration.asking import POINT_OF_NO_RETURN
from crossfade.core.migration.deeds import Elapsed, RunHook
from crossfade.core.migration.flipping import flip, given_up, holds
from crossfade.core.migration.gates import (
    Gate,
    GateResult,
    clean_pass,
    clock_skew,
    dead_letters,
    expiry,
    forward_lag,
    members,
    no_drift,
    no_stray,
    pass_since,
    precision,
    reverse_lag,
)
from crossfade.core.migration.moving import halt_to_clear
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.seen import Decided, Decision, Seen, Setup, done
from crossfade.core.migration.snapshotting import MARGIN_S, snapshot
from crossfade.core.migration.starting import capturing, catching_up, planned, settle
from crossfade.core.migration.state import Migration, Pending
from crossfade.core.migration.table import PhaseTable
from crossfade.core.protocol.plain.map import State, first_map
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.errors import OwnershipAmbiguous
from crossfade.core.values.shape import Side

_TRANSITIONS: Final = {
    Phase.PLANNED: frozenset({Phase.CAPTURING, Phase.ABORTED}),
    Phase.CAPTURING: frozenset({Phase.SNAPSHOT, Phase.ABORTED}),
    Phase.SNAPSHOT: frozenset({Phase.CATCHING_UP, Phase.ABORTED}),
    Phase.CATCHING_UP: frozenset({Phase.BOTH_WAYS, Phase.ABORTED}),
    Phase.BOTH_WAYS: frozenset({Phase.CUT_OVER, Phase.ABORTED}),
    Phase.CUT_OVER: frozenset({Phase.BAKING, Phase.BOTH_WAYS}),
    Phase.BAKING: frozenset({Phase.COMPLETE, Phase.ROLLED_BACK}),
    Phase.COMPLETE: frozenset[Phase](),
    Phase.ROLLED_BACK: frozenset({Phase.BOTH_WAYS, Phase.BAKING}),
    Phase.ABORTED: frozenset[Phase](),
}
_UNFINISHED: Final = frozenset(phase for phase, onward in _TRANSITIONS.items() if onward)
_FLIPPING: Final = frozenset({Phase.CUT_OVER, Phase.ROLLED_BACK})
_REPLICATING: Final = _FLIPPING | {Phase.BOTH_WAYS, Phase.BAKING}

STARTING_GATES: Final[tuple[Gate, ...]] = (clock_skew,)
"""Before CAPTURING, SNAPSHOT and CATCHING_UP."""

CATCHING_UP_GATES: Final[tuple[Gate, ...]] = (forward_lag, expiry, precision, clock_skew)
"""Before BOTH_WAYS."""

FLIP_GATES: Final[tuple[Gate, ...]] = (
    forward_lag,
    reverse_lag,
    members,
    dead_letters,
    clean_pass,
    no_drift,
    no_stray,
    expiry,
    precision,
    clock_skew,
)
"""Before a flip in either direction, once more before writes are held, and before COMPLETE."""

NO_RAMP: Final = (
    "this migration has no ramp: its writers follow no protocol, so all keys change hands at once, in one short write "
    "stop: crossfade cutover"
)


def plain_snapshot(state: Migration, seen: Seen) -> Decision[Answer]:
    """SNAPSHOT: as ever; and before anything is written to the target table, the map comes into being."""
    if "map" in state.done and "import" not in state.begun:
        since_us = (int(state.done["export"]["at_s"]) - MARGIN_S) * 1_000_000
        if state.done.get("owner-map", {}).get("since_us") != since_us:
            return (yield from _first_interval(state, since_us))
    return (yield from snapshot(state, seen))


def _first_interval(state: Migration, since_us: int) -> Decision[Answer]:
    """Begin the first interval: records that are older are never applied, whenever they come.

    A fresh export begins it once more, at its own moment: what was committed before that is in the new import.
    """
    if state.begun.get("owner-map", {}).get("since_us") != since_us:
        return Begin("owner-map", {"since_us": since_us})
    now, new = (yield from done(flip_deeds.LookAtMap())), first_map(since_us)
    if now is not None:
        if now.state is not State.OPEN or len(now.intervals) != 1:
            return failed(OwnershipAmbiguous(f"the map is at epoch {now.epoch} before there is a snapshot"))
        new = new if now == new else now.__class__(now.epoch + 1, now.owner, now.state, new.intervals)
    if now is not None and now.interval.since_us == since_us:
        return Finish("owner-map", {"since_us": since_us, "epoch": now.epoch})
    if not (yield from done(flip_deeds.SwapMap(now, new))):
        return Wait("map", "another look at the map, which has changed meanwhile")
    return Finish("owner-map", {"since_us": since_us, "epoch": new.epoch})


def plain_catching_up(state: Migration, seen: Seen) -> Decision[Answer]:
    """CATCHING_UP: the guard on the standby, where it is permitted; then as ever."""
    if seen.setup.flip.guard and "guarded" not in state.done:
        if "guarded" not in state.begun:
            return Begin("guarded", {"table": seen.setup.tables[Side.TARGET]})
        now = yield from done(flip_deeds.LookAtMap())
        waiting = yield from done(flip_deeds.Guard(Side.TARGET, now.epoch if now is not None else 0))
        return Wait("guard", waiting) if waiting else Finish("guarded", {})
    return (yield from catching_up(state, seen))


def both_ways(state: Migration, seen: Seen) -> Decided:
    """BOTH_WAYS: the source table owns; wait for `cutover`, and for the gates before it."""
    intent = state.asked(Intent.CUTOVER)
    if intent is None:
        return Wait("command", "crossfade cutover")
    return _to_flip(state, seen, intent, Side.TARGET)


def baking(state: Migration, seen: Seen) -> Decided:
    """BAKING: the target table owns; wait for `rollback`, which flips back, or for `complete`."""
    intent = state.asked(Intent.ROLLBACK)
    if intent is not None:
        return _to_flip(state, seen, intent, Side.SOURCE)
    intent = state.asked(Intent.COMPLETE)
    if intent is None:
        return Wait("command", "crossfade complete, or crossfade rollback")
    return _complete(state, seen, intent)


def _to_flip(state: Migration, seen: Seen, intent: Pending, destination: Side) -> Decision[Answer]:
    because = given_up(state, intent)
    if because:
        return settle(
            intent, "given_up", f"{because}. The {destination.other.value} table owns, and takes writes again"
        )
    refused = seen.setup.flip.refusal
    if refused:
        return settle(intent, "refused", refused)
    results = yield from _gates(state, seen)
    there = Phase.CUT_OVER if destination is Side.TARGET else Phase.ROLLED_BACK
    waits = halt_to_clear(state, results) or waits_for(results)
    return waits or Enter(state.phase, there, results, {"intent": intent.number, "who": intent.who})


def _gates(state: Migration, seen: Seen) -> Decision[list[GateResult]]:
    """Judge the gates; the clean pass among them must have begun after the last hold, and after the last stray.

    What a hold copied, of an attempt that was given up too, is proven by that pass alone.
    """
    results = seen.judge(state.table.gates[state.phase])
    last = state.facts.get("opened")
    if last is not None:
        since_s = yield from done(Elapsed(Side(last["owner"]), CommitUs(int(last["moment_us"]))))
        results = pass_since(results, seen.pass_began_s, since_s, "writes were held last")
    if seen.stray_age_s is not None:
        results = pass_since(results, seen.pass_began_s, seen.stray_age_s, "the last write outside the protocol")
    return results


# COMPLETE and ABORTED.


def _complete(state: Migration, seen: Seen, intent: Pending) -> Decision[Answer]:
    if POINT_OF_NO_RETURN not in state.begun:
        results = yield from _gates(state, seen)
        return halt_to_clear(state, results) or waits_for(results) or Begin(POINT_OF_NO_RETURN, {})
    for name, decide in _COMPLETING:
        if name not in state.done:
            return (yield from decide(state, seen))
    guarded = seen.setup.tables[Side.SOURCE] if seen.setup.flip.guard else None
    return Enter(state.phase, Phase.COMPLETE, (), {"intent": intent.number, "who": intent.who, "guarded": guarded})


def _ttl(name: str, side: Side, *, on: bool) -> Callable[[Migration, Seen], Decision[Answer]]:
    def decide(state: Migration, seen: Seen) -> Decision[Answer]:
        if name not in state.begun:
            return Begin(name, {"table": seen.setup.tables[side]})
        waiting = yield from done(flip_deeds.SwitchTtl(side, on))
        return Wait("ttl", waiting) if waiting else Finish(name, {})

    return decide


def _stopped(state: Migration, seen: Seen) -> Decision[Answer]:
    waits = seen.shut(forward_lag, reverse_lag)
    if waits is not None:
        return waits
    if "stopped" not in state.begun:
        return Begin("stopped", {})
    command = seen.setup.stop
    if not command:
        return Finish("stopped", {"by": "the operator stops the replicators once the phase is COMPLETE"})
    code, output = yield from done(RunHook(command))
    if code:
        return Wait("hook", f"{command[0]} to succeed: it ended with {code}: {output}")
    return Finish("stopped", {"by": "hook", "command": list(command), "output": output})


_COMPLETING: Final[tuple[tuple[str, Callable[[Migration, Seen], Decision[Answer]]], ...]] = (
    # The source's removals still cross to the target: both appliers run until the TTL is the target table's own.
    ("ttl-off", _ttl("ttl-off", Side.SOURCE, on=False)),
    ("ttl-on", _ttl("ttl-on", Side.TARGET, on=True)),
    ("stopped", _stopped),
)


def abort(state: Migration, seen: Seen, intent: Pending) -> Decision[Answer]:
    """Give the migration up while the source table owns. What stays is the operator's to keep or to remove."""
    if seen.setup.flip.guard and "guarded" in state.facts and "unguarded" not in state.done:
        if "unguarded" not in state.begun:
            return Begin("unguarded", {"table": seen.setup.tables[Side.TARGET]})
        now = yield from done(flip_deeds.LookAtMap())
        waiting = yield from done(flip_deeds.Unguard(Side.TARGET, now.epoch + 1 if now is not None else 0))
        return Wait("guard", waiting) if waiting else Finish("unguarded", {})
    told = {"intent": intent.number, "who": intent.who, "left_behind": plain_left_by_abort(seen.setup, state)}
    return Enter(state.phase, Phase.ABORTED, (), told)


def plain_left_by_abort(setup: Setup, state: Migration) -> list[str]:
    """List what stays after an abort, for somebody to remove or to keep."""
    name = setup.migration
    left = [
        f"the name {name}, which can't be used again: another try needs another name and another target table",
        f"the control tables of {name}, with the journal and the map",
    ]
    if "streams" in state.facts:
        left.append(f"the streams {', '.join(setup.streams)}, and what the tables send to them")
    if "export" in state.facts:
        left.append("the files of export and import in the bucket")
    if "import" in state.facts:
        left.append(f"the table {setup.tables[Side.TARGET]}, which owns nothing")
    if "flipped" in state.facts:
        left.append(f"cf_ attributes and tombstones in {setup.tables[Side.SOURCE]}: crossfade clean")
    return left


def reached(state: Migration, asked: Pending) -> str:
    """Say what a command has brought about, when it has; by the journal, so that a kill in between doesn't matter."""
    match asked.intent, state.phase:
        case (Intent.START, Phase.BOTH_WAYS):
            return "the target table follows the source table"
        case (Intent.CUTOVER, Phase.BAKING):
            return f"the target table owns{_stopped_for(state, asked)}"
        case (Intent.ROLLBACK, Phase.BOTH_WAYS):
            return f"the source table owns{_stopped_for(state, asked)}"
        case (Intent.COMPLETE, Phase.COMPLETE):
            return "the target table is on its own. What the migration left in it: crossfade clean"
        case (Intent.ABORT, Phase.ABORTED):
            return f"the source table owns, as it always did. What stays: {'; '.join(state.left_behind)}"
    return ""


def _stopped_for(state: Migration, asked: Pending) -> str:
    if state.entered < asked.number or "opened" not in state.facts:
        return ""
    last = state.facts["opened"]
    return f"; writes were stopped for {last['stop_s']:.1f} s, as the {last['measured_by']} measured"


PLAIN_PHASES: Final = PhaseTable(
    transitions=_TRANSITIONS,
    # START in SNAPSHOT adds to the rows that are left out. CUTOVER in ROLLED_BACK, and ROLLBACK in CUT_OVER, give up
    # the flip that is under way.
    allowed={
        Intent.START: frozenset({Phase.PLANNED, Phase.SNAPSHOT}),
        Intent.RAMP: frozenset[Phase](),
        Intent.CUTOVER: frozenset({Phase.BOTH_WAYS, Phase.ROLLED_BACK}),
        Intent.ROLLBACK: frozenset({Phase.CUT_OVER, Phase.BAKING}),
        Intent.COMPLETE: frozenset({Phase.BAKING}),
        Intent.ABORT: frozenset(phase for phase, onward in _TRANSITIONS.items() if Phase.ABORTED in onward),
        Intent.PAUSE: _UNFINISHED,
        Intent.RESUME: _UNFINISHED,
        Intent.WITHDRAW: _UNFINISHED,
    },
    replicating=_REPLICATING,
    moving=frozenset[Phase](),
    gates={
        Phase.PLANNED: STARTING_GATES,
        Phase.CAPTURING: STARTING_GATES,
        Phase.SNAPSHOT: STARTING_GATES,
        Phase.CATCHING_UP: CATCHING_UP_GATES,
        **dict.fromkeys(_REPLICATING, FLIP_GATES),
    },
    halting=dict.fromkeys(_REPLICATING, (no_stray, precision)),
    decide={
        Phase.PLANNED: planned,
        Phase.CAPTURING: capturing,
        Phase.SNAPSHOT: plain_snapshot,
        Phase.CATCHING_UP: plain_catching_up,
        Phase.BOTH_WAYS: both_ways,
        Phase.CUT_OVER: lambda state, seen: flip(state, seen, Side.TARGET),
        Phase.BAKING: baking,
        Phase.ROLLED_BACK: lambda state, seen: flip(state, seen, Side.SOURCE),
    },
    reached=reached,
    left_behind=plain_left_by_abort,
    abort=abort,
    holds=holds,
    refused={Intent.RAMP: NO_RAMP},
    flags=False,
)
