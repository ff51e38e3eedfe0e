"""The keys that changed since a moment: the owner's stream says it, which is durable and has no gap."""

from __future__ import annotations

from contextlib import suppress
from typing import Final, NamedTuple

from crossfade.core.mapping.interface import Mapping
from crossfade.core.replication.change import decode_change
from crossfade.core.values.errors import PoisonRecord, StoreRefused, StoreUnavailable
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side, direction_to
from crossfade.ports.streams import StreamReader

PAGE: Final = 1000
"""Records of one GetRecords."""

EXPIRED: Final = "ExpiredIteratorException"
"""An iterator is valid for five minutes."""

MAX_CALLS: Final = 10_000
"""GetRecords of one shard in one go: a stream that is written faster than it is read has no end."""


class Pair(NamedTuple):
    """One row's keys: on the table that owns, and on the standby."""

    key: Key
    other: Key


class ChangedKeys:
    """Reads the owner's stream from a moment on, and goes on where it was.

    By arrival, which is never before the commit: an old record that comes late counts, too.

    Attributes:
        gap: why the list is not complete; empty while it is.
    """

    def __init__(self, shards: StreamReader, stream: str, mapping: Mapping, owner: Side, *, since_s: float) -> None:
        """Take the stream, and where to begin: seconds since the epoch, of arrival."""
        self._shards = shards
        self._stream = stream
        self._mapping = mapping
        self._owner = owner
        self._names = mapping.shape(owner).key
        self._since_s = since_s
        self._iterators: dict[str, str | None] = {}
        self._found: dict[Pair, None] = {}
        self.gap = ""

    async def read(self) -> dict[Pair, None]:
        """Return the keys of all records up to the tip that the stream has now, and that no call returned before.

        Raises:
            StoreUnavailable: the tip was not reached; what was read so far is in the next answer.
        """
        for shard in await self._shards.list_shards(self._stream):
            if shard.shard_id not in self._iterators:
                self._iterators[shard.shard_id] = await self._begin(shard.shard_id)
        for shard_id in list(self._iterators):
            await self._read(shard_id)
        found, self._found = self._found, {}
        return found

    async def _begin(self, shard_id: str) -> str:
        return await self._shards.shard_iterator(self._stream, shard_id, at_s=self._since_s)

    async def _read(self, shard_id: str) -> None:
        for _ in range(MAX_CALLS):
            iterator = self._iterators[shard_id]
            if iterator is None:
                return
            try:
                fetched = await self._shards.get_records(iterator, PAGE)
            except StoreRefused as error:
                if error.reason != EXPIRED:
                    raise
                self._iterators[shard_id] = await self._begin(shard_id)  # once more from the moment: no key is missed
                continue
            for record in fetched.records:
                self._take(record.data)
            self._iterators[shard_id] = fetched.next_iterator
            if fetched.behind_ms == 0 and len(fetched.records) < PAGE:
                return
        raise StoreUnavailable(f"{self._stream} {shard_id}: end not reached after {MAX_CALLS} reads")

    def _take(self, payload: bytes) -> None:
        try:
            change = decode_change(payload, self._names)
        except PoisonRecord as error:
            self.gap = f"a record of {self._stream} that can't be read, so that its key is unknown: {error}"
            return
        if not self._mapping.belongs_at(self._owner, change.key):
            return
        images: list[Image | None] = [each for each in (change.new, change.old) if each is not None]
        for image in images or [None]:  # where the target keeps the source's key, a change of that is one of two rows
            with suppress(PoisonRecord):  # a row without a way back: its record is parked, which is a gate of its own
                other = self._mapping.other_key(direction_to(self._owner.other), change.key, image)
                self._found[Pair(change.key, other)] = None
