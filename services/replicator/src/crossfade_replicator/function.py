"""The replicator as an AWS Lambda function behind a Kinesis event source mapping: the same pipelines, another frame.

    event → phase? → pipeline, while time lasts → report, metrics → partial batch response

What is left when time runs out, throttled transfers mostly, is named in the response by its lowest sequence number, and
Lambda sends it and all behind it again. That is harmless: a transfer is idempotent, and marks spare the writes that
were done. Poison is parked here, with its payload; Lambda's own failure destination would only tell its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import structlog

from crossfade.core.migration.phases import Phase
from crossfade.core.values.errors import ConfigError, CrossfadeError, StoreUnavailable
from crossfade.ports.clock import Clock
from crossfade_replicator.function_event import EventBatch, done_up_to, read_event
from crossfade_replicator.function_metrics import Ran
from crossfade_replicator.function_reports import FunctionReports, Reach
from crossfade_replicator.journal import PhaseWatch
from crossfade_replicator.outcome import BatchOutcome
from crossfade_replicator.records import Pipeline
from crossfade_replicator.sender import Sender

log = structlog.get_logger()

REPORT: Final = "report"
"""`{"crossfade": "report"}` is the event of the schedule."""

HARD_STOP: Final = 0.4
"""Share of the reserve that is left when work in hand is cut off."""


class TimeLeft:
    """How long requests may still be made."""

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._until_s = float("inf")

    def start(self, allowed_s: float) -> None:
        """Allow so many seconds from now."""
        self._until_s = self._monotonic() + allowed_s

    def left_s(self) -> float:
        """Return how many are left."""
        return self._until_s - self._monotonic()


async def nothing() -> int:
    """Let no letters go: the feed's need a human decision."""
    return 0


class Source(NamedTuple):
    """A stream that the function is behind.

    Attributes:
        name: name of the consumer, as in its reports.
        pipeline: what its records go through.
        sender: of a pipeline that applies; None for the feed.
        tidy: lets letters go that their rows answer; returns how many.
        work: phases in which it has any; None for all, as the feed has.
    """

    name: str
    pipeline: Pipeline
    sender: Sender | None = None
    tidy: Callable[[], Awaitable[int]] = nothing
    work: frozenset[Phase] | None = None


class Function:
    """Works on one event at a time."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        phases: PhaseWatch,
        reports: FunctionReports,
        time_left: TimeLeft,
        *,
        clock: Clock,
        partial: bool,
        reserve_s: float,
        emit: Callable[[Ran], None],
        look_s: float = 2.0,
    ) -> None:
        """Put the parts together.

        Args:
            sources: by name of the stream.
            phases: follows the migration's phase.
            reports: tells the controller.
            time_left: the same that the senders ask.
            clock: of the process.
            partial: whether the event source mapping takes partial batch responses.
            reserve_s: time kept at the end; at most a third of what there is.
            emit: takes how a batch went.
            look_s: time between two looks at the phase.
        """
        self._sources = sources
        self._phases = phases
        self._reports = reports
        self._time_left, self._clock = time_left, clock
        self._partial = partial
        self._reserve_s = reserve_s
        self._emit = emit
        self._look_s = look_s
        self._looked_s = float("-inf")

    async def run(self, event: Mapping[str, Any], allowed_s: float) -> dict[str, Any]:
        """Work on an event.

        Args:
            event: of the event source mapping, or of the schedule.
            allowed_s: time until Lambda ends the function.

        Returns:
            The partial batch response; for the schedule, how many shards were reported.

        Raises:
            ConfigError: the function is behind a stream that is none of its name's.
            CrossfadeError: nothing of the batch can be taken for done.
        """
        if event.get("crossfade") == REPORT:
            return {"reported": await self._refresh()}
        batch = read_event(event)
        source = self._sources.get(batch.stream)
        if source is None:
            known = ", ".join(sorted(self._sources))
            raise ConfigError(
                f"the function's event source is the stream {batch.stream}, and reads {known}: see CROSSFADE_CONSUMER"
            )
        if waiting_for := await self._waiting_for(source):
            log.info("waiting", consumer=source.name, waiting_for=waiting_for)
            return self._answer(batch, 0, waiting_for)
        left = await self._work(source, batch, allowed_s)
        return self._answer(batch, left, f"{len(batch.records) - (left or 0)} records need more time")

    def _answer(self, batch: EventBatch, left: int | None, why: str) -> dict[str, Any]:
        if left is not None and not self._partial:
            raise StoreUnavailable(f"the whole batch must be delivered again: {why}")
        return done_up_to(batch, left)

    async def _refresh(self) -> int:
        reported = sum([await self._reports.refresh(each.name, stream) for stream, each in self._sources.items()])
        for source in self._sources.values():
            try:
                await source.tidy()
            except CrossfadeError as error:
                log.warning("letters not checked", error=str(error))  # the next schedule's event will
        return reported

    async def _waiting_for(self, source: Source) -> str:
        """Say which phases a source waits for; empty when it has work."""
        if source.work is None or self._clock.monotonic() - self._looked_s < self._look_s:
            return ""
        standing = await self._phases.look()
        if standing.phase in source.work:
            self._looked_s = self._clock.monotonic()
            return ""
        return f"phase {standing.phase.value} to become one of {', '.join(sorted(each.value for each in source.work))}"

    async def _work(self, source: Source, batch: EventBatch, allowed_s: float) -> int | None:
        """Put a batch through its pipeline; return the place of the first record that is left."""
        began_s, outcome = self._clock.monotonic(), BatchOutcome()
        throttled = self._prepare(source, allowed_s)
        async with self._cut_off(allowed_s) as cut:
            outcome = await source.pipeline.apply(batch.shard_id, batch.records)
        left = outcome.again[0] if outcome.again else None
        if cut():
            log.warning(
                "out of time: the batch will be delivered again", consumer=source.name, records=len(batch.records)
            )
            left = 0
        self._tell(source, batch, outcome, left, self._clock.monotonic() - began_s, throttled())
        await self._report(source, batch, outcome, left)
        return left

    def _prepare(self, source: Source, allowed_s: float) -> Callable[[], int]:
        self._time_left.start(allowed_s - self._kept_s(allowed_s))
        sender = source.sender
        if sender is None:
            return lambda: 0
        before = sender.throttled
        return lambda: sender.throttled - before

    def _kept_s(self, allowed_s: float) -> float:
        return min(self._reserve_s, allowed_s / 3)

    @asynccontextmanager
    async def _cut_off(self, allowed_s: float) -> AsyncIterator[Callable[[], bool]]:
        """Cancel what runs inside shortly before the end; yields a function that says whether it was."""
        limit = asyncio.timeout(allowed_s - HARD_STOP * self._kept_s(allowed_s))
        try:
            async with limit:
                yield limit.expired
        except TimeoutError:
            if not limit.expired():
                raise

    def _reach(self, batch: EventBatch, left: int | None) -> Reach:
        records, now_s = batch.records, self._clock.wall_us() / 1e6
        if left is None:
            return Reach(max(0.0, now_s - records[-1].arrived_s), 0.0, records[-1].sequence_number)
        position = records[left - 1].sequence_number if left else ""
        return Reach(max(0.0, now_s - records[left].arrived_s), records[left].arrived_s, position)

    def _tell(
        self, source: Source, batch: EventBatch, outcome: BatchOutcome, left: int | None, took_s: float, throttled: int
    ) -> None:
        reach = self._reach(batch, left)
        newest = max(batch.records, key=lambda each: each.arrived_s)
        lag_s = newest.arrived_s - outcome.applied_commit_us / 1e6 if outcome.applied_commit_us else None
        self._emit(
            Ran(
                consumer=source.name,
                stream=batch.stream,
                shard_id=batch.shard_id,
                took_s=took_s,
                age_s=reach.age_s,
                unapplied_s=reach.age_s if left is not None else 0.0,
                arrival_lag_s=None if lag_s is None else max(0.0, lag_s),
                throttled=throttled,
                counts=outcome.counts,
            )
        )

    async def _report(self, source: Source, batch: EventBatch, outcome: BatchOutcome, left: int | None) -> None:
        try:
            await self._reports.add(source.name, batch.stream, batch.shard_id, outcome, self._reach(batch, left))
        except CrossfadeError as error:
            log.warning("not reported", error=str(error))  # serves operators: applying doesn't depend on it
