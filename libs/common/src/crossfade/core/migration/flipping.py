"""A flip under the plain protocol: hold, prove, drain, seal, compare, flip; and the end of a hold (ADR 0045).

    hold → draining → guarded → hooked → held → drained → sealed → acknowledged → compared → flipped
      └──────────────── given-up → taken-back ────────────────┘                                 │
                                        └─────────→ purged → released → opened ←────────────────┘

An attempt belongs to the process that began it: the settling time and the keys to compare are in its memory. Whoever
finds another's hold ends it, and takes no attempt up. What has become of a flip says the map alone: once its owner is
the destination the hold is ended there, before that where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from crossfade.core.migration import flip_deeds
from crossfade.core.migration.acts import Answer, Begin, Enter, Finish, Wait, failed, gates_json, waits_for
from crossfade.core.migration.asking import COMPARE, HOLD_AT_MOST, WHOLE
from crossfade.core.migration.deeds import Elapsed, TakeMoment
from crossfade.core.migration.gates import dead_letters, halting, no_stray, precision
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.seen import Decision, Seen, done
from crossfade.core.migration.starting import settle
from crossfade.core.migration.state import Migration, Pending
from crossfade.core.protocol.plain.map import (
    SHORTEST_US,
    OwnerMap,
    State,
    drained_from,
    flipped_from,
    opened_from,
    sealed_from,
    taken_back_from,
)
from crossfade.core.protocol.plain.members import Member
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.errors import OwnershipAmbiguous
from crossfade.core.values.shape import Side

VERBS: Final = {Side.TARGET: Intent.CUTOVER, Side.SOURCE: Intent.ROLLBACK}
"""Which command flips to a side."""

HOMES: Final = {Side.SOURCE: Phase.BOTH_WAYS, Side.TARGET: Phase.BAKING}
"""Where a migration stands while a side owns, and the map is open."""

ENDING: Final = (no_stray, precision, dead_letters)
"""Gates that give up an attempt when they shut during the hold."""

LEAST_OWNED_S: Final = SHORTEST_US // 1_000_000 + 2
"""How long a table owns before writes are held: moments are right to a second, and a hold must not find out that the
interval is too short."""

ANOTHER_LOOK: Final = Wait("map", "another look at the map, which has changed meanwhile")

Step = Callable[[Migration, Seen, OwnerMap], Decision[Answer]]


def flip(state: Migration, seen: Seen, destination: Side) -> Decision[Answer]:
    """CUT_OVER and ROLLED_BACK: give the rows to `destination`, or end the hold where they are."""
    now = yield from done(flip_deeds.LookAtMap())
    if now is None:
        return failed(OwnershipAmbiguous("the map item is gone: restore the journal's table before anything else"))
    if "hold" not in state.begun:
        return (yield from _before_the_hold(state, seen, now, destination))
    if now.owner is destination:
        if "flipped" not in state.done:  # we, or the coordinator before us, died between the swap and the journal
            return Finish("flipped", {"epoch": now.epoch, "found": True})
    elif "given-up" not in state.done:
        because = yield from _gives_up(state, seen, destination)
        if because:
            return _giving_up(state, because, _copied(state))
        for name, decide in _STEPS:
            if name not in state.done:
                return (yield from decide(state, seen, now))
    for name, decide in _ENDING:
        if name not in state.done:
            return (yield from decide(state, seen, now))
    told = {name: state.done["opened"][name] for name in ("stop_s", "measured_by")}
    return Enter(state.phase, HOMES[now.owner], (), {"epoch": now.epoch, "owner": now.owner.value, **told})


def holds(state: Migration) -> bool:
    """Say whether writes are held, or may be: then neither a pause nor a halt may come between."""
    return state.phase in {Phase.CUT_OVER, Phase.ROLLED_BACK} and "hold" in state.begun


def given_up(state: Migration, asked: Pending) -> str:
    """Say why the attempt of a command was given up; empty if it wasn't."""
    told = state.facts.get("given-up", {})
    return str(told["because"]) if told.get("intent") == asked.number and not holds(state) else ""


# Before the hold: nothing is stopped yet.


def _before_the_hold(state: Migration, seen: Seen, now: OwnerMap, destination: Side) -> Decision[Answer]:
    intent = state.asked(VERBS[destination])
    if intent is None or now.owner is destination:
        return Enter(state.phase, HOMES[now.owner], (), {"because": "withdrawn before anything was held"})
    if now.state is not State.OPEN:
        return failed(OwnershipAmbiguous(f"the map is {now.state.value} at epoch {now.epoch}, and nobody holds writes"))
    setup = seen.setup.flip
    refused = setup.refusal
    if refused:
        return settle(intent, "refused", refused)
    owned_s = yield from done(Elapsed(now.owner, CommitUs(now.interval.since_us)))
    if owned_s < LEAST_OWNED_S:
        return Wait("interval", f"the {now.owner.value} table to own for {LEAST_OWNED_S} s, {owned_s:.0f} s by now")
    waits = waits_for(seen.judge(state.table.gates[state.phase]))
    if waits is not None:
        return waits
    if setup.guard:
        refused = yield from done(flip_deeds.LooksHeld(now.owner))
        if refused:
            return Wait("guard", refused)
    if seen.pass_began_s is None:
        return Wait("changed_keys", "the verifier to tell when its last clean pass began")
    found = yield from done(flip_deeds.WorkOff(now.owner))
    if found.unknown:
        return Wait("changed_keys", found.unknown)
    if found.left > setup.changed_at_most:
        told = f"{found.left} keys changed since the last clean pass and are still to be compared"
        return Wait("changed_keys", f"{told}; {setup.changed_at_most} may be left when writes are held")
    evidence = {
        "by": seen.driver,
        "intent": intent.number,
        "epoch": now.epoch,
        "owner": now.owner.value,
        "at_us": seen.now_us,
        "at_most_s": float(intent.arguments.get(HOLD_AT_MOST) or setup.at_most_s),
        "whole": intent.arguments.get(COMPARE) == WHOLE,
        "changed": found._asdict(),
    }
    return Begin("hold", evidence)


def _gives_up(state: Migration, seen: Seen, destination: Side) -> Decision[str]:
    """Say why the attempt can't go on; empty when it can."""
    hold, verb = state.begun["hold"], VERBS[destination]
    if hold["by"] != seen.driver:
        return "another controller took over while writes were held"
    intent = state.intent
    if intent is None or intent.number != hold["intent"]:
        return f"the {verb.value} was withdrawn" if intent is None else f"{intent.intent.value} took its place"
    if state.paused:
        return f"{state.paused_by or 'an operator'} paused the migration"
    held_s = yield from done(flip_deeds.HeldFor())
    if held_s > hold["at_most_s"]:
        step = next((name for name, _ in _STEPS if name not in state.done), "flipped")
        stood = f"it stood at: {step}, {seen.waited_for}"
        return f"writes have been held for {held_s:.1f} s, {hold['at_most_s']:g} s are allowed; {stood}"
    shut = halting(seen.judge(ENDING), halted=False)
    return f"a gate shut during the hold: {shut}" if shut else ""


def _giving_up(state: Migration, because: str, copied: int = 0) -> Finish:
    return Finish("given-up", {"because": because, "intent": state.begun["hold"]["intent"], "copied": copied})


def _copied(state: Migration) -> int:
    return int(state.done.get("compared", {}).get("copied", 0))


# The steps up to the flip.


def _swapped(name: str, now: OwnerMap, new: OwnerMap, **evidence: Any) -> Decision[Answer]:
    """Change the map; a swap that was lost begins with another look."""
    if not (yield from done(flip_deeds.SwapMap(now, new))):
        return ANOTHER_LOOK
    return Finish(name, {"epoch": new.epoch, **evidence})


def _draining(_state: Migration, _seen: Seen, now: OwnerMap) -> Decision[Answer]:
    if now.state is State.DRAINING:  # our swap's answer was lost
        return Finish("draining", {"epoch": now.epoch})
    return (yield from _swapped("draining", now, drained_from(now)))


def _guarded(state: Migration, seen: Seen, now: OwnerMap) -> Decision[Answer]:
    if "guarded" not in state.begun:
        return Begin("guarded", {"table": seen.setup.tables[now.owner], "is_on": seen.setup.flip.guard})
    if seen.setup.flip.guard:
        waiting = yield from done(flip_deeds.Guard(now.owner, now.epoch))
        if waiting:
            return Wait("guard", waiting)
    return Finish("guarded", {"is_on": seen.setup.flip.guard})


def _hooked(state: Migration, seen: Seen, now: OwnerMap) -> Decision[Answer]:
    command = seen.setup.flip.hold
    if "hooked" not in state.begun:
        return Begin("hooked", {"command": list(command), "owner": now.owner.value, "epoch": now.epoch})
    if not command:
        return Finish("hooked", {"by": "the guard alone"})
    code, output = yield from done(flip_deeds.RunHold(command, now.owner, now.epoch))
    if code:
        because = f"the hold command {command[0]} ended with {code}: {output}"
        return _giving_up(state, because)
    return Finish("hooked", {"by": "hook", "output": output})


def _held(state: Migration, seen: Seen, now: OwnerMap) -> Decision[Answer]:
    proof = yield from done(flip_deeds.ProveHold(now.owner, seen.setup.flip.settle_s or 0.0))
    if proof.waiting:
        return Wait("hold", proof.waiting)
    if proof.held_us - now.interval.since_us < SHORTEST_US:
        owned_s = (proof.held_us - now.interval.since_us) / 1e6
        return _giving_up(state, f"the {now.owner.value} table has owned for {owned_s:.1f} s only: did a clock move?")
    return Finish("held", {"held_us": proof.held_us, "other_held_us": proof.other_held_us, "by": proof.by})


def _drained(_state: Migration, _seen: Seen, now: OwnerMap) -> Decision[Answer]:
    """Both tables' changes are read past the hold: the owner's, to be copied; and the standby's, since a stray of its
    last seconds would be taken for a write of the new owner's.
    """
    for side in (now.owner, now.owner.other):
        waiting = yield from done(flip_deeds.ReadPastHold(side))
        if waiting:
            return Wait("drain", waiting)
    return Finish("drained", {})


def _sealed(state: Migration, _seen: Seen, now: OwnerMap) -> Decision[Answer]:
    if "sealed" not in state.begun:
        return Begin("sealed", {"epoch": now.epoch})
    if now.state is State.SEALED:  # our swap's answer was lost
        return Finish("sealed", {"epoch": now.epoch})
    return (yield from _swapped("sealed", now, sealed_from(now)))


def _acknowledged(_state: Migration, seen: Seen, now: OwnerMap) -> Decision[Answer]:
    found = yield from done(flip_deeds.LookAtMembers("after the seal"))
    waits = yield from all_wait(found, now.epoch, seen.setup.flip.signature_s)
    return waits or Finish("acknowledged", {"members": [each.name for each in found]})


def all_wait(members: Sequence[Member], epoch: int, signature_s: float) -> Decision[Wait | None]:
    """See that each member has acknowledged a sealed map with nothing on the wire; None when all have.

    One that died is waited out, since a request of its last moment may still take effect, and then taken out.
    """
    for each in members:
        if not each.is_live:
            left_s = each.left_s(signature_s)
            if left_s > 0:
                return Wait(
                    "members", f"{each.name} ({each.duty}), which died, to be surely silent: {left_s:.1f} s more"
                )
            yield from done(flip_deeds.Bury(each.name))
        elif each.unanswered_s > 0:
            told = f"the answer to a request that {each.name} ({each.duty}) sent {each.unanswered_s:.1f} s ago"
            return Wait("members", told)
        elif each.acked != epoch:
            return Wait("members", f"{each.name} ({each.duty}) to acknowledge epoch {epoch}; it is at {each.acked}")
    return None


def _compared(state: Migration, _seen: Seen, now: OwnerMap) -> Decision[Answer]:
    whole = bool(state.begun["hold"]["whole"])
    if "compared" not in state.begun:
        return Begin("compared", {"epoch": now.epoch, "whole": whole})
    found = yield from done(flip_deeds.Compare(now.owner, now.epoch, whole))
    if found.refused:
        named = "; ".join(found.refused)
        return _giving_up(state, f"rows that need a decision: {named}", found.copied)
    if not found.has_ended:
        return Wait("compare", f"the compare of the hold: {found.keys} keys, {found.copied} copied")
    return Finish("compared", {"keys": found.keys, "copied": found.copied, "whole": whole})


def _flipped(state: Migration, seen: Seen, now: OwnerMap) -> Decision[Answer]:
    held = state.done["held"]
    if "flipped" not in state.begun:
        return Begin("flipped", {"epoch": now.epoch, "gates": gates_json(seen.judge(state.table.gates[state.phase]))})
    # One that registered after the first look has read a sealed map, and waits; one that has not is found here.
    found = yield from done(flip_deeds.LookAtMembers("before the flip"))
    waits = yield from all_wait(found, now.epoch, seen.setup.flip.signature_s)
    if waits is not None:
        return waits
    new = flipped_from(now, held_us=int(held["held_us"]), other_held_us=int(held["other_held_us"]))
    return (yield from _swapped("flipped", now, new, owner=new.owner.value))


_STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("draining", _draining),
    ("guarded", _guarded),
    ("hooked", _hooked),
    ("held", _held),
    ("drained", _drained),
    ("sealed", _sealed),
    ("acknowledged", _acknowledged),
    ("compared", _compared),
    ("flipped", _flipped),
)

# The end of a hold: after a flip, and after an attempt that was given up, alike. Any process may take each of these.


def _taken_back(state: Migration, _seen: Seen, now: OwnerMap) -> Decision[Answer]:
    """Make sure that no swap of the attempt lands any more, before anything is released to the owner."""
    yield from ()
    if "flipped" in state.done:
        return Finish("taken-back", {"epoch": now.epoch, "needless": True})
    if "taken-back" not in state.begun:
        return Begin("taken-back", {"epoch": now.epoch})
    if now.epoch > int(state.begun["taken-back"]["epoch"]):
        return Finish("taken-back", {"epoch": now.epoch})
    return (yield from _swapped("taken-back", now, taken_back_from(now)))


def _purged(_state: Migration, _seen: Seen, now: OwnerMap) -> Decision[Answer]:
    found = yield from done(flip_deeds.Purge(now.owner))
    if not found.has_ended:
        return Wait("purge", f"the {now.owner.value} table's tombstones to be deleted, {found.rows} by now")
    return Finish("purged", {"tombstones": found.rows})


def _released(state: Migration, seen: Seen, now: OwnerMap) -> Decision[Answer]:
    """Let the application write to the present owner. The hook gets the epoch that the open map will have: any hold or
    release that is still on its way has a lower one, and so has to be refused by the hook.
    """
    setup, epoch = seen.setup.flip, opened_from(now).epoch
    is_held = "hooked" in state.begun and bool(setup.hold)
    if "released" not in state.begun:
        return Begin(
            "released", {"owner": now.owner.value, "epoch": epoch, "hook": list(setup.release) if is_held else []}
        )
    if setup.guard and "guarded" in state.begun:
        waiting = yield from done(flip_deeds.Unguard(now.owner, epoch))
        if waiting:
            return Wait("guard", waiting)
    if not is_held:
        return Finish("released", {"by": "the guard alone"})
    code, output = yield from done(flip_deeds.RunHold(setup.release, now.owner, epoch))
    if code:
        told = (
            f"the release command {setup.release[0]} to succeed: it ended with {code}: {output}. Writes are still held"
        )
        return Wait("hook", told, "make it succeed; it is run again until it does: runbook no-controller")
    return Finish("released", {"by": "hook", "output": output})


def _opened(state: Migration, _seen: Seen, now: OwnerMap) -> Decision[Answer]:
    if "opened" not in state.begun:
        return Begin("opened", {"epoch": now.epoch})
    if now.state is not State.OPEN or now.epoch == int(state.begun["opened"]["epoch"]):
        new = opened_from(now)
        if not (yield from done(flip_deeds.SwapMap(now, new))):
            return ANOTHER_LOOK
        now = new
    stop_s, by = yield from done(flip_deeds.MeasureStop(int(state.begun["hold"]["at_us"])))
    moment_us = yield from done(TakeMoment(now.owner, "opened"))  # writes are taken again: a pass from here on counts
    told = {"epoch": now.epoch, "owner": now.owner.value, "moment_us": moment_us}
    return Finish("opened", {**told, "stop_s": round(stop_s, 3), "measured_by": by})


_ENDING: Final[tuple[tuple[str, Step], ...]] = (
    ("taken-back", _taken_back),
    ("purged", _purged),
    ("released", _released),
    ("opened", _opened),
)
