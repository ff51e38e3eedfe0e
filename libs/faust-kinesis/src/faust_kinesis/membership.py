"""Holds this worker's share of the shards: takes, renews, hands over, loses.

Three kinds of tasks, so that nothing waits for the slowest: a *tail* per shard reads ahead, the
*keeper* renews leases and stores checkpoints in one write per shard and cycle, the *coordinator*
takes shards, asks for them and hands them over. None of them waits for the work on a batch.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from faust_kinesis.balance import Watch, plan, runnable
from faust_kinesis.client import KinesisClient
from faust_kinesis.errors import CheckpointExpired, Fault, fault_of
from faust_kinesis.leases import Lease, LeaseStore, Progress
from faust_kinesis.options import Options
from faust_kinesis.position import Position
from faust_kinesis.reader import Backoff, ShardReader
from faust_kinesis.tail import Tail
from faust_kinesis.waiting import some_at_once, wait_for

_log = logging.getLogger(__name__)

_SAFE_PART = 0.8  # of a lease: when it is over without a renewal, the holder has stopped before anybody may take over
_NEWEST_S = 1.0  # LATEST is kept as a time, a little back for clocks that differ


class Held:
    """A shard under a lease of this worker.

    Attributes:
        lease: as it was written last.
        tail: reads the shard.
        valid_until: monotonic time after which somebody else may hold it.
        alarm: lets the shard go at that time.
        leaving_to: worker that it is to be handed over to.
        lost: somebody else may hold it by now.
        writing: one write of the lease at a time.
    """

    def __init__(self, lease: Lease, tail: Tail) -> None:
        self.lease = lease
        self.tail = tail
        self.valid_until = 0.0
        self.alarm: asyncio.TimerHandle | None = None
        self.leaving_to: str | None = None
        self.lost = False
        self.writing = asyncio.Lock()

    def progress(self) -> Progress:
        """Return what a checkpoint stores."""
        return Progress(self.tail.checkpoint, self.tail.applied_to_s)


class Membership:
    """A worker's part in its group.

    Args:
        client: Kinesis.
        leases: the group's leases, seen by this worker.
        stream: name of the stream.
        options: pace and limits.
        now_s: wall clock, seconds since the epoch.
        on_change: called when a tail has something new, or when this has failed.

    Attributes:
        held: the shards this worker holds, by id.
        readable: shards that some worker of the group should hold now; 0 before the first look.
        taken: how often this worker has taken a shard.
        failure: what ended it; None while it goes on.
    """

    def __init__(
        self,
        client: KinesisClient,
        leases: LeaseStore,
        stream: str,
        options: Options,
        now_s: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self.held: dict[str, Held] = {}
        self.readable = self.taken = 0
        self.failure: Exception | None = None
        self._client = client
        self._leases = leases
        self._stream = stream
        self._options = options
        self._now_s = now_s
        self._tell = on_change
        self._start = Position()
        self._lost_in_work: dict[str, Tail] = {}
        self._wake = asyncio.Event()
        self._listed: frozenset[str] = frozenset()
        self._list_again_at = 0.0
        self._watch = Watch(options.lease_s)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to take shards and to read them.

        Raises:
            Exception: the lease table can't be used.
        """
        self._start = await self._begin()
        self._tasks = [
            asyncio.create_task(self._forever(self._coordinate, self._wake), name=f"coordinator {self._stream}"),
            asyncio.create_task(self._forever(self._keep, asyncio.Event()), name=f"keeper {self._stream}"),
        ]

    async def stop(self) -> None:
        """Store checkpoints and release all leases."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await some_at_once([self._release(held) for held in self.held.values()])

    def is_valid(self, held: Held) -> bool:
        """Say whether nobody else can hold a shard, by this worker's own clock."""
        return self._now() < held.valid_until

    def note_progress(self, tail: Tail) -> bool:
        """React to an acknowledgement; False when the shard is somebody else's by now."""
        if tail.out is None and self._lost_in_work.get(tail.shard_id) is tail:
            del self._lost_in_work[tail.shard_id]
            self._wake.set()
        held = self.held.get(tail.shard_id)
        if held is None or held.tail is not tail or not self.is_valid(held):
            return False
        if tail.finished or held.leaving_to is not None:
            self._wake.set()
        return True

    async def _begin(self) -> Position:
        """Return where the group starts; the first of its workers decides."""
        wanted = self._options.start
        if wanted.latest:
            wanted = Position(at_s=self._now_s() - _NEWEST_S)
        backoff = Backoff()
        while True:
            try:
                return Position.parse(await self._leases.begin(str(wanted)))
            except Exception as error:
                if fault_of(error) is not Fault.RETRY:
                    raise
                _log.warning("%s: the leases can't be read yet, retrying: %s", self._stream, error)
                await asyncio.sleep(backoff.next_s())

    async def _keep(self) -> None:
        """Renew every lease, with its checkpoint in the same write."""
        await some_at_once([self._keep_one(held) for held in self.held.values()])

    async def _keep_one(self, held: Held) -> None:
        try:
            await self.renew(held)
        except Exception as error:
            if fault_of(error) is Fault.FATAL:
                raise
            _log.warning("%s %s: renewal fails, retrying: %s", self._stream, held.lease.shard_id, error)

    async def renew(self, held: Held) -> None:
        """Show life and store the checkpoint; a refusal loses the shard."""
        shard_id = held.lease.shard_id
        async with held.writing:
            if self.held.get(shard_id) is not held:
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
                _log.info("%s %s: read to its end", self._stream, shard_id)

    async def _coordinate(self) -> None:
        """Look at shards and leases; take, ask, hand over."""
        self._raise_failures()
        for held in list(self.held.values()):
            if held.tail.finished:
                await self._keep_one(held)
        asked = self._now()
        leases = await self._leases.list()
        expired = self._watch.expired(leases, asked=asked, answered=self._now())
        if self._now() >= self._list_again_at:
            leases = await self._look_at_shards(leases)
        self.readable = len(runnable(leases, self._listed))
        decided = plan(
            leases,
            me=self._leases.worker_id,
            held=self.held.keys(),
            busy=self._lost_in_work.keys(),
            expired=expired,
            listed=self._listed,
        )
        await some_at_once([self._take(lease) for lease in decided.take])
        await some_at_once([self._leases.want(lease) for lease in decided.want])
        for lease in decided.hand_over:
            if lease.shard_id in self.held:
                self._leave(self.held[lease.shard_id], str(lease.wanted))
        for held in list(self.held.values()):
            if held.leaving_to is not None and held.tail.out is None:
                await self._hand_over(held, held.leaving_to)

    async def _look_at_shards(self, leases: list[Lease]) -> list[Lease]:
        shards = await self._client.list_shards(self._stream)
        known = {lease.shard_id for lease in leases}
        new = [shard for shard in shards if shard.shard_id not in known]
        await some_at_once([self._leases.create(shard.shard_id, tuple(shard.parents)) for shard in new])
        self._listed = frozenset(shard.shard_id for shard in shards)
        self._list_again_at = self._now() + self._options.shard_refresh_s
        for lease in leases:
            if lease.shard_id not in self._listed and not lease.ended:
                raise CheckpointExpired(
                    f"{self._stream} {lease.shard_id}: the stream dropped the shard before it was read to its end"
                )
        return await self._leases.list() if new else leases

    async def _take(self, lease: Lease) -> None:
        started = self._now()
        taken = await self._leases.take(lease)
        if taken is None:
            return
        self.taken += 1
        position = self._start if taken.checkpoint is None else Position(after=taken.checkpoint)
        reader = ShardReader(
            self._client, self._stream, taken.shard_id, position, taken.applied_to_s, self._options, self._now_s
        )
        tail = Tail(
            self._stream,
            taken.shard_id,
            reader,
            checkpoint=taken.checkpoint,
            applied_to_s=taken.applied_to_s,
            options=self._options,
            on_change=self._on_change,
        )
        held = self.held[taken.shard_id] = Held(taken, tail)
        self._extend(held, started)
        _log.info("%s %s: taken, term %d, from %s", self._stream, taken.shard_id, taken.term, position)

    def _leave(self, held: Held, to: str) -> None:
        if held.leaving_to is None:
            _log.info("%s %s: to be handed over to %s", self._stream, held.lease.shard_id, to)
            held.tail.stop_reading()
        held.leaving_to = to

    async def _hand_over(self, held: Held, to: str) -> None:
        async with held.writing:
            if self.held.get(held.lease.shard_id) is held:
                await self._leases.hand_over(held.lease, held.progress(), to)
                self._forget(held)

    async def _release(self, held: Held) -> None:
        async with held.writing:
            try:
                async with asyncio.timeout(self._options.lease_s / 3):
                    if not await self._leases.release(held.lease, held.progress()):
                        _log.warning("%s %s: was lost before it could be released", self._stream, held.lease.shard_id)
            except Exception as error:
                _log.warning("%s %s: not released, it will expire: %s", self._stream, held.lease.shard_id, error)
            self._forget(held)

    def _extend(self, held: Held, renewed: float) -> None:
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

    def _lose(self, held: Held, why: str) -> None:
        if held.lost:
            return
        _log.warning("%s %s: lease lost: %s", self._stream, held.lease.shard_id, why)
        held.lost = True
        if held.tail.out is not None:
            self._lost_in_work[held.lease.shard_id] = held.tail
        self._forget(held)
        self._wake.set()

    def _forget(self, held: Held) -> None:
        if held.alarm is not None:
            held.alarm.cancel()
        held.tail.close()
        if self.held.get(held.lease.shard_id) is held:
            del self.held[held.lease.shard_id]

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
                    _log.warning("%s: lease cycle fails, retrying: %s", self._stream, error)
                troubled = True
            await wait_for(wake, self._options.cycle_s * random.uniform(0.85, 1.0))

    def _raise_failures(self) -> None:
        for held in self.held.values():
            if held.tail.failure is not None:
                raise held.tail.failure

    def _fail(self, error: Exception) -> None:
        self.failure = error
        self._tell()

    def _on_change(self) -> None:
        self._tell()
        for held in self.held.values():
            if held.tail.failure is not None:
                self._fail(held.tail.failure)
            elif held.tail.finished:
                self._wake.set()

    def _now(self) -> float:
        """Monotonic time; the event loop's, so that tests can bend it."""
        return asyncio.get_running_loop().time()
