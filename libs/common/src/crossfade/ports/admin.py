"""The control plane of AWS, as far as a migration needs it: tables, streams, export, import, objects, metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from crossfade.core.values.shape import Index, IndexKey


class TableSize(NamedTuple):
    """What a table holds, refreshed by AWS about every six hours.

    Attributes:
        rows: number of items.
        bytes: of all items.
    """

    rows: int
    bytes: int


class TableFacts(NamedTuple):
    """What AWS reports about a table.

    Attributes:
        name: of the table.
        arn: of the table.
        status: "ACTIVE", "CREATING" …
        key: (name, type) of the key attributes, in the order of the key schema; types "S", "N", "B".
        item_count: refreshed by AWS about every six hours.
        size_bytes: likewise.
        ttl: attribute that its TTL reads; None when TTL is off.
        recoverable: whether point-in-time recovery is on: an export needs it.
        index_keys: attributes that are keys of its secondary indexes, by name.
        indexes: its global indexes, by name.
    """

    name: str
    arn: str
    status: str
    key: tuple[tuple[str, str], ...]
    item_count: int
    size_bytes: int
    ttl: str | None
    recoverable: bool
    index_keys: tuple[IndexKey, ...] = ()
    indexes: tuple[Index, ...] = ()


class StreamFacts(NamedTuple):
    """What AWS reports about a Kinesis stream.

    Attributes:
        name: of the stream.
        arn: of the stream.
        status: "ACTIVE", "CREATING" …
        open_shards: ids of the shards that take records.
        retention_h: how long records are kept.
        record_bytes: of the largest record that it takes.
    """

    name: str
    arn: str
    status: str
    open_shards: tuple[str, ...]
    retention_h: int
    record_bytes: int = 1024 * 1024


class Destination(NamedTuple):
    """A table's change stream.

    Attributes:
        stream_arn: where the records go.
        status: "ACTIVE", "ENABLING", "DISABLED" …
        precision: "MICROSECOND" or "MILLISECOND".
    """

    stream_arn: str
    status: str
    precision: str


class ExportFacts(NamedTuple):
    """What AWS reports about an export.

    Attributes:
        status: "IN_PROGRESS", "COMPLETED" or "FAILED".
        manifest: key of its `manifest-summary.json`; empty until it is completed.
        failure: why it failed; empty otherwise.
        took_s: how long it took; None until it has ended.
    """

    status: str
    manifest: str
    failure: str
    took_s: float | None = None


class ImportFacts(NamedTuple):
    """What AWS reports about an import.

    Attributes:
        status: "IN_PROGRESS", "COMPLETED", "CANCELLED" or "FAILED".
        imported: items written so far.
        errors: items it could not take; with any of them the status is FAILED and the table partial.
        failure: why it failed; empty otherwise.
    """

    status: str
    imported: int
    errors: int
    failure: str


class TableAdmin(Protocol):
    """Tables and streams. All calls may be repeated; errors are those of the wire client."""

    async def table(self, name: str) -> TableFacts | None:
        """Describe a table; None if it doesn't exist."""
        ...

    async def size(self, name: str) -> TableSize | None:
        """Return a table's size; None if it doesn't exist."""
        ...

    async def stream(self, name: str) -> StreamFacts | None:
        """Describe a stream; None if it doesn't exist."""
        ...

    async def create_stream(self, name: str, *, shards: int) -> None:
        """Create a stream that takes the largest records that Kinesis can (10 MiB), unless it exists."""
        ...

    async def raise_retention(self, name: str, *, hours: int) -> None:
        """Raise a stream's retention; never lowers it."""
        ...

    async def destinations(self, table: str) -> list[Destination]:
        """Return a table's change streams."""
        ...

    async def enable_destination(self, table: str, stream_arn: str) -> None:
        """Send a table's change records to a stream, with MICROSECOND precision; no error if it already does."""
        ...

    async def switch_ttl(self, table: str, attribute: str, *, on: bool) -> str:
        """See that a table's TTL by an attribute is on, or off; what has to be waited for, empty when it is.

        AWS takes up to an hour for it, and no other change meanwhile (UpdateTimeToLive).
        """
        ...

    async def disable_destination(self, table: str, stream_arn: str) -> None:
        """Stop sending change records; no error if it already has."""
        ...

    async def export(self, table_arn: str, *, at_s: int, bucket: str, prefix: str, token: str) -> str:
        """Start an export of the table as it was at a moment, and return its ARN.

        Args:
            table_arn: of the table.
            at_s: the moment, seconds since the epoch.
            bucket: S3 bucket.
            prefix: of the keys.
            token: the same token and arguments give the same export.
        """
        ...

    async def export_facts(self, arn: str) -> ExportFacts:
        """Describe an export."""
        ...

    async def import_table(
        self,
        name: str,
        key: Sequence[tuple[str, str]],
        *,
        indexes: Sequence[Index],
        bucket: str,
        prefix: str,
        token: str,
    ) -> str:
        """Start an import that creates a table, and return its ARN.

        Args:
            name: of the target table.
            key: (name, type) of its key attributes, in the order of the key schema.
            indexes: its global indexes.
            bucket: S3 bucket with the import files (DynamoDB JSON, gzip).
            prefix: of their keys.
            token: the same token and arguments give the same import.

        Raises:
            StoreRefused: for example if the table exists and isn't from this import.
        """
        ...

    async def import_facts(self, arn: str) -> ImportFacts:
        """Describe an import."""
        ...


class Objects(Protocol):
    """One bucket."""

    async def exists(self) -> bool:
        """Say whether the bucket exists and may be read."""
        ...

    async def get(self, key: str) -> bytes | None:
        """Return an object; None if it doesn't exist."""
        ...

    def read(self, key: str) -> AsyncIterator[bytes]:
        """Yield an object in pieces of a megabyte at most.

        Raises:
            SnapshotBroken: there is no such object.
        """
        ...

    async def put(self, key: str, body: bytes) -> None:
        """Write a whole object."""
        ...

    async def write(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """Write an object as its pieces come; nothing without a piece, and nothing when they end in an error.

        Memory doesn't grow with the object.
        """
        ...

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys with a prefix, in order."""
        ...

    async def remove(self, key: str) -> None:
        """Remove an object; nothing if it doesn't exist."""
        ...


class Metrics(Protocol):
    """The service's own metrics."""

    async def unreplicated_s(self, table: str) -> float | None:
        """Return the age of the oldest change record that is not in the stream yet; None when it is unknown."""
        ...
