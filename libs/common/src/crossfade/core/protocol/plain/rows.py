"""A row under the plain protocol: its content, and on a standby the fence or the tombstone that Crossfade wrote.

Whether a row is an owner's or a standby's, no row tells: the map does. So an owner's row is read twice over: `parse`
tells what stands there, and `owned` what of it is the application's. On an owner nothing of Crossfade's means anything
(an application may put back a row that it read when the table was the standby), but a row that is nothing else than a
tombstone is one that a purge has yet to take.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

from msgspec import Raw

from crossfade.core.protocol.row import canonical_content, same_content
from crossfade.core.protocol.seam import Spelling
from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import PROTOCOL_PREFIX, Image
from crossfade.core.values.shape import TableShape

MV: Final = "cf_mv"
DELETED: Final = "cf_deleted"

MARKER: Final = "cf_marker"
"""What the controller writes into the canary's row on the owner: it never travels."""

LEFT_BEHIND: Final = ("cf_role", "cf_gen", "cf_recent", "cf_floor", "cf_events", "cf_emv", "cf_ttl")
"""What a migration under the keyed protocol wrote, for rows that `crossfade clean` hasn't come to."""

SPELLING: Final = Spelling(MV, (DELETED,), DELETED, ttl="", ignored=(MV, DELETED, MARKER, *LEFT_BEHIND))

TOMBSTONE: Final = wire.of_boolean(True)


class PlainRow(NamedTuple):
    """One row. The value of a TTL attribute is content, as any other.

    Attributes:
        version: `cf_mv`; None when there is none.
        deleted: `cf_deleted`: on a standby, a tombstone.
        content: the attributes (no key, none of Crossfade's) as sorted (name, raw value) pairs.
        ttl: always empty, see above; every row has it.
    """

    version: int | None = None
    deleted: bool = False
    content: tuple[tuple[str, bytes], ...] = ()
    ttl: bytes = b""

    def value(self, name: str) -> Raw | None:
        """Return one attribute, None when the row lacks it."""
        for each, raw in self.content:
            if each == name:
                return Raw(raw)
        return None

    def holding(self, content: tuple[tuple[str, bytes], ...]) -> PlainRow:
        """See `crossfade.core.protocol.row.Row`."""
        return self._replace(content=content)

    def at(self, version: int) -> PlainRow:
        """See `crossfade.core.protocol.row.Row`."""
        return self._replace(version=version)


def parse(image: Image, shape: TableShape) -> PlainRow:
    """Read a row of a table as it stands there.

    Raises:
        PoisonRecord: the fence is no integer, or the tombstone's mark no boolean.
    """
    key = shape.key
    content = [
        (name, bytes(raw)) for name, raw in image.items() if name not in key and not name.startswith(PROTOCOL_PREFIX)
    ]
    content.sort()
    return PlainRow(fence_of(image), is_marked(image), tuple(content))


def build(row: PlainRow, key: Image) -> Image:
    """Return a row as it stands in its table; the inverse of `parse`."""
    image = dict(key)
    if row.deleted:
        image[DELETED] = TOMBSTONE
    else:
        image |= {name: Raw(raw) for name, raw in row.content}
    if row.version is not None:
        image[MV] = wire.of_number(row.version)
    return image


def owned(row: PlainRow | None) -> PlainRow | None:
    """Return what of an owner's row is the application's; None when there is nothing for it."""
    if row is None or (row.deleted and not row.content):
        return None
    return PlainRow(content=row.content)


def standing(row: PlainRow | None) -> PlainRow | None:
    """Return what a standby's row stands for; None for a tombstone as for nothing."""
    return None if row is None or row.deleted else row


def same(one: PlainRow | None, other: PlainRow | None) -> bool:
    """Say whether two rows, each from `owned` or `standing` and in the names of one side, hold the same.

    Raises:
        PoisonRecord: a value is not an attribute value.
    """
    if one is None or other is None:
        return one is other
    return same_content(one, other)


def fence_of(image: Image) -> int | None:
    """Return the fence of an image; None when there is none.

    Raises:
        PoisonRecord: it is no integer.
    """
    raw = image.get(MV)
    return None if raw is None else wire.number(raw)


def is_marked(image: Image) -> bool:
    """Say whether an image has the tombstone's mark.

    Raises:
        PoisonRecord: the mark is no boolean.
    """
    raw = image.get(DELETED)
    return raw is not None and wire.boolean(raw)


def is_tombstone(image: Image, shape: TableShape) -> bool:
    """Say whether an image of a table is a tombstone and nothing else: the mark, and no content.

    Raises:
        PoisonRecord: the mark is no boolean.
    """
    if not is_marked(image):
        return False
    return all(name in shape.key or name.startswith(PROTOCOL_PREFIX) for name in image)


def digest(row: PlainRow) -> bytes:
    """Return 16 bytes over what an owner's and a standby's row have in common."""
    try:
        content = canonical_content(row)
    except PoisonRecord:
        content = repr(row.content).encode()
    return blake2b(content, digest_size=16).digest()
