"""Mapping a snapshot: one line of an export file to one line of an import file (design.md, section 3, Snapshot).

The source table is shared, so a row that doesn't belong must not leave it. What an imported row carries beside its
mapped attributes, the protocol says. Most lines need no decision and go the quick way
(`crossfade.core.mapping.lines`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from crossfade.core.mapping.facts import why_inexact
from crossfade.core.mapping.interface import Mapping
from crossfade.core.mapping.lines import key_reader, line_mapper
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import encode_image
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import Direction, IndexKey, Side


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


class MappedLines(NamedTuple):
    """The outcome of some lines.

    Attributes:
        text: of the import file: those that were mapped, in order, each with its line end.
        mapped: how many those are.
        not_ours: rows of somebody else.
        excluded: rows that the operator left out.
        standing: the highest that a row carries from an earlier migration.
        unmappable: those that can't be mapped, in order.
        inexact: those that were mapped and have a number that the domain can't answer exactly.
    """

    text: bytes
    mapped: int
    not_ours: int
    excluded: int
    standing: int
    unmappable: Sequence[MappedLine]
    inexact: Sequence[MappedLine]


_decode = msgspec.json.Decoder(_Line).decode
_NOT_OURS: Final = MappedLine(Fate.NOT_OURS)


class LineMapper:
    """Maps lines of one migration."""

    def __init__(
        self, mapping: Mapping, excluded: frozenset[Key] = frozenset(), index_keys: Sequence[IndexKey] = ()
    ) -> None:
        """Take the mapping.

        Args:
            mapping: of the migration.
            excluded: keys that the operator left out.
            index_keys: of the target table's indexes, where the mapping itself doesn't declare them.
        """
        self._mapping = mapping
        self._excluded = excluded
        self._from = mapping.shape(Side.SOURCE).key
        shape = mapping.shape(Side.TARGET)
        self._shape = shape._replace(index_keys=tuple(dict.fromkeys((*shape.index_keys, *index_keys))))
        self._read_key, self._quick = key_reader(mapping), line_mapper(mapping, self._shape.index_keys)

    def map_lines(self, lines: Iterable[bytes]) -> MappedLines:
        """Map some lines of an export file, without their line ends."""
        belongs, excluded, read_key, quick = self._mapping.belongs, self._excluded, self._read_key, self._quick
        texts: list[bytes] = []
        unmappable: list[MappedLine] = []
        inexact: list[MappedLine] = []
        not_ours = left_out = highest = 0
        for line in lines:
            key = read_key(line)
            if key is not None:
                if not belongs(key):
                    not_ours += 1
                    continue
                if quick is not None and key not in excluded and (found := quick(line)) is not None:
                    texts.append(found[0])
                    if found[1] > highest:
                        highest = found[1]
                    continue
            outcome = self.map_line(line)
            highest = max(highest, outcome.standing)
            match outcome.fate:
                case Fate.MAPPED:
                    texts.append(outcome.line + b"\n")
                    if outcome.inexact:
                        inexact.append(outcome)
                case Fate.NOT_OURS:
                    not_ours += 1
                case Fate.EXCLUDED:
                    left_out += 1
                case Fate.UNMAPPABLE:
                    unmappable.append(outcome)
        return MappedLines(b"".join(texts), len(texts), not_ours, left_out, highest, unmappable, inexact)

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
            there = self._mapping.other_key(Direction.FORWARD, key, image)
            if not self._mapping.belongs_at(Side.TARGET, there):
                raise PoisonRecord("its key in the target belongs to other rows than the mapping's")
            mapped = key_image(there, self._shape.key)
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
