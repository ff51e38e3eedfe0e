"""BAKING to COMPLETE, in the steps of design.md, section 5, and what must be true before them; and ABORTED."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controller.asking import POINT_OF_NO_RETURN, left_by_abort
from controller.context import Context, gates_json
from controller.moving import all_moved, cutover_again, drained, named, rolled_back
from controller.settling import dealt_with, read_past
from controller.state import Pending
from crossfade.core.migration.gates import forward_lag, heartbeats, reverse_lag, waiting_for
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.values.shape import Side

LEAVE_BEHIND: Final = "leave_behind"
"""Argument of `complete`: how many keys that can't move are left in the legacy table."""


async def baking(ctx: Context) -> str:
    """BAKING: wait for `complete`, then take its steps; or for `cutover`, which takes up what was held out."""
    intent = ctx.state.intent
    if intent is not None and intent.intent is Intent.CUTOVER:
        return await cutover_again(ctx, intent)
    if intent is None or intent.intent is not Intent.COMPLETE:
        return "crossfade complete, or crossfade rollback"
    if POINT_OF_NO_RETURN not in ctx.state.begun:
        waiting = await _before_the_point_of_no_return(ctx, intent)
        if waiting or ctx.state.intent != intent:
            return waiting
    for step, run in (
        (POINT_OF_NO_RETURN, _publish_complete),
        ("at-complete", _at_complete),
        ("all-moved", _scans_again),
        ("revoked", _revoke),
        ("stopped", _stop),
    ):
        if step not in ctx.state.done:
            return await run(ctx, intent)
    results = await drained(ctx)
    return waiting_for(results) or await ctx.enter(Phase.COMPLETE, results, intent=intent.number, who=intent.who)


async def _before_the_point_of_no_return(ctx: Context, intent: Pending) -> str:
    """Make sure that nothing would be lost; empty when `complete` may be published.

    The proofs are this command's own: what was true when BAKING began may be weeks old.
    """
    number = intent.number
    waiting = await read_past(ctx, f"read-past-{number}") or await dealt_with(ctx)
    if waiting or ctx.state.intent != intent:
        return waiting
    if ctx.state.halt:
        return f"the halt to clear: {ctx.state.halt}"
    swept = f"swept-{number}"
    waiting = await all_moved(ctx, Side.NEW, swept)
    if waiting or swept not in ctx.state.done:
        return waiting
    found = ctx.state.done[swept]["pass"]
    wanted = int(intent.arguments.get(LEAVE_BEHIND) or 0)
    if int(found["held_out"]) != wanted:
        return await ctx.settle(intent, "refused", _left_behind(found, wanted))
    results = await drained(ctx, swept)
    waiting = waiting_for(results)
    if waiting:
        return waiting
    evidence = {"gates": gates_json(results), "left_behind": wanted, "held": found["held"]}
    return await ctx.finish("at-final", evidence) if "at-final" not in ctx.state.done else ""


def _left_behind(found: Mapping[str, Any], wanted: int) -> str:
    count = int(found["held_out"])
    if not count:
        return f"--leave-behind says {wanted}, but all keys are in the new table: drop the option"
    return (
        f"{count} keys can't move to the new table, but --leave-behind says {wanted}: {named(found['held'])}. Correct "
        "the rows or the mapping, then: crossfade cutover --execute; or leave them in the legacy table, where they "
        f"can no longer be written: --leave-behind {count}"
    )


async def _publish_complete(ctx: Context, _intent: Pending) -> str:
    await ctx.begin(POINT_OF_NO_RETURN)  # from here on there is no way back
    if not ctx.state.document.complete:
        return await ctx.intend(ctx.state.document._replace(complete=True), dual_write=ctx.state.dual_write)
    return await ctx.finish(POINT_OF_NO_RETURN)


async def _at_complete(ctx: Context, _intent: Pending) -> str:
    return ctx.shut([heartbeats]) or await ctx.finish("at-complete", {"pods": len(ctx.observer.pods)})


async def _scans_again(ctx: Context, _intent: Pending) -> str:
    return await all_moved(ctx, Side.NEW)


async def _revoke(ctx: Context, intent: Pending) -> str:
    command = ctx.world.settings.revoke_command
    if not command:
        if not intent.arguments.get("revoked"):  # the hook was there when the command was taken
            name = ctx.world.mapping.name
            cure = f"crossfade complete --confirm {name} --revoked --execute"
            return f"the API's right to write the legacy table to be revoked; then say so: {cure}"
        # Nothing here can check it: the journal says whose word it is.
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
    if state.phase is Phase.ROLLED_BACK and "settled" not in state.done:
        return await rolled_back(ctx)
    if state.dual_write:
        return await ctx.intend(state.document, dual_write=False)
    if state.phase is Phase.DUAL_WRITE and "canary-home" not in state.done:
        await ctx.observer.canary_home()
        return await ctx.finish("canary-home")
    left = left_by_abort(ctx.world.mapping, ctx.world.settings.streams, state)
    return await ctx.enter(Phase.ABORTED, (), intent=intent.number, who=intent.who, left_behind=left)
