"""One table of the migration, as any writer protocol uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from crossfade.core.protocol.row import Row
from crossfade.core.protocol.writing import Answer, AnyRow, Transfer
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import TableShape
from crossfade.ports.sending import Sent

AnyWrite = TypeVar("AnyWrite", contravariant=True)


class ScanPage(NamedTuple, Generic[AnyRow]):
    """One page of a scan.

    Attributes:
        items: the rows that belong to the mapping, by encoded key.
        scanned: rows read, others included.
        next: where the following page starts, opaque; None after the last page of the segment.
    """

    items: Sequence[tuple[Key, AnyRow]]
    scanned: int
    next: bytes | None


class Table(Protocol[AnyRow, AnyWrite]):
    """Reads and conditional writes of one side: of the rows and writes of one protocol."""

    @property
    def shape(self) -> TableShape:
        """What the table looks like."""
        ...

    async def perform(self, write: AnyWrite, *, timeout_s: float | None = None) -> Answer[AnyRow]:
        """Perform one write.

        Returns:
            Applied or Refused, as the protocol says of the row that stands there; Unfit where the store will never take
            this one write.

        Raises:
            Throttled: not applied; may be sent again.
            StoreUnavailable: the outcome is unknown; each write is safe to send again.
            StoreRefused: the table is gone, or may not be written.
        """
        ...

    async def perform_many(self, writes: Sequence[AnyWrite]) -> Sequence[Answer[AnyRow] | Exception]:
        """Perform writes of different keys in as few requests as the store allows; each has its own answer."""
        ...

    async def read(self, key: Key, *, consistent: bool = True) -> AnyRow | None:
        """Read one row."""
        ...

    async def read_many(self, keys: Sequence[Key], *, consistent: bool = True) -> Mapping[Key, AnyRow]:
        """Read rows; keys without one are missing in the result."""
        ...

    async def scan_page(
        self, *, segment: int = 0, segments: int = 1, start: bytes | None = None, limit: int = 500
    ) -> ScanPage[AnyRow]:
        """Read one page of a parallel, consistent scan, filtered to the rows that belong to the mapping."""
        ...


class Answers(Protocol):
    """Reads of one table whose answers nobody has decoded: for a reader of its own (ADR 0035)."""

    async def scan_answer(self, *, segment: int, segments: int, start: bytes | None, limit: int) -> bytes:
        """Return the answer of one Scan, as it came: eventually consistent, at half the cost. It says what it has cost.

        Args:
            segment: which one, from 0.
            segments: into how many the table is cut.
            start: `LastEvaluatedKey` of the answer before, as it came; None for the first.
            limit: most rows to look at.
        """
        ...

    async def read_answers(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        """Return answers of BatchGetItem, consistent, as they came, until no key is left unprocessed.

        Args:
            keys: each as the request wants it: `{"pk":{"S":"USER#7"},"sk":…}`; no two are the same.
        """
        ...


RowTable: TypeAlias = Table[Row, Any]
"""A table of whatever protocol: its writes are the protocol's own (`crossfade.core.protocol.seam.Act`)."""


class TransferTable(Protocol):
    """State transfers to one side, the apply path's port."""

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        """Write transfers of different keys; one ruling each, in order.

        A verdict of THROTTLED means not written: the caller backs off and sends it again.

        Raises:
            StoreUnavailable: the outcome of all of them is unknown; every transfer is safe to send again.
        """
        ...
