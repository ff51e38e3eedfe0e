"""Stores of passes under test: on memory and on the embedded AWS, and a wire client that dies or loses answers."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from crossfade.adapters.control.passes import DynamoPassStore
from crossfade.adapters.control.tables import create_control_tables
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.memory.passes import MemoryPassStore, PassRows
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.contracts.passes import PassRecord, UnitRecord, pass_id
from crossfade.core.migration.control import control_tables
from crossfade.core.values.errors import StoreUnavailable
from crossfade.ports.passes import PassStore
from localaws.endpoints import Endpoints

NOW_US = 1_764_230_400_000_000


class Flaky:
    """A wire client that dies, or whose answers get lost.

    Attributes:
        dies_after: number of calls that are still done.
        loses: operations whose next answer gets lost, so that the same request is sent again.
        between: done once, after so many more calls and before the next.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.calls: list[str] = []
        self.dies_after: int | None = None
        self.loses: set[str] = set()
        self.between: tuple[int, Callable[[], Awaitable[object]]] | None = None

    async def call(
        self, operation: str, body: bytes, *, timeout_s: float | None = None, attempts: int | None = None
    ) -> bytes:
        if self.dies_after is not None:
            if self.dies_after == 0:
                raise StoreUnavailable("killed")
            self.dies_after -= 1
        if self.between is not None:
            calls, act = self.between
            self.between = (calls - 1, act) if calls else None
            if not calls:
                await act()
        self.calls.append(operation)
        answer = await self._wire.call(operation, body, timeout_s=timeout_s, attempts=attempts)
        if operation in self.loses:
            self.loses.discard(operation)
            # As the wire client would: the same request again; ten minutes later, when its token is forgotten.
            again = re.sub(rb'"ClientRequestToken":"\w{8}', b'"ClientRequestToken":"00000000', body)
            answer = await self._wire.call(operation, again, timeout_s=timeout_s, attempts=attempts)
        return answer

    async def back_off(self, failures: int) -> None:
        await self._wire.back_off(failures)


@dataclass
class Backend:
    """Makes stores of one migration, as many as there are processes; and counts what is left in the table."""

    store: Callable[[], PassStore]
    left: Callable[[], AsyncIterator[str]]


def memory() -> Backend:
    rows = PassRows()

    async def left() -> AsyncIterator[str]:
        for kept in (rows.units, rows.bodies, rows.blobs):
            for key in kept:
                yield str(key)

    return Backend(lambda: MemoryPassStore(rows), left)


class Embedded:
    """One migration's table of reports in the embedded AWS."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.wire = Wire(
            "dynamodb",
            WireConfig(region=endpoints.region, endpoint_url=endpoints.aws_endpoint),
            StaticCredentials(Credentials(endpoints.access_key_id, endpoints.secret_access_key, None)),
        )
        self.tables = control_tables("t" + secrets.token_hex(5))
        self.db = DynamoDB(self.wire)

    async def create(self) -> None:
        await create_control_tables(self.wire, self.tables)

    def store(self) -> DynamoPassStore:
        return DynamoPassStore(self.db, self.tables.reports)

    def flaky(self) -> tuple[Flaky, DynamoPassStore]:
        wire = Flaky(self.wire)
        return wire, DynamoPassStore(DynamoDB(wire), self.tables.reports)

    async def left(self) -> AsyncIterator[str]:
        start = None
        while True:
            page = await self.db.scan(self.tables.reports, start=start)
            for row in page.items:
                pk = bytes(row["pk"]).decode()
                if pk.startswith(('{"S":"pass-unit', '{"S":"pass-part', '{"S":"pass-blob')):
                    yield pk + bytes(row["sk"]).decode()
            start = page.next_key
            if start is None:
                return


def new(number: int = 0, scan_units: int = 3, **more: object) -> PassRecord:
    record = PassRecord(
        id=pass_id(NOW_US + number, "pod-a"), tables=("wallet", "engagement"), scan_units=scan_units, created_us=NOW_US
    )
    return record.replace(state="running", **more)


async def ended(store: PassStore, record: PassRecord, **more: object) -> PassRecord:
    changed = await store.change(record.replace(state="done", **more))
    assert changed is not None
    return changed


async def left(backend: Backend) -> list[str]:
    return [each async for each in backend.left()]


async def claimed(store: PassStore, record: PassRecord, holder: str = "pod-a/1", number: int = 0) -> UnitRecord:
    unit = await store.claim((await store.units(record))[number], holder)
    assert unit is not None
    return unit
