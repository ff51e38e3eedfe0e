"""The state machine's engine: one look at the journal, one step, again and again. Kill it anywhere; it goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from controller.asking import ENTRY, refusal
from controller.completing import abort, baking
from controller.context import PROGRESS, Context
from controller.excluding import excluded_keys
from controller.history import check_history
from controller.moving import BUDGET_S, cut_over, dual_write, halted, ramping, roll_back, rolled_back
from controller.settling import let_go
from controller.snapshotting import snapshot
from controller.starting import capturing, catching_up, planned
from controller.state import Migration, Pending
from crossfade.core.migration.phases import FINISHED, MOVING, REPLICATING, Intent, Phase
from crossfade.core.values.clocks import Quiet
from crossfade.core.values.errors import CrossfadeError, LeaseLost

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


def _reached(state: Migration, intent: Intent, number: int) -> str:
    """Say what an intent has brought about, when it has; by the journal, so that a kill in between is no matter."""
    match intent, state.phase:
        case (Intent.START, Phase.DUAL_WRITE) if "dual-write" in state.done:
            return "dual writes are on"
        case (Intent.CUTOVER, Phase.BAKING) if state.entered > number:
            held_out = int(state.facts["all-moved"]["pass"]["held_out"])
            return "all keys are in the new table" + (f", but {held_out} that can't move" if held_out else "")
        case (Intent.COMPLETE, Phase.COMPLETE):
            return "the new table is the only owner"
        case (Intent.ABORT, Phase.ABORTED):
            return f"every key is the legacy table's. What stays: {'; '.join(state.left_behind)}"
        case (Intent.ROLLBACK, Phase.ROLLED_BACK) if "settled" in state.done:
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
        self._noted_s = self._let_go_s = float("-inf")
        self.waiting_for = "the first look"

    async def recover(self) -> None:
        """Take up the journal where it ends, and put the flags it tells of in place.

        Raises:
            StateMissing: it is not the journal that this migration wrote; nothing was published.
        """
        ctx = self._ctx
        await ctx.refresh()
        await check_history(ctx.world, ctx.state)
        ctx.world.excluded.update(excluded_keys(ctx.state))
        if ctx.state.is_published:  # what was decided and not published is the next tick's, unless that is paused
            await ctx.publish()

    async def tick(self) -> None:
        """Look at the journal, collect evidence if it is time to, and take what steps can be taken now.

        Raises:
            LeaseLost: another controller drives by now.
        """
        ctx = self._ctx
        await ctx.refresh()
        if await ctx.observer.look(ctx.state):
            await self._note_stray()
            await self._let_go()
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

    async def _note_stray(self) -> None:
        """Journal the last stray's commit time, so that no restart of a consumer or of ours forgets it. A plain writer
        makes thousands a second: several a quiet window are enough.
        """
        ctx, now_s = self._ctx, self._ctx.world.monotonic()
        last_us = ctx.observer.stray_last_us
        every_s = ctx.world.settings.gate_quiet_s / 4
        if last_us != ctx.state.stray_last_us and now_s - self._noted_s >= every_s:
            self._noted_s = now_s
            await ctx.append("stray", {"last_us": last_us})

    async def _let_go(self) -> None:
        """Take out letters that are settled, now and then while there are any."""
        ctx, now_s = self._ctx, self._ctx.world.monotonic()
        evidence = ctx.evidence()
        waits = now_s - self._let_go_s < ctx.world.settings.facts_s
        if waits or ctx.state.phase not in REPLICATING or evidence is None or not evidence.dead_letters:
            return
        self._let_go_s = now_s
        try:
            gone = await let_go(ctx)
        except CrossfadeError as error:
            log.warning("letters can't be let go", error=str(error))
        else:
            if gone:
                log.info("letters let go", letters=gone)

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
        if intent is not None and (reached := _reached(ctx.state, intent.intent, intent.number)):
            return await ctx.settle(intent, "done", reached)
        if intent is not None and self._is_expired(intent):
            return await ctx.settle(intent, "expired", f"waiting for: {self.waiting_for}; nothing was done for it")
        if ctx.state.phase in FINISHED:
            return "nothing: the migration has ended"
        if await halted(ctx):
            return PROGRESS
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
            if self._is_expired(pending):
                await ctx.settle(pending, "expired", "before it was taken up; nothing was done for it")
                return True
            because = self._refusal(pending)
            if because:
                await ctx.settle(pending, "refused", because)
                return True
            if pending.intent is Intent.WITHDRAW:
                await self._withdraw(pending)
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

    async def _withdraw(self, asked: Pending) -> None:
        ctx = self._ctx
        target = next(each for each in ctx.state.pending if each.number == asked.arguments[ENTRY])
        stays = "what it has begun goes on or stays" if target.acted else "nothing was done for it"
        await ctx.settle(target, "withdrawn", f"by {asked.who}; {stays}")
        await ctx.settle(asked, "done", f"{target.intent.value}, entry {target.number}, is withdrawn; {stays}")

    def _is_expired(self, pending: Pending) -> bool:
        """Say whether nothing may be begun for a command any more: who asked for it reckons with it no longer."""
        return 0 < pending.expires_us <= self._ctx.world.now_us() and not pending.acted

    def _refusal(self, pending: Pending) -> str:
        world = self._ctx.world
        revokes = bool(world.settings.revoke_command)
        name = world.mapping.name
        return refusal(self._ctx.state, pending.intent, pending.arguments, migration=name, revokes=revokes)
