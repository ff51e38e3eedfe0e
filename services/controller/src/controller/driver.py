"""The state machine's engine: one look at the journal, one step, again and again. Kill it anywhere; it goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from controller.completing import abort, baking
from controller.context import PROGRESS, Context
from controller.history import check_history
from controller.moving import BUDGET_S, cut_over, dual_write, ramping, roll_back, rolled_back
from controller.starting import capturing, catching_up, excluded_keys, planned, snapshot
from controller.state import Migration, Pending
from crossfade.core.clocks import Quiet
from crossfade.core.errors import CrossfadeError, IllegalTransition, LeaseLost
from crossfade.core.phases import FINISHED, MOVING, Intent, Phase, check_intent

log = structlog.get_logger()

STEPS_A_TICK: Final = 20
"""Steps that may follow each other without a look at the clock."""

PUBLISH_AGAIN_S: Final = 10.0
"""Pods that are behind for so long get the flags once more."""

_PHASES: Final[dict[Phase, Callable[[Context], Awaitable[str]]]] = {
    Phase.PLANNED: planned,
    Phase.CAPTURING: capturing,
    Phase.SNAPSHOT: snapshot,
    Phase.CATCHING_UP: catching_up,
    Phase.DUAL_WRITE: dual_write,
    Phase.RAMPING: ramping,
    Phase.CUT_OVER: cut_over,
    Phase.BAKING: baking,
    Phase.ROLLED_BACK: rolled_back,
}


def _reached(state: Migration, intent: Intent) -> str:
    """Say what an intent has brought about, when it has; by the journal, so that a kill in between is no matter."""
    match intent, state.phase:
        case (Intent.START, Phase.DUAL_WRITE) if "dual-write" in state.done:
            return "dual writes are on"
        case (Intent.CUTOVER, Phase.BAKING):
            return "all keys are on the new table"
        case (Intent.COMPLETE, Phase.COMPLETE):
            return "the new table is the only owner"
        case (Intent.ABORT, Phase.ABORTED):
            return "every key is the legacy table's; the new table and the streams stay as they are"
        case (Intent.ROLLBACK, Phase.ROLLED_BACK) if "all-moved" in state.done:
            return "all keys are on the legacy table"
    return ""


def _paused(state: Migration) -> str:
    waiting = f"; {state.intent.intent.value} is waiting for that, too" if state.intent is not None else ""
    return f"crossfade resume --execute: {state.paused_by or 'an operator'} paused the migration{waiting}"


class Driver:
    """Drives one migration.

    Attributes:
        waiting_for: what the migration waits for; empty when it is about to do something.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._behind = Quiet()
        self.waiting_for = "the first look"

    async def recover(self) -> None:
        """Take up the journal where it ends, and put the flags it tells of in place.

        Raises:
            StateMissing: it is not the journal that this migration wrote; nothing was published.
        """
        ctx = self._ctx
        await ctx.refresh()
        await check_history(ctx.world, ctx.state)
        ctx.world.excluded.update(excluded_keys(ctx))
        if ctx.state.is_published:  # what was decided and not published is the next tick's, unless that is paused
            await ctx.publish()

    async def tick(self) -> None:
        """Look at the journal, collect evidence if it is time to, and take what steps can be taken now.

        Raises:
            LeaseLost: another controller drives by now.
        """
        ctx = self._ctx
        await ctx.refresh()
        await ctx.observer.look(ctx.state)
        for _ in range(STEPS_A_TICK):
            try:
                self.waiting_for = await self._step()
            except LeaseLost:
                raise
            except CrossfadeError as error:
                # Nothing was journaled, so the same step comes again; the operator sees why it doesn't get on.
                self.waiting_for = f"{error.code}: {error}"
                log.warning("step failed", phase=ctx.state.phase.value, code=error.code, error=str(error))
            if self.waiting_for != PROGRESS:
                break
        await self._publish_again()
        if ctx.state.phase in MOVING:
            await ctx.sweeper.help(complete=ctx.state.document.complete, budget_s=BUDGET_S)

    async def _publish_again(self) -> None:
        """Put the flags in place again while pods stay behind: a controller that was replaced may have overwritten
        them late, and a file may be lost.
        """
        ctx = self._ctx
        if not ctx.state.is_published:
            return  # a pause holds them back
        evidence, now_s = ctx.evidence(), ctx.world.monotonic()
        wanted = (ctx.state.document, ctx.state.dual_write)
        pods = (evidence.pods if evidence is not None else None) or ()
        if all((each.document, each.dual_write) == wanted for each in pods):
            self._behind = self._behind.observe(False, now_s)
            return
        self._behind = self._behind.observe(True, now_s)
        if self._behind.lasted_s(now_s) >= PUBLISH_AGAIN_S:
            self._behind = Quiet()
            log.warning("pods stay behind: flags published again", journal=ctx.state.number)
            await ctx.publish()

    async def _step(self) -> str:
        ctx = self._ctx
        if ctx.state.pending and await self._admit():
            return PROGRESS
        intent = ctx.state.intent
        if intent is not None and (reached := _reached(ctx.state, intent.intent)):
            return await ctx.settle(intent, "done", reached)
        if ctx.state.phase in FINISHED:
            return "nothing: the migration has ended"
        if ctx.state.paused:
            return _paused(ctx.state)
        if not ctx.state.is_published:
            await ctx.publish()
            return PROGRESS
        if intent is not None and intent.intent is Intent.ABORT:
            return await abort(ctx, intent)
        if intent is not None and intent.intent is Intent.ROLLBACK and ctx.state.phase is not Phase.ROLLED_BACK:
            return await roll_back(ctx, intent)
        return await _PHASES[ctx.state.phase](ctx)

    async def _admit(self) -> bool:
        """Take up, refuse or replace intents; say whether the journal changed."""
        ctx = self._ctx
        for pending in ctx.state.pending:
            if pending.admitted:
                continue
            refusal = self._refusal(pending)
            if refusal:
                await ctx.settle(pending, "refused", refusal)
                return True
            if pending.intent in {Intent.PAUSE, Intent.RESUME}:
                await ctx.append("pause", {"paused": pending.intent is Intent.PAUSE, "who": pending.who})
                await ctx.settle(pending, "done")
                return True
            current = ctx.state.intent
            if current is not None:
                await ctx.settle(current, "superseded", f"by {pending.intent.value}, entry {pending.number}")
            await ctx.append("admitted", {"intent": pending.number})
            if pending.intent is Intent.START:
                log.info("started", who=pending.who)
            return True
        return False

    def _refusal(self, pending: Pending) -> str:
        state = self._ctx.state
        try:
            check_intent(pending.intent, state.phase)
        except IllegalTransition as error:
            return str(error)
        if pending.intent is Intent.COMPLETE and pending.arguments.get("confirm") != self._ctx.world.mapping.name:
            return f"complete wants the migration's name in writing: --confirm {self._ctx.world.mapping.name}"
        if pending.intent is Intent.ROLLBACK and "publish-complete" in state.begun:
            return "the migration is being completed: absent rows belong to the new table by now, there is no way back"
        return ""
