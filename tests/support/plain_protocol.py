"""A second writer protocol, small but whole: owners' rows carry nothing, and a map of one entry says which table owns.

A change's version is its commit time on the owner's table, in µs, times 1,000; it stands on standby rows only, as
`cf_mv`. So nothing here has a role, a generation or an id set, and an application may put its rows as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from msgspec import Raw

from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.protocol.events import PublishedEvent
from crossfade.core.protocol.row import same_content
from crossfade.core.protocol.seam import (
    Act,
    ChangeRecord,
    Condition,
    OwnerRemoval,
    Place,
    Removed,
    RemovedStandby,
    Skip,
    Spelling,
    StrayStandby,
    Told,
)
from crossfade.core.protocol.writing import Applied, Refused, Transfer, Verdict
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import Side, TableShape
from crossfade.ports.sending import Sent
from engagement_migration import MAPPING

MV, DELETED = "cf_mv", "cf_deleted"


class PlainRow(NamedTuple):
    """See `crossfade.core.protocol.row.Row`."""

    version: int | None
    deleted: bool
    ttl: bytes
    content: tuple[tuple[str, bytes], ...]

    def value(self, name: str) -> Raw | None:
        return next((Raw(raw) for each, raw in self.content if each == name), None)

    def holding(self, content: tuple[tuple[str, bytes], ...]) -> PlainRow:
        return self._replace(content=content)

    def at(self, version: int) -> PlainRow:
        return self._replace(version=version)


class OwnerMap:
    """Which table owns all keys, now and at a moment."""

    def __init__(self, owner: Side) -> None:
        self._flips: list[tuple[int, Side]] = [(0, owner)]

    @property
    def owner(self) -> Side:
        return self._flips[-1][1]

    @property
    def epoch(self) -> int:
        return len(self._flips) - 1

    def is_late(self, committed_us: int) -> bool:
        """Of an interval that a flip ended: what such a record brings was there before, and is never written."""
        return committed_us < self._flips[-1][0]

    def flip(self, from_us: int) -> None:
        self._flips.append((from_us, self.owner.other))


def read_row(image: Image, shape: TableShape) -> PlainRow:
    aside = {*shape.key, shape.ttl, MV, DELETED, "cf_ttl"}
    ttl = image.get(shape.ttl or "") or image.get("cf_ttl") or b""
    content = sorted((name, bytes(raw)) for name, raw in image.items() if name not in aside)
    version = wire.number(image[MV]) if MV in image else None
    return PlainRow(version, DELETED in image, bytes(ttl), tuple(content))


class PlainRows:
    """See `crossfade.core.protocol.seam.RowReader`."""

    def __init__(self, map_: OwnerMap) -> None:
        self._map = map_

    def owns(self, _item: PlainRow | None, side: Side) -> bool:
        return side is self._map.owner

    def owner_of(self, _source: PlainRow | None, _target: PlainRow | None) -> Side:
        return self._map.owner

    def why_unreadable(self, _item: PlainRow | None) -> str:
        return ""

    def is_contested(self, _source: PlainRow | None, _target: PlainRow | None) -> bool:
        return False

    def is_held_out(self, _item: PlainRow | None) -> bool:
        return False

    def may_leave(self, item: PlainRow | None, side: Side) -> bool:
        return self.owns(item, side)

    def is_live(self, item: PlainRow | None) -> bool:
        return item is not None and not item.deleted

    def version_of(self, item: PlainRow | None) -> int:
        return (item.version or 0) if item else 0

    def is_ordered(self, _version: int) -> bool:
        return False  # an owner's row tells none

    def standing_of(self, _item: PlainRow | None) -> int:
        return self._map.epoch

    def is_settled(self, _item: PlainRow | None) -> bool:
        return True

    def described(self, _item: PlainRow) -> dict[str, str | None]:
        return {}

    def digest_of(self, item: PlainRow) -> bytes:
        return blake2b(repr((item.content, item.ttl)).encode(), digest_size=16).digest()

    def is_same_state(self, one: PlainRow, other: PlainRow) -> bool:
        return same_content(one, other)


class PlainReader:
    """See `crossfade.core.protocol.seam.RecordReader`."""

    def __init__(self, map_: OwnerMap, shape: TableShape) -> None:
        self._map, self._shape = map_, shape

    @property
    def _owns(self) -> bool:
        return self._map.owner is self._shape.side

    def told(self, record: ChangeRecord, new: Image, *, watched: bool) -> Told:
        if self._map.is_late(record.committed_us):
            return Skip.ECHO
        if self._owns:
            return Condition(record.committed_us * 1000, 0)
        if MV in new and wire.number(new[MV]) > record.old_version():
            return Skip.ECHO
        return StrayStandby(record.key, self.row(new), record.committed_us, watched)

    def place(self, record: ChangeRecord, new: Image) -> Place:
        return Place(self._owns, record.committed_us * 1000 if self._owns else self.row(new).version or 0)

    def removed(self, record: ChangeRecord, *, watched: bool) -> Removed:
        old = self.row(record.old or {})
        if old.deleted or self._map.is_late(record.committed_us):
            return Skip.TOMBSTONE_REMOVED
        if self._owns:
            return OwnerRemoval(Condition(record.committed_us * 1000, 0), {DELETED: wire.of_boolean(True)}, False)
        return RemovedStandby(record.key, old, record.committed_us, watched)

    def events(self, _record: ChangeRecord) -> list[PublishedEvent]:
        return []

    def row(self, image: Image) -> PlainRow:
        return read_row(image, self._shape)


class PutBack(NamedTuple):
    """The one write of this protocol's own: a row that a stray removed, if it is still absent."""

    key: Key
    item: PlainRow


class PlainActs:
    """What of `crossfade.core.protocol.seam.Acts` this protocol is ever asked for."""

    def restore(self, key: Key, item: PlainRow) -> Act:
        return Act(PutBack(key, item))


class Plain:
    """See `crossfade.core.protocol.seam.WriterProtocol`."""

    acts = PlainActs()
    spelling = Spelling(MV, (DELETED, "cf_ttl"), DELETED, "cf_ttl")

    def __init__(self, owner: Side) -> None:
        self.map = OwnerMap(owner)

    def rows(self, *, complete: bool = False) -> Any:
        return PlainRows(self.map)

    def reader(self, shape: TableShape) -> Any:
        return PlainReader(self.map, shape)

    def condition(self, item: PlainRow, _target: Side) -> Condition:
        return Condition(item.version or 0, 0)

    def image(self, item: PlainRow, shape: TableShape, key: Image) -> Image:
        found = key | {name: Raw(raw) for name, raw in item.content}
        if item.version is not None:
            found[MV] = wire.of_number(item.version)
        if item.deleted:
            found[DELETED] = wire.of_boolean(True)
        if item.ttl:
            found[shape.ttl or "cf_ttl"] = Raw(item.ttl)
        return found

    def judge(self, transfer: Transfer, item: PlainRow | None, shape: TableShape) -> Verdict:
        if shape.side is self.map.owner:
            return Verdict.OWNED
        if item is None or item.version is None or item.version < transfer.version:
            return Verdict.APPLIED
        if item.version > transfer.version:
            return Verdict.STALE
        return Verdict.DUPLICATE if same_content(item, read_row(transfer.image, shape)) else Verdict.CONFLICT

    def stands_for_nothing(self, image: Image, _shape: TableShape) -> bool:
        return wire.boolean(image[DELETED])

    def unfit(self, *_args: Any, **_more: Any) -> str:
        return ""


class PlainMapping:
    """The engagement mapping, for writers who know nothing of Crossfade."""

    def __init__(self, owner: Side) -> None:
        self.protocol: Any = Plain(owner)

    def __getattr__(self, name: str) -> Any:
        return getattr(MAPPING, name)


class PlainTable(MemoryTable):
    """A table of this protocol; `protocol` is set by who makes it."""

    protocol: Plain

    def item(self, key: Key) -> Any:
        image = self.images.get(key)
        return None if image is None else read_row(image, self.shape)

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        verdicts: list[Sent] = []
        for transfer in transfers:
            verdict = self.protocol.judge(transfer, self.item(transfer.key), self.shape)
            if verdict is Verdict.APPLIED:
                row = read_row(transfer.image, self.shape).at(transfer.version)
                self._store(transfer.key, self.protocol.image(row, self.shape, self._key(transfer.key)))
            verdicts.append(verdict)
        return verdicts

    async def perform(self, write: Any, *, timeout_s: float | None = None) -> Any:
        if write.key in self.images:
            return Refused(self.item(write.key))
        self._store(write.key, self.protocol.image(write.item, self.shape, self._key(write.key)))
        return Applied(write.item)

    def _key(self, key: Key) -> Image:
        return key_image(key, self.shape.key)
