"""The apply path of one batch under the plain protocol (design.md; ADR 0044).

    decode → decide at the map → coalesce → list tombstones → copies → asks, first touches → strays, removals by TTL
    late records, once nothing else is left

A batch is worked on while this process is a member and the map isn't sealed. In a seal, what has not been sent waits,
and is decided again at the map that is open then. When `apply` returns, every record is applied, skipped or parked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import structlog

from crossfade.application.membership import Membership
from crossfade.contracts.letter import UNRECORDED, WIDE
from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.plain import fence
from crossfade.core.protocol.plain.fit import is_wide
from crossfade.core.protocol.plain.map import OwnerMap, State, version_at
from crossfade.core.protocol.plain.records import Ask, Decision, Expired, Late, Left, Stray, needs_the_map
from crossfade.core.protocol.writing import Transfer, Unfit, Verdict
from crossfade.core.replication.change import Change, decode_change
from crossfade.core.replication.plain import PlainRule
from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.sending import sent_name
from crossfade.runtime.retry import persist
from crossfade_replicator.kill_points import KillPoints
from crossfade_replicator.letters import POISON, UNMAPPABLE, UNVERSIONED, parks
from crossfade_replicator.outcome import Account, BatchOutcome
from crossfade_replicator.plain.answered import Answered
from crossfade_replicator.plain.batch import Entry, coalesce
from crossfade_replicator.plain.hints import Hints
from crossfade_replicator.plain.letters import Letters
from crossfade_replicator.plain.writes import Found, Settled, StandbyWrites, Undone
from crossfade_replicator.records import Decoded, Record

log = structlog.get_logger()

_APPLIED: Final = Verdict.APPLIED
_UNREADABLE: Final = (UNVERSIONED, "the standby's row has a fence that can't be read")


class _Decided(NamedTuple):
    """A batch after the rule: places of records, by what is to be done about them."""

    transfers: list[tuple[Transfer, int]]
    asks: list[tuple[Key, int, int]]
    strays: list[int]
    expired: list[int]
    late: list[tuple[int, bool]]
    poison: list[tuple[int, str]]


class PlainPipeline:
    """Applies the change records of one table to the other one."""

    def __init__(
        self,
        mapping: Mapping,
        direction: Direction,
        *,
        membership: Membership,
        writes: StandbyWrites,
        hints: Hints,
        letters: Letters,
        answered: Answered,
        kill: KillPoints | None = None,
        strays_since_us: Callable[[], Awaitable[int]],
    ) -> None:
        """Put the parts together.

        Args:
            mapping: of the migration.
            direction: which way.
            membership: of this process.
            writes: writes to the destination while it is the standby.
            hints: looks into late records, and carries removals by TTL over.
            letters: writes letters.
            answered: lets letters go that a record answers.
            kill: points at which tests kill the process.
            strays_since_us: returns the commit time from which changes of the standby are strays, 0 while they are
                normal: what fills a table before both-ways replication has no fence.
        """
        self._direction = direction
        self._key_names = mapping.shape(direction.origin).key
        self._shape = mapping.shape(direction.destination)
        self._decide = PlainRule(mapping, direction).decide
        self._carry, self._other_key = mapping.carry, mapping.other_key
        self._membership = membership
        self._writes, self._hints, self._letters, self._answered = writes, hints, letters, answered
        self._kill = kill or KillPoints()
        self._strays_since_us = strays_since_us

    async def apply(self, shard_id: str, records: Sequence[Record]) -> BatchOutcome:
        """Apply, skip or park every record of a batch.

        Raises:
            CrossfadeError: a store refuses us for good; nothing may be acknowledged.
        """
        account = Account()
        entries = await self._decoded(shard_id, records, account)
        todo = [place for place, entry in enumerate(entries) if entry.change is not None]
        late: list[tuple[int, bool]] = []
        await self._answered.shown([entry.change for entry in entries if entry.change is not None])
        since_us = await self._strays_since_us()
        while todo:
            async with self._membership.working() as view:
                todo, found = await self._round(shard_id, entries, todo, view, since_us, account)
                late += found
        if late:
            await self._hints.settle([(entries[place], past_hold) for place, past_hold in late], account)
        self._kill.reached("after-mark-before-ack")
        return account.outcome()

    async def _decoded(self, shard_id: str, records: Sequence[Record], account: Account) -> list[Entry]:
        entries: list[Entry] = []
        counts, newest_us = account.counts, 0
        for record in records:
            try:
                change = record.change if type(record) is Decoded else decode_change(record.data, self._key_names)
            except PoisonRecord as error:
                entries.append(Entry(record, None))
                await self._letters.refused(shard_id, entries[-1], account, code=POISON, reason=str(error))
                continue
            entries.append(Entry(record, change))
            newest_us = max(newest_us, change.committed_us)
            if not change.precise:
                counts["imprecise"] += 1
                account.imprecise_last_us = max(account.imprecise_last_us, change.committed_us)
        counts["records"] += len(records)
        account.applied_commit_us = newest_us
        return entries

    async def _round(
        self, shard_id: str, entries: list[Entry], todo: list[int], view: OwnerMap, since_us: int, account: Account
    ) -> tuple[list[int], list[tuple[int, bool]]]:
        """Do what can be done before a seal; return what is left, and the late records, by place."""
        decisions = self._decisions(entries, todo, view)
        if any(needs_the_map(each) for each in decisions if not isinstance(each, PoisonRecord)):
            now = await persist(self._membership.look)
            if now is None or now.state is State.SEALED:
                return todo, []
            if now.epoch != view.epoch:
                view, decisions = now, self._decisions(entries, todo, now)
        decided = self._sorted(entries, todo, decisions, view.owner, since_us, account)
        for place, reason in decided.poison:
            await self._letters.refused(shard_id, entries[place], account, code=UNMAPPABLE, reason=reason)
        left = await self._written(shard_id, entries, decided, view, account)
        for place in decided.strays:
            await self._letters.stray(entries[place], account)
        for place in decided.expired:
            await self._hints.expire(entries[place], account)
        return left, decided.late

    def _decisions(self, entries: list[Entry], todo: list[int], view: OwnerMap) -> list[Decision | PoisonRecord]:
        decisions: list[Decision | PoisonRecord] = []
        for place in todo:
            try:
                decisions.append(self._decide(entries[place].known, view))
            except PoisonRecord as error:
                decisions.append(error)
        return decisions

    def _sorted(
        self,
        entries: list[Entry],
        todo: list[int],
        decisions: list[Decision | PoisonRecord],
        owner: Side,
        since_us: int,
        account: Account,
    ) -> _Decided:
        found = _Decided([], [], [], [], [], [])
        counts = account.counts
        for place, decision in zip(todo, decisions, strict=True):
            match decision:
                case Transfer():
                    found.transfers.append((decision, place))
                case Left():
                    counts[decision.value] += 1
                case PoisonRecord():
                    found.poison.append((place, str(decision)))
                case Ask():
                    found.asks.append((decision.key, place, version_at(decision.committed_us)))
                case Late() if owner is self._direction.origin:  # flipped back since: its row is the truth again
                    key, at = self._there(entries[place].known), version_at(decision.committed_us)
                    found.asks.append((key, place, at))
                case Late():
                    found.late.append((place, decision.past_hold))
                case _ if not since_us or decision.committed_us < since_us:
                    counts["unwatched"] += 1
                case Stray():
                    found.strays.append(place)
                case Expired():
                    found.expired.append(place)
        return found

    async def _written(
        self, shard_id: str, entries: list[Entry], decided: _Decided, view: OwnerMap, account: Account
    ) -> list[int]:
        """Write copies; return the places of those that a seal kept from being sent."""
        work = coalesce(decided.transfers, decided.asks)
        counts, floor, left = account.counts, view.floor, list[int]()
        counts["coalesced"] += work.dropped
        asks = dict(work.asks)
        touched: list[tuple[Transfer, int]] = []
        if work.copies:
            self._kill.reached("before-write")
            answers = await self._writes.copy([transfer for transfer, _ in work.copies], floor)
            applied = 0
            for (transfer, place), answer in zip(work.copies, answers, strict=True):
                if answer is _APPLIED:
                    applied += 1
                elif answer is Undone.STOPPED:
                    left.append(place)
                elif answer is fence.Met.ASKS:
                    asks[transfer.key] = place
                elif answer is fence.Met.FIRST_TOUCH:
                    touched.append((transfer, place))
                elif isinstance(answer, Verdict | Unfit):
                    await self._ruled(shard_id, entries[place], transfer.version, answer, account)
            counts["applied"] += applied
        left += await self._read_and_written(shard_id, entries, touched, asks, floor, account)
        self._kill.reached("after-write-before-mark")
        return left

    async def _read_and_written(
        self,
        shard_id: str,
        entries: list[Entry],
        touched: list[tuple[Transfer, int]],
        asks: dict[Key, int],
        floor: int,
        account: Account,
    ) -> list[int]:
        """Write what takes a read first; return the places of what a seal has stopped."""
        counts, left = account.counts, list[int]()
        befores = self._befores(entries) if touched or (asks and floor) else {}
        for transfer, place in touched:
            touch = partial(self._writes.touch, transfer, floor)
            answer = await self._read_first(entries[place], touch, befores.get(transfer.key, ()), account)
            if answer is fence.Met.ASKS:
                asks[transfer.key] = place
            elif isinstance(answer, Verdict | Unfit):
                await self._ruled(shard_id, entries[place], transfer.version, answer, account)
            else:
                left.append(place)
        for key, place in asks.items():
            change = entries[place].known
            ask = partial(self._writes.ask, key, change.key, change.committed_us, floor)
            answer = await self._read_first(entries[place], ask, befores.get(key, ()), account)
            if isinstance(answer, Unfit) or answer is Verdict.UNVERSIONED:
                await self._ruled(shard_id, entries[place], version_at(change.committed_us), answer, account)
            elif isinstance(answer, Verdict):
                counts["asked" if answer is Verdict.DUPLICATE else "copied"] += 1
            else:
                left.append(place)
        return left

    async def _read_first(
        self,
        entry: Entry,
        attempt: Callable[[Sequence[Image | None]], Awaitable[Settled | Found]],
        befores: Sequence[Image | None],
        account: Account,
    ) -> Settled:
        """Write over a row that was read; keep it in a letter first if nobody else knows it."""
        while True:
            try:
                answer = await attempt(befores)
            except PoisonRecord as error:
                return Unfit(f"one of the two rows can't be read: {error}")
            if not isinstance(answer, Found):
                return answer
            await self._keep(entry, answer.row, account)
            befores = [*befores, answer.row]

    async def _keep(self, entry: Entry, row: Image | None, account: Account) -> None:
        self._answered.note(await self._letters.rows(UNRECORDED, entry, {self._shape.table: row}, account))

    async def _ruled(
        self, shard_id: str, entry: Entry, version: int, answer: Verdict | Unfit, account: Account
    ) -> None:
        """Count a verdict; park what the table can't take."""
        if isinstance(answer, Unfit) and self._is_wide(entry.known):
            account.counts[WIDE] += 1
            await self._letters.rows(WIDE, entry, {}, account, settled=True)
            return
        account.counts[sent_name(answer)] += 1
        told = _UNREADABLE if answer is Verdict.UNVERSIONED else parks(answer)
        if told:
            code, reason = told
            await self._letters.refused(shard_id, entry, account, code=code, reason=reason, version=version)

    def _is_wide(self, change: Change) -> bool:
        if change.new is None:
            return False
        try:
            return is_wide(self._there(change), self._carry(self._direction, change.new), self._shape)
        except PoisonRecord:
            return False

    def _there(self, change: Change) -> Key:
        """Return the key of a record's row in the other table."""
        return self._other_key(self._direction, change.key, change.old if change.new is None else change.new)

    def _befores(self, entries: list[Entry]) -> dict[Key, list[Image | None]]:
        """Return what the records of a batch say was there before, by key, in the standby's names.

        Where that was due to be removed by the TTL service, nothing is what may be there, too.
        """
        found: dict[Key, list[Image | None]] = {}
        for change in (entry.change for entry in entries if entry.change is not None):
            try:
                befores = found.setdefault(self._there(change), [])
                old = change.old
                if old is None:
                    befores.append(None)
                    continue
                mapped = self._carry(self._direction, old)
                befores.append(mapped)
                if (
                    self._shape.ttl in mapped
                    and wire.amount(mapped[self._shape.ttl]) * 1_000_000 <= change.committed_us
                ):
                    befores.append(None)
            except PoisonRecord:
                continue  # it can't be what stands there: what stands there was mapped
        return found
