"""The compare of a flip: in rounds while writes go on, and once more, with copies, while the standby is sealed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import structlog

from crossfade.core.migration.flip_deeds import Compared, Round
from crossfade.core.protocol.plain.map import OwnerMap, version_at
from crossfade.core.protocol.plain.rows import PlainRow, build, owned, parse, same, standing
from crossfade.core.values.errors import StoreRefused
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import Side, direction_to
from crossfade_controller.plain.changed import ChangedKeys
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
        self._listed: dict[Key, None] = {}
        self._chunks: AsyncIterator[Sequence[Key]] | None = None
        self._left: list[Key] = []
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
        for keys in _chunked(list(self._listed)):
            wrong = {key for key, _, _ in await self._differing(owner, keys)}
            for key in keys:
                if key not in wrong:
                    del self._listed[key]
            compared += len(keys)
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
            self._listed |= await self._changed.read()
            self._chunks = self._all_keys() if whole else _each(_chunked(list(self._listed)))
            self._left = []
        ends_s = self._world.clock.monotonic() + budget_s
        while self._world.clock.monotonic() < ends_s and not self._so_far.refused:
            if not self._left:
                try:
                    self._left = list(await anext(self._chunks))
                except StopAsyncIteration:
                    self._so_far = self._so_far._replace(has_ended=True)
                    break
            keys = self._left
            copied, refused = await self._settled(now, keys, held_us)
            self._left = []
            at = self._so_far
            self._so_far = Compared(False, at.keys + len(keys), at.copied + copied, (*at.refused, *refused)[:NAMED])
        return self._so_far

    async def _all_keys(self) -> AsyncIterator[Sequence[Key]]:
        """Every key of either table; one that both have comes twice."""
        for side in Side:
            start: bytes | None = None
            while True:
                page = await self._ports.tables[side].scan_page(start=start)
                for keys in _chunked([key for key, _ in page.rows]):
                    yield keys
                start = page.next
                if start is None:
                    break

    async def _settled(self, now: OwnerMap, keys: Sequence[Key], held_us: int) -> tuple[int, list[str]]:
        copied, refused, todo = 0, list[str](), list(keys)
        for _ in range(AGAIN):
            differing = await self._differing(now.owner, todo)
            if not differing:
                return copied, refused
            todo = []
            for key, wanted, met in differing:
                try:
                    if await self._copy(now.owner.other, key, wanted, met, held_us):
                        copied += 1
                    else:
                        todo.append(key)
                except StoreRefused as error:
                    refused.append(f"{key.decode()}: {error}")
            if not todo:
                return copied, refused
        changed = [f"{key.decode()}: it is changed by others while the standby is sealed" for key in todo]
        return copied, refused + changed

    async def _copy(self, standby: Side, key: Key, wanted: PlainRow | None, met: Image | None, held_us: int) -> bool:
        """Write the owner's content at a version that no record from before the hold has; a late copy then loses."""
        shape = self._world.mapping.shape(standby)
        seen = parse(met, shape).version if met is not None else None
        version = max((seen or 0) + 1, version_at(held_us))
        row = PlainRow(version, deleted=True) if wanted is None else wanted.at(version)
        if row.deleted:
            await self._ports.tombstones.add(standby, [key])
        log.info("row copied in the hold", table=shape.table, deleted=row.deleted)
        return await self._ports.tables[standby].put(build(row, key_image(key, shape.key)), met=met)

    async def _differing(self, owner: Side, keys: Sequence[Key]) -> list[tuple[Key, PlainRow | None, Image | None]]:
        """Return the keys whose rows differ, each with what should stand on the standby, and what stands there.

        The standby is read first: a copy that arrives between the two reads makes no difference look like agreement.
        """
        mapping, direction = self._world.mapping, direction_to(owner.other)
        theirs = await self._ports.tables[owner.other].read_many(keys)
        ours = await self._ports.tables[owner].read_many(keys)
        found = []
        for key in keys:
            image, met = ours.get(key), theirs.get(key)
            content = owned(parse(image, mapping.shape(owner))) if image is not None else None
            wanted = mapping.map_item(direction, content) if content is not None else None
            there = standing(parse(met, mapping.shape(owner.other))) if met is not None else None
            if not same(wanted, there):
                found.append((key, wanted, met))
        return found


def _chunked(keys: Sequence[Key]) -> list[Sequence[Key]]:
    return [keys[first : first + CHUNK] for first in range(0, len(keys), CHUNK)]


async def _each(chunks: Sequence[Sequence[Key]]) -> AsyncIterator[Sequence[Key]]:
    for chunk in chunks:
        yield chunk
