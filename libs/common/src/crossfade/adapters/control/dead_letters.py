"""The dead-letter store in DynamoDB: records that could not be applied, with their payload."""

from __future__ import annotations

import contextlib

from crossfade.adapters.control.rows import (
    delete_request,
    key_of,
    letter_of,
    letter_row,
    parts_of,
    put_request,
    query_request,
)
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import ConditionFailed
from crossfade.core import image as wire
from crossfade.core.control import ROLES, letters_pk, parts_pk
from crossfade.core.errors import StoreUnavailable
from crossfade.core.image import Image
from crossfade.ports.control import DeadLetter


class DynamoDeadLetters:
    """`crossfade.ports.control.DeadLetters` on a control table."""

    def __init__(self, db: DynamoDB, table: str) -> None:
        """Take the client and the table's name."""
        self._db = db
        self._table = table

    async def park(self, letter: DeadLetter) -> None:
        """Keep a letter; parking the same one again changes nothing.

        The parts of a large payload go first: a letter that can be seen is whole.
        """
        row, parts = letter_row(letter)
        for number, part in enumerate(parts, start=1):
            piece = key_of(parts_pk(letter.role), f"{letter.sequence}#{number}") | {"payload": wire.of_binary(part)}
            await self._db.put_item(put_request(self._table, piece))
        with contextlib.suppress(ConditionFailed):
            await self._db.put_item(put_request(self._table, row, if_absent=True))

    async def all(self, *, limit: int = 1000) -> list[DeadLetter]:
        """Return the letters, oldest first."""
        rows = [row for role in ROLES for row in await self._rows(role)]
        rows.sort(key=lambda row: wire.number(row["at_us"]))
        return [await self._whole(row) for row in rows[:limit]]

    async def count(self) -> int:
        """Return how many there are."""
        total = 0
        for role in ROLES:
            start = None
            while True:
                page = await self._db.query(query_request(self._table, letters_pk(role), start=start, count=True))
                total += page.scanned
                start = page.next_key
                if start is None:
                    break
        return total

    async def remove(self, letter: DeadLetter) -> None:
        """Take a letter out, after it was applied or overtaken."""
        _, parts = letter_row(letter)
        await self._db.delete_item(delete_request(self._table, key_of(letters_pk(letter.role), letter.sequence)))
        for number in range(1, len(parts) + 1):
            piece = key_of(parts_pk(letter.role), f"{letter.sequence}#{number}")
            await self._db.delete_item(delete_request(self._table, piece))

    async def _rows(self, role: str) -> list[Image]:
        rows: list[Image] = []
        start = None
        while True:
            page = await self._db.query(query_request(self._table, letters_pk(role), start=start))
            rows += page.items
            start = page.next_key
            if start is None:
                return rows

    async def _whole(self, row: Image) -> DeadLetter:
        letter_role, sequence = wire.string(row["role"]), wire.string(row["sk"])
        parts = []
        for number in range(1, parts_of(row) + 1):
            piece = await self._db.get_item(self._table, key_of(parts_pk(letter_role), f"{sequence}#{number}"))
            if piece is None:
                raise StoreUnavailable(f"letter {sequence}: part {number} of its payload is missing")
            parts.append(wire.binary(piece["payload"]))
        return letter_of(row, parts)
