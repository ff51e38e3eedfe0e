"""What crosses to the owner: what a late record hints at, and removals by the TTL service (ADR 0044).

    owner read → the other direction is past that moment → standby read
      → copy, on the condition that the owner's row is the one that was read
      → the owner's stream: did anybody else write the key meanwhile? Then both rows are in a letter

The origin of the records is the old owner, and the standby by now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

import structlog

from crossfade.application.membership import Membership
from crossfade.contracts.letter import HOLD_BROKEN, LATE
from crossfade.core.mapping.interface import Mapping as Migration
from crossfade.core.protocol.plain.late import CopyToOwner, settle
from crossfade.core.protocol.plain.map import OVERLAP_US, OwnerMap
from crossfade.core.protocol.plain.records import disturbs
from crossfade.core.protocol.plain.rows import PlainRow, build, fence_of, is_marked, owned, parse, same
from crossfade.core.replication.change import Change
from crossfade.core.replication.plain import PlainRule
from crossfade.core.values.errors import PoisonRecord
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

    async def changes(self, since_s: float, keys: frozenset[Key]) -> dict[Key, list[Change]] | None:
        """Return the changes of some keys that the stream has taken since a moment; None where it is too long."""
        ...


class OwnerWrites(Protocol):
    """Writes to the owner's table, each on the condition that its whole row is as it was read."""

    async def replace(self, key: Key, met: Image | None, image: Image | None) -> bool | None:
        """Put a row; without an image, see that the key has none.

        Returns:
            False if another row stands there by now; None where the row has too many attributes for a condition.
        """
        ...

    async def delete_expired(self, key: Key, ttl: str, at_s: int) -> bool:
        """Delete a row whose TTL attribute is a number and not later than a moment; False if there is none such."""
        ...


class _Present(NamedTuple):
    """The owner's row of a key: its own key, and the row; None for none."""

    key: Key
    row: Image | None


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
        old_witness: Witnessing,
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
            old_witness: of the origin's.
            letters: writes letters.
            clock: of the process.
        """
        self._mapping, self._direction = mapping, direction
        self._membership = membership
        self._old, self._owner, self._owner_writes = old, owner, owner_writes
        self._progress, self._witness, self._old_witness = progress, witness, old_witness
        self._letters, self._clock = letters, clock
        self._decide = PlainRule(mapping, direction).decide
        self._old_shape, self._shape = mapping.shape(direction.origin), mapping.shape(direction.destination)

    async def settle(self, late: Sequence[tuple[Entry, bool]], account: Account, *, by_records: bool = True) -> None:
        """Look into late records; when this returns, what they hint at is settled or in letters.

        Args:
            late: the records, each with whether it was committed past the hold.
            account: of the batch.
            by_records: whether there are records. Keys that differ without one go into letters: the flip may have
                missed a write of the old owner, or a record of the present one may never come, and the rows don't tell.
        """
        account.counts["late"] += len(late)
        todo: dict[Key, Entry] = {}
        for entry, past_hold in late:
            todo.setdefault(entry.known.key, entry)
            if past_hold:
                await self._keep_broken(entry, account)
        theirs = await self._theirs(todo, account)
        while todo := {key: each for key, each in todo.items() if key in theirs}:
            since_s = self._witness.moment_s()
            presents = await self._presents(theirs, todo)
            olds = await persist(partial(self._old.read_many, list(todo)))
            view = self._membership.view
            if view is None or view.owner is not self._direction.destination:
                return  # flipped back: what this table's rows hold is true, and travels from here
            todo = {key: each for key, each in todo.items() if self._wants(key, olds, presents, view.floor)}
            if not todo:
                return
            disturbed = await self._disturbed(todo, view)
            if disturbed is None:
                for key, entry in todo.items():
                    await self._letters.rows(LATE, entry, self._named(olds.get(key), presents[key].row), account)
                return
            account.counts["late_disturbed"] += len(disturbed)
            todo = {key: each for key, each in todo.items() if key not in disturbed}
            await persist(self._progress.is_past_now)
            if not by_records:
                await self._keep_differing(todo, presents, view.floor, account)
                return
            todo = await self._copy(todo, olds, presents, since_s, account)

    async def _keep_differing(
        self, todo: Mapping[Key, Entry], presents: Mapping[Key, _Present], floor: int, account: Account
    ) -> None:
        """Keep both rows of the keys that still differ, once the other direction is past the reads."""
        olds = await persist(partial(self._old.read_many, list(todo)))
        for key, entry in todo.items():
            if self._wants(key, olds, presents, floor):
                await self._letters.rows(LATE, entry, self._named(olds.get(key), presents[key].row), account)

    async def _keep_broken(self, entry: Entry, account: Account) -> None:
        key = entry.known.key
        theirs = await self._theirs({key: entry}, account)
        presents = await self._presents(theirs, theirs)
        old = (await persist(partial(self._old.read_many, [key]))).get(key)
        if key in presents:
            await self._letters.rows(HOLD_BROKEN, entry, self._named(old, presents[key].row), account)

    async def _copy(
        self,
        late: Mapping[Key, Entry],
        before: Mapping[Key, Image],
        presents: Mapping[Key, _Present],
        since_s: float,
        account: Account,
    ) -> dict[Key, Entry]:
        """Copy what was never brought along; return the keys of which either row is another by now."""
        again: dict[Key, Entry] = {}
        copied: dict[Key, tuple[Key, PlainRow | None]] = {}
        async with self._membership.working() as view:
            if view.owner is not self._direction.destination:
                return {}
            olds = await persist(partial(self._old.read_many, list(late)))
            for key, entry in late.items():
                if olds.get(key) != before.get(key):
                    again[key] = entry  # a copy has come, or somebody else's change: then its stream is read again
                    continue
                wanted = self._wants(key, olds, presents, view.floor)
                if wanted is None:
                    continue
                there, met = presents[key]
                image = None if wanted.content is None else build(wanted.content, key_image(there, self._shape.key))
                done = await persist(partial(self._owner_writes.replace, there, met, image))
                if done:
                    copied[key] = there, wanted.content
                    account.counts["late_copied"] += 1
                elif done is None:
                    await self._letters.rows(LATE, entry, self._named(olds.get(key), met), account)
                else:
                    again[key] = entry
        for key in await self._written_by_others(copied, since_s, view):
            await self._letters.rows(LATE, late[key], self._named(olds.get(key), presents[key].row), account)
        return again

    async def _written_by_others(
        self, copied: Mapping[Key, tuple[Key, PlainRow | None]], since_s: float, view: OwnerMap
    ) -> list[Key]:
        """Return the keys that somebody else wrote on the owner between read and copy, or nobody knows whether."""
        if not copied:
            return []
        held_us = view.interval.since_us + OVERLAP_US
        ends_s = self._clock.monotonic() + SEEN_WITHIN_S
        theirs = frozenset(there for there, _ in copied.values())
        while True:
            found = await persist(partial(self._witness.changes, since_s, theirs))
            if found is None:
                return list(copied)
            ours = {
                key: [self._is_ours(each, content) for each in found[there]] for key, (there, content) in copied.items()
            }
            if all(map(any, ours.values())) or self._clock.monotonic() >= ends_s:
                break
            await self._clock.sleep(POLL_S)
        return [
            key
            for key, are_ours in ours.items()
            if are_ours.count(True) != 1
            or any(
                not is_ours and each.committed_us >= held_us
                for each, is_ours in zip(found[copied[key][0]], are_ours, strict=True)
            )
        ]

    def _is_ours(self, change: Change, content: PlainRow | None) -> bool:
        there = None if change.new is None else owned(parse(change.new, self._shape))
        return same(there, content)

    async def _disturbed(self, late: Mapping[Key, Entry], view: OwnerMap) -> set[Key] | None:
        """Return the keys whose old owner's row was changed after the hold, and not by Crossfade.

        It no longer says what was true; the change's own record deals with that. None: nobody can say, since the stream
        is too long.
        """
        held_s = view.intervals[-2].held_us / 1e6
        found = await persist(partial(self._old_witness.changes, held_s, frozenset(late)))
        if found is None:
            return None
        return {key for key, changes in found.items() if any(self._is_disturbing(each, view) for each in changes)}

    def _is_disturbing(self, change: Change, view: OwnerMap) -> bool:
        if change.committed_us <= view.intervals[-2].held_us:
            return False  # an old record that has come again: the stream is read by arrival
        try:
            return disturbs(self._decide(change, view))
        except PoisonRecord:
            return True

    def _wants(
        self, key: Key, olds: Mapping[Key, Image], presents: Mapping[Key, _Present], floor: int
    ) -> CopyToOwner | None:
        old, present = olds.get(key), presents[key].row
        there = None if present is None else parse(present, self._shape)
        decided = settle(self._mapped(old), there, floor, reverse_is_past=True)
        return decided if isinstance(decided, CopyToOwner) else None

    def _mapped(self, old: Image | None) -> PlainRow | None:
        """Return an old owner's row in the owner's names, with the fence that it has."""
        if old is None:
            return None
        carried = parse(self._mapping.carry(self._direction, old), self._shape)
        return carried._replace(version=fence_of(old), deleted=is_marked(old))

    async def _theirs(self, late: Mapping[Key, Entry], account: Account) -> dict[Key, Key]:
        """Return the keys of the owner's rows; where there is no way from one to the other, a letter keeps the row."""
        olds = await persist(partial(self._old.read_many, list(late)))
        found: dict[Key, Key] = {}
        for key, entry in late.items():
            change = entry.known
            image = change.old if change.new is None else change.new
            try:
                found[key] = self._mapping.other_key(self._direction, key, olds.get(key) if image is None else image)
            except PoisonRecord:
                await self._letters.rows(LATE, entry, self._named(olds.get(key), None), account)
        return found

    async def _presents(self, theirs: Mapping[Key, Key], keys: Iterable[Key]) -> dict[Key, _Present]:
        """Read the owner's rows, by the old owner's key."""
        wanted = {key: theirs[key] for key in keys}
        found = await persist(partial(self._owner.read_many, list(dict.fromkeys(wanted.values()))))
        return {key: _Present(there, found.get(there)) for key, there in wanted.items()}

    async def expire(self, entry: Entry, account: Account) -> None:
        """Carry a removal by the TTL service over to the owner, if it is still due there.

        Where it isn't, the owner has changed the row: that change travels as any other, and puts the row back.
        """
        change, ttl = entry.known, self._old_shape.ttl
        if ttl is not None:
            key = self._mapping.other_key(self._direction, change.key, change.old)
            name, at_s = self._shape.own(ttl), change.committed_us // 1_000_000
            done = await persist(partial(self._owner_writes.delete_expired, key, name, at_s))
            account.counts["expired" if done else "expiry_overtaken"] += 1

    def _named(self, old: Image | None, present: Image | None) -> dict[str, Image | None]:
        return {self._old_shape.table: old, self._shape.table: present}
