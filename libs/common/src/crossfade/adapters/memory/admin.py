"""AWS's control plane in memory: tables that export and import, streams that keep what tables send, one bucket.

Shipped as a fake: a controller can run a whole migration on it. What it does at once, the service does in minutes, so
exports, imports and new streams are "not yet" for the first look at them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from crossfade.adapters.memory.streams import MemoryStreams, shard_name
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.values.errors import SnapshotBroken, StoreRefused, StoreUnavailable
from crossfade.core.values.image import encode_image
from crossfade.core.values.shape import Index, IndexKey
from crossfade.ports.admin import Destination, ExportFacts, ImportFacts, StreamFacts, TableFacts, TableSize

SHARD = shard_name(0)

PIECE_BYTES = 4096


class _Line(msgspec.Struct):
    Item: dict[str, Raw]


@dataclass
class _Stream:
    looked_at: int = 0
    retention_h: int = 24


@dataclass
class _Job:
    token: str
    looked_at: int = 0
    manifest: str = ""
    imported: int = 0


class MemoryAws(MemoryStreams):
    """`TableAdmin`, `Objects`, `Metrics` and a shard reader. Wire `record` into each table's `on_change`.

    Attributes:
        objects: the bucket.
        calls: names of the calls that changed something, in order.
        index_keys: keys of the indexes that a table is said to have.
        indexes: its global indexes; an imported table's are those that it was made with.
    """

    def __init__(
        self,
        tables: Mapping[str, MemoryTable],
        existing: set[str],
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        items_per_file: int = 3,
    ) -> None:
        """Take the tables.

        Args:
            tables: by name; those that don't exist yet come into being by an import.
            existing: names of those that do.
            now_us: wall clock, µs.
            items_per_file: rows of one export file.
        """
        super().__init__(now_us=now_us)
        self._tables = tables
        self._existing = existing
        self._items_per_file = items_per_file
        self._streams: dict[str, _Stream] = {}
        self._destinations: dict[tuple[str, str], str] = {}
        self._exports: dict[str, _Job] = {}
        self._imports: dict[str, _Job] = {}
        self.precisions: dict[str, str] = {}
        """Of a table's change stream, where somebody changed it."""
        self.unanswered: set[str] = set()
        """Tables about whose change streams AWS doesn't answer."""
        self.objects: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.index_keys: dict[str, tuple[IndexKey, ...]] = {}
        self.indexes: dict[str, tuple[Index, ...]] = {}
        self.ttls: dict[str, bool] = {}
        """Whether the TTL of a table is on, where somebody switched it."""

    def record(self, table: str, payload: bytes) -> None:
        """Take a change record, as a table sends it."""
        for (name, arn), status in self._destinations.items():
            if name == table and status == "ACTIVE":
                self.take(arn.rpartition("/")[2], "", payload)

    # TableAdmin.

    async def table(self, name: str) -> TableFacts | None:
        """Describe a table."""
        if name not in self._existing:
            return None
        shape, images = self._tables[name].shape, self._tables[name].images
        size_bytes = sum(len(encode_image(image)) for image in images.values())
        key = tuple((each, "S") for each in shape.key)
        return TableFacts(
            name=name,
            arn=f"arn:{name}",
            status="ACTIVE",
            key=key,
            item_count=len(images),
            size_bytes=size_bytes,
            ttl=shape.ttl,
            recoverable=True,
            index_keys=self.index_keys.get(name, ()),
            indexes=self.indexes.get(name, ()),
        )

    async def size(self, name: str) -> TableSize | None:
        """Return a table's size."""
        facts = await self.table(name)
        return None if facts is None else TableSize(facts.item_count, facts.size_bytes)

    async def stream(self, name: str) -> StreamFacts | None:
        """Describe a stream."""
        stream = self._streams.get(name)
        if stream is None:
            return None
        stream.looked_at += 1
        status = "ACTIVE" if stream.looked_at > 1 else "CREATING"
        return StreamFacts(name, f"stream/{name}", status, self.shard_ids(name), stream.retention_h)

    async def create_stream(self, name: str, *, shards: int) -> None:
        """Create a stream, unless it exists."""
        if name not in self._streams:
            self._streams[name] = _Stream()
            self.create(name, shards=shards)
            self.calls.append(f"create stream {name}")

    async def raise_retention(self, name: str, *, hours: int) -> None:
        """Raise a stream's retention."""
        self._streams[name].retention_h = max(hours, self._streams[name].retention_h)

    async def destinations(self, table: str) -> list[Destination]:
        """Return a table's change streams."""
        if table in self.unanswered:
            raise StoreUnavailable("DescribeKinesisStreamingDestination: no answer")
        return [
            Destination(arn, status, self.precisions.get(name, "MICROSECOND"))
            for (name, arn), status in self._destinations.items()
            if name == table
        ]

    async def enable_destination(self, table: str, stream_arn: str) -> None:
        """Send a table's change records to a stream."""
        if self._destinations.get((table, stream_arn)) != "ACTIVE":
            self._destinations[table, stream_arn] = "ACTIVE"
            self.calls.append(f"enable {table}")

    async def switch_ttl(self, table: str, attribute: str, *, on: bool) -> str:
        """Switch a table's TTL; the first look after a change still waits."""
        if self.ttls.get(table) is on:
            return ""
        self.ttls[table] = on
        self.calls.append(f"ttl of {table} {'on' if on else 'off'}")
        return f"the TTL of {table} by {attribute} to be {'ENABLED' if on else 'DISABLED'}"

    async def disable_destination(self, table: str, stream_arn: str) -> None:
        """Send no more change records."""
        self._destinations[table, stream_arn] = "DISABLED"

    async def export(self, table_arn: str, *, at_s: int, bucket: str, prefix: str, token: str) -> str:
        """Export a table as it was at the beginning of a second; the same token gives the same export."""
        arn = f"export/{token}"
        if arn in self._exports:
            return arn
        if at_s * 1_000_000 > self._now_us():
            raise StoreRefused(f"{at_s} is in the future", reason="InvalidExportTimeException")
        self.calls.append("export")
        images = self._tables[table_arn.removeprefix("arn:")].images_at(at_s * 1_000_000)
        listed = []
        for first in range(0, len(images), self._items_per_file):
            lines = [b'{"Item":%b}\n' % encode_image(each) for each in images[first : first + self._items_per_file]]
            body, key = gzip.compress(b"".join(lines)), f"{prefix}/data/{first}.json.gz"
            self.objects[key] = body
            md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
            listed.append({"itemCount": len(lines), "md5Checksum": md5, "dataFileS3Key": key})
        files, manifest = f"{prefix}/manifest-files.json", f"{prefix}/manifest-summary.json"
        self.objects[files] = b"\n".join(map(msgspec.json.encode, listed))
        summary = {"itemCount": len(images), "manifestFilesS3Key": files, "outputFormat": "DYNAMODB_JSON"}
        self.objects[manifest] = msgspec.json.encode(summary)
        self._exports[arn] = _Job(token, manifest=manifest)
        return arn

    async def export_facts(self, arn: str) -> ExportFacts:
        """Describe an export."""
        job = self._exports[arn]
        job.looked_at += 1
        return (
            ExportFacts("COMPLETED", job.manifest, "", 12.0)
            if job.looked_at > 1
            else ExportFacts("IN_PROGRESS", "", "")
        )

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
        """Create a table from import files; the same token gives the same import."""
        arn = f"import/{token}"
        if arn in self._imports:
            return arn
        if name in self._existing:
            raise StoreRefused(f"{name} exists ({bucket}, {key})", reason="ResourceInUseException")
        self.calls.append("import")
        self.indexes[name] = tuple(indexes)
        job = self._imports[arn] = _Job(token)
        for each in sorted(self.objects):
            if each.startswith(prefix):
                for line in gzip.decompress(self.objects[each]).splitlines():
                    self._tables[name].put(msgspec.json.decode(line, type=_Line).Item)
                    job.imported += 1
        self._existing.add(name)
        return arn

    async def import_facts(self, arn: str) -> ImportFacts:
        """Describe an import."""
        job = self._imports[arn]
        job.looked_at += 1
        return ImportFacts("COMPLETED" if job.looked_at > 1 else "IN_PROGRESS", job.imported, 0, "")

    # Objects.

    async def exists(self) -> bool:
        """There is the one bucket."""
        return True

    async def get(self, key: str) -> bytes | None:
        """Return an object."""
        return self.objects.get(key)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """Yield an object in pieces."""
        if key not in self.objects:
            raise SnapshotBroken(f"{key} is missing")
        body = self.objects[key]
        for first in range(0, len(body), PIECE_BYTES):
            yield body[first : first + PIECE_BYTES]

    async def put(self, key: str, body: bytes) -> None:
        """Write an object."""
        self.objects[key] = body

    async def write(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """Write an object from its pieces."""
        if body := b"".join([piece async for piece in pieces]):
            self.objects[key] = body

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys with a prefix."""
        return sorted(key for key in self.objects if key.startswith(prefix))

    async def remove(self, key: str) -> None:
        """Remove an object."""
        self.objects.pop(key, None)

    # Metrics.

    async def unreplicated_s(self, table: str) -> float | None:
        """A captured table's records are in its stream at once."""
        return 0.0 if any(name == table for name, _ in self._destinations) else None
