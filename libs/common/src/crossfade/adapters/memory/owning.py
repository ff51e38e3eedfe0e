"""The plain protocol's control records in memory: its map, members and list of tombstones.

Two objects on one store behave like two processes on one table.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from crossfade.adapters.control.members import LEASE_S, Silence
from crossfade.contracts.owning import MemberBeat
from crossfade.core.protocol.plain.map import OwnerMap
from crossfade.core.protocol.plain.members import Member
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side

_PAGE: Final = 100


@dataclass
class OwningStore:
    """What the control tables hold of a plain migration."""

    owner_map: OwnerMap | None = None
    members: dict[str, MemberBeat] = field(default_factory=dict)
    tombstones: dict[Side, dict[Key, None]] = field(default_factory=lambda: {side: {} for side in Side})


class MemoryOwnerMaps:
    """`crossfade.ports.owner_map.OwnerMaps` in memory."""

    def __init__(self, store: OwningStore | None = None) -> None:
        """Take the store; one of its own if none is given."""
        self._store = store or OwningStore()

    async def read(self) -> OwnerMap | None:
        """Read the map."""
        return self._store.owner_map

    async def swap(self, seen: OwnerMap | None, new: OwnerMap) -> bool:
        """Replace the map that was seen."""
        if self._store.owner_map != seen:
            return False
        self._store.owner_map = new
        return True


class MemoryMembers:
    """`crossfade.ports.members.Members` in memory."""

    def __init__(
        self,
        store: OwningStore | None = None,
        *,
        lease_s: float = LEASE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """See `crossfade.adapters.control.members.DynamoMembers`."""
        self._members = (store or OwningStore()).members
        self._lease_s = lease_s
        self._silence = Silence(monotonic)
        self._beat = 0

    async def beat(self, name: str, duty: str, *, acked: int, unanswered_s: float) -> None:
        """Register, and stay registered."""
        self._beat += 1
        self._members[name] = MemberBeat(
            name=name, duty=duty, acked=acked, unanswered_s=unanswered_s, lease_s=self._lease_s, beat=self._beat
        )

    async def leave(self, name: str) -> None:
        """Leave, with nothing on the wire."""
        self._members.pop(name, None)

    async def all(self) -> list[Member]:
        """Return all that have not left."""
        return self._silence.judge([*self._members.values()])

    async def bury(self, name: str) -> None:
        """Take out one that died."""
        await self.leave(name)


class MemoryTombstones:
    """`crossfade.ports.tombstones.Tombstones` in memory."""

    def __init__(self, store: OwningStore | None = None) -> None:
        """Take the store; one of its own if none is given."""
        self._listed = (store or OwningStore()).tombstones

    async def add(self, side: Side, keys: Sequence[Key]) -> None:
        """List keys."""
        self._listed[side].update(dict.fromkeys(keys))

    async def listed(self, side: Side) -> AsyncIterator[Sequence[Key]]:
        """Return the keys, page by page."""
        keys = list(self._listed[side])
        for at in range(0, len(keys), _PAGE):
            yield keys[at : at + _PAGE]

    async def remove(self, side: Side, keys: Sequence[Key]) -> None:
        """Take keys out."""
        for key in keys:
            self._listed[side].pop(key, None)
