"""No false alarm in a plain migration under live traffic, and no blind spot: by the real sweep and the real continuous
mode, in virtual time.

Before each read the application writes, puts rows back as it read them, and deletes; copies come late, twice and out of
order, but each within half the bound; records come again and shuffled; a flip is given up, or flips the tables.
"""

from __future__ import annotations

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.core.parity.classes import FINAL, Difference
from crossfade.core.replication.change import Change
from crossfade.core.values.image import of_string
from crossfade.core.values.shape import Side
from heard_world import Heard
from plain_traffic import ROWS, busy_plain_world
from property_examples import examples
from verifier_world import BOUND_S, wallet

seeds = st.integers(0, 2**32)


@given(seeds)
@settings(max_examples=examples(60), deadline=None)
def test_a_pass_over_busy_tables_calls_nothing_that_is_not_so(seed: int) -> None:
    world, traffic = busy_plain_world(seed)
    found = asyncio.run(world.sweep())
    assert not {each for each in found.book.by_class if each in FINAL}, found.samples
    assert found.differing == []
    traffic.end()
    after = asyncio.run(world.sweep())
    assert after.clean, (after.book.by_class, after.samples)


@given(seeds)
@settings(max_examples=examples(15), deadline=None)
def test_a_key_whose_copies_are_cut_off_is_called_however_busy_it_is(seed: int) -> None:
    """Mostly as stuck; as diverged where its owner changed before anybody listened, and never again."""
    world, traffic = busy_plain_world(seed, most_flips=0)
    key = wallet(seed % ROWS)
    traffic.cut.add(key)
    world.write(key, 99, badges=of_string("cut off"))
    found = asyncio.run(world.sweep())
    assert {each: keys for each, keys in found.keys.items() if keys} in (
        {Difference.STUCK: [key]},
        {Difference.DIVERGED: [key]},
    ), found.samples


@given(seeds)
@settings(max_examples=examples(10), deadline=None)
def test_after_traffic_a_row_that_somebody_changes_is_called_and_no_other(seed: int) -> None:
    world, traffic = busy_plain_world(seed)
    asyncio.run(world.sweep())
    traffic.end()
    standby = world.owner().other
    key = sorted(world.tables[standby].images)[seed % len(world.tables[standby].images)]
    world.sets(standby, key, tier=of_string("x"))
    found = asyncio.run(world.sweep())
    assert [called for keys in found.keys.values() for called in keys] == [key]


@given(seeds)
@settings(max_examples=examples(15), deadline=None)
def test_the_streams_raise_no_alarm_whatever_becomes_of_their_records(seed: int) -> None:
    """Shuffled, a fifth of them twice, some two bounds late, some never."""
    world, traffic = busy_plain_world(seed)
    chance, heard = random.Random(seed), Heard(world)
    under_way: list[tuple[float, int, Side, Change]] = []

    def changed(side: Side, change: Change) -> None:
        for _ in range(1 + (chance.random() < 0.2) - (chance.random() < 0.05)):
            late_s = 2 * BOUND_S if chance.random() < 0.05 else BOUND_S / 3
            under_way.append((world.clock.now + late_s * chance.random(), len(under_way), side, change))

    world.on_change = changed

    async def listen() -> None:
        for _ in range(60):
            due = sorted(each for each in under_way if each[0] <= world.clock.now)
            for each in due:
                under_way.remove(each)
                heard.mode.hear(each[2], each[3])
            await heard.mode._both.look()
            await heard.goes_on(1.0)

    asyncio.run(listen())
    assert heard.found == {}
    traffic.end()
    asyncio.run(heard.goes_on(3 * BOUND_S))
    assert heard.found == {}
