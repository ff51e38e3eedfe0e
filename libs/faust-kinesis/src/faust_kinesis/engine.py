"""Reads the shards of a stream that this worker holds leases for; free of Faust.

A lease gives no exclusivity: a worker can be frozen in the middle of a write. What it gives is
that no batch is given out and no checkpoint stored by a worker that may have lost its shard; the
effects themselves must bear being repeated.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, KeysView
from typing import NamedTuple

from faust_kinesis.client import KinesisClient
from faust_kinesis.errors import LeaseLost
from faust_kinesis.leases import LeaseStore
from faust_kinesis.membership import Membership
from faust_kinesis.options import Options
from faust_kinesis.tail import Batch, ShardReport
from faust_kinesis.waiting import some_at_once, wait_for


class EngineReport(NamedTuple):
    """How far a worker is.

    Attributes:
        stream: name of the stream.
        shards: the shards it holds.
        age_s: the worst iterator age, from arrival to applied, in seconds; None while a shard was never read.
        readable: shards that some worker of the group should hold now, as of its last look; 0 before the first.
        taken: how often this worker has taken a shard.
    """

    stream: str
    shards: tuple[ShardReport, ...]
    age_s: float | None
    readable: int = 0
    taken: int = 0


class Engine:
    """A worker of a group that shares the shards of a stream.

    Args:
        client: Kinesis; closed by who made it.
        leases: the group's leases, seen by this worker; closed by who made them.
        stream: name of the stream.
        options: pace and limits.
        now_s: wall clock, seconds since the epoch; None for the options'.
    """

    def __init__(
        self,
        client: KinesisClient,
        leases: LeaseStore,
        stream: str,
        options: Options | None = None,
        *,
        now_s: Callable[[], float] | None = None,
    ) -> None:
        self.stream = stream
        self._options = options or Options()
        self._now_s = now_s = now_s or self._options.now_s
        self._changed = asyncio.Event()
        self._member = Membership(client, leases, stream, self._options, now_s, self._changed.set)
        self._turn: deque[str] = deque()
        self._stopping = False

    # ---- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to take shards and to read them.

        Raises:
            Exception: the lease table can't be used.
        """
        await self._member.start()

    async def stop(self, *, grace_s: float | None = None) -> None:
        """Read no more, wait for the batches in progress, store checkpoints and release the leases.

        Args:
            grace_s: how long to wait for the batches in progress; None for the option of that name.
        """
        self._stopping = True
        for held in self._member.held.values():
            held.tail.stop_reading()
        self._changed.set()
        deadline = self._now() + (self._options.grace_s if grace_s is None else grace_s)
        while self._in_work() and self._now() < deadline and self._member.failure is None:
            self._changed.clear()
            await wait_for(self._changed, min(0.25, deadline - self._now()))
        await self._member.stop()

    async def __aenter__(self) -> Engine:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # ---- batches -------------------------------------------------------------------------------

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield batches until the engine stops; at most one per shard is out at a time.

        Raises:
            CheckpointExpired: records may have been lost to the stream's retention.
            Exception: another error that trying again can't cure.
        """
        while not self._stopping:
            for batch in await self.ready(timeout_s=5.0, limit=1):
                yield batch

    async def ready(self, *, timeout_s: float, limit: int) -> list[Batch]:
        """Return batches to be worked on, as soon as there is one; none after `timeout_s`.

        Args:
            timeout_s: how long to wait for the first.
            limit: how many at most.

        Raises:
            CheckpointExpired: records may have been lost to the stream's retention.
            Exception: another error that trying again can't cure.
        """
        deadline = self._now() + timeout_s
        while True:
            self._changed.clear()
            if self._member.failure is not None:
                raise self._member.failure
            found = self._take_ready(limit)
            if found or self._stopping or not await wait_for(self._changed, deadline - self._now()):
                return found

    async def ack(self, batch: Batch, count: int | None = None, *, durable: bool = False) -> None:
        """Note that a batch, or its first `count` records, are applied; the next cycle stores it.

        Args:
            batch: a batch that was given out.
            count: how many records from its front; None for all.
            durable: store the checkpoint before returning.

        Raises:
            LeaseLost: the shard is somebody else's by now; what was applied will be applied again.
        """
        if not self.acknowledge(batch, count):
            raise LeaseLost(f"{self.stream} {batch.shard_id}: lost while a batch was in progress")
        if durable:
            await self.flush()

    def acknowledge(self, batch: Batch, count: int | None = None) -> bool:
        """Do what `ack` does, without waiting and without an exception: False when the shard is lost."""
        batch.tail.acknowledge(batch, count)
        return self._member.note_progress(batch.tail)

    async def flush(self) -> None:
        """Store the checkpoints of all shards now.

        Raises:
            LeaseLost: one of them is somebody else's by now.
            Exception: the lease store's own, when it did not answer; the next cycle tries again.
        """
        held_now = [held for held in self._member.held.values() if held.tail.checkpoint != held.lease.checkpoint]
        await some_at_once([self._member.renew(held) for held in held_now])
        if any(held.lost for held in held_now):
            raise LeaseLost(f"{self.stream}: a shard was lost before its checkpoint was stored")

    def rewind(self) -> None:
        """Give all batches out again that are not acknowledged: nobody works on them."""
        for held in self._member.held.values():
            held.tail.rewind()

    @property
    def shard_ids(self) -> KeysView[str]:
        """Return the shards this worker holds."""
        return self._member.held.keys()

    def report(self) -> EngineReport:
        """Say how far this worker is."""
        now_s = self._now_s()
        shards = tuple(held.tail.report(now_s) for held in self._member.held.values())
        ages = [shard.age_s for shard in shards]
        known = [age for age in ages if age is not None]
        age_s = max(known) if known and len(known) == len(ages) else None
        return EngineReport(self.stream, shards, age_s, self._member.readable, self._member.taken)

    def _take_ready(self, limit: int) -> list[Batch]:
        """Give out what is ready, each shard in its turn."""
        held_now = self._member.held
        self._turn = deque(shard_id for shard_id in self._turn if shard_id in held_now)
        self._turn.extend(held_now.keys() - set(self._turn))
        found: list[Batch] = []
        for _ in range(len(self._turn)):
            if len(found) == limit or self._stopping:
                break
            held = held_now[self._turn[0]]
            self._turn.rotate(-1)
            if held.tail.ready and self._member.is_valid(held):
                found.append(held.tail.next_batch())
        return found

    def _in_work(self) -> bool:
        return any(held.tail.out is not None for held in self._member.held.values())

    def _now(self) -> float:
        """Monotonic time; the event loop's, so that tests can bend it."""
        return asyncio.get_running_loop().time()
