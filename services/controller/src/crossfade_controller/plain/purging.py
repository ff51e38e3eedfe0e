"""The purge: the present owner's listed tombstones go before writes are released to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from crossfade.core.migration.flip_deeds import Purged
from crossfade.core.protocol.plain.rows import fence_of, is_tombstone
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_controller.plain.ports import PlainPorts

CHUNK: Final = 100
"""Rows of one read."""


class Purging:
    """Deletes tombstones. A key leaves the list once its row is none of ours any more."""

    def __init__(self, ports: PlainPorts, monotonic: Callable[[], float]) -> None:
        self._ports = ports
        self._monotonic = monotonic
        self._rows = 0

    def begin(self) -> None:
        """Count from nothing."""
        self._rows = 0

    async def purge(self, owner: Side, *, budget_s: float) -> Purged:
        """Delete listed tombstones of the table that owns; called again until it has ended.

        Each on the condition that it still is the tombstone that was read. What an application has written over one
        stays, and so does whatever else stands there.

        Args:
            owner: the table.
            budget_s: how long to work before the state machine looks at the journal again.
        """
        ends_s = self._monotonic() + budget_s
        async for page in self._ports.tombstones.listed(owner):
            for first in range(0, len(page), CHUNK):
                await self._purge(owner, page[first : first + CHUNK])
                if self._monotonic() >= ends_s:
                    return Purged(False, self._rows)
        return Purged(True, self._rows)

    async def _purge(self, owner: Side, keys: Sequence[Key]) -> None:
        table = self._ports.tables[owner]
        found = await table.read_many(keys)
        for key, image in found.items():
            fence = fence_of(image) if is_tombstone(image, table.shape) else None
            if fence is not None and await table.delete_tombstone(key, fence=fence):
                self._rows += 1
        await self._ports.tombstones.remove(owner, keys)
