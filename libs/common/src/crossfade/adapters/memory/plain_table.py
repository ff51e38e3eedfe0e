"""A table of the plain protocol in memory: whole rows, conditional writes, and the change records of a real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.ownership.ramp import ramp_point
from crossfade.core.protocol.plain.rows import fence_of, is_marked
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, encode_key
from crossfade.core.values.shape import TableShape
from crossfade.ports.plain_table import RowPage


class MemoryPlainTable:
    """Implements `crossfade.ports.plain_table.PlainTable` on what a `MemoryTable` holds."""

    def __init__(self, table: MemoryTable, belongs: Callable[[Key], bool] = lambda _key: True) -> None:
        """Take the table, whose rows and change records these are, and which rows are the migration's."""
        self._table = table
        self._belongs = belongs

    @property
    def shape(self) -> TableShape:
        """What the table looks like."""
        return self._table.shape

    async def read_many(self, keys: Sequence[Key]) -> Mapping[Key, Image]:
        """See `crossfade.ports.plain_table.PlainTable`."""
        return {key: self._table.images[key] for key in keys if key in self._table.images}

    async def scan_page(
        self, *, segment: int = 0, segments: int = 1, start: bytes | None = None, limit: int = 500
    ) -> RowPage:
        """See `crossfade.ports.plain_table.PlainTable`; in the order of the encoded keys."""
        keys = sorted(
            key
            for key in self._table.images
            if ramp_point(key) % segments == segment and (start is None or key > start)
        )
        page = keys[:limit]
        rows = [(key, self._table.images[key]) for key in page if self._belongs(key)]
        return RowPage(rows, len(page), page[-1] if len(keys) > limit else None)

    async def put(self, image: Image, *, met: Image | None) -> bool:
        """See `crossfade.ports.plain_table.PlainTable`."""
        standing = self._table.images.get(encode_key(image, self.shape.key))
        if (standing is None) != (met is None):
            return False
        if standing is not None and met is not None and fence_of(standing) != fence_of(met):
            return False
        self._table.put(image)
        return True

    async def delete_tombstone(self, key: Key, *, fence: int) -> bool:
        """See `crossfade.ports.plain_table.PlainTable`."""
        standing = self._table.images.get(key)
        if standing is None or not is_marked(standing) or fence_of(standing) != fence:
            return False
        self._table.delete(key)
        return True

    async def delete(self, met: Image) -> bool:
        """See `crossfade.ports.plain_table.PlainTable`."""
        key = encode_key(met, self.shape.key)
        standing = self._table.images.get(key)
        if standing is None or any(standing.get(name) != value for name, value in met.items()):
            return False
        self._table.delete(key)
        return True

    async def strip(self, key: Key, names: Sequence[str], *, fence: int) -> bool:
        """See `crossfade.ports.plain_table.PlainTable`."""
        standing = self._table.images.get(key)
        if standing is None or fence_of(standing) != fence:
            return False
        self._table.put({name: value for name, value in standing.items() if name not in names})
        return True
