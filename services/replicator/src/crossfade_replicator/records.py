"""What goes into a pipeline, and what a pipeline is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from crossfade.core.replication.change import Change, decode_change
from crossfade.core.values.errors import PoisonRecord
from crossfade_replicator.outcome import BatchOutcome


class Record(Protocol):
    """One record of a stream, as far as it matters here."""

    @property
    def sequence_number(self) -> str:
        """Its place in the shard, opaque."""

    @property
    def data(self) -> bytes:
        """The payload."""


class Decoded(NamedTuple):
    """A record that was decoded before it came to a pipeline."""

    sequence_number: str
    data: bytes
    change: Change


def decoded(record: Record, key_names: Sequence[str]) -> Record:
    """Return a record decoded, or as it came if it can't be: then the pipeline finds out why."""
    try:
        return Decoded(record.sequence_number, record.data, decode_change(record.data, key_names))
    except PoisonRecord:
        return record


class Pipeline(Protocol):
    """What a consumer feeds."""

    async def apply(self, shard_id: str, records: Sequence[Record]) -> BatchOutcome:
        """Apply, skip or park every record of a batch, but for those that the outcome asks for again."""
