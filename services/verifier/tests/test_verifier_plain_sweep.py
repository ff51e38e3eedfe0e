"""A pass over a plain migration: one table owns all rows, its rows tell no version, and copies have a fence."""

from __future__ import annotations

import pytest
from msgspec import Raw

from crossfade.core.parity.classes import Difference
from crossfade.core.values.image import of_number, of_string
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.findings import Findings
from plain_world import PlainWorld
from verifier_world import BOUND_S, HookedTable, wallet

SIDES = pytest.mark.parametrize("owner", Side, ids=lambda side: f"{side.value} owns")


def world_of(owner: Side, rows: int = 8) -> PlainWorld:
    world = PlainWorld(rows)
    if owner is Side.TARGET:
        world.flip()
        for number in range(rows):
            world.write(wallet(number), number + 1)
            world.copy(wallet(number))
    return world


def called(found: Findings) -> dict[Difference, list[Key]]:
    return {each: sorted(keys) for each, keys in found.keys.items() if keys}


@SIDES
async def test_rows_of_an_owner_without_version_equal_their_copies(owner: Side) -> None:
    found = await world_of(owner).sweep()
    assert (found.clean, found.book.verified) == (True, 8)


@SIDES
@pytest.mark.parametrize("fence", [b'{"N":"99"}', b'{"S":"soon"}'])
async def test_what_stands_on_an_owner_under_a_name_of_crossfades_is_no_content(owner: Side, fence: bytes) -> None:
    world = world_of(owner)
    world.sets(owner, wallet(1), cf_mv=Raw(fence), cf_role=of_string("A"), cf_new=of_number(1))
    found = await world.sweep()
    assert (found.clean, found.book.verified) == (True, 8)


@SIDES
async def test_a_copy_without_fence_is_equal_as_an_imported_one_is(owner: Side) -> None:
    world = world_of(owner)
    world.sets(owner.other, wallet(1), cf_mv=None)
    assert (await world.sweep()).clean


@SIDES
async def test_a_tombstone_is_nothing(owner: Side) -> None:
    world = world_of(owner)
    world.remove(wallet(1))
    world.copy(wallet(1))
    assert "cf_deleted" in world.tables[owner.other].images[wallet(1)]
    found = await world.sweep()
    assert (found.clean, found.digests[owner].count, found.digests[owner.other].count) == (True, 7, 7)


@SIDES
async def test_a_mark_on_a_row_with_content_hides_nothing(owner: Side) -> None:
    world = world_of(owner)
    world.sets(owner, wallet(1), cf_deleted=Raw(b'{"BOOL":true}'))
    assert (await world.sweep()).clean, "an application may have put it back"
    world.remove(wallet(2))
    world.copy(wallet(2))
    world.sets(owner.other, wallet(2), tier=of_string("x"))
    assert called(await world.sweep()) == {Difference.EXTRA: [wallet(2)]}


@SIDES
async def test_a_copy_that_never_comes_is_stuck_once_the_owners_record_was_heard(owner: Side) -> None:
    world = world_of(owner)
    at_s = world.clock.now + 3

    def write() -> None:
        if world.clock.now >= at_s and world.tables[owner].images[wallet(2)] == before:
            world.write(wallet(2), 101)

    world.write(wallet(2), 100)
    before = world.tables[owner].images[wallet(2)]
    world.clock.on_sleep = write
    assert called(await world.sweep()) == {Difference.STUCK: [wallet(2)]}


@SIDES
async def test_other_content_at_a_fence_that_nothing_of_the_owners_is_above_is_diverged(owner: Side) -> None:
    world = world_of(owner)
    world.sets(owner.other, wallet(2), tier=of_string("x"))
    found = await world.sweep()
    assert called(found) == {Difference.DIVERGED: [wallet(2)]}
    (shown,) = found.samples[Difference.DIVERGED]
    assert (shown["differs"], shown["owner"], shown[owner.value]["version"]) == (["tier"], owner.value, None)


@SIDES
async def test_missing_extra_and_unreadable_are_called(owner: Side) -> None:
    world = world_of(owner)
    world.tables[owner.other].delete(wallet(1))
    world.tables[owner].delete(wallet(2))
    world.sets(owner.other, wallet(3), cf_mv=of_string("soon"))
    world.sets(owner.other, wallet(4), cf_deleted=of_string("yes"))
    assert called(await world.sweep()) == {
        Difference.MISSING: [wallet(1)],
        Difference.EXTRA: [wallet(2)],
        Difference.UNREADABLE: [wallet(3), wallet(4)],
    }


@SIDES
async def test_a_row_that_nobody_copies_yet_is_in_flight_until_the_bound(owner: Side) -> None:
    world = world_of(owner)
    world.write(wallet(2), 100)
    late_s = world.clock.now + BOUND_S - 1

    def copy() -> None:
        if world.clock.now >= late_s:
            world.copy(wallet(2))

    world.clock.on_sleep = copy
    assert (await world.sweep()).clean


@SIDES
async def test_a_key_that_changes_all_the_time_is_verified_by_records(owner: Side) -> None:
    """Each look finds it different: only a record and the copy of that very record tell that it is the same."""
    world = world_of(owner)
    world.write(wallet(2), 100)
    due: list[int] = []

    def busy() -> None:
        world.write(wallet(2), 100 + len(world.changes))
        due.append(len(world.changes) - 1)
        if len(due) > 3:  # three seconds behind, always
            world.transfer(*world.changes[due.pop(0)])

    world.clock.on_sleep = busy
    found = await world.sweep()
    assert (found.clean, found.book.verified) == (True, 8)


@SIDES
async def test_a_fence_that_an_application_has_put_back_orders_nothing(owner: Side) -> None:
    world = world_of(owner)
    world.write(wallet(2), 100)
    due: list[int] = []

    def busy() -> None:
        world.write(wallet(2), 100 + len(world.changes), cf_mv=Raw(b'{"N":"1806571929600000009"}'))
        due.append(len(world.changes) - 1)
        if len(due) > 3:
            world.transfer(*world.changes[due.pop(0)])

    world.clock.on_sleep = busy
    assert (await world.sweep()).clean


@SIDES
async def test_records_from_before_prove_nothing_about_now(owner: Side) -> None:
    """Kinesis delivers old duplicates: an owner's record and its copy's, equal by then."""
    world = world_of(owner)
    old = list(world.changes)
    world.sets(owner.other, wallet(2), tier=of_string("x"))

    def again() -> None:
        for each in old:
            world.on_change(*each)

    world.clock.on_sleep = again
    assert called(await world.sweep()) == {Difference.DIVERGED: [wallet(2)]}


@SIDES
async def test_a_copy_that_follows_within_the_bound_is_not_stuck_though_no_record_is_heard(owner: Side) -> None:
    """Each look finds it different, and each finds it further on: nothing can be said, and so nothing is."""
    world = world_of(owner)
    world.write(wallet(2), 100)
    due: list[int] = []

    def deaf_and_busy() -> None:
        world.on_change = lambda _side, _change: None
        world.write(wallet(2), 100 + len(world.changes))
        due.append(len(world.changes) - 1)
        if len(due) > BOUND_S - 2:
            world.transfer(*world.changes[due.pop(0)])

    world.clock.on_sleep = deaf_and_busy
    found = await world.sweep(limit_s=5 * BOUND_S)
    assert called(found) == {Difference.IN_FLIGHT: [wallet(2)]}
    assert not found.clean


@SIDES
async def test_reads_between_which_the_tables_are_flipped_say_nothing(owner: Side) -> None:
    world = world_of(owner)
    world.sets(owner.other, wallet(2), tier=of_string("x"), cf_mv=None)
    began_s, flipped_s, reads = world.clock.now, 0.0, 0

    def flip() -> None:
        nonlocal flipped_s, reads
        reads += world.clock.now >= began_s + BOUND_S + 1  # the first look is a second after the scan
        if reads == 4 and not flipped_s:  # twice for each read: between the second and the third
            world.flip()
            flipped_s = world.clock.now

    world.reading = {side: HookedTable(world.tables[side], flip) for side in Side}
    found = await world.sweep()
    assert called(found) == {Difference.DIVERGED: [wallet(2)]}
    assert flipped_s
    assert world.clock.now - flipped_s >= BOUND_S, "the bound ran from the flip"


@SIDES
async def test_a_copy_that_stands_still_is_stuck_however_often_its_owner_changes(owner: Side) -> None:
    world = world_of(owner)
    world.write(wallet(2), 100)
    world.clock.on_sleep = lambda: world.write(wallet(2), len(world.changes))
    assert called(await world.sweep()) == {Difference.STUCK: [wallet(2)]}


@SIDES
async def test_nothing_is_called_while_a_flip_is_under_way(owner: Side) -> None:
    world = world_of(owner)
    world.sets(owner.other, wallet(2), tier=of_string("x"))
    opens_s = world.clock.now + 5 * BOUND_S

    def open_() -> None:
        if world.clock.now >= opens_s and world.map.state.value == "draining":
            assert len(world.followed) == 1
            world.flip()

    world.close()
    world.clock.on_sleep = open_
    found = await world.sweep()
    assert called(found) == {Difference.DIVERGED: [wallet(2)]}
    assert found.samples[Difference.DIVERGED][0]["owner"] == owner.other.value
