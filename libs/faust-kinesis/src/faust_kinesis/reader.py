"""Reading one shard, page by page: politely, patiently, and never past a gap in silence."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from faust_kinesis.client import Fetched, KinesisClient, Record
from faust_kinesis.errors import CheckpointExpired, Fault, IteratorUnusable, fault_of
from faust_kinesis.options import Options
from faust_kinesis.position import TRIM_HORIZON, Position

_log = logging.getLogger(__name__)

_EMPTY_STEP_S = 0.2  # Kinesis answers empty pages on the way to the next record; 5 reads a second are allowed
_BACKOFF_FIRST_S = 0.25
_BACKOFF_LAST_S = 8.0
_CLOCK_MARGIN_S = 1.0
_SAME_MOMENT_S = 0.002  # times are stored in whole milliseconds
_PROBES = 50


class Backoff:
    """Waiting times that double and are jittered over their whole range, so that workers part."""

    def __init__(self) -> None:
        self._failures = 0

    def next_s(self) -> float:
        """Count a failure; return how long to wait, in seconds."""
        ceiling_s: float = min(_BACKOFF_LAST_S, _BACKOFF_FIRST_S * 2.0**self._failures)
        self._failures += 1
        return ceiling_s * (0.5 + random.random() / 2)

    def reset(self) -> None:
        """Count a success."""
        self._failures = 0


class Page(NamedTuple):
    """What one read brought.

    Attributes:
        records: in shard order, maybe none.
        behind_ms: distance to the tip of the shard when it was read.
        ended: the shard was split or merged and holds nothing more.
        fetched_s: when it was read, wall clock.
        fetched_at_s: when it was read, on the event loop's clock.
    """

    records: Sequence[Record]
    behind_ms: int
    ended: bool
    fetched_s: float
    fetched_at_s: float


class ShardReader:
    """Reads one shard from a position on.

    Args:
        client: Kinesis.
        stream: name of the stream.
        shard_id: the shard.
        position: where to begin.
        applied_to_s: what arrived before is applied already; None when that isn't known.
        options: pace and limits.
        now_s: wall clock, seconds since the epoch.

    Attributes:
        trouble: the last error while reads fail, else None.
    """

    def __init__(
        self,
        client: KinesisClient,
        stream: str,
        shard_id: str,
        position: Position,
        applied_to_s: float | None,
        options: Options,
        now_s: Callable[[], float],
    ) -> None:
        self._client = client
        self._stream = stream
        self._shard_id = shard_id
        self._position = position
        self._proven_to_s = applied_to_s if position.at_s is None else max(position.at_s, applied_to_s or 0.0)
        self._options = options
        self._now_s = now_s
        self._iterator: str | None = None
        self._iterator_expired = False
        self._backoff = Backoff()
        self._next_read = 0.0
        self.trouble: str | None = None

    async def read(self) -> Page:
        """Return the next page; it may be empty. Waits as long as the pace and errors ask for.

        Raises:
            CheckpointExpired: records after the position may have been trimmed unread.
            Exception: the client's own, when trying again can't help.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, self._next_read - loop.time()))
            try:
                fetched = await self._fetch()
            except Exception as error:
                await self._recover(error)
                continue
            self._backoff.reset()
            self._iterator_expired = False
            self.trouble = None
            self._next_read = loop.time() + self._pause_s(fetched)
            return self._page(fetched)

    async def _fetch(self) -> Fetched:
        if self._iterator is None:
            await self._prove_retained()
            self._iterator = await self._open(self._position)
            if self._position.latest:
                # From here on the place must be named: a second LATEST would skip what arrived in between.
                self._position = Position(at_s=self._now_s() - _CLOCK_MARGIN_S)
        return await self._client.get_records(self._iterator, self._options.fetch_limit)

    async def _open(self, position: Position) -> str:
        try:
            return await self._client.shard_iterator(self._stream, self._shard_id, **position.arguments())
        except Exception as error:
            gone = fault_of(error) is Fault.TRIMMED or (
                position.after is not None
                and getattr(error, "reason", None) in {"InvalidArgumentException", "ResourceNotFoundException"}
            )
            if gone:
                raise CheckpointExpired(
                    f"{self._stream} {self._shard_id}: the stream does not know the checkpoint: {error}"
                ) from error
            raise

    async def _prove_retained(self) -> None:
        """Make sure that nothing between the position and the oldest record was trimmed.

        Kinesis says nothing when the position is older than its oldest record: it goes on there.
        """
        known_s = self._proven_to_s
        if known_s is None or self._now_s() - known_s < self._options.retention_s:
            return
        iterator: str | None = await self._open(TRIM_HORIZON)
        for _ in range(_PROBES):
            if iterator is None:
                break
            page = await self._client.get_records(iterator, 1)
            if page.records:
                if page.records[0].arrived_s <= known_s + _SAME_MOMENT_S:
                    return
                break
            if not page.behind_ms:
                break
            iterator = page.next_iterator
            await asyncio.sleep(_EMPTY_STEP_S)
        raise CheckpointExpired(
            f"{self._stream} {self._shard_id}: read up to {self._now_s() - known_s:.0f} s ago, and the stream's oldest "
            f"record is younger: what lay between them may have expired unread"
        )

    async def _recover(self, error: Exception) -> None:
        if isinstance(error, CheckpointExpired):
            raise error
        fault = fault_of(error)
        if fault is Fault.ITERATOR_EXPIRED:
            self._iterator = None
            if not self._iterator_expired:  # the batch took longer than an iterator lives: the next one is good
                self._iterator_expired = True
                return
            error = IteratorUnusable(
                f"{self._stream} {self._shard_id}: a new iterator has expired before its first read; is the service's "
                f"clock right, or what stands between? {error}"
            )
        if fault is Fault.TRIMMED:
            raise CheckpointExpired(f"{self._stream} {self._shard_id}: {error}") from error
        if fault is Fault.FATAL:
            raise error
        wait_s = self._backoff.next_s()
        if self.trouble is None:
            _log.warning("%s %s: reading fails, retrying: %s", self._stream, self._shard_id, error)
        self.trouble = str(error)
        await asyncio.sleep(wait_s)

    def _pause_s(self, fetched: Fetched) -> float:
        if fetched.next_iterator is None or (fetched.behind_ms and fetched.records):
            return 0.0
        if fetched.behind_ms:
            return _EMPTY_STEP_S
        return self._options.poll_interval_s * random.uniform(0.9, 1.1)

    def _page(self, fetched: Fetched) -> Page:
        self._iterator = fetched.next_iterator
        now_s = self._now_s()
        self._proven_to_s = now_s - fetched.behind_ms / 1000
        if fetched.records:
            last = fetched.records[-1]
            self._position = Position(after=last.sequence_number)
            self._proven_to_s = max(self._proven_to_s, last.arrived_s)
        return Page(
            fetched.records, fetched.behind_ms, fetched.next_iterator is None, now_s, asyncio.get_running_loop().time()
        )
