"""The replicator's own pipelines on memory streams: apply in both directions, and the feed.

What stands between a stream and a pipeline is a reader of a few lines instead of Faust: a task a shard, that fetches,
applies, and only then stores its checkpoint.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final

from crossfade.adapters.memory.control import MemoryJournal, MemoryReports
from crossfade.contracts.report import Report
from crossfade.core.migration.phases import Phase
from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.shape import Direction, Side
from crossfade.runtime.retry import persist
from crossfade_replicator.interventions import Interventions
from crossfade_replicator.journal import PhaseWatch, work_of
from crossfade_replicator.letters import drop_answered
from crossfade_replicator.outcome import BatchOutcome
from crossfade_replicator.pipeline import ApplyPipeline
from crossfade_replicator.publisher import FeedPipeline
from crossfade_replicator.records import Pipeline
from crossfade_replicator.sender import Sender
from crossfade_replicator.tally import Tally
from engagement_migration import MAPPING
from simulation.ground import FEED, STREAMS, Ground
from simulation.network import Process
from simulation.places import Checkpoints
from simulation.pods import Trusting

SETTLE_S: Final = 0.5
POLL_S: Final = 0.6
REPORT_S: Final = 1.5


class Reader:
    """Reads one shard into a pipeline.

    Attributes:
        read_to_s: all that had arrived by then is applied, on the process's monotonic clock; None before a first read.
    """

    def __init__(self, consumer: Consumer, shard: str) -> None:
        self._consumer, self.shard = consumer, shard
        self.tally = Tally()
        self._most = consumer.dice.choice((2, 10, 100))
        self.read_to_s: float | None = None

    async def run(self) -> None:
        each, process = self._consumer, self._consumer.process
        place = await persist(lambda: each.checkpoints.get(each.consumer, f"{each.stream}/{self.shard}"))
        iterator = await persist(lambda: each.streams.shard_iterator(each.stream, self.shard, after=place))
        while True:
            sent_s = process.monotonic()
            if each.ground.aws.is_read(iterator):  # an answer without records costs a call, and tells nothing
                self.read_to_s = sent_s
                await asyncio.sleep(POLL_S)
                continue
            try:
                fetched = await each.streams.get_records(iterator, self._most)
            except CrossfadeError:
                await asyncio.sleep(POLL_S)
                continue
            if fetched.records:
                self.tally.add(await each.acknowledged(self.shard, fetched.records))
            iterator = fetched.next_iterator
            if fetched.behind_ms == 0:
                self.read_to_s = sent_s
                await asyncio.sleep(POLL_S)


class Consumer:
    """Reads all shards of a stream in one consumer."""

    def __init__(self, process: Process, ground: Ground, consumer: str, side: Side, pipeline: Pipeline) -> None:
        self.process, self.ground, self.consumer, self.side, self.pipeline = process, ground, consumer, side, pipeline
        self.stream = STREAMS[side]
        self.streams = process.far(ground.aws)
        self.checkpoints = process.far(Checkpoints(ground, side))
        self.dice = random.Random(f"consumer {process.name} {consumer} {ground.script.seed}")
        self._reports = process.far(MemoryReports(ground.store))
        self.readers: list[Reader] = []

    async def start(self) -> None:
        """Begin to read, as soon as the stream is there."""
        while True:
            try:
                shards = await self.streams.list_shards(self.stream)
                there = shards and await self.streams.list_shards(FEED)
            except CrossfadeError:
                there = []
            if there:
                break
            await asyncio.sleep(POLL_S)
        self.readers = [Reader(self, each.shard_id) for each in shards]
        for reader in self.readers:
            self.process.spawn(reader.run())
        self.process.spawn(self._tell())

    async def acknowledged(self, shard: str, records: Any) -> BatchOutcome:
        """Apply a batch, then store its place: the order is the promise."""
        outcome = await self.pipeline.apply(shard, records)
        await self.store(shard, records)
        return outcome

    async def store(self, shard: str, records: Any) -> None:
        name = f"{self.stream}/{shard}"
        await persist(lambda: self.checkpoints.put(self.consumer, name, records[-1].sequence_number))

    async def _tell(self) -> None:
        pause_s = POLL_S / 2
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(REPORT_S, pause_s * 1.5)  # a reader that begins says so soon: phases wait for it
            found = [self._report(each) for each in self.readers if each.read_to_s is not None]
            try:
                await self._reports.put(found)
            except CrossfadeError:
                continue

    def _report(self, reader: Reader) -> Report:
        assert reader.read_to_s is not None
        return Report(
            self.consumer,
            f"{self.stream}/{reader.shard}",
            self.process.wall_us(),
            round((self.process.monotonic() - reader.read_to_s) * 1000),
            0,
            reader.tally.applied_commit_us,
            {name: count for name, count in reader.tally.counts.items() if count},
            stray_last_us=reader.tally.stray_last_us,
        )

    def is_drained(self, since_s: float) -> bool:
        return all(each.read_to_s is not None and each.read_to_s >= since_s + SETTLE_S for each in self.readers)


class Replicator:
    """One life of a replicator in one direction; `run` returns when the migration needs it no more."""

    def __init__(self, process: Process, ground: Ground, direction: Direction) -> None:
        self._process, self._ground, self._direction = process, ground, direction
        source, target = (process.far(ground.tables[side]) for side in (direction.origin, direction.destination))
        self._letters = process.far(ground.letters)
        self._watch = PhaseWatch(process.far(MemoryJournal(ground.store, who=process.name, now_us=process.wall_us)))
        self._target = target
        self.pipeline = ApplyPipeline(
            MAPPING,
            direction,
            sender=Sender(target, clock=process),
            interventions=Interventions(MAPPING, direction, source, target, self._letters, clock=process),
            marks=Trusting(process.far(ground.marks)),
            letters=self._letters,
            clock=process,
            strays_since_us=lambda: persist(lambda: self._watch.strays_since_us(direction.origin)),
        )
        self.consumer = Consumer(process, ground, direction.value, direction.origin, self.pipeline)

    async def run(self) -> None:
        work, admin = work_of(MAPPING, self._direction), self._process.far(self._ground.aws)
        while True:
            try:
                phase = (await self._watch.look()).phase
                if phase in work and await admin.table(MAPPING.shape(self._direction.destination).table):
                    break
            except CrossfadeError:
                pass
            await asyncio.sleep(0.3)
        await self.consumer.start()
        complete_s: float | None = None
        while True:
            await asyncio.sleep(0.8)
            try:
                if self._ground.store.letters:
                    await drop_answered(self._letters, MAPPING, self._direction, self._target)
                phase = (await self._watch.look()).phase
            except CrossfadeError:
                continue
            if phase is not Phase.COMPLETE:
                continue
            if complete_s is None:
                complete_s = self._process.monotonic()
            if self.consumer.is_drained(complete_s):
                return


class Feed:
    """One life of the feed, which reads both streams."""

    def __init__(self, process: Process, ground: Ground) -> None:
        self.consumers = [
            Consumer(process, ground, f"feed-{side.value}", side, self._pipeline(process, ground, side))
            for side in Side
        ]

    def _pipeline(self, process: Process, ground: Ground, side: Side) -> FeedPipeline:
        return FeedPipeline(
            MAPPING,
            side,
            publisher=process.far(ground.aws),
            stream=FEED,
            letters=process.far(ground.letters),
            clock=process,
        )

    async def run(self) -> None:
        for each in self.consumers:
            each.process.spawn(each.start())
        await asyncio.get_running_loop().create_future()
