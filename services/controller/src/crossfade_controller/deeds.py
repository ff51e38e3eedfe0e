"""Carries out what the state machine asks for: each deed of `crossfade.core.migration.deeds`. Each may be killed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from crossfade.core.mapping.copies import EXCLUDED
from crossfade.core.migration import deeds
from crossfade.core.migration.acts import gates_json
from crossfade.core.migration.asking import FRESH
from crossfade.core.migration.deeds import A, AftermathSeen, Deed, PlanSeen, Swept
from crossfade.core.migration.evidence import Stray
from crossfade.core.migration.gates import waiting_for
from crossfade.core.protocol.seam import Aim
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_controller.aftermath import read_aftermath
from crossfade_controller.context import Context
from crossfade_controller.evidence import stray_of
from crossfade_controller.excluding import why_not_excluded
from crossfade_controller.plain.deeds import FlipDeeds
from crossfade_controller.plain.moments import Moments
from crossfade_controller.planning import BEFORE_A_START, check_plan
from crossfade_controller.settling import discard_letters, waiting_letters
from crossfade_controller.snapshotting import Snapshots

BUDGET_S: Final = 0.2
"""How long the sweeper works before the state machine looks at the journal again."""


class Deeds:
    """Carries out deeds. Belongs to the one task that drives the migration."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._snapshots = Snapshots(ctx)
        self._since_s: dict[tuple[int, str], float] = {}
        snapshot = self._snapshots.do
        self._how: dict[type[Deed[Any]], Callable[[Any], Awaitable[Any]]] = {
            deeds.CheckPlan: self._check_plan,
            deeds.CheckExcluded: self._check_excluded,
            deeds.CreateStreams: self._create_streams,
            deeds.EnableCapture: self._enable_capture,
            deeds.TakeMoment: lambda deed: ctx.markers.moment(deed.side, purpose=deed.purpose),
            deeds.Elapsed: lambda deed: ctx.markers.elapsed_s(deed.side, deed.since_us),
            **dict.fromkeys((deeds.Export, deeds.LookAtExport, deeds.MapFiles), snapshot),
            **dict.fromkeys((deeds.Import, deeds.LookAtImport, deeds.Load), snapshot),
            deeds.HoldOut: self._hold_out,
            deeds.Sweep: self._sweep,
            deeds.ForgetPass: self._forget,
            deeds.ReadAftermath: self._read_aftermath,
            deeds.ReadPast: self._read_past,
            deeds.LookAtLetters: self._letters,
            deeds.DiscardLetters: self._discard,
            deeds.BringCanaryHome: lambda _deed: ctx.observer.canary_home(),
            deeds.RunHook: lambda deed: ctx.world.command(deed.command),
        }
        if ctx.world.plain is not None and isinstance(ctx.markers, Moments):
            self._how |= FlipDeeds(ctx.world, ctx.world.plain, ctx.observer, ctx.markers, self._hold).how

    async def do(self, deed: Deed[A]) -> A:
        """Carry out a deed; return what came of it.

        Raises:
            CrossfadeError: it could not be done.
        """
        found: A = await self._how[type(deed)](deed)
        return found

    async def close(self) -> None:
        """Stop what goes on in the background."""
        await self._snapshots.close()

    async def _check_plan(self, deed: deeds.CheckPlan) -> PlanSeen:
        world = self._ctx.world
        exclude = {Key(each.encode()) for each in deed.exclude}
        plan = await check_plan(replace(world, excluded=world.excluded | exclude), questions=BEFORE_A_START)
        return PlanSeen(waiting_for(plan.blocking), tuple(gates_json(plan.checks)))

    async def _check_excluded(self, deed: deeds.CheckExcluded) -> str:
        world = self._ctx.world
        asked = {"exclude": deed.exclude, "exclude_unknown": deed.even_unknown, FRESH: deed.fresh}
        return await why_not_excluded(world.mapping, world.tables[Side.SOURCE], self._ctx.state, asked)

    def _hold(self) -> tuple[int, CommitUs]:
        """Return the number of the entry that began the phase, and the moment of the hold's proof, 0 before it."""
        state = self._ctx.state
        return state.entered, CommitUs(int(state.done.get("held", {}).get("held_us", 0)))

    # Capture.

    async def _create_streams(self, deed: deeds.CreateStreams) -> str:
        world = self._ctx.world
        for name in deed.names:
            stream = await world.admin.stream(name)
            if stream is None:
                await world.admin.create_stream(name, shards=world.settings.shards)
                return f"stream {name} to be created"
            if stream.status != "ACTIVE":
                return f"stream {name}, which is {stream.status}"
            await world.admin.raise_retention(name, hours=world.settings.retention_h)
        return ""

    async def _enable_capture(self, deed: deeds.EnableCapture) -> str:
        """Send a side's changes to its stream; return what to wait for, empty when records flow in µs."""
        world = self._ctx.world
        name, table = world.stream_of(deed.side), world.mapping.shape(deed.side).table
        stream = await world.admin.stream(name)
        if stream is None or stream.status != "ACTIVE":
            return f"stream {name}"
        await world.admin.enable_destination(table, stream.arn)
        mine = [each for each in await world.admin.destinations(table) if each.stream_arn == stream.arn]
        if not any(each.status == "ACTIVE" and each.precision == "MICROSECOND" for each in mine):
            return f"change records of {table} to reach {name} with MICROSECOND precision"
        return ""

    async def _hold_out(self, deed: deeds.HoldOut) -> str:
        world = self._ctx.world
        wanted = {Key(each.encode()): EXCLUDED for each in deed.keys}
        results = await world.ownership.hold_out_many(wanted, Aim(Side.TARGET, deed.generation))
        for key, done in zip(wanted, results, strict=True):
            if isinstance(done, Exception):
                raise done
            if done.item is not None and not world.mapping.protocol.rows().is_held_out(done.item):
                return f"the excluded row {key.decode()} to be marked: {done.because or done.outcome.value}"
        return ""

    # Moving all keys.

    async def _sweep(self, deed: deeds.Sweep) -> Swept:
        sweeper = self._ctx.sweeper
        result = await sweeper.move(
            deed.destination, deed.generation, complete=deed.complete, budget_s=BUDGET_S, begun_us=deed.begun_us
        )
        at = result or sweeper.current
        if at is None:
            raise RuntimeError("a pass is still running")
        return Swept(at, result is not None)

    async def _read_aftermath(self, deed: deeds.ReadAftermath) -> AftermathSeen:
        ctx, world, origin = self._ctx, self._ctx.world, deed.origin
        lag_s = ctx.observer.lag(origin).unreplicated_s
        if lag_s is None:
            unknown = f"the lag of {world.mapping.shape(origin).table}'s stream, which is unknown"
            return AftermathSeen(CommitUs(0), deeds.Aftermath(0, 0, ()), unknown)
        # What was committed during the pass has to be in the stream before its end can be read.
        ended_us = await ctx.markers.moment(origin)
        await world.clock.sleep(world.settings.stream_margin_s + lag_s)
        found = await read_aftermath(
            world.shards,
            world.stream_of(origin),
            world.mapping,
            origin,
            since_us=deed.since_us,
            margin_s=world.settings.stream_margin_s,
            complete=deed.complete,
        )
        return AftermathSeen(ended_us, found)

    async def _forget(self, _deed: deeds.ForgetPass) -> None:
        self._ctx.sweeper.forget()

    # What has to be dealt with.

    async def _read_past(self, deed: deeds.ReadPast) -> str:
        entered = self._ctx.state.entered
        self._since_s = {name: at_s for name, at_s in self._since_s.items() if name[0] == entered}
        since_s = self._since_s.setdefault((entered, deed.step), self._ctx.world.clock.monotonic())
        return self._ctx.observer.read_past(since_s)

    async def _letters(self, _deed: deeds.LookAtLetters) -> tuple[Stray, ...]:
        return tuple(stray_of(each) for each in await waiting_letters(self._ctx))

    async def _discard(self, deed: deeds.DiscardLetters) -> None:
        await discard_letters(self._ctx, deed.letters, deed.intent, deed.who)
        self._ctx.sweeper.forget()
