"""The ports of a flip, whose coordinator may die, or be stopped, before and after each effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crossfade.adapters.memory.control import MemoryJournal
from crossfade.adapters.memory.owning import MemoryOwnerMaps, MemoryTombstones
from crossfade.adapters.memory.plain_table import MemoryPlainTable
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.contracts.journal import Entry
from crossfade.contracts.letter import WIDE, DeadLetter
from crossfade.core.protocol.plain.map import OwnerMap
from crossfade.core.protocol.plain.rows import MV
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import LeaseLost, StoreRefused
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, encode_key
from crossfade.core.values.shape import Side

if TYPE_CHECKING:
    from flip_world import FlipTown


async def no_effect(_process: int, _name: str) -> None:
    """Nothing happens."""


class MortalMaps(MemoryOwnerMaps):
    """The map, whose coordinator may die before and after each change."""

    def __init__(self, town: FlipTown, process: int) -> None:
        super().__init__(town.owning)
        self._town = town
        self._process = process

    async def swap(self, seen: OwnerMap | None, new: OwnerMap) -> bool:
        await self._town.effect(self._process, f"swap to {new.state.value}")
        done = await super().swap(seen, new)
        await self._town.effect(self._process, f"swapped to {new.state.value}")
        return done


class MortalTombstones(MemoryTombstones):
    """The list of tombstones, likewise."""

    def __init__(self, town: FlipTown, process: int) -> None:
        super().__init__(town.owning)
        self._town = town
        self._process = process

    async def remove(self, side: Side, keys: Sequence[Key]) -> None:
        await self._town.effect(self._process, "tombstones off the list")
        await super().remove(side, keys)


class MortalTable(MemoryPlainTable):
    """A table whose writer may die before and after each write."""

    def __init__(self, town: FlipTown, table: MemoryTable, process: int) -> None:
        super().__init__(table)
        self._town = town
        self._process = process

    async def put(self, image: Image, *, met: Image | None) -> bool:
        await self._town.effect(self._process, "put")
        if MV in image and encode_key(image, self.shape.key) in self._town.wide:
            raise StoreRefused("Item size has exceeded the maximum allowed size", reason="ValidationException")
        done = await super().put(image, met=met)
        await self._town.effect(self._process, "put done")
        return done

    async def delete_tombstone(self, key: Key, *, fence: int) -> bool:
        await self._town.effect(self._process, "purge")
        done = await super().delete_tombstone(key, fence=fence)
        await self._town.effect(self._process, "purged")
        return done


class MortalGuards:
    """Guards whose keeper may die before and after each change."""

    def __init__(self, town: FlipTown, process: int) -> None:
        self._town = town
        self._process = process

    async def put(self, side: Side, *, epoch: int) -> str:
        return await self._change(side, epoch, on=True)

    async def take_off(self, side: Side, *, epoch: int) -> str:
        return await self._change(side, epoch, on=False)

    async def is_denied(self, side: Side) -> bool:
        return await self._town.guards.is_denied(side)

    async def _change(self, side: Side, epoch: int, *, on: bool) -> str:
        what = f"guard {'on' if on else 'off'}"
        revision = self._town.guards.revisions[side]
        await self._town.effect(self._process, what)
        said = self._town.guards.change(side, epoch, revision, on=on)
        await self._town.effect(self._process, f"{what}, done")
        return said


class MortalJournal:
    """The controller's journal, with a place to die before and after each entry."""

    def __init__(self, town: FlipTown, process: int) -> None:
        self._town = town
        self._process = process
        self._journal = MemoryJournal(town.store, who="controller", now_us=town.now_us)

    async def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        await self._town.effect(self._process, f"before {kind}")
        if self._process != self._town.starts:
            raise LeaseLost("another controller drives")
        entry = await self._journal.append(kind, body)
        await self._town.effect(self._process, f"after {kind}")
        return entry

    async def entries(self, *, after: int = 0) -> list[Entry]:
        return await self._journal.entries(after=after)


def wide_letter(consumer: str, change: Change) -> DeadLetter:
    return DeadLetter(
        consumer=consumer,
        sequence=f"wide-{change.key.decode()}",
        key=change.key,
        version=None,
        reason="no room for a fence",
        code=WIDE,
        payload=b"",
        trace="",
        at_us=change.committed_us,
        table=change.table,
        settled=True,
    )
