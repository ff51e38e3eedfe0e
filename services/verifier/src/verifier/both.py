"""Both tables, seen in the names of the new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from crossfade.core.errors import PoisonRecord
from crossfade.core.fit import unfit
from crossfade.core.image import of_string
from crossfade.core.item import Item
from crossfade.core.keys import Key
from crossfade.core.mapping import Mapping as MigrationMapping
from crossfade.core.parity import Pair, owner_of
from crossfade.core.shape import Direction, Side
from crossfade.ports.table import OwnedTable

UNMAPPABLE: Final = "\x00unmappable"
"""Stands among the attributes of an item that can't be mapped, with the reason: it equals nothing on the other side."""


class BothTables:
    """Reads of either table; what comes from the legacy one is mapped."""

    def __init__(self, mapping: MigrationMapping, legacy: OwnedTable, new: OwnedTable) -> None:
        self.mapping = mapping
        self._tables: Mapping[Side, OwnedTable] = {Side.LEGACY: legacy, Side.NEW: new}

    def table(self, side: Side) -> OwnedTable:
        """Return a side's table, unmapped."""
        return self._tables[side]

    def seen(self, side: Side, item: Item) -> Item:
        """Return an item of a side in the names of the new table."""
        if side is Side.NEW:
            return item
        try:
            return self.mapping.map_item(Direction.FORWARD, item)
        except PoisonRecord as error:
            return item._replace(content=(*item.content, (UNMAPPABLE, bytes(of_string(str(error))))))

    async def read(self, side: Side, keys: Sequence[Key]) -> dict[Key, Item]:
        """Read items consistently; keys without one are missing in the result."""
        found = await self._tables[side].read_many(keys) if keys else {}
        return {key: self.seen(side, item) for key, item in found.items()}

    def why_refused(self, key: Key, pair: Pair) -> str:
        """Say why the other table refuses an owner's item, as far as it can be told beforehand; empty otherwise."""
        owner = owner_of(pair)
        item = None if owner is None else pair.of(owner)
        if owner is None or item is None:
            return ""
        if cause := why_unmappable(item):
            return cause
        target = owner.other
        standing = pair.of(target)
        if target is Side.LEGACY:  # everything here is in the names of the new table
            try:
                item = self.mapping.map_item(Direction.REVERSE, item)
            except PoisonRecord as error:
                return str(error)
            standing = None
        return unfit(key, item, self.mapping.shape(target), standing=standing)


def why_unmappable(item: Item | None) -> str:
    """Return why an item could not be mapped; empty when it could."""
    value = item.value(UNMAPPABLE) if item else None
    return "" if value is None else bytes(value)[6:-2].decode(errors="replace")
