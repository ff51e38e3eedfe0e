"""Writes of the plain protocol in memory: copies to a standby, and conditional writes to an owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crossfade.adapters.memory.tables import MemoryTable
from crossfade.adapters.plain_transfers import Copied, Met
from crossfade.core.protocol.plain.fit import unfit_image
from crossfade.core.protocol.plain.rows import MV
from crossfade.core.protocol.writing import Transfer, Unfit, Verdict
from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, key_image


class MemoryCopies:
    """What `crossfade.adapters.plain_transfers.PlainTransfers` does, on what a `MemoryTable` holds."""

    def __init__(self, table: MemoryTable) -> None:
        """Take the table."""
        self._table = table

    async def copy(self, transfers: Sequence[Transfer], floor: int, *, timeout_s: float | None = None) -> list[Copied]:
        """Write copies of different keys."""
        del timeout_s
        return [self._put(each, floor) for each in transfers]

    def _put(self, transfer: Transfer, floor: int) -> Copied:
        met = self._table.images.get(transfer.key)
        image = key_image(transfer.key, self._table.shape.key) | transfer.image
        image[MV] = wire.of_number(transfer.version)
        if cause := unfit_image(transfer.key, image, self._table.shape):
            return Unfit(cause)
        if not _takes(met, transfer.version, floor):
            return Met(met)
        self._table.put(image)
        return Verdict.APPLIED


def _takes(met: Image | None, version: int, floor: int) -> bool:
    if met is None or MV not in met:
        return not floor
    try:
        return floor <= wire.number(met[MV]) < version
    except PoisonRecord:
        return False  # a comparison of other types never holds


class MemoryOwnerWrites:
    """What `crossfade.adapters.plain_owner.DynamoOwnerWrites` does, on what a `MemoryTable` holds."""

    def __init__(self, table: MemoryTable, *, before: Callable[[], None] = lambda: None) -> None:
        """Take the table, and what happens right before each write."""
        self._table, self._before = table, before

    async def replace(self, key: Key, met: Image | None, image: Image | None) -> bool | None:
        """Put a row in place of the one that was read, or delete that one."""
        self._before()
        standing = self._table.images.get(key)
        if (met is None) != (standing is None):
            return False
        if met is not None and standing is not None and any(standing.get(name) != raw for name, raw in met.items()):
            return False
        if image is not None:
            self._table.put(image)
        elif standing is not None:
            self._table.delete(key)
        return True

    async def delete_expired(self, key: Key, ttl: str, at_s: int) -> bool:
        """Delete a row whose TTL attribute is a number not later than a moment."""
        self._before()
        standing = self._table.images.get(key)
        try:
            due = standing is not None and ttl in standing and wire.amount(standing[ttl]) <= at_s
        except PoisonRecord:
            due = False
        if due:
            self._table.delete(key)
        return due
