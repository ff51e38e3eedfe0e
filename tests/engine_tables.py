"""Tables on the embedded engine, for tests that make their own."""

from __future__ import annotations

from crossfade.adapters.wire import Wire
from crossfade.core.values.errors import StoreRefused


async def create_table(client: Wire, request: bytes) -> None:
    """Create a table whose name nobody else has: if it exists, the answer to the first try came too late."""
    try:
        await client.call("CreateTable", request)
    except StoreRefused as error:
        if error.reason != "ResourceInUseException":
            raise
