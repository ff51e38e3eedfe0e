"""The stream consumers' reports in DynamoDB."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec import Raw

from crossfade.adapters.control.rows import (
    key_of,
    put_request,
    query_request,
    replace_request,
    report_of,
    report_row,
)
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import ConditionFailed
from crossfade.contracts.report import Report
from crossfade.core.migration.control import REPORT_PK, report_sk

AT_ONCE: Final = 8
"""Writes in flight: a consumer of many shards must not fill the connection pool of its apply path."""


class Held(NamedTuple):
    """A report as the table holds it.

    Attributes:
        report: read.
        body: as it was written, for the condition of the next write.
    """

    report: Report
    body: Raw


class DynamoReports:
    """`crossfade.ports.control.Reports` on a control table."""

    def __init__(self, db: DynamoDB, table: str) -> None:
        """Take the client and the table's name."""
        self._db = db
        self._table = table

    async def put(self, reports: Sequence[Report]) -> None:
        """Replace the reports of these consumers and shards."""
        for first in range(0, len(reports), AT_ONCE):
            batch = reports[first : first + AT_ONCE]
            await asyncio.gather(*(self._db.put_item(put_request(self._table, report_row(each))) for each in batch))

    async def held(self, consumer: str, shard: str) -> Held | None:
        """Return the last report of a consumer on a shard; None when there is none."""
        row = await self._db.get_item(self._table, key_of(REPORT_PK, report_sk(consumer, shard)))
        return None if row is None else Held(report_of(row), row["body"])

    async def replace(self, held: Held | None, report: Report) -> bool:
        """Replace a report, unless another writer came between.

        Args:
            held: what `held` returned for its consumer and shard.
            report: the new one.

        Returns:
            False when another writer came between: nothing was written.
        """
        body = None if held is None else held.body
        try:
            await self._db.put_item(replace_request(self._table, report_row(report), body))
        except ConditionFailed:
            return False
        return True

    async def all(self) -> list[Report]:
        """Return the last report of each consumer and shard."""
        found: list[Report] = []
        start = None
        while True:
            page = await self._db.query(query_request(self._table, REPORT_PK, start=start))
            found += map(report_of, page.items)
            start = page.next_key
            if start is None:
                return found
