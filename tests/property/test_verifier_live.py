"""Section 6: no false alarm under live traffic, and no blind spot, by passes of the real sweep over busy tables.

Every read of the sweep is an opportunity: before it, clients write, keys are handed over and back, and copies arrive
late, twice and out of order, but each within half the bound.
"""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.core.parity.classes import FINAL, Difference
from property_examples import examples
from verifier_traffic import WALLETS, busy_world
from verifier_world import wallet


@given(st.integers(0, 2**32))
@settings(max_examples=examples(60), deadline=None)
def test_a_pass_over_busy_tables_calls_nothing_that_is_not_so(seed: int) -> None:
    world, traffic = busy_world(seed)
    found = asyncio.run(world.sweep())
    assert not {each for each in found.book.by_class if each in FINAL}, found.samples
    assert found.differing == []
    traffic.end()
    after = asyncio.run(world.sweep())
    assert after.clean, (after.book.by_class, after.samples)


@given(st.integers(0, 2**32))
@settings(max_examples=examples(40), deadline=None)
def test_a_key_whose_copies_are_cut_off_is_stuck_however_busy_it_is(seed: int) -> None:
    world, traffic = busy_world(seed)
    key = wallet(seed % WALLETS)
    traffic.cut.add(key)
    world.earn(key, 1)
    found = asyncio.run(world.sweep())
    assert found.keys.get(Difference.STUCK) == [key], found.book.by_class
