"""One shard being worked on: pages read ahead, at most one batch out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from faust_kinesis.client import Record
from faust_kinesis.options import Options
from faust_kinesis.reader import Page, ShardReader


class Batch:
    """What one read of a shard brought, to be applied and then acknowledged as a whole or in parts.

    Iterating gives the records. Until it is acknowledged, its shard brings no other batch, so the
    order within a shard is kept however many workers share the batches.

    Attributes:
        stream: name of the stream.
        shard_id: the shard.
        records: in shard order, at least one.
        behind_ms: distance of the read to the tip of the shard, in ms.
        applied: how many records, from the front, have been acknowledged.
    """

    __slots__ = ("__weakref__", "applied", "behind_ms", "records", "shard_id", "stream", "tail")

    def __init__(self, stream: str, tail: Tail, page: Page) -> None:
        self.stream = stream
        self.shard_id = tail.shard_id
        self.records: Sequence[Record] = page.records
        self.behind_ms = page.behind_ms
        self.applied = 0
        self.tail = tail

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __repr__(self) -> str:
        return f"<Batch {self.stream} {self.shard_id}: {len(self.records)} records, {self.applied} applied>"

    @property
    def is_live(self) -> bool:
        """False once the shard belongs to somebody else: a long piece of work can stop early then."""
        return not self.tail.closed


class ShardReport(NamedTuple):
    """How far one shard is.

    Attributes:
        shard_id: the shard.
        behind_ms: distance to the tip at the last read, in ms; None before the first.
        fetched_s: time of the last read, seconds since the epoch; None before the first.
        oldest_unacked_s: arrival of the oldest record that was read and not acknowledged; None when there is none.
        checkpoint: sequence number of the last acknowledged record.
        age_s: from arrival in the stream to applied, in seconds: of the oldest record in progress, else of
            the tip; None before the first read.
        trouble: the error while reading fails, else None.
    """

    shard_id: str
    behind_ms: int | None
    fetched_s: float | None
    oldest_unacked_s: float | None
    checkpoint: str | None
    age_s: float | None
    trouble: str | None


class Tail:
    """Reads a shard ahead, and gives its batches out one by one.

    Args:
        stream: name of the stream.
        shard_id: the shard.
        reader: reads its pages.
        checkpoint: sequence number to begin after, for reports; None at the very start.
        applied_to_s: what arrived before is applied already; None when that isn't known.
        options: how far to read ahead.
        on_change: called when a batch is ready, the shard has ended, or reading failed.
    """

    def __init__(
        self,
        stream: str,
        shard_id: str,
        reader: ShardReader,
        *,
        checkpoint: str | None,
        applied_to_s: float | None,
        options: Options,
        on_change: Callable[[], None],
    ) -> None:
        self.stream = stream
        self.shard_id = shard_id
        self.checkpoint = checkpoint
        self.closed = False
        self.failure: Exception | None = None
        self.out: Batch | None = None
        self._reader = reader
        self._applied_to_s = applied_to_s
        self._acked_to_s = 0.0
        self._depth = 1 + options.prefetch
        self._poll_interval_s = options.poll_interval_s
        self._on_change = on_change
        self._pages: deque[Page] = deque()
        self._last: Page | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._rewound = False
        self._stopped = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"tail {stream} {shard_id}")

    @property
    def ready(self) -> bool:
        """Whether `next_batch` has one."""
        return not self._stopped and (self._rewound if self.out is not None else bool(self._pages))

    @property
    def finished(self) -> bool:
        """Whether the shard has ended and everything in it is acknowledged."""
        return self._last is not None and self._last.ended and not self._pages and self.out is None

    @property
    def applied_to_s(self) -> float | None:
        """Return the time up to which all records that arrived are acknowledged; None when unknown."""
        oldest_s = self.oldest_unacked_s
        if oldest_s is not None:
            return oldest_s
        if self._last is None:
            return self._applied_to_s
        return max(self._last.fetched_s - self._last.behind_ms / 1000, self._acked_to_s)

    @property
    def oldest_unacked_s(self) -> float | None:
        """Return the arrival time of the oldest record that was read and is not acknowledged."""
        if self.out is not None:
            return self.out.records[self.out.applied].arrived_s
        return self._pages[0].records[0].arrived_s if self._pages else None

    @property
    def has_read(self) -> bool:
        """Whether the first read has been answered."""
        return self._last is not None

    def next_batch(self) -> Batch:
        """Give out the next batch; only when `ready`."""
        if self.out is None:
            self.out = Batch(self.stream, self, self._pages.popleft())
        self._rewound = False
        return self.out

    def acknowledge(self, batch: Batch, count: int | None) -> None:
        """Note that the first `count` records of a batch are applied; all of them for None.

        A batch that isn't out (any more) is left alone: acknowledging twice must not reach the next one.
        """
        if batch is not self.out:
            return
        batch.applied = max(batch.applied, len(batch) if count is None else min(count, len(batch)))
        if batch.applied:
            last = batch.records[batch.applied - 1]
            self.checkpoint = last.sequence_number
            self._acked_to_s = last.arrived_s
        if batch.applied == len(batch):
            self.out = None
            self._rewound = False
            self._room.set()
            self._on_change()

    def rewind(self) -> None:
        """Give the batch that is out once more: its taker will not work on it."""
        self._rewound = self.out is not None
        self._on_change()

    def stop_reading(self) -> None:
        """Read no more and give out no more; the batch that is out may still be acknowledged.

        What was read ahead stays counted as not applied: it is for the next holder.
        """
        self._stopped = True
        self._task.cancel()

    def close(self) -> None:
        """Stop for good: the shard is somebody else's."""
        self.closed = True
        self.stop_reading()
        self._pages.clear()

    def report(self, now_s: float) -> ShardReport:
        """Say how far the shard is, at wall clock `now_s`."""
        last, oldest_s = self._last, self.oldest_unacked_s
        age_s: float | None = None
        if oldest_s is not None:
            age_s = max(0.0, now_s - oldest_s)
        elif last is not None:
            # A read that is overdue says nothing about the time since. For how long is nobody's wall clock's business.
            since_s = asyncio.get_running_loop().time() - last.fetched_at_s
            overdue_s = 0.0 if last.ended else max(0.0, since_s - 2 * self._poll_interval_s)
            age_s = last.behind_ms / 1000 + overdue_s
        return ShardReport(
            self.shard_id,
            last.behind_ms if last else None,
            last.fetched_s if last else None,
            oldest_s,
            self.checkpoint,
            age_s,
            self._reader.trouble,
        )

    async def _run(self) -> None:
        try:
            while True:
                await self._room.wait()
                page = await self._reader.read()
                self._last = page
                if page.records:
                    self._pages.append(page)
                    if len(self._pages) + (self.out is not None) >= self._depth:
                        self._room.clear()
                if page.records or page.ended:
                    self._on_change()
                if page.ended:
                    return
        except Exception as error:
            self.failure = error
            self._on_change()
