"""The stream consumers' reports in DynamoDB."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from crossfade.adapters.control.rows import put_request, query_request, report_of, report_row
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.core.control import REPORT_PK
from crossfade.ports.control import Report

AT_ONCE: Final = 8
"""Writes in flight: a consumer of many shards must not fill the connection pool of its apply path."""


class DynamoReports:
    """`crossfade.ports.control.Reports` on a control table."""

    def __init__(self, db: DynamoDB, table: str) -> None:
        """Take the client and the table's name."""
        self._db = db
        self._table = table

    async def put(self, reports: Sequence[Report]) -> None:
        """Replace the reports of these roles and shards."""
        for first in range(0, len(reports), AT_ONCE):
            batch = reports[first : first + AT_ONCE]
            await asyncio.gather(*(self._db.put_item(put_request(self._table, report_row(each))) for each in batch))

    async def all(self) -> list[Report]:
        """Return the last report of each role and shard."""
        found: list[Report] = []
        start = None
        while True:
            page = await self._db.query(query_request(self._table, REPORT_PK, start=start))
            found += map(report_of, page.items)
            start = page.next_key
            if start is None:
                return found
