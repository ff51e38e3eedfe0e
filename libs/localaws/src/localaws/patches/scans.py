"""Scans whose page costs the page.

ministack 1.5.33 sorts, filters and measures a whole table for each page, 58 ms at 40,000 items, so that a full scan
takes time by the square of the table's size. `scan_pages`: the keys of a table that is scanned are kept in order, by
a hash of the partition key as in the service; a page begins behind its start key, and a segment is a range of the
hash. A scan of an index goes the same way, without the items that the index doesn't hold.

Source: DynamoDB developer guide, "Scanning tables" (1 MB before the filter; parallel scan); what a segment holds is
told nowhere. The checks and messages are ministack's own, which runs on no items.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Any, Final

import ministack.services.dynamodb as dynamodb
from ministack.core.responses import error_response_json

from localaws.patches import indexes
from localaws.patches.registry import patch

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]
Place = tuple[int, str, str]
"""Of an item in a scan: hash of the partition key, partition key, sort key."""

_ORDER: Final = "_scan_order"
_SHARD_BITS: Final = 10
_HASH_BITS: Final = 32
_MIX: Final = 2_654_435_761  # Knuth's: the hash of similar keys differs in its high bits too


def hash_of(pk_value: str) -> int:
    """Return a number of 32 bits."""
    return zlib.crc32(pk_value.encode()) * _MIX & 0xFFFF_FFFF


class Order:
    """The keys of a table's items in the order of a scan."""

    def __init__(self, items: Json) -> None:
        """Sort the keys of all items.

        Args:
            items: partition key to sort key to item; the order is theirs until another mapping takes their place.
        """
        self.items = items
        self.count = sum(map(len, items.values()))
        self._shards: list[list[Place]] = [[] for _ in range(1 << _SHARD_BITS)]
        for pk_value, by_sort in items.items():
            at = hash_of(pk_value)
            self._shards[at >> _HASH_BITS - _SHARD_BITS] += [(at, pk_value, sk_value) for sk_value in by_sort]
        for shard in self._shards:
            shard.sort()

    def add(self, pk_value: str, sk_value: str) -> None:
        """Take a key that isn't there."""
        self.count += 1
        at = hash_of(pk_value)
        insort(self._shards[at >> _HASH_BITS - _SHARD_BITS], (at, pk_value, sk_value))

    def remove(self, pk_value: str, sk_value: str) -> None:
        """Drop a key that is there."""
        self.count -= 1
        place = (hash_of(pk_value), pk_value, sk_value)
        shard = self._shards[place[0] >> _HASH_BITS - _SHARD_BITS]
        del shard[bisect_left(shard, place)]

    def between(self, after: Place, until: int) -> Iterator[Json]:
        """Yield the items behind a place, up to a hash that isn't included."""
        first = max(0, after[0]) >> _HASH_BITS - _SHARD_BITS
        for number in range(first, len(self._shards)):
            shard = self._shards[number]
            for index in range(bisect_right(shard, after) if number == first else 0, len(shard)):
                at, pk_value, sk_value = shard[index]
                if at >= until:
                    return
                yield self.items[pk_value][sk_value]


def order_of(table: Json) -> Order:
    """Return a table's order, which its first scan makes, and each that finds the items changed without it."""
    order: Order | None = table.get(_ORDER)
    if order is None or order.items is not table["items"] or order.count != table.get("ItemCount"):
        order = table[_ORDER] = Order(table["items"])
    return order


@patch("scan_pages", dynamodb, "_set_item")
def set_item(original: Any) -> Any:
    """A new key takes its place."""

    def mended(table: Json, pk_value: Any, sk_value: Any, item: Json) -> Any:
        order: Order | None = table.get(_ORDER)
        new = sk_value not in table["items"].get(pk_value, ())
        old = original(table, pk_value, sk_value, item)
        if new and order is not None and order.items is table["items"]:
            order.add(pk_value, sk_value)
        return old

    return mended


@patch("scan_pages", dynamodb, "_remove_item")
def remove_item(original: Any) -> Any:
    """A key that is gone has none."""

    def mended(table: Json, pk_value: Any, sk_value: Any) -> Any:
        removed = original(table, pk_value, sk_value)
        order = table.get(_ORDER)
        if removed is not None and order is not None and order.items is table["items"]:
            order.remove(pk_value, sk_value)
        return removed

    return mended


def _bounds(request: Json, table: Json) -> tuple[Place, int]:
    """Return behind which place a page begins, and the hash that ends its segment."""
    after: Place = (-1, "", "")
    until = 1 << _HASH_BITS
    if request.get("TotalSegments") is not None:
        segment, of = int(request["Segment"]), int(request["TotalSegments"])
        after, until = ((segment << _HASH_BITS) // of, "", ""), (segment + 1 << _HASH_BITS) // of
    if start := request.get("ExclusiveStartKey"):
        pk_value = dynamodb._extract_key_val(start[table["pk_name"]])
        sort = dynamodb._extract_key_val(start[table["sk_name"]]) if table["sk_name"] else "__no_sort__"
        after = max(after, (hash_of(pk_value), pk_value, sort))
    return after, until


@patch("scan_pages", dynamodb, "_scan")
def scan(original: Any) -> Any:
    """Reads from the start key until the page is full."""

    def mended(request: Json) -> Answer:
        table = dynamodb._tables.get(dynamodb._normalize_table_name(request.get("TableName")))
        if table is None or request.get("ScanFilter"):  # of the time before expressions: left to ministack
            plain: Answer = original(request)
            return plain
        order, items = order_of(table), table["items"]
        table["items"] = {}
        try:
            checked: Answer = original(request | {"ReturnConsumedCapacity": "NONE"})
        finally:
            table["items"] = items
        if checked[0] != 200:
            return checked
        if refusal := dynamodb._values_error_response(dynamodb._request_values(request), envelope=False):
            refused: Answer = refusal
            return refused
        index = request.get("IndexName")
        found = order.between(*_bounds(request, table))
        if index:
            found = (item for item in found if indexes.holds(table, index, item))
        page, more = dynamodb._paginate_evaluated_items(found, request.get("Limit"), table, index)
        return _answer(request, table, page, more=more)

    return mended


def _answer(request: Json, table: Json, page: list[Json], *, more: bool) -> Answer:
    index = request.get("IndexName")
    values, names = request.get("ExpressionAttributeValues", {}), request.get("ExpressionAttributeNames", {})
    shown = [dynamodb._apply_index_projection(item, table, index) for item in page]
    text = request.get("FilterExpression")
    try:
        if text:
            shown = [
                item
                for item in shown
                if dynamodb._evaluate_condition(text, item, values, names, slot="FilterExpression")
            ]
        result: Json = {"Count": len(shown), "ScannedCount": len(page)}
        if request.get("Select") != "COUNT":
            result = {"Items": [dynamodb._apply_projection(item, request) for item in shown]} | result
    except ValueError as error:
        refusal: Answer = error_response_json("ValidationException", str(error), 400)
        return refusal
    if more and page:
        hashes, ranges = dynamodb._index_key_lists(dynamodb._index_def(table, index) or {}) if index else ([], [])
        key = [table["pk_name"], table["sk_name"], *hashes, *ranges]
        result["LastEvaluatedKey"] = {name: page[-1][name] for name in key if name}
    dynamodb._add_consumed_capacity(result, request, table["TableName"], index_name=index)
    answer: Answer = dynamodb.json_response(result)
    return answer
