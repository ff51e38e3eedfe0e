"""Whether a table can take an item: what DynamoDB would refuse for good, said before a key is sealed (ADR 0015).

A key whose other table refuses it has to be given back, which costs a fence and a second handover. So all that can be
known is asked here first: key and index key values, the item's size with the protocol attributes as they will stand,
and the expression, where the row may not be put whole.

What a standalone UpdateItem is charged for is, to the byte, as measured by the paritysuite/dynamodb-conformance suite
(tests/tier3/limits, captured against the service in 2026).
"""

from __future__ import annotations

from typing import Final

from crossfade.core.protocol.keyed.item import Item, Role, build_image, generation_of, parse_item, version_of
from crossfade.core.protocol.keyed.perform import replaced
from crossfade.core.protocol.keyed.replacing import Replacement, activation, transferred
from crossfade.core.protocol.limits import MAX_ITEM_BYTES, bytes_of, item_size, longest, why_refused
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import TableShape

MAX_EXPRESSION_BYTES: Final = 4096
"""Of the text of one expression; names and values behind placeholders don't count."""

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
    size = bytes_of(expression)
    if size <= MAX_EXPRESSION_BYTES:
        return ""
    return f"the update takes an expression of {size} bytes; DynamoDB allows {MAX_EXPRESSION_BYTES}"


def needs_put(replacement: Replacement) -> str:
    """Say why a replacement doesn't go as an UpdateItem; empty when it does."""
    if cause := too_long(replacement.expression()):
        return cause
    clauses = _SET_BYTES * len(replacement.sets) + sum(_REMOVE_BYTES + bytes_of(name) for name in replacement.removes)
    if longest(replacement.sets) + clauses <= MAX_ITEM_BYTES - _UPDATE_BYTES:
        return ""
    if (size := item_size(replacement.sets) + clauses + _UPDATE_BYTES) > MAX_ITEM_BYTES:
        return f"the update is charged as {size} bytes; DynamoDB allows {MAX_ITEM_BYTES}"
    return ""


def _why(
    key: Key, after: Image, shape: TableShape, replacement: Replacement | None, encoded_bytes: int | None = None
) -> str:
    try:
        if cause := why_refused(key, after, shape, reserve_bytes=RESERVE_BYTES, encoded_bytes=encoded_bytes):
            return cause
        if replacement is not None and not shape.may_put and (cause := needs_put(replacement)):
            return f"{cause}, and a row of the shared table {shape.table!r} is never put whole"
    except PoisonRecord as error:
        return str(error)
    return ""
