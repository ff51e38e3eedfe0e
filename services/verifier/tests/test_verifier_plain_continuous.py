"""The continuous mode over a plain migration: what records alone show, and what they leave to reads."""

from __future__ import annotations

import pytest
from msgspec import Raw

from crossfade.core.parity.classes import Difference
from crossfade.core.values.image import of_string
from crossfade.core.values.shape import Side
from heard_world import Heard
from plain_world import PlainWorld
from verifier_world import BOUND_S, at_once, wallet

KEY = wallet(2)
SIDES = pytest.mark.parametrize("owner", Side, ids=lambda side: f"{side.value} owns")


def hearing(owner: Side, rows: int = 4) -> tuple[PlainWorld, Heard]:
    world = PlainWorld(rows)
    if owner is Side.TARGET:
        world.flip()
        for number in range(rows):
            world.write(wallet(number), number)
            world.copy(wallet(number))
    heard = Heard(world)
    world.on_change = heard.mode.hear
    return world, heard


@SIDES
async def test_a_write_and_its_copy_are_verified_without_a_read(owner: Side) -> None:
    world, heard = hearing(owner)
    world.write(KEY, 100)
    world.copy(KEY)
    world.remove(wallet(1))
    world.copy(wallet(1))
    assert (heard.mode.counts.verified, heard.mode.open, heard.mode.following) == (2, 0, 0)
    await heard.goes_on(2 * BOUND_S)
    assert heard.found == {}
    assert heard.mode.counts.read_equal == 0


@SIDES
async def test_a_tombstone_that_is_purged_is_nothing_to_look_at(owner: Side) -> None:
    world, heard = hearing(owner)
    world.remove(KEY)
    world.copy(KEY)
    world.tables[owner.other].delete(KEY)
    assert heard.mode.following == 0


@SIDES
async def test_a_row_that_somebody_removes_from_the_standby_is_called(owner: Side) -> None:
    world, heard = hearing(owner)
    world.tables[owner.other].delete(KEY)
    await heard.goes_on(3 * BOUND_S)
    assert heard.found == {Difference.MISSING: [KEY]}


@SIDES
async def test_a_write_that_nobody_copies_is_stuck_and_cleared_when_the_copy_comes(owner: Side) -> None:
    world, heard = hearing(owner)
    world.write(KEY, 100)
    await heard.goes_on(4 * BOUND_S)
    assert heard.found == {Difference.STUCK: [KEY]}
    world.copy(KEY)
    await heard.goes_on(2 * BOUND_S)
    assert heard.found == {}


@SIDES
@pytest.mark.parametrize("fence", [None, Raw(b'{"N":"1"}'), Raw(b'{"N":"1806571929600000009"}')])
async def test_a_stray_on_the_standby_is_called_whatever_its_fence_says(owner: Side, fence: Raw | None) -> None:
    world, heard = hearing(owner)
    world.sets(owner.other, KEY, tier=of_string("x"), cf_mv=fence)
    await heard.goes_on(4 * BOUND_S)
    assert heard.found == {Difference.DIVERGED: [KEY]}


async def test_after_a_flip_nothing_holds_that_was_called_before_and_the_other_table_is_the_owner() -> None:
    world, heard = hearing(Side.SOURCE)
    world.write(KEY, 100)
    await heard.goes_on(4 * BOUND_S)
    assert heard.found == {Difference.STUCK: [KEY]}
    world.close()
    at_once(heard.both.look())
    heard.mode.tick()
    world.write(wallet(1), 7)  # a writer that ignores the hold: nothing is called around a flip
    await heard.goes_on(4 * BOUND_S)
    assert heard.found == {Difference.STUCK: [KEY]}
    world.copy(KEY)
    world.copy(wallet(1))
    world.flip()
    at_once(heard.both.look())
    heard.mode.tick()
    assert heard.found == {}
    world.write(KEY, 5)
    world.copy(KEY)
    assert heard.mode.counts.verified == 1
