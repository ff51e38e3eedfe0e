"""A checkpoint moves only when all records up to it are applied, skipped or parked (design.md, section 3, rule 11).

So at each checkpoint the records that it passes are held against what stands in the tables, and in the feed's stream.
"""

from __future__ import annotations

from crossfade.core.protocol.keyed.item import Item, is_active, version_of
from crossfade.core.protocol.keyed.records import events_of
from crossfade.core.replication.change import Change
from crossfade.core.values.shape import Side
from simulation.ground import Ground
from simulation.story import Broken


class Checkpoints:
    """Where consumers store their places."""

    def __init__(self, ground: Ground, side: Side) -> None:
        self._ground, self._side = ground, side

    async def get(self, consumer: str, shard: str) -> str | None:
        return self._ground.checkpoints.get((consumer, shard))

    async def put(self, consumer: str, shard: str, place: str) -> None:
        before = self._ground.checkpoints.get((consumer, shard), "-1")
        if int(place) <= int(before):
            return  # of a former life
        self._ground.checkpoints[consumer, shard] = place
        self._ground.network.watched(lambda: self._passed(consumer, shard, int(before) + 1, int(place) + 1))

    def _passed(self, consumer: str, shard: str, first: int, end: int) -> None:
        stream, _, name = shard.partition("/")
        for record in self._ground.aws.shard(stream, name)[first:end]:
            known = self._ground.known(record.data)
            if known.change.key not in self._ground.truth:
                continue
            if consumer.startswith("feed"):
                self._told(known.change)
            else:
                self._applied(consumer, *known)

    def _told(self, change: Change) -> None:
        for event in events_of(change, self._side):
            if event.event.transaction_id not in self._ground.aws.told_ids:
                raise Broken(f"the feed passed {change.key.decode()} at {event.version}, and never told of it")

    def _applied(self, consumer: str, change: Change, old: Item | None, new: Item | None) -> None:
        if new is None:
            return
        ground = self._ground
        owned = old is not None and is_active(old, self._side)
        if not (is_active(new, self._side) or owned) or (change.key, change.committed_us) in ground.letters.ever:
            return
        here, there = (ground.tables[side].item(change.key) for side in (self._side, self._side.other))
        reached = max(version_of(there), version_of(here) if is_active(there, self._side.other) else 0)
        if change.key in ground.strayed:
            # What a stray wrote travels with the lift of its owner, which has a version of its own.
            lifted = max(version_of(here), version_of(there)) > version_of(new)
            if owned and version_of(new) == version_of(old) and new.content != (old and old.content) and not lifted:
                raise Broken(f"{consumer} passed a stray on {change.key.decode()}, and its owner was not lifted")
            return
        wanted = new.version if new.version else change.committed_us
        if reached < wanted:
            raise Broken(f"{consumer} passed {change.key.decode()} at version {wanted}, and {there} stands there")
