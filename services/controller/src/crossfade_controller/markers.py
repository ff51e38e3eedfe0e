"""Markers: "now", as a table's own commit time (ADR 0019).

Our clock may be ahead of AWS's, behind it, or jump. So a moment that is compared with commit times is never read off
it: a marker is written to the table, its change record is waited for, and the moment is that record's commit time.

The marker is the canary's next version. In the table that owns the canary it is a lift; in the other one the copy of
that lift. Both are writes that every consumer knows: no value changes, no event is emitted, and the row is a
tombstone, hidden from reads and counts. Nothing of ours has to tell a marker from other writes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

from crossfade.core.mapping.copies import transfer_of
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import Aim
from crossfade.core.protocol.writing import HOLDS, Applied, Unfit
from crossfade.core.replication.change import Change, decode_change
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.errors import ConfigError, OwnershipAmbiguous, PoisonRecord, StoreUnavailable
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.streams import StreamReader
from crossfade_controller.world import World

PAGE: Final = 1000
"""Records of one GetRecords."""

TRIES: Final = 5
"""How often a marker may meet a canary that moved meanwhile."""

_SAFE: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789#-_.:|")


class Tail:
    """Reads what a stream takes from now on, all its shards, those of a later resharding too."""

    def __init__(self, shards: StreamReader, stream: str) -> None:
        """Take the stream; `open` fixes where reading begins."""
        self._shards = shards
        self._stream = stream
        self._iterators: dict[str, str | None] = {}

    async def open(self) -> None:
        """Stand at the tip of each shard."""
        for shard in await self._shards.list_shards(self._stream):
            self._iterators[shard.shard_id] = await self._shards.shard_iterator(
                self._stream, shard.shard_id, latest=True
            )
        await self.read()  # an iterator that was read from once is surely in place
        if not self._iterators:
            raise StoreUnavailable(f"stream {self._stream} has no shards")

    async def read(self) -> list[bytes]:
        """Return the payloads that came since the last call."""
        found: list[bytes] = []
        closed = False
        for shard_id, iterator in list(self._iterators.items()):
            while iterator is not None:
                fetched = await self._shards.get_records(iterator, PAGE)
                found += [record.data for record in fetched.records]
                iterator = self._iterators[shard_id] = fetched.next_iterator
                closed = closed or iterator is None
                if not fetched.records:
                    break
        if closed:
            found += await self._follow()
        return found

    async def _follow(self) -> list[bytes]:
        """Read the shards that took the place of closed ones, from their first record on."""
        fresh = [each for each in await self._shards.list_shards(self._stream) if each.shard_id not in self._iterators]
        for shard in fresh:
            self._iterators[shard.shard_id] = await self._shards.shard_iterator(self._stream, shard.shard_id)
        return await self.read() if fresh else []


class _Marker(NamedTuple):
    """A marker that was written and not seen yet."""

    tail: Tail
    version: int
    since_s: float


class _Known(NamedTuple):
    """A commit time, and when it lay in the past for sure, on our monotonic clock."""

    committed_us: CommitUs
    at_s: float


class Markers:
    """Tells moments as commit times. Belongs to the one task that drives the migration."""

    def __init__(self, world: World, allocate: Callable[[str], Awaitable[int]]) -> None:
        """Take the ports.

        Args:
            world: the ports.
            allocate: reserves a generation durably, for a canary that doesn't exist yet.
        """
        self._world = world
        self._allocate = allocate
        self._key = world.settings.canary(world.mapping)
        self._hint = _hint(self._key)
        self._open: dict[tuple[Side, str], _Marker] = {}
        self._last: dict[Side, _Known] = {}

    async def moment(self, side: Side, *, purpose: str = "") -> CommitUs:
        """Return a commit time of `side`'s table: not before this call was made, and not after it returns.

        Args:
            side: whose table and stream.
            purpose: what it is for. A call that gave up is taken up again by the next one with the same purpose, with
                the marker that was written then; without a purpose each call writes a marker of its own.

        Raises:
            StoreUnavailable: the marker's record did not come within `marker_s`; the message says what is waited for.
            OwnershipAmbiguous: the canary moves on and on.
        """
        name = (side, purpose)
        marker = self._open.pop(name, None) or await self._write(side)
        world = self._world
        ends_s = world.clock.monotonic() + world.settings.marker_s
        while True:
            committed_us = self._seen(side, marker, await marker.tail.read())
            if committed_us is not None:
                self._last[side] = _Known(committed_us, world.clock.monotonic())
                return committed_us
            if world.clock.monotonic() >= ends_s:
                break
            await world.clock.sleep(world.settings.marker_poll_s)
        if purpose:
            self._open[name] = marker
        waited_s = world.clock.monotonic() - marker.since_s
        raise StoreUnavailable(
            f"the record of the canary's version {marker.version} in {world.stream_of(side)}: it was written to "
            f"{world.mapping.shape(side).table} {waited_s:.0f} s ago and has not arrived; see that table's "
            "AgeOfOldestUnreplicatedRecord"
        )

    async def elapsed_s(self, side: Side, since_us: CommitUs) -> float:
        """Return how long ago, at least, `side`'s table took a write that was committed at `since_us`.

        A restart, or a clock that jumped, doesn't matter: from that commit to a later marker it is AWS's clock that
        tells, from there on our monotonic one.

        Raises:
            StoreUnavailable, OwnershipAmbiguous: as `moment`.
        """
        if side not in self._last or self._last[side].committed_us < since_us:
            await self.moment(side, purpose="elapsed")
        known = self._last[side]
        return (known.committed_us - since_us) / 1e6 + self._world.clock.monotonic() - known.at_s

    def forget(self, purpose: str) -> None:
        """Drop the markers of a purpose: what they were for has to begin once more."""
        self._open = {name: each for name, each in self._open.items() if name[1] != purpose}

    def _seen(self, side: Side, marker: _Marker, payloads: Iterable[bytes]) -> CommitUs | None:
        """Return the commit time of the marker's record, or of a later version's; None when neither came."""
        shape = self._world.mapping.shape(side)
        for payload in payloads:
            if self._hint not in payload:
                continue
            try:
                change = decode_change(payload, shape.key)
                if change.key == self._key and self._version(change, side) >= marker.version and change.precise:
                    return CommitUs(change.committed_us)
            except PoisonRecord:
                continue  # not ours to judge: the consumers park it
        return None

    def _version(self, change: Change, side: Side) -> int:
        if change.new is None:
            return 0
        mapping = self._world.mapping
        return mapping.protocol.reader(mapping.shape(side)).place(change, change.new).version

    async def _write(self, side: Side) -> _Marker:
        tail = Tail(self._world.shards, self._world.stream_of(side))
        await tail.open()
        for _ in range(TRIES):
            owner, item = await self._owner()
            lift = self._world.mapping.protocol.acts.lift(self._key, item.version, now_us=self._world.clock.wall_us())
            answer = await self._world.tables[owner].perform(lift.write)
            if not isinstance(answer, Applied):
                continue
            if owner is side or await self._copied(side, answer.item):
                return _Marker(tail, lift.version, self._world.clock.monotonic())
        raise OwnershipAmbiguous(f"canary {self._key.decode()} was changed by others during each of {TRIES} markers")

    async def _copied(self, side: Side, item: Row) -> bool:
        """Copy the owner's item to `side`; say whether its version stands there."""
        transfer = transfer_of(self._world.mapping, side.other, self._key, item)
        (verdict,) = await self._world.copies[side].transfer([transfer])
        return verdict in HOLDS

    async def _owner(self) -> tuple[Side, Row]:
        """Return the table that owns the canary, and its item there; a canary that never was comes into being."""
        tables, key, protocol = self._world.tables, self._key, self._world.mapping.protocol
        rows, acts = protocol.rows(), protocol.acts
        for _ in range(TRIES):
            source = await tables[Side.SOURCE].read(key)
            if source is None:
                stub = await tables[Side.SOURCE].perform(acts.stub(key, 0, now_us=self._world.clock.wall_us()).write)
                if isinstance(stub, Unfit):
                    raise ConfigError(f"the source table refuses the canary {key.decode()} for good: {stub.because}")
                source = stub.item
            if source is not None and rows.owns(source, Side.SOURCE):
                return Side.SOURCE, source
            if source is not None and rows.standing_of(source) == 0:  # sealed by nobody: our own stub
                standing = await self._allocate("the canary's first owner")
                await tables[Side.SOURCE].perform(acts.own_stub(key, source, standing).write)
                continue
            new = await tables[Side.TARGET].read(key)
            if new is not None and rows.owns(new, Side.TARGET):
                return Side.TARGET, new
            await self._world.ownership.hand_over_many([key], Aim(Side.TARGET, 0))  # helps whoever began it
        raise OwnershipAmbiguous(f"can't determine which table owns the canary {key.decode()}")


def _hint(key: Key) -> bytes:
    """Return bytes that each record of the key holds, however it is spelled, so that few records are decoded.

    The longest run within it that no JSON encoder escapes.
    """
    best = run = b""
    for byte in key:
        run = run + bytes((byte,)) if byte in _SAFE else b""
        best = run if len(run) > len(best) else best
    return best
