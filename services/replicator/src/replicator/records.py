"""What goes into a pipeline, and what a pipeline is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from replicator.outcome import BatchOutcome


class Record(Protocol):
    """One record of a stream, as far as it matters here."""

    @property
    def sequence_number(self) -> str:
        """Its place in the shard, opaque."""

    @property
    def data(self) -> bytes:
        """The payload."""


class Pipeline(Protocol):
    """What a consumer feeds."""

    async def apply(self, shard_id: str, records: Sequence[Record]) -> BatchOutcome:
        """Apply, skip or park every record of a batch, but for those that the outcome asks for again."""
