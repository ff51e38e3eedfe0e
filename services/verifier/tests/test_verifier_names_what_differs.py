"""A sample of a diverged key names what differs, the protocol's own state included."""

from __future__ import annotations

import pytest

from crossfade.core.parity.classes import Difference
from crossfade.core.values.shape import Side
from engagement_api.operations import Kind
from verifier_world import World, wallet

WALLETS = 4
KEY = wallet(2)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cf_gen": 9}, ["cf_gen"]),
        ({"cf_events": None}, ["cf_events"]),
        ({"cf_emv": None}, ["cf_emv"]),
        ({"cf_recent": None}, ["cf_recent"]),
        ({"points": -1}, ["balance"]),
        ({"points": -1, "cf_recent": None}, ["balance", "cf_recent"]),
    ],
    ids=str,
)
async def test_what_was_changed_on_a_standby_is_named(change: dict[str, object], named: list[str]) -> None:
    world = World(WALLETS)
    world.put(Side.TARGET, KEY, **change)
    found = await world.sweep()
    assert found.book.by_class == {Difference.DIVERGED: 1}
    assert found.samples[Difference.DIVERGED][0]["differs"] == named


async def test_a_tombstone_that_lost_its_transaction_ids_is_named() -> None:
    world = World(WALLETS)
    world.operate(KEY, Kind.DELETE, 0)
    world.copy(KEY)
    assert (await world.sweep()).clean
    world.put(Side.TARGET, KEY, cf_recent=None)
    found = await world.sweep()
    assert found.book.by_class == {Difference.DIVERGED: 1}
    assert found.samples[Difference.DIVERGED][0]["differs"] == ["cf_recent"]


async def test_a_pair_of_two_versions_names_nothing_since_all_of_it_may_differ() -> None:
    world = World(WALLETS)
    world.plant(Difference.STUCK, KEY)
    assert "differs" not in (await world.sweep()).samples[Difference.STUCK][0]
