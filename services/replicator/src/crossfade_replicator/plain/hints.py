"""What crosses to the owner: what a late record hints at, and removals by the TTL service (ADR 0044).

    owner read → the other direction is past that moment → standby read
      → copy, on the condition that the owner's row is the one that was read
      → the owner's stream: did anybody else write the key meanwhile? Then both rows are in a letter

The origin of the records is the old owner, and the standby by now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import structlog

from crossfade.application.membership import Membership
from crossfade.contracts.letter import HOLD_BROKEN, LATE
from crossfade.core.mapping.interface import Mapping as Migration
from crossfade.core.protocol.plain.late import CopyToOwner, settle
from crossfade.core.protocol.plain.map import OVERLAP_US, OwnerMap
from crossfade.core.protocol.plain.rows import PlainRow, build, owned, parse, same
from crossfade.core.replication.change import Change
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import Direction
from crossfade.ports.clock import Clock
from crossfade.ports.plain_table import PlainTable
from crossfade.runtime.retry import persist
from crossfade_replicator.outcome import Account
from crossfade_replicator.plain.batch import Entry
from crossfade_replicator.plain.letters import Letters

log = structlog.get_logger()

SEEN_WITHIN_S: Final = 20.0
"""How long a copy may take to the stream of its table until the key is left to its letter."""

POLL_S: Final = 0.5


class Past(Protocol):
    """`crossfade_replicator.plain.progress.Progress`."""

    async def is_past_now(self) -> None:
        """Return when everything that was written before this call has been applied."""
        ...


class Witnessing(Protocol):
    """`crossfade_replicator.plain.progress.Witness`."""

    def moment_s(self) -> float:
        """Return a moment to begin from."""
        ...

    async def changes(self, since_s: float, keys: frozenset[Key]) -> dict[Key, list[Change]]:
        """Return the changes of some keys that the stream has taken since a moment."""
        ...


class OwnerWrites(Protocol):
    """Writes to the owner's table, each on the condition that its whole row is as it was read."""

    async def replace(self, key: Key, met: Image | None, image: Image | None) -> bool | None:
        """Put a row, or delete it where `image` is None.

        Returns:
            False if another row stands there by now; None where the row has too many attributes for a condition.
        """
        ...

    async def delete_expired(self, key: Key, ttl: str, at_s: int) -> bool:
        """Delete a row whose TTL attribute is a number and not later than a moment; False if there is none such."""
        ...


class Hints:
    """Looks into the late records of one table, and carries its removals by TTL over."""

    def __init__(
        self,
        mapping: Migration,
        direction: Direction,
        *,
        membership: Membership,
        old: PlainTable,
        owner: PlainTable,
        owner_writes: OwnerWrites,
        progress: Past,
        witness: Witnessing,
        letters: Letters,
        clock: Clock,
    ) -> None:
        """Put the parts together.

        Args:
            mapping: of the migration.
            direction: of the consumer; its origin is the old owner, its destination the owner.
            membership: of this process.
            old: the origin, read.
            owner: the destination, read.
            owner_writes: writes to the destination.
            progress: of the consumer of the other direction.
            witness: of the destination's stream.
            letters: writes letters.
            clock: of the process.
        """
        self._mapping, self._direction = mapping, direction
        self._membership = membership
        self._old, self._owner, self._owner_writes = old, owner, owner_writes
        self._progress, self._witness, self._letters, self._clock = progress, witness, letters, clock
        self._old_shape, self._shape = mapping.shape(direction.origin), mapping.shape(direction.destination)

    async def settle(self, late: Sequence[tuple[Entry, bool]], account: Account) -> None:
        """Look into late records; when this returns, what they hint at is settled or in letters.

        Args:
            late: the records, each with whether it was committed past the hold.
            account: of the batch.
        """
        account.counts["late"] += len(late)
        by_key = {entry.known.key: entry for entry, _ in late}
        for entry, past_hold in late:
            if past_hold:
                rows = await self._both([entry.known.key])
                await self._letters.rows(HOLD_BROKEN, entry, self._named(entry.known.key, *rows), account)
        todo = set(by_key)
        while todo:
            since_s = self._witness.moment_s()
            olds, presents = await self._both(list(todo))
            view = self._membership.view
            if view is None:
                return  # no flip without a map
            todo = {key for key in todo if self._wants(key, olds, presents, view.floor)}
            if not todo:
                return
            await persist(self._progress.is_past_now)
            todo = await self._copy(todo, presents, since_s, by_key, account)

    async def _copy(
        self,
        keys: set[Key],
        presents: Mapping[Key, Image],
        since_s: float,
        by_key: Mapping[Key, Entry],
        account: Account,
    ) -> set[Key]:
        """Copy what was never brought along; return the keys whose owner's row is another by now."""
        again: set[Key] = set()
        copied: dict[Key, PlainRow | None] = {}
        async with self._membership.working() as view:
            if view.owner is not self._direction.destination:
                return set()  # flipped back: what this table's rows hold is true, and travels from here
            olds = await persist(lambda: self._old.read_many(list(keys)))
            for key in keys:
                wanted = self._wants(key, olds, presents, view.floor)
                if wanted is None:
                    continue
                content, met = wanted.content, presents.get(key)
                image = None if content is None else build(content, key_image(key, self._shape.key))
                done = await persist(partial(self._owner_writes.replace, key, met, image))
                if done:
                    copied[key] = content
                    account.counts["late_copied"] += 1
                elif done is None:
                    await self._letters.rows(LATE, by_key[key], self._named(key, olds, presents), account)
                else:
                    again.add(key)
        for key in await self._disturbed(copied, since_s, view):
            await self._letters.rows(LATE, by_key[key], self._named(key, olds, presents), account)
        return again

    async def _disturbed(self, copied: Mapping[Key, PlainRow | None], since_s: float, view: OwnerMap) -> list[Key]:
        """Return the keys that somebody else wrote on the owner between read and copy, or nobody knows whether."""
        if not copied:
            return []
        held_us = view.interval.since_us + OVERLAP_US
        ends_s = self._clock.monotonic() + SEEN_WITHIN_S
        while True:
            found = await persist(lambda: self._witness.changes(since_s, frozenset(copied)))
            ours = {key: [self._is_ours(each, copied[key]) for each in found[key]] for key in copied}
            if all(map(any, ours.values())) or self._clock.monotonic() >= ends_s:
                break
            await self._clock.sleep(POLL_S)
        return [
            key
            for key, are_ours in ours.items()
            if are_ours.count(True) != 1
            or any(
                not is_ours and each.committed_us >= held_us for each, is_ours in zip(found[key], are_ours, strict=True)
            )
        ]

    def _is_ours(self, change: Change, content: PlainRow | None) -> bool:
        there = None if change.new is None else owned(parse(change.new, self._shape))
        return same(there, content)

    def _wants(
        self, key: Key, olds: Mapping[Key, Image], presents: Mapping[Key, Image], floor: int
    ) -> CopyToOwner | None:
        old, present = olds.get(key), presents.get(key)
        mapped = None
        if old is not None:
            mapped = self._mapping.map_item(self._direction, parse(old, self._old_shape))
        there = None if present is None else parse(present, self._shape)
        decided = settle(mapped, there, floor, reverse_is_past=True)
        return decided if isinstance(decided, CopyToOwner) else None

    async def expire(self, entry: Entry, account: Account) -> None:
        """Carry a removal by the TTL service over to the owner, if it is still due there.

        Where it isn't, the owner has changed the row: that change travels as any other, and puts the row back.
        """
        change, ttl = entry.known, self._old_shape.ttl
        if ttl is not None:
            name, at_s = self._shape.own(ttl), change.committed_us // 1_000_000
            done = await persist(lambda: self._owner_writes.delete_expired(change.key, name, at_s))
            account.counts["expired" if done else "expiry_overtaken"] += 1

    async def _both(self, keys: list[Key]) -> tuple[Mapping[Key, Image], Mapping[Key, Image]]:
        presents = await persist(lambda: self._owner.read_many(keys))
        return await persist(lambda: self._old.read_many(keys)), presents

    def _named(self, key: Key, olds: Mapping[Key, Image], presents: Mapping[Key, Image]) -> dict[str, Image | None]:
        return {self._old_shape.table: olds.get(key), self._shape.table: presents.get(key)}
