"""The controller's status in DynamoDB, for a CLI that can't reach the controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from crossfade.adapters.control.rows import key_of, put_request, text_of
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.core.migration.control import CONTROLLER_LEASE, STATUS_PK
from crossfade.core.values import image as wire

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_KEY: Final = key_of(STATUS_PK, CONTROLLER_LEASE)


class DynamoStatusBoard:
    """`crossfade.ports.control.StatusBoard` on the table of heartbeats."""

    def __init__(self, db: DynamoDB, table: str) -> None:
        """Take the client and the table's name."""
        self._db = db
        self._table = table

    async def put(self, status: Mapping[str, Any]) -> None:
        """Replace the status."""
        await self._db.put_item(put_request(self._table, {**_KEY, "body": wire.of_string(text_of(status))}))

    async def get(self) -> Mapping[str, Any] | None:
        """Return the last status; None if there has never been one."""
        row = await self._db.get_item(self._table, _KEY)
        return None if row is None else _decode(wire.string(row["body"]))
