"""DUAL_WRITE, RAMPING, CUT_OVER and ROLLED_BACK: keys move to the new table, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from controller.aftermath import read_aftermath
from controller.context import PROGRESS, Context, gates_json
from controller.settling import dealt_with, read_past
from controller.starting import enter_dual_write, open_dual_write
from controller.state import Pending, document_json
from controller.sweeper import HeldOut
from crossfade.core.migration.gates import (
    DRAINED_GATES,
    HALTING_GATES,
    RAMPING_GATES,
    GateResult,
    halting,
    heartbeats,
    pass_since,
    waiting_for,
)
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.ownership.ramp import FULL_SHARE, next_generation, raised, renewed
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.shape import Side

BUDGET_S: Final = 0.2
"""How long the sweeper works before the state machine looks at the journal again."""


def _asked(ctx: Context, intent: Intent) -> Pending | None:
    found = ctx.state.intent
    return found if found is not None and found.intent is intent else None


async def dual_write(ctx: Context) -> str:
    """DUAL_WRITE: wait for `ramp`, and for the gates before RAMPING."""
    if "dual-write" not in ctx.state.done:
        return await open_dual_write(ctx)
    intent = _asked(ctx, Intent.RAMP)
    if intent is None:
        return "crossfade ramp PERCENT"
    results = ctx.judge(RAMPING_GATES)
    if any(each.name == "clean_pass" and not each.open for each in results):
        await ctx.observer.want_pass()
    return waiting_for(results) or await ctx.enter(Phase.RAMPING, results, intent=intent.number, who=intent.who)


async def ramping(ctx: Context) -> str:
    """RAMPING: move the share as asked. A halt holds up what goes forward; the way down stays open (ADR 0020)."""
    cutover = _asked(ctx, Intent.CUTOVER)
    ramp = _asked(ctx, Intent.RAMP)
    intent = cutover or ramp
    if intent is None:
        return "crossfade ramp PERCENT, or crossfade cutover"
    share = FULL_SHARE if cutover else int(intent.arguments["share"])
    # Lowering the share is the safe direction: it waits for nothing but that the pods know where they are.
    forward = cutover is not None or share > ctx.state.document.share
    if ctx.state.halt and forward:
        return _halt(ctx)
    results = ctx.judge(RAMPING_GATES if forward else (heartbeats,))
    waiting = waiting_for(results)
    if waiting:
        return waiting
    if share != ctx.state.document.share:
        return await move_share(ctx, share, results)
    if cutover:
        return await ctx.enter(Phase.CUT_OVER, results, intent=cutover.number, who=cutover.who)
    return await ctx.settle(intent, "done", f"{share / 100:g} %")


def _halt(ctx: Context) -> str:
    return f"the halt to clear: {ctx.state.halt}" if ctx.state.halt else ""


async def halted(ctx: Context) -> bool:
    """Halt when a gate of this phase broke, go on when all are open again; say whether that changed."""
    gates = HALTING_GATES.get(ctx.state.phase, ())
    is_halted = bool(ctx.state.halt)
    because = halting(ctx.judge(gates), halted=is_halted) if ctx.evidence() is not None else ctx.state.halt
    if bool(because) == is_halted:
        return False
    await ctx.append("halt", {"because": because, "gates": gates_json(ctx.judge(gates))})
    return True


async def move_share(ctx: Context, share: int, results: list[GateResult]) -> str:
    """Publish a document with another share; its generation is made durable first."""
    purpose = f"share {share}"
    document, counter = raised(ctx.state.document, share, ctx.given_out(purpose))
    await ctx.reserve(counter, purpose)
    return await ctx.intend(document, dual_write=ctx.state.dual_write, gates=results)


async def all_moved(ctx: Context, target: Side, step: str = "all-moved") -> str:
    """Hand all keys over to `target`, and prove it; empty when it is proven and journaled as the step.

    The proof: while every pod worked under the document, a whole pass over both tables found nothing to do, and the
    source's stream, read past the end of that pass, shows no owner write committed since it began. Keys that the new
    table refuses for good stay where they are: they are in the evidence, and no owner write to them counts.
    """
    if step in ctx.state.done:
        return ""
    waiting = ctx.shut([heartbeats])
    if waiting:
        ctx.sweeper.forget()
        return waiting
    document = ctx.state.document
    generation = document.new_gen if target is Side.NEW else document.legacy_gen
    world, source = ctx.world, target.other
    under_way = ctx.sweeper.under_way(target, generation)
    begun_us = (
        under_way.begun_us
        if under_way
        else await ctx.markers.moment(source, purpose=f"a pass, generation {generation}")
    )
    result = await ctx.sweeper.move(
        target, generation, complete=document.complete, budget_s=BUDGET_S, begun_us=begun_us
    )
    if result is None:
        at = ctx.sweeper.current
        seen = f"{at.keys} keys seen, {at.moved} moved, {at.helped} helped" if at else "starting"
        return f"the sweeper's pass to the {target.value} table: {seen}"
    if not result.is_clean:
        stuck = f"; can't be moved: {'; '.join(result.stuck[:3])}" if result.stuck else ""
        held = f"; refused by the legacy table: {named(result.held)}" if result.held and target is Side.LEGACY else ""
        told = f"; their rows differ: {result.diverged}" if result.diverged else ""
        moved = f"the last one moved {result.moved}, helped {result.helped}{stuck}{held}{told}"
        return f"a pass that finds nothing to do; {moved}"
    lag_s = ctx.observer.lag(source).unreplicated_s
    if lag_s is None:
        return f"the lag of {world.mapping.shape(source).table}'s stream, which is unknown"
    # What was committed during the pass has to be in the stream before its end can be read.
    ended_us = await ctx.markers.moment(source)
    await world.sleep(world.settings.stream_margin_s + lag_s)
    aftermath = await read_aftermath(
        world.shards,
        world.stream_of(source),
        world.mapping,
        source,
        since_us=result.begun_us,
        margin_s=world.settings.stream_margin_s,
        complete=document.complete,
    )
    if aftermath.active:
        return f"no more owner writes to the {source.value} table; {aftermath.active} came during the last pass"
    waiting = ctx.shut([heartbeats])
    if waiting:
        return waiting
    evidence = {
        "source": source.value,
        "ended_us": ended_us,
        "pass": result.as_json(),
        "aftermath": aftermath._asdict(),
        "document": document_json(document),
    }
    return await ctx.finish(step, evidence)


def named(held: Sequence[HeldOut | Mapping[str, Any]], count: int = 3) -> str:
    """Name the first keys that were held out, with the cause."""
    told = [each._asdict() if isinstance(each, HeldOut) else each for each in held[:count]]
    return "; ".join(f"{each['key']}: {each['because']}" for each in told)


async def drained(ctx: Context, step: str = "all-moved") -> list[GateResult]:
    """Judge the gates that follow a move of all keys; the clean pass among them must have begun after the last handover
    and after the last stray.
    """
    evidence = ctx.evidence()
    results = ctx.judge(DRAINED_GATES)
    if evidence is None:
        return results
    moved = ctx.state.done[step]
    since_s = await ctx.markers.elapsed_s(Side(moved["source"]), CommitUs(int(moved["ended_us"])))
    results = pass_since(results, evidence.parity, since_s, "all keys were moved")
    if evidence.strays.age_s is not None:
        results = pass_since(results, evidence.parity, evidence.strays.age_s, "the last write outside the protocol")
    if any(each.name == "clean_pass" and not each.open for each in results):
        await ctx.observer.want_pass()
    return results


async def cut_over(ctx: Context) -> str:
    """CUT_OVER: the sweeper hands over what nobody touched; then BAKING, with the keys named that can't move.

    `cutover` once more takes those up again, under a higher generation.
    """
    intent = _asked(ctx, Intent.CUTOVER)
    if intent is not None and (intent.number > ctx.state.entered or ctx.state.came_from is Phase.BAKING):
        waiting = await _taken_up(ctx, intent)
        if waiting:
            return waiting
    if "all-moved" not in ctx.state.done:
        return _halt(ctx) or await all_moved(ctx, Side.NEW)
    results = await drained(ctx)
    moved = ctx.state.done["all-moved"]["pass"]
    held_out = {name: moved[name] for name in ("held_out", "held")}
    return waiting_for(results) or await ctx.enter(Phase.BAKING, results, **held_out)


async def cutover_again(ctx: Context, intent: Pending) -> str:
    """Leave BAKING for CUT_OVER: the keys that were held out are taken up again."""
    ctx.sweeper.forget()
    return await ctx.enter(Phase.CUT_OVER, (), intent=intent.number, who=intent.who, again=True)


async def _taken_up(ctx: Context, intent: Pending) -> str:
    """Publish a higher generation, once an intent; empty when it is in force."""
    step = f"taken-up-{intent.number}"
    if step in ctx.state.done:
        return ""
    if step not in ctx.state.begun:
        document = renewed(ctx.state.document, ctx.given_out(step))
        await ctx.reserve(document.new_gen, step)
        await ctx.begin(step, {"new_gen": str(document.new_gen)})
    wanted = int(ctx.state.begun[step]["new_gen"])
    if ctx.state.document.new_gen < wanted:
        return await ctx.intend(ctx.state.document._replace(new_gen=wanted), dual_write=ctx.state.dual_write)
    return await ctx.finish(step)


async def roll_back(ctx: Context, intent: Pending) -> str:
    """Leave RAMPING, CUT_OVER or BAKING for ROLLED_BACK; no gate stands before the way back."""
    ctx.sweeper.forget()
    return await ctx.enter(Phase.ROLLED_BACK, (), intent=intent.number, who=intent.who)


async def rolled_back(ctx: Context) -> str:
    """ROLLED_BACK: all keys go back; then `ramp` goes forward again, or `abort` gives up."""
    if "back" not in ctx.state.done:
        document, counter = raised(ctx.state.document, 0, ctx.given_out("rollback"))
        if document.legacy_gen < counter:  # the share is 0 already, but the canary is ahead at a later generation
            counter = next_generation(counter)
            document = document._replace(legacy_gen=counter)
        await ctx.reserve(counter, "rollback")
        if document != ctx.state.document:
            return await ctx.intend(document, dual_write=ctx.state.dual_write)
        return await ctx.finish("back", {"document": document_json(document)})
    if "all-moved" not in ctx.state.done:
        waiting = await all_moved(ctx, Side.LEGACY)
        last = ctx.sweeper.last
        if waiting and last is not None and last.diverged and not last.moved:
            # All but those are home: what becomes of them needs a human decision.
            return ctx.observer.read_past(ctx.since_s("diverged")) or await dealt_with(ctx) or waiting
        return waiting
    if "settled" not in ctx.state.done:
        return await read_past(ctx, "read-past") or await dealt_with(ctx) or await ctx.finish("settled")
    if ctx.state.intent is None:
        return "crossfade ramp PERCENT (forward again), or crossfade abort"
    results = await drained(ctx)
    waiting = waiting_for(results)
    if waiting:
        return waiting
    if _asked(ctx, Intent.RAMP) is not None:
        return await enter_dual_write(ctx, results)
    return PROGRESS
