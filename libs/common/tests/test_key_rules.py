"""Keys that change, one to one: split, join, prefix, swap, and keys that are kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from crossfade.core.mapping.keying import CARRIED_KEY, KeyRule, joined, key_prefixes, prefixed, split, swapped
from crossfade.core.mapping.proving import prove_round_trip, why_not_one_to_one
from crossfade.core.mapping.rules import Keep, RuleMapping, Table
from crossfade.core.mapping.snapshot import Fate, LineMapper
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.protocol.plain.rows import DELETED, TOMBSTONE
from crossfade.core.values.errors import ConfigError, PoisonRecord
from crossfade.core.values.image import Image, of_string, string
from crossfade.core.values.keys import encode_key, key_image, key_of_strings
from crossfade.core.values.shape import Direction, Side

FORWARD, REVERSE = Direction.FORWARD, Direction.REVERSE
ONE, TWO = ("pk",), ("pk", "sk")


def of(source: tuple[str, ...], target: tuple[str, ...], keys: KeyRule | None, **more: Any) -> RuleMapping:
    chosen: dict[str, Any] = {"rules": (), "is_open": True, "protocol": PLAIN, "belongs": lambda _key: True} | more
    return RuleMapping("m", source=Table("old", source), target=Table("new", target), keys=keys, **chosen)


def shortened(image: Image) -> Image:
    """A key of one letter: two sources may meet in it, and nothing tells the way back."""
    return {"pk": of_string(string(image["pk"])[0])}


SPLIT = of(ONE, TWO, split("pk", TWO, "#"))
JOINED = of(TWO, ONE, joined(TWO, "pk", "#"))
PREFIXED = of(TWO, TWO, prefixed(TWO, TWO, "EU#"))
SWAPPED = of(TWO, TWO, swapped(TWO, TWO))
KEPT = of(ONE, ONE, KeyRule(shortened, kept=("old_pk",)))
texts = st.text(min_size=1, max_size=6)
bare = texts.filter(lambda text: "#" not in text)


@given(bare, texts, texts)
def test_a_key_that_changes_comes_back_and_so_does_its_row(one: str, two: str, value: str) -> None:
    row = {"a": of_string(value)}
    for mapping, key in (
        (SPLIT, key_of_strings(f"{one}#{two}")),
        (JOINED, key_of_strings(one, two)),
        (PREFIXED, key_of_strings(one, two)),
        (SWAPPED, key_of_strings(one, two)),
        (KEPT, key_of_strings(one)),
    ):
        image = key_image(key, mapping.shape(Side.SOURCE).key) | row
        there = mapping.other_key(FORWARD, key, None)
        carried = key_image(there, mapping.shape(Side.TARGET).key) | mapping.carry(FORWARD, image)
        assert mapping.other_key(REVERSE, there, carried) == key
        assert mapping.carry(REVERSE, carried) == row
        assert prove_round_trip(mapping, FORWARD, image) == []


def test_what_each_rule_makes_of_a_key() -> None:
    assert SPLIT.other_key(FORWARD, key_of_strings("U1#O2#x"), None) == key_of_strings("U1", "O2#x")
    assert JOINED.other_key(FORWARD, key_of_strings("U1", "O2"), None) == key_of_strings("U1#O2")
    assert PREFIXED.other_key(FORWARD, key_of_strings("U1", "O2"), None) == key_of_strings("EU#U1", "O2")
    assert SWAPPED.other_key(FORWARD, key_of_strings("U1", "O2"), None) == key_of_strings("O2", "U1")
    number = encode_key({"pk": Raw(b'{"S":"a"}'), "sk": Raw(b'{"N":"7"}')}, TWO)
    assert SWAPPED.other_key(REVERSE, SWAPPED.other_key(FORWARD, number, None), None) == number


@pytest.mark.parametrize(
    ("mapping", "key"),
    [
        (SPLIT, key_of_strings("no mark")),
        (SPLIT, key_of_strings("#nothing before it")),
        (JOINED, key_of_strings("a#b", "c")),  # would come back as "a" and "b#c"
        (of(ONE, ONE, KeyRule(shortened, reverse=lambda image: image)), key_of_strings("abc")),
        (of(ONE, ONE, KeyRule(lambda _image: {}, reverse=lambda image: image)), key_of_strings("abc")),
        (of(ONE, ONE, KeyRule(lambda image: {"pk": image["sk"]}, reverse=lambda image: image)), key_of_strings("abc")),
    ],
)
def test_a_key_that_would_not_come_back_is_refused_and_never_guessed(mapping: RuleMapping, key: Any) -> None:
    with pytest.raises(PoisonRecord):
        mapping.other_key(FORWARD, key, None)


def test_samples_that_meet_on_one_target_key_are_named_with_each_other() -> None:
    keys = [key_of_strings("abc"), key_of_strings("b"), key_of_strings("axx"), key_of_strings("abc")]
    assert why_not_one_to_one(KEPT, keys) == ['[{"S":"axx"}]: has the same key in the target as [{"S":"abc"}]']
    assert why_not_one_to_one(SPLIT, [key_of_strings("a#b"), key_of_strings("ab")])[0].startswith('[{"S":"ab"}]: ')
    assert why_not_one_to_one(SPLIT, [key_of_strings("a#b"), key_of_strings("a#c")]) == []


def test_a_row_of_the_target_keeps_its_sources_key_and_so_does_its_tombstone() -> None:
    key = {"pk": of_string("abc")}
    row = KEPT.carry(FORWARD, key | {"a": of_string("1")})
    gone = KEPT.carry(FORWARD, key | {DELETED: TOMBSTONE})
    assert row == {"a": of_string("1"), "old_pk": of_string("abc")}
    assert gone == {DELETED: TOMBSTONE, CARRIED_KEY: of_string('[{"S":"abc"}]')}


@pytest.mark.parametrize("extra", [{"a": of_string("1")}, {DELETED: TOMBSTONE}], ids=["put", "remove"])
@pytest.mark.parametrize("stands", [{"a": of_string("1")}, {DELETED: TOMBSTONE}], ids=["row", "tombstone"])
def test_a_second_source_key_on_a_row_that_keeps_another_is_told_apart(extra: Image, stands: Image) -> None:
    there = KEPT.carry(FORWARD, {"pk": of_string("abc")} | stands)
    same = KEPT.carry(FORWARD, {"pk": of_string("abc")} | extra)
    other = KEPT.carry(FORWARD, {"pk": of_string("axx")} | extra)
    assert KEPT.is_anothers(there, other)
    assert not KEPT.is_anothers(there, same)
    assert not SPLIT.is_anothers(there, other)


def test_a_row_that_the_application_made_has_no_way_back_unless_it_keeps_a_key_that_leads_to_it() -> None:
    key = key_of_strings("a")
    with pytest.raises(PoisonRecord, match="lacks old_pk"):
        KEPT.other_key(REVERSE, key, {"pk": of_string("a")})
    with pytest.raises(PoisonRecord, match="belongs to another row"):
        KEPT.other_key(REVERSE, key, {"pk": of_string("a"), "old_pk": of_string("bcd")})
    assert KEPT.other_key(REVERSE, key, {"old_pk": of_string("ayy")}) == key_of_strings("ayy")
    with pytest.raises(PoisonRecord, match="compute"):
        SPLIT.other_key(REVERSE, key_of_strings("a#b", "c"), None)


def test_two_sources_in_one_target_tell_their_rows_apart_by_the_target_key() -> None:
    assert PREFIXED.belongs_at(Side.TARGET, key_of_strings("EU#1", "x"))
    assert not PREFIXED.belongs_at(Side.TARGET, key_of_strings("US#1", "x"))
    ours = of(TWO, TWO, None, belongs=key_prefixes("U", ""))
    assert ours.belongs_at(Side.TARGET, key_of_strings("U1", "x"))
    assert not ours.belongs_at(Side.TARGET, key_of_strings("V1", "x"))


def test_a_line_of_the_export_gets_its_key_in_the_target() -> None:
    mapper = LineMapper(SPLIT)
    assert mapper.map_line(b'{"Item":{"pk":{"S":"U1#O2"},"a":{"N":"1"}}}').line == (
        b'{"Item":{"pk":{"S":"U1"},"sk":{"S":"O2"},"a":{"N":"1"}}}'
    )
    many = mapper.map_lines([b'{"Item":{"pk":{"S":"U1#O2"}}}', b'{"Item":{"pk":{"S":"U1"}}}'])
    assert many.text == b'{"Item":{"pk":{"S":"U1"},"sk":{"S":"O2"}}}\n'
    assert [each.fate for each in many.unmappable] == [Fate.UNMAPPABLE]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: of(TWO, TWO, swapped(TWO, TWO), protocol=KEYED), "plain protocol only"),
        (lambda: of(ONE, ONE, KeyRule(shortened)), "both or neither"),
        (lambda: of(ONE, ONE, KeyRule(shortened, reverse=shortened, kept=("old",))), "both or neither"),
        (lambda: of(TWO, ONE, KeyRule(shortened, kept=("old",))), "2 attributes, and 1"),
        (lambda: of(ONE, ONE, KeyRule(shortened, kept=("pk",))), "can't keep"),
        (lambda: of(ONE, ONE, KeyRule(shortened, kept=("a",)), rules=(Keep("a"),)), "two rules"),
        (lambda: of(ONE, TWO, None), "keys of 1 and 2"),
    ],
)
def test_a_rule_that_can_not_be_meant_is_refused_at_once(make: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()
