"""Rows of a memory table as they stand: implements `crossfade.ports.raw_rows.RawRows`."""

from __future__ import annotations

from collections.abc import Sequence

from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.values.image import Image, decode_image
from crossfade.core.values.keys import encode_key


class MemoryRows:
    """`crossfade.ports.raw_rows.RawRows` in memory."""

    def __init__(self, table: MemoryTable) -> None:
        """Take the table."""
        self._table = table

    async def read(self, keys: Sequence[Image]) -> list[Image]:
        """Read rows."""
        names = self._table.shape.key
        wanted = [encode_key(key, names) for key in keys]
        return [self._table.images[key] for key in wanted if key in self._table.images]

    async def insert(self, row: bytes) -> Image | None:
        """Insert a row if there is none of its key."""
        image = decode_image(row)
        there = self._table.images.get(encode_key(image, self._table.shape.key))
        if there is None:
            self._table.put(image)
        return there
