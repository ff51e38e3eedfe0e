"""The feed's path of one batch: from records to events that the feed stream has acknowledged (design.md, section 3).

Apart from the apply path in everything: another reader, another checkpoint, no deduplication and no coalescing. Events
of one key keep the order of their records: a request holds each key once, and the next request of a key waits until
the stream has the one before.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from crossfade.core.mapping.interface import Mapping
from crossfade.core.replication.change import Change, decode_change
from crossfade.core.replication.feed import encode_published, partition_key
from crossfade.core.values.errors import PoisonRecord, Throttled
from crossfade.core.values.shape import Side
from crossfade.core.values.waves import waves
from crossfade.ports.clock import Clock
from crossfade.ports.control import Parking
from crossfade.ports.streams import StreamWriter
from crossfade.runtime.retry import persist
from crossfade_replicator.kill_points import KillPoints
from crossfade_replicator.letters import POISON, Place, letter
from crossfade_replicator.outcome import Account, BatchOutcome
from crossfade_replicator.records import Decoded, Record

log = structlog.get_logger()


class FeedPipeline:
    """Publishes the events of one table's change records."""

    def __init__(
        self,
        mapping: Mapping,
        side: Side,
        *,
        publisher: StreamWriter,
        stream: str,
        letters: Parking,
        clock: Clock,
        kill: KillPoints | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            mapping: of the migration.
            side: the table that the records come from.
            publisher: where events go.
            stream: the feed stream.
            letters: where records with unreadable events are parked.
            clock: dates letters.
            kill: points at which tests kill the process.
        """
        self._consumer = f"feed-{side.value}"
        self._shape = mapping.shape(side)
        self._events_of = mapping.protocol.reader(self._shape).events
        self._belongs = mapping.belongs
        self._publisher = publisher
        self._stream = stream
        self._letters = letters
        self._clock = clock
        self._kill = kill or KillPoints()

    async def apply(self, shard_id: str, records: Sequence[Record]) -> BatchOutcome:
        """Publish every event of a batch; the stream has them all when this returns.

        Args:
            shard_id: where the records were read.
            records: in shard order.

        Raises:
            CrossfadeError: the stream refuses us for good.
        """
        account = Account()
        events: list[tuple[bytes, tuple[str, bytes]]] = []
        for record in records:
            change: Change | None = None
            try:
                change = record.change if isinstance(record, Decoded) else decode_change(record.data, self._shape.key)
                if not self._belongs(change.key):
                    account.counts["not_ours"] += 1
                    continue
                found = self._events_of(change)
            except PoisonRecord as error:
                await self._park(shard_id, record, change, str(error), account)
                continue
            account.applied_commit_us = max(account.applied_commit_us, change.committed_us)
            place = partition_key(change.key) if found else ""
            events += [(change.key, (place, encode_published(event))) for event in found]
        account.counts["records"] += len(records)
        self._kill.reached("before-write")
        for wave in waves(events):
            await self._publish(wave)
            self._kill.reached("between-writes")
        account.counts["published"] += len(events)
        self._kill.reached("after-mark-before-ack")
        return account.outcome()

    async def _publish(self, wave: list[tuple[str, bytes]]) -> None:
        left = wave

        async def attempt() -> None:
            nonlocal left
            done = await self._publisher.put_records(self._stream, left)
            left = [each for each, taken in zip(left, done, strict=True) if not taken]
            if left:
                raise Throttled(f"{self._stream}: {len(left)} events not accepted")

        await persist(attempt)

    async def _park(self, shard_id: str, record: Record, change: Change | None, reason: str, account: Account) -> None:
        place = Place(self._consumer, shard_id, record.sequence_number)
        each = letter(place, record, change, code=POISON, reason=reason, now_us=self._clock.wall_us())
        await persist(lambda: self._letters.park(each))
        account.park(each)
        log.error("parked", code=POISON, reason=reason, sequence=each.sequence, key=each.key.decode())
