"""The apply path of one batch, free of Faust: from records to acknowledged effects (design.md, section 3).

    decode → decide → coalesce → marks (a hit skips) → transfers, 25 a request → mark → strays → park

When `apply` returns, every record is applied, skipped or parked, and the batch may be acknowledged. Any number of
batches of different shards run at once: the fence makes their order irrelevant.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import structlog

from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.seam import Skip
from crossfade.core.protocol.writing import HOLDS, Transfer, Unfit, Verdict
from crossfade.core.replication.apply import ApplyRule, StrayRemoval
from crossfade.core.replication.change import Change, decode_change
from crossfade.core.replication.coalesce import coalesce
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction
from crossfade.core.values.waves import waves
from crossfade.ports.clock import Clock
from crossfade.ports.control import Parking
from crossfade.ports.dedup import Marks
from crossfade.ports.sending import NotSent, Sent, sent_name
from crossfade.runtime.retry import persist
from crossfade_replicator.interventions import Interventions, StrayRecord
from crossfade_replicator.kill_points import KillPoints
from crossfade_replicator.letters import POISON, UNMAPPABLE, Place, letter, parks
from crossfade_replicator.outcome import Account, BatchOutcome
from crossfade_replicator.records import Decoded, Record
from crossfade_replicator.sender import Sender
from crossfade_replicator.tracing import BatchTrace, batch_trace, note_but, note_verdicts

log = structlog.get_logger()

_APPLIED: Final = Verdict.APPLIED
SETTLED: Final = HOLDS | {Verdict.OWNED}
"""Verdicts after which this version of the key need never be written again, so that it is marked.

OWNED is one of them here, and none for dual writes: a record is told again and again and must not be sent each time,
while a copy that came too late says nothing of what the standby holds."""


class _Decided(NamedTuple):
    """A batch after the rule: each record decoded, transfers with the index of their record, and everything else."""

    changes: list[Change | None]
    transfers: list[Transfer]
    places: list[int]
    strays: list[StrayRecord]
    poison: list[tuple[int, str, str]]


async def never() -> int:
    """Say that strays are not looked for."""
    return 0


class ApplyPipeline:
    """Applies the change records of one table to the other one."""

    def __init__(
        self,
        mapping: Mapping,
        direction: Direction,
        *,
        sender: Sender,
        interventions: Interventions,
        marks: Marks,
        letters: Parking,
        clock: Clock,
        kill: KillPoints | None = None,
        use_marks: bool = True,
        strays_since_us: Callable[[], Awaitable[int]] = never,
    ) -> None:
        """Put the parts together.

        Args:
            mapping: of the migration.
            direction: which way.
            sender: writes to the destination.
            interventions: acts on the origin.
            marks: of applied writes.
            letters: where records are parked.
            clock: dates letters.
            kill: points at which tests kill the process.
            use_marks: whether a mark skips a write; a redrive asks the table itself.
            strays_since_us: returns the commit time from which writers outside the protocol are strays, 0 while they
                are normal; asked for each batch, after it was read (`crossfade_replicator.journal`).
        """
        self._direction = direction
        self._consumer = direction.value
        origin = mapping.shape(direction.origin)
        self._key_names = origin.key
        self._rows = mapping.protocol.rows()
        self._is_ordered = self._rows.is_ordered
        self._read = mapping.protocol.reader(origin).row
        self._decide = ApplyRule(mapping, direction).decide
        self._sender = sender
        self._interventions = interventions
        self._marks = marks
        self._letters = letters
        self._clock = clock
        self._kill = kill or KillPoints()
        self._use_marks = use_marks
        self._strays_since_us = strays_since_us

    async def apply(self, shard_id: str, records: Sequence[Record]) -> BatchOutcome:
        """Apply, skip or park every record of a batch, but for those that the sender had no time for.

        Args:
            shard_id: where they were read.
            records: in shard order.

        Raises:
            CrossfadeError: a store refuses us for good; nothing may be acknowledged.
        """
        account = Account()
        decided = self._decided(records, account, await self._strays_since_us())
        trace = batch_trace.get()
        if decided.transfers:
            await self._transfer(shard_id, records, decided, account, trace)
        if decided.strays:
            await self._interventions.act(decided.strays, account)
        for place, code, reason in decided.poison:
            change = decided.changes[place]
            held_out = code == UNMAPPABLE and self._is_held_out(change)
            await self._park(shard_id, records[place], change, account, code=code, reason=reason, held_out=held_out)
            if trace is not None:
                trace.note(place, "parked")
        self._kill.reached("after-mark-before-ack")
        return account.outcome()

    def _decided(self, records: Sequence[Record], account: Account, strays_since_us: int) -> _Decided:
        changes: list[Change | None] = []
        transfers: list[Transfer] = []
        places: list[int] = []
        strays: list[StrayRecord] = []
        poison: list[tuple[int, str, str]] = []
        decide, key_names, counts = self._decide, self._key_names, account.counts
        newest_us = account.applied_commit_us
        for place, record in enumerate(records):
            try:
                change = record.change if type(record) is Decoded else decode_change(record.data, key_names)
            except PoisonRecord as error:
                changes.append(None)
                poison.append((place, POISON, str(error)))
                continue
            changes.append(change)
            try:
                decision = decide(change, strays_since_us)
            except PoisonRecord as error:
                poison.append((place, UNMAPPABLE, str(error)))
                continue
            if change.committed_us > newest_us:
                newest_us = change.committed_us
            if not change.precise:
                counts["imprecise"] += 1
                account.imprecise_last_us = max(account.imprecise_last_us, change.committed_us)
            if isinstance(decision, Transfer):
                transfers.append(decision)
                places.append(place)
            elif isinstance(decision, Skip):
                counts[decision.value] += 1
            else:
                strays.append(StrayRecord(record, change, decision))
                if isinstance(decision, StrayRemoval):
                    transfers.append(decision.transfer)
                    places.append(place)
        counts["records"] += len(records)
        account.applied_commit_us = newest_us
        return _Decided(changes, transfers, places, strays, poison)

    async def _transfer(
        self,
        shard_id: str,
        records: Sequence[Record],
        decided: _Decided,
        account: Account,
        trace: BatchTrace | None,
    ) -> None:
        transfers = decided.transfers
        kept, twins, dropped = coalesce(transfers, self._is_ordered)
        account.counts["coalesced"] += dropped
        suspects: list[int] = []
        if dropped:
            note_but(trace, range(len(transfers)), [*kept, *twins], decided.places, "coalesced")
        if self._use_marks:
            asked = kept
            kept, suspects = await self._unmarked(transfers, kept, account)
            note_but(trace, asked, kept, decided.places, "deduplicated")
        settled: dict[Key, int] = {}
        if kept or twins:
            self._kill.reached("before-write")
            for wave in (kept, *waves((transfers[index].key, index) for index in twins)):
                others = await self._send(transfers, wave, settled, account)
                note_verdicts(trace, wave, others, decided.places)
                for index, verdict in others:
                    if verdict is NotSent.THROTTLED:
                        account.again.append(decided.places[index])
                    elif parks(verdict):
                        await self._refused(shard_id, records, decided, index, verdict, account)
                    elif verdict is Verdict.STALE and not self._is_ordered(transfers[index].version):
                        suspects.append(index)
        for index in suspects:  # before the marks: after them, a repetition of the batch would find nothing suspect
            await self._suspect(decided.changes[decided.places[index]], account)
        if kept or twins:
            self._kill.reached("after-write-before-mark")
            await self._marks.mark(self._direction, settled)

    async def _unmarked(
        self, transfers: list[Transfer], kept: list[int], account: Account
    ) -> tuple[list[int], list[int]]:
        """Return what has to be written, and which of the rest is unstamped where the destination is stamped."""
        asked = [transfers[index] for index in kept]
        marks = await self._marks.seen(self._direction, [transfer.key for transfer in asked])
        todo, suspects = [], []
        for index, transfer, marked in zip(kept, asked, marks, strict=True):
            if marked is None or marked < transfer.version:
                todo.append(index)
            elif self._is_ordered(marked) and not self._is_ordered(transfer.version):
                suspects.append(index)
        account.counts["deduplicated"] += len(kept) - len(todo)
        return todo, suspects

    async def _send(
        self, transfers: list[Transfer], wave: list[int], settled: dict[Key, int], account: Account
    ) -> list[tuple[int, Sent]]:
        """Write transfers of different keys; note which are settled; return those that were not simply applied."""
        others: list[tuple[int, Sent]] = []
        sent = [transfers[index] for index in wave]
        for index, transfer, verdict in zip(wave, sent, await self._sender.send(sent), strict=True):
            if verdict is _APPLIED:
                settled[transfer.key] = transfer.version
                continue
            others.append((index, verdict))
            account.counts[sent_name(verdict)] += 1
            if verdict in SETTLED:
                settled[transfer.key] = transfer.version
        account.counts["applied"] += len(wave) - len(others)
        return others

    async def _refused(
        self, shard_id: str, records: Sequence[Record], decided: _Decided, index: int, verdict: Sent, account: Account
    ) -> None:
        code, reason = parks(verdict) or ("", "")
        version, place = decided.transfers[index].version, decided.places[index]
        record, change = records[place], decided.changes[place]
        held_out = isinstance(verdict, Unfit) and self._is_held_out(change)
        await self._park(
            shard_id, record, change, account, code=code, reason=reason, version=version, held_out=held_out
        )

    async def _suspect(self, change: Change | None, account: Account) -> None:
        """An unstamped write met a stamped standby: lift its owner, if that still has no version (rule 5)."""
        if change is None:
            return
        await self._interventions.lift_if_stamped(change.key, change.version(), account)

    async def _park(
        self,
        shard_id: str,
        record: Record,
        change: Change | None,
        account: Account,
        *,
        code: str,
        reason: str,
        version: int | None = None,
        held_out: bool = False,
    ) -> None:
        """Keep a record with its payload; or, of a key that was held out, count it: its row itself says so."""
        if held_out:
            account.counts["held_out"] += 1
            return
        place = Place(self._consumer, shard_id, record.sequence_number)
        each = letter(place, record, change, code=code, reason=reason, version=version, now_us=self._clock.wall_us())
        await persist(lambda: self._letters.park(each))
        account.park(each)
        log.error("parked", code=code, reason=reason, sequence=each.sequence, key=each.key.decode())

    def _is_held_out(self, change: Change | None) -> bool:
        try:
            return change is not None and change.new is not None and self._rows.is_held_out(self._read(change.new))
        except PoisonRecord:
            return False
