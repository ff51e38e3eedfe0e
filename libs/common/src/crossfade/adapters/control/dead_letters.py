"""The dead-letter store in DynamoDB: records that could not be applied, and strays, with their payload."""

from __future__ import annotations

import contextlib

from crossfade.adapters.control.rows import (
    delete_request,
    head_of,
    key_of,
    letter_key,
    letter_of,
    letter_row,
    parts_of,
    put_request,
    query_request,
)
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import ConditionFailed
from crossfade.contracts.letter import STRAY, DeadLetter
from crossfade.core.migration.control import CONSUMERS, letters_pk, parts_pk, strays_pk
from crossfade.core.values import image as wire
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.image import Image
from crossfade.ports.control import COUNT_AT_MOST


class DynamoDeadLetters:
    """`crossfade.ports.control.DeadLetters` on a control table."""

    def __init__(self, db: DynamoDB, table: str) -> None:
        """Take the client and the table's name."""
        self._db = db
        self._table = table

    async def park(self, letter: DeadLetter) -> None:
        """Keep a letter; parking the same one again changes nothing. A settled one takes the place of an older one.

        The parts of a large payload go first, so a letter that can be seen is complete.
        """
        row, parts = letter_row(letter)
        for number, part in enumerate(parts, start=1):
            piece = key_of(parts_pk(letter.consumer), f"{letter.sequence}#{number}") | {"payload": wire.of_binary(part)}
            await self._db.put_item(put_request(self._table, piece))
        with contextlib.suppress(ConditionFailed):
            newer = "committed_us" if letter.settled else ""
            await self._db.put_item(put_request(self._table, row, if_absent=not newer, if_older=newer))

    async def all(self, *, limit: int = 1000, code: str = "") -> list[DeadLetter]:
        """Return the letters that need a human decision, oldest first."""
        found: list[DeadLetter] = []
        if code != STRAY:
            rows = [row for consumer in CONSUMERS for row in await self._rows(letters_pk(consumer))]
            heads = [(head_of(row), row) for row in rows]
            heads = [each for each in heads if code in ("", each[0].code)]
            heads.sort(key=lambda each: each[0].at_us)
            found += [await self._whole(row) for _, row in heads[:limit]]
        if code in ("", STRAY):
            found += await self._strays(limit, settled=False)
        found.sort(key=lambda letter: letter.at_us)
        return found[:limit]

    async def settled(self, *, limit: int = 1000) -> list[DeadLetter]:
        """Return the settled letters, one per key, in no order."""
        return await self._strays(limit, settled=True)

    async def count(self) -> int:
        """Return how many need a human decision. Counting stops at `COUNT_AT_MOST` of a kind."""
        return sum(
            [
                await self._count(pk)
                for consumer in CONSUMERS
                for pk in (letters_pk(consumer), strays_pk(consumer, settled=False))
            ]
        )

    async def remove(self, letter: DeadLetter) -> None:
        """Take a letter out, after it was applied, merged, overtaken or discarded."""
        _, parts = letter_row(letter)
        await self._db.delete_item(delete_request(self._table, letter_key(letter)))
        for number in range(1, len(parts) + 1):
            piece = key_of(parts_pk(letter.consumer), f"{letter.sequence}#{number}")
            await self._db.delete_item(delete_request(self._table, piece))

    async def _strays(self, limit: int, *, settled: bool) -> list[DeadLetter]:
        rows = [row for consumer in CONSUMERS for row in await self._rows(strays_pk(consumer, settled=settled), limit)]
        return [await self._whole(row) for row in rows]

    async def _count(self, pk: str) -> int:
        total, start = 0, None
        while total < COUNT_AT_MOST:
            page = await self._db.query_count(query_request(self._table, pk, start=start, count=True))
            total += page.scanned
            start = page.next_key
            if start is None:
                break
        return min(total, COUNT_AT_MOST)

    async def _rows(self, pk: str, limit: int | None = None) -> list[Image]:
        rows: list[Image] = []
        start = None
        while limit is None or len(rows) < limit:
            left = None if limit is None else limit - len(rows)
            page = await self._db.query(query_request(self._table, pk, limit=left, start=start))
            rows += page.items
            start = page.next_key
            if start is None:
                break
        return rows

    async def _whole(self, row: Image) -> DeadLetter:
        head = head_of(row)
        letter_consumer, sequence = head.consumer, head.sequence
        parts = []
        for number in range(1, parts_of(row) + 1):
            piece = await self._db.get_item(self._table, key_of(parts_pk(letter_consumer), f"{sequence}#{number}"))
            if piece is None:
                raise StoreUnavailable(f"letter {sequence}: part {number} of its payload is missing")
            parts.append(wire.binary(piece["payload"]))
        return letter_of(row, parts)
