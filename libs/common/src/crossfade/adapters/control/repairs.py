"""Repairs in DynamoDB, in partitions of their own in the table of reports.

pk "repairs"             sk the id              the record, with its revision
pk "repair-steps#<id>"   sk "steps#0000007"     a chunk of the plan, written once
                         sk "outcomes#0000007"  what became of the chunk's first steps, with their number
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from crossfade.adapters.control.rows import BODY, delete_request, encode, key_of, put_request, query_request, text_of
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import ConditionFailed
from crossfade.contracts.repairs import RepairRecord, RepairStep
from crossfade.core.migration.control import REPAIRS_PK, repair_pk, repair_sk
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image

_STEPS: Final = msgspec.json.Decoder(list[RepairStep])
_OUTCOMES: Final = msgspec.json.Decoder(list[str])


class DynamoRepairs:
    """`crossfade.ports.repairs.RepairStore` on a control table."""

    def __init__(self, db: DynamoDB, table: str) -> None:
        """Take the client and the name of the table of reports."""
        self._db = db
        self._table = table

    async def create(self, record: RepairRecord) -> None:
        """Keep a new record; one that is there is the same, after an answer that was lost."""
        try:
            await self._db.put_item(put_request(self._table, _row(record), if_absent=True))
        except ConditionFailed:
            return

    async def get(self, repair: str) -> RepairRecord | None:
        """Return a record by its id."""
        row = await self._db.get_item(self._table, key_of(REPAIRS_PK, repair))
        return None if row is None else _record(row)

    async def replace(self, record: RepairRecord) -> RepairRecord | None:
        """Replace a record, unless another writer came between."""
        replaced = record.replace(revision=record.revision + 1)
        request: dict[str, Any] = {
            "TableName": self._table,
            "Item": _row(replaced),
            "ConditionExpression": "revision = :revision",
            "ExpressionAttributeValues": {":revision": wire.of_number(record.revision)},
        }
        try:
            await self._db.put_item(encode(request))
        except ConditionFailed:
            # An attempt whose answer was lost had done it: no other writer leaves exactly this.
            return replaced if await self.get(record.id) == replaced else None
        return replaced

    async def all(self) -> list[RepairRecord]:
        """Return all records."""
        found: list[RepairRecord] = []
        start = None
        while True:
            page = await self._db.query(query_request(self._table, REPAIRS_PK, start=start))
            found += map(_record, page.items)
            start = page.next_key
            if start is None:
                return found

    async def put_steps(self, repair: str, chunk: int, steps: Sequence[RepairStep]) -> None:
        """Keep a chunk of a plan."""
        row = _chunk_key(repair, "steps", chunk) | {BODY: wire.of_string(text_of(steps))}
        try:
            await self._db.put_item(put_request(self._table, row, if_absent=True))
        except ConditionFailed:
            return

    async def steps(self, repair: str, chunk: int) -> list[RepairStep]:
        """Return a chunk of a plan."""
        row = await self._db.get_item(self._table, _chunk_key(repair, "steps", chunk))
        return [] if row is None else _STEPS.decode(wire.string(row[BODY]))

    async def put_outcomes(self, repair: str, chunk: int, outcomes: Sequence[str]) -> list[str]:
        """Keep the outcomes of a chunk's first steps; return those that are kept."""
        body = {BODY: wire.of_string(text_of(outcomes)), "number": wire.of_number(len(outcomes))}
        row = _chunk_key(repair, "outcomes", chunk) | body
        try:
            await self._db.put_item(put_request(self._table, row, if_older="number"))
        except ConditionFailed:
            return await self.outcomes(repair, chunk)
        return list(outcomes)

    async def outcomes(self, repair: str, chunk: int) -> list[str]:
        """Return the outcomes of a chunk's first steps."""
        row = await self._db.get_item(self._table, _chunk_key(repair, "outcomes", chunk))
        return [] if row is None else _OUTCOMES.decode(wire.string(row[BODY]))

    async def remove(self, record: RepairRecord) -> None:
        """Remove a record last, so that what a crash leaves is found again."""
        pk = repair_pk(record.id)
        while True:
            page = await self._db.query(query_request(self._table, pk, limit=25))
            for row in page.items:
                await self._db.delete_item(delete_request(self._table, key_of(pk, wire.string(row["sk"]))))
            if not page.items:
                break
        await self._db.delete_item(delete_request(self._table, key_of(REPAIRS_PK, record.id)))


def _row(record: RepairRecord) -> Image:
    key = key_of(REPAIRS_PK, record.id)
    return key | {BODY: wire.of_string(record.to_text()), "revision": wire.of_number(record.revision)}


def _record(row: Image) -> RepairRecord:
    return RepairRecord.of_text(wire.string(row[BODY]))


def _chunk_key(repair: str, kind: str, chunk: int) -> Image:
    return key_of(repair_pk(repair), repair_sk(kind, chunk))
