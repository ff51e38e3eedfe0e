"""What of a stray's change still makes sense at its key's owner (ADR 0016)."""

from __future__ import annotations

import pytest

from crossfade.core.protocol.keyed.item import Item
from crossfade.core.replication.merge import Difference, Merged, differences, merge
from crossfade.core.values.shape import Side
from engagement_migration import MAPPING
from ownership_cases import number

SHAPE = MAPPING.shape(Side.TARGET)
GOLD, IRON, TIN = b'{"S":"gold"}', b'{"S":"iron"}', b'{"S":"tin"}'


def item(points: int | None = None, tier: bytes | None = None, **more: bytes) -> Item:
    fields = dict(more)
    if points is not None:
        fields["points"] = number(points)
    if tier is not None:
        fields["tier"] = tier
    return Item(content=tuple(sorted(fields.items())))


def merged(old: Item | None, new: Item, owner: Item) -> Merged | list[Difference]:
    return merge(differences(old, new, owner, SHAPE))


@pytest.mark.parametrize(
    ("old", "new", "owner", "expected"),
    [
        (5, 7, 5, 7),
        (5, 7, 100, 102),
        (7, 5, 100, 98),
        (None, 5, None, 5),
        (None, 5, 100, 105),
        (10**37, 10**37 + 3, 1, 4),
    ],
)
def test_a_number_moves_by_the_strays_difference(old: int | None, new: int, owner: int | None, expected: int) -> None:
    assert merged(item(old), item(new), item(owner)) == Merged((("points", number(expected)),), ())


def test_fractions_are_exact() -> None:
    old, new, owner = (Item(content=(("points", b'{"N":"%b"}' % text),)) for text in (b"0.1", b"0.30", b"1e2"))
    assert merged(old, new, owner) == Merged((("points", b'{"N":"100.2"}'),), ())


@pytest.mark.parametrize(
    ("old", "new", "owner"),
    [
        (9, 2, 5),  # the balance would be negative
        (5, 7, None),  # the owner lost it
        (0, 1, 10**38),  # more digits than the store keeps
    ],
)
def test_a_number_that_can_not_be_moved_needs_a_person(old: int, new: int, owner: int | None) -> None:
    answer = merged(item(old), item(new), item(owner))
    assert isinstance(answer, list)
    assert [(each.name, each.old, each.new) for each in answer] == [("points", number(old), number(new))]


def test_another_attribute_is_taken_over_only_where_the_owner_still_has_what_the_stray_replaced() -> None:
    assert merged(item(tier=GOLD), item(tier=IRON), item(tier=GOLD)) == Merged((("tier", IRON),), ())
    assert merged(item(), item(tier=IRON), item()) == Merged((("tier", IRON),), ())
    assert merged(item(tier=GOLD), item(), item(tier=GOLD)) == Merged((), ("tier",))
    assert merged(item(tier=GOLD), item(tier=IRON), item(tier=IRON)) == Merged((), ())
    clash = Difference("tier", GOLD, IRON, TIN)
    assert merged(item(tier=GOLD), item(tier=IRON), item(tier=TIN)) == [clash]
    assert merged(item(tier=GOLD), item(), item(tier=TIN)) == [clash._replace(new=None)]


def test_one_attribute_that_does_not_fit_keeps_all_others_from_being_written() -> None:
    answer = merged(item(5, GOLD), item(7, IRON), item(5, TIN))
    assert answer == [Difference("tier", GOLD, IRON, TIN)]


def test_what_the_stray_left_alone_is_none_of_its_business() -> None:
    assert merged(item(5, GOLD), item(7, GOLD), item(50, TIN)) == Merged((("points", number(52)),), ())


def test_a_ttl_is_never_merged() -> None:
    old, new = item(5)._replace(ttl=number(10)), item(5)._replace(ttl=number(20))
    assert [each.name for each in differences(old, new, old, SHAPE)] == ["(TTL)"]
    assert isinstance(merged(old, new, old), list)
    assert merged(old, new, new) == Merged((), ())


def test_attributes_outside_a_closed_mapping_are_another_tenants() -> None:
    other = {"payments_note": b'{"S":"x"}'}
    assert merged(item(5), item(5, **other), item(5)) == Merged((), ())


def test_spelling_is_no_difference() -> None:
    assert differences(item(tier=b'{"S": "gold"}'), item(tier=GOLD), item(), SHAPE) == []
