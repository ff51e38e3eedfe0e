"""The map item of the plain protocol: who owns the rows (`crossfade.core.protocol.plain.map`)."""

from __future__ import annotations

from typing import Protocol

from crossfade.core.protocol.plain.map import OwnerMap


class OwnerMaps(Protocol):
    """Reads and changes the one map item of a migration."""

    async def read(self) -> OwnerMap | None:
        """Read it consistently; None before the migration has one."""
        ...

    async def swap(self, seen: OwnerMap | None, new: OwnerMap) -> bool:
        """Replace the map that was seen; False if it is another by now. One's own swap, sent again, is True."""
        ...
