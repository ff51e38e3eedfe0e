"""What DynamoDB refuses for good, whatever stands there: the limits of keys, index keys and items.

Sources: Amazon DynamoDB developer guide, "Quotas" and "Item sizes and formats"; what a number costs, to the byte, as
measured by the paritysuite/dynamodb-conformance suite (tests/tier3/limits, captured against the service in 2026).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec

from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.masking import described
from crossfade.core.values.numbers import normal_number
from crossfade.core.values.shape import TableShape

MAX_ITEM_BYTES: Final = 400 * 1024
"""Of one item, attribute names included."""

MAX_HASH_BYTES: Final = 2048
MAX_SORT_BYTES: Final = 1024


def why_refused(
    key: Key, image: Image, shape: TableShape, *, reserve_bytes: int = 0, encoded_bytes: int | None = None
) -> str:
    """Say why a table would refuse, for good, a row as it would stand there; empty when nothing speaks against it.

    Args:
        key: the encoded key.
        image: the row, key included.
        shape: of the table.
        reserve_bytes: kept free in every item.
        encoded_bytes: length of the row as JSON, if known, which spares counting small ones: no item's size exceeds it.

    Raises:
        PoisonRecord: a value is none of DynamoDB's.
    """
    if cause := _key_cause(key, shape) or (_index_cause(image, shape) if shape.index_keys else ""):
        return cause
    most = MAX_ITEM_BYTES - reserve_bytes
    if (longest(image) if encoded_bytes is None else encoded_bytes) > most and (size := item_size(image)) > most:
        kept = f", of which {reserve_bytes} are kept for the protocol" if reserve_bytes else ""
        return f"the item would have {size} bytes in {shape.table!r}; DynamoDB allows {MAX_ITEM_BYTES}{kept}"
    return ""


def _key_cause(key: Key, shape: TableShape) -> str:
    if len(key) <= MAX_SORT_BYTES and key.find(b'""') < 0:
        return ""
    for name, value, most in zip(
        shape.key, key_image(key, shape.key).values(), (MAX_HASH_BYTES, MAX_SORT_BYTES), strict=False
    ):
        if cause := _value_cause(bytes(value), most):
            return f"key attribute {name!r} of {shape.table!r} {cause}"
    return ""


def _index_cause(image: Image, shape: TableShape) -> str:
    for name, kind, sorts in shape.index_keys:
        raw = image.get(name)
        if raw is None:
            continue  # such an item simply is not in the index
        if (found := next(iter(_decoded(bytes(raw))))) != kind:
            return f"attribute {name!r} is a key of an index of {shape.table!r} and has to be {kind}; it is {found}"
        if cause := _value_cause(bytes(raw), MAX_SORT_BYTES if sorts else MAX_HASH_BYTES):
            return f"attribute {name!r}, a key of an index of {shape.table!r}, {cause}"
    return ""


def _value_cause(raw: bytes, most: int) -> str:
    kind = next(iter(_decoded(raw)))
    size = value_size(raw)
    if kind in ("S", "B") and not size:
        return "is empty"
    return f"has {size} bytes; DynamoDB allows {most}" if size > most else ""


def item_size(image: Image) -> int:
    """Return the size of an item in bytes, as DynamoDB counts it.

    Raises:
        PoisonRecord: a value is none of DynamoDB's.
    """
    return sum(bytes_of(name) + value_size(bytes(raw)) for name, raw in image.items())


def value_size(raw: bytes) -> int:
    """Return the size of one attribute value in bytes, as DynamoDB counts it.

    Raises:
        PoisonRecord: it is none of DynamoDB's.
    """
    try:
        return _size(_decoded(raw))
    except (TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise PoisonRecord(f"not an attribute value: {described(raw)}") from error


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(raw)
    except msgspec.MsgspecError as error:
        raise PoisonRecord(f"not an attribute value: {described(raw)}") from error
    if not isinstance(decoded, dict) or len(decoded) != 1:
        raise PoisonRecord(f"not an attribute value: {described(raw)}")
    return decoded


def _size(value: dict[str, Any]) -> int:
    ((kind, inner),) = value.items()
    match kind:
        case "S":
            return bytes_of(inner)
        case "N":
            return _number_size(inner)
        case "B":
            return len(base64.b64decode(inner, validate=True))
        case "BOOL" | "NULL":
            return 1
        case "SS":
            return sum(map(bytes_of, inner))
        case "NS":
            return sum(map(_number_size, inner))
        case "BS":
            return sum(len(base64.b64decode(each, validate=True)) for each in inner)
        case "L":
            return 3 + sum(1 + _size(each) for each in inner)
        case "M":
            return 3 + sum(1 + bytes_of(name) + _size(each) for name, each in inner.items())
    raise ValueError(kind)


def _number_size(text: str) -> int:
    """A byte for each pair of digits, counted from the point, without zeros at either end; one more, two if negative.

    The documented "one byte per two significant digits plus one" is a byte short where the digits straddle the point.
    """
    normal = normal_number(text)
    whole, _, fraction = normal.lstrip("-").partition(".")
    pairs = whole.zfill(len(whole) + len(whole) % 2) + fraction.ljust(len(fraction) + len(fraction) % 2, "0")
    first, last = 0, len(pairs)
    while first < last and pairs[first : first + 2] == "00":
        first += 2
    while first < last and pairs[last - 2 : last] == "00":
        last -= 2
    return 1 + (last - first) // 2 + normal.startswith("-")


def bytes_of(text: str) -> int:
    """Return the bytes of a text as DynamoDB counts them, in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def longest(image: Image) -> int:
    """Return what an item's size can't exceed: JSON never spells a value in fewer bytes than DynamoDB counts."""
    return sum(bytes_of(name) + len(bytes(raw)) for name, raw in image.items())
