"""Fakes with the rules of the real thing: a Kinesis and a lease table in memory.

The fake Kinesis is strict where emulators are lax: its sequence numbers can neither be read as
integers nor be put in order, iterators expire, and closed shards end.
"""

from __future__ import annotations

import secrets
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from faust_kinesis.client import StreamPage, StreamRecord, StreamShard
from faust_kinesis.errors import ServiceError
from faust_kinesis.leases import Value

ITERATOR_LIFE_S = 300.0


def throttled() -> ServiceError:
    """Return the error of a shard that is read too often."""
    return ServiceError("slow down", reason="ProvisionedThroughputExceededException", retryable=True)


@dataclass
class _MemoryShard:
    parents: tuple[str, ...]
    log: list[StreamRecord] = field(default_factory=list)
    trimmed: int = 0
    closed: bool = False


class MemoryKinesis:
    """A stream in memory; also its own writer's and operator's tool.

    Args:
        stream: its name.
        shards: how many open shards to begin with.
        now_s: wall clock, seconds since the epoch.
    """

    def __init__(self, stream: str = "stream", *, shards: int = 1, now_s: Callable[[], float]) -> None:
        self.stream = stream
        self.now_s = now_s
        self.failures: deque[Exception] = deque()  # raised by the next calls of get_records
        self.reads: list[tuple[str, float]] = []  # shard and time of each get_records
        self._shards: dict[str, _MemoryShard] = {}
        self._iterators: dict[str, tuple[str, int, float]] = {}
        for _ in range(shards):
            self._open(())

    @property
    def open_shards(self) -> list[str]:
        """Shards that take records."""
        return [shard_id for shard_id, shard in self._shards.items() if not shard.closed]

    def put(self, data: bytes, *, partition_key: str = "", shard_id: str | None = None) -> str:
        """Append a record, to the given shard or to the key's; return its sequence number."""
        if shard_id is None:
            live = self.open_shards
            shard_id = live[sum(partition_key.encode()) % len(live)]
        shard = self._shards[shard_id]
        if shard.closed:
            raise ValueError(f"{shard_id} is closed")
        sequence = f"~{secrets.token_hex(6)}"
        shard.log.append(StreamRecord(sequence, partition_key, data, self.now_s()))
        return sequence

    def split(self, shard_id: str) -> tuple[str, str]:
        """Close a shard; return its two children."""
        self._shards[shard_id].closed = True
        return self._open((shard_id,)), self._open((shard_id,))

    def merge(self, left: str, right: str) -> str:
        """Close two shards; return their child."""
        self._shards[left].closed = self._shards[right].closed = True
        return self._open((left, right))

    def trim(self, shard_id: str, count: int) -> None:
        """Let the oldest `count` records of a shard expire."""
        self._shards[shard_id].trimmed = count

    def forget(self, shard_id: str) -> None:
        """Remove a shard, as happens to a closed one after the retention."""
        del self._shards[shard_id]

    async def list_shards(self, stream: str) -> list[StreamShard]:
        """See `KinesisClient`."""
        self._refuse_others(stream)
        return [StreamShard(shard_id, shard.parents) for shard_id, shard in self._shards.items()]

    async def shard_iterator(
        self, stream: str, shard_id: str, *, after: str | None = None, at_s: float | None = None, latest: bool = False
    ) -> str:
        """See `KinesisClient`. As on AWS, a trimmed `after` goes on at the oldest record without a word."""
        self._refuse_others(stream)
        shard = self._shards.get(shard_id)
        if shard is None:
            raise ServiceError(shard_id, reason="ResourceNotFoundException", retryable=False)
        index = shard.trimmed
        if latest:
            index = len(shard.log)
        elif after is not None:
            places = [place for place, record in enumerate(shard.log) if record.sequence_number == after]
            if not places:
                raise ServiceError(after, reason="InvalidArgumentException", retryable=False)
            index = places[0] + 1
        elif at_s is not None:
            index = next((i for i, record in enumerate(shard.log) if record.arrived_s >= at_s), len(shard.log))
        return self._iterator(shard_id, max(index, shard.trimmed))

    async def get_records(self, iterator: str, limit: int) -> StreamPage:
        """See `KinesisClient`."""
        shard_id, index, issued_s = self._iterators[iterator]
        self.reads.append((shard_id, self.now_s()))
        if self.failures:
            raise self.failures.popleft()
        if self.now_s() - issued_s > ITERATOR_LIFE_S:
            raise ServiceError("iterator", reason="ExpiredIteratorException", retryable=False)
        shard = self._shards[shard_id]
        index = max(index, shard.trimmed)
        records = tuple(shard.log[index : index + limit])
        index += len(records)
        behind_ms = 0 if index >= len(shard.log) else max(1, round((self.now_s() - shard.log[index].arrived_s) * 1000))
        ended = shard.closed and index >= len(shard.log)
        return StreamPage(records, None if ended else self._iterator(shard_id, index), behind_ms)

    def _refuse_others(self, stream: str) -> None:
        if stream != self.stream:
            raise ServiceError(stream, reason="ResourceNotFoundException", retryable=False)

    def _iterator(self, shard_id: str, index: int) -> str:
        token = secrets.token_hex(8)
        self._iterators[token] = (shard_id, index, self.now_s())
        return token

    def _open(self, parents: tuple[str, ...]) -> str:
        shard_id = f"shardId-{len(self._shards):012d}"
        self._shards[shard_id] = _MemoryShard(parents)
        return shard_id


class MemoryBackend:
    """A `LeaseBackend` in memory, shared by the workers of a test."""

    def __init__(self) -> None:
        self.tables: defaultdict[str, dict[str, dict[str, Value]]] = defaultdict(dict)
        self.writes = 0

    async def items(self, pk: str) -> list[dict[str, Value]]:
        """See `LeaseBackend`."""
        return [{"sk": sk, **item} for sk, item in self.tables[pk].items()]

    async def add(self, pk: str, sk: str, put: Mapping[str, Value]) -> bool:
        """See `LeaseBackend`."""
        self.writes += 1
        if sk in self.tables[pk]:
            return False
        self.tables[pk][sk] = dict(put)
        return True

    async def swap(self, pk: str, sk: str, expect: Mapping[str, Value | None], put: Mapping[str, Value | None]) -> bool:
        """See `LeaseBackend`."""
        self.writes += 1
        item = self.tables[pk].get(sk)
        if item is None or any(item.get(name) != value for name, value in expect.items()):
            return False
        self.tables[pk][sk] = {name: value for name, value in ({**item, **put}).items() if value is not None}
        return True
