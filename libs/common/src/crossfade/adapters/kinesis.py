"""Kinesis' data plane on the wire client: what reads a shard and what publishes to a stream."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from crossfade.adapters.wire import Wire
from crossfade.adapters.wire.answers import read_answer
from crossfade.core.values.errors import StoreUnavailable
from crossfade.ports.streams import Fetched, StreamRecord, StreamShard

MAX_PUT_RECORDS: Final = 500
MAX_PUT_BYTES: Final = 5 * 1024 * 1024
"""Of one PutRecords, payloads and partition keys together."""

PUT_ATTEMPTS: Final = 5


class _FetchAnswer(msgspec.Struct):
    """Kinesis always says how far behind an answer is: without that, no iterator would be taken for a shard's end."""

    Records: list[StreamRecord]
    MillisBehindLatest: int
    NextShardIterator: str | None = None


class _Shard(msgspec.Struct):
    ShardId: str
    ParentShardId: str | None = None
    AdjacentParentShardId: str | None = None


class _ShardsAnswer(msgspec.Struct):
    Shards: list[_Shard]
    NextToken: str | None = None


class _IteratorAnswer(msgspec.Struct):
    ShardIterator: str


class _PutResult(msgspec.Struct):
    ErrorCode: str | None = None


class _PutAnswer(msgspec.Struct):
    Records: list[_PutResult]


_fetch_answer = msgspec.json.Decoder(_FetchAnswer)
_shards_answer = msgspec.json.Decoder(_ShardsAnswer)
_iterator_answer = msgspec.json.Decoder(_IteratorAnswer)
_put_answer = msgspec.json.Decoder(_PutAnswer)
_encode = msgspec.json.encode


class Kinesis:
    """`crossfade.ports.streams`, both of them. Errors are those of `Wire.call`."""

    def __init__(self, wire: Wire) -> None:
        """Take a wire client of the service "kinesis"."""
        self._wire = wire

    def now_s(self) -> float:
        """Return the time that Kinesis dates arrivals by, as far as its answers tell; seconds since the epoch."""
        return self._wire.dates.now_s()

    async def list_shards(self, stream: str) -> list[StreamShard]:
        """List all shards of a stream, the closed ones too while they hold records."""
        shards: list[StreamShard] = []
        request: dict[str, Any] = {"StreamName": stream}
        while True:
            answer = read_answer(_shards_answer, "ListShards", await self._wire.call("ListShards", _encode(request)))
            shards += [
                StreamShard(each.ShardId, tuple(filter(None, (each.ParentShardId, each.AdjacentParentShardId))))
                for each in answer.Shards
            ]
            if not answer.NextToken:
                return shards
            request = {"NextToken": answer.NextToken}  # the API takes no stream name beside it

    async def shard_iterator(
        self,
        stream: str,
        shard_id: str,
        *,
        after: str | None = None,
        at_s: float | None = None,
        latest: bool = False,
    ) -> str:
        """Return an iterator, valid for five minutes.

        Raises:
            ValueError: more than one position was given.
        """
        if sum((after is not None, at_s is not None, latest)) > 1:
            raise ValueError("a shard iterator takes one of after, at_s, latest")
        request: dict[str, Any] = {"StreamName": stream, "ShardId": shard_id, "ShardIteratorType": "TRIM_HORIZON"}
        if after is not None:
            request |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": after}
        elif at_s is not None:
            request |= {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": round(at_s, 3)}
        elif latest:
            request["ShardIteratorType"] = "LATEST"
        body = await self._wire.call("GetShardIterator", _encode(request))
        return read_answer(_iterator_answer, "GetShardIterator", body).ShardIterator

    async def get_records(self, iterator: str, limit: int = 1000) -> Fetched:
        """Read the next records of a shard.

        Raises:
            ServiceError: with the reason "ExpiredIteratorException" when the iterator is older than five minutes:
                get a new one after the last sequence number.
        """
        request = b'{"ShardIterator":%b,"Limit":%d}' % (_encode(iterator), limit)
        answer = read_answer(_fetch_answer, "GetRecords", await self._wire.call("GetRecords", request))
        return Fetched(answer.Records, answer.NextShardIterator, answer.MillisBehindLatest)

    async def put_records(self, stream: str, records: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Publish records, as many requests as it takes. Those that fail are tried again, so order may change.

        Args:
            stream: its name.
            records: partition key and payload of each.

        Returns:
            For each record whether the stream has it; at least once.
        """
        done = [False] * len(records)
        encoded = [
            (
                len(payload) + len(key.encode()),
                b'{"PartitionKey":%b,"Data":"%b"}' % (_encode(key), binascii.b2a_base64(payload, newline=False)),
            )
            for key, payload in records
        ]
        for chunk in cut([size for size, _ in encoded]):
            await self._put(stream, encoded, list(chunk), done)
        return done

    async def _put(self, stream: str, encoded: list[tuple[int, bytes]], left: list[int], done: list[bool]) -> None:
        for failures in range(1, PUT_ATTEMPTS + 1):
            request = b'{"StreamName":%b,"Records":[%b]}' % (
                _encode(stream),
                b",".join(encoded[index][1] for index in left),
            )
            answer = read_answer(_put_answer, "PutRecords", await self._wire.call("PutRecords", request))
            if len(answer.Records) != len(left):
                raise StoreUnavailable(f"PutRecords: {len(answer.Records)} results for {len(left)} records")
            failed = []
            for index, result in zip(left, answer.Records, strict=True):
                if result.ErrorCode is None:
                    done[index] = True
                else:
                    failed.append(index)
            if not failed:
                return
            left = failed
            if failures < PUT_ATTEMPTS:
                await self._wire.back_off(failures)


def cut(sizes_bytes: list[int]) -> list[range]:
    """Cut a run of records into requests within both limits."""
    chunks: list[range] = []
    start = total_bytes = 0
    for index, size_bytes in enumerate(sizes_bytes):
        if index > start and (index - start >= MAX_PUT_RECORDS or total_bytes + size_bytes > MAX_PUT_BYTES):
            chunks.append(range(start, index))
            start, total_bytes = index, 0
        total_bytes += size_bytes
    if start < len(sizes_bytes):
        chunks.append(range(start, len(sizes_bytes)))
    return chunks
