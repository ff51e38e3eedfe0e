"""The replicator of a plain migration as a process, on the embedded AWS (ADR 0044)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from crossfade.adapters.control.members import DynamoMembers
from crossfade.adapters.control.owner_map import DynamoOwnerMaps
from crossfade.adapters.control.tombstones import DynamoTombstones
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.plain.map import (
    OwnerMap,
    drained_from,
    first_map,
    flipped_from,
    opened_from,
    sealed_from,
)
from crossfade.core.protocol.plain.members import Member
from crossfade.core.values.image import Image, number, of_number, of_string
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import Side
from localaws import Endpoints
from replicator_world import World, open_world, until, wallet

pytestmark = pytest.mark.embedded

MEMBER_LEASE_S = 1.5
SETTINGS = {"member_lease_s": str(MEMBER_LEASE_S), "signature_s": "2"}


@pytest.fixture
async def world(local_aws: Endpoints) -> AsyncIterator[World]:
    async with open_world(local_aws, kind="plain") as opened:
        yield opened


class Owning:
    """A world's map, members and rows."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.maps = DynamoOwnerMaps(world.dynamodb, world.control.journal)
        self.members = DynamoMembers(world.dynamodb, world.control.reports, lease_s=MEMBER_LEASE_S)
        self.tombstones = DynamoTombstones(world.dynamodb, world.control.reports)

    async def begin(self) -> OwnerMap:
        """Make the map, and enter BOTH_WAYS."""
        first = first_map(_now_us() - 30_000_000)
        assert await self.maps.swap(None, first)
        await self.world.phase(Phase.BOTH_WAYS)
        return first

    async def rows(self, side: Side) -> dict[Key, Image]:
        page = await self.world.dynamodb.scan(self.world.mapping.shape(side).table)
        return {encode_key(image, ("pk", "sk")): image for image in page.items}

    def alike(self) -> Callable[[], Awaitable[bool]]:
        """Say whether the target holds what the source does, tombstones apart."""

        async def same() -> bool:
            source, target = await self.rows(Side.SOURCE), await self.rows(Side.TARGET)
            copies = {
                key: {name: raw for name, raw in image.items() if name != "cf_mv"}
                for key, image in target.items()
                if "cf_deleted" not in image
            }
            return copies == source

        return same

    async def member(self, role: str) -> Member | None:
        return next((each for each in await self.members.all() if each.duty == role), None)


def _now_us() -> int:
    return time.time_ns() // 1000


def points(number_: int, total: int) -> Image:
    return key_image(wallet(number_), ("pk", "sk")) | {"total": of_number(total), "note": of_string("…")}


async def test_writes_and_deletes_of_an_application_travel_through_kills_and_the_process_leaves_the_list(
    world: World,
) -> None:
    owning = Owning(world)
    await owning.begin()
    for point in ("between-writes", "after-ack-before-checkpoint"):
        process = world.start("forward", kill_at=point, insecure="1", **SETTINGS)
        for each in range(30):
            await world.put(Side.SOURCE, points(each, total=each))
        await world.delete(Side.SOURCE, points(7, 0))
        code, log = await world.ended(process, timeout_s=60)
        assert code == -signal.SIGKILL, log
        await world.put(Side.SOURCE, points(8, total=1000))
    process = world.start("forward", **SETTINGS)
    await until(owning.alike(), within_s=15, what="the target to hold what the source does")
    target = await owning.rows(Side.TARGET)
    assert all(number(image["cf_mv"]) > 0 for image in target.values())
    assert "cf_deleted" in target[wallet(7)]
    assert [key async for page in owning.tombstones.listed(Side.TARGET) for key in page] == [wallet(7)]
    code, log = await world.stop(process)
    assert code == 0, log
    roles = [each.duty for each in await owning.members.all()]
    assert roles == ["forward"] * 2, "those that were killed are waited out; who stopped has left"
    assert await world.letters.all() == []


async def test_a_member_acknowledges_a_seal_and_writes_nothing_until_the_map_is_open(world: World) -> None:
    owning = Owning(world)
    first = await owning.begin()
    world.start("forward", **SETTINGS)
    await world.put(Side.SOURCE, points(1, 1))
    await until(owning.alike(), within_s=15, what="the first copy")
    draining = drained_from(first)
    sealed = sealed_from(draining)
    assert await owning.maps.swap(first, draining)
    assert await owning.maps.swap(draining, sealed)

    async def acknowledged() -> bool:
        member = await owning.member("forward")
        return member is not None and member.acked == sealed.epoch

    await until(acknowledged, within_s=10, what="the acknowledgement")
    await world.put(Side.SOURCE, points(1, 2))
    await asyncio.sleep(1.5)
    assert number((await owning.rows(Side.TARGET))[wallet(1)]["total"]) == 1
    assert await owning.maps.swap(sealed, opened_from(sealed))
    await until(owning.alike(), within_s=10, what="what waited, once the map is open")


async def test_a_process_that_is_stopped_for_longer_than_its_lease_wakes_in_another_interval_and_harms_nothing(
    world: World,
) -> None:
    """It saw a map in which the source owned. While it slept it was called dead, and the target was given the rows."""
    owning = Owning(world)
    first = await owning.begin()
    process = world.start("forward", **SETTINGS)
    await world.put(Side.SOURCE, points(1, 1))
    await until(owning.alike(), within_s=15, what="the first copy")
    os.kill(process.pid, signal.SIGSTOP)
    try:
        await world.put(Side.SOURCE, points(1, 2))
        held_us = _now_us()
        await owning.member("forward")

        async def dead() -> bool:
            member = await owning.member("forward")
            return member is not None and not member.is_live

        await until(dead, within_s=10, what="the member to be called dead")
        sealed = sealed_from(drained_from(first))
        flipped = flipped_from(sealed, held_us=held_us, other_held_us=held_us)
        # What the compare of the flip brings along, and what the application writes to its new owner.
        assert await owning.maps.swap(first, opened_from(flipped))
        await world.put(Side.TARGET, points(1, 3))
    finally:
        os.kill(process.pid, signal.SIGCONT)
    reverse = world.start("reverse", **SETTINGS)

    async def back() -> bool:
        found = (await owning.rows(Side.SOURCE)).get(wallet(1))
        return found is not None and number(found["total"]) == 3

    await until(back, within_s=20, what="the new owner's write on the source")

    async def settled() -> bool:
        reports = [each for each in await world.reports.all() if each.consumer == "forward"]
        return sum(each.counts.get("late", 0) for each in reports) >= 1

    await until(settled, within_s=30, what="the record that came late to be looked into")
    assert number((await owning.rows(Side.TARGET))[wallet(1)]["total"]) == 3
    assert process.poll() is None
    assert reverse.poll() is None
