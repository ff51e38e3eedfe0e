"""BAKING to COMPLETE, in the steps of design.md, section 5, and what must be true before them; and ABORTED."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from crossfade.core.migration.acts import Answer, Begin, Enter, Finish, Publish, Wait, gates_json, waits_for
from crossfade.core.migration.asking import POINT_OF_NO_RETURN, left_by_abort
from crossfade.core.migration.deeds import BringCanaryHome, RunHook
from crossfade.core.migration.gates import forward_lag, heartbeats, reverse_lag
from crossfade.core.migration.moving import (
    all_moved,
    cutover_again,
    drained,
    halt_to_clear,
    named,
    rolled_back,
    settled,
)
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.seen import Decision, Seen, done
from crossfade.core.migration.starting import settle
from crossfade.core.migration.state import Migration, Pending
from crossfade.core.values.shape import Side

LEAVE_BEHIND: Final = "leave_behind"
"""Argument of `complete`: how many keys that can't move are left in the source table."""


def baking(state: Migration, seen: Seen) -> Decision[Answer]:
    """BAKING: wait for `complete`, then take its steps; or for `cutover`, which takes up what was held out."""
    intent = state.asked(Intent.CUTOVER)
    if intent is not None:
        return (yield from cutover_again(state, intent))
    intent = state.asked(Intent.COMPLETE)
    if intent is None:
        return Wait("command", "crossfade complete, or crossfade rollback")
    if POINT_OF_NO_RETURN not in state.begun:
        answer = yield from _before_the_point_of_no_return(state, seen, intent)
        return answer or Begin(POINT_OF_NO_RETURN, {})  # from here on there is no way back
    for name, decide in _STEPS:
        if name not in state.done:
            return (yield from decide(state, seen, intent))
    results = yield from drained(state, seen)
    told = {"intent": intent.number, "who": intent.who}
    return waits_for(results) or Enter(state.phase, Phase.COMPLETE, results, told)


def _before_the_point_of_no_return(state: Migration, seen: Seen, intent: Pending) -> Decision[Answer | None]:
    """Make sure that nothing would be lost; None when `complete` may be published.

    The proofs are this command's own: what was true when BAKING began may be weeks old.
    """
    answer = (yield from settled(state, f"read-past-{intent.number}")) or halt_to_clear(state)
    if answer is not None:
        return answer
    swept = f"swept-{intent.number}"
    if swept not in state.done:
        return (yield from all_moved(state, seen, Side.TARGET, swept))
    found = state.done[swept]["pass"]
    wanted = int(intent.arguments.get(LEAVE_BEHIND) or 0)
    if int(found["held_out"]) != wanted:
        return settle(intent, "refused", _left_behind(found, wanted))
    results = yield from drained(state, seen, swept)
    waits = waits_for(results)
    if waits is not None or "at-final" in state.done:
        return waits
    return Finish("at-final", {"gates": gates_json(results), "left_behind": wanted, "held": found["held"]})


def _left_behind(found: Mapping[str, Any], wanted: int) -> str:
    count = int(found["held_out"])
    if not count:
        return f"--leave-behind says {wanted}, but all keys are in the target table: drop the option"
    return (
        f"{count} keys can't move to the target table, but --leave-behind says {wanted}: {named(found['held'])}. "
        "Correct the rows or the mapping, then: crossfade cutover --execute; or leave them in the source table, where "
        f"they can no longer be written: --leave-behind {count}"
    )


def _publish_complete(state: Migration, _seen: Seen, _intent: Pending) -> Decision[Answer]:
    yield from ()
    if not state.document.complete:
        return Publish(state.document._replace(complete=True), state.dual_write)
    return Finish(POINT_OF_NO_RETURN, {})


def _at_complete(_state: Migration, seen: Seen, _intent: Pending) -> Decision[Answer]:
    yield from ()
    return seen.shut(heartbeats) or Finish("at-complete", {"pods": seen.pods})


def _scans_again(state: Migration, seen: Seen, _intent: Pending) -> Decision[Answer]:
    return (yield from all_moved(state, seen, Side.TARGET))


def _revoke(state: Migration, seen: Seen, intent: Pending) -> Decision[Answer]:
    command = seen.setup.revoke
    if not command:
        if not intent.arguments.get("revoked"):  # the hook was there when the command was taken
            cure = f"crossfade complete --confirm {seen.setup.migration} --revoked --execute"
            told = f"the API's right to write the source table to be revoked; then say so: {cure}"
            return Wait("revoked", told, cure)
        # Nothing here can check it: the journal says whose word it is.
        return Finish("revoked", {"by": "the operator's word", "who": intent.who})
    if "revoked" not in state.begun:
        return Begin("revoked", {"command": list(command)})
    return (yield from _hooked("revoked", command))


def _hooked(name: str, command: tuple[str, ...]) -> Decision[Answer]:
    code, output = yield from done(RunHook(command))
    if code:
        return Wait("hook", f"{command[0]} to succeed: it ended with {code}: {output}")
    return Finish(name, {"by": "hook", "command": list(command), "output": output})


def _stop(state: Migration, seen: Seen, _intent: Pending) -> Decision[Answer]:
    waits = seen.shut(forward_lag, reverse_lag)
    if waits is not None:
        return waits
    if "stopped" not in state.begun:
        return Begin("stopped", {})
    if state.dual_write:
        return Publish(state.document, dual_write=False)
    waits = seen.shut(heartbeats)
    if waits is not None:
        return waits
    if seen.setup.stop:
        return (yield from _hooked("stopped", seen.setup.stop))
    return Finish("stopped", {"by": "the operator stops the replicators once the phase is COMPLETE"})


_STEPS: Final[tuple[tuple[str, Callable[[Migration, Seen, Pending], Decision[Answer]]], ...]] = (
    (POINT_OF_NO_RETURN, _publish_complete),
    ("at-complete", _at_complete),
    ("all-moved", _scans_again),
    ("revoked", _revoke),
    ("stopped", _stop),
)


def abort(state: Migration, seen: Seen, intent: Pending) -> Decision[Answer]:
    """Give the migration up: the pods stop copying, the canary goes home; streams and tables stay for the operator."""
    if state.phase is Phase.ROLLED_BACK and "settled" not in state.done:
        return (yield from rolled_back(state, seen))
    if state.dual_write:
        return Publish(state.document, dual_write=False)
    if state.phase is Phase.BOTH_WAYS and "canary-home" not in state.done:
        yield from done(BringCanaryHome())
        return Finish("canary-home", {})
    told = {"intent": intent.number, "who": intent.who, "left_behind": left_by_abort(seen.setup, state)}
    return Enter(state.phase, Phase.ABORTED, (), told)


def reached(state: Migration, asked: Pending) -> str:
    """Say what an intent has brought about, when it has; by the journal, so that a kill in between doesn't matter."""
    match asked.intent, state.phase:
        case (Intent.START, Phase.BOTH_WAYS) if "dual-write" in state.done:
            return "dual writes are on"
        case (Intent.CUTOVER, Phase.BAKING) if state.entered > asked.number:
            held_out = int(state.facts["all-moved"]["pass"]["held_out"])
            return "all keys are in the target table" + (f", but {held_out} that can't move" if held_out else "")
        case (Intent.COMPLETE, Phase.COMPLETE):
            return "the target table is the only owner"
        case (Intent.ABORT, Phase.ABORTED):
            return f"every key belongs to the source table. What stays: {'; '.join(state.left_behind)}"
        case (Intent.ROLLBACK, Phase.ROLLED_BACK) if "settled" in state.done:
            return "all keys are on the source table"
    return ""
