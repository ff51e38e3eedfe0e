"""Writers that know nothing of the protocol, on the whole system in small."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.protocol.keyed.item import is_active
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, encode_key
from crossfade.core.values.shape import Direction, Side
from crossfade_replicator.pipeline import ApplyPipeline
from crossfade_replicator.tally import Tally
from engagement_api.operations import BALANCE
from engagement_migration import MAPPING
from engagement_migration.samples import legacy_wallet
from system_parts import (
    OLD_KEY,
    Owner,
    Record,
    Running,
    Truth,
    now,
)


class Strays(ABC):
    """What a `World` has done to it by others; first, what they need of it."""

    imported: bool
    strays_since_us: int
    strays_wrote: bool
    source: MemoryTable
    tables: dict[Side, MemoryTable]
    ops: list[Operation]
    running: list[Running]
    truth: dict[Key, Truth | None]
    versions: dict[tuple[Side, Key], int]
    owner_strays: list[tuple[Side, bytes]]
    standby_strays: list[tuple[Side, bytes]]
    pages: set[str]
    forgotten: set[Key]
    stamped: set[Key]
    pipelines: dict[Side, ApplyPipeline]
    tally: Tally

    @abstractmethod
    def owner(self, key: Key) -> Owner: ...

    @abstractmethod
    def records(self, side: Side) -> list[Record]: ...

    @abstractmethod
    def deliver(self, side: Side, picks: Sequence[int]) -> None: ...

    def put_stray(self, image: Image) -> None:
        """Write a source row whole; the truth is what it says."""
        key = encode_key(image, ("pk", "sk"))
        before = self.source.item(key)
        if before is not None and "cf_recent" in self.source.images[key] and "cf_recent" not in image:
            self._forget(key)
        self.strays_wrote |= self.imported or (before is not None and before.version is not None)
        records = len(self.source.changes)
        self.source.put(image)
        self._strayed(self.owner_strays, Side.SOURCE, records)
        shape = MAPPING.shape(Side.SOURCE)
        item = self.source.item(key)
        assert item is not None
        assert is_active(item, shape.side)
        self.truth[key] = Truth(MAPPING.map_item(Direction.FORWARD, item).content, item.ttl)
        self.versions.pop((Side.SOURCE, key), None)

    def earn_stray(self, key: Key, amount: int) -> bool:
        """Add to an active source row as the old release does; False when there is none."""
        item = self.source.item(key)
        if item is None or not is_active(item, Side.SOURCE) or item.deleted:
            return False
        shape = MAPPING.shape(Side.SOURCE)
        balance = wire.number(self.source.images[key][shape.own(BALANCE)])
        self.put_stray(self.source.images[key] | {shape.own(BALANCE): wire.of_number(balance + amount)})
        return True

    def _strayed(self, strays: list[tuple[Side, bytes]], side: Side, before: int) -> None:
        if self.strays_since_us:
            strays += [(side, record) for record in self.tables[side].changes[before:]]

    def _forget(self, key: Key) -> None:
        """What a stray takes away: who asked before can't be told any more, and the feed's chain starts over."""
        self.ops = [op for op in self.ops if op.key != key]
        self.forgotten.add(key)

    def replace_stray(self, key: Key, balance: int) -> bool:
        """Put a source row whole, without any protocol attribute, where the source table owns the key."""
        item = self.source.item(key)
        if not is_active(item, Side.SOURCE) or any(pod.task.key == key for pod in self.running):
            return False
        row = legacy_wallet("7" if key == OLD_KEY else "8", "old" if key == OLD_KEY else "target", balance)
        self.strays_wrote = True
        self.put_stray(row)
        return True

    def delete_stray(self, key: Key, *, at_once: bool) -> bool:
        """Remove an active source row. `at_once` lets its record arrive before anything else happens."""
        item = self.source.item(key)
        if item is None or not is_active(item, Side.SOURCE) or any(pod.task.key == key for pod in self.running):
            return False
        if item.version is None and key in self.stamped:
            return False  # such a delete tells no version above the standby's: the verifier finds the row as an extra
        self.strays_wrote = True
        self._forget(key)
        self.truth[key] = None
        self.versions.pop((Side.SOURCE, key), None)
        records = len(self.source.changes)
        self.source.delete(key)
        if not item.deleted:
            self._strayed(self.owner_strays, Side.SOURCE, records)
        if at_once:
            self.deliver(Side.SOURCE, [-1])
        return True

    def delete_standby(self, side: Side, key: Key) -> bool:
        """Remove a standby row.

        Until it is put back, the fence of its generation is gone, and an absent source row reads as active. So where
        the row had a generation its record arrives at once; what could happen before is why a person is called.
        """
        item = self.tables[side].item(key)
        if item is None or self.owner(key) != (side.other, self.tables[side.other].item(key), True):
            return False
        records = len(self.tables[side].changes)
        self.tables[side].delete(key)
        self._strayed(self.standby_strays, side, records)
        self.versions.pop((side, key), None)
        if item.generation:
            self.tally.add(now(self.pipelines[side].apply("shard", self.records(side)[-1:])))
        self.pages.add("standby_removed")
        return True

    def overwrite_standby(self, side: Side, key: Key, *, ahead: int) -> bool:
        """Change a standby row: as a zombie that gets ahead, or as a writer who knows no versions."""
        item = self.tables[side].item(key)
        owned = self.owner(key) == (side.other, self.tables[side.other].item(key), True)
        if item is None or item.version is None or item.deleted or not owned:
            return False
        balance, records = MAPPING.shape(side).own(BALANCE), len(self.tables[side].changes)
        image = self.tables[side].images[key] | {balance: wire.of_number(777)}
        self.tables[side].put(image | {"cf_mv": wire.of_number(item.version + ahead)})
        if ahead == 0:
            self._strayed(self.standby_strays, side, records)
        self.pages.add("stray_standby" if ahead == 0 and records < len(self.tables[side].changes) else "")
        return True
