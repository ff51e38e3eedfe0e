"""The state machine's engine: asks what comes next, does it, journals it. Kill it anywhere; it goes on (ADR 0030)."""

from __future__ import annotations

from typing import Any, Final

import structlog

from crossfade.core.migration.acts import Publish, Wait, failed
from crossfade.core.migration.deeds import Deed
from crossfade.core.migration.gates import clean_pass
from crossfade.core.migration.step import step
from crossfade.core.values.clocks import Quiet
from crossfade.core.values.errors import CrossfadeError, LeaseLost
from crossfade_controller.context import Context
from crossfade_controller.deeds import BUDGET_S, Deeds
from crossfade_controller.history import check_history
from crossfade_controller.settling import let_go

log = structlog.get_logger()

ROUNDS_A_TICK: Final = 40
"""Rounds that may follow each other without a look at the clock."""

GOES_ON: Final = Wait("", "")
"""Nothing: the next round does something."""

PUBLISH_AGAIN_S: Final = 10.0
"""Pods that are behind for so long get the flags once more."""


class Driver:
    """Drives one migration.

    Attributes:
        wait: what the migration waits for; nothing when it is about to do something.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._behind = Quiet()
        self._noted_s = self._let_go_s = float("-inf")
        self._deeds = Deeds(ctx)
        self.wait = Wait("evidence", "the first look")

    @property
    def waiting_for(self) -> str:
        """What the migration waits for, as one line; empty when it is about to do something."""
        return self.wait.text

    async def recover(self) -> None:
        """Take up the journal where it ends, and put its flags in place.

        Raises:
            StateMissing: it is not the journal that this migration wrote; nothing was published.
        """
        ctx = self._ctx
        await ctx.refresh()
        await check_history(ctx.world, ctx.state)
        if (
            ctx.state.table.flags and ctx.state.is_published
        ):  # what was decided and not published is the next tick's, unless that is paused
            await self._publish()

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
        for _ in range(ROUNDS_A_TICK):
            try:
                wait = await self._round()
            except LeaseLost:
                raise
            except CrossfadeError as error:
                wait = failed(error)
                log.warning("step failed", phase=ctx.state.phase.value, code=error.code, error=str(error))
            self.wait = wait or GOES_ON
            if wait is not None:
                break
        await self._publish_again()
        if ctx.state.phase in ctx.state.table.moving:
            await ctx.sweeper.help(complete=ctx.state.document.complete, budget_s=BUDGET_S)

    async def close(self) -> None:
        """Stop what goes on in the background; another driver takes it up."""
        await self._deeds.close()

    async def _note_stray(self) -> None:
        """Journal the last stray's commit time, so that no restart, of a consumer or of ours, forgets it. A plain
        writer
        makes thousands a second: several a quiet window are enough.
        """
        ctx, now_s = self._ctx, self._ctx.world.clock.monotonic()
        last_us = ctx.observer.stray_last_us
        every_s = ctx.world.settings.gate_quiet_s / 4
        if last_us != ctx.state.stray_last_us and now_s - self._noted_s >= every_s:
            self._noted_s = now_s
            await ctx.append("stray", {"last_us": last_us})

    async def _let_go(self) -> None:
        """Take out letters that are settled, now and then while there are any."""
        ctx, now_s = self._ctx, self._ctx.world.clock.monotonic()
        evidence = ctx.evidence()
        waits = now_s - self._let_go_s < ctx.world.settings.facts_s or not ctx.state.table.flags
        if waits or ctx.state.phase not in ctx.state.table.replicating or evidence is None or not evidence.dead_letters:
            return
        self._let_go_s = now_s
        try:
            gone = await let_go(ctx)
        except CrossfadeError as error:
            log.warning("letters could not be released", error=str(error))
        else:
            if gone:
                log.info("letters released", letters=gone)

    async def _publish_again(self) -> None:
        """Put the flags in place again while pods stay behind: a controller that was replaced may have overwritten
        them late, and a file may be lost.
        """
        ctx = self._ctx
        if not ctx.state.table.flags or not ctx.state.is_published:
            return  # there are none, or a pause holds them back
        evidence, now_s = ctx.evidence(), ctx.world.clock.monotonic()
        wanted = (ctx.state.document, ctx.state.dual_write)
        pods = (evidence.pods if evidence is not None else None) or ()
        if all((each.document, each.dual_write) == wanted for each in pods):
            self._behind = self._behind.observe(False, now_s)
            return
        self._behind = self._behind.observe(True, now_s)
        if self._behind.lasted_s(now_s) >= PUBLISH_AGAIN_S:
            self._behind = Quiet()
            log.warning("pods are behind: flags published again", journal=ctx.state.number)
            await self._publish()

    async def _round(self) -> Wait | None:
        """Ask what comes next, and do it: deeds until there is an answer, then the journal. None when there is more."""
        ctx = self._ctx
        state, seen = ctx.state, ctx.seen(self.wait)
        answers: dict[Deed[Any], Any] = {}
        while isinstance(answer := step(state, seen._replace(answers=answers)), Deed):
            answers[answer] = await self._deeds.do(answer)
        if isinstance(answer, Wait):
            if any(each.name == clean_pass.__name__ for each in answer.shut):
                await ctx.observer.want_pass()
            return answer
        if not isinstance(answer, Publish) or state.is_published:
            for kind, body in answer.entries():
                await ctx.append(kind, body)
        if isinstance(answer, Publish):
            await self._publish()
        return None

    async def _publish(self) -> None:
        """Publish the flags that the journal says are in force."""
        state = self._ctx.state
        await self._ctx.world.flags.publish(state.document, dual_write=state.dual_write)
        if not state.is_published:
            await self._ctx.append("published", {"share": state.share_entry})
