"""Each kind of difference that may be planted is found by the sweep, on its keys alone; another spelling is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest
from msgspec import Raw

from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from engagement_api.operations import Kind
from engagement_migration.samples import legacy_wallet
from verifier_world import World, wallet

WALLETS = 8
NUMBERS = (1, 4, 6)
HARMED = sorted(map(wallet, NUMBERS))
PREFERENCES = (
    b'{"M":{"list":{"L":[{"S":"a"},{"N":"1"}]},"blob":{"B":"AAE="},"text":{"S":"x"},"sizes":{"NS":["1","20"]}}}'
)
ROW = {
    "tier": Raw(b'{"S":"7"}'),
    "badges": Raw(b'{"SS":["early","loyal"]}'),
    "preferences": Raw(PREFERENCES),
    "expires_at": Raw(b'{"N":"4102444800"}'),
}

Harm: TypeAlias = Callable[[World, Key], None]


def filled() -> World:
    world = World()
    for number in range(WALLETS):
        row = legacy_wallet(str(number), "c", 12, created_at="2021-03-04T05:06:07.089Z", **ROW)
        world.tables[Side.SOURCE].put(row)
        world.earn(wallet(number), 1)
        world.copy(wallet(number))
    return world


def sets(side: Side, **changed: bytes | None) -> Harm:
    def harm(world: World, key: Key) -> None:
        image = {name: raw for name, raw in world.tables[side].images[key].items() if name not in changed}
        image |= {name: Raw(raw) for name, raw in changed.items() if raw is not None}
        world.tables[side].put(image)

    return harm


def target(**changed: bytes | None) -> Harm:
    return sets(Side.TARGET, **changed)


def source(**changed: bytes | None) -> Harm:
    return sets(Side.SOURCE, **changed)


def inner(before: bytes, after: bytes) -> Harm:
    assert before in PREFERENCES
    return target(preferences=PREFERENCES.replace(before, after))


def tombstones(**changed: bytes | None) -> Harm:
    def harm(world: World, key: Key) -> None:
        world.operate(key, Kind.DELETE, 0)
        world.copy(key)
        target(**changed)(world, key)

    return harm


def removed(side: Side) -> Harm:
    return lambda world, key: world.tables[side].delete(key)


DIFFERENT: dict[str, Harm] = {
    "value": target(points=b'{"N":"14"}'),
    "value, at the owner": source(balance=b'{"N":"14"}'),
    "value, by the 38th digit": inner(b'{"N":"1"}', b'{"N":"1.0000000000000000000000000000000000001"}'),
    "value, text by case": target(tier=b'{"S":"7 "}'),
    "type, N against S": target(tier=b'{"N":"7"}'),
    "type, N against S, nested": inner(b'{"N":"1"}', b'{"S":"1"}'),
    "type, set against list": target(badges=b'{"L":[{"S":"early"},{"S":"loyal"}]}'),
    "type, NS against SS": inner(b'{"NS":["1","20"]}', b'{"SS":["1","20"]}'),
    "missing attribute": target(tier=None),
    "missing attribute, at the owner": source(badges=None),
    "missing attribute, computed": target(created_ms=None),
    "missing attribute, on both alike": lambda world, key: (source(wallet_type=None)(world, key), None)[1],
    "extra attribute": target(nickname=b'{"S":"zoe"}'),
    "extra attribute, of the source's names": target(balance=b'{"N":"13"}'),
    "extra attribute, at the owner": source(nickname=b'{"S":"zoe"}'),
    "empty string": target(tier=b'{"S":""}'),
    "empty string, nested": inner(b'{"S":"x"}', b'{"S":""}'),
    "empty string against NULL": inner(b'{"S":"x"}', b'{"NULL":true}'),
    "binary": inner(b"AAE=", b"AAI="),
    "binary, shorter": inner(b"AAE=", b"AA=="),
    "nested list, order": inner(b'{"S":"a"},{"N":"1"}', b'{"N":"1"},{"S":"a"}'),
    "nested list, shorter": inner(b'{"S":"a"},{"N":"1"}', b'{"S":"a"}'),
    "TTL": target(cf_ttl=b'{"N":"4102444801"}'),
    "TTL, missing": target(cf_ttl=None),
    "TTL, at the owner": source(expires_at=None),
    "generation": target(cf_gen=b'{"N":"9"}'),
    "ids": target(cf_recent=None),
    "ids, another": target(cf_recent=b'{"BS":["AAECAwQFBgcICQoLDA0ODw=="]}'),
    "ids, trimmed": target(cf_floor=b'{"B":"AAECAwQFBgcICQoLDA0ODw=="}'),
    "events": target(cf_events=None),
    "events, another": target(cf_events=b'{"L":[]}'),
    "events, their version": target(cf_emv=b'{"N":"7"}'),
    "tombstone content": tombstones(points=b'{"N":"13"}'),
    "tombstone ids": tombstones(cf_recent=None),
    "tombstone events": tombstones(cf_events=None),
    "row on one side": removed(Side.TARGET),
    "row on the other side": removed(Side.SOURCE),
    "both active": target(cf_role=b'{"S":"A"}'),
    "version": target(cf_mv=b'{"N":"1806571929600000009"}'),
    "computed value": target(created_ms=b'{"N":"1614834367090"}'),
}

EQUAL: dict[str, Harm] = {
    "number spelled otherwise": target(points=b'{"N":"13.00"}'),
    "number spelled by an exponent": target(points=b'{"N": "1.3E1"}'),
    "set order": target(badges=b'{"SS":["loyal","early"]}'),
    "set order, nested, and numbers": inner(b'{"NS":["1","20"]}', b'{"NS": ["2e1", "1.0"]}'),
    "spaces and escapes": target(tier=b'{ "S" : "\\u0037" }'),
    "version spelled with a space": lambda world, key: target(
        cf_mv=bytes(world.tables[Side.TARGET].images[key]["cf_mv"]).replace(b":", b": ")
    )(world, key),
    "constant spelled otherwise": source(wallet_type=b'{"S": "\\u0045NGAGEMENT"}'),
    "tombstones": tombstones(),
}


@pytest.mark.parametrize("name", DIFFERENT)
async def test_a_planted_difference_is_found_on_its_keys_and_on_no_other(name: str) -> None:
    world = filled()
    for number in NUMBERS:
        DIFFERENT[name](world, wallet(number))
    found = await world.sweep()
    assert sorted(key for keys in found.keys.values() for key in keys) == HARMED
    assert not found.clean
    assert found.book.verified == WALLETS - len(NUMBERS)


WHERE_THE_SOURCE_OWNS = ("generation", "both active", "TTL, at the owner")
"""What these plant is no difference, or another, where the target table owns the key."""


@pytest.mark.parametrize("name", [name for name in DIFFERENT if name not in WHERE_THE_SOURCE_OWNS])
async def test_it_is_found_as_well_where_the_target_table_owns_the_keys(name: str) -> None:
    world = filled()
    for number in range(WALLETS):
        world.hand_over(wallet(number), 2)
        world.copy(wallet(number))
    assert (await world.sweep()).clean
    for number in NUMBERS:
        DIFFERENT[name](world, wallet(number))
    found = await world.sweep()
    assert sorted(key for keys in found.keys.values() for key in keys) == HARMED
    assert not found.clean


@pytest.mark.parametrize(
    "harm", [source(cf_gen=b'{"N":"8"}'), source(expires_at=b'{"N":"4102444800"}')], ids=["generation", "a live TTL"]
)
async def test_a_standby_of_the_source_table_that_can_not_be_handed_over_or_would_expire_is_found(harm: Harm) -> None:
    world = filled()
    for number in range(WALLETS):
        world.hand_over(wallet(number), 2)
        world.copy(wallet(number))
    for number in NUMBERS:
        harm(world, wallet(number))
    found = await world.sweep()
    assert sorted(key for keys in found.keys.values() for key in keys) == HARMED


@pytest.mark.parametrize("name", EQUAL)
async def test_another_spelling_is_no_difference(name: str) -> None:
    world = filled()
    for number in NUMBERS:
        EQUAL[name](world, wallet(number))
    found = await world.sweep()
    assert found.clean
    assert found.book.verified == WALLETS


async def test_what_the_mapping_drops_is_counted_on_each_side() -> None:
    world = filled()
    source(nickname=b'{"S":"zoe"}')(world, wallet(1))
    target(stray=b'{"S":"x"}')(world, wallet(2))
    found = await world.sweep()
    assert found.dropped == {Side.SOURCE: {"wallet_type": WALLETS, "nickname": 1}, Side.TARGET: {"stray": 1}}


async def test_a_digest_covers_every_row_whichever_way_it_was_compared() -> None:
    world = filled()
    target(points=b'{"N":"13.0"}')(world, wallet(1))  # equal, and only value by value
    found = await world.sweep()
    assert {side: found.digests[side].count for side in Side} == dict.fromkeys(Side, WALLETS)
    assert found.digests[Side.SOURCE].total == found.digests[Side.TARGET].total
    assert found.differing == []
