"""Mapping a snapshot: one line of an export file to one line of an import file (design.md, section 3, Snapshot).

The source table is shared, so a row that doesn't belong must not leave it. What an imported row carries beside its
mapped attributes, the protocol says.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from crossfade.core.mapping.facts import why_inexact
from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import encode_image
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import Direction, Side


class _Line(msgspec.Struct, gc=False):
    Item: dict[str, Raw]


class Fate(Enum):
    """What became of a line."""

    MAPPED = "mapped"
    NOT_OURS = "not ours"  # belongs to somebody else's rows in the shared table
    EXCLUDED = "excluded"  # the operator left this key out
    UNMAPPABLE = "unmappable"  # it belongs, but can't be mapped: needs a human decision


class MappedLine(NamedTuple):
    """One line's outcome.

    Attributes:
        fate: what became of it.
        line: of the import file, without line end; empty unless mapped.
        key: the encoded key; empty when the line could not be read that far.
        reason: why it is unmappable; empty otherwise.
        standing: that the row carries from an earlier migration.
        inexact: which of its numbers the domain can't answer exactly, and why; empty when there is none. It is mapped.
    """

    fate: Fate
    line: bytes = b""
    key: Key = Key(b"")
    reason: str = ""
    standing: int = 0
    inexact: str = ""


_decode = msgspec.json.Decoder(_Line).decode
_NOT_OURS: Final = MappedLine(Fate.NOT_OURS)


class LineMapper:
    """Maps lines of one migration."""

    def __init__(self, mapping: Mapping, excluded: frozenset[Key] = frozenset()) -> None:
        """Take the mapping and the keys that the operator left out."""
        self._mapping = mapping
        self._excluded = excluded
        self._from = mapping.shape(Side.SOURCE).key
        self._shape = mapping.shape(Side.TARGET)

    def map_line(self, line: bytes) -> MappedLine:
        """Map one line, `{"Item": {…}}`."""
        try:
            image = _decode(line).Item
        except msgspec.MsgspecError as error:
            return MappedLine(Fate.UNMAPPABLE, reason=f"not an export line: {error}")
        try:
            key = encode_key(image, self._from)
        except PoisonRecord as error:
            return MappedLine(Fate.UNMAPPABLE, reason=str(error))
        if not self._mapping.belongs(key):
            return _NOT_OURS
        if key in self._excluded:
            return MappedLine(Fate.EXCLUDED, key=key)
        try:
            mapped = key_image(key, self._shape.key)
            mapped.update(self._mapping.carry(Direction.FORWARD, image))
            standing = self._mapping.protocol.imported(image, mapped)
        except PoisonRecord as error:
            return MappedLine(Fate.UNMAPPABLE, key=key, reason=str(error))
        encoded = encode_image(mapped)
        if cause := self._mapping.protocol.unfit_image(key, mapped, self._shape, encoded_bytes=len(encoded)):
            # ImportTable would leave out the row, and call the whole import failed.
            return MappedLine(Fate.UNMAPPABLE, key=key, reason=cause)
        inexact = why_inexact(self._mapping.wholes, image)
        return MappedLine(Fate.MAPPED, b'{"Item":%b}' % encoded, key, standing=standing, inexact=inexact)
