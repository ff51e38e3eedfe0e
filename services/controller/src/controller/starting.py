"""From PLANNED to DUAL_WRITE: capture and catching up, with `snapshotting` between. Each step may be killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controller.context import Context, gates_json
from controller.excluding import excluded_keys, why_not_excluded
from controller.planning import check_plan
from controller.state import Pending
from crossfade.core.mapping.copies import EXCLUDED
from crossfade.core.migration.gates import CATCHING_UP_GATES, GateResult, clock_skew, heartbeats, waiting_for
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.ownership.ramp import Aim
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side


def started(ctx: Context) -> Pending | None:
    """Return the START intent that the controller is at."""
    intent = ctx.state.intent
    return intent if intent is not None and intent.intent is Intent.START else None


async def planned(ctx: Context) -> str:
    """PLANNED: wait for `start`, then make sure that the plan holds."""
    intent = started(ctx)
    if intent is None:
        return "crossfade start"
    if "plan" not in ctx.state.done:
        # What is left out of the migration needn't map or fit.
        world = ctx.world
        refusal = await why_not_excluded(world.mapping, world.tables[Side.LEGACY], ctx.state, intent.arguments)
        if refusal:
            return await ctx.settle(intent, "refused", refusal)
        excluded = {Key(each.encode()) for each in intent.arguments.get("exclude", [])}
        plan = await check_plan(replace(ctx.world, excluded=ctx.world.excluded | excluded))
        if plan.blocking:
            because = waiting_for(plan.blocking)
            return await ctx.settle(intent, "refused", because)
        await ctx.finish("plan", {"checks": gates_json(plan.checks)})
    return ctx.shut([clock_skew]) or await ctx.enter(Phase.CAPTURING)


# Capture.


async def _streams_ready(ctx: Context, names: Sequence[str]) -> str:
    world = ctx.world
    for name in names:
        stream = await world.admin.stream(name)
        if stream is None:
            await world.admin.create_stream(name, shards=world.settings.shards)
            return f"stream {name} to be created"
        if stream.status != "ACTIVE":
            return f"stream {name}, which is {stream.status}"
        await world.admin.raise_retention(name, hours=world.settings.retention_h)
    return ""


async def _capture_ready(ctx: Context, side: Side) -> str:
    """Send a side's changes to its stream; return what to wait for, empty when records flow in µs."""
    world = ctx.world
    name, table = world.stream_of(side), world.mapping.shape(side).table
    stream = await world.admin.stream(name)
    if stream is None or stream.status != "ACTIVE":
        return f"stream {name}"
    await world.admin.enable_destination(table, stream.arn)
    mine = [each for each in await world.admin.destinations(table) if each.stream_arn == stream.arn]
    if not any(each.status == "ACTIVE" and each.precision == "MICROSECOND" for each in mine):
        return f"change records of {table} to reach {name} with MICROSECOND precision"
    return ""


async def capturing(ctx: Context) -> str:
    """CAPTURING: streams, then the legacy table's change records, then a settling time."""
    world, state = ctx.world, ctx.state
    if "streams" not in state.done:
        names = (world.settings.legacy_stream, world.settings.new_stream, world.settings.feed_stream)
        await ctx.begin("streams", {"names": list(names), "retention_h": world.settings.retention_h})
        return await _streams_ready(ctx, names) or await ctx.finish("streams")
    if "capture" not in state.done:
        await ctx.begin("capture", {"table": world.mapping.shape(Side.LEGACY).table})
        waiting = await _capture_ready(ctx, Side.LEGACY)
        if waiting:
            return waiting
        # ACTIVE is what the control plane says; a record that came is what surely flows.
        flows_us = await ctx.markers.moment(Side.LEGACY, purpose="capture")
        return await ctx.finish("capture", {"flows_us": flows_us})
    if "settled" not in state.done:
        return await _settle(ctx, CommitUs(int(state.done["capture"]["flows_us"])))
    return ctx.shut([clock_skew]) or await ctx.enter(Phase.SNAPSHOT, settling_s=world.settings.settling_s)


async def _settle(ctx: Context, flows_us: CommitUs) -> str:
    """Let the stream settle, and take the moment of the export: a commit time, so that no clock of ours is in it.

    What was committed before it is in the export, and what was committed since `flows_us` is in the stream. The
    export's moment has whole seconds, so it lies in a later second than `flows_us`, too.
    """
    settling_s = ctx.world.settings.settling_s
    left_s = settling_s - await ctx.markers.elapsed_s(Side.LEGACY, flows_us)
    if left_s > 0:
        return f"the stream to settle, {left_s:.0f} s more"
    moment_us = await ctx.markers.moment(Side.LEGACY, purpose="export")
    if moment_us - flows_us < settling_s * 1e6 or moment_us // 1_000_000 * 1_000_000 <= flows_us:
        return f"a moment of the export {settling_s:g} s after the stream began to carry records"
    return await ctx.finish("settled", {"moment_us": moment_us})


# Catching up.


async def catching_up(ctx: Context) -> str:
    """CATCHING_UP: the new table's change records, then the gates, then the API may copy its writes.

    From the moments that the entry into DUAL_WRITE tells on, writers outside the protocol are strays (ADR 0016).
    """
    if "capture-new" not in ctx.state.done:
        await ctx.begin("capture-new", {"table": ctx.world.mapping.shape(Side.NEW).table})
        return await _capture_ready(ctx, Side.NEW) or await ctx.finish("capture-new", {"active_us": ctx.world.now_us()})
    results = ctx.judge(CATCHING_UP_GATES)
    waiting = waiting_for(results)
    if waiting:
        return waiting
    return await enter_dual_write(ctx, results)


async def enter_dual_write(ctx: Context, results: Sequence[GateResult]) -> str:
    """Enter DUAL_WRITE, and journal since when writers outside the protocol are strays: a commit time of each side."""
    since_us = ctx.state.strays_since_us or {
        side.value: await ctx.markers.moment(side, purpose="dual-write") for side in Side
    }
    return await ctx.enter(Phase.DUAL_WRITE, results, strays_since_us=dict(since_us))


async def open_dual_write(ctx: Context) -> str:
    """DUAL_WRITE begins: publish the flag, and see every pod work under it; empty when that is so."""
    if "dual-write" in ctx.state.done:
        return ""
    if not ctx.state.dual_write:
        await ctx.intend(ctx.state.document, dual_write=True)
        return "the pods to see the flag dual-write"
    waiting = ctx.shut([heartbeats])
    if waiting:
        return waiting
    if "held-out" not in ctx.state.done:
        return await _hold_out_excluded(ctx)
    return await ctx.finish("dual-write", {"pods": len(ctx.observer.pods)})


async def _hold_out_excluded(ctx: Context) -> str:
    """Mark the rows of excluded keys, so that all who meet them know that they stay (ADR 0014).

    Before that nobody but us knows of an exclusion, and the verifier would call such keys missing for ever.
    """
    keys = sorted(excluded_keys(ctx.state))
    if keys:
        aim = Aim(Side.NEW, await ctx.allocate("excluded keys"))
        results = await ctx.world.ownership.hold_out_many(dict.fromkeys(keys, EXCLUDED), aim)
        for key, done in zip(keys, results, strict=True):
            if isinstance(done, Exception):
                raise done
            if done.item is not None and not ctx.world.mapping.protocol.rows().is_held_out(done.item):
                return f"the excluded row {key.decode()} to take a mark: {done.because or done.outcome.value}"
    return await ctx.finish("held-out", {"keys": len(keys)})
