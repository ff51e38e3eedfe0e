"""Makes the control tables."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from crossfade.adapters.control.rows import encode
from crossfade.adapters.wire import ServiceError, Wire
from crossfade.core.control import PK, SK, ControlTables
from crossfade.core.errors import StoreUnavailable

POLL_S: Final = 0.2


class _Table(msgspec.Struct):
    TableStatus: str = ""


class _Described(msgspec.Struct):
    Table: _Table


async def create_control_tables(wire: Wire, tables: ControlTables, *, timeout_s: float = 60.0) -> None:
    """Create those of the control tables that don't exist, and wait until all can be used.

    Safe to call again, and from several processes at once.

    Args:
        wire: a wire client of the service "dynamodb".
        tables: their names.
        timeout_s: for all of them together.

    Raises:
        StoreUnavailable: they were not usable in time.
        ServiceError: the service refused to create one.
    """
    for name in tables:
        await _create(wire, name)
    try:
        async with asyncio.timeout(timeout_s):
            for name in tables:
                await _until_active(wire, name)
    except TimeoutError as error:
        raise StoreUnavailable(f"the control tables were not active within {timeout_s} s") from error


async def _create(wire: Wire, name: str) -> None:
    request = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in (PK, SK)],
        "KeySchema": [{"AttributeName": PK, "KeyType": "HASH"}, {"AttributeName": SK, "KeyType": "RANGE"}],
    }
    if await _active(wire, name):
        return
    try:
        await wire.call("CreateTable", encode(request))
    except ServiceError as error:
        if error.reason not in {"ResourceInUseException", "TableAlreadyExistsException"}:
            raise


async def _until_active(wire: Wire, name: str) -> None:
    while True:
        if await _active(wire, name):
            return
        await asyncio.sleep(POLL_S)


async def _active(wire: Wire, name: str) -> bool:
    try:
        answer = await wire.call("DescribeTable", encode({"TableName": name}))
    except ServiceError as error:
        if error.reason == "ResourceNotFoundException":
            return False
        raise
    return msgspec.json.decode(answer, type=_Described).Table.TableStatus == "ACTIVE"
