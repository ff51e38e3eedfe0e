"""The control tables themselves: which exist, how well protected they are, and how to create them. Services only look
(ADR 0018)."""

from __future__ import annotations

import asyncio
from typing import Any, Final, NamedTuple

import msgspec

from crossfade.adapters.control.rows import encode
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import ServiceError, Wire
from crossfade.adapters.wire.answers import read_answer
from crossfade.core.migration.control import CREATE, PK, SK, ControlTables, restoring
from crossfade.core.values.errors import StateMissing, StoreUnavailable

POLL_S: Final = 0.2
ACTIVE_WITHIN_S: Final = 60.0

_ABSENT: Final = frozenset({"ResourceNotFoundException", "TableNotFoundException"})


class TableState(NamedTuple):
    """The state of one control table.

    Attributes:
        name: of the table.
        status: "ACTIVE", "CREATING" …; empty when there is no such table.
        recoverable: whether point-in-time recovery is on.
        protected: whether deletion protection is on.
        has_rows: whether it has any rows.
    """

    name: str
    status: str = ""
    recoverable: bool = False
    protected: bool = False
    has_rows: bool = False


class _Table(msgspec.Struct):
    TableStatus: str
    DeletionProtectionEnabled: bool = False


class _Described(msgspec.Struct):
    Table: _Table


class _Recovery(msgspec.Struct):
    PointInTimeRecoveryStatus: str = "DISABLED"


class _Backups(msgspec.Struct):
    PointInTimeRecoveryDescription: _Recovery = msgspec.field(default_factory=_Recovery)


class _Continuous(msgspec.Struct):
    ContinuousBackupsDescription: _Backups


class _Counted(msgspec.Struct):
    Count: int


_described: Final = msgspec.json.Decoder(_Described)
_continuous: Final = msgspec.json.Decoder(_Continuous)
_counted: Final = msgspec.json.Decoder(_Counted)


class _Named:
    """A wire client whose answer "no such table" is an error that names the table and the cure."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def call(
        self, operation: str, body: bytes, *, timeout_s: float | None = None, attempts: int | None = None
    ) -> bytes:
        """See `Wire.call`.

        Raises:
            StateMissing: the control table does not exist.
        """
        try:
            return await self._wire.call(operation, body, timeout_s=timeout_s, attempts=attempts)
        except ServiceError as error:
            if error.reason not in _ABSENT:
                raise
            names = _tables_of(msgspec.json.decode(body))
            raise StateMissing(
                f"control table {' or '.join(names)} does not exist. For a first start: {CREATE}. If the migration has "
                f"run before, restore it; never create an empty one: {restoring(names[0])}"
            ) from error

    async def back_off(self, failures: int) -> None:
        """See `Wire.back_off`."""
        await self._wire.back_off(failures)


def _tables_of(request: dict[str, Any]) -> list[str]:
    if "TableName" in request:
        return [str(request["TableName"])]
    return list(dict.fromkeys(str(each["TableName"]) for item in request["TransactItems"] for each in item.values()))


def control_db(wire: Wire) -> DynamoDB:
    """Return the data plane for control tables: one that is missing raises StateMissing, with the cure."""
    return DynamoDB(_Named(wire))


async def missing_tables(wire: Wire, tables: ControlTables) -> list[str]:
    """Return the names of the control tables that don't exist; reads only."""
    described = await asyncio.gather(*(_describe(wire, name) for name in tables))
    return [name for name, table in zip(tables, described, strict=True) if table is None]


async def look_at_tables(wire: Wire, tables: ControlTables) -> list[TableState]:
    """Return the state of each control table; reads only."""
    return list(await asyncio.gather(*(_look(wire, name) for name in tables)))


async def create_control_tables(wire: Wire, tables: ControlTables) -> None:
    """Create the control tables that don't exist, and turn on recovery and protection for all of them.

    Safe to call again, and from several processes at once. It doesn't ask: the caller must know whether a missing table
    may be created empty.

    Args:
        wire: a wire client of the service "dynamodb".
        tables: their names.

    Raises:
        StoreUnavailable: they were not usable in time.
        ServiceError: the service refused to create one.
    """
    states = await look_at_tables(wire, tables)
    # Leases come last: as soon as they are there, a consumer may write one, and a creation that was cut short before
    # that can be taken up again.
    for state in sorted(states, key=lambda each: each.name == tables.leases):
        if not state.status:
            await _create(wire, state.name)
    try:
        async with asyncio.timeout(ACTIVE_WITHIN_S):
            for state in states:
                await _until_active(wire, state.name)
                await _keep(wire, state)
    except TimeoutError as error:
        raise StoreUnavailable(f"the control tables were not active within {ACTIVE_WITHIN_S} s") from error


async def _look(wire: Wire, name: str) -> TableState:
    table = await _describe(wire, name)
    if table is None:
        return TableState(name)
    answer = await wire.call("DescribeContinuousBackups", encode({"TableName": name}))
    backups = read_answer(_continuous, "DescribeContinuousBackups", answer).ContinuousBackupsDescription
    has_rows = table.TableStatus == "ACTIVE" and await _has_rows(wire, name)
    recoverable = backups.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus == "ENABLED"
    return TableState(name, table.TableStatus, recoverable, table.DeletionProtectionEnabled, has_rows)


async def _has_rows(wire: Wire, name: str) -> bool:
    request = encode({"TableName": name, "Limit": 1, "Select": "COUNT", "ConsistentRead": True})
    return read_answer(_counted, "Scan", await wire.call("Scan", request)).Count > 0


async def _create(wire: Wire, name: str) -> None:
    request = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in (PK, SK)],
        "KeySchema": [{"AttributeName": PK, "KeyType": "HASH"}, {"AttributeName": SK, "KeyType": "RANGE"}],
        "DeletionProtectionEnabled": True,
    }
    try:
        await wire.call("CreateTable", encode(request))
    except ServiceError as error:
        if error.reason not in {"ResourceInUseException", "TableAlreadyExistsException"}:
            raise


async def _keep(wire: Wire, was: TableState) -> None:
    if was.status and not was.protected:
        await wire.call("UpdateTable", encode({"TableName": was.name, "DeletionProtectionEnabled": True}))
        await _until_active(wire, was.name)
    if not was.recoverable:
        recovery = {"PointInTimeRecoveryEnabled": True}
        request = encode({"TableName": was.name, "PointInTimeRecoverySpecification": recovery})
        while True:
            try:
                await wire.call("UpdateContinuousBackups", request)
            except ServiceError as error:
                if error.reason != "ContinuousBackupsUnavailableException":  # still being set up for a new table
                    raise
                await asyncio.sleep(POLL_S)
            else:
                return


async def _until_active(wire: Wire, name: str) -> None:
    while True:
        table = await _describe(wire, name)
        if table is not None and table.TableStatus == "ACTIVE":
            return
        await asyncio.sleep(POLL_S)


async def _describe(wire: Wire, name: str) -> _Table | None:
    try:
        answer = await wire.call("DescribeTable", encode({"TableName": name}))
    except ServiceError as error:
        if error.reason in _ABSENT:
            return None
        raise
    return read_answer(_described, "DescribeTable", answer).Table
