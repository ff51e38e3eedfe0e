"""The sweeper: hands over the keys nobody touched, and helps those that were left standby on both sides.

A pass looks at every row of both tables. Work is cut into pages and paced, so that it never holds up the state machine
and stays within the read and write units it was given. A pass that found nothing to do is the proof that the cutover
(or the way back) needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeGuard

import structlog

from crossfade.core.migration.deeds import HeldOut, PassResult
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import Aim, RowReader, WriterProtocol
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.ports.moving import Moved, Mover
from crossfade.ports.table import RowTable
from crossfade.runtime import telemetry
from crossfade.runtime.pace import Pace
from crossfade.runtime.telemetry.contract import COUNT, DIRECTION, REASON, SIDE
from crossfade.runtime.telemetry.span_contract import SWEEP, SWEEP_EVENT
from crossfade_controller.diverged import DivergedKeys, Rows
from crossfade_controller.settings import ControllerSettings

log = structlog.get_logger()

SAMPLES = 10
"""Keys that can't be moved, named in evidence."""


class Progress(NamedTuple):
    """What the last complete look at the source table told.

    Attributes:
        on_target: mapped keys that the source table doesn't own any more.
        keys: all mapped keys.
        held_out: keys that can't move to the target table.
        held: the first of them, with the cause.
    """

    on_target: int = 0
    keys: int = 0
    held_out: int = 0
    held: tuple[HeldOut, ...] = ()

    @property
    def share(self) -> float | None:
        """Part of the keys on the target table, 0 to 1; None when there are none."""
        return self.on_target / self.keys if self.keys else None


class _Suspect(NamedTuple):
    signature: Hashable
    since_s: float


class Sweeper:
    """Passes over both tables. Belongs to the one task that drives the migration.

    Attributes:
        last: the last pass that ended; None when there was none, or it was forgotten.
        progress: what the last complete look told; None before the first.
        helped: keys whose handover was completed.
        handed_over: keys handed over or helped, by the side that owns them since.
    """

    def __init__(
        self,
        tables: Mapping[Side, RowTable],
        protocol: WriterProtocol,
        ownership: Mover,
        diverged: DivergedKeys,
        settings: ControllerSettings,
        *,
        clock: Clock,
    ) -> None:
        """Take the tables, what hands over, what holds back, and the clock."""
        self._tables = tables
        self._protocol = protocol
        self._diverged = diverged
        self._ownership = ownership
        self._settings = settings
        self._clock = clock
        self._reading = Pace(settings.sweep_rows_per_s, now_s=clock.monotonic)
        self._moving = Pace(settings.sweep_moves_per_s, now_s=clock.monotonic)
        self._move: PassResult | None = None
        self._move_side: Side | None = None
        self.last: PassResult | None = None
        self._cursor: bytes | None = None
        self._help_cursor: bytes | None = None
        self._help_rests_until_s = clock.monotonic()
        self._counting = Progress()
        self._suspects: dict[Key, _Suspect] = {}
        self.progress: Progress | None = None
        self.helped = 0
        self.handed_over: Counter[str] = Counter()

    @property
    def in_handover(self) -> int:
        """Keys that have been standby on both sides for longer than `helped_after_s`."""
        now_s = self._clock.monotonic()
        return sum(now_s - each.since_s > self._settings.helped_after_s for each in self._suspects.values())

    @property
    def current(self) -> PassResult | None:
        """The pass that is under way."""
        return self._move

    def forget(self) -> None:
        """Drop the pass that is under way, and the last one: their proof no longer counts."""
        self._move = self.last = None

    # Moving all keys.

    async def move(
        self, destination: Side, generation: int, *, complete: bool, budget_s: float, begun_us: CommitUs
    ) -> PassResult | None:
        """Go on with a pass that hands all keys to `destination`; return its result when it has ended.

        Args:
            destination: the owner to be.
            generation: of that wish. A pass under way for another one is dropped.
            complete: of the flag document.
            budget_s: how long to work before returning.
            begun_us: commit time of the origin table that a pass begun by this call has.
        """
        at = self._move
        if at is None or (at.destination, at.generation) != (destination, generation):
            self._move = PassResult(destination, generation, begun_us)
            self._move_side, self._cursor = destination.other, None
        ends_s = self._clock.monotonic() + budget_s
        while self._move_side is not None and self._reading.is_free() and self._moving.is_free():
            await self._move_page(self._move_side, Aim(destination, generation), complete)
            if self._clock.monotonic() >= ends_s:
                break
        if self._move_side is not None:
            return None
        result, self._move = self._move, None
        self.last = result
        return result

    async def _move_page(self, side: Side, aim: Aim, complete: bool) -> None:
        page = await self._tables[side].scan_page(start=self._cursor, limit=self._settings.sweep_page)
        self._reading.spend(page.scanned)
        items = dict(page.items)
        rows_of = self._protocol.rows(complete=complete)
        standby = [key for key, item in items.items() if not rows_of.owns(item, side)]
        across = await self._tables[side.other].read_many(standby if side is aim.side else list(items))
        idle = [key for key in standby if not rows_of.owns(across.get(key), side.other)]
        if side is aim.side:
            moved = [key for key in standby if key not in idle]
            await self._stub([key for key in moved if key not in across], aim)
            known: dict[Key, Row] = {}
            rows = {key: Rows(across[key], items[key]) for key in moved if key in across}
        else:
            moved = [key for key in items if key not in standby]
            known = {key: items[key] for key in moved}
            rows = {key: Rows(items[key], across[key]) for key in moved if key in across}
        differing = await self._diverged.hold(aim.side.other, rows)
        moved = [key for key in moved if key not in differing]
        result = self._required()
        self._move = result._replace(
            rows=result.rows + page.scanned,
            keys=result.keys + (0 if side is aim.side else len(items)),
            # Such keys have a row in both tables, and are counted where they are owned.
            diverged=result.diverged + (0 if side is aim.side else len(differing)),
        )
        counts = side is not aim.side
        await self._hand_over(moved, aim, known, complete, "moved", counts=counts)
        await self._hand_over(idle, aim, {}, complete, "helped", counts=counts)
        self._cursor = page.next
        if page.next is None:
            self._move_side = aim.side if side is aim.side.other else None

    async def _stub(self, keys: Sequence[Key], aim: Aim) -> None:
        """Seal absent owners by a stub: the destination has a row (a tombstone, say) that nobody could activate."""
        origin = self._tables[aim.side.other]
        acts, now_us = self._protocol.acts, self._clock.wall_us()
        await origin.perform_many([acts.stub(key, aim.generation, now_us=now_us).write for key in keys])

    async def _hand_over(
        self, keys: Sequence[Key], aim: Aim, known: Mapping[Key, Any], complete: bool, what: str, *, counts: bool
    ) -> None:
        if not keys:
            return
        self._moving.spend(len(keys))
        with _span(aim, len(keys)) as span:
            results = await self._ownership.hand_over_many(keys, aim, known=known, complete=complete)
            results = await self._marked(keys, results, aim)
            await self._fenced(keys, results, aim)
            self._count(results, f"{what}, generation {aim.generation}", span)
        result = self._required()
        told = list(zip(keys, results, strict=True))
        held = [HeldOut(key.decode(), done.because) for key, done in told if self._is_held_out(done)]
        stuck = [
            f"{key.decode()}: {_why(done)}"
            for key, done in told
            if not self._is_held_out(done)
            and not (not isinstance(done, Exception) and done.arrived and done.side is aim.side)
        ]
        arrived = len(keys) - len(stuck) - len(held)
        self._move = result._replace(
            held_out=result.held_out + (len(held) if counts else 0),
            held=(result.held + tuple(held if counts else ()))[:SAMPLES],
            moved=result.moved + (arrived if what == "moved" else 0),
            helped=result.helped + (arrived if what == "helped" else 0),
            stuck=(result.stuck + tuple(stuck))[:SAMPLES],
        )

    async def _marked(
        self, keys: Sequence[Key], results: Sequence[Moved | Exception], aim: Aim
    ) -> list[Moved | Exception]:
        """Mark the keys that can't move and whose rows don't say so yet; return the results with theirs.

        An exclusion is known to us alone, and a row that was never sealed tells nobody that it stays.
        """
        found, rows = dict(zip(keys, results, strict=True)), self._protocol.rows()
        unmarked = {
            key: done.because
            for key, done in found.items()
            if not isinstance(done, Exception) and done.stays and not rows.is_held_out(done.item)
        }
        if unmarked:
            marked = await self._ownership.hold_out_many(unmarked, aim)
            found.update(zip(unmarked, marked, strict=True))
        return list(found.values())

    async def _fenced(self, keys: Sequence[Key], results: Sequence[Moved | Exception], aim: Aim) -> None:
        """Shut the other table to each key that was held out: absent or without a role there, it would own the key once
        the migration is complete, an empty wallet.
        """
        held = {key: done for key, done in zip(keys, results, strict=True) if self._is_held_out(done)}
        destination = self._tables[aim.side]
        rows = await destination.read_many(list(held)) if held else {}
        reader, acts = self._protocol.rows(), self._protocol.acts
        bare = [key for key in held if not reader.is_settled(rows.get(key))]
        if bare:
            await destination.perform_many([acts.shut(key, held[key].item).write for key in bare])

    def _count(self, results: Sequence[Moved | Exception], why: str, span: telemetry.Started | None) -> None:
        arrived = Counter(each.side.value for each in results if not isinstance(each, Exception) and each.was_moved)
        self.handed_over.update(arrived)
        if span is not None:
            for side, count in arrived.items():
                span.event(SWEEP_EVENT, {SIDE: side, COUNT: count, REASON: why})

    def _required(self) -> PassResult:
        if self._move is None:
            raise RuntimeError("no pass is under way")
        return self._move

    # Helping.

    async def help(self, *, complete: bool, budget_s: float) -> None:
        """Look for keys standby on both sides, and complete their handover once they stood still long enough."""
        await self._settle_suspects(complete)
        ends_s = self._clock.monotonic() + budget_s
        while self._reading.is_free() and ends_s > self._clock.monotonic() >= self._help_rests_until_s:
            await self._help_page(complete)

    async def _help_page(self, complete: bool) -> None:
        page = await self._tables[Side.SOURCE].scan_page(start=self._help_cursor, limit=self._settings.sweep_page)
        self._reading.spend(page.scanned)
        rows = self._protocol.rows(complete=complete)
        standby = {key: item for key, item in page.items if not rows.owns(item, Side.SOURCE)}
        across = await self._tables[Side.TARGET].read_many(list(standby))
        now_s = self._clock.monotonic()
        for key, item in standby.items():
            other = across.get(key)
            if not rows.owns(other, Side.TARGET):
                self._suspects.setdefault(key, _Suspect(_signature(rows, item, other), now_s))
        counting = self._counting
        held = [HeldOut(key.decode(), because) for key, because in self._held_out(page.items)]
        self._counting = Progress(
            counting.on_target + len(standby),
            counting.keys + len(page.items),
            counting.held_out + len(held),
            (counting.held + tuple(held))[:SAMPLES],
        )
        self._help_cursor = page.next
        if page.next is None:
            self.progress, self._counting = self._counting, Progress()
            self._help_rests_until_s = now_s + self._settings.sweep_rest_s

    def _held_out(self, rows: Sequence[tuple[Key, Any]]) -> Iterator[tuple[Key, str]]:
        """Return the rows of the source table whose keys were held out, with the cause."""
        for key, item in rows:
            if self._protocol.rows().is_held_out(item):
                yield key, self._ownership.why_held_out(key, item, Side.TARGET)

    def _is_held_out(self, done: Moved | Exception) -> TypeGuard[Moved]:
        rows = self._protocol.rows()
        return not isinstance(done, Exception) and done.stays and rows.is_held_out(done.item)

    async def _settle_suspects(self, complete: bool) -> None:
        if not self._suspects:
            return
        keys = list(self._suspects)
        source = await self._tables[Side.SOURCE].read_many(keys)
        target = await self._tables[Side.TARGET].read_many(keys)
        rows, now_s = self._protocol.rows(complete=complete), self._clock.monotonic()
        due: list[Key] = []
        for key in keys:
            here, there = source.get(key), target.get(key)
            if rows.owns(here, Side.SOURCE) or rows.owns(there, Side.TARGET):
                del self._suspects[key]
                continue
            signature = _signature(rows, here, there)
            if self._suspects[key].signature != signature:
                self._suspects[key] = _Suspect(signature, now_s)
            elif now_s - self._suspects[key].since_s > self._settings.helped_after_s:
                due.append(key)
        if due and self._moving.is_free():
            self._moving.spend(len(due))
            aim = Aim(Side.TARGET, 0)
            with _span(aim, len(due)) as span:
                results = await self._ownership.hand_over_many(due, aim, complete=complete)
                self._count(results, "helped: standby on both sides for too long", span)
            for key, done in zip(due, results, strict=True):
                if not isinstance(done, Exception) and done.arrived:
                    self.helped += 1
                    log.info("handover completed", key=key.decode(), owner=done.side.value)
                else:
                    log.warning("handover can't be completed", key=key.decode(), reason=_why(done))


def _span(aim: Aim, keys: int) -> AbstractContextManager[telemetry.Started | None]:
    active = telemetry.active()
    if active is None:
        return nullcontext()
    span = active.start(SWEEP, {DIRECTION: f"to-{aim.side.value}", COUNT: keys}, parent="")
    return nullcontext() if span is None else span


def _signature(rows: RowReader, *items: Row | None) -> Hashable:
    return tuple((rows.standing_of(each), rows.version_of(each)) for each in items)


def _why(done: Moved | Exception) -> str:
    return str(done) if isinstance(done, Exception) else done.why
