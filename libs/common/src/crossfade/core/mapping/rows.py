"""Rows as people have them, made images: as boto3 gives them, by its resources or by its clients, or raw already.

| From | A row looks like |
|---|---|
| `boto3.resource("dynamodb").Table(…)` | `{"pk": "MEMBER#1", "bal": Decimal("12"), "photo": Binary(b"…")}` |
| `boto3.client("dynamodb")`, export files | `{"pk": {"S": "MEMBER#1"}, "bal": {"N": "12"}, "photo": {"B": b"…"}}` |
| Crossfade itself | `{"pk": Raw(b'{"S":"MEMBER#1"}'), …}` |
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Raw

from crossfade.core.values.errors import ConfigError
from crossfade.core.values.image import Image

_TAGS: Final[dict[str, type | tuple[type, ...]]] = {
    "S": str,
    "N": str,
    "B": (bytes, bytearray, str),
    "SS": (list, tuple, set, frozenset),
    "NS": (list, tuple, set, frozenset),
    "BS": (list, tuple, set, frozenset),
    "M": Mapping,
    "L": (list, tuple),
    "BOOL": bool,
    "NULL": bool,
}
"""DynamoDB's types, and how a client's answer holds a value of each."""

_SETS: Final[dict[type, str]] = {str: "SS", Decimal: "NS", int: "NS", bytes: "BS"}


def image_of_row(row: Mapping[str, Any]) -> Image:
    """Return a row as an image, whichever of the three forms it has.

    Args:
        row: a whole item, of one form: a row whose every value is typed is a client's.

    Raises:
        ConfigError: a value is none that DynamoDB gives; the message names the attribute and the cure.
    """
    if all(isinstance(value, Raw) for value in row.values()):
        return dict(row)
    read = _typed if all(map(_is_typed, row.values())) else _plain
    return {name: Raw(msgspec.json.encode(read(name, value))) for name, value in row.items()}


def _is_typed(value: object) -> bool:
    if not isinstance(value, Mapping) or len(value) != 1:
        return False
    ((tag, inner),) = value.items()
    return tag in _TAGS and isinstance(inner, _TAGS[tag])


def _typed(where: str, value: Any) -> dict[str, Any]:
    """Encode a value as a client gives it; its bytes become base64."""
    if not _is_typed(value):
        raise ConfigError(
            f"{where}: {_shown(value)} has no type; write {{'S': …}}, {{'N': …}} or another of DynamoDB's"
        )
    ((tag, inner),) = value.items()
    if tag == "M":
        return {"M": {name: _typed(f"{where}.{name}", each) for name, each in inner.items()}}
    if tag == "L":
        return {"L": [_typed(f"{where}[{at}]", each) for at, each in enumerate(inner)]}
    if tag == "B":
        return {"B": _base64(inner)}
    if tag in ("SS", "NS", "BS"):
        return {tag: _members(where, tag, inner)}
    if tag == "N":
        return {"N": _number(where, inner)}
    return {tag: inner}


def _plain(where: str, value: Any) -> dict[str, Any]:
    """Encode a value as a resource gives it."""
    match value:
        case bool():
            return {"BOOL": value}
        case None:
            return {"NULL": True}
        case str():
            return {"S": value}
        case int() | Decimal():
            return {"N": _number(where, value)}
        case set() | frozenset():
            kinds = {type(_unwrapped(each)) for each in value}
            tags = {_SETS.get(kind, "") for kind in kinds}
            if len(tags) != 1 or "" in tags:
                raise ConfigError(f"{where}: a set holds one or more strings, numbers (Decimal) or bytes, of one kind")
            return {tags.pop(): _members(where, _SETS[kinds.pop()], value)}
        case Mapping():
            return {"M": {name: _plain(f"{where}.{name}", each) for name, each in value.items()}}
        case list() | tuple():
            return {"L": [_plain(f"{where}[{at}]", each) for at, each in enumerate(value)]}
    if isinstance(unwrapped := _unwrapped(value), bytes):
        return {"B": _base64(unwrapped)}
    if isinstance(value, float):
        raise ConfigError(f"{where}: {value!r} is a float, which DynamoDB doesn't have; write Decimal('{value!r}')")
    if isinstance(value, Raw):
        raise ConfigError(f"{where}: is raw, other values of the row are not; give the whole row in one form")
    raise ConfigError(
        f"{where}: {_shown(value)} is not a DynamoDB value; give the row as boto3 reads it (str, Decimal, bytes, bool, "
        "None, list, dict, set)"
    )


def _members(where: str, tag: str, values: Any) -> list[str]:
    """Encode a set's members, in an order of their own: a set has none."""
    if not values:
        raise ConfigError(f"{where}: is an empty set, which DynamoDB doesn't have; leave the attribute out")
    members = [_unwrapped(each) for each in values]
    if tag == "NS":
        return sorted(_number(where, each) for each in members)
    if tag == "BS":
        return sorted(map(_base64, members))
    if not all(isinstance(each, str) for each in members):
        raise ConfigError(f"{where}: a set of strings (SS) holds strings only")
    return sorted(members)


def _number(where: str, value: Any) -> str:
    try:
        if isinstance(value, bool) or not Decimal(value).is_finite():
            raise ValueError(value)
    except (ArithmeticError, TypeError, ValueError):
        raise ConfigError(
            f"{where}: {_shown(value)} is not a DynamoDB number; write digits, as in '12' or '-0.5'"
        ) from None
    return str(value)


def _base64(value: bytes | bytearray | str) -> str:
    """Encode bytes; text is base64 already, as export files have it."""
    return value if isinstance(value, str) else base64.b64encode(value).decode()


def _unwrapped(value: Any) -> Any:
    """Return the bytes of boto3's Binary, which this library doesn't import; anything else as it is."""
    if isinstance(value, bytearray):
        return bytes(value)
    inner = getattr(value, "value", None)
    return bytes(inner) if type(value).__name__ == "Binary" and isinstance(inner, (bytes, bytearray)) else value


def _shown(value: object) -> str:
    """Show a value's kind and a little of it: rows may be long, and are people's."""
    return f"{type(value).__name__} {str(value)[:20]!r}"
