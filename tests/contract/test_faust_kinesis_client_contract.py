"""Clients of Kinesis: one suite of what the engine stands on, for each client it is used with."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import boto3
import pytest

from crossfade.adapters.kinesis import Kinesis
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from faust_kinesis import (
    LATEST,
    TRIM_HORIZON,
    BotoKinesis,
    CheckpointExpired,
    DynamoLeases,
    Engine,
    KinesisClient,
    Options,
    Position,
    PrivateCursor,
    Progress,
    Record,
)
from faust_kinesis.errors import Fault, fault_of
from faust_kinesis.memory import MemoryBackend, MemoryKinesis
from localaws.endpoints import Endpoints


class Source(NamedTuple):
    """A stream of one shard, a client that reads it, and what an operator and a writer do to it."""

    client: KinesisClient
    stream: str
    put: Callable[[int], None]
    split: Callable[[], None]


def of_memory() -> Source:
    kinesis = MemoryKinesis(now_s=time.time)

    def put(number: int) -> None:
        kinesis.put(b"%d" % number, partition_key=f"key{number}")

    return Source(kinesis, "stream", put, lambda: void(kinesis.split(kinesis.open_shards[0])))


def void(_: object) -> None:
    return


def of_embedded(endpoints: Endpoints, client: KinesisClient) -> Source:
    boto = boto3.client("kinesis", **endpoints.client_arguments())
    stream = f"contract-{secrets.token_hex(4)}"
    boto.create_stream(StreamName=stream, ShardCount=1)
    boto.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})

    def put(number: int) -> None:
        boto.put_record(StreamName=stream, PartitionKey=f"key{number}", Data=b"%d" % number)

    def split() -> None:
        shard = boto.list_shards(StreamName=stream)["Shards"][0]
        middle = int(shard["HashKeyRange"]["EndingHashKey"]) // 2
        boto.split_shard(StreamName=stream, ShardToSplit=shard["ShardId"], NewStartingHashKey=str(middle))

    return Source(client, stream, put, split)


EMBEDDED = pytest.mark.embedded


@pytest.fixture(params=["memory", pytest.param("aiobotocore", marks=EMBEDDED), pytest.param("wire", marks=EMBEDDED)])
async def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Source]:
    if request.param == "memory":
        yield of_memory()
        return
    endpoints: Endpoints = request.getfixturevalue("local_aws")
    if request.param == "wire":
        credentials = StaticCredentials(Credentials(endpoints.access_key_id, endpoints.secret_access_key))
        wire = Wire("kinesis", WireConfig(endpoints.region, endpoints.aws_endpoint), credentials)
        yield of_embedded(endpoints, Kinesis(wire))
        await wire.close()
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoints.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoints.secret_access_key)
    client = BotoKinesis(region=endpoints.region, endpoint_url=endpoints.aws_endpoint)
    yield of_embedded(endpoints, client)
    await client.close()


async def read_on(source: Source, **start: object) -> list[Record]:
    """Read from a start to the tip."""
    (shard,) = await source.client.list_shards(source.stream)
    iterator: str | None = await source.client.shard_iterator(source.stream, shard.shard_id, **start)  # type: ignore[arg-type] # one of its keywords
    records: list[Record] = []
    empty = 0
    while iterator is not None and empty < 2:
        page = await source.client.get_records(iterator, 7)
        records += page.records
        empty = 0 if page.records else empty + 1
        iterator = page.next_iterator
    return records


def numbers(records: list[Record]) -> list[int]:
    return [int(record.data) for record in records]


async def test_records_come_in_order_with_all_their_attributes(source: Source) -> None:
    before_s = time.time()
    for number in range(20):
        source.put(number)
    records = await read_on(source)
    assert numbers(records) == list(range(20))
    assert records[3].partition_key == "key3"
    assert isinstance(records[3].sequence_number, str)
    assert before_s - 2 < records[3].arrived_s < time.time() + 2


async def test_reading_after_a_sequence_number_begins_with_the_next(source: Source) -> None:
    for number in range(10):
        source.put(number)
    records = await read_on(source)
    assert numbers(await read_on(source, after=records[4].sequence_number)) == [5, 6, 7, 8, 9]
    assert await read_on(source, after=records[-1].sequence_number) == []


async def test_latest_brings_what_is_written_after_the_iterator(source: Source) -> None:
    source.put(1)
    (shard,) = await source.client.list_shards(source.stream)
    iterator = await source.client.shard_iterator(source.stream, shard.shard_id, latest=True)
    source.put(2)
    page = await source.client.get_records(iterator, 10)
    assert numbers(list(page.records)) == [2]


async def test_a_time_brings_what_arrived_from_then_on(source: Source) -> None:
    source.put(1)
    await asyncio.sleep(0.05)
    moment_s = time.time()
    await asyncio.sleep(0.05)
    source.put(2)
    assert numbers(await read_on(source, at_s=moment_s)) == [2]


async def test_a_split_ends_the_shard_and_names_it_as_parent(source: Source) -> None:
    source.put(1)
    (shard,) = await source.client.list_shards(source.stream)
    iterator: str | None = await source.client.shard_iterator(source.stream, shard.shard_id)
    source.split()
    for _ in range(20):
        if iterator is None:
            break
        iterator = (await source.client.get_records(iterator, 10)).next_iterator
    assert iterator is None
    shards = await source.client.list_shards(source.stream)
    assert [each.parents for each in shards if each.shard_id != shard.shard_id] == [(shard.shard_id,)] * 2


async def test_a_missing_stream_is_no_reason_to_try_again(source: Source) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each client raises its own
        await source.client.list_shards("no-such-stream")
    assert fault_of(caught.value) is Fault.FATAL


def options(**changes: object) -> Options:
    settings: dict[str, object] = {"poll_interval_s": 0.2, "cycle_s": 0.3, "lease_s": 1.0, "fetch_limit": 7}
    return Options(**{**settings, **changes})  # type: ignore[arg-type] # checked at run time


async def take(engine: Engine, count: int) -> list[int]:
    seen: list[int] = []
    async with asyncio.timeout(20):
        async for batch in engine.batches():
            seen += [int(record.data) for record in batch]
            await engine.ack(batch)
            if len(seen) >= count:
                break
    return seen


async def test_the_engine_reads_across_a_split_and_a_restart(source: Source) -> None:
    leases = DynamoLeases(MemoryBackend(), source.stream, "group", "w1")
    for number in range(20):
        source.put(number)
    async with Engine(source.client, leases, source.stream, options()) as engine:
        assert await take(engine, 14) == list(range(14))
    source.split()
    for number in range(20, 30):
        source.put(number)
    async with Engine(source.client, leases, source.stream, options()) as engine:
        rest = await take(engine, 16)
    assert rest[:6] == list(range(14, 20))
    assert sorted(rest[6:]) == list(range(20, 30))


async def test_the_engine_starts_at_latest_and_skips_nothing_after_it(source: Source) -> None:
    source.put(1)
    await asyncio.sleep(1.2)  # LATEST begins a second back
    leases = DynamoLeases(MemoryBackend(), source.stream, "group", "w1")
    async with Engine(source.client, leases, source.stream, options(start=LATEST)) as engine:
        source.put(2)
        assert await take(engine, 1) == [2]
    source.put(3)
    async with Engine(source.client, leases, source.stream, options(start=LATEST)) as engine:
        assert await take(engine, 1) == [3]


async def test_a_checkpoint_that_the_stream_never_heard_of_is_not_taken_for_the_beginning(source: Source) -> None:
    source.put(1)
    (shard,) = await source.client.list_shards(source.stream)
    leases = DynamoLeases(MemoryBackend(), source.stream, "group", "w1")
    await leases.create(shard.shard_id, ())
    taken = await leases.take((await leases.list())[0])
    assert taken is not None
    await leases.release(taken, Progress("not-a-sequence-number", time.time()))
    async with Engine(source.client, leases, source.stream, options()) as engine:
        with pytest.raises(CheckpointExpired):
            await engine.ready(timeout_s=10, limit=1)


@pytest.mark.parametrize("start", [TRIM_HORIZON, LATEST, Position(at_s=time.time() - 3600)])
async def test_a_private_cursor_reads_from_any_start(source: Source, start: Position) -> None:
    cursor = PrivateCursor(source.client, source.stream, start, options())
    batches = cursor.batches()
    reading = asyncio.ensure_future(anext(batches))
    for _ in range(20):  # nothing tells when a cursor at LATEST has found the stream's end
        await asyncio.wait({reading}, timeout=0.5)
        if reading.done():
            break
        source.put(7)
    batch = await asyncio.wait_for(reading, 1)
    assert {int(record.data) for record in batch} == {7}
    await batches.aclose()
