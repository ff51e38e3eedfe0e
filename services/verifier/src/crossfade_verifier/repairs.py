"""Repairs by plan: kept before anything is written, paced, and resumed by whichever verifier has time (ADR 0040).

    planning -> planned -> running <-> paused -> done
                              |  cancelling  -> cancelled

The record in the store is its own lease. Whoever carries a plan out replaces it around each slice of steps, on the
condition that nobody else has; one that stands still for `LEASE_S` on a watcher's own clock is taken over. A slice is
announced (`trying`) before its first write. So whoever takes over knows which steps may have been written, and each
step's own condition, that both rows are as the plan saw them, keeps it from being done twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import structlog

from crossfade.contracts.repairs import OPEN, OVER, RepairRecord, RepairReport, RepairState
from crossfade.core.values.errors import CrossfadeError, IllegalTransition, LeaseLost, MigrationPaused
from crossfade.core.values.keys import Key
from crossfade.ports.clock import Clock
from crossfade.ports.control import Journal
from crossfade.ports.repairs import CHUNK, KEPT, RepairStore
from crossfade.runtime.pace import Pace, set_within
from crossfade_verifier.repair import Repairer, described
from crossfade_verifier.repair_report import repair_report

log = structlog.get_logger()

LEASE_S: Final = 15.0
"""A record that nobody replaces for so long is taken over."""

SLICE_S: Final = 1.0
"""Work between two saves, at the pace that was requested."""

EXPIRES_US: Final = 86_400_000_000
"""A plan that is a day old shows nothing that anybody remembers."""

WORST_RETRY_S: Final = 30.0


class Repairs:
    """The repairs of a migration, as one verifier sees and carries them out.

    Attributes:
        per_s: most steps a second that this process carries out.
        clock: of the process.
    """

    def __init__(
        self,
        repairer: Repairer,
        store: RepairStore,
        journal: Journal,
        *,
        clock: Clock,
        pod: str,
        per_s: int,
        retry_s: float,
        every_s: float,
        reads: Pace | None = None,
    ) -> None:
        """Put it together; `run` carries out.

        Args:
            repairer: plans and writes steps.
            store: keeps plans and progress.
            journal: told before the first write of a repair and after the last.
            clock: of the process.
            pod: its name.
            per_s: most steps a second, all repairs together.
            retry_s: first wait before a retry.
            every_s: how often it looks for repairs that wait, the end of a pause, and verifiers that were killed.
            reads: paces what planning reads; None for no limit.
        """
        self._repairer, self._store, self._journal, self.clock = repairer, store, journal, clock
        self._pod, self._holder = pod, f"{pod}#{clock.wall_us()}"
        self.per_s, self._retry_s, self._every_s = per_s, retry_s, every_s
        self._reads = reads
        self._pace = self._paced(per_s)
        self._made = 0
        self._wake = asyncio.Event()
        self._held: dict[str, RepairRecord] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._read_to, self._paused_by = 0, ""

    # ---- what operators ask for

    async def plan(
        self,
        keys: Sequence[Key],
        *,
        asked: Mapping[str, Any],
        who: str,
        left: int = 0,
        go_on: Mapping[str, Any] | None = None,
    ) -> RepairRecord:
        """Begin a plan; it is made in the background.

        Args:
            keys: encoded, each once.
            asked: what was requested, for whoever reads the plan.
            who: requested it.
            left: keys that it leaves out.
            go_on: the request that plans those.
        """
        now_us, self._made = self.clock.wall_us(), self._made + 1
        name = sha256(f"{self._holder} {now_us} {self._made}".encode()).hexdigest()[:12]
        record = RepairRecord(
            id=name,
            state="planning",
            asked=asked,
            planned_by=who,
            planned_us=now_us,
            expires_us=now_us + EXPIRES_US,
            left=left,
            go_on=go_on,
            keys=len(keys),
            holder=self._holder,
            pod=self._pod,
        )
        await self._forget_oldest()
        await self._store.create(record)
        self._begin(record, self._plan(record, keys))
        return record

    async def planned(self, repair: str, within_s: float) -> RepairRecord:
        """Return a repair as soon as it is planned, or as it is when the time is up. Raises KeyError: see `get`."""
        task = self._tasks.get(repair)
        if task is not None:
            await asyncio.wait({task}, timeout=within_s)
        return await self.get(repair)

    async def get(self, repair: str) -> RepairRecord:
        """Return a repair.

        Raises:
            KeyError: there is none of this id.
        """
        record = await self._store.get(repair)
        if record is None:
            raise KeyError(repair)
        return self._as_of_now(record)

    async def all(self) -> list[RepairRecord]:
        """Return the repairs that are kept, newest first."""
        found = sorted(await self._store.all(), key=lambda each: (each.planned_us, each.id), reverse=True)
        return [self._as_of_now(each) for each in found]

    async def execute(self, repair: str, *, who: str, pace_per_s: int | None = None) -> RepairRecord:
        """Have a plan carried out; one that is being carried out already stays as it is.

        Args:
            repair: id of the plan.
            who: requested it.
            pace_per_s: most steps a second; None, or more than `per_s`, for `per_s`.

        Raises:
            KeyError: there is none of this id.
            IllegalTransition: it isn't planned yet, or it is over.
            MigrationPaused: nothing was begun.
        """
        while True:
            record = await self.get(repair)
            if record.state in OPEN:
                return record
            if record.state != "planned":
                raise IllegalTransition(f"repair {repair} is {record.state}{_reason(record)}: {_INSTEAD[record.state]}")
            if paused := await self._why_paused():
                await self._journal.append("repair", {"stage": "refused", "id": repair, "who": who, "because": paused})
                raise MigrationPaused(f"{paused}; nothing was repaired. First run: crossfade resume --execute")
            pace = min(pace_per_s or self.per_s, self.per_s)
            now_us = self.clock.wall_us()
            begun = record.replace(state="running", executed_by=who, pace_per_s=pace, begun_us=now_us)
            if saved := await self._store.replace(begun):
                self._wake.set()
                return saved

    async def cancel(self, repair: str, *, who: str) -> RepairRecord:
        """Have a repair end after the slice that is being written; one that is over stays as it is.

        Raises:
            KeyError: there is none of this id.
        """
        while True:
            record = await self.get(repair)
            if record.state in OVER or record.state == "cancelling":
                return record
            if record.state in OPEN:
                cancelled = record.replace(state="cancelling", cancelled_by=who, because="")
            else:
                cancelled = record.replace(state="cancelled", cancelled_by=who, ended_us=self.clock.wall_us())
            if saved := await self._store.replace(cancelled):
                self._wake.set()
                return saved

    async def report(self, record: RepairRecord, *, after: int = 0, limit: int = 0) -> RepairReport:
        """Return the answer about a repair, with a page of its steps; see `crossfade_verifier.repair_report`."""
        return await repair_report(self._store, record, after=after, limit=limit)

    # ---- what the process does meanwhile

    async def run(self) -> None:
        """Carry out what was begun, here or by a verifier that is gone, until cancelled; then let go of it."""
        try:
            while True:
                self._wake.clear()
                try:
                    for record in await self._store.all():
                        await self._consider(record)
                except CrossfadeError as error:
                    log.warning("repairs not read", error=str(error))
                await set_within(self._wake, self._every_s)
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _consider(self, record: RepairRecord) -> None:
        """Take up a repair that nobody carries out."""
        if record.id in self._tasks or record.state not in {*OPEN, "planning"} or not self._is_free(record):
            return
        if record.state == "planning":
            because = _cut_off(record.pod)
            await self._store.replace(record.replace(state="failed", because=because, holder="", pod=""))
            return
        if record.state == "paused" and await self._why_paused():
            return
        state: RepairState = "running" if record.state == "paused" else record.state
        mine = record.replace(state=state, because="", holder=self._holder, pod=self._pod)
        if saved := await self._store.replace(mine):
            self._begin(saved, self._work(saved))

    def _is_free(self, record: RepairRecord) -> bool:
        """Say whether nobody holds a record, by this process's own clock: as long as it was watched."""
        if record.holder in ("", self._holder):
            return True
        now_s, (revision, since_s) = self.clock.monotonic(), self._seen.get(record.id, (-1, 0.0))
        if revision != record.revision:
            self._seen[record.id] = (record.revision, now_s)
            return False
        return now_s - since_s >= LEASE_S

    def _begin(self, record: RepairRecord, work: Any) -> None:
        self._held[record.id] = record
        self._seen.pop(record.id, None)
        task = self._tasks[record.id] = asyncio.create_task(self._guarded(record.id, work))

        def ended(_task: object) -> None:
            del self._tasks[record.id], self._held[record.id]

        task.add_done_callback(ended)

    async def _guarded(self, repair: str, work: Any) -> None:
        try:
            await work
        except LeaseLost as error:
            log.info("repair let go", repair=repair, because=str(error))
        except asyncio.CancelledError:
            # A clean stop: the next verifier needn't wait. If a save was cut off, this one is refused, and it waits.
            held = self._held[repair].replace(holder="", pod="")
            if held.state == "planning":
                held = held.replace(state="failed", because=_cut_off(self._pod))
            await self._store.replace(held)
            raise
        except Exception:  # nobody waits for this task; what it left is taken up again
            log.exception("repair interrupted", repair=repair)

    async def _save(self, record: RepairRecord) -> RepairRecord:
        """Replace a record that is ours; what an operator did to it meanwhile stays.

        Raises:
            LeaseLost: it isn't ours any more.
        """
        while True:
            if saved := await self._store.replace(record):
                self._held[saved.id] = saved
                return saved
            standing = await self._store.get(record.id)
            if standing is None or standing.holder != self._holder or standing.state in OVER:
                raise LeaseLost(f"repair {record.id} is not carried out here any more")
            record = record.replace(revision=standing.revision, cancelled_by=standing.cancelled_by)
            if standing.state == "cancelling" and record.state not in OVER:
                record = record.replace(state="cancelling", because="", holder=self._holder, pod=self._pod)

    async def _plan(self, record: RepairRecord, keys: Sequence[Key]) -> None:
        by_class: Counter[str] = Counter()
        by_action: Counter[str] = Counter()
        saved_s = self.clock.monotonic()
        try:
            for start in range(0, len(keys), CHUNK):
                chunk = keys[start : start + CHUNK]
                if self._reads is not None:
                    await self._reads.take(5 * len(chunk))  # two for the owner, three for the class
                planned = await self._repairer.plan(chunk, now_us=record.planned_us)
                by_key = {step.key: step for step in planned}
                steps = [described(by_key[key], start + place + 1) for place, key in enumerate(chunk)]
                await self._store.put_steps(record.id, start // CHUNK, steps)
                by_class.update(step.found for step in steps)
                by_action.update(step.action.partition(" ")[0] for step in steps)
                if self.clock.monotonic() - saved_s > LEASE_S / 5:
                    record, saved_s = await self._save(record), self.clock.monotonic()
        except CrossfadeError as error:
            await self._save(record.replace(state="failed", because=f"{error.code}: {error}", holder="", pod=""))
            return
        entry = {"stage": "planned", "id": record.id, "who": record.planned_by, "keys": len(keys)}
        await self._journal.append("repair", entry | {"by_class": dict(by_class), "by_action": dict(by_action)})
        writes = len(keys) - by_action["none"]
        done = record.replace(state="planned", writes=writes, by_class=dict(by_class), by_action=dict(by_action))
        await self._save(done.replace(holder="", pod=""))

    async def _work(self, record: RepairRecord) -> None:
        """Carry out a plan, slice by slice, until it is over, paused or somebody else's."""
        own, wait_s = self._paced(record.pace_per_s), self._retry_s
        while record.state in OPEN and record.holder:
            try:
                record = await self._next(self._held[record.id], own)
                wait_s = self._retry_s
            except LeaseLost:
                raise
            except CrossfadeError as error:
                record = await self._waiting(self._held[record.id], f"{error.code}: {error}")
                await self.clock.sleep(wait_s)
                wait_s = min(2 * wait_s, WORST_RETRY_S)

    async def _next(self, record: RepairRecord, own: Pace) -> RepairRecord:
        """Do one slice, or what comes instead of it; return the record as it is saved."""
        if record.state == "cancelling":
            return await self._end(record, "cancelled")
        if record.done >= record.keys:
            return await self._end(record, "done")
        began_s = self.clock.monotonic()
        chunk, place = divmod(record.done, CHUNK)
        most = max(1, round(record.pace_per_s * SLICE_S))
        steps = (await self._store.steps(record.id, chunk))[place : place + most]
        for pace in (own, self._pace):
            await pace.take(len(steps))
        if paused := await self._why_paused():
            return await self._save(record.replace(state="paused", because=paused, holder="", pod=""))
        if record.writes and not record.begun_entry:
            entry = await self._journal.append("repair", _entry("begun", record))
            record = record.replace(begun_entry=entry.number)
        again = max(0, record.trying - record.done)
        # Saved even if nothing is new: it proves that the record is still ours, and that nobody has cancelled it.
        record = await self._save(record.replace(trying=max(record.trying, record.done + len(steps))))
        if record.state == "cancelling":
            return record
        found = await self._repairer.carry_out(steps, now_us=record.planned_us, again=again)
        before = (await self._store.outcomes(record.id, chunk))[:place] if place else []
        outcomes = await self._store.put_outcomes(record.id, chunk, [*before, *found])
        counted = Counter(record.outcomes) + Counter(each.partition(":")[0] for each in outcomes[place:])
        worked_us = record.worked_us + round((self.clock.monotonic() - began_s) * 1e6)
        done = chunk * CHUNK + len(outcomes)
        return await self._save(record.replace(done=done, outcomes=dict(counted), worked_us=worked_us, because=""))

    async def _end(self, record: RepairRecord, state: RepairState) -> RepairRecord:
        if record.begun_entry:
            await self._journal.append("repair", _entry("done", record) | {"outcome": state})
        log.info("repair over", repair=record.id, state=state, outcomes=dict(record.outcomes))
        return await self._save(
            record.replace(state=state, because="", ended_us=self.clock.wall_us(), holder="", pod="")
        )

    async def _waiting(self, record: RepairRecord, because: str) -> RepairRecord:
        """Say why it doesn't go on, if the store takes it."""
        log.warning("repair waits", repair=record.id, because=because)
        try:
            return await self._save(record.replace(because=because[:300]))
        except LeaseLost:
            raise
        except CrossfadeError:
            return record

    async def _why_paused(self) -> str:
        """Say who paused the migration, by the journal; empty when nobody has."""
        for each in await self._journal.entries(after=self._read_to):
            if each.number <= self._read_to:
                continue  # another repair asked meanwhile
            self._read_to = each.number
            if each.kind == "pause":
                who = each.body.get("who", "an operator")
                self._paused_by = f"{who} paused the migration" if each.body["paused"] else ""
        return self._paused_by

    async def _forget_oldest(self) -> None:
        kept = await self.all()
        over = [each for each in kept if each.state not in {*OPEN, "planning"}]
        for each in over[::-1][: max(0, len(kept) + 1 - KEPT)]:
            await self._store.remove(each)

    def _as_of_now(self, record: RepairRecord) -> RepairRecord:
        if record.state == "planned" and self.clock.wall_us() > record.expires_us:
            return record.replace(state="expired")
        return record

    def _paced(self, per_s: float) -> Pace:
        return Pace(per_s, now_s=self.clock.monotonic, sleep=self.clock.sleep)


_INSTEAD: Final[Mapping[str, str]] = {
    "planning": "wait until it is planned",
    "expired": "plan again",
    "failed": "plan again",
    "done": "plan again if a later pass finds more",
    "cancelled": "plan again",
}


def _cut_off(pod: str) -> str:
    return f"{pod} ended while it was planning: plan again"


def _reason(record: RepairRecord) -> str:
    return f" ({record.because})" if record.because else ""


def _entry(stage: str, record: RepairRecord) -> dict[str, Any]:
    """Return an entry of the journal about a repair's writes; see `crossfade.core.parity.repairs`."""
    entry = {"stage": stage, "id": record.id, "who": record.executed_by, "keys": record.writes}
    return entry | ({"outcomes": dict(record.outcomes)} if stage == "done" else {"by_class": dict(record.by_class)})
