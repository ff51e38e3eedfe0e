"""One table of the migration, as the protocol uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from crossfade.core.protocol.keyed.fence import Transfer
from crossfade.core.protocol.keyed.item import Item
from crossfade.core.protocol.keyed.writes import Answer, Write
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import TableShape
from crossfade.ports.sending import Sent


class ScanPage(NamedTuple):
    """One page of a scan.

    Attributes:
        items: the rows that belong to the mapping, by encoded key.
        scanned: rows read, others included.
        next: where the following page starts, opaque; None after the last page of the segment.
    """

    items: list[tuple[Key, Item]]
    scanned: int
    next: bytes | None


class OwnedTable(Protocol):
    """Owner writes, handover writes and reads of one side."""

    @property
    def shape(self) -> TableShape:
        """What the table looks like."""
        ...

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        """Perform one write.

        Returns:
            Applied or Refused, as `core.protocol.keyed.perform` says; Unfit where the store will never take this one
            write.

        Raises:
            Throttled: not applied; may be sent again.
            StoreUnavailable: the outcome is unknown; each write is safe to send again.
            StoreRefused: the table is gone, or may not be written.
        """
        ...

    async def perform_many(self, writes: Sequence[Write]) -> list[Answer | Exception]:
        """Perform writes of different keys in as few requests as the store allows; each has its own answer."""
        ...

    async def read(self, key: Key, *, consistent: bool = True) -> Item | None:
        """Read one item."""
        ...

    async def read_many(self, keys: Sequence[Key], *, consistent: bool = True) -> Mapping[Key, Item]:
        """Read items; keys without one are missing in the result."""
        ...

    async def scan_page(
        self, *, segment: int = 0, segments: int = 1, start: bytes | None = None, limit: int = 500
    ) -> ScanPage:
        """Read one page of a parallel, consistent scan, filtered to the rows that belong to the mapping."""
        ...


class TransferTable(Protocol):
    """State transfers to one side, the apply path's port."""

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        """Write transfers of different keys; one ruling each, in order.

        A verdict of THROTTLED means not written: the caller backs off and sends it again.

        Raises:
            StoreUnavailable: the outcome of all of them is unknown; every transfer is safe to send again.
        """
        ...
