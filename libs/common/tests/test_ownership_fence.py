"""What a transfer does to the item it meets (design.md, section 3, rules 1 to 3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.core.protocol.keyed.fence import judge
from crossfade.core.protocol.keyed.item import GEN, MV, ROLE, Item, Role, build_image
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.values.image import Image
from crossfade.core.values.shape import Side, TableShape
from engagement_migration import MAPPING
from ownership_cases import KEY, SEED, comparable, content, items, live, stamped, tombstone, ulid

L, N = Side.SOURCE, Side.TARGET


def shape(side: Side) -> TableShape:
    return MAPPING.shape(side)


def carried(item: Item, side: Side = N) -> Image:
    """The image of an item, in the names of `side`, as a mapping hands it to a transfer."""
    image = build_image(item._replace(role=Role.STANDBY), shape(side), {})
    return {name: raw for name, raw in image.items() if name not in (MV, ROLE, GEN)}


def transfer(item: Item, side: Side = N, **more: object) -> Transfer:
    assert item.version is not None
    return replace(Transfer(KEY, item.version, carried(item, side)), **more)


NEWER = stamped(N, Role.ACTIVE, 7, SEED + 1, recent=frozenset({ulid(8)}), floor=ulid(0), event_version=SEED + 1)


def test_rule_1_a_newer_image_goes_onto_an_older_standby() -> None:
    judged = judge(transfer(NEWER), stamped(N, Role.STANDBY, 2), shape(N))
    assert judged.verdict is Verdict.APPLIED
    assert judged.item == NEWER._replace(role=Role.STANDBY, generation=2)


@pytest.mark.parametrize(("role", "generation"), [(Role.STANDBY, 0), (Role.STANDBY, 5)])
def test_rule_2_role_and_generation_stay_those_of_the_row(role: Role, generation: int) -> None:
    item = judge(transfer(NEWER), stamped(N, role, generation), shape(N)).item
    assert item is not None
    assert (item.role, item.generation) == (role, generation)


def test_rule_2_a_created_row_is_standby_with_generation_0_in_the_target_table_and_the_images_in_source() -> None:
    in_target = judge(transfer(NEWER), None, shape(N)).item
    in_source = judge(transfer(NEWER._replace(content=content(L)), L, first_standing=7), None, shape(L)).item
    assert in_target is not None
    assert in_source is not None
    assert (in_target.role, in_target.generation) == (Role.STANDBY, 0)
    assert (in_source.role, in_source.generation) == (Role.STANDBY, 7)


def test_rule_2_the_ids_the_floor_and_the_events_travel_along() -> None:
    item = judge(transfer(NEWER), stamped(N, Role.STANDBY, 2), shape(N)).item
    assert item is not None
    assert (item.recent, item.floor) == (NEWER.recent, NEWER.floor)
    assert (item.events, item.event_version) == (NEWER.events, NEWER.event_version)


def test_rule_2_what_the_mapping_does_not_name_stays_in_the_shared_table() -> None:
    theirs = stamped(L, Role.STANDBY, 2, content=content(L, 1, seen_by_nobody=b'{"S":"theirs"}'))
    item = judge(transfer(NEWER._replace(content=content(L, 6)), L), theirs, shape(L)).item
    assert item is not None
    assert item.content == content(L, 6, seen_by_nobody=b'{"S":"theirs"}')


def test_rule_1_an_attribute_that_the_newer_image_lacks_is_removed() -> None:
    standby = stamped(N, Role.STANDBY, 2, content=content(N, 5, tier=b'{"S":"gold"}'))
    item = judge(transfer(NEWER), standby, shape(N)).item
    assert item is not None
    assert item.value("tier") is None


@pytest.mark.parametrize("version", [SEED + 9, None])
def test_rule_1_an_active_item_takes_no_transfer_however_new(version: int | None) -> None:
    assert judge(transfer(NEWER), stamped(N, Role.ACTIVE, 1), shape(N)).verdict is Verdict.OWNED
    untouched = live(L, version=version)
    assert judge(transfer(NEWER, L), untouched, shape(L)) == (Verdict.OWNED, untouched)


def test_an_overtaken_image_is_stale() -> None:
    standby = stamped(N, Role.STANDBY, 2, SEED + 5)
    assert judge(transfer(NEWER), standby, shape(N)) == (Verdict.STALE, standby)


def test_rule_3_a_delete_that_was_overtaken_does_not_come_back_and_is_not_undone() -> None:
    gone = tombstone(Role.STANDBY, 2, SEED + 5)
    assert judge(transfer(NEWER), gone, shape(N)) == (Verdict.STALE, gone)
    buried = judge(transfer(tombstone(Role.ACTIVE, 9, SEED + 6)), stamped(N, Role.STANDBY, 2), shape(N)).item
    assert buried is not None
    assert (buried.deleted, buried.content, buried.role, buried.generation) == (True, (), Role.STANDBY, 2)


def test_the_same_image_again_is_a_duplicate_however_its_engine_spells_it() -> None:
    standby = stamped(N, Role.STANDBY, 2, content=content(N, 5, badges=b'{"SS": ["b", "a"]}', tier=b'{"S":"\\u00e9"}'))
    same = standby._replace(content=content(N, 5, badges=b'{"SS":["a","b"]}', tier='{"S":"é"}'.encode()))
    spelled = carried(same) | {"points": carried(live(N, balance=5))["points"]}
    assert judge(Transfer(KEY, SEED, spelled), standby, shape(N)).verdict is Verdict.DUPLICATE


def test_one_version_with_two_contents_is_a_conflict_and_never_resolved_by_guessing() -> None:
    standby = stamped(N, Role.STANDBY, 2, content=content(N, 6))
    assert judge(transfer(stamped(N, Role.ACTIVE, 1)), standby, shape(N)) == (Verdict.CONFLICT, standby)
    empty = tombstone(Role.STANDBY, 2)
    assert judge(transfer(stamped(N, Role.ACTIVE, 1)), empty, shape(N)).verdict is Verdict.CONFLICT


def test_a_repair_rewrites_the_same_version_and_never_an_older_one_over_a_newer() -> None:
    standby = stamped(N, Role.STANDBY, 2, content=content(N, 6))
    owner = stamped(N, Role.ACTIVE, 1)
    repaired = judge(transfer(owner, repair=True), standby, shape(N))
    assert repaired.verdict is Verdict.APPLIED
    assert repaired.item == owner._replace(role=Role.STANDBY, generation=2)
    assert judge(transfer(owner, repair=True), standby._replace(version=SEED + 1), shape(N)).verdict is Verdict.STALE


@pytest.mark.parametrize("item", [live(N), live(N, version=SEED), live(N, role=Role.STANDBY)])
def test_rule_6_a_row_that_was_neither_imported_nor_transferred_is_parked(item: Item) -> None:
    assert judge(transfer(NEWER), item, shape(N)) == (Verdict.UNVERSIONED, item)


def test_rule_6_an_imported_row_at_version_0_takes_the_first_live_update() -> None:
    assert judge(transfer(NEWER), live(N, version=0, role=Role.STANDBY), shape(N)).verdict is Verdict.APPLIED


def test_an_attribute_that_the_mapping_does_not_name_makes_no_conflict() -> None:
    standby = judge(transfer(NEWER), None, shape(N)).item
    assert standby is not None
    strange = standby._replace(content=(*standby.content, ("seen_by_nobody", b'{"S":"x"}')))
    assert judge(transfer(NEWER), strange, shape(N)) == (Verdict.DUPLICATE, strange)


histories = st.lists(items(N).map(lambda item: item or tombstone(Role.ACTIVE, 1)), min_size=1, max_size=5).map(
    lambda drawn: [item._replace(version=SEED + n, role=Role.ACTIVE, generation=3) for n, item in enumerate(drawn)]
)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Item], list[Item]]:
    """One key's history, and a delivery of it: every image at least once, in any order."""
    history = draw(histories)
    return history, draw(st.permutations(history + draw(st.lists(st.sampled_from(history), max_size=4))))


@given(deliveries())
def test_rule_1_any_delivery_in_any_order_ends_in_the_last_version(delivery: tuple[list[Item], list[Item]]) -> None:
    history, arriving = delivery
    standby: Item | None = None
    for item in arriving:
        judged = judge(transfer(item), standby, shape(N))
        assert judged.verdict in (Verdict.APPLIED, Verdict.STALE, Verdict.DUPLICATE)
        standby = judged.item
    expected = history[-1]._replace(role=Role.STANDBY, generation=0)
    # Attributes outside the closed list stay, whichever image brought them.
    named = [pair for pair in (standby.content if standby else ()) if pair[0] != "seen_by_nobody"]
    wanted = [pair for pair in expected.content if pair[0] != "seen_by_nobody"]
    assert standby is not None
    assert comparable(standby._replace(content=tuple(named))) == comparable(expected._replace(content=tuple(wanted)))
