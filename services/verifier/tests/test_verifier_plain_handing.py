"""The pass after a flip: what the flip may have missed is handed over, once, and nothing else is."""

from __future__ import annotations

import msgspec
import pytest

from crossfade.adapters.memory.control import MemoryDeadLetters
from crossfade.contracts.letter import HINT
from crossfade.core.parity.classes import Difference
from crossfade.core.protocol.plain.map import version_at
from crossfade.core.values.image import of_number, of_string
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.handing import Handing
from plain_world import PlainWorld
from verifier_service import Running
from verifier_world import wallet

SIDES = pytest.mark.parametrize("owner", Side, ids=lambda side: f"{side.value} owns by now")


class Called:
    """What of `Passes` is asked: the keys that were called."""

    def __init__(self, keys: list[Key]) -> None:
        self.keys = keys

    def keys_of(self, found: Difference) -> list[Key]:
        return self.keys if found is Difference.DIVERGED else []


def flipped(owner: Side) -> PlainWorld:
    world = PlainWorld(6)
    world.flip()
    if owner is Side.SOURCE:
        for number in range(6):
            world.write(wallet(number), number)
            world.copy(wallet(number))
        world.flip()
    return world


async def handed(world: PlainWorld, *keys: Key, times: int = 1) -> MemoryDeadLetters:
    letters, both = MemoryDeadLetters(), world.both()
    handing = Handing(both, Called(list(keys)), letters, clock=world.clock, every_s=1.0)  # type: ignore[arg-type]
    for _ in range(times):
        await handing.look()
    return letters


@SIDES
async def test_what_the_owner_never_had_is_handed_to_the_consumer_that_writes_to_it_with_both_rows(owner: Side) -> None:
    world = flipped(owner)
    world.sets(owner.other, wallet(2), tier=of_string("missed"), cf_mv=None)
    world.tables[owner].delete(wallet(3))
    world.tables[owner.other].delete(wallet(4))
    letters = await handed(world, wallet(2), wallet(3), wallet(4), times=3)
    found = {each.key: each for each in await letters.all()}
    assert found.keys() == {wallet(2), wallet(3), wallet(4)}
    each = found[wallet(2)]
    assert (each.code, each.consumer) == (HINT, "forward" if owner is Side.TARGET else "reverse")
    images = msgspec.json.decode(each.payload)["images"]
    assert each.table == world.tables[owner.other].shape.table
    assert images[each.table]["tier"] == {"S": "missed"}
    assert images[world.tables[owner].shape.table]["tier"] == {"S": "gold"}


@SIDES
async def test_where_the_application_has_moved_on_nothing_is_handed_over(owner: Side) -> None:
    """A copy of this turn stands there: it is behind, or somebody changed it, and the owner knows better."""
    world = flipped(owner)
    fence = version_at(world.map.interval.since_us + 1)
    world.sets(owner.other, wallet(2), tier=of_string("x"), cf_mv=of_number(fence))
    assert await (await handed(world, wallet(1), wallet(2))).all() == []


async def test_before_the_first_flip_and_around_one_nothing_is_handed_over() -> None:
    world = PlainWorld(6)
    world.sets(Side.TARGET, wallet(2), tier=of_string("x"))
    assert await (await handed(world, wallet(2))).all() == []
    world.flip()
    world.close()
    assert await (await handed(world, wallet(2))).all() == []


async def test_after_each_flip_a_key_is_looked_at_again() -> None:
    world = flipped(Side.TARGET)
    letters, both = MemoryDeadLetters(), world.both()
    handing = Handing(both, Called([wallet(2)]), letters, clock=world.clock, every_s=1.0)  # type: ignore[arg-type]
    await handing.look()
    world.flip()
    world.sets(Side.TARGET, wallet(2), tier=of_string("missed"), cf_mv=None)
    await handing.look()
    assert [each.consumer for each in await letters.all()] == ["reverse"]


async def test_the_pass_after_a_flip_finds_what_it_hands_over() -> None:
    world = PlainWorld(4)
    service = Running(world)
    async with service():
        await service.until(lambda body: body["verdict"] == "clean")
        world.close()
        world.sets(Side.SOURCE, wallet(2), tier=of_string("missed"))  # whose record never comes
        world.flip()
        await service.until(lambda body: body["owner"]["side"] == "target" and body["verdict"] == "drift")
        letters = MemoryDeadLetters()
        await Handing(world.both(), service.passes, letters, clock=world.clock, every_s=1.0).look()
        assert [each.key for each in await letters.all()] == [wallet(2)]
