"""One verifier's share in a pass: it takes units and works at them, and watches the progress of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

from crossfade.contracts.passes import UnitRecord
from crossfade.core.parity.classes import Difference
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import CrossfadeError, LeaseLost, UnknownDocument
from crossfade.core.values.shape import Side
from crossfade_verifier.findings import Findings
from crossfade_verifier.join_unit import JoinUnit
from crossfade_verifier.pass_views import Pass
from crossfade_verifier.scan_unit import ScanUnit
from crossfade_verifier.units import Means, Unit, checkpoint_of, why

log = structlog.get_logger()

LEAVE_S: Final = 3.0
"""Longest time that giving up units may take at a stop; what isn't given up by then is taken over after its lease."""


class _Watched(NamedTuple):
    counter: int
    beat: int
    since_s: float


class Share:
    """This verifier's share in one pass.

    Attributes:
        each: the pass.
        moved_s: when others were last seen to make progress, monotonic.
        trouble: why one of its units could not be worked at.
    """

    def __init__(self, means: Means, each: Pass, holder: str, *, complete: Callable[[], bool]) -> None:
        """Begin without a unit.

        Args:
            means: see there.
            each: the pass.
            holder: of units: unique per start of a process, and its pod is told by `pod_of`.
            complete: what the flag document says.
        """
        self._means, self.each, self._holder, self._complete = means, each, holder, complete
        self._tasks: dict[asyncio.Task[None], Unit] = {}
        self._watched: dict[tuple[str, int], _Watched] = {}
        self._read: dict[tuple[str, int], UnitRecord] = {}
        self.moved_s = means.clock.monotonic()
        self.trouble = ""

    async def look(self) -> None:
        """See how far all units are, and take those that are free, as many as this verifier works at.

        Raises:
            CrossfadeError: the store can't be read.
        """
        units, now_s = await self._means.store.units(self.each.record), self._means.clock.monotonic()
        for unit in units:
            self._watch(unit, now_s)
        await self._hear_of(units)
        self.each.units = units
        self.each.note(now_s)
        await self._take(units, now_s)

    def _watch(self, unit: UnitRecord, now_s: float) -> None:
        place, known = (unit.kind, unit.number), self._watched.get((unit.kind, unit.number))
        if known is None or (known.counter, known.beat) != (unit.counter, unit.beat):
            self._watched[place] = _Watched(unit.counter, unit.beat, now_s)

    async def _hear_of(self, units: Iterable[UnitRecord]) -> None:
        """Take in what the units of others have found; a sign of life alone is no progress."""
        for unit in units:
            place, known = (unit.kind, unit.number), self._read.get((unit.kind, unit.number))
            if place in self.each.mine or not unit.head or (known is not None and known.head == unit.head):
                continue
            if known is not None or unit.state == "done":
                self.moved_s = self._means.clock.monotonic()
            found = Findings(self._means.limits(self.each.record), self._means.both.rows())
            if unit.head.get("classes") or unit.head.get("not_ours"):
                body = await self._means.store.body(unit)
                try:
                    found.take(b"" if body is None else checkpoint_of(body).findings)
                except UnknownDocument:
                    found.tell(unit.head)  # whoever takes the unit begins it again
            else:
                found.tell(unit.head)
            self.each.theirs[place], self._read[place] = found, unit

    async def _take(self, units: Sequence[UnitRecord], now_s: float) -> None:
        settings = self._means.settings
        first = sum(self._holder.encode()) % max(1, len(units))  # so that two verifiers don't begin with the same one
        for unit in (*units[first:], *units[:first]):
            scanning = sum(not each.scanned.is_set() for each in self._tasks.values())
            following = sum(len(each.followed) for each in self._tasks.values())
            if scanning >= settings.segments or following >= settings.follow_bound:
                return
            if not self._is_free(unit, now_s):
                continue
            held = await self._means.store.claim(unit, self._holder)
            if held is None:
                continue
            place = (held.kind, held.number)
            kind = ScanUnit if held.kind == "scan" else JoinUnit
            mine = kind(self._means, self.each.record, held, complete=self._complete())
            self.each.mine[place] = mine
            self.each.theirs.pop(place, None)
            self._tasks[asyncio.create_task(self._work(mine))] = mine

    def _is_free(self, unit: UnitRecord, now_s: float) -> bool:
        if unit.state == "done" or any(unit.kind == k and unit.number == n for k, n in self._working()):
            return False
        watched = self._watched[unit.kind, unit.number]
        return not unit.holder or now_s - watched.since_s >= self._means.settings.unit_lease_s

    def _working(self) -> list[tuple[str, int]]:
        return [(each.record.kind, each.record.number) for each in self._tasks.values()]

    async def _work(self, unit: Unit) -> None:
        place = (unit.record.kind, unit.record.number)
        try:
            await unit.run()
        except LeaseLost as error:
            log.info("a unit of a pass is another verifier's by now", unit=place, reason=str(error))
            self.each.mine.pop(place, None)
        except CrossfadeError as error:
            self.trouble = f"{place[0]} unit {place[1]}: {why(error)}"
            log.warning("a unit of a pass failed", unit=place, reason=why(error))
            self.each.mine.pop(place, None)

    async def wait(self, seconds: float, woken: asyncio.Event) -> None:
        """Wait until a unit has ended or is scanned, somebody wakes us, or so long."""
        waits = [asyncio.ensure_future(self._means.clock.sleep(seconds)), asyncio.ensure_future(woken.wait())]
        waits += [
            asyncio.ensure_future(each.scanned.wait()) for each in self._tasks.values() if not each.scanned.is_set()
        ]
        try:
            await asyncio.wait([*waits, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        woken.clear()
        for task in [task for task in self._tasks if task.done()]:
            del self._tasks[task]
            task.result()

    async def stop(self, *, leave: bool) -> None:
        """Stop working.

        Args:
            leave: give the units up, so that others can go on with them at once.
        """
        tasks, self._tasks = self._tasks, {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if leave:
            with suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await asyncio.gather(*(unit.leave() for unit in tasks.values() if not unit.ended))

    async def whole(self, *, at_least: bool = False) -> Findings:
        """Return what all units have found, as far as it was saved or is ours.

        Args:
            at_least: leave out what can't be read: the pass is to be ended without being done.

        Raises:
            CrossfadeError: the store can't be read.
            UnknownDocument: what a unit has saved can't be read.
        """
        whole = Findings(self._means.limits(self.each.record), self._means.both.rows())
        for unit in self.each.units:
            mine = self.each.mine.get((unit.kind, unit.number))
            if mine is not None:
                whole.add(mine.findings)
            elif unit.counter and (body := await self._means.store.body(unit)) is not None:
                try:
                    whole.take(checkpoint_of(body).findings)
                except UnknownDocument:
                    if not at_least:
                        raise
            await self._means.clock.sleep(0)  # adding up digests takes a while
        return whole

    def hear(self, side: Side, change: Change) -> None:
        """Take in a change record of either stream."""
        for unit in self._tasks.values():
            unit.followed.hear(side, change)

    def followed(self) -> int:
        """Return how many keys all verifiers follow."""
        mine = {(unit.record.kind, unit.record.number): len(unit.followed) for unit in self._tasks.values()}
        theirs = (each for each in self.each.units if each.state == "open" and (each.kind, each.number) not in mine)
        return sum(mine.values()) + sum(int(each.head.get("following", 0)) for each in theirs)

    def held(self) -> str:
        """Say why scanning is on hold; empty when it isn't."""
        held = [each.followed for each in self._tasks.values() if each.followed.held_since_s is not None]
        if not held:
            return ""
        since_s = min(each.held_since_s for each in held if each.held_since_s is not None)
        return (
            f"the scan has been on hold for {self._means.clock.monotonic() - since_s:.0f} s: "
            f"{sum(map(len, held))} keys are being followed, "
            f"CROSSFADE_FOLLOW_BOUND is {self._means.settings.follow_bound}"
        )

    def why(self) -> str:
        """Say what fails at the moment, and is tried again; empty when nothing does."""
        mine = [each.trouble for each in self._tasks.values() if each.trouble]
        return next(iter(mine), self.trouble)

    def drift(self) -> dict[Difference, int]:
        """Return what was called so far, by class."""
        found = self.each.findings
        return {} if found is None else found.drift
