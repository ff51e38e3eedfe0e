"""Two tables under the plain protocol in memory, an applier of a few lines, and a map: what plain tests stand on."""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.mapping.rules import Compute, Constant, Keep, Rename, RuleMapping, Table, key_prefixes
from crossfade.core.protocol.plain.map import (
    SHORTEST_US,
    OwnerMap,
    drained_from,
    first_map,
    flipped_from,
    opened_from,
    sealed_from,
    version_at,
)
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.replication.change import Change, decode_change
from crossfade.core.values.image import Image, of_boolean, of_number, of_string
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import Side, direction_to
from crossfade_verifier.both import BothTables
from engagement_migration.creation import created_at_from_ms, created_ms_from_at
from verifier_world import Clock, World, wallet

MAPPING: Final = RuleMapping(
    "plain",
    source=Table("wallet", key=("pk", "sk"), ttl="expires_at"),
    target=Table("engagement", key=("pk", "sk")),
    belongs=key_prefixes("USER#", "POINTS#"),
    rules=(
        Rename(source="balance", target="points"),
        Keep("tier"),
        Keep("badges"),
        Keep("preferences"),
        Keep("expires_at"),
        Constant(Side.SOURCE, "wallet_type", of_string("ENGAGEMENT")),
        Compute(("created_at",), ("created_ms",), created_ms_from_at, created_at_from_ms),
    ),
    protocol=PLAIN,
)
"""The engagement migration's rules, for writers who know nothing of Crossfade."""


class Maps:
    """See `crossfade.ports.owner_map.OwnerMaps`."""

    def __init__(self, now: OwnerMap | None) -> None:
        self.now = now
        self.error: Exception | None = None

    async def read(self) -> OwnerMap | None:
        if self.error is not None:
            raise self.error
        return self.now

    async def swap(self, seen: OwnerMap | None, new: OwnerMap) -> bool:
        if self.now != seen:
            return False
        self.now = new
        return True


class PlainWorld(World):
    """See `World`: the owner's rows carry nothing, copies have a fence, and the map tells who owns."""

    mapping: RuleMapping = MAPPING

    def __init__(self, rows: int = 0, clock: Clock | None = None, **more: Raw) -> None:
        clock = clock or Clock()
        self.maps = Maps(first_map(clock.wall_us() - SHORTEST_US))
        super().__init__(0, clock)
        for number in range(rows):
            self.write(key := wallet(number), points=number, **more)
            self.copy(key)

    def _table(self, side: Side) -> MemoryTable:
        def changed(payload: bytes) -> None:
            change = decode_change(payload, shape.key)
            self.changes.append((side, change))
            self.on_change(side, change)

        def belongs(key: Key) -> bool:
            return self.mapping.belongs_at(side, key)

        shape = self.mapping.shape(side)
        return MemoryTable(shape, belongs=belongs, on_change=changed, now_us=self._commit)

    def _commit(self) -> int:
        self.clock.now += 1e-5
        return self.clock.wall_us()

    def both(self) -> BothTables:
        return BothTables(self.mapping, self.reading[Side.SOURCE], self.reading[Side.TARGET], self.maps)

    @property
    def map(self) -> OwnerMap:
        assert self.maps.now is not None
        return self.maps.now

    def owner(self, _key: Key | None = None) -> Side:
        return self.map.owner

    # ---- the application ----

    def write(self, key: Key, points: int, **more: Raw | None) -> None:
        """Put a row on the owner, as an application does that knows the names of its table."""
        image: Image = key_image(key, ("pk", "sk")) | {"tier": of_string("gold")}
        if self.owner() is Side.SOURCE:
            image |= {"balance": of_number(points), "wallet_type": of_string("ENGAGEMENT")}
        else:
            image["points"] = of_number(points)
        image |= {name: raw for name, raw in more.items() if raw is not None}
        self.tables[self.owner()].put(image)

    def remove(self, key: Key) -> None:
        self.tables[self.owner()].delete(key)

    # ---- the applier ----

    def transfer(self, side: Side, change: Change) -> None:
        """Apply a change record of the owner; a copy that comes too late changes nothing."""
        if side is not self.owner():
            return
        there, direction = self.tables[side.other], direction_to(side.other)
        key = self.mapping.other_key(direction, change.key, change.new or change.old)
        standing, version = there.images.get(key), version_at(change.committed_us)
        if standing is not None and fence_of(standing) >= version:
            return
        ours = key_image(change.key, self.tables[side].shape.key)
        image = ours | {"cf_deleted": of_boolean(True)} if change.new is None else change.new
        copied = key_image(key, there.shape.key) | self.mapping.carry(direction, image)
        there.put(copied | {"cf_mv": of_number(version)})

    # ---- a flip ----

    def close(self) -> None:
        self.maps.now = drained_from(self.map)

    def flip(self) -> None:
        """Give all rows to the other table: its tombstones go."""
        self.clock.now += 2 * SHORTEST_US / 1e6
        sealed = sealed_from(self.map if self.map.state.value == "draining" else drained_from(self.map))
        now_us = self.clock.wall_us()
        self.maps.now = flipped_from(sealed, held_us=now_us, other_held_us=now_us)
        mine = self.tables[self.owner()]
        for key in [key for key, image in mine.images.items() if "cf_deleted" in image]:
            mine.delete(key)
        self.maps.now = opened_from(self.map)

    def sets(self, side: Side, key: Key, **changed: Raw | None) -> None:
        """Change attributes of a row, whoever owns it."""
        image = {name: raw for name, raw in self.tables[side].images[key].items() if name not in changed}
        self.tables[side].put(image | {name: raw for name, raw in changed.items() if raw is not None})


def fence_of(image: Image) -> int:
    """Return the fence of a row, 0 where it has none."""
    raw = image.get("cf_mv")
    return 0 if raw is None else int(bytes(raw)[6:-2])


def __getattr__(name: str) -> RuleMapping:
    """Return the mapping of a `replicator_world`, for processes: `plain_world:p_<id>`."""
    if name.startswith("p_"):
        world = name.removeprefix("p_")
        return MAPPING.with_tables(source=f"wallet-{world}", target=f"engagement-{world}", name=f"m-{world}")
    raise AttributeError(name)
