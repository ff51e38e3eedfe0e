"""Update expressions: what they make where there is no item, and which elements of a list they mean.

What ministack 1.5.33 gets wrong, by the name of the patch. `ghost_items`: an update of a missing key that only
removes (REMOVE, DELETE, an AttributeUpdates of DELETEs) makes an item of nothing but its key, and a change record.
`list_indexes`: `REMOVE a[1], a[2]` takes the second index in a list that the first has shortened, and `SET a[30] =
:x, a[10] = :y` appends in the order of the text; a REMOVE below what isn't there is taken.

Source: DynamoDB API reference, UpdateItem ("DELETE - Nothing happens; there is no attribute to delete"); developer
guide, "Update expressions" (several elements appended in one SET are sorted by element number); indexes as of AWS's
own engine (DynamoDB Local 2.5.4, which makes ghost items too: the service doesn't, by the conformance suite that is
measured on it).
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import ministack.services.dynamodb as dynamodb

from localaws.patches.paths import order_of
from localaws.patches.registry import patch

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]

_CLAUSES = frozenset({"SET", "ADD", "REMOVE", "DELETE"})
_BAD_PATH = "The document path provided in the update expression is invalid for update"


@lru_cache(maxsize=4096)
def _only_removes_text(expression: str) -> bool:
    words = {text.upper() for kind, text in dynamodb._tokenize(expression) if kind == "IDENT"} & _CLAUSES
    return bool(words) and words <= {"REMOVE", "DELETE"}


def _only_removes(request: Json) -> bool:
    """Say whether an update can only take away."""
    if isinstance(text := request.get("UpdateExpression"), str):
        return _only_removes_text(text)
    updates = request.get("AttributeUpdates")
    return (
        isinstance(updates, dict)
        and bool(updates)
        and all(isinstance(each, dict) and each.get("Action") == "DELETE" for each in updates.values())
    )


class _Ghosts:
    """The items that the request being answered would make of nothing; requests are answered one at a time."""

    def __init__(self) -> None:
        self.updates: list[Json] = []
        self.skipped: list[Json] = []

    def is_one(self, table: Json, pk_value: Any, sk_value: Any) -> bool:
        """Say whether an item that isn't there would be written by an update that only removes."""
        if table["items"].get(pk_value, {}).get(sk_value) is not None:
            return False
        for each in self.updates:
            if dynamodb._tables.get(dynamodb._normalize_table_name(each["TableName"])) is table:
                key = each["Key"]
                sort = dynamodb._extract_key_val(key[table["sk_name"]]) if table["sk_name"] else "__no_sort__"
                if (dynamodb._extract_key_val(key[table["pk_name"]]), sort) == (pk_value, sk_value):
                    return True
        return False


_ghosts = _Ghosts()


def _without_ghosts(original: Any, request: Json, updates: list[Json]) -> Answer:
    if not updates:
        answer: Answer = original(request)
        return answer
    _ghosts.updates, _ghosts.skipped = updates, []
    try:
        status, headers, body = original(request)
        if status == 200 and _ghosts.skipped and "Attributes" in (shown := json.loads(body)):
            body = json.dumps({name: each for name, each in shown.items() if name != "Attributes"}).encode()
    finally:
        _ghosts.updates, _ghosts.skipped = [], []
    return status, headers, body


@patch("ghost_items", dynamodb, "_update_item")
def update_item(original: Any) -> Any:
    """An update that only removes leaves nothing where nothing was."""
    return lambda request: _without_ghosts(original, request, [request] if _only_removes(request) else [])


@patch("ghost_items", dynamodb, "_transact_write_items")
def transact_write_items(original: Any) -> Any:
    """So does one in a transaction."""

    def mended(request: Json) -> Answer:
        items = request.get("TransactItems")
        updates = [each.get("Update") for each in items if isinstance(each, dict)] if isinstance(items, list) else []
        return _without_ghosts(
            original, request, [each for each in updates if isinstance(each, dict) and _only_removes(each)]
        )

    return mended


@patch("ghost_items", dynamodb, "_set_item")
def set_item(original: Any) -> Any:
    """Stores no item of nothing."""

    def mended(table: Json, pk_value: Any, sk_value: Any, item: Json) -> Any:
        if _ghosts.updates and _ghosts.is_one(table, pk_value, sk_value):
            _ghosts.skipped.append(item)
            return None
        return original(table, pk_value, sk_value, item)

    return mended


@patch("ghost_items", dynamodb, "_emit_stream_event")
def emit(original: Any) -> Any:
    """Tells nobody of it."""

    def mended(table_name: str, event: str, old: Json | None, new: Json | None, replicate: bool = True) -> None:
        if not any(new is each for each in _ghosts.skipped):
            original(table_name, event, old, new, replicate)

    return mended


@patch("list_indexes", dynamodb, "_apply_remove")
def apply_remove(_original: Any) -> Any:
    """All indexes are of the list as it was: the last element goes first."""

    def mended(item: Json, tokens: Any, names: Any, updated: Any) -> None:
        paths = [path for part in dynamodb._split_by_comma(tokens) if (path := _path(part, names))]
        updated.update(map(tuple, paths))
        for path in paths:
            if len(path) > 1 and dynamodb._get_at_path(item, path[:-1]) is None:
                raise ValueError(_BAD_PATH)
        for path in sorted(paths, key=order_of, reverse=True):
            dynamodb._remove_at_path(item, path)

    return mended


def _path(tokens: Any, names: Any) -> list[Any]:
    path: list[Any] = dynamodb._parse_path_from_tokens(tokens, names)
    return path


@patch("list_indexes", dynamodb, "_apply_set")
def apply_set(original: Any) -> Any:
    """What is appended to a list stands in the order of the indexes named."""

    def mended(item: Json, tokens: Any, values: Any, names: Any, updated: Any) -> None:
        if sum(kind == "LBRACKET" for kind, _ in tokens) > 1:
            assignments = sorted(
                dynamodb._split_by_comma(tokens), key=lambda part: order_of(_path(part[: _end(part)], names))
            )
            tokens = [token for part in assignments for token in (*part, ("COMMA", ","))][:-1]
        original(item, tokens, values, names, updated)

    return mended


def _end(assignment: Any) -> int:
    return next((place for place, (kind, _) in enumerate(assignment) if kind == "EQ"), len(assignment))
