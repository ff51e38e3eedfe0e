"""Each kind of difference that may be planted is found by the sweep, on its keys alone; another spelling is none."""

from __future__ import annotations

import pytest

from crossfade.core.values.shape import Side
from planted_kinds import DIFFERENT, EQUAL, Planted, filled, source, target
from verifier_world import wallet

WALLETS = 8
NUMBERS = (1, 4, 6)
HARMED = sorted(map(wallet, NUMBERS))


@pytest.mark.parametrize("planted", DIFFERENT, ids=str)
async def test_a_planted_difference_is_found_on_its_keys_and_on_no_other_whoever_owns_them(planted: Planted) -> None:
    for owner in Side if planted.needs is None else (planted.needs,):
        world = filled(WALLETS, owner)
        assert (await world.sweep()).clean
        for number in NUMBERS:
            planted.harm(world, wallet(number))
        found = await world.sweep()
        assert sorted(key for keys in found.keys.values() for key in keys) == HARMED
        assert not found.clean
        assert found.book.verified == WALLETS - len(NUMBERS)


@pytest.mark.parametrize("planted", EQUAL, ids=str)
async def test_another_spelling_is_no_difference(planted: Planted) -> None:
    world = filled(WALLETS)
    for number in NUMBERS:
        planted.harm(world, wallet(number))
    found = await world.sweep()
    assert found.clean
    assert found.book.verified == WALLETS


async def test_what_the_mapping_drops_is_counted_on_each_side() -> None:
    world = filled(WALLETS)
    source(nickname=b'{"S":"zoe"}')(world, wallet(1))
    target(stray=b'{"S":"x"}')(world, wallet(2))
    found = await world.sweep()
    assert found.dropped == {Side.SOURCE: {"wallet_type": WALLETS, "nickname": 1}, Side.TARGET: {"stray": 1}}


async def test_a_digest_covers_every_row_whichever_way_it_was_compared() -> None:
    world = filled(WALLETS)
    target(points=b'{"N":"13.0"}')(world, wallet(1))  # equal, and only value by value
    found = await world.sweep()
    assert {side: found.digests[side].count for side in Side} == dict.fromkeys(Side, WALLETS)
    assert found.digests[Side.SOURCE].total == found.digests[Side.TARGET].total
    assert found.differing == []
