"""The shard leases in the control table, through the wire client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import ConditionFailed
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image
from faust_kinesis.leases import Value, put_request, query_request, read_item, update_request

_encode = msgspec.json.encode


class WireLeases:
    """`faust_kinesis.LeaseBackend` on a table whose keys are the strings `pk` and `sk`.

    Attributes:
        checkpoints: how often one moved, by partition key: "stream#consumer".
    """

    def __init__(self, dynamodb: DynamoDB, table: str) -> None:
        """Take the data plane and the name of the table, which must exist."""
        self._dynamodb = dynamodb
        self._table = table
        self._checkpoints: dict[tuple[str, str], Value | None] = {}
        self.checkpoints: Counter[str] = Counter()

    async def items(self, pk: str) -> list[Mapping[str, Value]]:
        """Return all items of a partition."""
        found: list[Mapping[str, Value]] = []
        request = query_request(self._table, pk)
        while True:
            page = await self._dynamodb.query(_encode(request))
            found += [read_item(_decoded(item)) for item in page.items]
            if page.next_key is None:
                return found
            request["ExclusiveStartKey"] = page.next_key

    async def add(self, pk: str, sk: str, put: Mapping[str, Value]) -> bool:
        """Create an item; False when it was there already."""
        try:
            await self._dynamodb.put_item(_encode(put_request(self._table, pk, sk, put)))
        except ConditionFailed:
            return False
        return True

    async def swap(self, pk: str, sk: str, expect: Mapping[str, Value | None], put: Mapping[str, Value | None]) -> bool:
        """Change an item that holds what is expected; False when it does not."""
        try:
            await self._dynamodb.update_item(_encode(update_request(self._table, pk, sk, expect, put)))
        except ConditionFailed:
            return False
        checkpoint = put.get("checkpoint")
        if checkpoint is not None and self._checkpoints.get((pk, sk)) != checkpoint:
            self._checkpoints[pk, sk] = checkpoint
            self.checkpoints[pk] += 1
        return True

    async def close(self) -> None:
        """Nothing is opened here."""


def _decoded(item: Image) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(wire.encode_image(item))
    return decoded
