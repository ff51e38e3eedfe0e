"""Content of any size in a control table: cut into items of one write, which whoever lists them names afterwards.

Parts of a write are written before the item that names them, and removed after it has been replaced. So a reader that
finds the name finds the parts, and a writer that dies in between leaves only parts that nobody names.
"""

from __future__ import annotations

import asyncio
import gzip
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple

from msgspec import Raw

from crossfade.adapters.control.rows import (
    ITEM_BUDGET_BYTES,
    WORTH_PACKING_BYTES,
    delete_request,
    encode,
    key_of,
    put_request,
    query_request,
)
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.core.migration.control import SK, pass_blobs_pk, pass_part_sk, pass_parts_pk
from crossfade.core.values import image as wire
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.image import Image
from crossfade.ports.admin import Objects

AT_ONCE: Final = 8
"""Items of one content in flight."""

TRIES: Final = 5
"""A reader whose content is replaced while it reads begins again; so often in a row means that something is wrong."""


class Written(NamedTuple):
    """One write of a content.

    Attributes:
        id: of the write; no other has it.
        parts: number of items.
        packed: whether the parts together are gzip.
    """

    id: str
    parts: int
    packed: bool

    def to_row(self) -> Image:
        """Return the attributes with which an item names it."""
        return {
            "written": wire.of_string(self.id),
            "parts": wire.of_number(self.parts),
            "packed": wire.of_boolean(self.packed),
        }

    @classmethod
    def of_row(cls, row: Mapping[str, Raw] | None) -> Written | None:
        """Read them; None when there is no item, or it names no content."""
        if row is None or "written" not in row:
            return None
        return cls(wire.string(row["written"]), wire.number(row["parts"]), wire.boolean(row["packed"]))


class Parts:
    """Writes, reads and removes contents."""

    def __init__(self, db: DynamoDB, table: str) -> None:
        """Take the client and the table's name."""
        self._db = db
        self._table = table

    async def write(self, pk: str, content: bytes) -> Written:
        """Write a content that nobody names yet.

        Args:
            pk: partition for its parts.
            content: of any size. A large one is packed in a thread: the event loop is others' too.
        """
        packed = len(content) > WORTH_PACKING_BYTES
        if packed:
            content = await asyncio.to_thread(gzip.compress, content, 1)
        pieces = [content[at : at + ITEM_BUDGET_BYTES] for at in range(0, len(content), ITEM_BUDGET_BYTES)]
        written = Written(secrets.token_hex(12), len(pieces), packed)
        for first in range(0, len(pieces), AT_ONCE):
            rows = [
                key_of(pk, pass_part_sk(written.id, number)) | {"content": wire.of_binary(piece)}
                for number, piece in enumerate(pieces[first : first + AT_ONCE], start=first)
            ]
            await asyncio.gather(*(self._db.put_item(put_request(self._table, row)) for row in rows))
        return written

    async def read(self, pk: str, written: Written) -> bytes | None:
        """Return a content; None when it has been removed."""
        pieces: list[bytes] = []
        for first in range(0, written.parts, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, written.parts))
            keys = [key_of(pk, pass_part_sk(written.id, number)) for number in numbers]
            rows = await asyncio.gather(*(self._db.get_item(self._table, key) for key in keys))
            for row in rows:
                if row is None:
                    return None
                pieces.append(wire.binary(row["content"]))
        content = b"".join(pieces)
        return await asyncio.to_thread(gzip.decompress, content) if written.packed else content

    async def remove(self, pk: str, written: Written) -> None:
        """Remove a content that nobody names any more."""
        for first in range(0, written.parts, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, written.parts))
            keys = [key_of(pk, pass_part_sk(written.id, number)) for number in numbers]
            await asyncio.gather(*(self._db.delete_item(delete_request(self._table, key)) for key in keys))

    async def sort_keys(self, pk: str, beginning: str = "") -> AsyncIterator[list[str]]:
        """Yield the sort keys of a partition in order, page by page."""
        start = None
        while True:
            page = await self._db.query(
                query_request(self._table, pk, start=start, keys_only=True, beginning=beginning)
            )
            yield [wire.string(row[SK]) for row in page.items]
            start = page.next_key
            if start is None:
                return

    async def clear(self, pk: str) -> None:
        """Remove all items of a partition."""
        async for found in self.sort_keys(pk):
            for first in range(0, len(found), AT_ONCE):
                keys = [key_of(pk, sk) for sk in found[first : first + AT_ONCE]]
                await asyncio.gather(*(self._db.delete_item(delete_request(self._table, key)) for key in keys))


class TableBlobs:
    """Spilled blobs in the control table, for passes that spill little."""

    def __init__(self, db: DynamoDB, table: str) -> None:
        """Take the client and the table's name."""
        self._db, self._table = db, table
        self._parts = Parts(db, table)

    async def put(self, pass_id: str, name: str, content: bytes) -> None:
        """See `crossfade.ports.passes.PassStore.put_blob`."""
        parts_pk = pass_parts_pk(pass_id)
        written = await self._parts.write(parts_pk, content)
        row = written.to_row()
        request = {
            "TableName": self._table,
            "Key": key_of(pass_blobs_pk(pass_id), name),
            "UpdateExpression": "SET " + ", ".join(f"#{each} = :{each}" for each in row),
            "ExpressionAttributeNames": {f"#{each}": each for each in row},
            "ExpressionAttributeValues": {f":{each}": value for each, value in row.items()},
            "ReturnValues": "ALL_OLD",
        }
        before = Written.of_row(await self._db.update_item(encode(request)))
        if before is not None and before.id != written.id:
            await self._parts.remove(parts_pk, before)

    async def names(self, pass_id: str, prefix: str) -> list[str]:
        """See `crossfade.ports.passes.PassStore.blobs`."""
        pages = self._parts.sort_keys(pass_blobs_pk(pass_id), prefix)
        return [name async for found in pages for name in found]

    async def get(self, pass_id: str, name: str) -> bytes | None:
        """See `crossfade.ports.passes.PassStore.blob`."""
        for _ in range(TRIES):
            row = await self._db.get_item(self._table, key_of(pass_blobs_pk(pass_id), name))
            written = Written.of_row(row)
            if written is None:
                return None
            content = await self._parts.read(pass_parts_pk(pass_id), written)
            if content is not None:
                return content
        raise StoreUnavailable(f"pass {pass_id}: parts of blob {name!r} are missing")

    async def forget(self, pass_id: str) -> None:
        """Remove all blobs of a pass."""
        await self._parts.clear(pass_blobs_pk(pass_id))


class ObjectBlobs:
    """Spilled blobs in a bucket, for passes that spill much: the control table holds none of them."""

    def __init__(self, objects: Objects, prefix: str) -> None:
        """Take the bucket, and the prefix of all keys in it, without the slash that ends it."""
        self._objects, self._prefix = objects, prefix

    def _key(self, pass_id: str, name: str = "") -> str:
        return f"{self._prefix}/{pass_id}/{name}" if self._prefix else f"{pass_id}/{name}"

    async def put(self, pass_id: str, name: str, content: bytes) -> None:
        """See `crossfade.ports.passes.PassStore.put_blob`."""
        await self._objects.put(self._key(pass_id, name), content)

    async def names(self, pass_id: str, prefix: str) -> list[str]:
        """See `crossfade.ports.passes.PassStore.blobs`."""
        root = self._key(pass_id)
        return [key.removeprefix(root) for key in await self._objects.keys(root + prefix)]

    async def get(self, pass_id: str, name: str) -> bytes | None:
        """See `crossfade.ports.passes.PassStore.blob`."""
        return await self._objects.get(self._key(pass_id, name))

    async def forget(self, pass_id: str) -> None:
        """Remove all blobs of a pass."""
        for key in await self._objects.keys(self._key(pass_id)):
            await self._objects.remove(key)
