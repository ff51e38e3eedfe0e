"""One DynamoDB table under the plain protocol: implements `crossfade.ports.plain_table.PlainTable`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire.errors import ConditionFailed
from crossfade.core.protocol.plain.rows import DELETED, MV, TOMBSTONE, fence_of
from crossfade.core.values.image import Image, decode_image, encode_image, of_number
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import TableShape
from crossfade.ports.plain_table import RowPage

_encode: Final = msgspec.json.encode


class DynamoPlainTable:
    """One table of the migration, whole rows."""

    def __init__(self, dynamodb: DynamoDB, shape: TableShape, belongs: Callable[[Key], bool]) -> None:
        """Take the data plane, the table's shape, and which of its rows are the migration's."""
        self._dynamodb = dynamodb
        self._shape = shape
        self._belongs = belongs

    @property
    def shape(self) -> TableShape:
        """What the table looks like."""
        return self._shape

    async def read_many(self, keys: Sequence[Key]) -> Mapping[Key, Image]:
        """See `crossfade.ports.plain_table.PlainTable`."""
        names = self._shape.key
        wanted = [key_image(key, names) for key in keys]
        found = await self._dynamodb.batch_get(self._shape.table, wanted) if wanted else []
        return {encode_key(image, names): image for image in found}

    async def scan_page(
        self, *, segment: int = 0, segments: int = 1, start: bytes | None = None, limit: int = 500
    ) -> RowPage:
        """See `crossfade.ports.plain_table.PlainTable`."""
        after = None if start is None else decode_image(start)
        page = await self._dynamodb.scan(
            self._shape.table, segment=segment, segments=segments, start=after, limit=limit
        )
        keyed = ((encode_key(image, self._shape.key), image) for image in page.items)
        rows = [(key, image) for key, image in keyed if self._belongs(key)]
        return RowPage(rows, page.scanned, None if page.next_key is None else encode_image(page.next_key))

    async def put(self, image: Image, *, met: Image | None) -> bool:
        """See `crossfade.ports.plain_table.PlainTable`."""
        pk = self._shape.key[0]
        if met is None:
            return await self._put(image, "attribute_not_exists(#k)", {"#k": pk})
        fence = fence_of(met)
        if fence is None:
            return await self._put(image, "attribute_exists(#k) AND attribute_not_exists(#v)", {"#k": pk, "#v": MV})
        return await self._put(image, "#v = :v", {"#v": MV}, {":v": of_number(fence)})

    async def delete_tombstone(self, key: Key, *, fence: int) -> bool:
        """See `crossfade.ports.plain_table.PlainTable`."""
        values = {":d": TOMBSTONE, ":v": of_number(fence)}
        return await self._delete(key, "#d = :d AND #v = :v", {"#d": DELETED, "#v": MV}, values)

    async def delete(self, met: Image) -> bool:
        """See `crossfade.ports.plain_table.PlainTable`."""
        names = {f"#{number}": name for number, name in enumerate(met)}
        values = {f":{number}": met[name] for number, name in enumerate(met)}
        condition = " AND ".join(f"{name} = :{name[1:]}" for name in names)
        return await self._delete(encode_key(met, self._shape.key), condition, names, values)

    async def strip(self, key: Key, names: Sequence[str], *, fence: int) -> bool:
        """See `crossfade.ports.plain_table.PlainTable`."""
        named = {f"#{number}": name for number, name in enumerate(names)}
        body = {
            "TableName": self._shape.table,
            "Key": key_image(key, self._shape.key),
            "UpdateExpression": f"REMOVE {', '.join(named)}",
            "ConditionExpression": "#v = :v",
            "ExpressionAttributeNames": {**named, "#v": MV},
            "ExpressionAttributeValues": {":v": of_number(fence)},
        }
        try:
            await self._dynamodb.update_item(_encode(body))
        except ConditionFailed:
            return False
        return True

    async def _put(
        self, image: Image, condition: str, names: Mapping[str, str], values: Mapping[str, Any] | None = None
    ) -> bool:
        body = {"TableName": self._shape.table, "Item": image, **_on(condition, names, values)}
        try:
            await self._dynamodb.put_item(_encode(body))
        except ConditionFailed:
            return False
        return True

    async def _delete(
        self, key: Key, condition: str, names: Mapping[str, str], values: Mapping[str, Any] | None = None
    ) -> bool:
        keyed = {"TableName": self._shape.table, "Key": key_image(key, self._shape.key)}
        try:
            await self._dynamodb.delete_item(_encode({**keyed, **_on(condition, names, values)}))
        except ConditionFailed:
            return False
        return True


def _on(condition: str, names: Mapping[str, str], values: Mapping[str, Any] | None) -> dict[str, Any]:
    told: dict[str, Any] = {"ConditionExpression": condition, "ExpressionAttributeNames": names}
    return told | ({"ExpressionAttributeValues": values} if values else {})
