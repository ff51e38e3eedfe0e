"""A table's identity, which is not its name: a table that was dropped and imported again has another (rule 7)."""

from __future__ import annotations

import msgspec

from crossfade.adapters.wire import Wire
from crossfade.adapters.wire.answers import read_answer
from crossfade.core.values.errors import StoreRefused


class _Description(msgspec.Struct):
    TableId: str = ""


class _Described(msgspec.Struct):
    Table: _Description


_described = msgspec.json.Decoder(_Described)


async def table_id(wire: Wire, table: str) -> str | None:
    """Return a table's `TableId`; None when there is no such table yet.

    Args:
        wire: a client of DynamoDB.
        table: its name.

    Raises:
        CrossfadeError: as `Wire.call`.
    """
    try:
        body = await wire.call("DescribeTable", msgspec.json.encode({"TableName": table}))
    except StoreRefused as error:
        if error.reason == "ResourceNotFoundException":
            return None
        raise
    return read_answer(_described, "DescribeTable", body).Table.TableId or None
