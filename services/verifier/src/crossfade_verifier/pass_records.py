"""Records of passes: those that are kept, as they were read last; new ones, and the end of those that are not done."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import structlog

from crossfade.contracts.journal import Entry
from crossfade.contracts.passes import HISTORY, PassRecord, PassState, pass_id
from crossfade.core.parity.classes import Difference
from crossfade.core.parity.repairs import is_repair, repaired_after
from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.runtime.pace import Pace
from crossfade_verifier.called import CalledKeys
from crossfade_verifier.costs import Cost
from crossfade_verifier.findings import Findings
from crossfade_verifier.owning import View
from crossfade_verifier.pass_views import Pass
from crossfade_verifier.units import Means

log = structlog.get_logger()

TRIES: Final = 20
"""Writers of a record that may come between, one after the other."""

UNSURE_S: Final = 1.0
"""By how much a time of the tables' clock may be off (`crossfade.adapters.wire.dates`)."""


class Entries(Protocol):
    """The migration's journal, to be read."""

    async def entries(self, *, after: int = 0) -> list[Entry]:
        """See `crossfade.ports.control.Journal`."""
        ...


class RepairsSeen:
    """The repairs that the journal has.

    Attributes:
        read_to: number of the last entry that was read.
    """

    def __init__(self, journal: Entries) -> None:
        """Begin with none. Args: journal: of the migration."""
        self._journal = journal
        self._entries: list[Entry] = []
        self.read_to = 0

    async def read(self) -> None:
        """Read what is new.

        Raises:
            CrossfadeError: the journal can't be read.
        """
        entries = await self._journal.entries(after=self.read_to)
        self._entries += [each for each in entries if is_repair(each)]
        self.read_to = max([self.read_to, *(each.number for each in entries)])

    async def after(self, number: int) -> int:
        """Return how many keys were repaired since the journal had so many entries. Errors as of `read`."""
        await self.read()
        return repaired_after(self._entries, number)


class Stamped(Pace):
    """A pace that knows when it last let a read through: whoever asks again has its answer."""

    def __init__(self, per_s: float, clock: Clock) -> None:
        super().__init__(per_s, now_s=clock.monotonic, sleep=clock.sleep)
        self.taken_s = clock.monotonic()

    async def take(self, items: int) -> None:
        """See `Pace.take`."""
        await super().take(items)
        self.taken_s = self._now_s()


class Records:
    """What a verifier knows of passes.

    Attributes:
        known: the passes by id.
        woken: set whenever a record was read or written.
    """

    def __init__(self, means: Means, so_far: Callable[[PassRecord], Awaitable[Findings]]) -> None:
        """Begin with nothing.

        Args:
            means: see there.
            so_far: returns what a pass that has not ended has found.
        """
        self._means, self._store, self._so_far = means, means.store, so_far
        self.known: dict[str, Pass] = {}
        self.woken = asyncio.Event()
        self._created_us = 0

    def history(self) -> list[Pass]:
        """Return the last passes, newest first: the same at every verifier."""
        return [self.known[each] for each in sorted(self.known, reverse=True)]

    def prune(self, kept: Sequence[Pass | None]) -> None:
        """Forget passes beyond `HISTORY`, and what all but these have found: their records have its numbers."""
        for old in self.history()[HISTORY:]:
            if old not in kept:
                del self.known[old.id]
        for each in self.known.values():
            if each not in kept:
                each.found = None

    async def ask(self, who: str = "") -> Pass:
        """Request a pass that begins after this call; one that was requested and has not begun serves all.

        It replaces a running pass that nobody requested, and waits for one that somebody did.

        Raises:
            CrossfadeError: the store can't be written.
        """
        made = self.new(asked=True, who=who)
        for _ in range(TRIES):
            there = await self._store.running()
            if there is None:
                there = await self._store.begin(made)
                if there.id == made.id:
                    return self.told(there)
            if there.asked and (there.state == "waiting" or there.next_id):
                wanted = there if there.state == "waiting" else next_of(there)
                return self.told(wanted)
            if there.asked:
                changed = await self._store.change(there.replace(next_id=made.id, next_by=who))
                if changed is not None:
                    self.told(changed)
                    return self.told(next_of(changed))
            else:
                await self.end(there, "given up", f"{made.id} was requested")
        raise CrossfadeError(f"pass {made.id}: other passes begin and end too fast")

    async def cancel(self, wanted: str, who: str) -> Pass | None:
        """Cancel a pass; one that has ended stays as it is. Return it; None for an unknown one.

        Raises:
            CrossfadeError: the store can't be written.
        """
        because = f"cancelled by {who}"
        for _ in range(TRIES):
            record = await self._store.get(wanted)
            if record is None:
                there = await self._store.running()
                if there is None or there.next_id != wanted:
                    return None
                changed = await self._store.change(there.replace(next_id="", next_by=""))
                if changed is not None:
                    self.told(changed)
                    return self.told(next_of(there).replace(state="cancelled", why=because))
            elif record.ended or await self.end(record, "cancelled", because):
                return self.told(await self._store.get(wanted) or record)
        raise CrossfadeError(f"pass {wanted}: others change it too fast")

    async def end(self, record: PassRecord, state: PassState, because: str) -> bool:
        """End a pass that is not done; say whether it was us. What it has found stays."""
        each = self.told(record)
        found = await self._so_far(record)
        ended = record.replace(state=state, why=because, ended_us=self._means.at_most_us(), counts=counts_of(found))
        changed = await self._store.change(ended, found.encode())
        if changed is not None:
            each.found = found
            self.told(changed)
        return changed is not None

    async def outdate(self, clean: Pass | None, called: Sequence[Findings | CalledKeys]) -> None:
        """Keep with the last clean pass what was called since: a restart forgets that, and must not say clean again.

        Raises:
            CrossfadeError: the store can't be written.
        """
        drift = Counter[Difference]()
        for each in called:
            drift.update(each.drift)
        if clean is not None and drift and not clean.record.outdated:
            told = ", ".join(f"{count} {found.value}" for found, count in drift.items())
            outdated = f"{told} called since pass {clean.id} was clean: only a later clean pass counts"
            changed = await self._store.change(clean.record.replace(outdated=outdated))
            self.told(changed or await self._store.get(clean.id) or clean.record)

    def told(self, record: PassRecord) -> Pass:
        """Take in a record that was read or written."""
        each = self.known.get(record.id)
        if each is None:
            each = self.known[record.id] = Pass(record)
        elif record.revision >= each.record.revision:
            each.record = record
        if each.started_s is None and record.began_us:
            each.started_s = self.monotonic_of(record.began_us)
        if each.ended_s is None and record.ended_us:
            each.ended_s = self.monotonic_of(record.ended_us)
        self.woken.set()
        return each

    async def find(self, wanted: str) -> Pass | None:
        """Return a pass by its id; one that is not known yet is looked up.

        Raises:
            CrossfadeError: it can't be looked up now.
        """
        known = self.known.get(wanted)
        if known is None and (record := await self._store.get(wanted)) is not None:
            found = await self.found(record) if record.ended else None
            known = self.told(record)
            known.found = known.found or found
        return known

    def monotonic_of(self, moment_us: int) -> float:
        """Return when it was, on our own clock; rather too early than too late."""
        ago_s = (self._means.at_most_us() - moment_us) / 1e6
        return self._means.clock.monotonic() - (ago_s + UNSURE_S if ago_s > UNSURE_S else max(0.0, ago_s))

    def new(self, *, asked: bool, who: str = "") -> PassRecord:
        """Return the record of a new pass, which is not kept yet."""
        both = self._means.both
        now_us = self._created_us = max(self._means.clock.wall_us(), self._created_us + 1)
        return PassRecord(
            id=pass_id(now_us, self._means.settings.pod),
            tables=(both.table(Side.SOURCE).shape.table, both.table(Side.TARGET).shape.table),
            scan_units=self._means.settings.units,
            buckets=self._means.settings.buckets,
            created_us=now_us,
            asked=asked,
            asked_by=who,
        )

    async def found(self, record: PassRecord) -> Findings | None:
        """Return what a pass that has ended has found; None when it isn't kept."""
        body = await self._store.result(record.id)
        if body is None:
            return None
        found = Findings(self._means.limits(record), self._means.both.rows())
        found.take(body)
        return found


def next_of(record: PassRecord) -> PassRecord:
    """Return the pass that waits for another one's end, as it would begin now."""
    return PassRecord(
        id=record.next_id,
        tables=record.tables,
        scan_units=record.scan_units,
        buckets=record.buckets,
        created_us=int(record.next_id[:16]),
        asked=True,
        asked_by=record.next_by,
    )


def begun_of(record: PassRecord, cost: Cost, *, began_us: int, journal_from: int, view: View) -> PassRecord:
    """Return a pass as it begins.

    Args:
        record: of the pass that waits.
        cost: what it is expected to cost.
        began_us: now, by the tables' clock, µs.
        journal_from: number of the journal's last entry.
        view: which table owns.
    """
    return record.replace(
        state="running",
        began_us=began_us,
        journal_from=journal_from,
        turn=view.turn,
        expected_rows=cost.rows,
        expected_read_units=cost.read_units,
    )


def done_of(record: PassRecord, found: Findings, *, repairs: int, ended_us: int) -> PassRecord:
    """Return a pass as it is done; a pass during which keys were repaired isn't clean."""
    return record.replace(
        state="done",
        stage="done",
        clean=found.clean and not repairs,
        repairs=repairs,
        ended_us=ended_us,
        counts=counts_of(found),
    )


def log_done(each: Pass, found: Findings, now_s: float) -> float:
    """Log a pass that is done; return how long it took, s."""
    took_s = now_s - (each.started_s or now_s)
    log.info(
        "pass done",
        id=each.id,
        clean=each.clean,
        verified=found.book.verified,
        classes={name.value: count for name, count in found.book.by_class.items()},
        scanned={side.value: count for side, count in found.scanned.items()},
        read_units=round(found.read_units),
        repairs=each.repairs,
        took_s=round(took_s, 2),
    )
    return took_s


def counts_of(found: Findings) -> dict[str, Any]:
    """Return findings in numbers, for the list of passes."""
    return {
        "verified": found.book.verified,
        "classes": {each.value: count for each, count in found.book.by_class.items()},
        "not_ours": found.not_ours,
        "scanned": {side.value: count for side, count in found.scanned.items()},
        "read_units": round(found.read_units, 1),
    }


def counts_still(record: PassRecord, ended: Sequence[PassRecord]) -> bool:
    """Say whether what a pass found is still told: of the last one done, the last clean one, and any since."""
    later = [each for each in ended if each.id > record.id]
    if record.state == "done":
        return not any(each.state == "done" and (each.clean or not record.clean) for each in later)
    return not any(each.state == "done" for each in later)
