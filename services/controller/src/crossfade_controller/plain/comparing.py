"""The compare of a flip: in rounds while writes go on, and once more, with copies, while the standby is sealed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

import structlog

from crossfade.adapters.wire.errors import UNFIT
from crossfade.contracts.letter import WIDE
from crossfade.core.migration.flip_deeds import Compared, Round
from crossfade.core.protocol.plain import fence
from crossfade.core.protocol.plain.map import OwnerMap
from crossfade.core.protocol.plain.rows import DELETED, MV, TOMBSTONE, owned, parse, same, standing
from crossfade.core.values.errors import PoisonRecord, StoreRefused
from crossfade.core.values.image import Image, of_number
from crossfade.core.values.keys import key_image
from crossfade.core.values.shape import Side, direction_to, table_name
from crossfade.ports.control import COUNT_AT_MOST
from crossfade_controller.plain.changed import ChangedKeys, Pair
from crossfade_controller.plain.ports import PlainPorts
from crossfade_controller.world import World

log = structlog.get_logger()

CHUNK: Final = 100
"""Keys of one read: a BatchGetItem takes no more."""

NAMED: Final = 5
"""Keys that can't be settled without a person, as far as they are named."""

AGAIN: Final = 3
"""How often a copy may meet another row than was read."""


class Comparing:
    """Compares and copies. Belongs to the one task that drives the migration; its list is of one attempt."""

    def __init__(self, world: World, ports: PlainPorts) -> None:
        self._world = world
        self._ports = ports
        self._attempt: tuple[int, Side] | None = None
        self._changed: ChangedKeys | None = None
        self._listed: dict[Pair, None] = {}
        self._chunks: AsyncIterator[Sequence[Pair]] | None = None
        self._left: list[Pair] = []
        self._so_far = Compared(False)

    # While writes go on.

    async def work_off(self, attempt: int, owner: Side, *, since_us: int, budget_s: float) -> Round:
        """Compare the keys that changed since a moment, and drop those whose rows agree.

        A key that changes after that is in the stream again; so the list that is left never has a gap.

        Args:
            attempt: names it; another one begins another list.
            owner: the table that owns.
            since_us: the moment, before the last clean pass began.
            budget_s: how long to work before the state machine looks at the journal again.
        """
        changed = self._changed
        if self._attempt != (attempt, owner) or changed is None:
            changed = self._begin(attempt, owner, since_us)
        self._listed |= await changed.read()
        compared, ends_s = 0, self._world.clock.monotonic() + budget_s
        for pairs in _chunked(list(self._listed)):
            wrong = {each.pair for each in await self._differing(owner, pairs)}
            for pair in pairs:
                if pair not in wrong:
                    del self._listed[pair]
            compared += len(pairs)
            if self._world.clock.monotonic() >= ends_s:
                break
        return Round(compared, len(self._listed), changed.gap)

    def _begin(self, attempt: int, owner: Side, since_us: int) -> ChangedKeys:
        stream = self._world.stream_of(owner)
        self._attempt, self._listed = (attempt, owner), {}
        changed = self._changed = ChangedKeys(
            self._world.shards, stream, self._world.mapping, owner, since_s=since_us / 1e6
        )
        self._chunks, self._so_far = None, Compared(False)
        return changed

    # While the standby is sealed.

    async def settle(self, now: OwnerMap, *, held_us: int, whole: bool, budget_s: float) -> Compared:
        """Compare what is listed, and copy what differs; called again until it has ended.

        Args:
            now: the map, sealed.
            held_us: when the hold was proven, a commit time of the owner: no change of it is younger.
            whole: whether both tables are read instead of the list.
            budget_s: see `work_off`.

        Raises:
            StoreUnavailable: a read or write has no answer; the same keys are compared again.
        """
        if self._changed is None or (not whole and self._changed.gap):
            gap = self._changed.gap if self._changed is not None else "no list of changed keys"
            return self._so_far._replace(refused=(gap,))
        if self._chunks is None:
            self._listed |= await self._changed.read() | await self._wide(now.owner)
            self._chunks = self._all(now.owner) if whole else _each(_chunked(list(self._listed)))
            self._left = []
        ends_s = self._world.clock.monotonic() + budget_s
        while self._world.clock.monotonic() < ends_s and not self._so_far.refused:
            if not self._left:
                try:
                    self._left = list(await anext(self._chunks))
                except StopAsyncIteration:
                    self._so_far = self._so_far._replace(has_ended=True)
                    break
            pairs = self._left
            copied, refused = await self._settled(now, pairs, held_us)
            self._left = []
            at = self._so_far
            self._so_far = Compared(False, at.keys + len(pairs), at.copied + copied, (*at.refused, *refused)[:NAMED])
        return self._so_far

    async def _wide(self, owner: Side) -> dict[Pair, None]:
        """Return the rows that leave no room for a fence: they are copied here, and nowhere before."""
        letters = await self._world.letters.settled(limit=COUNT_AT_MOST)
        table = table_name(self._world.mapping.shape(owner).table)
        keys = [each.key for each in letters if each.code == WIDE and each.table == table]
        found: dict[Pair, None] = {}
        for first in range(0, len(keys), CHUNK):
            rows = await self._ports.tables[owner].read_many(keys[first : first + CHUNK])
            for key, image in rows.items():  # one that was deleted has a record of its own
                other = self._world.mapping.other_key(direction_to(owner.other), key, image)
                found[Pair(key, other)] = None
        return found

    async def _all(self, owner: Side) -> AsyncIterator[Sequence[Pair]]:
        """Every row of either table; one that both have comes twice."""
        mapping = self._world.mapping
        for side in (owner, owner.other):
            start: bytes | None = None
            while True:
                page = await self._ports.tables[side].scan_page(start=start)
                pairs = []
                for key, image in page.rows:
                    try:
                        other = mapping.other_key(direction_to(side.other), key, image)
                    except PoisonRecord:
                        if side is owner.other and standing(parse(image, mapping.shape(side))) is None:
                            continue  # a tombstone that doesn't tell whose it is: the owner's scan finds its row
                        raise
                    pairs.append(Pair(key, other) if side is owner else Pair(other, key))
                for chunk in _chunked(pairs):
                    yield chunk
                start = page.next
                if start is None:
                    break

    async def _settled(self, now: OwnerMap, pairs: Sequence[Pair], held_us: int) -> tuple[int, list[str]]:
        copied, refused, todo = 0, list[str](), list(pairs)
        for _ in range(AGAIN):
            differing = await self._differing(now.owner, todo)
            todo = []
            for each in differing:
                try:
                    if await self._copy(now.owner.other, each, held_us):
                        copied += 1
                    else:
                        todo.append(each.pair)
                except StoreRefused as error:
                    refused.append(f"{each.pair.other.decode()}: {error}")
            if not todo:
                return copied, refused
        changed = [f"{each.other.decode()}: it is changed by others while the standby is sealed" for each in todo]
        return copied, refused + changed

    async def _copy(self, standby: Side, found: _Differs, held_us: int) -> bool:
        """Write the owner's content at a version that no record from before the hold has; a late copy then loses."""
        shape, (_, key) = self._world.mapping.shape(standby), found.pair
        seen = parse(found.met, shape).version if found.met is not None else None
        version = fence.compared(seen, held_us)
        image = {**key_image(key, shape.key), MV: of_number(version)}
        if found.wanted is None:
            await self._ports.tombstones.add(standby, [key])
            kept = {name: value for name, value in (found.met or {}).items() if name in shape.kept}
            image |= {DELETED: TOMBSTONE, **kept}
        else:
            if self._world.mapping.is_anothers(found.met or {}, found.wanted):
                raise StoreRefused("the row there is another source row's", reason="another's")
            image |= found.wanted
        log.info("row copied in the hold", table=shape.table, deleted=found.wanted is None)
        try:
            return await self._ports.tables[standby].put(image, met=found.met)
        except StoreRefused as error:
            if error.reason not in UNFIT:
                raise
        return await self._ports.tables[standby].put({n: v for n, v in image.items() if n != MV}, met=found.met)

    async def _differing(self, owner: Side, pairs: Sequence[Pair]) -> list[_Differs]:
        """Return the rows that differ, each with what should stand on the standby, and what stands there.

        The standby is read first: a copy that arrives between the two reads makes no difference look like agreement.
        """
        mapping, direction = self._world.mapping, direction_to(owner.other)
        theirs = await self._ports.tables[owner.other].read_many(list(dict.fromkeys(each.other for each in pairs)))
        ours = await self._ports.tables[owner].read_many(list(dict.fromkeys(each.key for each in pairs)))
        found = []
        for pair in pairs:
            image, met = ours.get(pair.key), theirs.get(pair.other)
            if image is not None and mapping.other_key(direction, pair.key, image) != pair.other:
                image = None  # it is another row's by now: of this one there is nothing
            wanted = None
            if image is not None and owned(parse(image, mapping.shape(owner))) is not None:
                wanted = mapping.carry(direction, image)
            shape = mapping.shape(owner.other)
            there = standing(parse(met, shape)) if met is not None else None
            if not same(parse(wanted, shape) if wanted is not None else None, there):
                found.append(_Differs(pair, wanted, met))
        return found


class _Differs(NamedTuple):
    """A row of which the two tables hold different things.

    Attributes:
        pair: its keys.
        wanted: what the standby should hold, without its key; None for nothing.
        met: what stands there.
    """

    pair: Pair
    wanted: Image | None
    met: Image | None


def _chunked(pairs: Sequence[Pair]) -> list[Sequence[Pair]]:
    return [pairs[first : first + CHUNK] for first in range(0, len(pairs), CHUNK)]


async def _each(chunks: Sequence[Sequence[Pair]]) -> AsyncIterator[Sequence[Pair]]:
    for chunk in chunks:
        yield chunk
