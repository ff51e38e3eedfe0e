"""The four calls of Kinesis that a reader needs, and a default client on aiobotocore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, Protocol

from faust_kinesis.errors import ServiceError, is_retryable_reason


class Record(Protocol):
    """One record of a stream. The attributes are read-only."""

    @property
    def sequence_number(self) -> str:
        """Its place in the shard, an opaque string."""

    @property
    def partition_key(self) -> str:
        """What the writer chose its shard by."""

    @property
    def data(self) -> bytes:
        """The payload, decoded from base64."""

    @property
    def arrived_s(self) -> float:
        """When the stream took it, in seconds since the epoch."""


class Fetched(Protocol):
    """Answer of one GetRecords call."""

    @property
    def records(self) -> Sequence[Record]:
        """In shard order; empty does not mean that there are no more."""

    @property
    def next_iterator(self) -> str | None:
        """For the next call; None when the shard has been read to its end."""

    @property
    def behind_ms(self) -> int:
        """How far this answer is behind the tip of the shard, in ms; 0 when caught up."""


class Shard(Protocol):
    """One shard of a stream."""

    @property
    def shard_id(self) -> str:
        """Its name, unique within the stream."""

    @property
    def parents(self) -> tuple[str, ...]:
        """The shards it was split or merged from: none, one or two."""


class KinesisClient(Protocol):
    """What the engine asks of Kinesis. Who makes one closes it.

    An implementation may raise its own exceptions: see `faust_kinesis.errors.fault_of`.
    """

    async def list_shards(self, stream: str) -> Sequence[Shard]:
        """Return every shard that Kinesis still knows, closed ones too."""

    async def shard_iterator(
        self, stream: str, shard_id: str, *, after: str | None = None, at_s: float | None = None, latest: bool = False
    ) -> str:
        """Return an iterator. With none of the keywords it starts at TRIM_HORIZON."""

    async def get_records(self, iterator: str, limit: int) -> Fetched:
        """Read up to `limit` records."""


class StreamRecord(NamedTuple):
    """A record, as `BotoKinesis` returns it."""

    sequence_number: str
    partition_key: str
    data: bytes
    arrived_s: float


class StreamPage(NamedTuple):
    """Answer of one GetRecords call, as `BotoKinesis` returns it."""

    records: tuple[StreamRecord, ...]
    next_iterator: str | None
    behind_ms: int


class StreamShard(NamedTuple):
    """A shard, as `BotoKinesis` returns it."""

    shard_id: str
    parents: tuple[str, ...]


class BotoKinesis:
    """Kinesis through aiobotocore, which is imported on the first call: that takes a second or two.

    Retries are left to the engine, which knows what a shard can bear.

    Args:
        region: AWS Region.
        endpoint_url: another endpoint, for an emulator.
    """

    def __init__(self, *, region: str | None = None, endpoint_url: str | None = None) -> None:
        self._region = region
        self._endpoint_url = endpoint_url
        self._stack = AsyncExitStack()
        self._client: Any = None

    async def list_shards(self, stream: str) -> list[StreamShard]:
        """See `KinesisClient`."""
        shards: list[StreamShard] = []
        request: dict[str, Any] = {"StreamName": stream}
        while True:
            answer = await self._call("list_shards", **request)
            shards += [
                StreamShard(
                    shard["ShardId"],
                    tuple(shard[end] for end in ("ParentShardId", "AdjacentParentShardId") if shard.get(end)),
                )
                for shard in needed(answer, "list_shards", "Shards")
            ]
            if not answer.get("NextToken"):
                return shards
            request = {"NextToken": answer["NextToken"]}

    async def shard_iterator(
        self, stream: str, shard_id: str, *, after: str | None = None, at_s: float | None = None, latest: bool = False
    ) -> str:
        """See `KinesisClient`."""
        request: dict[str, Any] = {"ShardIteratorType": "LATEST" if latest else "TRIM_HORIZON"}
        if after is not None:
            request = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": after}
        elif at_s is not None:
            request = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": at_s}
        answer = await self._call("get_shard_iterator", StreamName=stream, ShardId=shard_id, **request)
        return str(needed(answer, "get_shard_iterator", "ShardIterator"))

    async def get_records(self, iterator: str, limit: int) -> StreamPage:
        """See `KinesisClient`."""
        answer = await self._call("get_records", ShardIterator=iterator, Limit=limit)
        records = tuple(
            StreamRecord(
                record["SequenceNumber"],
                record["PartitionKey"],
                record["Data"],
                record["ApproximateArrivalTimestamp"].timestamp(),
            )
            for record in needed(answer, "get_records", "Records")
        )
        behind_ms = int(needed(answer, "get_records", "MillisBehindLatest"))
        return StreamPage(records, answer.get("NextShardIterator"), behind_ms)

    async def close(self) -> None:
        """Give back connections."""
        self._client = None
        await self._stack.aclose()

    async def _call(self, operation: str, **request: Any) -> Any:
        if self._client is None:
            self._client = await self._stack.enter_async_context(
                boto_client("kinesis", region=self._region, endpoint_url=self._endpoint_url)
            )
        return await boto_call(self._client, operation, **request)


def boto_client(service: str, *, region: str | None, endpoint_url: str | None) -> Any:
    """Return an aiobotocore client, to be entered, that leaves retries to its user.

    Args:
        service: "kinesis" or "dynamodb".
        region: AWS Region; None for the environment's.
        endpoint_url: another endpoint; None for the Region's.
    """
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    config = AioConfig(retries={"total_max_attempts": 1}, connect_timeout=3, read_timeout=10)
    return get_session().create_client(service, region_name=region, endpoint_url=endpoint_url, config=config)


def needed(answer: Mapping[str, Any], operation: str, name: str) -> Any:
    """Return a field that every answer has: without it, an answer is no answer, and least of all the end of a shard.

    Raises:
        ServiceError: it is missing (`retryable`).
    """
    if answer.get(name) is None:
        raise ServiceError(f"{operation}: the answer has no {name}", reason="IncompleteAnswer", retryable=True)
    return answer[name]


async def boto_call(client: Any, operation: str, **request: Any) -> Any:
    """Call an aiobotocore client, and turn its exceptions into ours.

    Raises:
        ServiceError: the service refused, or did not answer (`retryable`).
    """
    from botocore import exceptions

    try:
        return await getattr(client, operation)(**request)
    except exceptions.ClientError as error:
        reason = str(error.response.get("Error", {}).get("Code", "")).rpartition("#")[2]
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        retryable = is_retryable_reason(reason, status)
        raise ServiceError(f"{operation}: {error}", reason=reason, retryable=retryable) from error
    except exceptions.BotoCoreError as error:
        retryable = isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError))
        raise ServiceError(f"{operation}: {error}", reason=type(error).__name__, retryable=retryable) from error
