"""The plain protocol's list of tombstones in DynamoDB, in the table of reports.

pk "tombstone#target#07"   sk digest of the key   the key

A table's keys are spread over sixteen partitions: one takes a thousand writes a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from hashlib import blake2b
from typing import Final

from crossfade.adapters.control.rows import delete_request, key_of, put_request, query_request
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.core.migration.control import tombstones_pk
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side

PARTS: Final = 16
_AT_ONCE: Final = 25
_KEY: Final = "row"


class DynamoTombstones:
    """`crossfade.ports.tombstones.Tombstones` on a control table."""

    def __init__(self, db: DynamoDB, table: str) -> None:
        """Take the client and the name of the table of reports."""
        self._db = db
        self._table = table

    async def add(self, side: Side, keys: Sequence[Key]) -> None:
        """List keys; those that are listed already stay."""
        rows = [_place(side, key) | {_KEY: wire.of_binary(key)} for key in dict.fromkeys(keys)]
        for at in range(0, len(rows), _AT_ONCE):
            await asyncio.gather(
                *(self._db.put_item(put_request(self._table, row)) for row in rows[at : at + _AT_ONCE])
            )

    async def listed(self, side: Side) -> AsyncIterator[Sequence[Key]]:
        """Return the keys, page by page."""
        for part in range(PARTS):
            start = None
            while True:
                page = await self._db.query(query_request(self._table, tombstones_pk(side.value, part), start=start))
                if page.items:
                    yield [Key(wire.binary(row[_KEY])) for row in page.items]
                start = page.next_key
                if start is None:
                    break

    async def remove(self, side: Side, keys: Sequence[Key]) -> None:
        """Take keys out."""
        places = [_place(side, key) for key in dict.fromkeys(keys)]
        for at in range(0, len(places), _AT_ONCE):
            requests = [delete_request(self._table, place) for place in places[at : at + _AT_ONCE]]
            await asyncio.gather(*map(self._db.delete_item, requests))


def _place(side: Side, key: Key) -> Image:
    digest = blake2b(key, digest_size=16).digest()
    return key_of(tombstones_pk(side.value, digest[0] % PARTS), digest.hex())
