"""Tables on the embedded engine, for tests that make their own."""

from __future__ import annotations

import json

from crossfade.adapters.wire import Wire
from crossfade.core.values.errors import StoreRefused
from crossfade.core.values.shape import TableShape


async def create_table(client: Wire, request: bytes) -> None:
    """Create a table whose name nobody else has: if it exists, the answer to the first try came too late."""
    try:
        await client.call("CreateTable", request)
    except StoreRefused as error:
        if error.reason != "ResourceInUseException":
            raise


async def create_plain_table(client: Wire, shape: TableShape) -> None:
    """Create a table of a mapping; its key is of strings."""
    request = {
        "TableName": shape.table,
        "KeySchema": [
            {"AttributeName": name, "KeyType": kind} for name, kind in zip(shape.key, ("HASH", "RANGE"), strict=False)
        ],
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in shape.key],
        "BillingMode": "PAY_PER_REQUEST",
    }
    await create_table(client, json.dumps(request).encode())
