"""A plain writer, real streams, replicators that are killed: no acknowledged write is lost or unlisted (ADR 0016)."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from crossfade.contracts.letter import DeadLetter
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.keyed.writes import Activate, Seal
from crossfade.core.protocol.writing import Applied
from crossfade.core.replication.change import decode_change
from crossfade.core.values.image import of_string, string
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import Direction, Side
from crossfade.runtime.operator import operator_name
from crossfade_replicator.letters import name_of
from engagement_api.operations import BALANCE, balance_of
from localaws import Endpoints
from replicator_world import World, open_world, until, wallet

pytestmark = pytest.mark.embedded

WRITES = 40


@pytest.fixture
async def world(local_aws: Endpoints) -> AsyncIterator[World]:
    async with open_world(local_aws) as opened:
        yield opened


async def plain(world: World, side: Side, key: Key, *, tier: str = "", points: int = 0) -> None:
    """Write as an old release does: it knows no protocol attribute, and takes the store's word for it."""
    shape = world.mapping.shape(side)
    names, values, terms = {}, {}, []
    if tier:
        names["#t"], values[":t"] = "tier", {"S": tier}
        terms.append("SET #t = :t")
    if points:
        names["#b"], values[":b"] = shape.own(BALANCE), {"N": str(points)}
        terms.append("ADD #b :b")
    request: dict[str, Any] = {
        "TableName": shape.table,
        "Key": {name: json.loads(bytes(raw)) for name, raw in key_image(key, shape.key).items()},
        "UpdateExpression": " ".join(terms),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        "ReturnValues": "ALL_NEW",
    }
    await world.dynamodb.update_item(json.dumps(request).encode())


async def hand_over(world: World, key: Key, generation: int = 2) -> None:
    sealed = await world.tables[Side.SOURCE].perform(Seal(key, generation, 1))
    assert isinstance(sealed, Applied)
    image = world.mapping.map_item(Direction.FORWARD, sealed.item)
    assert isinstance(await world.tables[Side.TARGET].perform(Activate(key, image)), Applied)


def tier_of(world: World, letter: DeadLetter) -> str:
    change = decode_change(letter.payload, world.mapping.shape(Direction(letter.consumer).origin).key)
    assert change.new is not None
    assert change.old is not None, "both images"
    return string(change.new.get("tier", of_string("")))


async def test_every_write_on_a_sealed_row_is_in_a_letter_whatever_overwrites_it_and_whoever_is_killed(
    world: World,
) -> None:
    await world.phase(Phase.BOTH_WAYS)
    forward = world.start("forward")
    world.start("reverse")
    sealed, owned = [wallet(number) for number in range(3)], [wallet(number) for number in range(3, 5)]
    for key in [*sealed, *owned]:
        await world.earn(key, 5)
    for key in sealed:
        await hand_over(world, key)
    written: list[str] = []

    async def writer() -> None:
        for number in range(WRITES):
            key = sealed[number % len(sealed)]
            await plain(world, Side.SOURCE, key, tier=f"stray-{number}")
            written.append(f"stray-{number}")
            await plain(world, Side.SOURCE, owned[number % len(owned)], tier=f"carried-{number}")

    async def clients() -> None:
        for number in range(WRITES):
            await world.earn(sealed[number % len(sealed)], 1, Side.TARGET)  # reverse replication overwrites the strays

    async def killer() -> None:
        await asyncio.sleep(0)
        forward.send_signal(signal.SIGKILL)
        await asyncio.to_thread(forward.wait)
        world.start("forward")

    await asyncio.gather(writer(), clients(), killer())
    assert len(written) == WRITES

    async def all_in_letters() -> bool:
        return {tier_of(world, each) for each in await world.letters.all(code="stray")} >= set(written)

    await until(all_in_letters, within_s=20, what="a letter for each acknowledged write")
    letters = await world.letters.all()
    assert sorted(tier_of(world, each) for each in letters) == sorted(written), "each once, and no other"
    assert {each.consumer for each in letters} == {"forward"}

    async def carried() -> bool:
        copies = await world.tables[Side.TARGET].read_many(owned)
        tiers = {string(copy.value("tier") or of_string("")) for copy in copies.values()}
        settled = {each.key for each in await world.letters.settled()}
        return tiers == {f"carried-{WRITES - 2}", f"carried-{WRITES - 1}"} and settled == set(owned)

    await until(carried, within_s=20, what="the strays on owners, carried over and named")

    async def overwritten() -> bool:
        image = await world.dynamodb.get_item(
            world.mapping.shape(Side.SOURCE).table, key_image(sealed[0], ("pk", "sk"))
        )
        return image is not None and "tier" not in image

    await until(overwritten, within_s=20, what="a transfer over a stray: only the letter has it now")


async def test_a_stray_is_shown_and_merged_from_the_command_line_once(world: World) -> None:
    await world.phase(Phase.BOTH_WAYS)
    world.start("forward")
    key = wallet(9)
    await world.earn(key, 5)
    await hand_over(world, key)
    await world.earn(key, 100, Side.TARGET)
    await plain(world, Side.SOURCE, key, points=7)

    async def parked() -> bool:
        return await world.letters.count() == 1

    await until(parked, within_s=15, what="the letter")
    [letter] = await world.letters.all()
    name = name_of(letter)
    code, [shown] = await world.tool("dead-letters", "show", name, "--json")
    assert (code, shown["owner"], shown["changes"][0]["name"]) == (0, "target", "points")
    assert shown["merge"]["sets"]["points"].startswith("N of 3 characters #")
    assert not [each for each in await world.journal.entries() if each.kind == "reveal"]
    code, [shown] = await world.tool("dead-letters", "show", name, "--json", "--reveal")
    assert shown["merge"]["sets"] == {"points": '{"N":"112"}'}
    [entry] = [each for each in await world.journal.entries() if each.kind == "reveal"]
    assert (entry.body["keys"], entry.body["by"]) == ([key.decode()], "dead-letters show")
    assert entry.body["who"] == operator_name()
    code, redriven = await world.tool("dead-letters", "redrive", "--execute", "--json")
    assert (code, [each["settled"] for each in redriven]) == (1, [False])
    code, [dry] = await world.tool("dead-letters", "merge", name, "--json")
    assert (code, dry["done"], await world.letters.count()) == (0, True, 1)
    code, [done] = await world.tool("dead-letters", "merge", name, "--execute", "--json")
    assert (code, done["done"], await world.letters.count()) == (0, True, 0)
    await world.letters.park(letter)  # its record came again
    code, [again] = await world.tool("dead-letters", "merge", name, "--execute", "--json")
    assert (code, again["merged"], await world.letters.count()) == (0, True, 0)
    owner = await world.tables[Side.TARGET].read(key)
    assert balance_of(owner, world.mapping.shape(Side.TARGET)) == 112
