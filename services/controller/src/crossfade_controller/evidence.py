"""Collects the evidence that gates look at. Whatever can't be read is unknown, and an unknown shuts its gate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

import structlog

from crossfade.contracts.heartbeat import Heartbeat
from crossfade.contracts.letter import DIVERGED, STRAY, DeadLetter
from crossfade.contracts.report import Report
from crossfade.core.migration.evidence import ApiCalls, Evidence, Lag, Parity, Pod, Stray, Strays
from crossfade.core.migration.state import Migration
from crossfade.core.protocol.plain.map import OwnerMap
from crossfade.core.protocol.plain.members import Member
from crossfade.core.values.clocks import CommitUs, LatestCommit, Quiet
from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.shape import Side
from crossfade.ports.admin import Destination, StreamFacts
from crossfade.ports.control import COUNT_AT_MOST
from crossfade_controller.canary import Prober
from crossfade_controller.diverged import CONSUMERS, name_of
from crossfade_controller.unread import Unread, unread
from crossfade_controller.world import World

log = structlog.get_logger()

API_CONSUMER: Final = "api"
"""Consumer under which an API pod reports its calls, its name the shard: counts `calls`, `failed`, `p99_us`."""

PASS_EVERY_S: Final = 5.0
"""How often the verifier is asked for a pass at most."""

FEED_CONSUMERS: Final = {Side.SOURCE: "feed-source", Side.TARGET: "feed-target"}
"""The feed's consumers, by the side whose changes they read."""

NAMED: Final = 10
"""Strays of each kind that evidence and status name."""


def stray_of(letter: DeadLetter) -> Stray:
    """Return what a letter says about a stray."""
    at_us = letter.committed_us or letter.at_us
    return Stray(name_of(letter), letter.key.decode(), letter.table, at_us, letter.settled, letter.cure)


class Watched(NamedTuple):
    """A report, as our own clock knows it.

    Attributes:
        report: the last one.
        still_s: for how long it has stood still; None until it was seen to change.
        after_s: it was written after this monotonic time, that of the last look that saw the one before it.
    """

    report: Report
    still_s: float | None
    after_s: float = float("-inf")

    @property
    def applied_s(self) -> float:
        """Monotonic time before which all that had come into the shard is applied."""
        return self.after_s - self.report.iterator_age_ms / 1000


class ReportWatch:
    """Tells living reports from what a dead consumer left behind. Wall clocks are never compared."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[int, float | None, float]] = {}
        self._looked_s = float("-inf")

    def watch(self, reports: Sequence[Report], now_s: float) -> list[Watched]:
        """Take one more look."""
        before, self._seen = self._seen, {}
        watched = []
        for report in reports:
            name = (report.consumer, report.shard)
            at_us, changed_s, after_s = before.get(name, (report.at_us, None, float("-inf")))
            if at_us != report.at_us:
                changed_s, after_s = now_s, self._looked_s
            self._seen[name] = (report.at_us, changed_s, after_s)
            watched.append(Watched(report, None if changed_s is None else now_s - changed_s, after_s))
        self._looked_s = now_s
        return watched


T = TypeVar("T")


class Facts(NamedTuple):
    """What the control plane of AWS said, side by side; None when it could not be asked."""

    streams: dict[Side, StreamFacts | None]
    destinations: dict[Side, tuple[Destination, ...] | None]
    unreplicated_s: dict[Side, float | None]


_NO_FACTS: Final = Facts({}, {}, {})


class Observer:
    """Looks at everything in intervals, and keeps the last look.

    Attributes:
        throughput: changes applied a second by each consumer, over the last look.
        pods: all heartbeats of the last look, expired ones too.
        reports: the living reports of the last look.
        owner_map: of the last look, under the plain protocol; None where there is none yet.
    """

    def __init__(self, world: World, canary: Prober) -> None:
        self._world = world
        self._canary = canary
        self._watch = ReportWatch()
        self._quiet = Quiet()
        self._facts = _NO_FACTS
        self._facts_s = self._looked_s = float("-inf")
        self._asked_s = float("-inf")
        self._applied: dict[tuple[str, str], int] = {}
        self._letters: int | None = None
        self._parity = Parity()
        self._lags = {Side.SOURCE: Lag(None, None), Side.TARGET: Lag(None, None)}
        self.throughput: dict[str, float] = {}
        self._strays_seen: dict[str, LatestCommit] = {}
        self._imprecise: dict[str, LatestCommit] = {}
        self._reached_us: dict[str, CommitUs] = {}
        self._strays: tuple[list[DeadLetter], list[DeadLetter]] | None = ([], [])
        self._strays_s = float("-inf")
        self.pods: list[Heartbeat] = []
        self._pods_known = False
        self.reports: list[Report] = []
        self._last: list[Report] = []
        self._alive: list[Watched] = []
        self._in_stream: dict[Side, tuple[float, float]] = {}
        self._found: tuple[Migration, Evidence] | None = None  # of this look
        self._members: list[Member] | None = None
        self.owner_map: OwnerMap | None = None

    async def look(self, state: Migration) -> bool:
        """Look again, if it is time to; say whether it was."""
        now_s = self._world.clock.monotonic()
        if now_s - self._looked_s < self._world.settings.evidence_s:
            return False
        if now_s - self._facts_s >= self._world.settings.facts_s:
            self._facts = await self._ask_aws()
            self._facts_s = now_s
        elapsed_s, self._looked_s = now_s - self._looked_s, now_s
        before = self._letters
        watched, self.pods, self._letters, self._parity = await asyncio.gather(
            self._read_reports(), self._read_pods(), self._count_letters(), self._world.parity()
        )
        if self._letters != before or now_s - self._strays_s >= self._world.settings.facts_s:
            self._strays, self._strays_s = await self._read_strays(), now_s
        for letter in (each for letters in self._strays or () for each in letters):
            self._hear_stray(letter.consumer, letter.committed_us, now_s)
        for side, last_us in state.stray_last_us.items():
            self._hear_stray(CONSUMERS[Side(side)], last_us, now_s)
        alive = [each for each in watched if each.still_s is not None and each.still_s < self._world.settings.report_s]
        self._alive = alive
        self.reports = [each.report for each in alive]
        self._last = [each.report for each in watched]
        for each in watched:  # a consumer that restarts forgets them, and a dead one's last word still counts
            self._hear(each.report, now_s)
        self._members = await self._read_members()
        self._measure(elapsed_s)
        self._lags = {side: self._lag(side, CONSUMERS[side]) for side in Side}
        bound_s = self._world.settings.gate_lag_s
        worst = [lag.worst_s for lag in self._lags.values()]
        self._quiet = self._quiet.observe(all(each is not None and each < bound_s for each in worst), now_s)
        await self._canary.probe(state)
        self._found = None
        return True

    def _hear(self, report: Report, now_s: float) -> None:
        """Take a consumer's commit times; those of one consumer are of one table."""
        consumer, none = report.consumer, LatestCommit()
        self._hear_stray(consumer, report.stray_last_us, now_s)
        self._imprecise[consumer] = self._imprecise.get(consumer, none).observe(
            CommitUs(report.imprecise_last_us), now_s
        )
        self._reached_us[consumer] = max(
            self._reached_us.get(consumer, CommitUs(0)), CommitUs(report.applied_commit_us)
        )

    def _hear_stray(self, consumer: str, committed_us: int, now_s: float) -> None:
        seen = self._strays_seen.get(consumer, LatestCommit())
        self._strays_seen[consumer] = seen.observe(CommitUs(committed_us), now_s)

    @property
    def stray_last_us(self) -> dict[str, int]:
        """Commit times of the last strays, by side; as far as journal, reports and letters tell."""
        found = {
            side.value: self._strays_seen.get(consumer, LatestCommit()).committed_us
            for side, consumer in CONSUMERS.items()
        }
        return {side: int(last_us) for side, last_us in found.items() if last_us}

    def _age_s(self, latest: Mapping[str, LatestCommit]) -> float | None:
        ages = (
            each.age_s(self._reached_us.get(consumer, CommitUs(0)), self._looked_s) for consumer, each in latest.items()
        )
        return min((age_s for age_s in ages if age_s is not None), default=None)

    def evidence(self, state: Migration) -> Evidence | None:
        """Return the last look as evidence, under the flags that `state` says are in force."""
        if self._looked_s == float("-inf"):
            return None
        if self._found is None or self._found[0] is not state:
            self._found = (state, self._evidence(state))
        return self._found[1]

    def _evidence(self, state: Migration) -> Evidence:
        retentions = [each.retention_h for each in self._facts.streams.values() if each is not None]
        left = self.unread(state)
        return Evidence(
            forward=self._lags[Side.SOURCE],
            reverse=self._lags[Side.TARGET],
            feed={consumer: self._lag(side, consumer) for side, consumer in FEED_CONSUMERS.items()},
            quiet_s=self._quiet.lasted_s(self._looked_s),
            dead_letters=self._letters,
            parity=self._parity,
            strays=self._known_strays(state),
            imprecise_age_s=self._age_s(self._imprecise),
            precisions=self._precisions(),
            oldest_unapplied_s=max(
                (left[consumer].waited_s for consumer in CONSUMERS.values() if consumer in left), default=0.0
            ),
            retention_s=min(retentions) * 3600.0 if len(retentions) == len(Side) else None,
            document=state.document,
            dual_write=state.dual_write,
            pods=[Pod(each.pod, each.document, each.dual_write) for each in self.pods if not each.expired]
            if self._pods_known
            else None,
            probe=self._canary.record(),
            api=self._api_calls(),
            skew=self._world.skew(),
            clock=self._world.settings.pod,
            members=self._members,
        )

    def unread(self, state: Migration) -> dict[str, Unread]:
        """Return what each consumer may have left in its stream, by the last look."""
        living = {(each.consumer, each.shard) for each in self.reports}
        shards = {side: found.open_shards for side, found in self._facts.streams.items() if found is not None}
        return unread(state, self._last, living, shards, self._world.clock.wall_us())

    def _known_strays(self, state: Migration) -> Strays:
        waiting, settled = self._strays or ([], [])
        settled = sorted(settled, key=lambda each: -each.committed_us)
        return Strays(
            watched=bool(state.strays_since_us),
            age_s=self._age_s(self._strays_seen),
            last_us=max(self.stray_last_us.values(), default=0),
            waiting=None if self._strays is None else len(waiting),
            named=tuple(stray_of(each) for each in (*waiting[:NAMED], *settled[:NAMED])),
        )

    @property
    def parity(self) -> Parity:
        """The verifier's word, as of the last look."""
        return self._parity

    def lag(self, side: Side) -> Lag:
        """Return both hops of the changes of one side."""
        return self._lags[side]

    def read_past(self, since_s: float) -> str:
        """Say which consumer has not read what was committed before a moment; empty when both directions have.

        A record is in its stream by the look at AWS whose oldest unreplicated record is younger than the moment. It is
        applied once each shard's consumer has told that it applied all that had come by that look. No wall clock is in
        it.

        Args:
            since_s: the moment, monotonic.
        """
        for side in Side:
            waiting = self._read_past(side, since_s, "the last handover")
            if waiting:
                return waiting
        return ""

    def read_past_hold(self, side: Side, since_s: float, *, in_stream: bool) -> str:
        """Say as `read_past` what is missing of one side's changes.

        Args:
            side: that owns.
            since_s: the proof of the hold, monotonic.
            in_stream: whether a marker of that moment was seen in the stream, so that no metric is waited for.
        """
        if in_stream:
            self._in_stream[side] = (since_s, since_s)
        return self._read_past(side, since_s, "the hold")

    def _read_past(self, side: Side, since_s: float, what: str) -> str:
        table, lag = self._world.mapping.shape(side).table, self._lags[side]
        if lag.worst_s is None:
            return f"{table}'s changes to be read past {what}; how far they are is unknown: {lag.why}"
        known = self._in_stream.get(side)
        if known is None or known[0] != since_s:
            unreplicated_s = self._facts.unreplicated_s.get(side)
            if unreplicated_s is None or self._facts_s - unreplicated_s <= since_s:
                return f"{table}'s changes up to {what} to be in its stream"
            known = self._in_stream[side] = (since_s, self._facts_s)
        mine = [each for each in self._alive if each.report.consumer == CONSUMERS[side]]
        late = [each.report.shard for each in mine if each.applied_s < known[1]]
        return f"the {CONSUMERS[side]} consumer to read {', '.join(late[:3])} past {what}" if late else ""

    async def want_pass(self) -> None:
        """Ask the verifier for a pass, now and then, while a gate waits for one."""
        now_s = self._world.clock.monotonic()
        if now_s - self._asked_s >= PASS_EVERY_S:
            self._asked_s = now_s
            await self._world.ask_for_pass()

    async def canary_home(self) -> None:
        """Hand the canary back to the source table."""
        await self._canary.go_home()

    def _precisions(self) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for side in Side:
            table, destinations = self._world.mapping.shape(side).table, self._facts.destinations.get(side)
            if destinations is None:
                found[table] = None
                continue
            mine = [each for each in destinations if each.stream_arn.rpartition("/")[2] == self._world.stream_of(side)]
            active = [each.precision for each in mine if each.status == "ACTIVE"]
            found[table] = active[0] if active else ""
        return found

    def _lag(self, side: Side, consumer: str) -> Lag:
        stream = self._facts.streams.get(side)
        unreplicated_s = self._facts.unreplicated_s.get(side)
        reports = [each for each in self.reports if each.consumer == consumer]
        heard = {each.shard.rpartition("/")[2] for each in reports}
        why = []
        if unreplicated_s is None:
            why.append(f"CloudWatch has no AgeOfOldestUnreplicatedRecord for {self._world.mapping.shape(side).table}")
        iterator_s: float | None = None
        if stream is None:
            why.append(f"stream {self._world.stream_of(side)} is unknown")
        elif missing := sorted(set(stream.open_shards) - heard):
            why.append(f"no live {consumer} consumer reports on {', '.join(missing[:3])}")
        elif reports:
            iterator_s = max(each.iterator_age_ms for each in reports) / 1000
        return Lag(unreplicated_s, iterator_s, "; ".join(why))

    def _measure(self, elapsed_s: float) -> None:
        rates: dict[str, float] = {}
        totals: dict[tuple[str, str], int] = {}
        for report in self.reports:
            name = (report.consumer, report.shard)
            totals[name] = report.counts.get("applied", 0)
            gained = max(0, totals[name] - self._applied.get(name, totals[name]))
            rates[report.consumer] = rates.get(report.consumer, 0.0) + gained / max(elapsed_s, 1e-3)
        self._applied, self.throughput = totals, rates

    def _api_calls(self) -> ApiCalls | None:
        reports = [each for each in self.reports if each.consumer == API_CONSUMER]
        if not reports:
            return None
        slowest = [each.counts["p99_us"] / 1000 for each in reports if "p99_us" in each.counts]
        return ApiCalls(
            calls=sum(each.counts.get("calls", 0) for each in reports),
            failed=sum(each.counts.get("failed", 0) for each in reports),
            p99_ms=max(slowest, default=None),
            pods=tuple(each.shard for each in reports),
        )

    async def _read_reports(self) -> list[Watched]:
        try:
            reports = await self._world.reports.all()
        except CrossfadeError as error:
            log.warning("reports can't be read", error=str(error))
            return []
        return self._watch.watch(reports, self._world.clock.monotonic())

    async def _read_members(self) -> list[Member] | None:
        """Return all members but this process, under the plain protocol."""
        ports = self._world.plain
        if ports is None:
            return None
        try:
            self.owner_map = await ports.maps.read()
            return [each for each in await ports.members.all() if each.name != ports.name]
        except CrossfadeError as error:
            log.warning("members can't be read", error=str(error))
            return None

    async def _read_pods(self) -> list[Heartbeat]:
        self._pods_known = False
        try:
            found = await self._world.heartbeats.all()
        except CrossfadeError as error:
            log.warning("heartbeats can't be read", error=str(error))
            return []
        self._pods_known = True
        return found

    async def _count_letters(self) -> int | None:
        try:
            return await self._world.letters.count()
        except CrossfadeError as error:
            log.warning("dead letters can't be counted", error=str(error))
            return None

    async def _read_strays(self) -> tuple[list[DeadLetter], list[DeadLetter]] | None:
        """Return the waiting letters of strays and diverged keys, and the settled ones; without their payloads."""
        letters = self._world.letters
        try:
            found = [await letters.all(limit=COUNT_AT_MOST, code=code) for code in (STRAY, DIVERGED)]
            settled = await letters.settled()
        except CrossfadeError as error:
            log.warning("letters of strays can't be read", error=str(error))
            return None
        waiting = sorted((each for letters in found for each in letters), key=lambda each: each.at_us)
        return [each.replace(payload=b"") for each in waiting], [each.replace(payload=b"") for each in settled]

    async def _ask_aws(self) -> Facts:
        facts = Facts({}, {}, {})
        for side in Side:
            table = self._world.mapping.shape(side).table
            facts.streams[side] = await _told(table, self._world.admin.stream(self._world.stream_of(side)))
            destinations = await _told(table, self._world.admin.destinations(table))
            facts.destinations[side] = None if destinations is None else tuple(destinations)
            facts.unreplicated_s[side] = await _told(table, self._world.metrics.unreplicated_s(table))
        return facts


async def _told(table: str, asking: Awaitable[T | None]) -> T | None:
    """Return what AWS says; None when it can't tell: a look that fails hides no other."""
    try:
        return await asking
    except Exception as error:  # the target table may not exist yet, and botocore has errors of its own
        log.debug("AWS didn't answer", table=table, error=str(error))
        return None
