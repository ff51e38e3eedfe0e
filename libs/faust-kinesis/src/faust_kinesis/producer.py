"""Sends records to a stream for Faust's `topic.send`. Nothing in reading needs it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable
from typing import Any

from faust.transport import base
from faust.types import TP, RecordMetadata

from faust_kinesis.client import boto_call, boto_client


class Producer(base.Producer):  # type: ignore[misc] # faust ships no types that mypy could follow here
    """Puts one record a call. The client is made on the first one: a worker that only reads pays nothing."""

    _client: Any = None

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *_: Any,
        **__: Any,
    ) -> Awaitable[RecordMetadata]:
        """Send a record; the result is there already when this returns.

        Partition, timestamp, headers and transaction are Kafka's, and ignored.
        """
        sent: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        sent.set_result(await self.send_and_wait(topic, key, value))
        return sent

    async def send_and_wait(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *_: Any,
        **__: Any,
    ) -> RecordMetadata:
        """Send a record to the shard of its key; a record without one goes anywhere.

        Raises:
            ServiceError: Kinesis refused it, or did not answer.
        """
        if self._client is None:
            options = self.transport.options
            client = boto_client("kinesis", region=self.transport.region, endpoint_url=options.endpoint_url)
            self._client = await self.add_async_context(client)
        answer = await boto_call(
            self._client,
            "put_record",
            StreamName=topic,
            PartitionKey=key.decode() if key else secrets.token_hex(16),
            Data=value or b"",
        )
        number = int(str(answer["ShardId"]).rpartition("-")[2])
        # Faust wants an integer offset, which a sequence number is not to be taken for.
        return RecordMetadata(topic, number, TP(topic, number), 0)

    async def flush(self) -> None:
        """Send what is buffered."""
        await self.buffer.flush()

    async def create_topic(self, topic: str, *_: Any, **__: Any) -> None:
        """Streams are made by the operator."""
        self.log.warning("kinesis:// does not create streams: %s", topic)

    def key_partition(self, topic: str, *_: Any) -> TP:
        """Kinesis places a key itself; this is a name only."""
        return TP(topic, 0)
