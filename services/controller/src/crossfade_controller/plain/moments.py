"""Moments under the plain protocol, as commit times of a table.

Where a canary key is named, a moment is the commit time of a marker: a write to that key's row on the table that owns,
which the appliers copy as any other. On the standby nobody but Crossfade's appliers may write, and without a canary
there is nothing to write; there it is the `Date` of AWS's answers that tells the time, right to a second. The intervals
of the two tables overlap by more than that (`crossfade.core.protocol.plain.map.OVERLAP_US`).
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

from crossfade.core.protocol.plain.map import version_at
from crossfade.core.protocol.plain.rows import MARKER, fence_of
from crossfade.core.replication.change import decode_change
from crossfade.core.values.clocks import CommitUs, Skew
from crossfade.core.values.errors import ConfigError, OwnershipAmbiguous, PoisonRecord, StoreUnavailable
from crossfade.core.values.image import of_string
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import Side, direction_to
from crossfade_controller.markers import Tail
from crossfade_controller.plain.ports import PlainPorts
from crossfade_controller.world import World


class _Marker(NamedTuple):
    tail: Tail
    token: bytes
    since_s: float


class _Known(NamedTuple):
    committed_us: CommitUs
    at_s: float


class Echo:
    """Waits for the copy of a marker in the standby's stream: what was written to that table before it is there, too.

    Attributes:
        side: of the standby.
    """

    def __init__(self, world: World, side: Side, key: Key, tail: Tail) -> None:
        self.side = side
        self._world, self._key, self._tail = world, key, tail
        self._seen_s: float | None = None

    async def seen_s(self, since_us: int) -> float | None:
        """Return when the copy of a marker of that moment, or of a later one, was seen, monotonic; None before that."""
        if self._seen_s is None:
            for payload in await self._tail.read():
                if self._is_copy(payload, version_at(since_us)):
                    self._seen_s = self._world.clock.monotonic()
        return self._seen_s

    def _is_copy(self, payload: bytes, version: int) -> bool:
        try:
            change = decode_change(payload, self._world.mapping.shape(self.side).key)
            fence = fence_of(change.new) if change.new is not None else None
        except PoisonRecord:
            return False  # not ours to judge: the consumers park it
        return change.key == self._key and fence is not None and fence >= version


class Moments:
    """Tells moments. Belongs to the one task that drives the migration."""

    def __init__(self, world: World, ports: PlainPorts) -> None:
        self._world = world
        self._ports = ports
        self._key = canary_of(world)
        self._open: dict[tuple[Side, str], _Marker] = {}
        self._last: dict[Side, _Known] = {}

    @property
    def has_canary(self) -> bool:
        """Whether a canary key is named."""
        return self._key is not None

    def now_us(self, side: Side) -> CommitUs:
        """Return AWS's time where a table is, right to a second.

        Raises:
            StoreUnavailable: no answer told it lately.
        """
        skew = self._skew(side)
        return CommitUs(self._world.clock.wall_us() - int((skew.low_s + skew.high_s) / 2 * 1e6))

    async def held_us(self, side: Side, *, purpose: str) -> CommitUs:
        """Return as `moment` one that no write of before this call was committed after.

        A `Date` tells the time right to a second: by its middle, writes of right before the hold would count as after
        it, and their late records as a broken hold.
        """
        told_us = await self.moment(side, purpose=purpose)
        if await self._is_owner(side):
            return told_us
        return CommitUs(self._world.clock.wall_us() - int(self._skew(side).low_s * 1e6))

    def _skew(self, side: Side) -> Skew:
        skew = self._ports.skews[side]()
        if skew is None:
            raise StoreUnavailable("AWS's time, which no recent answer tells: see gate clock_skew")
        return skew

    async def moment(self, side: Side, *, purpose: str = "") -> CommitUs:
        """Return a commit time of a table: of a marker where it owns and a canary is named, else AWS's time.

        Args:
            side: whose.
            purpose: what it is for; a call that gave up is taken up again by the next one with the same purpose.

        Raises:
            StoreUnavailable: the marker's record did not come within `marker_s`.
        """
        committed_us = await self._marked(side, purpose) if await self._is_owner(side) else self.now_us(side)
        self._last[side] = _Known(committed_us, self._world.clock.monotonic())
        return committed_us

    async def echo(self, standby: Side) -> Echo | None:
        """Stand at the tip of the standby's stream, before a marker is written to the owner; None without a canary."""
        if self._key is None:
            return None
        mapping, owner = self._world.mapping, standby.other
        # The canary's key is the source's; on the other side it may be another.
        image = key_image(self._key, mapping.shape(owner).key)
        key = mapping.other_key(direction_to(standby), self._key, image)
        tail = Tail(self._world.shards, self._world.stream_of(standby))
        await tail.open()
        return Echo(self._world, standby, key, tail)

    async def elapsed_s(self, side: Side, since_us: CommitUs) -> float:
        """Return how long ago, about, a table took a write that was committed at `since_us`. See `moment`."""
        if side not in self._last or self._last[side].committed_us < since_us:
            known = _Known(self.now_us(side), self._world.clock.monotonic())
            self._last[side] = known
        known = self._last[side]
        return (known.committed_us - since_us) / 1e6 + self._world.clock.monotonic() - known.at_s

    async def _is_owner(self, side: Side) -> bool:
        if self._key is None:
            return False
        now = await self._ports.maps.read()
        if now is None:  # nothing is copied before there is a map: only the source table is there
            return side is Side.SOURCE and await self._flows(side)
        return now.owner is side

    async def _flows(self, side: Side) -> bool:
        stream = await self._world.admin.stream(self._world.stream_of(side))
        return stream is not None and stream.status == "ACTIVE"

    async def _marked(self, side: Side, purpose: str) -> CommitUs:
        world, name = self._world, (side, purpose)
        if self._key is None:
            raise ConfigError("there is no canary key: set CROSSFADE_CANARY_KEY")
        marker = self._open.pop(name, None) or await self._write(side, self._key)
        ends_s = world.clock.monotonic() + world.settings.marker_s
        while True:
            for payload in await marker.tail.read():
                if marker.token in payload and (committed_us := self._committed(side, payload)):
                    return committed_us
            if world.clock.monotonic() >= ends_s:
                break
            await world.clock.sleep(world.settings.marker_poll_s)
        if purpose:
            self._open[name] = marker
        waited_s = world.clock.monotonic() - marker.since_s
        raise StoreUnavailable(
            f"the record of a marker in {world.stream_of(side)}: it was written to {world.mapping.shape(side).table} "
            f"{waited_s:.0f} s ago and has not arrived; see that table's AgeOfOldestUnreplicatedRecord"
        )

    def _committed(self, side: Side, payload: bytes) -> CommitUs | None:
        try:
            change = decode_change(payload, self._world.mapping.shape(side).key)
        except PoisonRecord:
            return None  # not ours to judge: the consumers park it
        return CommitUs(change.committed_us) if change.key == self._key and change.precise else None

    async def _write(self, side: Side, key: Key) -> _Marker:
        table, token = self._ports.tables[side], secrets.token_hex(12)
        await self._ports.membership.beat()  # a marker is a write to a table that a flip may take away
        tail = Tail(self._world.shards, self._world.stream_of(side))
        await tail.open()
        met = (await table.read_many([key])).get(key)
        row = {**key_image(key, table.shape.key), MARKER: of_string(token)}
        if not await table.put(row, met=met):
            raise OwnershipAmbiguous(f"the canary's row {key.decode()} was changed by others during a marker")
        return _Marker(tail, token.encode(), self._world.clock.monotonic())


def canary_of(world: World) -> Key | None:
    """Return the canary's key, where one is named: CROSSFADE_CANARY_KEY has a default for the keyed protocol alone.

    Raises:
        ConfigError: it doesn't belong to the mapping.
    """
    return world.settings.canary(world.mapping) if world.settings.has_canary else None
