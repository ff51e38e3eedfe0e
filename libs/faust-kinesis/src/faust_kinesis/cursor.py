"""Reads a whole stream for one reader alone: no leases, no checkpoints, nothing shared."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable

from faust_kinesis.client import KinesisClient
from faust_kinesis.errors import Fault, fault_of
from faust_kinesis.options import Options
from faust_kinesis.position import TRIM_HORIZON, Position
from faust_kinesis.reader import Backoff, ShardReader
from faust_kinesis.tail import Batch, ShardReport, Tail


class PrivateCursor:
    """Tails all shards of a stream from a start, parents before children, across reshardings.

    Nothing is stored: a new cursor begins at its own start. A batch counts as done when the next
    one is asked for, so at most one page per shard (and `prefetch` more) is in memory.

    Args:
        client: Kinesis; closed by who made it.
        stream: name of the stream.
        start: where to begin; the default of the options is not used.
        options: pace and limits.
        now_s: wall clock, seconds since the epoch; None for the options'.
    """

    def __init__(
        self,
        client: KinesisClient,
        stream: str,
        start: Position,
        options: Options | None = None,
        *,
        now_s: Callable[[], float] | None = None,
    ) -> None:
        self._client = client
        self.stream = stream
        self._start = start
        self._options = options or Options()
        self._now_s = now_s or self._options.now_s
        self._tails: dict[str, Tail] = {}
        self._ended: set[str] = set()
        self._turn: deque[str] = deque()
        self._changed = asyncio.Event()
        self._list_again_at = 0.0
        self._first_listing = True
        self._listing_due = True
        self._backoff = Backoff()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield batches forever. Leave the loop, or close the generator, to stop reading.

        Raises:
            CheckpointExpired: the start is older than what the stream still holds, or may be.
            Exception: the client's own, when trying again can't help.
        """
        try:
            while True:
                self._changed.clear()
                await self._refresh()
                batch = self._next()
                if batch is None:
                    await self._sleep()
                    continue
                yield batch
                batch.tail.acknowledge(batch, None)
        finally:
            for tail in self._tails.values():
                tail.close()

    @property
    def read_to_s(self) -> float | None:
        """Return the time up to which all records that arrived have been read; None when not yet known.

        A batch that was yielded counts once the next one is asked for.
        """
        if self._listing_due:
            return None  # an ended shard has children that nobody has looked for yet
        reached = [tail.applied_to_s if tail.has_read else None for tail in self._tails.values()]
        known = [moment_s for moment_s in reached if moment_s is not None]
        return min(known) if known and len(known) == len(reached) else None

    def report(self) -> tuple[ShardReport, ...]:
        """Say how far each shard is."""
        now_s = self._now_s()
        return tuple(tail.report(now_s) for tail in self._tails.values())

    def _next(self) -> Batch | None:
        for _ in range(len(self._turn)):
            shard_id = self._turn[0]
            self._turn.rotate(-1)
            if self._tails[shard_id].ready:
                return self._tails[shard_id].next_batch()
        return None

    async def _refresh(self) -> None:
        for shard_id, tail in list(self._tails.items()):
            if tail.failure is not None:
                raise tail.failure
            if tail.finished:
                del self._tails[shard_id]
                self._turn.remove(shard_id)
                self._ended.add(shard_id)
                self._list_again_at = 0.0
                self._listing_due = True
        now = asyncio.get_running_loop().time()
        if now < self._list_again_at:
            return
        try:
            shards = await self._client.list_shards(self.stream)
        except Exception as error:
            if fault_of(error) is not Fault.RETRY:
                raise
            self._list_again_at = now + self._backoff.next_s()
            return
        self._backoff.reset()
        self._list_again_at = now + self._options.shard_refresh_s
        listed = {shard.shard_id for shard in shards}
        for shard in shards:
            open_parents = (listed & set(shard.parents)) - self._ended
            if shard.shard_id not in self._ended and shard.shard_id not in self._tails and not open_parents:
                self._open(shard.shard_id)
        self._first_listing = self._listing_due = False

    def _open(self, shard_id: str) -> None:
        # What a later resharding brings is new from its first record on, wherever the cursor began.
        position = TRIM_HORIZON if self._start.latest and not self._first_listing else self._start
        reader = ShardReader(self._client, self.stream, shard_id, position, None, self._options, self._now_s)
        self._tails[shard_id] = Tail(
            self.stream,
            shard_id,
            reader,
            checkpoint=None,
            applied_to_s=None,
            options=self._options,
            on_change=self._changed.set,
        )
        self._turn.append(shard_id)

    async def _sleep(self) -> None:
        timeout_s = max(0.05, self._list_again_at - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return
