"""Rows of one table as they stand: implements `crossfade.ports.raw_rows.RawRows`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire.errors import ConditionFailed
from crossfade.core.values.image import Image

_encode: Final = msgspec.json.encode


class DynamoRows:
    """`crossfade.ports.raw_rows.RawRows` on DynamoDB."""

    def __init__(self, dynamodb: DynamoDB, table: str, key: Sequence[str]) -> None:
        """Take the data plane, the table, and the names of its key attributes."""
        self._dynamodb, self._table = dynamodb, table
        self._start = b'{"TableName":%b,"Item":' % _encode(table)
        # One attribute of the key is there exactly when the row is.
        self._end = (
            b',"ConditionExpression":"attribute_not_exists(#k)","ExpressionAttributeNames":{"#k":%b},'
            b'"ReturnValuesOnConditionCheckFailure":"ALL_OLD"}' % _encode(key[0])
        )

    async def read(self, keys: Sequence[Image]) -> list[Image]:
        """Read rows consistently."""
        return await self._dynamodb.batch_get(self._table, keys) if keys else []

    async def insert(self, row: bytes) -> Image | None:
        """Insert a row if there is none of its key."""
        try:
            await self._dynamodb.put_item(self._start + row + self._end)
        except ConditionFailed as error:
            return error.item or {}
        return None
