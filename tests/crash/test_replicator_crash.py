"""SIGKILL at each named point under live writes, restart, compare (rule 11: a checkpoint never passes an effect)."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator

import pytest

from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.keyed.item import Role
from crossfade.core.protocol.row import same_content
from crossfade.core.values.shape import Direction, Side
from crossfade_replicator.kill_points import POINTS
from localaws import Endpoints
from replicator_world import World, open_world, until, wallet

pytestmark = pytest.mark.embedded

WALLETS = [wallet(number) for number in range(12)]
RESUMED_WITHIN_S = 60.0
"""A bound against a hang: how soon it is depends on the machine."""


@pytest.fixture
async def world(local_aws: Endpoints) -> AsyncIterator[World]:
    async with open_world(local_aws) as opened:
        await opened.phase(Phase.BOTH_WAYS)
        yield opened


async def live_writes(world: World, stop: asyncio.Event, dice: random.Random) -> int:
    """Earn on random wallets, twenty-five a second, until asked to stop; return how many were acknowledged."""
    done = 0
    while not stop.is_set():
        await world.earn(dice.choice(WALLETS), 1)
        done += 1
        await asyncio.sleep(0.04)
    return done


async def killed(world: World, consumer: str, point: str) -> None:
    """Run a replicator until it dies at the point."""
    process = world.start(consumer, insecure="1", kill_at=f"{point}:2")
    code, log = await world.ended(process)
    assert code == -signal.SIGKILL, (point, log)


async def same_everywhere(world: World) -> bool:
    owners = await world.tables[Side.SOURCE].read_many(WALLETS)
    standbys = await world.tables[Side.TARGET].read_many(WALLETS)
    return owners.keys() == standbys.keys() and all(
        standbys[key].version == owner.version
        and standbys[key].role is Role.STANDBY
        and standbys[key].recent == owner.recent
        and same_content(world.mapping.map_item(Direction.FORWARD, owner), standbys[key])
        for key, owner in owners.items()
    )


async def test_rule_11_forward_resumes_after_a_kill_at_every_point(world: World) -> None:
    stop, dice = asyncio.Event(), random.Random(7)
    writer = asyncio.create_task(live_writes(world, stop, dice))
    for point in POINTS:
        await killed(world, "forward", point)
    process = world.start("forward")
    await asyncio.sleep(1.0)
    stop.set()
    assert await writer > 100
    took_s = await until(lambda: same_everywhere(world), within_s=RESUMED_WITHIN_S, what="both tables equal")
    code, log = await world.stop(process)
    assert code == 0, log
    assert log[-2]["records"] > 0
    assert await world.letters.count() == 0
    assert took_s < RESUMED_WITHIN_S


async def test_the_feed_loses_no_event_after_a_kill_at_every_point(world: World) -> None:
    stop, dice = asyncio.Event(), random.Random(8)
    writer = asyncio.create_task(live_writes(world, stop, dice))
    for point in ("before-write", "between-writes", "after-mark-before-ack", "after-ack-before-checkpoint"):
        await killed(world, "feed", point)
    process = world.start("feed")
    await asyncio.sleep(0.5)
    stop.set()
    acknowledged = await writer

    async def told() -> bool:
        return len({(each.key, each.version) for each in await world.published()}) >= acknowledged

    await until(told, within_s=RESUMED_WITHIN_S, what=f"{acknowledged} events")
    code, log = await world.stop(process)
    assert code == 0, log
    events = {(each.key, each.version): each for each in await world.published()}
    assert len(events) == acknowledged, "at least once, but of nothing that never happened"
    owners = await world.tables[Side.SOURCE].read_many(WALLETS)
    for key in WALLETS:
        chain = sorted((each for each in events.values() if each.key == key), key=lambda each: each.version)
        assert [each.previous for each in chain] == [0, *(each.version for each in chain[:-1])], "a gap"
        assert key not in owners or owners[key].event_version == chain[-1].version


async def test_two_workers_share_a_stream_and_the_other_takes_over_from_one_that_is_killed(world: World) -> None:
    first, second = (world.start("forward", worker=f"forward-{number}") for number in range(2))
    for key in WALLETS:
        await world.earn(key, 1)
    await until(lambda: same_everywhere(world), within_s=15, what="both tables equal")
    first.kill()
    for key in WALLETS:
        await world.earn(key, 1)
    await until(lambda: same_everywhere(world), within_s=RESUMED_WITHIN_S, what="the second worker has taken over")
    code, log = await world.stop(second)
    assert code == 0, log
