"""The `kinesis://` transport of Faust: a thin adapter on the engine.

A topic is a stream. A Faust partition is a *lane*: a fixed place where a worker works on some of
its shards. The lanes are assigned once, when the worker starts; shards come and go in them as
leases do. So a shard that is gained, lost, split or handed over never causes a Faust rebalance,
which would stop all partitions, and cancel agents that `CrashingSupervisor` then takes for crashed.

A message is a whole batch: its value is a `Batch`, its offset a number of the lane. Offsets serve
Faust's own bookkeeping and are never stored: the checkpoint is the shard's sequence number.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from faust.transport import base
from faust.types import TP, ConsumerMessage
from mode import get_logger

from faust_kinesis.client import BotoKinesis, KinesisClient
from faust_kinesis.dynamo import DynamoBackend
from faust_kinesis.engine import Engine, EngineReport
from faust_kinesis.errors import LeaseLost
from faust_kinesis.leases import DynamoLeases
from faust_kinesis.options import Options, options_for
from faust_kinesis.producer import Producer
from faust_kinesis.tail import Batch

logger = get_logger(__name__)


class _Lanes:
    """Spreads the shards of a stream over its lanes: a shard stays in the lane it was first put in."""

    def __init__(self, stream: str, count: int) -> None:
        self.tps = [TP(stream, number) for number in range(count)]
        self._lane_of: dict[str, TP] = {}

    def lane(self, shard_id: str, held: Collection[str]) -> TP:
        """Return the lane of a shard; a new one goes where the fewest of the held shards are."""
        if shard_id not in self._lane_of:
            self._lane_of = {known: tp for known, tp in self._lane_of.items() if known in held}
            load = dict.fromkeys(self.tps, 0)
            for tp in self._lane_of.values():
                load[tp] += 1
            self._lane_of[shard_id] = min(self.tps, key=lambda tp: (load[tp], tp))
        return self._lane_of[shard_id]


class Consumer(base.Consumer):  # type: ignore[misc] # faust ships no types that mypy could follow here
    """Feeds batches of an `Engine` per stream to Faust, and Faust's acks back."""

    logger = logger

    def __post_init__(self) -> None:
        self._engines: dict[str, Engine] = {}
        self._lanes: dict[str, _Lanes] = {}
        self._given: dict[TP, deque[int]] = {}
        self._next_offset: dict[TP, int] = {}
        self._subscribed = asyncio.Event()
        self._topics: frozenset[str] = frozenset()

    @property
    def _options(self) -> Options:
        options: Options = self.transport.options
        return options

    # ---- life ----------------------------------------------------------------------------------

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Read these streams from now on."""
        self._topics = frozenset(topics)
        self._subscribed.set()

    async def on_start(self) -> None:
        """Wait for subscriptions from now on."""
        await super().on_start()
        self.add_future(self._assign())

    async def _assign(self) -> None:
        """Start the engines of new streams, and assign all their lanes to this worker."""
        while not self.should_stop:
            await self._subscribed.wait()
            self._subscribed.clear()
            try:
                await self._start_engines()
            except Exception as error:
                self.log.exception("can't read: %s", error)
                await self.crash(error)
                return

    async def _start_engines(self) -> None:
        for stream in sorted(self._topics - self._engines.keys()):
            engine = Engine(self.transport.client(), self.transport.lease_store(stream), stream, self._options)
            await engine.start()
            self._engines[stream] = engine
            self._lanes[stream] = _Lanes(stream, self._options.lanes)
        self.app.on_rebalance_start()
        await self.on_partitions_revoked(self.assignment() & set(self._next_offset))
        for tp in self.assignment():
            self._next_offset.setdefault(tp, 1)
            self._given.setdefault(tp, deque())
        # A message of another generation is skipped, and acknowledged anyway: see ack().
        self.app.consumer_generation_id += 1
        await self.on_partitions_assigned(self.assignment(), self.app.consumer_generation_id)

    async def on_stop(self) -> None:
        """Store checkpoints and release leases; the agents have ended by now."""
        await super().on_stop()
        await asyncio.gather(*(engine.stop(grace_s=0.0) for engine in self._engines.values()))
        await self.transport.close()

    async def wait_empty(self) -> None:
        """Wait for the batches in progress, but no longer than `grace_s`, and not for those of a crashed agent."""
        deadline = time.monotonic() + self._options.grace_s
        self._clean_unacked_messages()
        while self._unacked_messages and time.monotonic() < deadline and not self.app.crashed:
            await self._wait_for_ack(timeout=1)
            self._clean_unacked_messages()
        await self.commit_and_end_transactions()

    def report(self) -> list[EngineReport]:
        """Say how far each stream is."""
        return [engine.report() for engine in self._engines.values()]

    # ---- batches -------------------------------------------------------------------------------

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Batch]]:
        engines = list(self._engines.values())
        if not engines or not self.assignment() <= (active_partitions or set()):
            # While flow stops, Faust would drop what it gets for a paused lane.
            await asyncio.sleep(min(timeout, 0.1))
            return {}
        if len(engines) == 1:
            batches = await engines[0].ready(timeout_s=timeout, limit=100)
        else:
            batches = await _first_ready(engines, timeout)
        found: dict[TP, list[Batch]] = {}
        for batch in batches:
            engine = self._engines[batch.stream]
            lane = self._lanes[batch.stream].lane(batch.shard_id, engine.shard_ids)
            found.setdefault(lane, []).append(batch)
        return found

    def _to_message(self, tp: TP, batch: Batch) -> ConsumerMessage:
        offset = self._next_offset[tp]
        self._next_offset[tp] = offset + 1
        self._given[tp].append(offset)
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            offset,
            batch.records[0].arrived_s,
            0,
            None,
            batch.shard_id.encode(),
            batch,
            None,
            0,
            0,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    # ---- acks ----------------------------------------------------------------------------------

    def ack(self, message: ConsumerMessage) -> bool:
        """Take an ack, unless no agent has seen the message.

        While flow stops (a shutdown, a new subscription) Faust's streams skip what is queued, and
        acknowledge what they skip. Believing that would lose the batch.
        """
        if not message.tracked:
            return False
        batch: Batch = message.value
        if not message.acked and not self._engines[batch.stream].acknowledge(batch):
            self.log.warning("%r: its lease was lost meanwhile, it will be applied again", batch)
        return bool(super().ack(message))

    def progress(self, batch: Batch, count: int) -> bool:
        """Note that the first `count` records of a batch are applied, while the agent continues with the rest.

        Returns:
            False when the shard is somebody else's by now.
        """
        return self._engines[batch.stream].acknowledge(batch, count)

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset after the unbroken row of acknowledged ones.

        Faust's own skips an unacknowledged offset when those after the committed one are acknowledged.
        """
        given, acked = self._given.get(tp), self._acked_index[tp]
        offset: int | None = None
        while given and given[0] in acked:
            offset = given.popleft()
            acked.discard(offset)
        if offset is None:
            return None
        self._acked[tp][:] = sorted(acked)
        return offset + 1

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets of a lane have no gaps."""

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        for stream in {tp.topic for tp in offsets}:
            try:
                await self._engines[stream].flush()
            except LeaseLost as error:
                self.log.warning("%s", error)
            except Exception as error:
                self.log.warning("checkpoints of %s not stored, the next cycle tries again: %s", stream, error)
        return True

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Give out again what was given out and not worked on; Faust calls this when flow resumes."""
        for engine in self._engines.values():
            engine.rewind()
        for tp, given in self._given.items():
            given.clear()
            self._acked_index[tp].clear()
            self._acked[tp].clear()
        return {}

    async def _seek(self, partition: TP, offset: int) -> None:
        raise NotImplementedError("a stream has no offsets to seek to: reset the checkpoint in the lease table")

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Not possible; see `_seek`."""
        for tp, offset in partitions.items():
            await self._seek(tp, offset)

    async def seek_to_beginning(self, *partitions: TP) -> None:
        """Not possible; see `_seek`."""
        for tp in partitions:
            await self._seek(tp, 0)

    # ---- what else Faust asks ------------------------------------------------------------------

    def assignment(self) -> set[TP]:
        """Return the lanes."""
        return {tp for lanes in self._lanes.values() for tp in lanes.tps}

    def highwater(self, tp: TP) -> int:
        """Return the last offset given out."""
        return self._next_offset.get(tp, 1) - 1

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Return the last offsets given out."""
        return {tp: self.highwater(tp) for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Return 0: offsets count from the start of the worker."""
        return dict.fromkeys(partitions, 0)

    async def position(self, tp: TP) -> int | None:
        """Return the offset read last."""
        offset: int | None = self._read_offset[tp]
        return offset

    def topic_partitions(self, topic: str) -> int | None:
        """Return the number of lanes."""
        lanes = self._lanes.get(topic)
        return len(lanes.tps) if lanes else None

    def key_partition(self, *_: Any) -> int | None:
        """Return None: Kinesis places a key itself."""
        return None

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def create_topic(self, topic: str, *_: Any, **__: Any) -> None:
        """Streams are made by the operator."""
        self.log.warning("kinesis:// does not create streams: %s", topic)


async def _first_ready(engines: list[Engine], timeout_s: float) -> list[Batch]:
    """Return what any of the engines has, as soon as one has something."""
    waits = [asyncio.ensure_future(engine.ready(timeout_s=timeout_s, limit=100)) for engine in engines]
    done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in pending:
        wait.cancel()
    settled = await asyncio.gather(*pending, return_exceptions=True)
    batches = [batch for wait in done for batch in wait.result()]
    for result in settled:
        if isinstance(result, list):
            batches += result
    return batches


class Transport(base.Transport):  # type: ignore[misc] # faust ships no types that mypy could follow here
    """What Faust loads for `broker="kinesis://<region>"`."""

    Consumer = Consumer
    Producer = Producer
    default_port = 443
    driver_version = "faust-kinesis"

    _client: BotoKinesis | None = None
    _leases: DynamoBackend | None = None

    @property
    def options(self) -> Options:
        """Return what `configure` set for this app, else the defaults."""
        return options_for(self.app.conf.id) or _DEFAULTS

    @property
    def region(self) -> str | None:
        """Return the AWS Region of the broker URL; None for the environment's."""
        host: str | None = self.url[0].host
        return host or None

    def client(self) -> KinesisClient:
        """Return the Kinesis client: the configured one, or a default that `close` closes."""
        if self.options.client is not None:
            return self.options.client
        if self._client is None:
            self._client = BotoKinesis(region=self.region, endpoint_url=self.options.endpoint_url)
        return self._client

    def lease_store(self, stream: str) -> DynamoLeases:
        """Return this worker's view of the leases of a stream, on the configured backend or a default one."""
        options = self.options
        backend = options.leases or self._leases
        if backend is None:
            backend = DynamoBackend(options.lease_table, region=self.region, endpoint_url=options.endpoint_url)
            self._leases = backend
        return DynamoLeases(backend, stream, options.group or self.app.conf.id, options.worker_id)

    async def close(self) -> None:
        """Close what this transport opened."""
        for opened in (self._client, self._leases):
            if opened is not None:
                await opened.close()
        self._client = self._leases = None


_DEFAULTS = Options()
