"""The verifier's own reading of both streams, from now on; nothing is stored and nothing is shared with the apply path.

A gap (a stream that is not there yet, a restart) costs evidence, never correctness: a key that no record verified is
read instead.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from crossfade.core.replication.change import Change, decode_change
from crossfade.core.values.errors import CrossfadeError, PoisonRecord
from crossfade.core.values.shape import Side, TableShape
from crossfade.ports.clock import Clock
from faust_kinesis import LATEST, KinesisClient, Options, PrivateCursor
from faust_kinesis.errors import KinesisTransportError

log = structlog.get_logger()


class Tail:
    """Reads one table's stream for as long as the process runs.

    Attributes:
        side: whose stream it is.
        stream: its name.
        read: records so far.
        unreadable: those that are no change records.
        trouble: why it isn't reading now; empty when it is.
        since_s: from when on it is known to have missed nothing, monotonic; None while it isn't reading.
    """

    def __init__(
        self,
        client: KinesisClient,
        stream: str,
        shape: TableShape,
        on_change: Callable[[Side, Change], None],
        *,
        on_gap: Callable[[str], None] = lambda _why: None,
        poll_s: float,
        retry_s: float,
        now_s: Callable[[], float],
        clock: Clock,
    ) -> None:
        """Prepare to read.

        Args:
            client: Kinesis.
            stream: name of the stream.
            shape: of the table whose changes it carries.
            on_change: called with each record.
            on_gap: called when records may be missed, with the reason: the stream was being read, and is read from its
                end again.
            poll_s: pause between two reads of a shard.
            retry_s: pause before a stream that is not there is looked for again.
            now_s: the time that Kinesis dates arrivals by, seconds since the epoch.
            clock: of the process.
        """
        self._now_s, self._on_gap = now_s, on_gap
        self._client, self.stream, self._shape, self._on_change = client, stream, shape, on_change
        self._options = Options(poll_interval_s=poll_s, now_s=now_s)
        self._retry_s, self._clock = retry_s, clock
        self._cursor: PrivateCursor | None = None
        self.side = shape.side
        self.read = self.unreadable = 0
        self.trouble = "not started"
        self.since_s: float | None = None

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                await self._follow()
            except (CrossfadeError, KinesisTransportError) as error:
                if self.trouble != str(error):
                    log.warning("stream not read", stream=self.stream, error=str(error))
                if self.since_s is not None:
                    self._on_gap(f"stream {self.stream}: {error}")
                self.trouble = str(error)
            self._cursor = self.since_s = None
            await self._clock.sleep(self._retry_s)

    async def _follow(self) -> None:
        self._cursor = PrivateCursor(self._client, self.stream, LATEST, self._options)
        async for batch in self._cursor.batches():
            self._goes_on()
            for record in batch:
                self._take(record.data)

    def _goes_on(self) -> None:
        self.trouble = ""
        if self.since_s is None:
            self.since_s = self._clock.monotonic()

    def _take(self, payload: bytes) -> None:
        self.read += 1
        try:
            change = decode_change(payload, self._shape.key)
        except PoisonRecord:
            self.unreadable += 1
            return
        self._on_change(self.side, change)

    def behind_s(self) -> float | None:
        """Return how far this reader is behind the tip of its stream; None when it isn't reading."""
        read_to_s = self._cursor.read_to_s if self._cursor else None
        if read_to_s is None:
            return None
        self._goes_on()
        idle_s = 2 * self._options.poll_interval_s
        return max(0.0, self._now_s() - read_to_s - idle_s)
