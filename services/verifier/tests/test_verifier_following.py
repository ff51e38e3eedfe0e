"""The follow list at its edges: unstamped rows, late handovers, records that prove nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.core.parity.classes import Difference
from crossfade.core.values.image import of_number
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.followlist import Handovers
from engagement_migration.samples import legacy_wallet
from verifier_world import HookedTable, World, wallet

KEY = wallet(1)


def unstamped(balance: int, imported: int) -> World:
    world = World()
    world.tables[Side.SOURCE].put(legacy_wallet("1", "c", balance))
    world.put(Side.TARGET, KEY, points=imported, cf_mv=0, cf_role="S")
    return world


async def test_what_counts_of_an_unstamped_pair_is_what_was_equal_not_what_was_read_last() -> None:
    world = unstamped(5, 4)
    moments = 0

    def around_each_read_of_target() -> None:
        nonlocal moments
        moments += 1
        if moments == 2:  # after the scan's comparison: the copy arrives
            world.put(Side.TARGET, KEY, points=5)
        if moments == 4:  # after the standby was read, before the owner is read again
            world.put(Side.SOURCE, KEY, balance=6)

    world.reading[Side.TARGET] = HookedTable(world.tables[Side.TARGET], around_each_read_of_target)
    found = await world.sweep()
    assert moments == 4
    assert found.clean, found.differing


async def test_an_unstamped_duplicate_from_before_proves_nothing() -> None:
    world = unstamped(5, 5)
    (old,) = [change for side, change in world.changes if side is Side.SOURCE]
    world.put(Side.TARGET, KEY, points=5, cf_mv=old.committed_us)
    world.put(Side.SOURCE, KEY, balance=9)  # its copy is lost
    world.clock.now += 100

    def repeat() -> None:
        world.on_change(Side.SOURCE, old)

    world.clock.on_sleep = repeat
    assert (await world.sweep()).book.by_class == {Difference.STUCK: 1}


async def test_an_unstamped_change_of_this_moment_verifies_its_copy() -> None:
    world = unstamped(5, 4)

    def moves() -> None:
        world.put(Side.SOURCE, KEY, balance=world.clock.wall_us() % 1000)
        change = world.changes[-1][1]
        assert change.new is not None
        copied = {"points": change.new["balance"], "cf_mv": of_number(change.committed_us)}
        world.tables[Side.TARGET].put({**world.tables[Side.TARGET].images[KEY], **copied})
        world.put(Side.SOURCE, KEY, balance=-1)

    world.clock.on_sleep = moves
    assert (await world.sweep()).clean


async def test_a_handover_that_begins_while_its_key_is_followed_has_an_age_too() -> None:
    world = World(3)
    world.earn(KEY, 1)

    def sealed() -> None:
        if world.owner(KEY) is not None and world.clock.now > 1001:
            world.seal(KEY, 2)

    world.clock.on_sleep = sealed
    found = await world.sweep(limit_s=20.0)
    assert found.book.by_class == {Difference.IN_HANDOVER: 1}
    ((key, age_s),) = world.handovers.oldest(2, world.clock.now)
    assert key == KEY
    assert 15.0 < age_s <= 20.0


async def test_records_that_can_not_be_read_and_removals_are_passed_over() -> None:
    world = World(1)
    world.plant(Difference.STUCK, wallet(0))
    _, last = world.changes[-1]
    image = last.new
    assert image is not None

    def noise() -> None:
        for broken in (
            replace(last, new=None),
            replace(last, new={**image, "cf_mv": image["pk"]}),
            replace(last, new={**image, "cf_role": image["pk"]}),
            replace(last, key=wallet(77)),
        ):
            world.on_change(Side.SOURCE, broken)

    world.clock.on_sleep = noise
    assert (await world.sweep()).book.by_class == {Difference.STUCK: 1}


@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 50)), max_size=60), st.integers(0, 50))
def test_handovers_are_kept_oldest_first_and_counted_without_looking_at_each(
    seen: list[tuple[int, int | None]], bound_s: int
) -> None:
    handovers, since_s = Handovers(), dict[Key, int]()
    for number, at_s in seen:
        handovers.see(wallet(number), at_s, 100.0)
        if at_s is None:
            since_s.pop(wallet(number), None)
        else:
            since_s.setdefault(wallet(number), at_s)
    over = [100 - at_s for at_s in since_s.values() if 100 - at_s > bound_s]
    assert handovers.older_than(bound_s, 100.0) == len(over)
    assert [age_s for _, age_s in handovers.oldest(10, 100.0)] == sorted(100 - at_s for at_s in since_s.values())[::-1]
    assert len(handovers) == len(since_s)
    handovers.forget_unseen(101.0)
    assert (len(handovers), handovers.older_than(-1000.0, 100.0), handovers.oldest(1, 100.0)) == (0, 0, [])
