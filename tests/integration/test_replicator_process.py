"""The replicator as a process, on the embedded AWS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from crossfade.core.fence import Verdict
from crossfade.core.item import Role, balance_of
from crossfade.core.phases import Phase
from crossfade.core.shape import Side
from localaws import Endpoints
from replicator_world import World, open_world, until, wallet

pytestmark = pytest.mark.embedded


@pytest.fixture
async def world(local_aws: Endpoints) -> AsyncIterator[World]:
    async with open_world(local_aws) as opened:
        yield opened


async def test_an_earn_travels_to_the_other_table_and_its_event_to_the_feed(world: World) -> None:
    forward, feed = world.start("forward"), world.start("feed")
    await world.earn(wallet(1), 5)
    await asyncio.sleep(1.0)
    assert await world.tables[Side.NEW].read(wallet(1)) is None, "forward must wait for its phase"
    await world.phase(Phase.DUAL_WRITE)
    await world.earn(wallet(1), 7)

    async def arrived() -> bool:
        item = await world.tables[Side.NEW].read(wallet(1))
        return balance_of(item, world.mapping.shape(Side.NEW)) == 12

    await until(arrived, within_s=15, what="12 points in the new table")
    owner, standby = [await world.tables[side].read(wallet(1)) for side in (Side.LEGACY, Side.NEW)]
    assert owner is not None
    assert standby is not None
    assert (standby.version, standby.role, standby.generation) == (owner.version, Role.STANDBY, 0)

    async def told() -> bool:
        return len(await world.published()) >= 2

    await until(told, within_s=10, what="two events in the feed")
    events = await world.published()
    assert [(each.key, each.event.delta) for each in events] == [(wallet(1), 5), (wallet(1), 7)]
    assert events[1].previous == events[0].version

    async def reported() -> bool:
        return {each.role for each in await world.reports.all()} >= {"forward", "feed-legacy", "feed-new"}

    await until(reported, within_s=5, what="a report of each consumer")
    code, log = await world.stop(forward)
    assert code == 0, log
    assert log[-2]["event"] == "consumed", log
    assert log[-2][Verdict.APPLIED.value] == 1 or log[-2][Verdict.APPLIED.value] == 2
    code, log = await world.stop(feed)
    assert code == 0, log
