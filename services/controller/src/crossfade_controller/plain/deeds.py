"""Carries out the deeds of a flip (`crossfade.core.migration.flip_deeds`). Each may be killed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from crossfade.contracts.letter import STRAY
from crossfade.core.migration import deeds, flip_deeds
from crossfade.core.migration.deeds import Deed
from crossfade.core.migration.flip_deeds import Compared, Proof, Purged, Round
from crossfade.core.protocol.plain.map import OwnerMap, State
from crossfade.core.protocol.plain.members import Member
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.errors import OwnershipAmbiguous, StoreUnavailable
from crossfade.core.values.shape import Side
from crossfade.ports.guard import Guards
from crossfade_controller.evidence import Observer
from crossfade_controller.plain.comparing import Comparing
from crossfade_controller.plain.moments import Echo, Moments
from crossfade_controller.plain.ports import PlainPorts
from crossfade_controller.plain.purging import Purging
from crossfade_controller.world import World

BUDGET_S: Final = 1.0
"""How long compare and purge work before the state machine looks at the journal, the deadline and the gates again."""

_Journalled = Callable[[], tuple[int, CommitUs]]
"""Tells the number of the entry that began the phase, and the moment of the proof of the hold; 0 before it."""


class FlipDeeds:
    """Carries out deeds. Belongs to the one task that drives the migration.

    Attributes:
        how: what carries out each type of deed.
    """

    def __init__(
        self, world: World, ports: PlainPorts, observer: Observer, moments: Moments, journalled: _Journalled
    ) -> None:
        self._world, self._ports, self._observer, self._moments = world, ports, observer, moments
        self._journalled = journalled
        self._comparing = Comparing(world, ports)
        self._purging = Purging(ports, world.clock.monotonic)
        self._echo: Echo | None = None
        self._attempt = 0
        self._held_s = self._began_s = self._ended_s = self._hooked_s = self._proven_s = float("nan")
        self.how: dict[type[Deed[Any]], Callable[[Any], Awaitable[Any]]] = {
            deeds.TakeMoment: lambda deed: moments.moment(deed.side, purpose=deed.purpose),
            deeds.Elapsed: lambda deed: moments.elapsed_s(deed.side, deed.since_us),
            flip_deeds.LookAtMap: lambda _deed: ports.maps.read(),
            flip_deeds.SwapMap: self._swap,
            flip_deeds.WorkOff: self._work_off,
            flip_deeds.Guard: self._guard,
            flip_deeds.Unguard: self._unguard,
            flip_deeds.LooksHeld: self._looks_held,
            flip_deeds.RunHold: self._run,
            flip_deeds.ProveHold: self._prove,
            flip_deeds.ReadPastHold: self._read_past,
            flip_deeds.LookAtMembers: self._members,
            flip_deeds.Bury: lambda deed: ports.members.bury(deed.name),
            flip_deeds.Compare: self._compare,
            flip_deeds.Purge: self._purge,
            flip_deeds.HeldFor: self._held_for,
            flip_deeds.MeasureStop: self._measure,
            flip_deeds.SwitchTtl: self._ttl,
        }

    async def _swap(self, deed: flip_deeds.SwapMap) -> bool:
        """Change the map. The coordinator is a member from before the first change to after the last."""
        if deed.new.state is not State.OPEN:
            await self._ports.membership.beat()
        done = await self._ports.maps.swap(deed.seen, deed.new)
        if done and deed.new.state is State.OPEN and deed.seen is not None:
            await self._ports.membership.leave()
        return done

    async def _work_off(self, deed: flip_deeds.WorkOff) -> Round:
        parity = self._observer.parity
        if parity.clean_pass_began_s is None:
            return Round(0, 0, "no clean pass of the verifier is known")
        settings = self._world.settings
        # Two clocks, the age of what the verifier told, and its own rounding: earlier is always safe.
        since_s = parity.clean_pass_began_s + settings.stream_margin_s + settings.evidence_s + settings.facts_s
        since_us = self._moments.now_us(deed.owner) - int(since_s * 1e6)
        attempt, _ = self._journalled()
        await self._ports.membership.beat()
        return await self._comparing.work_off(attempt, deed.owner, since_us=since_us, budget_s=BUDGET_S)

    # Stopping writes, and letting them go.

    @property
    def _guards(self) -> Guards:
        guards = self._ports.guards
        if guards is None:
            raise OwnershipAmbiguous(
                "a guard is asked for, and CROSSFADE_GUARD is off: restart with the setting it had"
            )
        return guards

    async def _guard(self, deed: flip_deeds.Guard) -> str:
        self._begin_stop()
        return await self._guards.put(deed.side, epoch=deed.epoch)

    async def _unguard(self, deed: flip_deeds.Unguard) -> str:
        waiting = await self._guards.take_off(deed.side, epoch=deed.epoch)
        if not waiting and await self._guards.is_denied(deed.side):
            waiting = f"a write to {self._world.mapping.shape(deed.side).table} to be taken: its policy is lifted"
        self._ended_s = self._world.clock.monotonic()
        return waiting

    async def _looks_held(self, deed: flip_deeds.LooksHeld) -> str:
        if not await self._guards.is_denied(deed.owner):
            return ""
        return (
            f"a write of the probe's to {self._world.mapping.shape(deed.owner).table} to be taken, as nobody holds it: "
            "give CROSSFADE_PROBE_ROLE_ARN or CROSSFADE_PROBE_PROFILE the right to dynamodb:PutItem on both tables, or "
            "set CROSSFADE_GUARD=false and CROSSFADE_SETTLE_S"
        )

    async def _run(self, deed: flip_deeds.RunHold) -> tuple[int, str]:
        self._begin_stop()
        environment = {"OWNER": deed.owner.value, "EPOCH": str(deed.epoch)}
        environment["OWNER_TABLE"] = self._world.mapping.shape(deed.owner).table
        answer = await self._ports.hook(deed.command, environment, self._world.settings.hook_timeout_s)
        self._ended_s = self._hooked_s = self._world.clock.monotonic()
        return answer

    def _begin_stop(self) -> None:
        if self._began_s != self._began_s:  # NaN: nothing is held yet
            self._began_s = self._world.clock.monotonic()

    async def _held_for(self, _deed: flip_deeds.HeldFor) -> float:
        attempt, _ = self._journalled()
        now_s = self._world.clock.monotonic()
        if self._attempt != attempt:
            self._attempt, self._held_s = attempt, now_s
            self._began_s = self._ended_s = self._hooked_s = self._proven_s = float("nan")
            self._purging.begin()
            self._echo = None
        return now_s - self._held_s

    async def _measure(self, deed: flip_deeds.MeasureStop) -> tuple[float, str]:
        """By this process, if it saw both ends; else by the clocks of the two that did."""
        attempt, _ = self._journalled()
        if self._attempt == attempt and self._began_s == self._began_s and self._ended_s == self._ended_s:
            return self._ended_s - self._began_s, "coordinator"
        if self._attempt == attempt:
            return 0.0, "coordinator"
        return max(0.0, (self._world.clock.wall_us() - deed.began_us) / 1e6), "journal"

    async def _prove(self, deed: flip_deeds.ProveHold) -> Proof:
        attempt, _ = self._journalled()
        await self._ports.membership.beat()
        if self._ports.guards is not None:
            if not await self._ports.guards.is_denied(deed.owner):
                return Proof(f"a write to {self._world.mapping.shape(deed.owner).table} to be denied by its policy")
            by = "guard"
        else:
            left_s = deed.settle_s - (self._world.clock.monotonic() - self._hooked_s)
            if left_s > 0:
                return Proof(f"requests of before the hold to settle, {left_s:.1f} s more")
            by = f"hook, and {deed.settle_s:g} s after it"
        if self._echo is None:  # a marker that is still waited for was written after this one was opened
            self._echo = await self._moments.echo(deed.owner.other)
        held_us = await self._moments.held_us(deed.owner, purpose=f"held {attempt}")
        self._proven_s = self._world.clock.monotonic()
        return Proof("", held_us, self._moments.now_us(deed.owner.other), by)

    async def _read_past(self, deed: flip_deeds.ReadPastHold) -> str:
        if self._proven_s != self._proven_s:
            raise StoreUnavailable("the proof of the hold is another process's")
        since_s, echo = self._proven_s, self._echo
        _, held_us = self._journalled()
        if echo is not None and deed.side is echo.side:
            found_s = await echo.seen_s(held_us)
            if found_s is None:
                return f"the marker of the hold to be copied to {self._world.mapping.shape(deed.side).table}"
            since_s = found_s
        waiting = self._observer.read_past_hold(deed.side, since_s, in_stream=echo is not None)
        if waiting:
            return waiting
        strays = await self._world.letters.all(limit=1, code=STRAY)
        return f"a decision about a stray, {strays[0].key.decode()}" if strays else ""

    # While the standby is sealed.

    async def _members(self, _deed: flip_deeds.LookAtMembers) -> tuple[Member, ...]:
        """List all but ourselves: our own requests have been answered when this one is sent."""
        return tuple(each for each in await self._ports.members.all() if each.name != self._ports.name)

    async def _compare(self, deed: flip_deeds.Compare) -> Compared:
        now, (_, held_us) = await self._map(), self._journalled()
        if now.epoch != deed.epoch or now.state is not State.SEALED:
            raise OwnershipAmbiguous(f"the map is {now.state.value} at epoch {now.epoch}, not sealed at {deed.epoch}")
        await self._ports.membership.beat()
        return await self._comparing.settle(now, held_us=held_us, whole=deed.whole, budget_s=BUDGET_S)

    async def _purge(self, deed: flip_deeds.Purge) -> Purged:
        await self._ports.membership.beat()
        return await self._purging.purge(deed.owner, budget_s=BUDGET_S)

    async def _map(self) -> OwnerMap:
        now = await self._ports.maps.read()
        if now is None:
            raise OwnershipAmbiguous("the map item is gone: restore the journal's table before anything else")
        return now

    async def _ttl(self, deed: flip_deeds.SwitchTtl) -> str:
        """The mapping names the source's attribute alone: the target table has no TTL before COMPLETE."""
        mapping = self._world.mapping
        shape, attribute = mapping.shape(deed.side), mapping.shape(Side.SOURCE).ttl
        if attribute is None:
            return ""
        return await self._world.admin.switch_ttl(shape.table, shape.own(attribute), on=deed.on)
