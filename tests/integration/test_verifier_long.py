"""Fifty passes of a real verifier under live traffic whose change records come twice and shuffled: no false alarm.

`make verify-long`. Tests of the same in virtual time, with records that go further astray, are in
tests/property/test_verifier_busy_passes.py.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from crossfade.core.migration.phases import Phase
from crossfade.core.replication.change import decode_change
from crossfade.core.values.shape import Side
from crossfade.runtime.http_client import call_json
from engagement_migration.samples import legacy_wallet
from localaws import Endpoints
from replicator_world import World, open_world, wallet
from verifier_process import Verifier

pytestmark = [pytest.mark.embedded, pytest.mark.slow, pytest.mark.timeout(3600)]

PASSES: Final = 50
LATE: Final = 100
"""Records that must have come later than the bound, for the run to have said anything."""

WALLETS: Final = 300
HOT: Final = 10
BOUND_S: Final = 10.0
FAULTS: Final = {"duplicate": 0.2, "duplicate_after_ms": 30_000, "shuffle_window": 20, "delay_ms": 300}
PATIENCE_S: Final = 1800.0


class Heard:
    """Reads both streams, as the verifier does, and counts what comes twice, out of order, and late."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.counted: Counter[str] = Counter()
        self._seen: set[tuple[Side, bytes, int]] = set()
        self._last: dict[tuple[Side, bytes], int] = {}

    async def read(self, side: Side) -> None:
        kinesis, stream = self._world.kinesis, self._world.streams[side]
        async with asyncio.TaskGroup() as group:
            for shard in await kinesis.list_shards(stream):
                group.create_task(self._shard(side, await kinesis.shard_iterator(stream, shard.shard_id)))

    async def _shard(self, side: Side, iterator: str | None) -> None:
        while iterator:
            page = await self._world.kinesis.get_records(iterator, 1000)
            for record in page.records:
                self._count(side, record.data)
            iterator = page.next_iterator
            await asyncio.sleep(0.3)

    def _count(self, side: Side, data: bytes) -> None:
        change = decode_change(data, ("pk", "sk"))
        each, key = (side, change.key, change.committed_us), (side, change.key)
        self.counted["heard"] += 1
        self.counted["twice"] += each in self._seen
        self.counted["shuffled"] += change.committed_us < self._last.get(key, 0)
        self.counted["late"] += time.time() - change.committed_us / 1e6 > BOUND_S
        self._seen.add(each)
        self._last[key] = max(self._last.get(key, 0), change.committed_us)


@pytest.fixture
async def world(local_aws: Endpoints) -> AsyncIterator[World]:
    async def fill(world: World) -> None:
        for number in range(WALLETS):
            await world.put(Side.SOURCE, legacy_wallet(str(number), "1", 10))

    async with open_world(local_aws, fill) as opened:
        opened.start("forward")
        opened.start("reverse")
        await opened.phase(Phase.BOTH_WAYS)
        for number in range(WALLETS):
            await opened.earn(wallet(number), 1)
        yield opened


@asynccontextmanager
async def traffic(world: World, heard: Heard) -> AsyncIterator[None]:
    """Earn on some wallets very often and on all now and then, until the end; and listen to both streams."""

    async def earn() -> None:
        dice = random.Random(1)
        for number in itertools.count():
            key = wallet(dice.randrange(HOT if number % 2 else WALLETS))
            await world.earn(key, 1)
            await asyncio.sleep(0.03)

    tasks = [asyncio.create_task(each) for each in (earn(), *(heard.read(side) for side in Side))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_fifty_passes_under_live_traffic_raise_no_false_alarm(world: World) -> None:
    heard = Heard(world)
    async with traffic(world, heard):
        verifier = Verifier(world, in_flight_bound_s=str(BOUND_S), settle_every_s="1", pause_s="1", retry_s="1")
        await verifier.ready()
        # It may have begun before each row had its first copy: from the first clean pass on, everything is equal.
        await verifier.until(lambda body: body["last_clean_pass"], within_s=120)
        for stream in world.streams.values():
            await call_json(f"{world.endpoints.aws_endpoint}/_localaws/faults", FAULTS | {"stream": stream})
        done: dict[str, dict[str, Any]] = {}
        ends_s = time.monotonic() + PATIENCE_S
        while len(done) < PASSES or heard.counted["late"] < LATE:
            assert time.monotonic() < ends_s, f"{len(done)} passes, {dict(heard.counted)}"
            body = await verifier.call("/parity")
            assert body["verdict"] != "drift", body
            last = body["last_pass"]
            if last["id"] not in done:
                done[last["id"]] = last
                sys.stdout.write(f"pass {len(done)}: took {last['took_s']:.1f} s, {dict(heard.counted)}\n")
            await asyncio.sleep(0.3)
        unclean = [each for each in done.values() if not each["clean"]]
        told = ", ".join(f"{count} {name}" for name, count in sorted(heard.counted.items()))
        sys.stdout.write(
            f"\n{len(done)} passes, {len(unclean)} of them not clean (unsettled), no false alarm; records: {told} "
            f"(later than the bound of {BOUND_S:.0f} s)\n"
        )
        assert heard.counted["twice"] >= 0.1 * len(heard._seen)
        assert heard.counted["shuffled"] > 0
        assert await verifier.stop() == 0, verifier.log
