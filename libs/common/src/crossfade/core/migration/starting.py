"""From PLANNED to BOTH_WAYS, with `snapshotting` between: capture and catching up."""

from __future__ import annotations

from crossfade.core.migration import deeds
from crossfade.core.migration.acts import Allocate, Answer, Begin, Enter, Finish, Publish, Settle, Wait, waits_for
from crossfade.core.migration.asking import FRESH
from crossfade.core.migration.gates import GateResult, clock_skew, heartbeats
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.seen import Decision, Seen, done
from crossfade.core.migration.state import Migration, Pending
from crossfade.core.ownership.ramp import next_generation
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.shape import Side


def settle(pending: Pending, outcome: str, because: str = "") -> Settle:
    """Return the end of a command."""
    return Settle(pending.number, pending.intent.value, outcome, because)


def not_excluded(intent: Pending) -> Decision[Settle | None]:
    """Refuse a command whose keys can't be left out; None when all can."""
    asked = intent.arguments
    keys = tuple(sorted(set(asked.get("exclude", []))))
    deed = deeds.CheckExcluded(keys, bool(asked.get("exclude_unknown")), bool(asked.get(FRESH)))
    refusal = (yield from done(deed)) if keys else ""
    return settle(intent, "refused", refusal) if refusal else None


def planned(state: Migration, seen: Seen) -> Decision[Answer]:
    """PLANNED: wait for `start`, then make sure that the plan holds."""
    intent = state.asked(Intent.START)
    if intent is None:
        return Wait("command", "crossfade start")
    if "plan" not in state.done:
        # What is left out of the migration needn't map or fit.
        wanted = set(intent.arguments.get("exclude", []))
        refused = yield from not_excluded(intent)
        if refused is not None:
            return refused
        plan = yield from done(deeds.CheckPlan(tuple(sorted(wanted))))
        return settle(intent, "refused", plan.refusal) if plan.refusal else Finish("plan", {"checks": [*plan.checks]})
    return seen.shut(clock_skew) or Enter(state.phase, Phase.CAPTURING)


def capturing(state: Migration, seen: Seen) -> Decision[Answer]:
    """CAPTURING: streams, then the source table's change records, then a settling time."""
    setup = seen.setup
    if "streams" not in state.done:
        if "streams" not in state.begun:
            return Begin("streams", {"names": list(setup.streams), "retention_h": setup.retention_h})
        waiting = yield from done(deeds.CreateStreams(setup.streams))
        return Wait("streams", waiting) if waiting else Finish("streams", {})
    if "capture" not in state.done:
        waits = yield from _captured(state, seen, "capture", Side.SOURCE)
        if waits is not None:
            return waits
        # ACTIVE is what the control plane says; a record that came is what surely flows.
        return Finish("capture", {"flows_us": (yield from done(deeds.TakeMoment(Side.SOURCE, "capture")))})
    if "settled" not in state.done:
        return (yield from _settled(CommitUs(int(state.done["capture"]["flows_us"])), setup.settling_s))
    return seen.shut(clock_skew) or Enter(state.phase, Phase.SNAPSHOT, evidence={"settling_s": setup.settling_s})


def _captured(state: Migration, seen: Seen, name: str, side: Side) -> Decision[Answer | None]:
    """Send a table's changes to its stream; None when they flow."""
    if name not in state.begun:
        return Begin(name, {"table": seen.setup.tables[side]})
    waiting = yield from done(deeds.EnableCapture(side))
    return Wait("capture", waiting) if waiting else None


def _settled(flows_us: CommitUs, settling_s: float) -> Decision[Answer]:
    """Let the stream settle, and take the moment of the export: a commit time, so that no clock of ours is in it.

    What was committed before it is in the export, and what was committed since `flows_us` is in the stream. The
    export's moment has whole seconds, so it lies in a later second than `flows_us`, too.
    """
    left_s = settling_s - (yield from done(deeds.Elapsed(Side.SOURCE, flows_us)))
    if left_s > 0:
        return Wait("settling", f"the stream to settle, {left_s:.0f} s more")
    moment_us = yield from done(deeds.TakeMoment(Side.SOURCE, "export"))
    if moment_us - flows_us < settling_s * 1e6 or moment_us // 1_000_000 * 1_000_000 <= flows_us:
        return Wait("settling", f"a moment of the export {settling_s:g} s after the stream began to carry records")
    return Finish("settled", {"moment_us": moment_us})


def catching_up(state: Migration, seen: Seen) -> Decision[Answer]:
    """CATCHING_UP: the target table's change records, then the gates, then the API may copy its writes."""
    if "capture-new" not in state.done:
        waits = yield from _captured(state, seen, "capture-new", Side.TARGET)
        return waits or Finish("capture-new", {"active_us": seen.now_us})
    results = seen.judge(state.table.gates[state.phase])
    return waits_for(results) or (yield from enter_both_ways(state, results))


def enter_both_ways(state: Migration, results: list[GateResult]) -> Decision[Enter]:
    """Enter BOTH_WAYS, and journal since when writers outside the protocol are strays: a commit time of each side
    (ADR 0016).
    """
    since_us = dict(state.strays_since_us)
    if not since_us:
        for side in Side:
            since_us[side.value] = yield from done(deeds.TakeMoment(side, "dual-write"))
    return Enter(state.phase, Phase.BOTH_WAYS, results, {"strays_since_us": since_us})


def open_both_ways(state: Migration, seen: Seen) -> Decision[Answer]:
    """BOTH_WAYS begins: publish the flag, see every pod work under it, and mark what is left out."""
    if not state.dual_write:
        return Publish(state.document, dual_write=True)
    shut = seen.shut(heartbeats)
    if shut is not None:
        return shut
    if "held-out" not in state.done:
        return (yield from _excluded_held_out(state))
    return Finish("dual-write", {"pods": seen.pods})


def _excluded_held_out(state: Migration) -> Decision[Answer]:
    """Mark the rows of excluded keys, so that all who meet them know that they stay (ADR 0014).

    Before that nobody but us knows of an exclusion, and the verifier would call such keys missing forever.
    """
    keys = tuple(sorted(each.decode() for each in state.excluded))
    if keys:
        generation = next_generation(state.given_out("excluded keys"))
        if generation > state.counter:
            return Allocate(generation, "excluded keys")
        waiting = yield from done(deeds.HoldOut(keys, generation))
        if waiting:
            return Wait("excluded", waiting)
    return Finish("held-out", {"keys": len(keys)})
