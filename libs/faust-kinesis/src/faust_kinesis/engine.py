"""Reads the shards of a stream that this worker holds leases for; free of Faust.

Three kinds of tasks, so that nothing waits for the slowest: a *tail* per shard reads ahead, the
*keeper* renews leases and stores checkpoints in one write per shard and cycle, the *coordinator*
takes shards, asks for them and hands them over. None of them waits for the work on a batch.

A lease gives no exclusivity: a worker can be frozen in the middle of a write. What it gives is
that no batch is given out and no checkpoint stored by a worker that may have lost its shard; the
effects themselves must bear being repeated.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import replace
from typing import Any, NamedTuple

from faust_kinesis.balance import Watch, plan
from faust_kinesis.client import KinesisClient
from faust_kinesis.errors import CheckpointExpired, Fault, LeaseLost, fault_of
from faust_kinesis.leases import Lease, LeaseStore, Progress
from faust_kinesis.options import Options
from faust_kinesis.position import Position
from faust_kinesis.reader import ShardReader
from faust_kinesis.tail import Batch, ShardReport, Tail

_log = logging.getLogger(__name__)

_SAFE_PART = 0.8  # of a lease: when it is over without a renewal, the holder has stopped before anybody may take over
_NEWEST_S = 1.0  # LATEST is kept as a time, a little back for clocks that differ


class EngineReport(NamedTuple):
    """How far a worker is.

    Attributes:
        stream: name of the stream.
        shards: the shards it holds.
        age_s: the worst iterator age, from arrival to applied, in seconds; None while a shard was never read.
    """

    stream: str
    shards: tuple[ShardReport, ...]
    age_s: float | None


class _Held:
    """A shard under a lease of this worker."""

    def __init__(self, lease: Lease, tail: Tail) -> None:
        self.lease = lease
        self.tail = tail
        self.valid_until = 0.0
        self.alarm: asyncio.TimerHandle | None = None
        self.leaving_to: str | None = None
        self.lost = False
        self.writing = asyncio.Lock()

    def progress(self) -> Progress:
        return Progress(self.tail.checkpoint, self.tail.applied_to_s)


class Engine:
    """A worker of a group that shares the shards of a stream.

    Args:
        client: Kinesis; closed by who made it.
        leases: the group's leases, seen by this worker; closed by who made them.
        stream: name of the stream.
        options: pace and limits.
        now_s: wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        client: KinesisClient,
        leases: LeaseStore,
        stream: str,
        options: Options | None = None,
        *,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._leases = leases
        self.stream = stream
        self._options = options or Options()
        self._now_s = now_s
        self._start = Position()
        self._held: dict[str, _Held] = {}
        self._lost_in_work: dict[str, Tail] = {}
        self._turn: deque[str] = deque()
        self._changed = asyncio.Event()
        self._wake = asyncio.Event()
        self._listed: frozenset[str] = frozenset()
        self._list_again_at = 0.0
        self._watch = Watch(self._options.lease_s)
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: Exception | None = None
        self._stopping = False

    # ---- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to take shards and to read them.

        Raises:
            Exception: the stream or the lease table can't be used.
        """
        wanted = self._options.start
        if wanted.latest:
            wanted = Position(at_s=self._now_s() - _NEWEST_S)
        self._start = Position.parse(await self._leases.begin(str(wanted)))
        self._tasks = [
            asyncio.create_task(self._forever(self._coordinate, self._wake), name=f"coordinator {self.stream}"),
            asyncio.create_task(self._forever(self._keep, asyncio.Event()), name=f"keeper {self.stream}"),
        ]

    async def stop(self, *, grace_s: float | None = None) -> None:
        """Read no more, wait for the batches in work, store checkpoints and release the leases.

        Args:
            grace_s: how long to wait for the batches in work; None for the option of that name.
        """
        self._stopping = True
        for held in self._held.values():
            held.tail.stop_reading()
        self._changed.set()
        deadline = self._now() + (self._options.grace_s if grace_s is None else grace_s)
        while self._in_work() and self._now() < deadline and self._failure is None:
            self._changed.clear()
            await _wait(self._changed, min(0.25, deadline - self._now()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._release(held) for held in list(self._held.values())))

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
            if self._failure is not None:
                raise self._failure
            found = self._take_ready(limit)
            if found or self._stopping or not await _wait(self._changed, deadline - self._now()):
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
            raise LeaseLost(f"{self.stream} {batch.shard_id}: lost while a batch was in work")
        if durable:
            await self.flush()

    def acknowledge(self, batch: Batch, count: int | None = None) -> bool:
        """Do what `ack` does, without waiting and without an exception: False when the shard is lost."""
        batch.tail.acknowledge(count)
        held = self._held.get(batch.shard_id)
        if batch.tail.out is None and self._lost_in_work.get(batch.shard_id) is batch.tail:
            del self._lost_in_work[batch.shard_id]
            self._wake.set()
        if held is None or held.tail is not batch.tail or not self._is_valid(held):
            return False
        if held.tail.finished or held.leaving_to is not None:
            self._wake.set()
        return True

    async def flush(self) -> None:
        """Store the checkpoints of all shards now.

        Raises:
            LeaseLost: one of them is somebody else's by now.
            Exception: the lease store's own, when it did not answer; the next cycle tries again.
        """
        held_now = [held for held in self._held.values() if held.tail.checkpoint != held.lease.checkpoint]
        await asyncio.gather(*(self._renew(held) for held in held_now))
        if any(held.lost for held in held_now):
            raise LeaseLost(f"{self.stream}: a shard was lost before its checkpoint was stored")

    def rewind(self) -> None:
        """Give all batches out again that are not acknowledged: nobody works on them."""
        for held in self._held.values():
            held.tail.rewind()

    def report(self) -> EngineReport:
        """Say how far this worker is."""
        now_s = self._now_s()
        shards = tuple(held.tail.report(now_s) for held in self._held.values())
        ages = [shard.age_s for shard in shards]
        known = [age for age in ages if age is not None]
        return EngineReport(self.stream, shards, max(known) if known and len(known) == len(ages) else None)

    def _take_ready(self, limit: int) -> list[Batch]:
        found: list[Batch] = []
        for _ in range(len(self._turn)):
            if len(found) == limit or self._stopping:
                break
            shard_id = self._turn[0]
            self._turn.rotate(-1)
            held = self._held[shard_id]
            if held.tail.ready and held.leaving_to is None and self._is_valid(held):
                found.append(held.tail.next_batch())
        return found

    def _in_work(self) -> bool:
        return any(held.tail.out is not None for held in self._held.values())

    # ---- leases --------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Renew every lease, with its checkpoint in the same write."""
        await asyncio.gather(*(self._keep_one(held) for held in list(self._held.values())))

    async def _keep_one(self, held: _Held) -> None:
        try:
            await self._renew(held)
        except Exception as error:
            if fault_of(error) is Fault.FATAL:
                raise
            _log.warning("%s %s: renewal fails, retrying: %s", self.stream, held.lease.shard_id, error)

    async def _renew(self, held: _Held) -> None:
        """Show life and store the checkpoint; a refusal loses the shard."""
        shard_id = held.lease.shard_id
        async with held.writing:
            if self._held.get(shard_id) is not held:
                return
            started = self._now()
            ended = held.tail.finished
            try:
                async with asyncio.timeout(self._options.lease_s / 3):
                    renewed = await self._leases.renew(held.lease, held.progress(), ended=ended)
            except Exception:
                # The write may yet arrive: no later one may bear the same beat.
                held.lease = replace(held.lease, beat=held.lease.beat + 1)
                raise
            if renewed is None:
                self._lose(held, "another worker took it")
                return
            held.lease = renewed
            self._extend(held, started)
            if ended:
                self._forget(held)
                self._list_again_at = 0.0
                self._wake.set()
                _log.info("%s %s: read to its end", self.stream, shard_id)

    async def _coordinate(self) -> None:
        """Look at shards and leases; take, ask, hand over."""
        self._raise_failures()
        for held in list(self._held.values()):
            if held.tail.finished:
                await self._keep_one(held)
        asked = self._now()
        leases = await self._leases.list()
        expired = self._watch.expired(leases, asked=asked, answered=self._now())
        if self._now() >= self._list_again_at:
            leases = await self._look_at_shards(leases)
        self._compare(leases)
        decided = plan(
            leases,
            me=self._leases.worker_id,
            held=self._held.keys(),
            busy=self._lost_in_work.keys(),
            expired=expired,
            listed=self._listed,
        )
        for lease in decided.take:
            await self._take(lease)
        for lease in decided.want:
            await self._leases.want(lease)
        for lease in decided.hand_over:
            if lease.shard_id in self._held:
                self._leave(self._held[lease.shard_id], str(lease.wanted))
        for held in list(self._held.values()):
            if held.leaving_to is not None and held.tail.out is None:
                await self._hand_over(held, held.leaving_to)

    async def _look_at_shards(self, leases: list[Lease]) -> list[Lease]:
        shards = await self._client.list_shards(self.stream)
        known = {lease.shard_id for lease in leases}
        new = [shard for shard in shards if shard.shard_id not in known]
        for shard in new:
            await self._leases.create(shard.shard_id, tuple(shard.parents))
        self._listed = frozenset(shard.shard_id for shard in shards)
        self._list_again_at = self._now() + self._options.shard_refresh_s
        for lease in leases:
            if lease.shard_id not in self._listed and not lease.ended:
                raise CheckpointExpired(
                    f"{self.stream} {lease.shard_id}: the stream dropped the shard before it was read to its end"
                )
        return await self._leases.list() if new else leases

    def _compare(self, leases: list[Lease]) -> None:
        """Notice at once when a lease that this worker thinks it holds is somebody else's."""
        for lease in leases:
            held = self._held.get(lease.shard_id)
            if held is not None and lease.term > held.lease.term:
                self._lose(held, f"{lease.owner} took it")

    async def _take(self, lease: Lease) -> None:
        started = self._now()
        taken = await self._leases.take(lease)
        if taken is None:
            return
        position = self._start if taken.checkpoint is None else Position(after=taken.checkpoint)
        reader = ShardReader(
            self._client, self.stream, taken.shard_id, position, taken.applied_to_s, self._options, self._now_s
        )
        tail = Tail(
            self.stream,
            taken.shard_id,
            reader,
            checkpoint=taken.checkpoint,
            applied_to_s=taken.applied_to_s,
            options=self._options,
            on_change=self._on_change,
        )
        held = self._held[taken.shard_id] = _Held(taken, tail)
        self._extend(held, started)
        self._turn.append(taken.shard_id)
        _log.info("%s %s: taken, term %d, from %s", self.stream, taken.shard_id, taken.term, position)

    def _leave(self, held: _Held, to: str) -> None:
        if held.leaving_to is None:
            _log.info("%s %s: to be handed over to %s", self.stream, held.lease.shard_id, to)
            held.tail.stop_reading()
        held.leaving_to = to

    async def _hand_over(self, held: _Held, to: str) -> None:
        async with held.writing:
            if self._held.get(held.lease.shard_id) is held:
                await self._leases.hand_over(held.lease, held.progress(), to)
                self._forget(held)

    async def _release(self, held: _Held) -> None:
        async with held.writing:
            try:
                async with asyncio.timeout(self._options.lease_s / 3):
                    if not await self._leases.release(held.lease, held.progress()):
                        _log.warning("%s %s: was lost before it could be released", self.stream, held.lease.shard_id)
            except Exception as error:
                _log.warning("%s %s: not released, it will expire: %s", self.stream, held.lease.shard_id, error)
            self._forget(held)

    def _extend(self, held: _Held, renewed: float) -> None:
        """Hold a shard on, and let it go by this worker's own clock unless it is renewed again before.

        Args:
            held: the shard.
            renewed: monotonic time before the renewal was asked for.
        """
        if held.alarm is not None:
            held.alarm.cancel()
        held.valid_until = renewed + self._options.lease_s * _SAFE_PART
        loop = asyncio.get_running_loop()
        held.alarm = loop.call_at(held.valid_until, self._lose, held, "it could not be renewed in time")

    def _lose(self, held: _Held, why: str) -> None:
        if held.lost:
            return
        _log.warning("%s %s: lease lost: %s", self.stream, held.lease.shard_id, why)
        held.lost = True
        if held.tail.out is not None:
            self._lost_in_work[held.lease.shard_id] = held.tail
        self._forget(held)
        self._wake.set()

    def _forget(self, held: _Held) -> None:
        if held.alarm is not None:
            held.alarm.cancel()
        held.tail.close()
        if self._held.get(held.lease.shard_id) is held:
            del self._held[held.lease.shard_id]
            self._turn.remove(held.lease.shard_id)

    def _is_valid(self, held: _Held) -> bool:
        return self._now() < held.valid_until

    # ---- tasks ---------------------------------------------------------------------------------

    async def _forever(self, step: Callable[[], Coroutine[Any, Any, None]], wake: asyncio.Event) -> None:
        """Repeat a step every cycle, or when woken; an error that may pass is only logged."""
        troubled = False
        while True:
            wake.clear()
            try:
                async with asyncio.timeout(3 * self._options.lease_s):
                    await step()
                troubled = False
            except Exception as error:
                if isinstance(error, CheckpointExpired) or fault_of(error) is Fault.FATAL:
                    self._fail(error)
                    return
                if not troubled:
                    _log.warning("%s: lease cycle fails, retrying: %s", self.stream, error)
                troubled = True
            await _wait(wake, self._options.cycle_s * random.uniform(0.85, 1.0))

    def _raise_failures(self) -> None:
        for held in self._held.values():
            if held.tail.failure is not None:
                raise held.tail.failure

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._changed.set()

    def _on_change(self) -> None:
        self._changed.set()
        for held in self._held.values():
            if held.tail.failure is not None:
                self._fail(held.tail.failure)
            elif held.tail.finished:
                self._wake.set()

    def _now(self) -> float:
        """Monotonic time; the event loop's, so that tests can bend it."""
        return asyncio.get_running_loop().time()


async def _wait(event: asyncio.Event, timeout_s: float) -> bool:
    """Return whether the event came within `timeout_s`."""
    if event.is_set():
        return True
    if timeout_s <= 0:
        return False
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
