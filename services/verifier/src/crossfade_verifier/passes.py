"""Passes, one after the other or on demand, shared by all verifiers of a migration; and what the last ones found.

A pass is kept in the store (ADR 0036): a restarted verifier continues it, and every verifier says the same of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog

from crossfade.contracts.passes import PassRecord
from crossfade.core.parity.classes import Difference
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.ports.passes import PassStore
from crossfade.runtime.pace import set_within
from crossfade_verifier.both import BothTables
from crossfade_verifier.called import CalledKeys, Swept
from crossfade_verifier.costs import Sizing, expected
from crossfade_verifier.findings import Findings
from crossfade_verifier.followlist import Handovers
from crossfade_verifier.owning import View
from crossfade_verifier.pass_records import (
    Entries,
    Records,
    RepairsSeen,
    Stamped,
    begun_of,
    counts_still,
    done_of,
    log_done,
    next_of,
)
from crossfade_verifier.pass_views import Pass, Progress
from crossfade_verifier.settings import Settings
from crossfade_verifier.sharing import Share
from crossfade_verifier.units import Means, why

log = structlog.get_logger()


class Passes:
    """Takes part in passes, begins them, and keeps their results. Also tells follow lists what the streams say.

    Attributes:
        running: the pass that runs now.
        last: the last one that was done.
        last_clean: the last one that was clean; None again from a repair on, until the next.
        handovers: keys standby on both sides.
        resting: continuous passes are off for the moment, for this reason.
        turn: which of the map's intervals lasts; 0 where rows tell who owns. A pass of another one says nothing.
        repaired_since_clean: keys repaired since the last clean pass began.
        heard: what the continuous mode has called; None without it.
        proven: whether the continuous mode has verified a key at a version or above.
        on_done: told how long each pass took that was done, s; None for nothing.
    """

    def __init__(
        self,
        both: BothTables,
        settings: Settings,
        *,
        store: PassStore,
        journal: Entries,
        clock: Clock,
        at_most_us: Callable[[], int],
        complete: Callable[[], bool] = lambda: False,
        size: Sizing | None = None,
    ) -> None:
        """Prepare.

        Args:
            both: both tables.
            settings: of the process.
            store: of passes.
            journal: of the migration, for repairs.
            clock: of the process; its wall clock names passes, and nothing else.
            at_most_us: a moment that the tables' clock has surely not passed yet, µs; it dates passes.
            complete: what the flag document says.
            size: asks how large a table is, for what a pass will cost; None where nobody knows.
        """
        self._both, self._settings, self._complete = both, settings, complete
        self._clock, self._at_most_us, self._size = clock, at_most_us, size
        self._store = store
        self._pace = Stamped(settings.reads_per_s, clock)
        self.handovers = Handovers()
        self._means = Means(both, store, self._pace, self.handovers, settings, clock, at_most_us, self._proven)
        self._holder = f"{settings.pod}/{clock.wall_us()}"
        self._records = Records(self._means, self._so_far)
        self._share: Share | None = None
        self._due_s = clock.monotonic()
        self._trouble = "starting"
        self._repairs = RepairsSeen(journal)
        self._repairing = 0
        self._spoiled: set[str] = set()
        self._counted: set[str] = set()
        self._newest = ""
        self._unended: Pass | None = None
        self._swept: tuple[str, frozenset[Key] | None] = "", None
        self.turn = both.owning.view.turn
        self.running: Pass | None = None
        self.last: Pass | None = None
        self.last_clean: Pass | None = None
        self.resting = ""
        self.repaired_since_clean = 0
        self.heard: CalledKeys | None = None
        self.proven: Callable[[Key, int], bool] = lambda _key, _version: False
        self.on_done: Callable[[float], None] | None = None

    # ---- what others ask ----

    def hear(self, side: Side, change: Change) -> None:
        """Take in a change record of either stream."""
        if self._share is not None:
            self._share.hear(side, change)

    @property
    def waiting(self) -> str:
        """Why no pass is making progress; empty when one is, or none is due."""
        return self._trouble or self.view.why or (self._share.why() if self._share is not None else "")

    @contextmanager
    def repairing(self, keys: int) -> Iterator[None]:
        """Count repairs: neither the running pass nor one before or meanwhile speaks for what they change."""
        self._spoil(keys)
        self.repaired_since_clean += keys
        self._repairing += keys
        try:
            yield
        finally:
            self._repairing -= keys
            self._spoil(0)

    def _spoil(self, keys: int) -> None:
        if self.last_clean is not None:
            self._spoiled.add(self.last_clean.id)
            self.last_clean = None
        if self.running is not None:
            self._spoiled.add(self.running.id)
            self.running.repairs_here += keys

    def repaired(self, keys: int) -> None:
        """Count what somebody else repaired: see `repairing`."""
        with self.repairing(keys):
            pass

    def keys_of(self, found: Difference) -> list[Key]:
        """Return keys of a class, as they were called last."""
        heard = [] if self.heard is None else self.heard.keys.get(found, [])
        swept = (key for _, each in self.parts() for key in each.called_keys.get(found, ()))
        return list(dict.fromkeys((*heard, *swept)))

    def parts(self) -> list[tuple[str, Findings]]:
        """Return what was found, with the id of its pass: units of the running one first, the last done one last."""
        passes = [each for each in (self.running, self._unended, self.last) if each is not None]
        return [(each.id, part) for each in passes for part in each.parts()]

    @property
    def called(self) -> list[Findings | CalledKeys]:
        """What was called since the last pass that was done: by the running one, the last unended one, or heard."""
        passes = [each for each in (self.running, self._unended) if each is not None]
        called: list[Findings | CalledKeys] = [found for each in passes if (found := each.findings) is not None]
        return called if self.heard is None else [*called, self.heard]

    def _proven(self, key: Key, version: int) -> bool:
        return self.proven(key, version)

    def hurry(self) -> None:
        """Begin the next pass at once, if none runs and passes aren't only made on demand."""
        if self.running is None:
            self._due_s = self._clock.monotonic()
            self._records.woken.set()

    def swept(self) -> Swept | None:
        """Return the last pass that is done, for the continuous mode."""
        last = self.last
        if last is None or last.findings is None or last.started_s is None:
            return None
        if self._swept[0] != last.id:  # this is asked for each second, and the keys may be a hundred thousand
            kept = [key for keys in last.findings.called_keys.values() for key in keys]
            called = sum(last.findings.book.by_class.values())
            self._swept = last.id, frozenset(kept) if len(kept) == called else None
        return Swept(last.id, last.started_s, last.clean, self._swept[1])

    async def ask(self, who: str = "") -> Pass:
        """Request a pass that begins after this call; one that was requested and has not begun serves all.

        It replaces a running pass that nobody requested, and waits for one that somebody did.

        Raises:
            CrossfadeError: the store can't be written.
        """
        return await self._records.ask(who)

    async def cancel(self, wanted: str, who: str) -> Pass | None:
        """Cancel a pass; one that has ended stays as it is. Return it; None for an unknown one.

        Raises:
            CrossfadeError: the store can't be written.
        """
        return await self._records.cancel(wanted, who)

    async def _so_far(self, record: PassRecord) -> Findings:
        share = self._share
        if share is None or share.each.id != record.id:
            share = Share(self._means, Pass(record), self._holder, complete=self._complete)
            share.each.units = await self._store.units(record)
        return await share.whole(at_least=True)

    async def get(self, wanted: str) -> Pass | None:
        """Return a pass by its id, though this verifier may not have heard of it; see `Records.find`."""
        return await self._records.find(wanted)

    def history(self) -> list[Pass]:
        """Return the last passes, newest first: the same at every verifier."""
        return self._records.history()

    def progress(self) -> Progress | None:
        """Return how the running pass goes."""
        running = self.running
        return None if running is None else running.progress(self._clock.monotonic(), self._expected(running))

    def _expected(self, each: Pass) -> int:
        last = self.last.findings if self.last is not None else None
        known = sum(each.record.expected_rows.values())
        return known or (sum(last.scanned.values()) if last is not None else 0)

    @property
    def read_s(self) -> float:
        """When the running pass last went on, monotonic, at whichever verifier; now when none runs."""
        running, share = self.running, self._share
        if running is None or share is None:
            return self._clock.monotonic()
        return max(self._pace.taken_s, share.moved_s, running.started_s or 0.0)

    @property
    def view(self) -> View:
        """Which table owns, as was last looked at."""
        return self._both.owning.view

    @property
    def tables(self) -> dict[Side, str]:
        """Names of the tables that are compared."""
        return {side: self._both.table(side).shape.table for side in Side}

    def followed(self) -> int:
        """Return how many keys the running pass follows."""
        return 0 if self._share is None else self._share.followed()

    def held(self) -> str:
        """Say why the scan of the running pass is on hold; empty when it isn't."""
        return "" if self._share is None else self._share.held()

    # ---- taking part ----

    async def run(self) -> None:
        """Take part in passes until cancelled."""
        while True:
            try:
                view = self._turn_to(await self._both.look())
                await self._catch_up()
                await self._records.outdate(self.last_clean, self.called)
                record = await self._store.running()
                if not view.is_open and (record is None or record.state == "waiting"):
                    self._trouble = ""
                    await self._clock.sleep(self._settings.share_every_s)
                    continue
                if record is None and (made := await self._next()) is not None:
                    record = await self._store.begin(made)
                self._trouble = ""
                if record is not None:
                    await self._take_part(self._records.told(record))
            except CrossfadeError as error:
                self._wait_for(error)
                await self._clock.sleep(self._settings.retry_s)

    def _turn_to(self, view: View) -> View:
        """After a flip nothing that was found before it counts, and the next pass is due."""
        if view.turn != self.turn:
            self.turn, self._due_s = view.turn, self._clock.monotonic()
            self.last, self.last_clean, self._unended = map(self._of_now, (self.last, self.last_clean, self._unended))
        return view

    def _of_now(self, each: Pass | None) -> Pass | None:
        return each if each is None or each.record.turn == self.turn else None

    def _wait_for(self, error: CrossfadeError) -> None:
        because = f"passes can't be kept: {why(error)}"
        if self._trouble != because:
            log.warning("no pass", reason=because)
        self._trouble = because

    async def _next(self) -> PassRecord | None:
        """Return the pass that is to begin now; None when there was none to begin, and some time has passed."""
        newest = next(iter(await self._store.history(1)), None)
        if newest is not None and newest.next_id and await self._store.get(newest.next_id) is None:
            return next_of(newest).replace(buckets=self._settings.buckets, scan_units=self._settings.units)
        self.resting = self._why_resting()
        left_s = self._due_s - self._clock.monotonic()
        if not self.resting and left_s <= 0:
            return self._records.new(asked=False)
        self._trouble = ""
        self._records.woken.clear()
        most_s = self._settings.share_every_s
        await set_within(self._records.woken, most_s if self.resting else min(most_s, left_s))
        return None

    def _why_resting(self) -> str:
        if not self._settings.continuous:
            return "passes run only on demand"
        if self._complete():
            return "the flag document says complete: replication may have ended, so passes run only on demand"
        return ""

    async def _take_part(self, each: Pass) -> None:
        """Take part in a pass until it has ended."""
        self.running = each
        self._share = share = Share(self._means, each, self._holder, complete=self._complete)
        each.repairs_here = max(each.repairs_here, self._repairing)
        leave = True
        try:
            while not each.record.ended:
                await self._try(lambda: self._go_on(each, share))
            leave = False
            await self._try(lambda: self._over(each))
        finally:
            self.running = self._share = None
            await share.stop(leave=leave)
        await self._store.forget(each.id)

    async def _try(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something; what the store can't do at the moment is waited for, while units are worked at."""
        try:
            await work()
            self._trouble = ""
        except CrossfadeError as error:
            self._wait_for(error)
            await self._clock.sleep(self._settings.retry_s)

    async def _over(self, each: Pass) -> None:
        """Take in a pass that has ended: what it has called counts without a gap."""
        if each.found is None:
            mine = each.with_keys() if each.state != "done" else None
            each.found = mine or await self._records.found(each.record)
        each.mine, each.theirs = {}, {}
        self._count(each)

    def _count(self, each: Pass) -> None:
        """Count a pass that has ended."""
        self._counted.add(each.id)
        now_s, found = self._clock.monotonic(), each.found
        pause_s = self._settings.pause_s
        if self._of_now(each) is None:
            return
        if each.state == "done":
            self.last, self._unended = each, None
            if each.clean and each.id not in self._spoiled:
                self.last_clean, self.repaired_since_clean = each, 0
            else:
                pause_s = min(pause_s, self._settings.retry_s)  # it may have been the last of a catching-up
            for key, since_us in (found.handovers if found is not None else {}).items():
                self.handovers.see(key, self._records.monotonic_of(since_us), now_s)
            if each.started_s is not None:
                self.handovers.forget_unseen(each.started_s)
        elif found is not None and (found.drift or found.not_ours):
            self._unended = each  # what was called stays called until a pass is done
        self._due_s = now_s + pause_s
        self._records.prune((self.last, self.last_clean, self._unended, self.running))
        self._counted.intersection_update(self._records.known)

    async def _go_on(self, each: Pass, share: Share) -> None:
        store, view = self._store, self._turn_to(await self._both.look())
        await self._records.outdate(self.last_clean, self.called)
        if each.record.state == "waiting" and not view.is_open:
            return await self._clock.sleep(self._settings.share_every_s)
        if each.record.state == "waiting":
            await self._start(each, view)
        elif each.record.turn != view.turn and not each.record.ended:
            await self._records.end(each.record, "given up", f"the {view.owner.value} table owns by now")
            return None
        await share.look()
        if each.units and all(unit.state == "done" for unit in each.units):
            await self._finish(each, share)
        if not each.record.ended:
            await share.wait(self._settings.share_every_s, self._records.woken)
            fresh = await store.get(each.id)
            if fresh is None:
                raise CrossfadeError(f"pass {each.id} is no longer kept")
            self._records.told(fresh)
            self._records.woken.clear()
        return None

    async def _start(self, each: Pass, view: View) -> None:
        await self._repairs.read()
        cost = await expected(self.last, self.tables, self._size)
        begun = begun_of(each.record, cost, began_us=self._at_most_us(), journal_from=self._repairs.read_to, view=view)
        changed = await self._store.change(begun)
        self._records.told(changed or await self._store.get(each.id) or each.record)

    async def _finish(self, each: Pass, share: Share) -> None:
        """End a pass whose units are done; whoever sees it first does so."""
        record, store = each.record, self._store
        if not record.join_units and any(unit.head.get("spilled") for unit in each.units):
            changed = await store.change(record.replace(join_units=record.scan_units, stage="joining"))
            self._records.told(changed or await store.get(record.id) or record)
            return
        found = await share.whole()
        if self.last is not None and self.last.findings is not None:
            found.since(self.last.findings)
        repairs = max(await self._repairs.after(record.journal_from), each.repairs_here)
        done = done_of(record, found, repairs=repairs, ended_us=self._at_most_us())
        changed = await store.change(done, found.encode())
        if changed is not None:
            each.found, each.ended_s = found, self._clock.monotonic()
            self._records.told(changed)
            took_s = log_done(each, found, self._clock.monotonic())
            if self.on_done is not None:
                self.on_done(took_s)

    async def _catch_up(self) -> None:
        """Take in what ended without us: before this verifier was started, or while it looked elsewhere.

        Raises:
            CrossfadeError: the store or the journal can't be read.
        """
        newest = next(iter(await self._store.history(1)), None)
        if newest is None or (newest.id == self._newest and newest.forgotten == newest.ended):
            return
        ended = [record for record in reversed(await self._store.history()) if record.ended]
        due_s = self._due_s
        for record in ended:
            if not record.forgotten:
                await self._store.forget(record.id)
            if record.id in self._counted:
                continue
            each = self._records.told(record)
            each.found = await self._records.found(record) if counts_still(record, ended) else None
            self._count(each)
        if not self._newest:
            self._due_s = due_s
        self._newest = newest.id
        if self.last_clean is not None:
            repaired = await self._repairs.after(self.last_clean.record.journal_from)
            self.repaired_since_clean = repaired
            self.last_clean = None if repaired else self.last_clean
