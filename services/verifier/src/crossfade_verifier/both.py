"""Both tables, seen in the names of the new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from crossfade.core.mapping.copies import GIVEN_BACK, why_not
from crossfade.core.mapping.interface import Mapping as MigrationMapping
from crossfade.core.parity.classes import Pair
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import RowReader
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import of_string
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.table import RowTable

UNMAPPABLE: Final = "\x00unmappable"
"""Stands among the attributes of an item that can't be mapped, with the reason: it equals nothing on the other side."""


class BothTables:
    """Reads of either table; what comes from the source is mapped."""

    def __init__(self, mapping: MigrationMapping, source: RowTable, target: RowTable) -> None:
        self.mapping = mapping
        self.readers = {side: mapping.protocol.reader(mapping.shape(side)) for side in Side}
        self._tables: Mapping[Side, RowTable] = {Side.SOURCE: source, Side.TARGET: target}

    def table(self, side: Side) -> RowTable:
        """Return a side's table, unmapped."""
        return self._tables[side]

    def rows(self, *, complete: bool = False) -> RowReader:
        """Return what reads rows, as the flag document says."""
        return self.mapping.protocol.rows(complete=complete)

    def seen(self, side: Side, item: Row) -> Row:
        """Return an item of a side in the names of the target table."""
        if side is Side.TARGET:
            return item
        try:
            return self.mapping.map_item(Direction.FORWARD, item)
        except PoisonRecord as error:
            return item.holding((*item.content, (UNMAPPABLE, bytes(of_string(str(error))))))

    async def read(self, side: Side, keys: Sequence[Key]) -> dict[Key, Row]:
        """Read items consistently; keys without one are missing in the result."""
        found = await self._tables[side].read_many(keys) if keys else {}
        return {key: self.seen(side, item) for key, item in found.items()}

    def why_refused(self, key: Key, pair: Pair) -> str:
        """Say why the other table has not got an owner's item, and won't get it; empty when nothing tells so."""
        rows = self.rows()
        owner = rows.owner_of(*pair)
        item = None if owner is None else pair.of(owner)
        if owner is None or item is None:
            return ""
        cause = (
            why_unmappable(item)
            or self.mapping.protocol.unfit(key, item, self.mapping.shape(Side.TARGET), standing=pair.target)
            if owner is Side.SOURCE  # everything here is in the names of the target table
            else why_not(self.mapping, key, Side.SOURCE, item)
        )
        return cause or (GIVEN_BACK if rows.is_held_out(item) else "")


def why_unmappable(item: Row | None) -> str:
    """Return why an item could not be mapped; empty when it could."""
    value = item.value(UNMAPPABLE) if item else None
    return "" if value is None else bytes(value)[6:-2].decode(errors="replace")
