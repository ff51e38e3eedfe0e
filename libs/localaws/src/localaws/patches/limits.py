"""Limits of expressions and keys that ministack 1.5.33 doesn't keep.

`expression_operators`: expressions of any number of operators. `index_key_sizes`: keys of a secondary index
of any size. `hash_key_size`: a partition key that is too long is refused in the words of a sort key.
Expressions above 4 KB and items above 400 KB are refused by ministack as the service refuses them.

Source: Amazon DynamoDB developer guide, "Quotas" (300 operators or functions; `SET a = :x + :y + :z` has two);
messages as users of the service report them: aws/aws-sdk-js#3721, scylladb/scylladb#14473 (operators),
architect/dynalite#35 (index keys), ExtendDB/extenddb#194 (partition keys).
"""

from __future__ import annotations

from typing import Any

import ministack.services.dynamodb as dynamodb
from ministack.core.responses import error_response_json

from localaws.patches.registry import patch

MAX_OPERATORS = 300
MAX_BYTES = {"HASH": dynamodb._DDB_KEY_MAX_BYTES, "RANGE": dynamodb._DDB_SORT_KEY_MAX_BYTES}

_COMPARED = frozenset({"EQ", "NE", "LT", "LE", "GT", "GE"})
_COUNTED = frozenset({"AND", "OR", "NOT", "IN", "BETWEEN"})
_SHORTEST = 3
"""Characters that an operator takes at least, with an operand: `a<b` has one in three."""


def operators(expression: str, *, compares: bool) -> int:
    """Count the operators and functions of an expression.

    Args:
        expression: its text.
        compares: whether it is a condition; in an update, `=` only assigns.
    """
    count, between = 0, False
    tokens = dynamodb._tokenize(expression)
    for number, (kind, text) in enumerate(tokens):
        word = text.upper() if kind == "IDENT" else ""
        if kind in ("PLUS", "MINUS") or (compares and kind in _COMPARED):
            count += 1
        elif compares and word in _COUNTED:
            count += not (between and word == "AND")  # the AND of a BETWEEN is part of it
            between = word == "BETWEEN"
        elif kind == "IDENT" and number + 1 < len(tokens) and tokens[number + 1][0] == "LPAREN":
            count += 1
    return count


@patch("expression_operators", dynamodb, "_expression_size_error")
def expression_error(original: Any) -> Any:
    """The sizes first, then the operators of each expression."""

    def mended(data: Any, fields: Any, wording: Any = "figure") -> Any:
        refusal = original(data, fields, wording)
        if refusal:
            return refusal
        for field in fields:
            text = data.get(field)
            if not isinstance(text, str) or len(text) < MAX_OPERATORS * _SHORTEST:
                continue
            if operators(text, compares=field != "UpdateExpression") > MAX_OPERATORS:
                message = (
                    f"Invalid {field}: The expression contains too many operators; operator count: {MAX_OPERATORS + 1}"
                )
                return error_response_json("ValidationException", message, 400)
        return None

    return mended


@patch("index_key_sizes", dynamodb, "_index_key_type_reason")
def index_key_reason(original: Any) -> Any:
    """The types first, then the sizes of the keys of each index."""

    def mended(table: Any, item: Any) -> Any:
        reason = original(table, item)
        if reason:
            return reason
        for index in (table.get("GlobalSecondaryIndexes") or []) + (table.get("LocalSecondaryIndexes") or []):
            for part in index.get("KeySchema") or []:
                name, most = part["AttributeName"], MAX_BYTES[part["KeyType"]]
                size = dynamodb._attribute_value_size(item[name]) if name in item else 0
                if size > most:
                    return (
                        f"One or more parameter values were invalid: Size limit exceeded for Index Key {name} "
                        f"Actual Size: {size} bytes Max Size: {most} bytes IndexName: {index.get('IndexName')}"
                    )
        return None

    return mended


@patch("hash_key_size", dynamodb, "_key_length_error")
def key_length(original: Any) -> Any:
    """The service has other words for a partition key than for a sort key, without a space before the number."""

    def mended(item: Any, pk_name: Any, sk_name: Any) -> Any:
        if original(item, pk_name, None):
            message = (
                "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 "
                "bytes"
            )
            return error_response_json("ValidationException", message, 400)
        return original(item, None, sk_name)

    return mended
