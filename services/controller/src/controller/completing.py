"""BAKING to COMPLETE, in the six steps of design.md, section 5; and ABORTED."""

from __future__ import annotations

from controller.context import Context
from controller.moving import all_moved, drained, rolled_back
from controller.state import Pending
from crossfade.core.gates import DRAINED_GATES, forward_lag, heartbeats, reverse_lag, waiting_for
from crossfade.core.phases import Intent, Phase
from crossfade.core.shape import Side


async def baking(ctx: Context) -> str:
    """BAKING: wait for `complete`, then take its steps."""
    intent = ctx.state.intent
    if intent is None or intent.intent is not Intent.COMPLETE:
        return "crossfade complete, or crossfade rollback"
    for step, run in (
        ("at-final", _at_final),
        ("publish-complete", _publish_complete),
        ("at-complete", _at_complete),
        ("all-moved", _scans_again),
        ("revoked", _revoke),
        ("stopped", _stop),
    ):
        if step not in ctx.state.done:
            return await run(ctx, intent)
    results = await drained(ctx)
    return waiting_for(results) or await ctx.enter(Phase.COMPLETE, results, intent=intent.number, who=intent.who)


async def _at_final(ctx: Context, _intent: Pending) -> str:
    results = ctx.judge(DRAINED_GATES)
    waiting = waiting_for(results)
    return waiting or await ctx.finish("at-final", {"gates": [each._asdict() for each in results]})


async def _publish_complete(ctx: Context, _intent: Pending) -> str:
    await ctx.begin("publish-complete")  # from here on there is no way back
    if not ctx.state.document.complete:
        return await ctx.intend(ctx.state.document._replace(complete=True), dual_write=ctx.state.dual_write)
    return await ctx.finish("publish-complete")


async def _at_complete(ctx: Context, _intent: Pending) -> str:
    return ctx.shut([heartbeats]) or await ctx.finish("at-complete", {"pods": len(ctx.observer.pods)})


async def _scans_again(ctx: Context, _intent: Pending) -> str:
    return await all_moved(ctx, Side.NEW)


async def _revoke(ctx: Context, intent: Pending) -> str:
    command = ctx.world.settings.revoke_command
    if not command:
        # Nothing here can check it: the journal says whose word it is.
        if not intent.arguments.get("revoked"):
            name = ctx.world.mapping.name
            cure = f"crossfade complete --confirm {name} --revoked --execute"
            return f"the API's right to write the legacy table to be revoked; then say so: {cure}"
        return await ctx.finish("revoked", {"by": "the operator's word", "who": intent.who})
    await ctx.begin("revoked", {"command": command})
    code, output = await ctx.world.command(command)
    if code:
        return f"{command[0]} to succeed: it ended with {code}: {output}"
    return await ctx.finish("revoked", {"by": "hook", "command": command, "output": output})


async def _stop(ctx: Context, _intent: Pending) -> str:
    waiting = ctx.shut([forward_lag, reverse_lag])
    if waiting:
        return waiting
    await ctx.begin("stopped")
    if ctx.state.dual_write:
        return await ctx.intend(ctx.state.document, dual_write=False)
    waiting = ctx.shut([heartbeats])
    if waiting:
        return waiting
    evidence: dict[str, object] = {"by": "the operator stops the replicators once the phase is COMPLETE"}
    command = ctx.world.settings.stop_command
    if command:
        code, output = await ctx.world.command(command)
        if code:
            return f"{command[0]} to succeed: it ended with {code}: {output}"
        evidence = {"by": "hook", "command": command, "output": output}
    return await ctx.finish("stopped", evidence)


async def abort(ctx: Context, intent: Pending) -> str:
    """Give the migration up: the pods stop copying, the canary goes home; streams and tables stay for the operator."""
    state = ctx.state
    if state.phase is Phase.ROLLED_BACK and "all-moved" not in state.done:
        return await rolled_back(ctx)
    if state.dual_write:
        return await ctx.intend(state.document, dual_write=False)
    if state.phase is Phase.DUAL_WRITE and "canary-home" not in state.done:
        await ctx.observer.canary_home()
        return await ctx.finish("canary-home")
    left = {
        "new_table": ctx.world.mapping.shape(Side.NEW).table,
        "streams": [ctx.world.stream_of(side) for side in Side],
    }
    return await ctx.enter(Phase.ABORTED, (), intent=intent.number, who=intent.who, left_behind=left)
