"""Rows of one table as they stand, whoever wrote them: what the snapshot reads and fills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from crossfade.core.values.image import Image


class RawRows(Protocol):
    """Reads rows, and inserts those that are not there. Errors are those of the wire client."""

    async def read(self, keys: Sequence[Image]) -> list[Image]:
        """Read rows consistently, by their key attributes; those that exist, in no order."""
        ...

    async def insert(self, row: bytes) -> Image | None:
        """Insert a row if there is none of its key; safe to send again.

        Args:
            row: as DynamoDB JSON, key included.

        Returns:
            None once it is there; else the row that stood there before, which was not touched.

        Raises:
            StoreRefused: the table would never take it.
            Throttled: it wasn't written.
            StoreUnavailable: it may have been written, or may yet be.
        """
        ...
