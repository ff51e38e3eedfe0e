"""What the apply rule asks for beside transfers: strays are lifted, put back, parked (rules 3 and 5; ADR 0016).

    StrayOwner       the owner's version is lifted, so that the write travels like any other; then a settled letter.
                     What a put erased, it gets back
    StrayRemoval     its tombstone has travelled as a transfer; a letter
    StrayStandby     a letter with both images, unless it was a repair: nothing else of ours keeps what was written;
                     a row whose role was erased gets it back
    RemovedStandby   a letter, then the row is put back

A letter is written before the batch is acknowledged, whatever has overwritten the row meanwhile.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Mapping as Mapped
from typing import Any, Final, NamedTuple, Protocol

import structlog

from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.row import Row, same_content
from crossfade.core.protocol.seam import RemovedStandby, StrayOwner, StrayStandby
from crossfade.core.protocol.writing import Answer, Applied
from crossfade.core.replication.apply import Stray, StrayRemoval
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, Side, TableShape
from crossfade.ports.clock import Clock
from crossfade.ports.control import Parking
from crossfade.ports.table import RowTable
from crossfade.runtime.retry import persist
from crossfade_replicator.letters import name_of, stray_letter
from crossfade_replicator.outcome import Account
from crossfade_replicator.records import Record

log = structlog.get_logger()

AT_ONCE: Final = 16
"""Strays of one batch that are worked on at the same time: a plain writer must not stall its shard."""

NAMED: Final = 3
"""Keys that one line of the log names."""

CARRIED: Final = "a writer outside the protocol changed a row that its table owns; the change was carried over"
HIDDEN: Final = "a writer outside the protocol wrote to a deleted row; no reader will see what it wrote"
REMOVED: Final = "a writer outside the protocol deleted a row that its table owns"
REMOVED_STANDBY: Final = "a writer outside the protocol deleted a row whose key the other table owns; it was restored"
STANDBY: Final = "a writer outside the protocol changed a row whose key the other table owns"
OWNER_ERASED: Final = "a writer outside the protocol replaced an owner's row, erasing its role and version"
IN_HANDOVER: Final = (
    "a writer outside the protocol changed a row in handover, and the handover may have carried the change along"
)

_LOOK: Final = "Stop the writer, then look: `replicator dead-letters show {name}`. "
CURE_CARRIED: Final = "Stop the writer. Nothing is lost, and there is nothing else to do."
CURE_PARKED: Final = _LOOK + "Merge the change into the owner, or discard it."
CURE_REMOVED: Final = _LOOK + "If the key is to be deleted, delete it through the API; then discard the letter."


class OwnerSide(Protocol):
    """The table that an intervention writes to."""

    @property
    def shape(self) -> TableShape:
        """What the table looks like."""

    async def perform(self, write: Any) -> Answer[Row]:
        """Perform one write."""


class StrayRecord(NamedTuple):
    """A stray, and its record, as it came and decoded."""

    record: Record
    change: Change
    stray: Stray


class Interventions:
    """Acts on the origin table, for one direction."""

    def __init__(
        self,
        mapping: Mapping,
        direction: Direction,
        origin: OwnerSide,
        destination: RowTable,
        letters: Parking,
        *,
        clock: Clock,
    ) -> None:
        """Take both sides.

        Args:
            mapping: of the migration.
            direction: which way the records are applied.
            origin: the table that the records come from.
            destination: the other one, only read here.
            letters: where strays are parked.
            clock: seeds the version of an owner that lost its own.
        """
        self._mapping = mapping
        self._rows = mapping.protocol.rows()
        self._acts = mapping.protocol.acts
        self._consumer = direction.value
        self._letters = letters
        self._reverse = Direction.REVERSE if direction is Direction.FORWARD else Direction.FORWARD
        self._origin = origin
        self._destination = destination
        self._clock = clock

    async def act(self, found: Sequence[StrayRecord], account: Account) -> None:
        """Do what the strays of a batch ask for; when this returns, each of them is in a letter or carried over.

        Raises:
            CrossfadeError: a store refuses us for good; nothing may be acknowledged.
        """
        others = await self._others(
            [each.stray.key for each in found if isinstance(each.stray, StrayOwner | StrayStandby)]
        )
        owners: dict[Key, list[StrayRecord]] = {}
        works: list[Callable[[], Awaitable[None]]] = []
        for each in found:
            if isinstance(each.stray, StrayOwner):
                owners.setdefault(each.stray.key, []).append(each)
            else:
                works.append(functools.partial(self._one, each, others.get(each.stray.key), account))
        works += [functools.partial(self._lift_all, group, others.get(key), account) for key, group in owners.items()]
        await at_once(works)
        self._say(found)

    async def lift_if_stamped(self, key: Key, seen: int | None, account: Account) -> None:
        """Lift the owner of an unstamped write that came too late, if its standby is stamped and it is not.

        Only of writes from before strays were looked for. An old duplicate of a time before the first stamp looks the
        same, but then the owner has a version by now.
        """
        standby = self._rows.version_of((await self._others([key])).get(key))
        if self._rows.is_ordered(standby) and await self._lift(key, seen, 0, standby):
            account.counts["lifted"] += 1

    async def _one(self, found: StrayRecord, other: Row | None, account: Account) -> None:
        stray = found.stray
        if isinstance(stray, StrayStandby):
            await self._changed_standby(found, stray, other, account)
        elif isinstance(stray, RemovedStandby):
            await self._removed_standby(found, stray, account)
        elif isinstance(stray, StrayRemoval):
            account.stray(stray.committed_us)
            # Absent, the row still is the owner in the source table; in the target nobody owns the key by now.
            settled = self._origin.shape.side is Side.SOURCE
            cure = CURE_CARRIED if settled else CURE_REMOVED
            await self._park(found, account, reason=REMOVED, cure=cure, settled=settled)

    async def _lift_all(self, group: Sequence[StrayRecord], other: Row | None, account: Account) -> None:
        """Lift an owner above all that is known of it, and leave a letter; what a put erased of it is given back."""
        strays = [(each, each.stray) for each in group if isinstance(each.stray, StrayOwner)]
        key, version_of = group[0].stray.key, self._rows.version_of
        erased = max((s.erased for _, s in strays if s.erased is not None), key=version_of, default=None)
        reinstated = erased is not None and await self._reinstate(key, erased, other, account)
        for seen in dict.fromkeys(stray.seen for _, stray in strays):
            if seen is None and reinstated:
                continue
            before = max(stray.before for _, stray in strays if stray.seen == seen)
            applied = await self._lift(key, seen, before, version_of(other))
            account.counts["lifted" if applied else "lift_overtaken"] += 1
        watched = [(each, stray) for each, stray in strays if stray.watched]
        for _, stray in watched:
            account.stray(stray.committed_us)
        for found, _ in (each for each in watched if each[1].hidden):
            await self._park(found, account, reason=HIDDEN, cure=CURE_PARKED, settled=False)
        if carried := [each for each in watched if not each[1].hidden]:
            found, _ = max(carried, key=lambda each: each[1].committed_us)
            await self._park(found, account, reason=CARRIED, cure=CURE_CARRIED, settled=True)

    async def _removed_standby(self, found: StrayRecord, removed: RemovedStandby, account: Account) -> None:
        if removed.watched:
            account.stray(removed.committed_us)
            account.counts["standby_removed"] += 1
            await self._park(found, account, reason=REMOVED_STANDBY, cure=CURE_REMOVED, settled=False)
        answer = await persist(lambda: self._origin.perform(self._acts.restore(removed.key, removed.item).write))
        account.counts["restored" if isinstance(answer, Applied) else "restore_overtaken"] += 1

    async def _changed_standby(
        self, found: StrayRecord, stray: StrayStandby, owner: Row | None, account: Account
    ) -> None:
        if not stray.watched:
            account.counts["unwatched"] += 1
            return
        if self._is_repair(stray, owner):
            account.counts["repair"] += 1
            return
        account.stray(stray.committed_us)
        account.counts["stray_standby"] += 1
        in_handover = owner is not None and not self._rows.owns(owner, self._destination.shape.side)
        reason = OWNER_ERASED if self._was_owner(stray) else IN_HANDOVER if in_handover else STANDBY
        await self._park(found, account, reason=reason, cure=CURE_PARKED, settled=False)
        if stray.erased is not None:
            await self._reinstate(stray.key, stray.erased, owner, account)

    def _was_owner(self, stray: StrayStandby) -> bool:
        return stray.erased is not None and self._rows.owns(stray.erased, self._origin.shape.side)

    async def _reinstate(self, key: Key, erased: Row, other: Row | None, account: Account) -> bool:
        """Give a row back what was erased: without it a source row looks like an owner, and a new one takes no copy."""
        act = self._acts.reinstate(key, erased, self._origin.shape.side, other, now_us=self._clock.wall_us())
        applied = act is not None and isinstance(await persist(lambda: self._origin.perform(act.write)), Applied)
        account.counts["reinstated" if applied else "reinstate_overtaken"] += 1
        return applied

    def _is_repair(self, stray: StrayStandby, owner: Row | None) -> bool:
        """Say whether the row was given just what its owner has. Where the owner has moved on, nobody can tell."""
        if stray.item.version is None or owner is None or owner.version != stray.item.version:
            return False
        try:
            return same_content(self._mapping.map_item(self._reverse, owner), stray.item)
        except PoisonRecord:
            return False

    async def _others(self, keys: Sequence[Key]) -> Mapped[Key, Row]:
        """Read what the other table holds of these keys: a hundred a request, not one for each of a thousand strays."""
        wanted = list(dict.fromkeys(keys))
        try:
            return await persist(lambda: self._destination.read_many(wanted)) if wanted else {}
        except PoisonRecord:
            if len(wanted) == 1:
                return {}  # a row that can't be read tells nothing; it must not hold the whole shard
            middle = len(wanted) // 2
            return {**await self._others(wanted[:middle]), **await self._others(wanted[middle:])}

    async def _lift(self, key: Key, seen: int | None, before: int, standby: int) -> bool:
        act = self._acts.lift(key, seen, before=before, standby=standby, now_us=self._clock.wall_us())
        return isinstance(await persist(lambda: self._origin.perform(act.write)), Applied)

    async def _park(self, found: StrayRecord, account: Account, *, reason: str, cure: str, settled: bool) -> None:
        each = stray_letter(
            self._consumer,
            found.record.data,
            found.change,
            reason=reason,
            cure=cure,
            settled=settled,
            now_us=self._clock.wall_us(),
        )
        each = each.replace(cure=cure.format(name=name_of(each)))
        await persist(lambda: self._letters.park(each))
        account.park(each)

    def _say(self, found: Sequence[StrayRecord]) -> None:
        """Write one line a batch: a plain writer can make thousands of strays a second."""
        watched = [each.stray for each in found if isinstance(each.stray, StrayRemoval) or each.stray.watched]
        if watched:
            keys = [key.decode() for key in dict.fromkeys(stray.key for stray in watched)]
            table = self._origin.shape.table
            log.error("strays", table=table, records=len(watched), keys=keys[:NAMED], keys_in_all=len(keys))


async def at_once(works: Iterable[Callable[[], Awaitable[None]]], *, limit: int = AT_ONCE) -> None:
    """Do works in parallel, so many at a time.

    Raises:
        Exception: what the first one to fail raised; the others are cancelled.
    """
    queue = deque(works)

    async def work() -> None:
        while queue:
            await queue.popleft()()

    if len(queue) <= 1:
        return await work()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(limit, len(queue))):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
