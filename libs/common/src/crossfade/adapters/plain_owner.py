"""Writes to an owner's row, which carries nothing of Crossfade's: the condition is the whole row as it was read.

A condition can't say that there are no further attributes; whoever copies looks into the owner's stream for that
(`crossfade.core.protocol.plain.late`).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire.errors import ConditionFailed
from crossfade.core.values.image import Image, of_number, of_string
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import TableShape

MOST_ATTRIBUTES: Final = 140
"""A condition of more would pass the limits of an expression: 4 KB of text, 300 operators (AWS, "Service quotas")."""

_encode: Final = msgspec.json.encode


class DynamoOwnerWrites:
    """Conditional writes to the table that owns."""

    def __init__(self, dynamodb: DynamoDB, shape: TableShape) -> None:
        """Take the data plane and the table's shape."""
        self._dynamodb, self._shape = dynamodb, shape

    async def replace(self, key: Key, met: Image | None, image: Image | None) -> bool | None:
        """Put a row in place of the one that was read, or delete that one where `image` is None.

        Args:
            key: of the row.
            met: the row as it was read; None for none.
            image: the row to stand there, key included.

        Returns:
            False if another row stands there by now; None where the row has too many attributes for a condition.
        """
        if met is None and image is None:
            return True
        if met is not None and len(met) > MOST_ATTRIBUTES:
            return None
        condition = self._as_met(met)
        if image is None:
            return await self._done("DeleteItem", {"Key": key_image(key, self._shape.key), **condition})
        return await self._done("PutItem", {"Item": image, **condition})

    async def delete_expired(self, key: Key, ttl: str, at_s: int) -> bool:
        """Delete a row whose TTL attribute is a number not later than a moment, in seconds; False if there is none."""
        condition = {
            "ConditionExpression": "attribute_type(#t, :n) AND #t <= :at",
            "ExpressionAttributeNames": {"#t": ttl},
            "ExpressionAttributeValues": {":n": of_string("N"), ":at": of_number(at_s)},
        }
        return await self._done("DeleteItem", {"Key": key_image(key, self._shape.key), **condition})

    def _as_met(self, met: Image | None) -> dict[str, Any]:
        if met is None:
            return {
                "ConditionExpression": "attribute_not_exists(#k)",
                "ExpressionAttributeNames": {"#k": self._shape.key[0]},
            }
        names = {f"#{number}": name for number, name in enumerate(met)}
        return {
            "ConditionExpression": " AND ".join(f"{each} = :{each[1:]}" for each in names),
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {f":{each[1:]}": met[name] for each, name in names.items()},
        }

    async def _done(self, operation: str, request: dict[str, Any]) -> bool:
        body = _encode({"TableName": self._shape.table, **request})
        try:
            await (self._dynamodb.put_item if operation == "PutItem" else self._dynamodb.delete_item)(body)
        except ConditionFailed:
            return False
        return True
