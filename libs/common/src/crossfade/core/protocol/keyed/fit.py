"""Whether a table can take an item: what DynamoDB would refuse for good, said before a key is sealed (ADR 0015).

A key whose other table refuses it has to be given back, which costs a fence and a second handover. So all that can be
known is asked here first: key and index key values, the item's size with the protocol attributes as they will stand,
and the expression, where the row may not be put whole.

Sources: Amazon DynamoDB developer guide, "Quotas" and "Item sizes and formats"; what a number costs and what a
standalone UpdateItem is charged for, to the byte, as measured by the paritysuite/dynamodb-conformance suite
(tests/tier3/limits, captured against the service in 2026).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec

from crossfade.core.protocol.keyed.item import Item, Role, build_image, generation_of, parse_item, version_of
from crossfade.core.protocol.keyed.perform import replaced
from crossfade.core.protocol.keyed.replacing import Replacement, activation, transferred
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.masking import described
from crossfade.core.values.numbers import normal_number
from crossfade.core.values.shape import TableShape

MAX_ITEM_BYTES: Final = 400 * 1024
"""Of one item, attribute names included."""

MAX_EXPRESSION_BYTES: Final = 4096
"""Of the text of one expression; names and values behind placeholders don't count."""

MAX_HASH_BYTES: Final = 2048
MAX_SORT_BYTES: Final = 1024

RESERVE_BYTES: Final = 64
"""Kept free in every item that is moved, so that a later seal, fence or give-back always fits: they may lengthen
`cf_gen` and `cf_mv` (20 bytes each at most) and leave a `cf_ttl` of 0 (7 bytes)."""

_UPDATE_BYTES, _SET_BYTES, _REMOVE_BYTES = 3, 19, 1
"""What a standalone UpdateItem is charged beside the names and values it writes: as such, a SET and a REMOVE. In most
regions that charge, too, has to stay within the size of an item."""


def unfit(key: Key, item: Item, shape: TableShape, *, standing: Item | None = None) -> str:
    """Say why a table would refuse, for good, to take a key over.

    Args:
        key: the encoded key.
        item: the owner's image, in the table's names; sealed already or about to be.
        shape: of the table that is to take over.
        standing: what stands there, as far as known: its unmapped attributes stay and count.

    Returns:
        The cause, for humans; empty when nothing speaks against it.
    """
    replacement = activation(item, shape, (name for name, _ in standing.content) if standing else ())
    content = replaced(standing.content if standing else (), item.content, shape)
    after = item._replace(role=Role.ACTIVE, version=version_of(item) + 1, content=content)
    return _why(key, build_image(after, shape, key_image(key, shape.key)), shape, replacement)


def unfit_transfer(transfer: Transfer, shape: TableShape, *, standing: Item | None = None) -> str:
    """Say why a table would refuse, for good, a state transfer.

    Args:
        transfer: the mapped image at its version.
        shape: of the table written to.
        standing: what stands there, as far as known.

    Returns:
        The cause, for humans; empty when nothing speaks against it.

    Raises:
        PoisonRecord: a protocol attribute of the image can't be read.
    """
    key = key_image(transfer.key, shape.key)
    found = None if standing is None else build_image(standing, shape, key)
    incoming = parse_item(transfer.image, shape)
    content = replaced(standing.content if standing else (), incoming.content, shape)
    generation = transfer.first_standing if standing is None else generation_of(standing)
    after = incoming._replace(version=transfer.version, role=Role.STANDBY, generation=generation, content=content)
    replacement = transferred(transfer, shape, found) if shape.attributes is None else None
    return _why(transfer.key, build_image(after, shape, key), shape, replacement)


def unfit_image(key: Key, image: Image, shape: TableShape, *, encoded_bytes: int) -> str:
    """Say why a table would refuse, for good, a row as it would stand there; empty when nothing speaks against it.

    Args:
        key: the encoded key.
        image: the row, key included.
        shape: of the table.
        encoded_bytes: length of the row as JSON, which spares counting small ones: no item's size exceeds it.
    """
    return _why(key, image, shape, None, encoded_bytes)


def too_long(expression: str) -> str:
    """Say why an expression is refused for its length; empty when it isn't."""
    size = _bytes(expression)
    if size <= MAX_EXPRESSION_BYTES:
        return ""
    return f"the update takes an expression of {size} bytes; DynamoDB allows {MAX_EXPRESSION_BYTES}"


def needs_put(replacement: Replacement) -> str:
    """Say why a replacement doesn't go as an UpdateItem; empty when it does."""
    if cause := too_long(replacement.expression()):
        return cause
    clauses = _SET_BYTES * len(replacement.sets) + sum(_REMOVE_BYTES + _bytes(name) for name in replacement.removes)
    if _longest(replacement.sets) + clauses <= MAX_ITEM_BYTES - _UPDATE_BYTES:
        return ""
    if (size := item_size(replacement.sets) + clauses + _UPDATE_BYTES) > MAX_ITEM_BYTES:
        return f"the update is charged as {size} bytes; DynamoDB allows {MAX_ITEM_BYTES}"
    return ""


def _why(key: Key, after: Image, shape: TableShape, replacement: Replacement | None, longest: int | None = None) -> str:
    try:
        if cause := _key_cause(key, shape) or (_index_cause(after, shape) if shape.index_keys else ""):
            return cause
        if (_longest(after) if longest is None else longest) > MAX_ITEM_BYTES - RESERVE_BYTES:
            size = item_size(after)
            if size > MAX_ITEM_BYTES - RESERVE_BYTES:
                return (
                    f"the item would have {size} bytes in {shape.table!r}; DynamoDB allows {MAX_ITEM_BYTES}, of which "
                    f"{RESERVE_BYTES} are kept for the protocol"
                )
        if replacement is not None and not shape.may_put and (cause := needs_put(replacement)):
            return f"{cause}, and a row of the shared table {shape.table!r} is never put whole"
    except PoisonRecord as error:
        return str(error)
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
    return sum(_bytes(name) + value_size(bytes(raw)) for name, raw in image.items())


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
            return _bytes(inner)
        case "N":
            return _number_size(inner)
        case "B":
            return len(base64.b64decode(inner, validate=True))
        case "BOOL" | "NULL":
            return 1
        case "SS":
            return sum(map(_bytes, inner))
        case "NS":
            return sum(map(_number_size, inner))
        case "BS":
            return sum(len(base64.b64decode(each, validate=True)) for each in inner)
        case "L":
            return 3 + sum(1 + _size(each) for each in inner)
        case "M":
            return 3 + sum(1 + _bytes(name) + _size(each) for name, each in inner.items())
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


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _longest(image: Image) -> int:
    """Return what an item's size can't exceed: JSON never spells a value in fewer bytes than DynamoDB counts."""
    return sum(_bytes(name) + len(bytes(raw)) for name, raw in image.items())
