"""A replicator's process: the shipped pipeline of one direction on the town's stores. It is killed and stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from crossfade.adapters.memory.admin import SHARD
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.owning import MemoryMembers, MemoryOwnerMaps, MemoryTombstones
from crossfade.adapters.memory.plain_table import MemoryPlainTable
from crossfade.adapters.memory.plain_writes import MemoryCopies, MemoryOwnerWrites
from crossfade.adapters.plain_transfers import Copied
from crossfade.application.membership import Membership
from crossfade.contracts.report import Report
from crossfade.core.protocol.plain.map import State
from crossfade.core.protocol.writing import Transfer
from crossfade.core.replication.change import decode_change
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction
from crossfade.ports.sending import NotSent
from crossfade.ports.streams import StreamRecord
from crossfade_replicator.plain.answered import Answered
from crossfade_replicator.plain.building import Parts
from crossfade_replicator.plain.handed import Handed
from crossfade_replicator.plain.hints import Hints
from crossfade_replicator.plain.letters import Letters
from crossfade_replicator.plain.pipeline import PlainPipeline
from crossfade_replicator.plain.progress import Progress, Witness
from crossfade_replicator.plain.writes import StandbyWrites
from flip_world import CONSUMERS, STREAMS

if TYPE_CHECKING:
    from simulation.flips.town import RunTown

LEASE_S = 2.0


class WorkerClock(MemoryClock):
    """The town's time; a process that is stopped doesn't wake."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def wall_us(self) -> int:
        return self._worker.town.now_us()

    def monotonic(self) -> float:
        return self._worker.town.now_s

    async def sleep(self, seconds: float) -> None:
        worker = self._worker
        await worker.until(worker.town.now_s + seconds)


class Signed:
    """Writes to one table: each is signed while the process's word counts, and lands while its signature is young."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def send(self) -> None:
        worker = self._worker
        worker.membership.check()
        signed_s = worker.town.now_s
        await worker.until(signed_s)
        if worker.town.now_s - signed_s > worker.town.settings.signature_s:
            raise StoreUnavailable("the signature is too old")


class SentCopies(MemoryCopies):
    """Copies of a process that is stopped between signature and answer, and of a table that throttles."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker.town.tables[worker.direction.destination])
        self._worker, self._signed = worker, Signed(worker)

    async def copy(self, transfers: Sequence[Transfer], floor: int, *, timeout_s: float | None = None) -> list[Copied]:
        await self._signed.send()
        town = self._worker.town
        if town.now_s < town.throttled_until_s:
            return [NotSent.THROTTLED] * len(transfers)
        return await super().copy(transfers, floor, timeout_s=timeout_s)


class SentPuts(MemoryPlainTable):
    """The standby's whole rows, likewise."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker.town.tables[worker.direction.destination])
        self._signed = Signed(worker)

    async def put(self, image: Image, *, met: Image | None) -> bool:
        await self._signed.send()
        return await super().put(image, met=met)


class SentToOwner(MemoryOwnerWrites):
    """The owner's rows, likewise."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker.town.tables[worker.direction.destination])
        self._signed = Signed(worker)

    async def replace(self, key: Key, met: Image | None, image: Image | None) -> bool | None:
        await self._signed.send()
        return await super().replace(key, met, image)

    async def delete_expired(self, key: Key, ttl: str, at_s: int) -> bool:
        await self._signed.send()
        return await super().delete_expired(key, ttl, at_s)


class Worker:
    """One process at a time; what it has read and not applied is read again by the next."""

    def __init__(self, town: RunTown, direction: Direction) -> None:
        self.town, self.direction = town, direction
        self.starts = 0
        self.dead_until_s = self.stopped_until_s = float("-inf")
        self._read = 0
        self._newest_us = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._start()

    def _start(self) -> None:
        self.starts += 1
        town, direction, mapping = self.town, self.direction, self.town.mapping
        clock = WorkerClock(self)
        name = f"{direction.value}-{self.starts}"
        members = MemoryMembers(town.owning, lease_s=LEASE_S, monotonic=town.monotonic)
        self.membership = Membership(
            MemoryOwnerMaps(town.owning),
            members,
            clock=clock,
            name=name,
            duty=direction.value,
            lease_s=LEASE_S,
            signature_s=town.settings.signature_s,
        )
        member = self.membership
        origin, destination = direction.origin, direction.destination
        old, there = MemoryPlainTable(town.tables[origin]), SentPuts(self)
        told = Letters(direction.value, town.letters, clock)
        answered = Answered(mapping, direction, town.letters, there)
        witnesses = {
            side: Witness(town.aws, STREAMS[side], mapping.shape(side).key, town.monotonic)
            for side in (origin, destination)
        }
        hints = Hints(
            mapping,
            direction,
            membership=member,
            old=old,
            owner=there,
            owner_writes=SentToOwner(self),
            progress=Progress(town.reports, CONSUMERS[destination], town.aws, STREAMS[destination], clock),
            witness=witnesses[destination],
            old_witness=witnesses[origin],
            letters=told,
            clock=clock,
        )
        writes = StandbyWrites(
            mapping,
            direction,
            copies=SentCopies(self),
            standby=there,
            owner=old,
            tombstones=MemoryTombstones(town.owning),
            clock=clock,
            stops=lambda: member.view is None or member.view.state is State.SEALED,
            jitter=lambda: 0.5,
        )
        pipeline = PlainPipeline(
            mapping,
            direction,
            membership=member,
            writes=writes,
            hints=hints,
            letters=told,
            answered=answered,
            strays_since_us=self._strays_since_us,
        )
        self.parts = Parts(pipeline, member, writes, answered, Handed(direction.value, town.letters, hints))
        self._tasks = [asyncio.create_task(each()) for each in (self._beats, self._reads, self._tidies)]

    async def _strays_since_us(self) -> int:
        return self.town.strays_since_us

    @property
    def is_idle(self) -> bool:
        """Say whether all that its stream holds is applied."""
        return bool(self._tasks) and self._read == len(self.town.aws.records(STREAMS[self.direction.origin]))

    @property
    def is_stopped(self) -> bool:
        return self.town.now_s < self.stopped_until_s

    async def until(self, moment_s: float) -> None:
        """Return at a moment, or when a stopped process goes on after it."""
        while self.town.now_s < moment_s or self.is_stopped:
            await self.town.next_moment()

    async def kill(self, seconds: float = 1.0) -> None:
        """SIGKILL; another process starts after a while."""
        self.dead_until_s = self.town.now_s + seconds
        for each in self._tasks:
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each
        self._tasks = []

    def look(self) -> None:
        """Start again what was killed; let what broke be seen."""
        for each in self._tasks:
            if each.done():
                each.result()
                raise AssertionError("a worker's loop ended")
        if not self._tasks and self.town.now_s >= self.dead_until_s:
            self._start()

    async def _beats(self) -> None:
        while True:
            await self.membership.beat()
            await self.until(self.town.now_s + 0.1)

    async def _tidies(self) -> None:
        while True:
            await self.until(self.town.now_s + 1.0)
            await self.parts.tidy()

    async def _reads(self) -> None:
        town, side = self.town, self.direction.origin
        while self.membership.view is None or not town.is_captured(side):
            await self.until(town.now_s + 0.1)
        while True:
            fetched = await town.aws.get_records(f"{STREAMS[side]}:{SHARD}:{self._read}", 200)
            if fetched.records:
                applying = asyncio.create_task(self._apply(fetched.records))
                try:
                    while not applying.done():
                        await self._report(fetched.records[0].arrived_s)
                        await self.until(town.now_s + 0.1)
                finally:
                    applying.cancel()
                applying.result()
            await self._report(0.0)
            await self.until(town.now_s + 0.1)

    async def _apply(self, records: Sequence[StreamRecord]) -> None:
        side = self.direction.origin
        await self.parts.pipeline.apply(SHARD, records)
        names = self.town.mapping.shape(side).key
        self._newest_us = max(self._newest_us, *(decode_change(each.data, names).committed_us for each in records))
        self._read += len(records)

    async def _report(self, waiting_s: float) -> None:
        town, side = self.town, self.direction.origin
        age_ms = round((town.now_s - waiting_s) * 1000) if waiting_s else 10
        oldest_us = round(waiting_s * 1e6)
        shard = f"{STREAMS[side]}/{SHARD}"
        await town.reports.put(
            [Report(self.direction.value, shard, town.wall_us(), age_ms, oldest_us, self._newest_us, {})]
        )
