"""Streams in memory: shards that keep what they take, read as Kinesis is read. One part of `MemoryAws`, or on its own.

A shard keeps the order in which records arrived, whatever was committed first: so reordering and repetition are the
producer's doing, as between DynamoDB and Kinesis.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence

from crossfade.ports.streams import Fetched, StreamRecord, StreamShard


def shard_name(number: int) -> str:
    """Return a shard's id, as Kinesis spells it."""
    return f"shardId-{number:012d}"


class MemoryStreams:
    """Streams by name. Both of `crossfade.ports.streams`."""

    def __init__(self, *, now_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        """Start without any.

        Args:
            now_us: dates arrivals, µs since the epoch.
        """
        self._now_us = now_us
        self._shards: dict[str, list[list[StreamRecord]]] = {}

    def create(self, name: str, *, shards: int = 1) -> None:
        """Create a stream, unless it exists."""
        self._shards.setdefault(name, [[] for _ in range(shards)])

    def shard_ids(self, name: str) -> tuple[str, ...]:
        """Return the ids of a stream's shards; none of a stream that isn't there."""
        return tuple(map(shard_name, range(len(self._shards.get(name, ())))))

    def take(self, name: str, partition_key: str, data: bytes) -> None:
        """Append a record to the shard of its key."""
        shards = self._shards[name]
        records = shards[zlib.crc32(partition_key.encode()) % len(shards)]
        records.append(StreamRecord(str(len(records)), partition_key, data, self._now_us() / 1e6))

    def records(self, name: str) -> list[StreamRecord]:
        """Return all records of a stream, shard after shard."""
        return [each for shard in self._shards.get(name, ()) for each in shard]

    async def put_records(self, stream: str, records: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Publish (partition key, payload) pairs; all are taken."""
        for partition_key, data in records:
            self.take(stream, partition_key, data)
        return [True] * len(records)

    async def list_shards(self, stream: str) -> list[StreamShard]:
        """List all shards of a stream; none of a stream that isn't there."""
        return [StreamShard(each, ()) for each in self.shard_ids(stream)]

    async def shard_iterator(
        self,
        stream: str,
        shard_id: str,
        *,
        after: str | None = None,
        at_s: float | None = None,
        latest: bool = False,
    ) -> str:
        """Return an iterator: after a sequence number, at an arrival time, at the tip, or else at the first record."""
        records = self._shards[stream][int(shard_id.rpartition("-")[2])]
        start = len(records) if latest else int(after) + 1 if after is not None else 0
        if at_s is not None:
            start = next((n for n, each in enumerate(records) if each.arrived_s >= at_s), len(records))
        return f"{stream}:{shard_id}:{start}"

    async def get_records(self, iterator: str, limit: int = 1000) -> Fetched:
        """Read the next records of a shard."""
        stream, shard_id, start = iterator.rsplit(":", 2)
        records, first = self._shards[stream][int(shard_id.rpartition("-")[2])], int(start)
        found = records[first : first + limit]
        end = first + len(found)
        behind_ms = 0 if end >= len(records) else max(1, round(self._now_us() / 1e3 - records[end].arrived_s * 1e3))
        return Fetched(found, f"{stream}:{shard_id}:{end}", behind_ms)
