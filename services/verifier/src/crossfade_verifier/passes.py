"""Passes, one after the other or on demand; and what the last ones found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from crossfade.core.parity.classes import Difference
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import CrossfadeError, StoreRefused
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.runtime.pace import Pace, set_within
from crossfade_verifier.both import BothTables
from crossfade_verifier.called import CalledKeys, Swept
from crossfade_verifier.followlist import FollowList, Handovers
from crossfade_verifier.settings import Settings
from crossfade_verifier.sweep import Findings, Sweep

log = structlog.get_logger()

HISTORY: Final = 100
"""Passes that can be asked for by their id."""

NOT_THERE: Final = frozenset({"ResourceNotFoundException", "ResourceInUseException", "TableNotFoundException"})
"""Refusals that mean: there is no such table yet."""


@dataclass(slots=True, eq=False)
class Pass:
    """One pass.

    Attributes:
        id: unique forever.
        asked: by POST /passes; such a pass is never given up for another.
        state: "waiting", "running", "done", "failed" or "given up".
        findings: what it found; None before it runs.
        started_s: monotonic; None before it runs.
        ended_s: monotonic; None before it ends.
        repairs: keys repaired while it ran; such a pass is never clean.
        why: why it failed.
    """

    id: str
    asked: bool
    state: str = "waiting"
    findings: Findings | None = None
    started_s: float | None = None
    ended_s: float | None = None
    repairs: int = 0
    why: str = ""

    @property
    def clean(self) -> bool:
        """It is done, found every key verified, and nothing was repaired meanwhile."""
        return self.state == "done" and self.findings is not None and self.findings.clean and not self.repairs


class _Stamped(Pace):
    """A pace that knows when it last let a read through: whoever asks again has its answer."""

    def __init__(self, per_s: float, clock: Clock) -> None:
        super().__init__(per_s, now_s=clock.monotonic, sleep=clock.sleep)
        self.taken_s = clock.monotonic()

    async def take(self, items: int) -> None:
        """See `Pace.take`."""
        await super().take(items)
        self.taken_s = self._now_s()


class Passes:
    """Runs passes and keeps their results. Also tells its follow list what the streams say.

    Attributes:
        running: the pass that runs now.
        last: the last one that was done.
        last_clean: the last one that was clean; None again from a repair on, until the next.
        waiting: why no pass can run now; empty when it can.
        handovers: keys standby on both sides.
        resting: continuous passes are off for the moment, for this reason.
        repaired_since_clean: keys repaired since the last clean pass began.
        heard: what the continuous mode has called; None without it.
        on_done: told how long each pass took that was done, s; None for nothing.
    """

    def __init__(
        self,
        both: BothTables,
        settings: Settings,
        *,
        clock: Clock,
        at_most_us: Callable[[], int],
        complete: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare.

        Args:
            both: both tables.
            settings: of the process.
            clock: of the process; its wall clock names passes, and nothing else.
            at_most_us: a moment that the tables' clock has surely not passed yet, µs.
            complete: what the flag document says.
        """
        self._both, self._settings, self._complete = both, settings, complete
        self._clock, self._at_most_us = clock, at_most_us
        self._pace = _Stamped(settings.reads_per_s, clock)
        self._known: dict[str, Pass] = {}
        self._asked: Pass | None = None
        self._something_asked = asyncio.Event()
        self._followed: FollowList | None = None
        self.handovers = Handovers()
        self.running: Pass | None = None
        self.last: Pass | None = None
        self.last_clean: Pass | None = None
        self.waiting = "starting"
        self.resting = ""
        self.repaired_since_clean = 0
        self._repairing = 0
        self._unended: Findings | None = None
        self.heard: CalledKeys | None = None
        self.on_done: Callable[[float], None] | None = None

    def hear(self, side: Side, change: Change) -> None:
        """Take in a change record of either stream."""
        if self._followed is not None:
            self._followed.hear(side, change)

    @contextmanager
    def repairing(self, keys: int) -> Iterator[None]:
        """Count repairs: neither the running pass nor one before or meanwhile speaks for what they change."""
        self.last_clean = None
        self.repaired_since_clean += keys
        self._repairing += keys
        if self.running is not None:
            self.running.repairs += keys
        try:
            yield
        finally:
            self._repairing -= keys
            self.last_clean = None

    def repaired(self, keys: int) -> None:
        """Count what somebody else repaired: see `repairing`."""
        with self.repairing(keys):
            pass

    def keys_of(self, found: Difference) -> list[Key]:
        """Return keys of a class, as they were called last."""
        ended = [self.last.findings] if self.last is not None and self.last.findings is not None else []
        return list(dict.fromkeys(key for each in (*self.called, *ended) for key in each.keys.get(found, ())))

    @property
    def called(self) -> list[Findings | CalledKeys]:
        """What was called since the last pass that was done: by the running one, the last unended one, or heard."""
        running = self.running.findings if self.running is not None else None
        return [each for each in (running, self._unended, self.heard) if each is not None]

    def hurry(self) -> None:
        """Begin the next pass at once, if none runs and passes aren't only made on demand."""
        if self.running is None:
            self._something_asked.set()

    def swept(self) -> Swept | None:
        """Return the last pass that is done, for the continuous mode."""
        last = self.last
        if last is None or last.findings is None or last.started_s is None:
            return None
        kept = [key for keys in last.findings.keys.values() for key in keys]
        called = sum(last.findings.book.by_class.values())
        return Swept(last.id, last.started_s, last.clean, frozenset(kept) if len(kept) == called else None)

    def ask(self) -> Pass:
        """Ask for a pass that begins from now on; one that is asked for and has not begun is good for all."""
        if self._asked is None:
            self._asked = self._new(asked=True)
            self._something_asked.set()
        return self._asked

    def get(self, pass_id: str) -> Pass | None:
        """Return a pass by its id."""
        return self._known.get(pass_id)

    @property
    def read_s(self) -> float:
        """When the running pass last went on, monotonic; now when none runs, since nothing is wanted of it."""
        running = self.running
        return self._clock.monotonic() if running is None else max(self._pace.taken_s, running.started_s or 0.0)

    @property
    def tables(self) -> dict[Side, str]:
        """Names of the tables that are compared."""
        return {side: self._both.table(side).shape.table for side in Side}

    def followed(self) -> int:
        """Return how many keys the running pass follows."""
        return len(self._followed) if self._followed is not None else 0

    def held(self) -> str:
        """Say why the scan of the running pass is on hold; empty when it isn't."""
        followed = self._followed
        if followed is None or followed.held_since_s is None:
            return ""
        held_s = self._clock.monotonic() - followed.held_since_s
        return (
            f"the scan has been on hold for {held_s:.0f} s: {len(followed)} keys are being followed, "
            f"CROSSFADE_FOLLOW_BOUND is {followed.most}"
        )

    async def run(self) -> None:
        """Make passes until cancelled."""
        while True:
            each = await self._next()
            try:
                await self._make(each)
            except StoreRefused as error:
                self._fail(each, _why(error))
            except CrossfadeError as error:
                self._fail(each, f"{error.code}: {error}")
            if each.state == "failed":
                await self._clock.sleep(self._settings.retry_s)
            elif each.state == "done":
                # What was found is looked at again soon: it may have been the last of a catching-up.
                await self._pause(self._settings.pause_s if each.clean else self._settings.retry_s)

    async def _next(self) -> Pass:
        while True:
            if self._asked is not None:
                return self._asked
            self.resting = self._why_resting()
            if not self.resting:
                return self._new(asked=False)
            self.waiting = ""
            self._something_asked.clear()
            await self._wait_asked(self._settings.retry_s)

    def _why_resting(self) -> str:
        if not self._settings.continuous:
            return "passes run only on demand"
        if self._complete():
            return "the flag document says complete: replication may have ended, so passes run only on demand"
        return ""

    async def _pause(self, pause_s: float) -> None:
        if self._asked is None:
            self._something_asked.clear()
            await self._wait_asked(min(pause_s, self._settings.pause_s))

    async def _wait_asked(self, timeout_s: float) -> None:
        await set_within(self._something_asked, timeout_s)

    def _new(self, *, asked: bool) -> Pass:
        made = Pass(f"{self._settings.pod}-{self._clock.wall_us()}", asked)
        if asked:
            self._known[made.id] = made
            while len(self._known) > HISTORY:
                del self._known[next(iter(self._known))]
        return made

    async def _make(self, each: Pass) -> None:
        """Make one pass; give it up for one that is asked for meanwhile, unless it was asked for itself."""
        sweep = self._begin(each)
        task = asyncio.create_task(sweep.run())
        try:
            if not each.asked:
                self._something_asked.clear()
                asked = asyncio.create_task(self._something_asked.wait())
                try:
                    await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    asked.cancel()
                if not task.done():
                    each.state = "given up"
                    return
            await task
            self._done(each)
        finally:
            if each.state != "done" and each.findings is not None and (each.findings.drift or each.findings.not_ours):
                self._unended = each.findings  # what was called stays called until a pass is done
            self.running = self._followed = None
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _begin(self, each: Pass) -> Sweep:
        settings, rows = self._settings, self._both.rows(complete=self._complete())
        findings = Findings(settings.buckets, settings.samples, settings.repairs_at_once, rows, self._both.why_refused)
        self._followed = FollowList(
            self._both,
            findings,
            self._pace,
            self.handovers,
            bound_s=settings.in_flight_bound_s,
            limit_s=settings.follow_limit_s,
            every_s=settings.settle_every_s,
            rows=rows,
            clock=self._clock,
            at_most_us=self._at_most_us,
            most=settings.follow_bound,
        )
        each.state, each.findings, each.started_s, each.repairs = (
            "running",
            findings,
            self._clock.monotonic(),
            self._repairing,
        )
        self.running = each
        if each is self._asked:
            self._asked = None
        return Sweep(
            self._both,
            findings,
            self._followed,
            self._pace,
            segments=settings.segments,
            page=settings.page,
            rows=rows,
        )

    def _done(self, each: Pass) -> None:
        each.state, each.ended_s = "done", self._clock.monotonic()
        self.waiting = ""
        self.last, self._unended = each, None
        if each.clean:
            self.last_clean, self.repaired_since_clean = each, 0
        found = each.findings
        if found is not None and each.started_s is not None:
            self.handovers.forget_unseen(each.started_s)
            log.info(
                "pass done",
                id=each.id,
                clean=each.clean,
                verified=found.book.verified,
                classes={name.value: count for name, count in found.book.by_class.items()},
                scanned={side.value: count for side, count in found.scanned.items()},
                repairs=each.repairs,
                took_s=round(each.ended_s - each.started_s, 2),
            )
            if self.on_done is not None:
                self.on_done(each.ended_s - each.started_s)

    def _fail(self, each: Pass, why: str) -> None:
        if self.waiting != why:
            log.warning("no pass", reason=why)
        self.waiting = each.why = why
        each.state, each.ended_s = "failed", self._clock.monotonic()
        if each.asked:  # it was promised: it waits until it can be made
            each.state, each.ended_s, each.findings = "waiting", None, None
            self._asked = self._asked or each


def _why(error: StoreRefused) -> str:
    if error.reason in NOT_THERE:
        return f"a table doesn't exist yet: {error}"
    return f"a table can't be read: {error}"
