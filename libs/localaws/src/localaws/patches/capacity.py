"""What reads cost, and how much one answer can hold.

What ministack 1.5.33 gets wrong, by the name of the patch. `read_capacity`: a read of any size costs half a unit, or
one; a BatchGetItem tells no cost. `batch_get_bytes`: a BatchGetItem of more than 16 MB is answered whole.

Source: DynamoDB developer guide, "Read and write operations" (4 KB a unit, rounded up: per item in GetItem and
BatchGetItem, over the whole page in Query and Scan; half of it when eventually consistent); API reference,
BatchGetItem (16 MB, the rest in UnprocessedKeys). Numbers as of AWS's own engine (DynamoDB Local 2.5.4).
"""

from __future__ import annotations

import json
from typing import Any, Final

import ministack.services.dynamodb as dynamodb

from localaws.patches.registry import patch

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]

UNIT_BYTES: Final = 4096
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024


def units(size_bytes: int) -> int:
    """Return how many whole units a strongly consistent read of a size costs; nothing costs one."""
    return max(1, -(-size_bytes // UNIT_BYTES))


class _Page:
    """How much the last page held; requests are answered one at a time."""

    size_bytes = 0


_page = _Page()


@patch("read_capacity", dynamodb, "_paginate_evaluated_items")
def paginate(original: Any) -> Any:
    """A page's size is what its read costs."""

    def mended(items: Any, limit: Any, table: Json, index_name: str | None = None) -> Any:
        page, more = original(items, limit, table, index_name)
        entries = (dynamodb._apply_index_projection(item, table, index_name) for item in page)
        _page.size_bytes = sum(map(dynamodb._item_size_bytes, entries))
        return page, more

    return mended


def _read_bytes(request: Json, table: Json) -> int:
    if "Key" not in request:
        return _page.size_bytes
    item = dynamodb._get_item_by_key(table, request["Key"])
    return int(dynamodb._item_size_bytes(item)) if item else 0


@patch("read_capacity", dynamodb, "_add_consumed_capacity")
def add_consumed(original: Any) -> Any:
    """A read costs by what was read."""

    def mended(result: Json, request: Json, table_name: str, write: bool = False, **rest: Any) -> None:
        original(result, request, table_name, write=write, **rest)
        if not write and "ConsumedCapacity" in result:
            times = units(_read_bytes(request, dynamodb._tables[table_name]))
            result["ConsumedCapacity"] = _times(result["ConsumedCapacity"], times)

    return mended


def _times(capacity: Any, by: int) -> Any:
    if isinstance(capacity, dict):
        return {name: _times(each, by) for name, each in capacity.items()}
    return capacity * by if isinstance(capacity, float) else capacity


def _sizes(request: Json) -> dict[str, list[int]] | None:
    """Return the size of the item of each key, per table; None when the request isn't right."""
    found: dict[str, list[int]] = {}
    try:
        for name, wanted in request["RequestItems"].items():
            table = dynamodb._tables[dynamodb._normalize_table_name(name)]
            items = [dynamodb._get_item_by_key(table, key) for key in wanted["Keys"]]
            found[name] = [dynamodb._item_size_bytes(item) if item else 0 for item in items]
    except (KeyError, TypeError, AttributeError):
        return None
    return found


@patch("batch_get_bytes", dynamodb, "_batch_get_item")
def batch_get(original: Any) -> Any:
    """What doesn't fit in 16 MB is for another request."""

    def mended(request: Json) -> Answer:
        sizes = _sizes(request)
        if sizes is None or sum(map(sum, sizes.values())) <= MAX_BATCH_BYTES:
            whole: Answer = original(request)
            return whole
        left = MAX_BATCH_BYTES
        first: Json = {}
        rest: Json = {}
        for name, wanted in request["RequestItems"].items():
            taken = 0
            for size in sizes[name]:
                left -= size
                if left < 0:
                    break
                taken += 1
            for part, keys in ((first, wanted["Keys"][:taken]), (rest, wanted["Keys"][taken:])):
                if keys:
                    part[name] = wanted | {"Keys": keys}
        status, headers, body = original(request | {"RequestItems": first})
        if status != 200:
            return status, headers, body
        return status, headers, json.dumps(json.loads(body) | {"UnprocessedKeys": rest}).encode()

    return mended


@patch("read_capacity", dynamodb, "_batch_get_item")
def batch_get_capacity(original: Any) -> Any:
    """Each item costs by its own size."""

    def mended(request: Json) -> Answer:
        status, headers, body = original(request)
        if status != 200 or request.get("ReturnConsumedCapacity", "NONE") == "NONE":
            return status, headers, body
        shown = json.loads(body)
        consumed = []
        for name, sizes in (_sizes(request) or {}).items():
            wanted = request["RequestItems"][name]
            sizes = sizes[: len(sizes) - len(shown["UnprocessedKeys"].get(name, {}).get("Keys", ()))]
            total = sum(map(units, sizes)) * (1.0 if wanted.get("ConsistentRead") else 0.5)
            consumed.append({"TableName": name, "CapacityUnits": total})
        return status, headers, json.dumps(shown | {"ConsumedCapacity": consumed}).encode()

    return mended
