"""The plain protocol's map item in DynamoDB, in the table of the journal.

pk "owner"   sk "owner"   the map, with its epoch
"""

from __future__ import annotations

import secrets
from typing import Any, Final

from crossfade.adapters.control.rows import BODY, encode, key_of, put_request
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import ConditionFailed
from crossfade.contracts.owning import OwnerMapItem
from crossfade.core.migration.control import OWNER_PK
from crossfade.core.protocol.plain.map import OwnerMap
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image

_NONCE: Final = "nonce"
"""Attribute that tells one swap from another."""


class DynamoOwnerMaps:
    """`crossfade.ports.owner_map.OwnerMaps` on a control table."""

    def __init__(self, db: DynamoDB, table: str) -> None:
        """Take the client and the name of the table of the journal."""
        self._db = db
        self._table = table

    async def read(self) -> OwnerMap | None:
        """Read the map consistently."""
        row = await self._db.get_item(self._table, key_of(OWNER_PK, OWNER_PK))
        return None if row is None else OwnerMapItem.of_text(wire.string(row[BODY])).to_map()

    async def swap(self, seen: OwnerMap | None, new: OwnerMap) -> bool:
        """Replace the map that was seen."""
        nonce = secrets.token_hex(8)
        try:
            await self._db.put_item(self._swapped(seen, new, nonce))
        except ConditionFailed:
            # An attempt whose answer was lost may have done it. Another coordinator may have left the very same map.
            row = await self._db.get_item(self._table, key_of(OWNER_PK, OWNER_PK))
            return row is not None and wire.string(row[_NONCE]) == nonce
        return True

    def _swapped(self, seen: OwnerMap | None, new: OwnerMap, nonce: str) -> bytes:
        row = _row(new) | {_NONCE: wire.of_string(nonce)}
        if seen is None:
            return put_request(self._table, row, if_absent=True)
        request: dict[str, Any] = {
            "TableName": self._table,
            "Item": row,
            "ConditionExpression": "epoch = :epoch AND #body = :body",
            "ExpressionAttributeNames": {"#body": BODY},
            "ExpressionAttributeValues": {":epoch": wire.of_number(seen.epoch), ":body": _row(seen)[BODY]},
        }
        return encode(request)


def _row(owner_map: OwnerMap) -> Image:
    body = OwnerMapItem.of_map(owner_map).to_text()
    return key_of(OWNER_PK, OWNER_PK) | {BODY: wire.of_string(body), "epoch": wire.of_number(owner_map.epoch)}
