"""Lags by the verifier's own reading: crossings from records of both streams, the first hop, tails that wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.core.parity.verdict import Names, Reading, Sense
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import StoreRefused
from crossfade.core.values.shape import Side
from crossfade.runtime.pace import Pace
from crossfade_verifier.lags import Crossings
from crossfade_verifier.tails import Tail
from crossfade_verifier.watch import Unreplicated, Watch
from engagement_migration import MAPPING
from verifier_world import World, wallet

KEY = wallet(0)
BOTH = World().both()
NAMES = Names({side: MAPPING.shape(side).table for side in Side}, {side: f"{side.value}-stream" for side in Side}, "j")


def crossed(world: World, crossings: Crossings) -> dict[str, Any]:
    for side, change in world.changes:
        crossings.hear(side, change)
    return crossings.report(Side.SOURCE)


async def test_a_crossing_is_from_the_owners_commit_to_its_copys() -> None:
    world = World(1)
    world.changes.clear()
    world.earn(KEY, 1)
    world.clock.now += 0.25
    world.copy(KEY)
    found = crossed(world, Crossings(1_000_000, BOTH))
    assert found == {
        "samples": 1,
        "p50_ms": 250.0,
        "p99_ms": 250.0,
        "max_ms": 250.0,
    }


async def test_a_copy_of_a_later_version_ends_the_wait_of_the_first_write_that_it_covers() -> None:
    world = World(1)
    world.changes.clear()
    world.earn(KEY, 1)
    world.clock.now += 1.0
    world.earn(KEY, 1)
    world.clock.now += 0.5
    world.copy(KEY)
    found = crossed(world, Crossings(1_000_000, BOTH))
    assert found == {
        "samples": 1,
        "p50_ms": 1500.0,
        "p99_ms": 1500.0,
        "max_ms": 1500.0,
    }


async def test_old_duplicates_measure_nothing() -> None:
    world = World(1)
    old = list(world.changes)
    world.changes.clear()
    world.earn(KEY, 1)
    crossings = Crossings(1_000_000, BOTH)
    crossings.hear(*world.changes[0])
    for side, change in old:
        crossings.hear(side, change)
    assert crossings.report(Side.SOURCE)["samples"] == 0
    assert crossings.report(Side.SOURCE)["p50_ms"] is None


async def test_only_sampled_keys_are_measured() -> None:
    world = World(1)
    world.earn(KEY, 1)
    world.copy(KEY)
    assert crossed(world, Crossings(0, BOTH))["samples"] == 0


async def test_the_way_back_is_measured_after_a_handover() -> None:
    world = World(1)
    world.hand_over(KEY, 2)
    world.changes.clear()
    world.earn(KEY, 1)
    world.clock.now += 0.1
    world.copy(KEY)
    crossings = Crossings(1_000_000, BOTH)
    crossed(world, crossings)
    assert crossings.report(Side.TARGET)["max_ms"] == pytest.approx(100.0, abs=0.2)


async def test_the_first_hop_is_told_or_says_why_it_is_unknown() -> None:
    answers: list[float | Exception | None] = [1.5, None, OSError("no route"), 9.0]
    seen: list[tuple[Unreplicated, Reading]] = []

    class Metric:
        async def unreplicated_s(self, table: str) -> float | None:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    class Over(Exception):
        pass

    class Rounds(MemoryClock):
        async def sleep(self, seconds: float) -> None:
            seen.append((watch.unreplicated[Side.TARGET], watch.readings[Sense.FIRST_HOP, Side.TARGET]))
            self.pass_s(seconds)
            if not answers:
                raise Over

    watch = Watch(NAMES, clock=Rounds())
    unused, asking = watch.first_hops(Metric(), 5.0, 1.0)
    unused.close()
    with pytest.raises(Over):
        await asking
    hops, readings = [each for each, _ in seen], [each for _, each in seen]
    assert hops[0] == Unreplicated(1.5, "")
    assert [each.age_s for each in hops[1:]] == [None, None, 9.0]
    assert "no recent value" in hops[1].why
    assert "no route" in hops[2].why
    assert [each.taken_s for each in readings] == [0.0, 0.0, 0.0, 3.0], "what doesn't answer grows old"
    assert [bool(each.trouble) for each in readings] == [False, True, True, False]
    assert readings[3].against


class Client:
    """A stream of one shard that first is not there."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self.payloads, self.asked = list(payloads), 0

    async def list_shards(self, stream: str) -> Sequence[Any]:
        self.asked += 1
        if self.asked == 1:
            raise StoreRefused(f"no stream {stream}", reason="ResourceNotFoundException")
        return [msgspec.defstruct("Shard", ["shard_id", "parents"])("shard-0", ())]

    async def shard_iterator(self, stream: str, shard_id: str, **position: Any) -> str:
        assert position["latest"], "the past is read from the tables"
        return "i"

    async def get_records(self, iterator: str, limit: int) -> Any:
        record = msgspec.defstruct("R", ["sequence_number", "partition_key", "data", "arrived_s"])
        records, self.payloads = [record(str(n), "p", each, 1.0) for n, each in enumerate(self.payloads)], []
        return msgspec.defstruct("Page", ["records", "next_iterator", "behind_ms"])(records, "i", 0)

    async def close(self) -> None:
        pass


async def test_a_tail_waits_for_its_stream_and_passes_over_what_is_no_change_record() -> None:
    world = World(1)
    heard: list[Change] = []

    def hear(side: Side, change: Change) -> None:
        assert side is Side.SOURCE
        heard.append(change)

    client = Client([b"noise", world.tables[Side.SOURCE].changes[-1]])
    tail = Tail(
        client,
        "wallet-changes",
        MAPPING.shape(Side.SOURCE),
        hear,
        poll_s=0.2,
        retry_s=0.01,
        now_s=time.time,
        clock=SYSTEM,
    )
    assert tail.behind_s() is None
    task = asyncio.create_task(tail.run())
    for _ in range(200):
        if heard:
            break
        assert tail.trouble in ("", "not started", "no stream wallet-changes")
        await asyncio.sleep(0.01)
    task.cancel()
    assert [each.key for each in heard] == [KEY]
    assert (tail.read, tail.unreadable) == (2, 1)
    assert client.asked >= 2


async def test_a_pace_lets_no_more_through_than_it_may() -> None:
    waits: list[float] = []
    now = 0.0

    async def sleep(wait_s: float) -> None:
        nonlocal now
        waits.append(wait_s)
        now += wait_s

    pace = Pace(100.0, now_s=lambda: now, sleep=sleep)
    for _ in range(11):
        await pace.take(10)
    assert now == pytest.approx(1.0)
    now += 60.0  # a long rest is not saved up for a burst
    await pace.take(10)
    before = now
    await pace.take(10)
    assert now - before == pytest.approx(0.1)
