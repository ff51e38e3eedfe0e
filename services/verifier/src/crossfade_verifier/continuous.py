"""The continuous mode: hears every change of both streams, and sees a difference when it is made (ADR 0037).

    owner's stream:    key, version v, state d ─┐
    standby's stream:  key, version v, state d ─┴─▶ verified
                       other state, or a version that did not rise ─▶ suspected
                       nothing within the in-flight bound ─▶ suspected
    suspected ─▶ three consistent reads ─▶ equal, or called

Records come twice, late, in any order, and some not at all; so they prove that a key is equal, never that it differs.
What they leave open, reads decide, on a follow list of this mode's own. All that is kept is bounded; what there is no
room for is counted as unobserved, and is the next pass's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
import xxhash

from crossfade.contracts.parity import ContinuousReport, DifferenceReport
from crossfade.core.parity.classes import FINAL, Difference, Pair
from crossfade.core.parity.meaning import CURE
from crossfade.core.protocol.row import Row
from crossfade.core.replication.change import Change, ChangeKind
from crossfade.core.values.errors import CrossfadeError, PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.runtime.pace import Pace
from crossfade_verifier.both import BothTables
from crossfade_verifier.called import Called, CalledKeys, Swept
from crossfade_verifier.followlist import CHUNK, FollowList, Handovers
from crossfade_verifier.hearing import Counts, Open
from crossfade_verifier.owning import View
from crossfade_verifier.reading.states import State
from crossfade_verifier.recent import Recent
from crossfade_verifier.running import RunningDifference
from crossfade_verifier.settings import Settings

log = structlog.get_logger()

REMEMBERED: Final = 50_000
"""Records, and verified versions, that are remembered at least: about 20 MB at most."""

ASK_AGAIN_S: Final = 60.0
"""How long a pass is waited for before it is asked for again."""

SHARE_OF_READS: Final = 0.1
"""Reads of this mode, which come on top of the passes', as a share of theirs."""

_hash = xxhash.xxh3_64_intdigest
_POINT_SEED: Final = 4
_ABSENT: Final = State(None, "", 0, True, b"\x00" * 16)


class Continuous:
    """Hears both streams.

    Attributes:
        counts: what was heard.
        differing: keys that differ, by reads.
        since_s: since when it has heard without a gap, monotonic clock.
        trouble: why suspected keys can't be read now; empty when they can.
        resting: why it doesn't hear; empty when it does.
        off: buckets that differ without an open key.
        asked_s: when it last asked for a pass on their account; None for never.
    """

    def __init__(
        self,
        both: BothTables,
        settings: Settings,
        handovers: Handovers,
        *,
        clock: Clock,
        at_most_us: Callable[[], int],
        behind_s: Callable[[], float | None] = lambda: 0.0,
        complete: Callable[[], bool] = lambda: False,
        swept: Callable[[], Swept | None] = lambda: None,
        ask: Callable[[], None] = lambda: None,
    ) -> None:
        """Start with nothing heard.

        Args:
            both: both tables.
            settings: of the process.
            handovers: called with each suspected key that is standby on both sides.
            clock: of the process.
            at_most_us: see `FollowList`.
            behind_s: how far the reading of the streams is behind; None while one isn't read, and nothing is overdue.
            complete: what the flag document says.
            swept: the last pass that is done.
            ask: asks for a pass, at once.
        """
        self._both, self._settings, self._clock = both, settings, clock
        self._behind_s, self._complete, self._swept, self._ask = behind_s, complete, swept, ask
        self._rows = both.rows()
        self._states = {side: both.states(side) for side in Side}
        self._view = both.owning.view
        self._bound_s, self._most = settings.in_flight_bound_s, settings.watch_bound
        reads_per_s = max(10.0, SHARE_OF_READS * settings.reads_per_s)
        self._list = FollowList(
            both,
            self,
            Pace(reads_per_s, now_s=clock.monotonic, sleep=clock.sleep),
            handovers,
            bound_s=self._bound_s,
            limit_s=settings.follow_limit_s,
            every_s=settings.settle_every_s,
            rows=self._rows,
            clock=clock,
            at_most_us=at_most_us,
            most=self._most,
        )
        self._open: dict[Key, Open] = {}
        self._seen: Recent[bool] = Recent(REMEMBERED)
        self._verified: Recent[tuple[int, int]] = Recent(REMEMBERED)
        self._tracked: dict[Key, int] = {}
        self._held_out: dict[Key, None] = {}
        self._handled = ""
        self.sums = RunningDifference(settings.buckets)
        self.counts = Counts()
        self.differing = CalledKeys(self._rows, settings.samples)
        self.since_s = clock.monotonic()
        self.trouble = ""
        self.resting = "" if settings.watch_changes else "CROSSFADE_WATCH_CHANGES is off"
        self.off: list[int] = []
        self.asked_s: float | None = None

    @property
    def open(self) -> int:
        """Keys whose match has not been heard yet."""
        return len(self._open)

    @property
    def following(self) -> int:
        """Suspected keys."""
        return len(self._list)

    def proven(self, key: Key, version: int) -> bool:
        """Say whether the streams, read to within the bound, show both sides alike at that version or above."""
        known = self._verified.get(_hash(key, _POINT_SEED))
        if known is None or known[0] < version or key in self._tracked or self.resting:
            return False
        behind_s = self._behind_s()
        return behind_s is not None and behind_s < self._bound_s

    # ---- records --------------------------------------------------------------------------------

    def hear(self, side: Side, change: Change) -> None:
        """Take in a change record of either stream."""
        key = change.key
        if self.resting or not self._both.reading.is_ours(key):
            return
        self.counts.heard[side] += 1
        point = _hash(key, _POINT_SEED)
        try:
            states, at_us = self._states[side], change.committed_us
            old_version = 0 if change.before is None else states.version_before(change.old_version())
            new = None if change.new is None else states.state(key, change.new, at_us)
            if self._is_duplicate(side, change, old_version, new):
                return
            old = self._before(side, change, point, old_version)
        except PoisonRecord:
            self.counts.unreadable += 1
            self._suspect(key, point, side=side)
            return
        bucket = self.sums.bucket_of(key)
        after = 0 if new is None or new.deleted else int.from_bytes(new.digest)
        self.sums.count(side, bucket, old, after)
        if key in self._list:
            self._list.hear(side, change)
        elif (called := self.differing.of(key)) is not None:
            self._look_again(key, called)  # a repair's write, say: reads tell
        elif new is None:
            self._removed(side, change, point, old_version)
        else:
            self._changed(side, change, new, point, old_version, after)

    def _is_duplicate(self, side: Side, change: Change, old_version: int, new: State | None) -> bool:
        version, role, generation, _, digest = _ABSENT if new is None else new
        told = f"{side.value}{change.committed_us} {old_version} {version}{role}{generation}".encode()
        identity = _hash(b"".join((told, digest, change.key)))
        if self._seen.get(identity):
            self.counts.duplicates += 1
            return True
        self._seen.put(identity, True)
        return False

    def _before(self, side: Side, change: Change, point: int, version: int) -> int:
        """Return the digest of the image before, as the sums count it."""
        if change.before is None or not self.sums.based:
            return 0
        known = self._verified.get(point)
        if known is not None and version and known[0] == version:
            return known[1]
        old = change.old
        if old is None:
            return 0
        state = self._states[side].state(change.key, old)
        return 0 if state.deleted else int.from_bytes(state.digest)

    def _changed(self, side: Side, change: Change, new: State, point: int, old_version: int, digest: int) -> None:
        key, version = change.key, change.committed_us if new.version is None else new.version
        if self._both.is_plain and not new.version:
            self._suspect(key, point)  # a copy without a fence that means anything
            return
        if version == 0:
            return  # the import's: no record of the owner's is its match
        active = new.role == "A" if new.role else side is Side.SOURCE
        owner = side if active else side.other
        if old_version and version <= old_version:
            self._suspect(key, point, side=owner, reached=old_version)  # each write of the protocol raises it
            return
        known = self._verified.get(point)
        if known is not None and version <= known[0]:
            if version == known[0] or change.kind is ChangeKind.INSERT:
                self._suspect(key, point, side=owner)
            else:
                self.counts.late += 1
            return
        opened = self._opened(key)
        if opened is None:
            return
        if active:
            opened.side = side
        elif new.deleted:
            opened.tombstone = max(opened.tombstone, version)
        opened.top = max(opened.top, version)
        opened.reached = opened.reached or version
        if opened.states.see(version, new.digest, new.generation, active=active, streamed=True):
            self._match(key, opened, point, version, digest)
        elif opened.gone and opened.tombstone >= opened.gone:
            self._match(key, opened, point, opened.tombstone, 0)

    def _removed(self, side: Side, change: Change, point: int, old_version: int) -> None:
        key = change.key
        try:
            old = _ABSENT if change.old is None else self._states[side].state(key, change.old)
        except PoisonRecord:
            old = _ABSENT._replace(deleted=False, role="S")
        version = old_version + 1 if old_version else change.committed_us
        known = self._verified.get(point)
        if known is not None and version <= known[0] and old_version < known[0]:
            self.counts.late += 1
        elif old.deleted and self._both.is_plain:
            return  # tombstones may be purged
        elif (old.role or ("A" if side is Side.SOURCE else "S")) == "S":
            self._suspect(key, point, side=side.other)  # nobody of the protocol removes a standby
        elif not old.deleted and (opened := self._opened(key)) is not None:
            opened.side, opened.gone = side, max(opened.gone, version)
            opened.top = max(opened.top, version)
            self._starts_over(key, opened)
            if opened.tombstone >= opened.gone:
                self._match(key, opened, point, opened.tombstone, 0)

    def _opened(self, key: Key) -> Open | None:
        found = self._open.get(key)
        if found is None:
            if len(self._open) >= self._most:
                self._unobserved(key)
                return None
            found = self._open[key] = Open(self._clock.monotonic())
            self._track(key)
        return found

    def _match(self, key: Key, opened: Open, point: int, version: int, digest: int) -> None:
        self.counts.verified += 1
        self._verified.put(point, (version, digest))
        if version >= opened.top:
            del self._open[key]
            self._held_out.pop(key, None)
            self._untrack(key, equal=True)
        else:
            self._starts_over(key, opened)

    def _starts_over(self, key: Key, opened: Open) -> None:
        """Give the standby a bound from now, as a pass does when it has made progress; the oldest stay first."""
        self._open.pop(key)
        self._open[key] = opened
        opened.since_s, opened.reached = self._clock.monotonic(), opened.top

    def _suspect(
        self, key: Key, point: int, overdue: Open | None = None, *, side: Side = Side.SOURCE, reached: int = 0
    ) -> None:
        """Leave a key to reads: at once if it is overdue, else a bound from now."""
        self._open.pop(key, None)
        self._verified.drop(point)
        if self._list.full:
            self._unobserved(key)
            return
        self._track(key)
        if overdue is None:
            self._list.suspect(key, 0, self._clock.monotonic(), side, reached=reached)
        else:
            first = 0 if overdue.gone >= overdue.reached else overdue.reached  # only reads show that nothing is there
            self._list.suspect(key, first, overdue.since_s, overdue.side)

    def _unobserved(self, key: Key) -> None:
        self.counts.unobserved += 1
        if key not in self.differing and key not in self._held_out:
            self._track(key)
            self._untrack(key, equal=False)

    def _track(self, key: Key) -> None:
        if key not in self._tracked:
            bucket = self._tracked[key] = self.sums.bucket_of(key)
            self.sums.open(bucket)

    def _untrack(self, key: Key, *, equal: bool) -> None:
        bucket = self._tracked.pop(key, None)
        if bucket is not None:
            self.sums.close(bucket, equal=equal)

    # ---- reads ----------------------------------------------------------------------------------

    def called(self, key: Key, found: Difference, pair: Pair, **_: Row | None) -> None:
        """Take in what became of a suspected key; see `crossfade_verifier.followlist.Outcome`."""
        if found is Difference.EQUAL:
            self.counts.read_equal += 1
            self.differing.clear(key)
            self._held_out.pop(key, None)
            self._untrack(key, equal=True)
        elif found is Difference.HELD_OUT and (key in self._held_out or len(self._held_out) < self._most):
            self.differing.clear(key)
            self._held_out[key] = None
        elif found in FINAL:
            self._held_out.pop(key, None)
            side = self._rows.owner_of(*pair) or Side.SOURCE
            now_s, now_us = self._clock.monotonic(), self._clock.wall_us()
            if not self.differing.call(key, found, pair, side, now_s, now_us):
                self._untrack(key, equal=False)
            log.warning("keys differ", key=key.decode(), found=found.value)
        elif key not in self.differing and key not in self._held_out:
            self._unobserved(key)

    def _look_again(self, key: Key, known: Called) -> None:
        if not self._list.full:
            self._list.suspect(key, 0, self._clock.monotonic() - self._bound_s, known.side)

    def tick(self) -> None:
        """Suspect what is overdue, look at called keys again, and judge the buckets."""
        if self.resting or self._rests() or not self._turned_to(self._both.owning.view):
            return
        now_s, behind_s = self._clock.monotonic(), self._behind_s()
        if behind_s is not None:
            overdue_s = now_s - self._bound_s - behind_s
            while self._open:
                key, opened = next(iter(self._open.items()))
                if opened.since_s > overdue_s:
                    break
                self._suspect(key, _hash(key, _POINT_SEED), opened)
        for key, known in self.differing.due(now_s - self._bound_s, CHUNK):
            self._look_again(key, known)
        self._take_pass(self._swept())
        self.off = self.sums.off(now_s, self._bound_s)
        if self.off and (self.asked_s is None or now_s - self.asked_s >= ASK_AGAIN_S):
            self.asked_s = now_s
            log.warning("buckets differ, asking for a pass", buckets=len(self.off))
            self._ask()

    def _turned_to(self, view: View) -> bool:
        """Say whether anything may be called. Around a flip nothing is, and after it nothing holds that was."""
        if view != self._view:
            if view.turn != self._view.turn:
                for key in self.differing.forget():
                    self._untrack(key, equal=False)
            self._view = view
            self.lost(view.why or f"the {view.owner.value} table owns at epoch {view.epoch}")
        return view.is_open

    def _rests(self) -> bool:
        if self._complete():
            self.resting = "the flag document says complete: replication may have ended"
            self.lost(f"resting: {self.resting}")
            for key in list(self._tracked):
                self.differing.clear(key)
        return bool(self.resting)

    def _take_pass(self, done: Swept | None) -> None:
        if done is None or done.id == self._handled:
            return
        self._handled = done.id
        for key in self.differing.swept(done):
            if key not in self._list:
                self._untrack(key, equal=True)
        if done.clean and done.started_s >= self.since_s:
            self.sums.rebase()

    def lost(self, why: str) -> None:
        """Note that records were lost: what is open may have been closed by one of them."""
        log.warning("changes were not heard", reason=why, open_keys=len(self._open))
        self.since_s = self._clock.monotonic()
        self.sums.forget()
        self._verified = Recent(REMEMBERED)  # who knows what has become of it
        for key in list(self._open):
            del self._open[key]
            self._unobserved(key)

    def report(self) -> ContinuousReport:
        """Return what `/parity` says of it."""
        counts, now_s, samples = self.counts, self._clock.monotonic(), self.differing.samples
        return ContinuousReport(
            resting=self.resting or None,
            since_s=round(now_s - self.since_s, 3),
            heard={side.value: count for side, count in counts.heard.items()},
            duplicates=counts.duplicates,
            verified=counts.verified,
            open=self.open,
            following=self.following,
            unobserved=counts.unobserved,
            called={
                found.value: DifferenceReport(count, samples.get(found, ()), CURE[found])
                for found, count in self.differing.drift.items()
            },
            buckets_off=len(self.off) if self.sums.based else None,
            asked_for_a_pass_age_s=None if self.asked_s is None else round(now_s - self.asked_s, 3),
            trouble=self.trouble,
        )

    async def run(self) -> None:
        """Read what is suspected, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick())
            group.create_task(self._look())

    async def _tick(self) -> None:
        while True:
            self.tick()
            await self._clock.sleep(self._settings.settle_every_s)

    async def _look(self) -> None:
        while True:
            await self.look()
            await self._clock.sleep(self._settings.settle_every_s)

    async def look(self) -> None:
        """Read the suspected keys whose bound has passed, once."""
        try:
            await self._list.look()
            self.trouble = ""
        except CrossfadeError as error:
            self.trouble = f"{error.code}: {error}"
