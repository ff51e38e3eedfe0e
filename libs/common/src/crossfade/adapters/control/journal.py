"""The journal in DynamoDB: a conditional append, each number taken once."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from crossfade.adapters.control.lease import LEASE_CONDITION, DynamoLease
from crossfade.adapters.control.rows import encode, entry_of, entry_row, key_of, nonce_of, put_request, query_request
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import ConditionFailed, TransactionCanceled
from crossfade.contracts.journal import Entry
from crossfade.core.migration.control import JOURNAL_PK, journal_sk
from crossfade.core.values.errors import LeaseLost, StoreUnavailable

ATTEMPTS: Final = 50
"""Appenders that meet at one number try the next; so many in a row means that something else is wrong."""


def wall_us() -> int:
    """Return the wall clock, µs since the epoch."""
    return time.time_ns() // 1000


class DynamoJournal:
    """`crossfade.ports.control.Journal` on a control table."""

    def __init__(
        self,
        db: DynamoDB,
        table: str,
        *,
        who: str,
        code: str,
        lease: DynamoLease | None = None,
    ) -> None:
        """Take the client and the writer's identity.

        Args:
            db: the data plane.
            table: name of the journal's table.
            who: user or pod, written into each entry.
            code: version of the code, written into each entry.
            lease: write only while this is held; the store itself checks it with each append.
        """
        self._db = db
        self._table = table
        self._who = who
        self._code = code
        self._lease = lease

    async def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Append an entry under the next free number.

        Raises:
            LeaseLost: the lease is held by another one by now; nothing was written.
        """
        nonce = secrets.token_hex(16)
        number = await self._highest() + 1
        for _ in range(ATTEMPTS):
            entry = Entry(number, kind, wall_us(), self._who, self._code, dict(body))
            if await self._put(entry, nonce):
                return entry
            number += 1
        raise StoreUnavailable(f"no free number in {self._table} after {ATTEMPTS} attempts")

    async def entries(self, *, after: int = 0) -> list[Entry]:
        """Return the entries with higher numbers, in order."""
        found: list[Entry] = []
        start = None
        while True:
            page = await self._db.query(
                query_request(self._table, JOURNAL_PK, after=journal_sk(after) if after else "", start=start)
            )
            found += map(entry_of, page.items)
            start = page.next_key
            if start is None:
                return found

    async def _highest(self) -> int:
        page = await self._db.query(query_request(self._table, JOURNAL_PK, backward=True, limit=1))
        return entry_of(page.items[0]).number if page.items else 0

    async def _put(self, entry: Entry, nonce: str) -> bool:
        row = entry_row(entry, nonce)
        if self._lease is None:
            try:
                await self._db.put_item(put_request(self._table, row, if_absent=True))
            except ConditionFailed:
                return await self._is_mine(entry.number, nonce)
            return True
        request = {
            "ClientRequestToken": nonce[:16] + journal_sk(entry.number)[-16:],
            "TransactItems": [
                {"ConditionCheck": {"TableName": self._lease.table, **LEASE_CONDITION, **self._lease.claim()}},
                {
                    "Put": {
                        "TableName": self._table,
                        "Item": row,
                        "ConditionExpression": "attribute_not_exists(pk)",
                    }
                },
            ],
        }
        try:
            await self._db.transact(encode(request))
        except TransactionCanceled as error:
            if await self._is_mine(entry.number, nonce):
                return True  # an attempt whose answer was lost had done it
            if error.reasons[0][0] == "ConditionalCheckFailed":
                raise LeaseLost(f"the journal of {self._table} belongs to another controller by now") from error
            if error.reasons[1][0] == "ConditionalCheckFailed":
                return False
            raise
        return True

    async def _is_mine(self, number: int, nonce: str) -> bool:
        row = await self._db.get_item(self._table, key_of(JOURNAL_PK, journal_sk(number)))
        return row is not None and nonce_of(row) == nonce
