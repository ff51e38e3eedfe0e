"""The dual write: an owner write's image goes to the standby table at once, if that costs the caller next to nothing.

It is an economy and a head start, never a promise: whatever is left out here comes down the stream. So it has a latency
budget for the caller, a bound on what waits and what runs, a breaker, and no retry. What was applied is marked, so that
the stream's copy of it costs no second write (design.md, section 3, rule 7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from crossfade.application.epochs import Epoch, Epochs
from crossfade.core.mapping.copies import transfer_of
from crossfade.core.mapping.interface import Mapping as ItemMapping
from crossfade.core.protocol.keyed.item import Item
from crossfade.core.protocol.writing import HOLDS, Transfer, Unfit
from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side, direction_to
from crossfade.ports.clock import Clock
from crossfade.ports.dedup import Marks
from crossfade.ports.sending import NotSent
from crossfade.ports.table import TransferTable
from crossfade.runtime import telemetry
from crossfade.runtime.telemetry.contract import COPY_OUTCOME, DB_TABLE
from crossfade.runtime.telemetry.span_contract import DUAL_WRITE
from engagement_api.breaker import Breaker

log = structlog.get_logger()

BATCH: Final = 25
"""Transfers of one request."""


class Copy(NamedTuple):
    """What an owner write left: its side, its key, the item after it."""

    owner: Side
    key: Key
    item: Item


class _Lane:
    """One direction: what waits, by key, and how many requests run."""

    def __init__(self) -> None:
        self.waiting: dict[Key, tuple[Transfer, asyncio.Future[None], Epoch, telemetry.Started | None]] = {}
        self.running: set[asyncio.Task[None]] = set()


class Mirror:
    """Copies owner writes to the standby side, in batches, in the background."""

    def __init__(
        self,
        mapping: ItemMapping,
        tables: Mapping[Side, TransferTable],
        marks: Marks | None,
        epochs: Epochs,
        *,
        clock: Clock,
        budget_s: float = 0.02,
        call_s: float = 1.0,
        max_running: int = 4,
        max_waiting: int = 2_000,
    ) -> None:
        """Prepare it; nothing runs before the first copy.

        Args:
            mapping: of the migration.
            tables: where copies go, by side.
            marks: where applied copies are marked; None for nowhere.
            epochs: a copy counts as running in the epoch of its operation.
            clock: of the process.
            budget_s: how long a caller waits for its copy at most; 0 for not at all.
            call_s: how long one request may take.
            max_running: requests at a time, per side.
            max_waiting: copies that may wait, per side; more are left to the stream.
        """
        self._mapping = mapping
        self._tables = tables
        self._marks = marks
        self._epochs = epochs
        self._budget_s = budget_s
        self._call_s = call_s
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._lanes = {side: _Lane() for side in Side}
        self._breakers = {side: Breaker(clock) for side in Side}
        self.counts = dict.fromkeys(("copied", "skipped", "failed", "late"), 0)

    async def copy(self, copies: Sequence[Copy], epoch: Epoch) -> None:
        """Send copies off, and wait for them no longer than the budget. Never raises.

        Args:
            copies: of one call.
            epoch: that the call's operation runs in.
        """
        sent = [future for each in copies if (future := self._send(each, epoch)) is not None]
        if sent and self._budget_s > 0:
            _, late = await asyncio.wait(sent, timeout=self._budget_s)
            self.counts["late"] += len(late)

    async def close(self, within_s: float) -> None:
        """Let what runs and waits come to its end, for a while; the stream heals the rest."""
        tasks = [task for lane in self._lanes.values() for task in lane.running]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within_s)
            for task in late:
                task.cancel()

    def _send(self, copy: Copy, epoch: Epoch) -> asyncio.Future[None] | None:
        destination = copy.owner.other
        lane = self._lanes[destination]
        if copy.item.version is None or self._breakers[destination].is_open:
            self.counts["skipped"] += 1
            return None
        waiting = lane.waiting.get(copy.key)
        if waiting is None and len(lane.waiting) >= self._max_waiting:
            self.counts["skipped"] += 1
            return None
        try:
            transfer = transfer_of(self._mapping, copy.owner, copy.key, copy.item)
        except Exception as error:  # whatever a mapping raises: the owner write is done, and the replicator parks this
            log.warning("unmappable", key=copy.key.decode(), error=repr(error))
            self.counts["skipped"] += 1
            return None
        if waiting is not None:
            # Only the highest version of a key is worth a write; the earlier caller has its future anyway.
            if transfer.version > waiting[0].version:
                lane.waiting[copy.key] = (transfer, *waiting[1:])
            return waiting[1]
        future = asyncio.get_running_loop().create_future()
        epoch.running += 1
        lane.waiting[copy.key] = (transfer, future, epoch, self._begun(destination))
        if len(lane.running) < self._max_running:
            task = asyncio.create_task(self._drain(destination, lane))
            lane.running.add(task)
            task.add_done_callback(lane.running.discard)
        return future

    def _begun(self, destination: Side) -> telemetry.Started | None:
        """Start the span of one copy, where the call that it belongs to has one."""
        observed = telemetry.active()
        call = telemetry.current.get()
        if observed is None or call is None:
            return None
        attributes = {DB_TABLE: self._mapping.shape(destination).table, COPY_OUTCOME: "failed"}
        return observed.start(DUAL_WRITE, attributes, parent=call)

    async def _drain(self, destination: Side, lane: _Lane) -> None:
        while lane.waiting:
            keys = list(lane.waiting)[:BATCH]
            batch = [lane.waiting.pop(key) for key in keys]
            done: dict[Key, int] = {}
            # The lane was begun by one call and works for all: its requests belong to a copy, not to that call.
            telemetry.current.set(next((span for *_, span in batch if span is not None), None))
            try:
                done = await self._write(destination, [each[0] for each in batch])
            finally:
                for transfer, future, epoch, span in batch:
                    self._epochs.end(epoch)
                    if span is not None:
                        span.set(COPY_OUTCOME, "copied" if transfer.key in done else "failed")
                        span.end()
                    if not future.done():
                        future.set_result(None)
            if done and self._marks is not None:
                await self._marks.mark(direction_to(destination), done)

    async def _write(self, destination: Side, transfers: list[Transfer]) -> dict[Key, int]:
        """Send one request; return the versions that the standby surely holds now."""
        breaker = self._breakers[destination]
        if not breaker.admit():
            self.counts["skipped"] += len(transfers)
            return {}
        try:
            async with asyncio.timeout(self._call_s):
                verdicts = await self._tables[destination].transfer(transfers, timeout_s=self._call_s)
        except (CrossfadeError, TimeoutError) as error:
            self._failed(destination, breaker, len(transfers), str(error) or "no answer in time")
            return {}
        except Exception:
            log.exception("dual write failed unexpectedly", destination=destination.value)
            self._failed(destination, breaker, len(transfers), "error")
            return {}
        except asyncio.CancelledError:
            breaker.failed()  # the process ends; but a breaker that let a call in must hear of its end
            raise
        done = {each.key: each.version for each, verdict in zip(transfers, verdicts, strict=True) if verdict in HOLDS}
        self.counts["copied"] += len(done)
        throttled = verdicts.count(NotSent.THROTTLED)
        for transfer, verdict in zip(transfers, verdicts, strict=True):
            if isinstance(verdict, Unfit):  # the key's own affair: the replicator parks it with the same cause
                log.warning(
                    "refused", destination=destination.value, key=transfer.key.decode(), because=verdict.because
                )
        self.counts["skipped"] += len(transfers) - len(done) - throttled
        if throttled:
            self._failed(destination, breaker, throttled, "throttled")
        else:
            breaker.succeeded()
        return done

    def _failed(self, destination: Side, breaker: Breaker, count: int, why: str) -> None:
        breaker.failed()
        self.counts["failed"] += count
        if breaker.is_open:
            log.warning("dual write pauses", destination=destination.value, why=why)
