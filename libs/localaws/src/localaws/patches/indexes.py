"""Secondary indexes: what they hold, and which attributes a query of one can ask for.

What ministack 1.5.33 gets wrong, by the name of the patch. `index_backfill`: an index added later holds items whose
key attributes are of another type or empty. `index_projections`: a query or scan of a global index gives nothing for
what it doesn't project, where the service refuses; a local one gives nothing, where the service fetches from the
table; filters see attributes that aren't there.

Source: DynamoDB developer guide, "Projections", "Adding a global secondary index to an existing table" (backfilling);
messages and what is refused as of AWS's own engine (DynamoDB Local 2.5.4).
"""

from __future__ import annotations

from typing import Any

import ministack.services.dynamodb as dynamodb
from ministack.core.responses import error_response_json

from localaws.patches.limits import MAX_BYTES
from localaws.patches.registry import patch

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]

_WORDS = frozenset({"AND", "OR", "NOT", "BETWEEN", "IN"})


def _types(table: Json) -> dict[str, str]:
    return {each["AttributeName"]: each["AttributeType"] for each in table.get("AttributeDefinitions") or []}


def _fits(value: Any, kind: str | None, most: int) -> bool:
    """Say whether a value can be a key of an index: of its type, not empty, not too long."""
    if not isinstance(value, dict) or len(value) != 1 or kind not in value:
        return False
    return kind == "N" or 0 < dynamodb._attribute_value_size(value) <= most


def _is_key(item: Json, types: dict[str, str], hashes: list[str], ranges: list[str]) -> bool:
    return all(_fits(item.get(name), types.get(name), MAX_BYTES["HASH"]) for name in hashes) and all(
        _fits(item.get(name), types.get(name), MAX_BYTES["RANGE"]) for name in ranges
    )


class _Asked:
    """Which table's keys are being sorted into its indexes; requests are answered one at a time."""

    def __init__(self) -> None:
        self.types: dict[str, str] | None = None
        self.fetches = False


_asked = _Asked()


def holds(table: Json, index_name: str, item: Json) -> bool:
    """Say whether an index of a table holds an item."""
    definition = dynamodb._index_def(table, index_name) or {}
    before, _asked.types = _asked.types, _types(table)
    try:
        return dynamodb._index_partition(item, *dynamodb._index_key_lists(definition)) is not None
    finally:
        _asked.types = before


def _with_types(original: Any) -> Any:
    def mended(table: Json, *rest: Any, **named: Any) -> Any:
        if not table.get("GlobalSecondaryIndexes") and not table.get("LocalSecondaryIndexes"):
            return original(table, *rest, **named)
        before, _asked.types = _asked.types, _types(table)
        try:
            return original(table, *rest, **named)
        finally:
            _asked.types = before

    return mended


@patch("index_backfill", dynamodb, "_index_members")
def members(original: Any) -> Any:
    """An index that is filled knows the types of its keys."""
    return _with_types(original)


@patch("index_backfill", dynamodb, "_index_item")
def index_item(original: Any) -> Any:
    """So does one that is kept up."""
    return _with_types(original)


@patch("index_backfill", dynamodb, "_index_partition")
def partition(original: Any) -> Any:
    """An item whose key attributes don't fit isn't in the index."""

    def mended(item: Json, hashes: list[str], ranges: list[str]) -> Any:
        if _asked.types is not None and not _is_key(item, _asked.types, hashes, ranges):
            return None
        return original(item, hashes, ranges)

    return mended


def _names_in(expression: str, names: dict[str, str]) -> list[str]:
    """Return the attributes that an expression reads, the first step of each path."""
    found, before = [], ""
    tokens = dynamodb._tokenize(expression)
    for (kind, text), (following, _) in zip(tokens, [*tokens[1:], ("EOF", "")], strict=True):
        word = kind == "IDENT" and text.upper() not in _WORDS and following != "LPAREN"
        if (word or kind == "NAME_REF") and before != "DOT":
            found.append(names.get(text, text) if kind == "NAME_REF" else text)
        before = kind
    return list(dict.fromkeys(found))


def _projected(table: Json, definition: Json) -> set[str] | None:
    """Return the attributes that an index projects; None for all."""
    projection = definition.get("Projection") or {}
    if projection.get("ProjectionType", "ALL") == "ALL":
        return None
    keys = {table["pk_name"], table["sk_name"], *(part["AttributeName"] for part in definition["KeySchema"])}
    return keys | set(projection.get("NonKeyAttributes") or [])


def _refused(message: str) -> Answer:
    refusal: Answer = error_response_json(
        "ValidationException", f"One or more parameter values were invalid: {message}", 400
    )
    return refusal


def _checked(original: Any, filter_field: str | None) -> Any:
    def mended(request: Json) -> Answer:
        table = dynamodb._tables.get(dynamodb._normalize_table_name(request.get("TableName")))
        index = request.get("IndexName")
        definition = dynamodb._index_def(table, index) if table is not None and index else None
        projected = _projected(table, definition) if table is not None and definition else None
        if table is None or definition is None or projected is None:
            plain: Answer = original(request)
            return plain
        names = request.get("ExpressionAttributeNames") or {}
        wanted = request.get("AttributesToGet") or _names_in(request.get("ProjectionExpression") or "", names)
        lacking = [name for name in wanted if name not in projected]
        everything = request.get("Select") == "ALL_ATTRIBUTES"
        if filter_field and (unseen := set(_names_in(request.get(filter_field) or "", names)) - projected):
            lost = ", ".join(sorted(unseen))
            return _refused(f"Secondary index {index} does not project one or more filter attributes: [{lost}]")
        if definition in (table.get("GlobalSecondaryIndexes") or []):
            if everything:
                return _refused(
                    f"Select type ALL_ATTRIBUTES is not supported for global secondary index {index} because its "
                    "projection type is not ALL"
                )
            if lacking:
                return _refused(f"Global secondary index {index} does not project [{', '.join(lacking)}]")
        _asked.fetches = everything or bool(lacking)
        try:
            answer: Answer = original(request)
        finally:
            _asked.fetches = False
        return answer

    return mended


@patch("index_projections", dynamodb, "_query")
def query(original: Any) -> Any:
    """What a global index doesn't project is refused; what a local one doesn't, is fetched from the table."""
    return _checked(original, "FilterExpression")


@patch("index_projections", dynamodb, "_scan")
def scan(original: Any) -> Any:
    """So it is in a scan, but its filter sees no attribute that isn't projected."""
    return _checked(original, None)


@patch("index_projections", dynamodb, "_apply_index_projection")
def apply_projection(original: Any) -> Any:
    """What is fetched from the table is whole."""

    def mended(item: Json, table: Json, index_name: str | None) -> Json:
        shown: Json = item if _asked.fetches else original(item, table, index_name)
        return shown

    return mended
