"""The verifier of a plain migration as a process, on the embedded AWS: the map item, both tables, both streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import plain_world
from crossfade.adapters.control.members import DynamoMembers
from crossfade.adapters.control.owner_map import DynamoOwnerMaps
from crossfade.adapters.plain_transfers import PlainTransfers
from crossfade.contracts.letter import HINT, DeadLetter
from crossfade.core.protocol.plain.map import (
    SHORTEST_US,
    drained_from,
    first_map,
    flipped_from,
    opened_from,
    sealed_from,
    version_at,
)
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.values.image import Image, of_number, of_string
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import Direction, Side
from localaws import Endpoints
from openapi_checks import check_answer
from replicator_world import World, open_world, wallet
from verifier_process import Verifier

pytestmark = pytest.mark.embedded

ROWS = 4
NOW_US = 1_800_000_000_000_000


@pytest.fixture
async def world(local_aws: Endpoints) -> AsyncIterator[World]:
    async with open_world(local_aws) as opened:
        yield opened


def is_safe(body: dict[str, Any]) -> bool:
    return bool(body["safe_to_cut_over"]["answer"])


def row(key: Key, number: int) -> Image:
    """Return a row as an application writes it that knows nothing of Crossfade."""
    own = {"balance": of_number(number), "wallet_type": of_string("ENGAGEMENT"), "tier": of_string("gold")}
    return key_image(key, ("pk", "sk")) | own


async def copied(world: World, key: Key, image: Image, at_us: int) -> None:
    mapping = getattr(plain_world, f"p_{world.id}")
    transfer = Transfer(key, version_at(at_us), mapping.carry(Direction.FORWARD, image))
    shape = mapping.shape(Side.TARGET)
    assert await PlainTransfers(world.dynamodb, shape).copy([transfer], 0) == [Verdict.APPLIED]


async def found(world: World) -> list[DeadLetter]:
    """Return the letters by which the verifier has handed keys over, once there is one."""
    for _ in range(100):
        if letters := await world.letters.all(code=HINT):
            return letters
        await asyncio.sleep(0.1)
    raise AssertionError("no letter")


async def test_a_plain_migration_is_verified_a_difference_is_found_and_a_flip_begins_a_new_pass(world: World) -> None:
    maps = DynamoOwnerMaps(world.dynamodb, world.control.journal)
    verifier = Verifier(world, migration_mapping=f"plain_world:p_{world.id}", cloudwatch_every_s="1", ask_every_s="1")
    await verifier.ready()
    body = await verifier.until(lambda body: "has not started" in body["reason"])
    assert (body["verdict"], is_safe(body)) == ("waiting", False)

    for number in range(ROWS):
        await world.put(Side.SOURCE, image := row(wallet(number), number))
        await copied(world, wallet(number), image, NOW_US)
    now = first_map(NOW_US - 2 * SHORTEST_US)
    assert await maps.swap(None, now)
    clean = await verifier.until(is_safe)
    assert clean["sides"]["source"]["digest"] == clean["sides"]["target"]["digest"]
    assert (clean["owner"]["side"], clean["owner"]["epoch"], clean["verified"]) == ("source", 1, ROWS)
    check_answer("GET", "/parity", 200, clean)

    await world.put(Side.SOURCE, row(wallet(1), 100))  # which nobody copies
    drift = await verifier.until(lambda body: body["verdict"] == "drift")
    assert sum(each["count"] for each in drift["differences"].values()) == 1
    assert not is_safe(drift)
    plan = await verifier.call("/repairs", {"keys": [wallet(1).decode()]})
    assert (plan["state"], plan["writes"]) == ("planned", 1)
    await verifier.call(f"/repairs/{plan['id']}/execute", {})
    done = await verifier.until(lambda body: body["state"] == "done", path=f"/repairs/{plan['id']}")
    assert [each["outcome"] for each in done["steps"]] == ["repaired"]
    members = DynamoMembers(world.dynamodb, world.control.reports, lease_s=10.0)
    assert await members.all() == [], "it has left again"
    await verifier.until(is_safe)

    for step in (drained_from, sealed_from):
        assert await maps.swap(now, step(now))
        now = step(now)
    shut = await verifier.until(lambda body: not body["owner"]["open"])
    assert (is_safe(shut), shut["verdict"]) == (False, "waiting")
    flipped_map = flipped_from(now, held_us=NOW_US, other_held_us=NOW_US)
    assert await maps.swap(now, flipped_map)
    assert await maps.swap(flipped_map, opened_from(flipped_map))
    flipped = await verifier.until(lambda body: body["owner"]["side"] == "target" and is_safe(body))
    assert flipped["last_clean_pass"]["id"] > clean["last_clean_pass"]["id"]

    await world.put(Side.SOURCE, row(wallet(2), 200))  # as if the flip had missed it
    await verifier.until(lambda body: body["verdict"] == "drift")
    letters = await found(world)
    assert [(each.key, each.consumer) for each in letters] == [(wallet(2), "forward")]
    plan = await verifier.call("/repairs", {"keys": [wallet(2).decode()]})
    assert plan["writes"] == 0, "it may be the only copy of a write"
    assert await verifier.stop() == 0, verifier.log
