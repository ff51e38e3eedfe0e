"""What the tests of the engine with one worker share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faust_kinesis import (
    Batch,
    DynamoLeases,
    Engine,
    KinesisClient,
    LeaseBackend,
    Options,
)
from faust_kinesis.memory import MemoryKinesis
from faust_kinesis.virtual_time import wall_clock_s

HOUR_S = 3600.0


def options(**changes: object) -> Options:
    return Options(**{"fetch_limit": 10, "worker_id": "w1", "now_s": wall_clock_s, **changes})  # type: ignore[arg-type] # checked at run time


def engine_on(
    kinesis: KinesisClient, backend: LeaseBackend, *, worker: str = "w1", settings: Options | None = None
) -> Engine:
    leases = DynamoLeases(backend, "stream", "group", worker)
    return Engine(kinesis, leases, "stream", settings or options(worker_id=worker))


def filled(count: int, *, shards: int = 1) -> MemoryKinesis:
    kinesis = MemoryKinesis(shards=shards, now_s=wall_clock_s)
    for number in range(count):
        kinesis.put(b"%d" % number, partition_key=f"key{number % 5}")
    return kinesis


def numbers(batch: Batch) -> list[int]:
    return [int(record.data) for record in batch]


async def read(engine: Engine, count: int, *, ack: bool = True) -> list[int]:
    """Read at least `count` records."""
    seen: list[int] = []
    async for batch in engine.batches():
        seen += numbers(batch)
        if ack:
            await engine.ack(batch)
        if len(seen) >= count:
            break
    return seen


@asynccontextmanager
async def reading(kinesis: KinesisClient, backend: LeaseBackend, **changes: object) -> AsyncIterator[Engine]:
    async with engine_on(kinesis, backend, settings=options(**changes)) as engine:
        yield engine
