"""The same answers with less work: what the hot path of ministack 1.5.33 does over and over.

Nothing here changes what a request does: libs/localaws/tests/test_localaws_speed.py holds each to its original.
Found by profile of UpdateItem, BatchExecuteStatement, PutItem and GetRecords.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import ministack.services._dynamodb_keywords as keywords
import ministack.services.dynamodb as dynamodb
import ministack.services.kinesis as kinesis
import msgspec
from ministack.core.responses import JSON_1_0_CONTENT_TYPE

from localaws.patches.registry import patch

Json = dict[str, Any]

_encode = msgspec.json.Encoder().encode

EXPRESSIONS = 4096  # different texts kept; a client has a few dozen
LONGEST_PLAIN_NUMBER = 38


def copied(value: Any) -> Any:
    """Return a deep copy of a JSON value; six times as fast as `copy.deepcopy`, which also knows all the rest."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is dict:
        return {name: copied(each) for name, each in value.items()}
    if kind is list:
        return [copied(each) for each in value]
    return copy.deepcopy(value)


class Copies:
    """Stands in for the module `copy` in ministack's DynamoDB.

    An UpdateItem copies its item four times. Stored values are never changed in place, except along a
    document path of more than one step, so while `shallow` is set a copy of the item's top level does.
    """

    def __init__(self) -> None:
        """Copy in depth."""
        self.shallow = False

    def deepcopy(self, value: Any) -> Any:
        """Return a copy that the caller may change as far as it does."""
        return dict(value) if self.shallow and type(value) is dict else copied(value)

    copy = staticmethod(copy.copy)


copies = Copies()


@patch("fast_copies", dynamodb, "copy")
def fast_copies(_original: Any) -> Any:
    """All copies of the module."""
    return copies


@patch("fast_copies", dynamodb, "_update_item")
def shallow_update(original: Any) -> Any:
    """Copies only the top level of the item that is updated."""

    def mended(request: Json) -> Any:
        copies.shallow = True
        try:
            return original(request)
        finally:
            copies.shallow = False

    return mended


@patch("fast_copies", dynamodb, "_apply_update_expression")
def deep_where_needed(original: Any) -> Any:
    """An expression with a path of several steps changes values in place, and gets copies of its own."""

    def mended(item: Json, expression: str, *rest: Any) -> Any:
        if "." not in expression and "[" not in expression:
            return original(item, expression, *rest)
        before, copies.shallow = copies.shallow, False
        try:
            return original(item, expression, *rest)
        finally:
            copies.shallow = before

    return mended


def _json_response(shown: Any, status: int = 200, *, content_type: str = JSON_1_0_CONTENT_TYPE) -> Any:
    """Answers as the service writes them, without spaces."""
    return status, {"Content-Type": content_type}, _encode(shown)


def compact_json(_original: Any) -> Any:
    """All answers of a module."""
    return _json_response


def remembered(original: Any) -> Any:
    """Remember the answers of a function of a text (an expression, a statement, an ARN); nobody changes one."""
    return lru_cache(maxsize=EXPRESSIONS)(original)


for _service in (dynamodb, kinesis):
    patch("compact_json", _service, "json_response")(compact_json)
for _owner, _name in (
    (dynamodb, "_tokenize"),
    (dynamodb, "_condition_syntax_error"),
    (keywords, "_tokenize"),
    (kinesis, "parse_arn"),
):
    patch("remembered_expressions", _owner, _name)(remembered)


def _plain(text: Any) -> bool:
    """Say whether a number is a whole one in the form that DynamoDB stores; most are."""
    return (
        type(text) is str
        and text.isdigit()
        and text.isascii()
        and (text[0] != "0" or len(text) == 1)
        and len(text) <= LONGEST_PLAIN_NUMBER
    )


@patch("fast_numbers", dynamodb, "_ddb_canonicalize_number")
def canonical_number(original: Any) -> Any:
    """A plain number is its own canonical form."""
    return lambda text: text if _plain(text) else original(text)


def no_error(original: Any) -> Any:
    """A plain number is right, as a parameter, too."""
    return lambda text: None if _plain(text) else original(text)


for _name in ("_number_error", "_partiql_number_param_error"):
    patch("fast_numbers", dynamodb, _name)(no_error)


@patch("fast_numbers", dynamodb, "_number_size_bytes")
def number_size(original: Any) -> Any:
    """A plain number takes a byte per pair of digits, counted from the point, without trailing zeros, plus one."""

    def mended(text: Any) -> int:
        if not _plain(text):
            return int(original(text))
        digits = len(text.rstrip("0"))
        if digits == 0:
            return 1
        return 1 + (digits + (len(text) - digits) % 2 + 1) // 2

    return mended


def _binary_size_bytes(text: str) -> int:
    """Return how many bytes a base64 text stands for, or several in a row: each has a length of four times n."""
    return len(text) // 4 * 3 - text.count("=")


@patch("fast_sizes", dynamodb, "_attribute_value_size")
def fast_sizes(original: Any) -> Any:
    """Sizes without decoding what is binary; the size of an item is asked for three times in an UpdateItem."""

    def size(value: Any) -> int:
        if type(value) is not dict or len(value) != 1:
            return int(original(value))
        ((kind, inner),) = value.items()
        if kind == "S":
            return len(inner) if inner.isascii() else len(inner.encode())
        if kind == "N":
            return int(dynamodb._number_size_bytes(inner))
        if kind == "B":
            return _binary_size_bytes(inner)
        if kind == "BS":
            return _binary_size_bytes("".join(inner))
        if kind == "L":
            return 3 + sum([1 + size(each) for each in inner])
        if kind == "M":
            return 3 + sum([1 + len(name.encode()) + size(each) for name, each in inner.items()])
        return int(original(value))

    return size


@patch("fast_sizes", dynamodb, "_item_size_bytes")
def item_size(original: Any) -> Any:
    """The sum of the sizes of names and values."""

    def mended(item: Any) -> int:
        if type(item) is not dict:
            return int(original(item))
        size: Callable[[Any], int] = dynamodb._attribute_value_size
        names = "".join(item)
        return (len(names) if names.isascii() else len(names.encode())) + sum(map(size, item.values()))

    return mended


@patch("fast_sizes", dynamodb, "_update_request_charge")
def update_charge(original: Any) -> Any:
    """The charge of an update matters from 400 KB on: no text that is short by far needs to be counted."""

    def mended(expression: str, values: Json | None, names: Json | None, item: Json) -> int:
        tokens = len(dynamodb._tokenize(expression))
        longest = max((len(name) for name in (names or {}).values()), default=0) + len(expression) + 100
        sizes = max((dynamodb._attribute_value_size(each) for each in (values or {}).values()), default=0)
        bound = 3 + tokens * (longest + sizes)
        return bound if bound <= dynamodb._DDB_ITEM_MAX_BYTES else int(original(expression, values, names, item))

    return mended


def _valid(value: Any, depth: int) -> bool:
    """Say whether an attribute value is certainly valid and canonical; a False decides nothing."""
    if type(value) is not dict or len(value) != 1 or depth > 30:
        return False
    ((kind, inner),) = value.items()
    if kind in ("S", "B"):
        return type(inner) is str
    if kind == "N":
        return _plain(inner)
    if kind == "BOOL":
        return type(inner) is bool
    if kind in ("BS", "SS"):
        return (
            type(inner) is list and bool(inner) and all(type(e) is str for e in inner) and len(set(inner)) == len(inner)
        )
    if kind == "L":
        return type(inner) is list and all(_valid(each, depth + 1) for each in inner)
    if kind == "M":
        return type(inner) is dict and all(_valid(each, depth + 1) for each in inner.values())
    return False


@patch("fast_checks", dynamodb, "_validate_attribute_value")
def validate_value(original: Any) -> Any:
    """What is certainly valid needs no search for what is wrong."""

    def mended(name: str, value: Any, depth: int = 1) -> Any:
        return None if _valid(value, depth) else original(name, value, depth)

    return mended


@patch("fast_checks", dynamodb, "_attribute_value_error")
def value_error(original: Any) -> Any:
    """What is certainly valid has no first error."""
    return lambda value: None if _valid(value, 1) else original(value)


@patch("fast_checks", dynamodb, "_nesting_level")
def nesting_level(original: Any) -> Any:
    """The level of a value without parts is its own."""

    def mended(value: Any, depth: int = 1) -> int:
        if type(value) is dict and len(value) == 1 and "M" not in value and "L" not in value:
            return depth
        return cast(int, original(value, depth))

    return mended


@patch("fast_checks", dynamodb, "_partiql_parameter_error")
def partiql_parameter_error(original: Any) -> Any:
    """What is certainly valid is no wrong parameter."""
    return lambda value, level=1: None if level == 1 and _valid(value, 1) else original(value, level)
