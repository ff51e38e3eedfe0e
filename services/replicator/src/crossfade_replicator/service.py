"""The replicator as a service: waits for what its name needs, consumes, reports, ends when there is no more work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from typing import Final

import structlog

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.control.dead_letters import DynamoDeadLetters
from crossfade.adapters.control.journal import DynamoJournal
from crossfade.adapters.control.reports import DynamoReports
from crossfade.adapters.control.tables import control_db
from crossfade.adapters.kinesis import Kinesis
from crossfade.adapters.no_marks import NoMarks
from crossfade.adapters.redis_dedup import RedisMarks
from crossfade.adapters.table_ids import table_id
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.transfers import DynamoTransfers
from crossfade.adapters.wire import Wire
from crossfade.core.mapping.interface import Mapping
from crossfade.core.migration.control import control_tables
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.dedup import Marks
from crossfade.runtime import lifecycle, telemetry
from crossfade.runtime.aws import wire_config
from crossfade.runtime.clients import PLACES, Clients
from crossfade.runtime.retry import persist
from crossfade_replicator.consumer import Consumer, Source
from crossfade_replicator.interventions import AT_ONCE, Interventions
from crossfade_replicator.journal import PhaseWatch, work_of
from crossfade_replicator.kill_points import KillPoints
from crossfade_replicator.leases import WireLeases
from crossfade_replicator.letters import drop_answered
from crossfade_replicator.measures import Throttled, observed
from crossfade_replicator.pipeline import ApplyPipeline
from crossfade_replicator.plain.building import plain_parts
from crossfade_replicator.publisher import FeedPipeline
from crossfade_replicator.readiness import stream_missing, table_missing, wait_for
from crossfade_replicator.records import Pipeline
from crossfade_replicator.reporting import is_drained, reports
from crossfade_replicator.sender import Sender
from crossfade_replicator.settings import ConsumerKind, Settings
from crossfade_replicator.tracing import Observed, ObservedTransfers
from faust_kinesis.errors import KinesisTransportError

log = structlog.get_logger()

SETTLE_S: Final = 3.0
"""How long a write may take from its table to the stream; what came before COMPLETE must be through before the end."""


class Service:
    """One process in one name. Built once, run once."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        """Open the clients; nothing is sent yet.

        Args:
            settings: of the process.
            stack: closes what is opened here.
        """
        self._settings = settings
        self._mapping: Mapping = settings.mapping()
        self._clients = Clients(settings, max_connections=settings.in_flight * 2)
        streams = Clients(settings, max_connections=settings.lanes * 2)
        control = Wire("dynamodb", wire_config(settings, max_connections=AT_ONCE + 4))
        for each in (self._clients, streams, control):
            stack.push_async_callback(each.close)
        self._dynamodb = self._clients.databases()
        self._kinesis = {place: Kinesis(streams.wire("kinesis", place)) for place in PLACES}
        # Leases and reports must not wait behind the batches that they describe.
        self._control = control_db(control)
        self._tables = control_tables(self._mapping.name)
        self._leases = WireLeases(self._control, self._tables.leases)
        self._letters = DynamoDeadLetters(self._control, self._tables.dead_letters)
        self._reports = DynamoReports(self._control, self._tables.reports)
        journal = DynamoJournal(self._control, self._tables.journal, who=settings.pod, code=lifecycle.code_version())
        self._phase = PhaseWatch(journal)
        self._kill = KillPoints(settings.kill_at)
        self._redis: RedisMarks | None = None
        if settings.redis_url:
            self._redis = RedisMarks(settings.redis_url, self._mapping.name, ttl_s=settings.mark_ttl_s)
            stack.push_async_callback(self._redis.close)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, or until the name has no more work.

        Raises:
            Exception: what a restart may cure; nothing was acknowledged that was not applied.
        """
        lifecycle.ready("", consumer=self._settings.consumer.value, pod=self._settings.pod)
        if self._settings.consumer is ConsumerKind.FEED:
            try:
                async with asyncio.TaskGroup() as group:
                    for side in Side:
                        group.create_task(self._feed(side, stop))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from errors
        else:
            await self._replicate(Direction(self._settings.consumer.value), stop)

    # ---- forward and reverse -------------------------------------------------------------------

    async def _replicate(self, direction: Direction, stop: asyncio.Event) -> None:
        if not await wait_for(lambda: self._missing(direction), stop, consumer=direction.value):
            return
        if self._mapping.protocol is PLAIN:
            await self._replicate_plain(direction, stop)
            return
        marks = await self._marks(direction)
        source, target = (
            DynamoTable(self._dynamodb[side], self._mapping, side) for side in (direction.origin, direction.destination)
        )
        destination = direction.destination
        transfers = DynamoTransfers(
            self._dynamodb[destination], self._mapping.shape(destination), self._mapping.protocol
        )
        sender = Sender(
            transfers if telemetry.active() is None else ObservedTransfers(transfers),
            clock=SYSTEM,
            in_flight=self._settings.in_flight,
            on_request=lambda: self._kill.reached("between-writes"),
        )
        pipeline = ApplyPipeline(
            self._mapping,
            direction,
            sender=sender,
            interventions=Interventions(self._mapping, direction, source, target, self._letters, clock=SYSTEM),
            marks=marks,
            letters=self._letters,
            clock=SYSTEM,
            kill=self._kill,
            strays_since_us=lambda: persist(lambda: self._phase.strays_since_us(direction.origin)),
        )
        await self._apply_with(
            direction, pipeline, sender, lambda: drop_answered(self._letters, self._mapping, direction, target), stop
        )

    async def _replicate_plain(self, direction: Direction, stop: asyncio.Event) -> None:
        """Apply under the plain protocol: as a member, from before the first write to after the last (ADR 0044)."""
        async with AsyncExitStack() as stack:
            parts = plain_parts(
                self._settings,
                self._mapping,
                direction,
                clients=self._clients,
                control=self._control,
                streams=self._kinesis,
                letters=self._letters,
                stack=stack,
                kill=self._kill,
                clock=SYSTEM,
                strays_since_us=lambda: persist(lambda: self._phase.strays_since_us(direction.origin)),
            )
            beating = asyncio.create_task(parts.membership.run())
            try:
                await self._apply_with(
                    direction, parts.pipeline, parts.writes, parts.tidy, stop, asyncio.shield(beating)
                )
            finally:
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)
                await parts.membership.leave()

    async def _apply_with(
        self,
        direction: Direction,
        pipeline: Pipeline,
        sender: Throttled,
        tidy: Callable[[], Awaitable[int]],
        stop: asyncio.Event,
        *until: Awaitable[None],
    ) -> None:
        """Consume the origin's stream with a pipeline until the migration no longer needs this direction.

        Args:
            direction: which way.
            pipeline: takes the batches.
            sender: of its writes.
            tidy: lets letters go that are answered; called now and then.
            stop: ends it.
            until: what else ends it.
        """
        name, stream = direction.value, self._stream(direction.origin)
        looked_on = self._looked_on(pipeline, direction.origin, name)
        consumer = self._consumer(Source(name, stream, looked_on), direction.origin)

        async def watch() -> None:
            """Return when the migration no longer needs this direction."""
            work = work_of(self._mapping, direction)
            complete_s: float | None = None  # by our own clock: it is later than the journal's entry, whoever wrote it
            while True:
                await SYSTEM.sleep(self._settings.watch_s)
                await tidy()
                phase = (await self._phase.look()).phase
                if phase not in work:
                    log.info("no more work", consumer=name, phase=phase.value)
                    return
                if phase is not Phase.COMPLETE:
                    continue
                if complete_s is None:
                    complete_s = SYSTEM.monotonic()
                if is_drained(consumer.engines(), complete_s, SETTLE_S, now_s=SYSTEM.monotonic()):
                    log.info("drained", consumer=name, phase=phase.value)
                    return

        measured = self._measured(consumer, sender, stream, looked_on)
        await self._consume(consumer, stop, _patient(watch, self._settings.watch_s), *until, measured=measured)

    async def _missing(self, direction: Direction) -> str:
        standing = await self._phase.look()
        work = work_of(self._mapping, direction)
        if standing.phase not in work:
            wanted = ", ".join(phase.value for phase in Phase if phase in work)
            return f"phase {standing.phase.value} to become one of {wanted}"
        origin, destination = direction.origin, direction.destination
        return await stream_missing(self._kinesis[origin], self._stream(origin)) or await table_missing(
            self._clients.wire("dynamodb", destination), self._mapping.shape(destination).table
        )

    async def _marks(self, direction: Direction) -> Marks:
        if self._redis is None:
            log.info("no Redis: every copy is written")
            return NoMarks()
        destination = direction.destination
        found = await table_id(self._clients.wire("dynamodb", destination), self._mapping.shape(destination).table)
        if found:
            self._redis.name_destination(direction, found)
        return self._redis

    # ---- feed ----------------------------------------------------------------------------------

    async def _feed(self, side: Side, stop: asyncio.Event) -> None:
        name, stream = f"feed-{side.value}", self._stream(side)

        async def missing() -> str:
            return await stream_missing(self._kinesis[None], self._settings.feed_stream) or await stream_missing(
                self._kinesis[side], stream
            )

        if not await wait_for(missing, stop, consumer=name):
            return
        pipeline = FeedPipeline(
            self._mapping,
            side,
            publisher=self._kinesis[None],
            stream=self._settings.feed_stream,
            letters=self._letters,
            clock=SYSTEM,
            kill=self._kill,
        )
        looked_on = self._looked_on(pipeline, side, name, publishes_to=self._settings.feed_stream)
        consumer = self._consumer(Source(name, stream, looked_on), side)
        await self._consume(consumer, stop, measured=self._measured(consumer, None, stream, looked_on))

    # ---- both ----------------------------------------------------------------------------------

    def _stream(self, side: Side) -> str:
        return self._settings.source_stream if side is Side.SOURCE else self._settings.target_stream

    def _looked_on(self, pipeline: Pipeline, side: Side, name: str, publishes_to: str = "") -> Pipeline:
        active = telemetry.active()
        if active is None:
            return pipeline
        stream = self._stream(side)
        return Observed(
            pipeline,
            active,
            self._mapping,
            side,
            consumer=name,
            stream=stream,
            publishes_to=publishes_to,
            clock=SYSTEM,
        )

    @contextmanager
    def _measured(
        self, consumer: Consumer, sender: Throttled | None, stream: str, pipeline: Pipeline
    ) -> Iterator[None]:
        """Have a consumer's figures in the metrics while it runs."""
        active = telemetry.active()
        if active is None or not isinstance(pipeline, Observed):
            yield
            return
        lags = pipeline.arrival_lag_s

        def source() -> Iterator[telemetry.Observed]:
            moved = self._leases.checkpoints[f"{stream}#{consumer.name}"]
            return observed(consumer, sender, moved, lags, self._redis, SYSTEM)

        active.observe(source)
        try:
            yield
        finally:
            active.forget(source)

    def _consumer(self, source: Source, side: Side) -> Consumer:
        return Consumer(source, self._settings, self._kinesis[side], self._leases, self._kill)

    async def _consume(
        self,
        consumer: Consumer,
        stop: asyncio.Event,
        *until: Awaitable[None],
        measured: AbstractContextManager[None],
    ) -> None:
        """Run a consumer until `stop`, or the first of `until` to return; report all the while."""
        await consumer.start()
        reporting = asyncio.create_task(_patient(lambda: self._report(consumer), self._settings.report_s))
        logging = asyncio.create_task(self._log(consumer))
        try:
            with measured:
                await _first_end(stop.wait(), consumer.crashed(), *until)
        finally:
            await consumer.stop()
            for task in (reporting, logging):
                task.cancel()
            await asyncio.gather(reporting, logging, return_exceptions=True)
            log.info("consumed", consumer=consumer.name, **consumer.tallies.total())

    async def _report(self, consumer: Consumer) -> None:
        while True:
            for engine in consumer.engines():
                await consumer.tallies.recall(consumer.name, engine, self._reports)
                await self._reports.put(reports(consumer.name, engine, consumer.tallies, now_us=SYSTEM.wall_us()))
            await SYSTEM.sleep(self._settings.report_s)

    async def _log(self, consumer: Consumer) -> None:
        while True:
            await SYSTEM.sleep(self._settings.log_report_s)
            ages = {engine.stream: engine.age_s for engine in consumer.engines()}
            log.info("report", consumer=consumer.name, iterator_age_s=ages, **consumer.tallies.total())


async def _patient(work: Callable[[], Awaitable[None]], pause_s: float) -> None:
    """Do work that serves operators, again after a pause when the store fails: applying doesn't depend on it."""
    while True:
        try:
            await work()
        except (CrossfadeError, KinesisTransportError) as error:
            log.warning("trying again", error=str(error))
            await SYSTEM.sleep(pause_s)
        else:
            return


async def _first_end(*works: Awaitable[object]) -> None:
    """Run until the first of the works ends, then cancel the others.

    Raises:
        Exception: what the first one raised.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
