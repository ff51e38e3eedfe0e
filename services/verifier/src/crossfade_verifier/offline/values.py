"""Whether an attribute value of DynamoDB is the plain value of a file that a person brings."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from msgspec import Raw

from crossfade.core.values.errors import PoisonRecord
from crossfade_verifier.reading.values import number_of, value_of


def is_plainly(raw: Raw | None, plain: Any, *, text: bool = False) -> bool:
    """Say whether a value is what a file says.

    Args:
        raw: the attribute, raw; None where the row lacks it.
        plain: text, number, truth, bytes, list, mapping, or None where the file has nothing. A list may stand for a
            set, in any order; what a column can't hold (a map, a list, bytes as base64) may be text.
        text: whether all of the file's values are text, as in CSV: then text may stand for a number or a truth, and
            nothing for an empty string.
    """
    if raw is None:
        return plain is None
    try:
        kind, inner = value_of(raw)
        if plain is None:
            return kind == "NULL" or (text and inner == "")
        return _same(kind, inner, plain, text)
    except (PoisonRecord, ValueError, binascii.Error):
        return False


def _same(kind: str, inner: Any, plain: Any, text: bool) -> bool:
    if kind == "S":
        return not isinstance(plain, bool | int | float | Decimal | bytes | list | dict) and inner == str(plain)
    if kind == "N":
        return bool(_number(plain, text) == number_of(inner))
    if kind == "BOOL":
        return plain is inner or (text and isinstance(plain, str) and plain.lower() == str(inner).lower())
    if kind == "B":
        return bool(inner == (base64.b64decode(plain, validate=True) if isinstance(plain, str) else plain))
    if isinstance(plain, str):
        plain = json.loads(plain, parse_float=Decimal)
    if kind == "M":
        return (
            isinstance(plain, dict)
            and plain.keys() == inner.keys()
            and all(is_plainly(each, plain[name]) for name, each in inner.items())
        )
    return isinstance(plain, list | tuple) and _many(kind, inner, plain)


def _many(kind: str, inner: Sequence[Any], plain: Sequence[Any]) -> bool:
    if kind == "L":
        return len(inner) == len(plain) and all(map(is_plainly, inner, plain))
    match kind:
        case "SS":
            return sorted(inner) == sorted(map(str, plain))
        case "NS":
            return sorted(map(number_of, inner)) == sorted(_number(each, True) for each in plain)
        case "BS":
            given = (base64.b64decode(each, validate=True) if isinstance(each, str) else bytes(each) for each in plain)
            return sorted(inner) == sorted(given)
        case _:
            return False


def _number(plain: Any, text: bool) -> Any:
    """Return a number in its one form.

    Raises:
        ValueError: it isn't one.
    """
    if isinstance(plain, bool) or not isinstance(plain, int | float | Decimal | str) or (isinstance(plain, str) > text):
        raise ValueError(f"not a number: {type(plain).__name__}")
    return number_of(plain if isinstance(plain, str) else str(plain))
