"""BOTH_WAYS, RAMPING, CUT_OVER and ROLLED_BACK: keys move to the target table, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from crossfade.core.migration import deeds
from crossfade.core.migration.acts import (
    HALTED,
    Allocate,
    Answer,
    Begin,
    Enter,
    Finish,
    Publish,
    Wait,
    document_json,
    waits_for,
)
from crossfade.core.migration.gates import GateResult, heartbeats, pass_since, shut
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.seen import Decided, Decision, Seen, done
from crossfade.core.migration.starting import enter_both_ways, open_both_ways, settle
from crossfade.core.migration.state import Migration, Pending
from crossfade.core.ownership.ramp import FULL_SHARE, next_generation, raised, renewed
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.shape import Side

DISCARD: Final = "discard_diverged"
"""Argument of `rollback` and `complete`: how many letters are discarded."""

NAMED: Final = 3


def dual_write(state: Migration, seen: Seen) -> Decided:
    """BOTH_WAYS: wait for `ramp`, and for the gates before RAMPING."""
    if "dual-write" not in state.done:
        return open_both_ways(state, seen)
    intent = state.asked(Intent.RAMP)
    if intent is None:
        return Wait("command", "crossfade ramp PERCENT")
    results = seen.judge(state.table.gates[state.phase])
    return waits_for(results) or _entered(state, intent, Phase.RAMPING, results)


def _entered(
    state: Migration, intent: Pending, there: Phase, results: Iterable[GateResult] = (), **evidence: Any
) -> Enter:
    return Enter(state.phase, there, tuple(results), {"intent": intent.number, "who": intent.who, **evidence})


def ramping(state: Migration, seen: Seen) -> Answer:
    """RAMPING: move the share as asked. A halt holds up what goes forward; the way down stays open (ADR 0020)."""
    cutover = state.asked(Intent.CUTOVER)
    intent = cutover or state.asked(Intent.RAMP)
    if intent is None:
        return Wait("command", "crossfade ramp PERCENT, or crossfade cutover")
    share = FULL_SHARE if cutover else int(intent.arguments["share"])
    # Lowering the share is the safe direction: it waits for nothing but that the pods know where they are.
    forward = cutover is not None or share > state.document.share
    results = seen.judge(state.table.gates[state.phase] if forward else (heartbeats,))
    waits = (halt_to_clear(state, results) if forward else None) or waits_for(results)
    if waits is not None:
        return waits
    if share != state.document.share:
        purpose = f"share {share}"
        document, counter = raised(state.document, share, state.given_out(purpose))
        return _allocated(state, counter, purpose) or Publish(document, state.dual_write, results)
    if cutover:
        return _entered(state, cutover, Phase.CUT_OVER, results)
    return settle(intent, "done", f"{share / 100:g} %")


def halt_to_clear(state: Migration, results: Iterable[GateResult] = ()) -> Wait | None:
    """Return what a halt makes wait; None when there is none."""
    if not state.halt:
        return None
    halted = GateResult(HALTED, False, None, None, state.halt)
    return Wait(HALTED, f"the halt to clear: {state.halt}", halted.cure, (halted, *shut(list(results))))


def _allocated(state: Migration, counter: int, purpose: str) -> Allocate | None:
    """Make a generation durable before it is used; None when it is."""
    return Allocate(counter, purpose) if counter > state.counter else None


def all_moved(state: Migration, seen: Seen, destination: Side, name: str = "all-moved") -> Decision[Answer]:
    """Hand all keys over to `destination`, and prove it.

    The proof: while every pod worked under the document, a whole pass over both tables found nothing to do, and the
    origin's stream, read past the end of that pass, shows no owner write committed since it began. Keys that the new
    table refuses for good stay where they are: they are in the evidence, and no owner write to them counts.
    """
    waits = seen.shut(heartbeats)
    if waits is not None:
        yield from done(deeds.ForgetPass())
        return waits
    document, origin = state.document, destination.other
    generation = document.target_gen if destination is Side.TARGET else document.source_gen
    at = seen.sweep
    if at is not None and (at.destination, at.generation) == (destination, generation):
        begun_us = at.begun_us
    else:
        begun_us = yield from done(deeds.TakeMoment(origin, f"a pass, generation {generation}"))
    result, has_ended = yield from done(deeds.Sweep(destination, generation, document.complete, begun_us))
    if not has_ended:
        told = f"{result.keys} keys seen, {result.moved} moved, {result.helped} helped"
        return Wait("sweep", f"the sweeper's pass to the {destination.value} table: {told}")
    if not result.is_clean:
        return Wait("sweep", f"a pass that finds nothing to do; {_left_to_do(result)}")
    ended_us, aftermath, unknown = yield from done(deeds.ReadAftermath(origin, result.begun_us, document.complete))
    if unknown:
        return Wait("aftermath", unknown)
    if aftermath.active:
        told = f"{aftermath.active} came during the last pass"
        return Wait("aftermath", f"no more owner writes to the {origin.value} table; {told}")
    evidence = {
        "origin": origin.value,
        "ended_us": ended_us,
        "pass": result.as_json(),
        "aftermath": aftermath._asdict(),
        "document": document_json(document),
    }
    return Finish(name, evidence)


def _left_to_do(result: deeds.PassResult) -> str:
    stuck = f"; can't be moved: {'; '.join(result.stuck[:3])}" if result.stuck else ""
    held = [each._asdict() for each in result.held]
    refused = f"; refused by the source table: {named(held)}" if held and result.destination is Side.SOURCE else ""
    differ = f"; their rows differ: {result.diverged}" if result.diverged else ""
    return f"the last one moved {result.moved}, helped {result.helped}{stuck}{refused}{differ}"


def named(held: Iterable[Mapping[str, Any]]) -> str:
    """Name the first keys that were held out, with the cause."""
    return "; ".join(f"{each['key']}: {each['because']}" for each in [*held][:NAMED])


def drained(state: Migration, seen: Seen, name: str = "all-moved") -> Decision[list[GateResult]]:
    """Judge the gates that follow a move of all keys; the clean pass among them must have begun after the last handover
    and after the last stray.
    """
    results = seen.judge(state.table.gates[state.phase])
    moved = state.done[name]
    since_s = yield from done(deeds.Elapsed(Side(moved["origin"]), CommitUs(int(moved["ended_us"]))))
    results = pass_since(results, seen.pass_began_s, since_s, "all keys were moved")
    if seen.stray_age_s is not None:
        results = pass_since(results, seen.pass_began_s, seen.stray_age_s, "the last write outside the protocol")
    return results


def cut_over(state: Migration, seen: Seen) -> Decision[Answer]:
    """CUT_OVER: the sweeper hands over what nobody touched; then BAKING, with the keys named that can't move.

    `cutover` once more takes those up again, under a higher generation.
    """
    intent = state.asked(Intent.CUTOVER)
    if intent is not None and (intent.number > state.entered or state.came_from is Phase.BAKING):
        taken = _taken_up(state, intent)
        if taken is not None:
            return taken
    if "all-moved" not in state.done:
        return halt_to_clear(state) or (yield from all_moved(state, seen, Side.TARGET))
    results = yield from drained(state, seen)
    moved = state.done["all-moved"]["pass"]
    held_out = {name: moved[name] for name in ("held_out", "held")}
    return waits_for(results) or Enter(state.phase, Phase.BAKING, results, held_out)


def cutover_again(state: Migration, intent: Pending) -> Decision[Answer]:
    """Leave BAKING for CUT_OVER: the keys that were held out are taken up again."""
    yield from done(deeds.ForgetPass())
    return _entered(state, intent, Phase.CUT_OVER, again=True)


def _taken_up(state: Migration, intent: Pending) -> Answer | None:
    """Publish a higher generation, once an intent; None when it is in force."""
    name = f"taken-up-{intent.number}"
    if name in state.done:
        return None
    if name not in state.begun:
        document = renewed(state.document, state.given_out(name))
        return _allocated(state, document.target_gen, name) or Begin(name, {"target_gen": str(document.target_gen)})
    wanted = int(state.begun[name]["target_gen"])
    if state.document.target_gen < wanted:
        return Publish(state.document._replace(target_gen=wanted), state.dual_write)
    return Finish(name, {})


def roll_back(state: Migration, intent: Pending) -> Decision[Answer]:
    """Leave RAMPING, CUT_OVER or BAKING for ROLLED_BACK; no gate stands before the way back."""
    yield from done(deeds.ForgetPass())
    return _entered(state, intent, Phase.ROLLED_BACK)


def rolled_back(state: Migration, seen: Seen) -> Decision[Answer]:
    """ROLLED_BACK: all keys go back; then `ramp` goes forward again, or `abort` gives up."""
    if "back" not in state.done:
        return _flags_back(state)
    if "all-moved" not in state.done:
        answer = yield from all_moved(state, seen, Side.SOURCE)
        last = seen.last_pass
        if isinstance(answer, Wait) and last is not None and last.diverged and not last.moved:
            # All but those are home: what becomes of them needs a human decision.
            late = yield from done(deeds.ReadPast("diverged"))
            return Wait("read_past", late) if late else ((yield from dealt_with(state)) or answer)
        return answer
    if "settled" not in state.done:
        return (yield from settled(state, "read-past")) or Finish("settled", {})
    if state.intent is None:
        return Wait("command", "crossfade ramp PERCENT (forward again), or crossfade abort")
    results = yield from drained(state, seen)
    waits = waits_for(results)
    if waits is None and state.asked(Intent.RAMP) is not None:
        return (yield from enter_both_ways(state, results))
    return waits or Wait("command", "crossfade ramp PERCENT (forward again), or crossfade abort")


def _flags_back(state: Migration) -> Answer:
    document, counter = raised(state.document, 0, state.given_out("rollback"))
    if document.source_gen < counter:  # the share is 0 already, but the canary is ahead at a later generation
        counter = next_generation(counter)
        document = document._replace(source_gen=counter)
    if document == state.document:
        return _allocated(state, counter, "rollback") or Finish("back", {"document": document_json(document)})
    return _allocated(state, counter, "rollback") or Publish(document, state.dual_write)


# What a rollback's end and COMPLETE wait for: every stray is read, and what was parked is dealt with (ADR 0017).


def settled(state: Migration, name: str) -> Decision[Answer | None]:
    """See that both consumers have read past the last handover, and that no stray needs a decision; None when so."""
    if name not in state.done:
        late = yield from done(deeds.ReadPast(name))
        return Wait("read_past", late) if late else Finish(name, {})
    return (yield from dealt_with(state))


def dealt_with(state: Migration) -> Decision[Answer | None]:
    """Wait until no letter of a stray or a diverged key is left; None when none is.

    With `--discard-diverged N` exactly N are discarded: each goes into the journal with its payload first.
    """
    letters = yield from done(deeds.LookAtLetters())
    if not letters:
        return None
    takes = state.asked(Intent.ROLLBACK) or state.asked(Intent.COMPLETE)
    what = (
        f"{len(letters)} writes outside the protocol, or keys whose rows differ: {'; '.join(map(str, letters[:NAMED]))}"
    )
    verb = takes.intent.value if takes is not None else Intent.ROLLBACK.value
    cure = (
        "stop the writer; then `replicator dead-letters list`, and merge or discard each; or discard all of them: "
        f"crossfade {verb} --discard-diverged {len(letters)} --execute"
    )
    wanted = takes.arguments.get(DISCARD) if takes is not None else None
    if takes is None or wanted is None:
        return Wait("letters", f"a decision about {what}. To go on, {cure}", cure)
    gone = state.discards.get(takes.number, 0)
    if wanted != len(letters) + gone:
        told = f" ({gone} of them are discarded by now)" if gone else ""
        return settle(takes, "refused", f"--discard-diverged says {wanted}{told}, there are {what}; {cure}")
    yield from done(deeds.DiscardLetters(tuple(each.letter for each in letters), takes.number, takes.who))
    return Wait("letters", f"another look, after {len(letters)} letters were discarded")
