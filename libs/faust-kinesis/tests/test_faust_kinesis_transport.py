"""The adapter's own rules: what of Faust's bookkeeping it believes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import faust
import pytest
from faust.types import TP, Message

from faust_kinesis import Batch, Engine, Options, configure
from faust_kinesis.memory import MemoryBackend, MemoryKinesis
from faust_kinesis.transport import Consumer, Transport, _Lanes
from faust_kinesis.virtual_time import VirtualLoop, wall_clock_s

LANE = TP("stream", 0)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=VirtualLoop) as each:
        yield each


@asynccontextmanager
async def consumer_on(kinesis: MemoryKinesis, backend: MemoryBackend) -> AsyncIterator[Consumer]:
    """A consumer with a running engine, and no Faust worker around it."""
    options = Options(client=kinesis, leases=backend, fetch_limit=10, worker_id="w1")
    configure("unit", options)
    app = faust.App("unit", broker="kinesis://us-east-1", web_enabled=False, store="memory://")
    app.topics._acking_topics.add("stream")
    consumer = app.consumer
    assert isinstance(consumer, Consumer)
    leases_engine = Engine(kinesis, consumer.transport.lease_store("stream"), "stream", options, now_s=wall_clock_s)
    async with leases_engine:
        consumer._engines["stream"] = leases_engine
        consumer._lanes["stream"] = _Lanes("stream", 2)
        for tp in consumer.assignment():
            consumer._next_offset[tp] = 1
            consumer._given[tp] = deque()
        consumer._set_active_tps(consumer.assignment())
        yield consumer


def filled(count: int, *, shards: int = 1) -> MemoryKinesis:
    kinesis = MemoryKinesis(shards=shards, now_s=wall_clock_s)
    for number in range(count):
        kinesis.put(b"%d" % number, partition_key=f"key{number}")
    return kinesis


async def next_message(consumer: Consumer) -> Message:
    found = await consumer._getmany(consumer.assignment(), 30.0)
    ((tp, (batch,)),) = found.items()
    return consumer._to_message(tp, batch)


def test_the_url_scheme_is_registered() -> None:
    assert faust.transport.by_url("kinesis://us-east-1") is Transport


def test_a_message_is_a_whole_batch(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        async with consumer_on(filled(10), MemoryBackend()) as consumer:
            message = await next_message(consumer)
            assert isinstance(message.value, Batch)
            assert [record.data for record in message.value] == [b"%d" % number for number in range(10)]
            assert message.generation_id == consumer.app.consumer_generation_id  # else Faust skips it

    runner.run(scenario())


def test_rule_11_an_ack_of_a_message_that_no_agent_saw_is_not_believed(runner: asyncio.Runner) -> None:
    """Faust's streams acknowledge what they skip while flow is stopped, as at every shutdown."""

    async def scenario() -> None:
        async with consumer_on(filled(10), MemoryBackend()) as consumer:
            message = await next_message(consumer)
            message.incref()
            message.ack(consumer)
            assert consumer._engines["stream"].report().shards[0].checkpoint is None
            assert await consumer._getmany(consumer.assignment(), 5.0) == {}

    runner.run(scenario())


def test_an_ack_of_an_agent_moves_the_checkpoint_and_brings_the_next_batch(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        backend = MemoryBackend()
        async with consumer_on(filled(20), backend) as consumer:
            message = await next_message(consumer)
            message.tracked = True
            message.incref()
            assert message.ack(consumer)
            second = await next_message(consumer)
            assert second.offset == message.offset + 1
            await consumer._commit({LANE: 2})
            (item,) = (item for item in await backend.items("stream#unit") if item["sk"] != "#start")
            assert item["checkpoint"] == message.value.records[-1].sequence_number

    runner.run(scenario())


def test_an_unacknowledged_offset_holds_back_those_after_it(runner: asyncio.Runner) -> None:
    """Faust's own rule goes from committed 10 with acknowledged 11 and 12 to 13, and loses 10."""

    async def scenario() -> None:
        async with consumer_on(filled(1), MemoryBackend()) as consumer:
            consumer._given[LANE] = deque([10, 11, 12, 13])
            consumer._committed_offset[LANE] = 10
            consumer._acked[LANE] = [11, 12]
            consumer._acked_index[LANE] = {11, 12}
            assert consumer._new_offset(LANE) is None
            consumer._acked[LANE].append(10)
            consumer._acked_index[LANE].add(10)
            assert consumer._new_offset(LANE) == 13
            assert consumer._new_offset(LANE) is None

    runner.run(scenario())


def test_gaps_are_not_tracked(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        async with consumer_on(filled(1), MemoryBackend()) as consumer:
            await consumer._add_gap(LANE, 1, 2**90)
            assert not consumer._gap[LANE]

    runner.run(scenario())


def test_what_faust_dropped_while_flow_was_stopped_is_given_out_again(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        async with consumer_on(filled(10), MemoryBackend()) as consumer:
            dropped = await next_message(consumer)
            await consumer.seek_to_committed()
            again = await next_message(consumer)
            assert again.value is dropped.value
            assert again.offset > dropped.offset

    runner.run(scenario())


def test_nothing_is_given_to_lanes_that_are_paused(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        async with consumer_on(filled(10), MemoryBackend()) as consumer:
            assert await consumer._getmany(set(), 5.0) == {}
            assert await consumer._getmany({LANE}, 5.0) == {}
            assert len(await consumer._getmany(consumer.assignment(), 5.0)) == 1

    runner.run(scenario())


def test_shards_spread_over_the_lanes_and_keep_to_them() -> None:
    lanes = _Lanes("stream", 2)
    first = [lanes.lane(shard, ["a", "b", "c", "d"]) for shard in "abcd"]
    assert sorted(first) == [TP("stream", 0), TP("stream", 0), TP("stream", 1), TP("stream", 1)]
    assert [lanes.lane(shard, ["a", "b", "c", "d"]) for shard in "abcd"] == first
    assert lanes.lane("e", ["b", "d", "e"]) == TP("stream", 0)  # a and c are gone: their lane has room
