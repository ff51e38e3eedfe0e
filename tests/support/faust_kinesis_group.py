"""What the tests of several workers share: a lease table that can be cut off, and a ledger of what was applied."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from faust_kinesis import Batch, DynamoLeases, Engine, LeaseLost, Options, ServiceError
from faust_kinesis.leases import Value
from faust_kinesis.memory import MemoryBackend, MemoryKinesis
from faust_kinesis.virtual_time import wall_clock_s

LEASE_S = 6.0


def engine_on(kinesis: object, backend: object, worker: str, **changes: object) -> Engine:
    settings = Options(**{"fetch_limit": 10, "worker_id": worker, "lease_s": LEASE_S, **changes})  # type: ignore[arg-type] # checked at run time
    leases = DynamoLeases(backend, "stream", "group", worker)  # type: ignore[arg-type] # fakes with faults
    return Engine(kinesis, leases, "stream", settings, now_s=wall_clock_s)  # type: ignore[arg-type] # fakes with faults


def filled(count: int, *, shards: int) -> MemoryKinesis:
    kinesis = MemoryKinesis(shards=shards, now_s=wall_clock_s)
    for number in range(count):
        kinesis.put(b"%d" % number, partition_key=f"key{number % 13}")
    return kinesis


class CutOff:
    """A lease table that a worker can be cut off from: its calls fail, or never come back."""

    def __init__(self, backend: MemoryBackend) -> None:
        self.backend = backend
        self.how: str = "connected"
        self.beats: list[Value] = []

    async def items(self, pk: str) -> list[dict[str, Value]]:
        await self._reach()
        return await self.backend.items(pk)

    async def add(self, pk: str, sk: str, put: Mapping[str, Value]) -> bool:
        await self._reach()
        return await self.backend.add(pk, sk, put)

    async def swap(self, pk: str, sk: str, expect: Mapping[str, Value | None], put: Mapping[str, Value | None]) -> bool:
        await self._reach()
        swapped = await self.backend.swap(pk, sk, expect, put)
        self.beats.append(self.backend.tables[pk][sk]["beat"])
        if self.how == "applies, but the answer is lost":
            raise ServiceError("no answer", reason="ServiceUnavailable", retryable=True)
        return swapped

    async def _reach(self) -> None:
        if self.how == "hangs":
            await asyncio.get_running_loop().create_future()
        if self.how == "fails":
            raise ServiceError("no route", reason="ServiceUnavailable", retryable=True)


class Ledger:
    """What workers have applied, per key and in order."""

    def __init__(self) -> None:
        self.applied: list[tuple[str, int]] = []
        self.by_worker: defaultdict[str, int] = defaultdict(int)

    def apply(self, batch: Batch, worker: str = "") -> None:
        for record in batch:
            self.applied.append((record.partition_key, int(record.data)))
            self.by_worker[worker] += 1

    def check(self, count: int, *, once: bool = False) -> None:
        """Every record was applied, and for each key the last application of each is in order."""
        if once:
            assert len(self.applied) == count
        assert {number for _, number in self.applied} == set(range(count))
        firsts: defaultdict[str, list[int]] = defaultdict(list)
        for key, number in self.applied:
            if number not in firsts[key]:
                firsts[key].append(number)
        for key, order in firsts.items():
            assert order == sorted(order), f"{key} was applied out of order"


async def work(engine: Engine, ledger: Ledger, worker: str, pause_s: float = 0.0) -> None:
    async for batch in engine.batches():
        ledger.apply(batch, worker)
        await asyncio.sleep(pause_s)
        try:
            await engine.ack(batch)
        except LeaseLost:
            continue
