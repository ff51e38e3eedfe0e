"""The state machine: state and what is seen in; what comes next out (design.md, section 5; ADR 0030).

    step(state, seen) -> Wait | Deed | Record

A Wait ends the round. A Deed is carried out, and the same question asked with its answer. A Record (a phase entered,
a step finished, a command settled) is journaled, and a new round begins with the state folded from that. Nothing here
reads a clock or reaches the world, so a dry run asks the same question (`crossfade.core.migration.foresight`).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from crossfade.core.migration.acts import Admit, Answer, Halt, Publish, Record, Rest, Wait, Withdraw
from crossfade.core.migration.asking import ENTRY, refusal
from crossfade.core.migration.deeds import Deed
from crossfade.core.migration.gates import halting
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.seen import Decided, Seen
from crossfade.core.migration.starting import settle
from crossfade.core.migration.state import Migration, Pending


def step(state: Migration, seen: Seen) -> Answer | Deed[Any]:
    """Say what comes next: wait, act, or enter a phase.

    Args:
        state: of the migration, as its journal tells.
        seen: all that is known beside it, with the answers of this round's deeds.
    """
    decided = _decided(state, seen)
    if not isinstance(decided, Generator):
        return decided
    try:
        deed = next(decided)
        while deed in seen.answers:
            deed = decided.send(seen.answers[deed])
    except StopIteration as end:
        answer: Wait | Record = end.value
        return answer
    return deed


def _decided(state: Migration, seen: Seen) -> Decided:
    for pending in state.pending:
        if not pending.admitted:
            return _admitted(state, seen, pending)
    intent = state.intent
    if intent is not None and (reached := state.table.reached(state, intent)):
        return settle(intent, "done", reached)
    if intent is not None and _is_expired(intent, seen):
        return settle(intent, "expired", f"waiting for: {seen.waited_for}; nothing was done for it")
    if state.phase in state.table.finished:
        return Wait("finished", "nothing: the migration has ended")
    halt = _halt(state, seen)
    if halt is not None:
        return halt
    if state.paused and not state.table.holds(state):
        return _paused(state)
    if not state.is_published:
        return Publish(state.document, state.dual_write)
    if intent is not None and intent.intent is Intent.ABORT:
        aborted: Decided = state.table.abort(state, seen, intent)
        return aborted
    roll_back = state.table.roll_back
    if roll_back and intent is not None and intent.intent is Intent.ROLLBACK and state.phase is not Phase.ROLLED_BACK:
        rolled_back: Decided = roll_back(state, intent)
        return rolled_back
    decided: Decided = state.table.decide[state.phase](state, seen)
    return decided


# Commands.


def _admitted(state: Migration, seen: Seen, pending: Pending) -> Record:
    """Take up, refuse or replace a command."""
    if _is_expired(pending, seen):
        return settle(pending, "expired", "before it was taken up; nothing was done for it")
    revokes = bool(seen.setup.revoke)
    because = refusal(state, pending.intent, pending.arguments, migration=seen.setup.migration, revokes=revokes)
    if because:
        return settle(pending, "refused", because)
    if pending.intent is Intent.WITHDRAW:
        return _withdrawn(state, pending)
    if pending.intent in {Intent.PAUSE, Intent.RESUME}:
        return Rest(pending.intent is Intent.PAUSE, pending.who, settle(pending, "done"))
    current = state.intent
    if current is None:
        return Admit(pending.number)
    return Admit(pending.number, settle(current, "superseded", f"by {pending.intent.value}, entry {pending.number}"))


def _withdrawn(state: Migration, asked: Pending) -> Withdraw:
    target = next(each for each in state.pending if each.number == asked.arguments[ENTRY])
    stays = "what it has begun continues or stays" if target.acted else "nothing was done for it"
    told = f"{target.intent.value}, entry {target.number}, is withdrawn; {stays}"
    return Withdraw(settle(target, "withdrawn", f"by {asked.who}; {stays}"), settle(asked, "done", told))


def _is_expired(pending: Pending, seen: Seen) -> bool:
    """Say whether a command has expired: whoever gave it no longer counts on it, so nothing may be begun for it."""
    return 0 < pending.expires_us <= seen.now_us and not pending.acted


# What holds a migration up.


def _halt(state: Migration, seen: Seen) -> Halt | None:
    """Halt if a gate of this phase broke, continue if all are open again; None otherwise."""
    gates = state.table.halting.get(state.phase, ())
    results = seen.judge(gates)
    because = halting(results, halted=bool(state.halt)) if seen.gates else state.halt
    return Halt(because, results) if bool(because) != bool(state.halt) else None


def _paused(state: Migration) -> Wait:
    waiting = f"; {state.intent.intent.value} is waiting for that, too" if state.intent is not None else ""
    cure = "crossfade resume --execute"
    return Wait("paused", f"{cure}: {state.paused_by or 'an operator'} paused the migration{waiting}", cure)
