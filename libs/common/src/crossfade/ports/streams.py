"""Streams of records in shards, as Kinesis has them: read from a position, and published to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec


class StreamRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of a shard. Kinesis' own spelling, so that an answer is decoded into it without a copy.

    Attributes:
        sequence_number: opaque; engines differ in its shape and order.
        partition_key: as the producer gave it.
        data: the payload.
        arrived_s: when the stream took it, seconds since the epoch; 0 where the engine doesn't say.
    """

    sequence_number: str = msgspec.field(name="SequenceNumber")
    partition_key: str = msgspec.field(name="PartitionKey")
    data: bytes = msgspec.field(name="Data")
    arrived_s: float = msgspec.field(name="ApproximateArrivalTimestamp", default=0.0)


class Fetched(NamedTuple):
    """One read of a shard.

    Attributes:
        records: in the order of the shard; may be empty long before its end.
        next_iterator: for the next call; None when the shard is closed and read to its end.
        behind_ms: age of the last record returned against the tip of the shard, in ms.
    """

    records: list[StreamRecord]
    next_iterator: str | None
    behind_ms: int


class StreamShard(NamedTuple):
    """A shard; its parents are to be read to their end before it."""

    shard_id: str
    parents: tuple[str, ...]


class StreamReader(Protocol):
    """Reads streams."""

    async def list_shards(self, stream: str) -> list[StreamShard]:
        """List all shards of a stream, the closed ones too while they hold records."""
        ...

    async def shard_iterator(
        self,
        stream: str,
        shard_id: str,
        *,
        after: str | None = None,
        at_s: float | None = None,
        latest: bool = False,
    ) -> str:
        """Return an iterator, valid for some minutes. Without a position: the oldest record kept.

        Args:
            stream: its name.
            shard_id: which shard.
            after: sequence number of the last record read.
            at_s: read from this moment of arrival, seconds since the epoch.
            latest: read only what comes from now on.
        """
        ...

    async def get_records(self, iterator: str, limit: int = 1000) -> Fetched:
        """Read the next records of a shard."""
        ...


class StreamWriter(Protocol):
    """Publishes to streams."""

    async def put_records(self, stream: str, records: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Publish (partition key, payload) pairs; say of each whether the stream has it, at least once."""
        ...
