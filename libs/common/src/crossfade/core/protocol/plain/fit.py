"""Whether a table takes a row, and whether it takes it with a fence (ADR 0043).

A standby's row is its owner's and some 25 bytes. One that fits without them only is *wide*: nothing writes it before
the hold, it is listed instead, and the compare of a flip copies it as it is.
"""

from __future__ import annotations

from typing import Final

from crossfade.core.protocol.limits import MAX_ITEM_BYTES, item_size, longest, why_refused
from crossfade.core.protocol.plain.rows import MV, PlainRow, build
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import TableShape

WIDEST: Final = 10**19 - 1
"""No version is longer: commit times have 16 digits until the year 2286."""

FENCE_BYTES: Final = item_size({MV: wire.of_number(WIDEST)})
"""What a fence adds to a row at most."""


def unfit(key: Key, item: PlainRow, shape: TableShape, *, standing: PlainRow | None = None) -> str:
    """Say why a table would refuse a row for good; empty when nothing speaks against it. A row is always put whole."""
    del standing
    return unfit_image(key, build(item, key_image(key, shape.key)), shape)


def unfit_image(key: Key, image: Image, shape: TableShape, *, encoded_bytes: int | None = None) -> str:
    """Say the same of a row as it would stand there, key included."""
    try:
        return why_refused(key, image, shape, encoded_bytes=encoded_bytes)
    except PoisonRecord as error:
        return str(error)


def unfit_transfer(transfer: Transfer, shape: TableShape, *, standing: PlainRow | None = None) -> str:
    """Say the same of a transfer's image. A row that is only too wide for its fence is not refused: ask `is_wide`."""
    del standing
    return unfit_image(transfer.key, key_image(transfer.key, shape.key) | transfer.image, shape)


def is_wide(key: Key, image: Image, shape: TableShape) -> bool:
    """Say whether a row fits, but not with a fence.

    Args:
        key: the encoded key.
        image: the mapped attributes, with or without the key, without a fence.
        shape: of the table.

    Raises:
        PoisonRecord: a value is none of DynamoDB's.
    """
    whole = key_image(key, shape.key) | image
    most = MAX_ITEM_BYTES - FENCE_BYTES
    return longest(whole) > most and most < item_size(whole) <= MAX_ITEM_BYTES
