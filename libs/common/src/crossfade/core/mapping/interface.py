"""What every mapping offers; the rules a mapping is made of are in `crossfade.core.mapping.rules`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from crossfade.core.protocol.row import RowT
from crossfade.core.protocol.seam import WriterProtocol
from crossfade.core.values.declared import Declared
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, Side, TableShape


class Mapping(Protocol):
    """One migration's mapping, in both directions (design.md, section 3, rule 9)."""

    @property
    def name(self) -> str:
        """Name of the migration: part of control table names and Redis marks."""
        ...

    @property
    def protocol(self) -> WriterProtocol:
        """How the writers of both tables keep each key in one place."""
        ...

    @property
    def wholes(self) -> Sequence[str]:
        """Attributes, in the origin's names, that the domain answers as integers of 64 bits; see `facts`."""
        ...

    @property
    def declared(self) -> Declared:
        """What it declares of its attributes, keys and rows, for whoever checks it by another route."""
        ...

    def shape(self, side: Side) -> TableShape:
        """Return what the table of a side looks like."""
        ...

    def belongs(self, key: Key) -> bool:
        """Say whether a row belongs to the migration. The key alone decides, so that a REMOVE can be told, too."""
        ...

    def belongs_at(self, side: Side, key: Key) -> bool:
        """Say whether a row of a side belongs, by its own table's key; `belongs` asks for the source's."""
        ...

    def other_key(self, direction: Direction, key: Key, image: Image | None) -> Key:
        """Return the key of a row on the other side.

        Args:
            direction: from the row's side to the other.
            key: of the row, in its own table.
            image: the row, with its key, before or after a change; only REVERSE ever needs it, and only under a mapping
                whose target keeps the source's key in attributes.

        Raises:
            PoisonRecord: there is none: the key can't be computed, or the row has no way back.
        """
        ...

    def is_anothers(self, image: Image, mapped: Image) -> bool:
        """Say whether a row of the target keeps the key of another source row than a mapped one: then the mapped one is
        parked, put or tombstone, and never written over it.

        Args:
            image: the row as it stands there.
            mapped: what `carry` made of the source's row.
        """
        ...

    def carry(self, direction: Direction, image: Image) -> Image:
        """Map a origin row for a transfer: mapped attributes in the destination's names, and what the protocol carries.

        Under the keyed protocol a TTL value travels as `cf_ttl`. No key, `cf_mv`, `cf_role` or `cf_gen` in the result.
        A tombstone or stub carries no mapped attribute. Values that are kept or renamed are the same `Raw` objects.

        Raises:
            PoisonRecord: a closed mapping doesn't know an attribute, or a computed one can't be computed.
        """
        ...

    def map_item(self, direction: Direction, item: RowT) -> RowT:
        """Map a decoded item: content in the destination's names, everything else as it is.

        Raises:
            PoisonRecord: as `carry`.
        """
        ...
