"""The verifier's own reading: its form of values, its digests, and pairs that their bytes prove equal."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from attribute_values import digits, encoded, respelled, values
from crossfade.core.ownership.ramp import ramp_point
from crossfade.core.protocol.keyed.item import parse_item
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.values.canonical import same_value
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import encode_key, key_of_strings
from crossfade.core.values.numbers import normal_number
from crossfade.core.values.shape import Side
from crossfade_verifier.reading.digests import BucketDigests, SideDigests
from crossfade_verifier.reading.judging import OwnRows
from crossfade_verifier.reading.pages import Reading, row_digest
from crossfade_verifier.reading.rows import Seen
from crossfade_verifier.reading.values import form_of, number_of
from engagement_migration import MAPPING
from reading_pairs import compared as pairs_compared
from verifier_world import wallet

KEY, OTHER = wallet(7), wallet(8)
READING = Reading(MAPPING.declared)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_both_canonical_forms_agree_on_what_is_the_same_value(data: st.DataObject) -> None:
    one = data.draw(values)
    other = respelled(one, data.draw) if data.draw(st.booleans()) else data.draw(values)
    assert (form_of(encoded(one)) == form_of(encoded(other))) == same_value(encoded(one), encoded(other))


@given(
    digits | st.sampled_from(["-0", "1e400", "0.00", "1" * 38, "9" * 39, "1" + "0" * 60, "1E-130", "", "-", "1.2.3"])
)
def test_both_read_a_number_as_the_same_or_as_none(text: str) -> None:
    try:
        wanted = normal_number(text)
    except PoisonRecord:
        with pytest.raises(PoisonRecord):
            number_of(text)
        return
    assert number_of(text).plain() == wanted


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'{"N":"x"}',
        b'{"N":7}',
        b'{"S":7}',
        b'{"BOOL":"true"}',
        b'{"Q":"1"}',
        b'{"B":"%%"}',
        b'{"S":"a","N":"1"}',
        b'{"M":[]}',
        b'{"SS":[1]}',
        b"{}",
    ],
)
def test_what_is_no_attribute_value_has_no_form(raw: bytes) -> None:
    with pytest.raises(PoisonRecord):
        form_of(raw)


# ---- rows ---------------------------------------------------------------------------------------

FULL = {
    "pk": {"S": "USER#7"},
    "sk": {"S": "POINTS#c"},
    "wallet_type": {"S": "ENGAGEMENT"},
    "balance": {"N": "12"},
    "tier": {"S": "gold"},
    "badges": {"SS": ["early", "loyal"]},
    "preferences": {"M": {"list": {"L": [{"S": "a"}, {"N": "1"}]}, "blob": {"B": "AAE="}, "empty": {"S": ""}}},
    "created_at": {"S": "2021-03-04T05:06:07.089Z"},
    "expires_at": {"N": "4102444800"},
    "cf_mv": {"N": "180657192960000001"},
    "cf_role": {"S": "A"},
    "cf_gen": {"N": "2"},
    "cf_recent": {"BS": ["AAECAwQFBgcICQoLDA0ODw=="]},
    "cf_floor": {"B": "AAECAwQFBgcICQoLDA0ODw=="},
    "cf_events": {"L": [{"M": {"kind": {"S": "earn"}}}]},
    "cf_emv": {"N": "180657192960000001"},
}


def source_row(**changed: Any) -> dict[str, Any]:
    return {name: each for name, each in (FULL | changed).items() if each is not None}


def target_row(**changed: Any) -> dict[str, Any]:
    row = dict(FULL) | {"cf_role": {"S": "S"}, "cf_gen": {"N": "0"}, "created_ms": {"N": "1614834367089"}}
    row["points"], row["cf_ttl"] = row.pop("balance"), row.pop("expires_at")
    del row["wallet_type"], row["created_at"]
    return {name: each for name, each in (row | changed).items() if each is not None}


def spaced(body: Any) -> bytes:
    """As an engine that writes spaces, in another order of the attributes."""
    return msgspec.json.format(msgspec.json.encode(body, order="sorted"), indent=0).replace(b": ", b":  ")


def compared(source: list[Any], target: list[Any], encode: Callable[[Any], bytes] = encoded) -> tuple[int, int]:
    """Compare a page with what the target table holds of its keys; return how many are proven, and how many left."""
    page = READING.page(Side.SOURCE, encode({"Items": source, "ScannedCount": len(source)}))
    assert page.scanned == len(source)
    found = pairs_compared(READING, page, encode({"Responses": {"t": target}, "UnprocessedKeys": {}}))
    return len(found.proven), len(found.left)


@pytest.mark.parametrize("encode", [encoded, spaced], ids=["close", "spaced"])
def test_a_whole_row_and_its_copy_are_proven_equal_by_their_bytes(encode: Callable[[Any], bytes]) -> None:
    assert compared([source_row()], [target_row()], encode) == (1, 0)
    nothing_yet = {name: None for name in FULL if name.startswith("cf_")}
    imported = {**nothing_yet, "cf_mv": {"N": "0"}, "cf_role": {"S": "S"}, "cf_ttl": FULL["expires_at"]}
    assert compared([source_row(**nothing_yet)], [target_row(**imported)], encode) == (1, 0)


OTHERWISE = {
    "points": {"N": "12.0"},
    "tier": {"S": "tin"},
    "badges": {"SS": ["loyal", "early"]},
    "preferences": {"M": {}},
    "created_ms": {"N": "1614834367090"},
    "cf_ttl": {"N": "4102444801"},
    "cf_mv": {"N": "180657192960000002"},
    "cf_role": {"S": "A"},
    "cf_gen": {"N": "9"},
    "cf_recent": {"BS": ["AQECAwQFBgcICQoLDA0ODw=="]},
    "cf_floor": None,
    "cf_events": None,
    "cf_emv": {"N": "7"},
    "cf_deleted": {"BOOL": True},
    "stray": {"S": "x"},
    "created_at": {"S": "2021-03-04T05:06:07.089Z"},
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_bytes_that_differ_prove_nothing(name: str) -> None:
    assert compared([source_row()], [target_row(**{name: OTHERWISE[name]})]) == (0, 1)


def test_a_wrong_or_missing_constant_proves_nothing_and_each_spelling_of_the_right_one_does() -> None:
    assert compared([source_row(wallet_type=None)], [target_row()]) == (0, 1)
    assert compared([source_row(wallet_type={"S": "engagement"})], [target_row()]) == (0, 1)
    assert compared([source_row(wallet_type={"S": "ENGAGEMENT"})], [target_row()]) == (1, 0)
    body = encoded({"Items": [source_row()], "ScannedCount": 1}).replace(b'"ENGAGEMENT"', rb'"\u0045NGAGEMENT"')
    page = READING.page(Side.SOURCE, body)
    answer = encoded({"Responses": {"t": [target_row()]}, "UnprocessedKeys": {}})
    assert len(pairs_compared(READING, page, answer).proven) == 1


@pytest.mark.parametrize(
    ("role", "complete", "proven"), [("S", False, 1), ("S", True, 0), (None, False, 1), (None, True, 1)]
)
def test_an_absent_role_is_read_as_the_flag_document_says(role: str | None, complete: bool, proven: int) -> None:
    nothing = {"cf_role": None, "cf_gen": None, "cf_ttl": None, "expires_at": None}
    target = target_row(**(nothing | ({"cf_role": {"S": role}} if role else {})))
    page = READING.page(Side.SOURCE, encoded({"Items": [source_row(**nothing)], "ScannedCount": 1}))
    answer = encoded({"Responses": {"t": [target]}, "UnprocessedKeys": {}})
    assert len(pairs_compared(READING, page, answer, OwnRows(complete)).proven) == proven


def test_rows_of_others_on_a_page_cost_only_themselves_the_short_way() -> None:
    strange = [{"pk": {"S": "USER#7"}, "sk": {"S": "WALLET#EUR"}, "cents": {"N": "1"}}]
    assert compared([*strange, source_row()], [target_row()]) == (1, 0)


def test_an_open_mapping_learns_the_names_of_its_rows_and_a_name_of_the_other_side_proves_nothing() -> None:
    opened = Reading(MAPPING.declared._replace(is_open=True))
    extra = {"nickname": {"S": "zoe"}, "level": {"N": "7"}}
    pages = [(source_row(**extra), target_row(**extra)), (source_row(level=extra["level"], newer=FULL["tier"]), None)]
    for source, target in pages:
        answer = encoded({"Items": [source], "ScannedCount": 1})
        copy = target or target_row(level=extra["level"], newer=FULL["tier"])
        there = encoded({"Responses": {"t": [copy]}, "UnprocessedKeys": {}})
        page = opened.page(Side.SOURCE, answer)
        found = pairs_compared(opened, page, there)
        assert (len(found.proven), found.left) == (1, [])
        other = encoded({"Responses": {"t": [copy | {"balance": {"N": "1"}}]}, "UnprocessedKeys": {}})
        [(_, _, left)] = pairs_compared(opened, page, other).left
        assert left is not None
        assert "balance" in left.trouble


@pytest.mark.parametrize("more", [{}, {"stray": {"S": "x"}}], ids=["typed", "an image"])
def test_a_page_tells_what_it_has_cost_if_the_store_says_so(more: dict[str, Any]) -> None:
    answer = {"Items": [source_row(**more)], "ScannedCount": 1}
    assert READING.page(Side.SOURCE, encoded(answer)).read_units is None
    answer["ConsumedCapacity"] = {"TableName": "wallet", "CapacityUnits": 12.5}
    assert READING.page(Side.SOURCE, encoded(answer)).read_units == 12.5


def test_rows_that_were_read_before_a_name_was_learned_are_compared_value_by_value() -> None:
    opened = Reading(MAPPING.declared._replace(is_open=True))
    early = opened.page(Side.SOURCE, encoded({"Items": [source_row()], "ScannedCount": 1}))
    there = encoded({"Responses": {"t": [target_row(nickname=FULL["tier"])]}, "UnprocessedKeys": {}})
    [(_, source, target)] = pairs_compared(opened, early, there).left
    assert source is not None
    assert target is not None
    assert source.value("tier") == target.value("tier") == Raw(b'{"S":"gold"}')
    assert not OwnRows().is_same_state(source, target)


@pytest.mark.parametrize("more", [{}, {"stray": {"S": "x"}}], ids=["typed", "an image"])
def test_a_row_on_the_follow_list_keeps_no_page_in_memory(more: dict[str, Any]) -> None:
    answer = encoded({"Items": [source_row(**more)], "ScannedCount": 1})
    before = sys.getrefcount(answer)
    page = READING.page(Side.SOURCE, answer)
    [(_key, row)] = page.rows
    seen = READING.seen(Side.SOURCE, row).kept()
    assert sys.getrefcount(answer) > before
    del page, row
    gc.collect()
    assert sys.getrefcount(answer) == before
    assert seen.version


def test_a_live_ttl_on_a_standby_of_the_source_table_proves_nothing_and_is_no_equal_state() -> None:
    roles = {"cf_role": {"S": "S"}}, {"cf_role": {"S": "A"}, "cf_gen": {"N": "2"}}
    moved = source_row(**roles[0], cf_ttl=FULL["expires_at"], expires_at=None)
    assert compared([moved], [target_row(**roles[1])]) == (1, 0)
    live = source_row(**roles[0])
    assert compared([live], [target_row(**roles[1])]) == (0, 1)
    one, other = read(Side.TARGET, target_row(**roles[1])), read(Side.SOURCE, live)
    assert not OwnRows().is_same_state(one, other)
    assert OwnRows().is_same_state(one, read(Side.SOURCE, moved))


def read(side: Side, row: dict[str, Any]) -> Seen:
    return READING.row(side, {name: Raw(encoded(each)) for name, each in row.items()})


@given(
    st.dictionaries(st.sampled_from(["balance", "tier", "badges", "preferences"]), values, max_size=3),
    st.sampled_from([None, {"S": "A"}, {"S": "S"}]),
    st.integers(0, 9),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_both_readings_of_a_row_agree_in_what_the_protocol_says_of_it(
    changed: dict[str, Any], role: Any, generation: int, deleted: bool
) -> None:
    row = source_row(**changed, cf_role=role, cf_gen={"N": str(generation)}, cf_deleted={"BOOL": deleted})
    image = {name: Raw(encoded(each)) for name, each in row.items()}
    mine, theirs = READING.row(Side.SOURCE, image), parse_item(image, MAPPING.shape(Side.SOURCE))
    for complete in (False, True):
        own, core = OwnRows(complete), KEYED.rows(complete=complete)
        assert own.owns(mine, Side.SOURCE) == core.owns(theirs, Side.SOURCE)
        assert own.owner_of(mine, None) == core.owner_of(theirs, None)
        assert own.is_held_out(mine) == core.is_held_out(theirs)
        assert own.is_live(mine) == core.is_live(theirs)
        assert (own.version_of(mine), own.standing_of(mine)) == (core.version_of(theirs), core.standing_of(theirs))
    assert (mine.ids, mine.floor, mine.event_version, mine.ttl) == (
        theirs.recent,
        theirs.floor,
        theirs.event_version,
        theirs.ttl,
    )
    key = encode_key(image, ("pk", "sk"))
    [(found, _)] = READING.page(Side.SOURCE, encoded({"Items": [row], "ScannedCount": 1})).rows
    assert found == key


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cf_role", {"S": "X"}),
        ("cf_mv", {"N": "1.5"}),
        ("cf_gen", {"S": "2"}),
        ("cf_recent", {"SS": ["a"]}),
        ("cf_deleted", {"S": "true"}),
    ],
)
def test_a_protocol_attribute_that_can_not_be_read_names_itself(name: str, value: Any) -> None:
    with pytest.raises(PoisonRecord, match=name):
        read(Side.SOURCE, source_row(**{name: value}))


# ---- digests ------------------------------------------------------------------------------------


def digest(key: bytes, **changed: Any) -> int:
    return row_digest(key, read(Side.TARGET, target_row(**changed)))


def test_a_digest_is_free_of_spelling_and_side_and_tied_to_its_key() -> None:
    assert digest(KEY) == digest(KEY, points={"N": "12.0"}) == row_digest(KEY, read(Side.SOURCE, source_row()))
    assert len({digest(KEY), digest(OTHER), digest(KEY, points={"N": "13"}), digest(KEY, tier=None)}) == 4


def test_sums_do_not_depend_on_order_and_two_swapped_rows_do_not_add_up_the_same() -> None:
    rows = [(KEY, digest(KEY)), (OTHER, digest(OTHER, tier=None))]
    one, other, swapped = BucketDigests(1), BucketDigests(1), BucketDigests(1)
    one.count(rows)
    other.count(reversed(rows))
    swapped.count([(KEY, digest(KEY, tier=None)), (OTHER, digest(OTHER))])
    assert list(one.buckets()) == list(other.buckets()) != list(swapped.buckets())


def test_an_equal_pair_of_wrong_rows_does_not_cancel_as_it_would_under_xor() -> None:
    once, thrice = BucketDigests(1), BucketDigests(1)
    once.count([(KEY, digest(KEY))])
    thrice.count([(KEY, digest(KEY))] * 3)
    assert [total for total, _ in once.buckets()] != [total for total, _ in thrice.buckets()]


def test_only_the_bucket_of_a_wrong_row_differs_and_what_is_proven_equal_is_added_to_no_side() -> None:
    proven = BucketDigests(64)
    ours, theirs = (SideDigests(proven, 64) for _ in Side)
    proven.count([(KEY, 5)])
    assert (ours.count, ours.total, ours.differing(theirs)) == (1, 5, [])
    for number in range(200):
        key = key_of_strings(f"USER#{number}", "POINTS#c")
        ours.valued.count([(key, number)])
        theirs.valued.count([(key, number if number != 117 else 118)])
    alone = BucketDigests(64)
    alone.count([(key_of_strings("USER#117", "POINTS#c"), 1)])
    assert ours.differing(theirs) == [number for number, (_, count) in enumerate(alone.buckets()) if count]


def test_ramp_and_buckets_are_independent_of_each_other() -> None:
    """Else the first percent of the ramp would be a few buckets."""
    keys = [key_of_strings(f"USER#{number}", "POINTS#c") for number in range(2000)]
    buckets = BucketDigests(16)
    buckets.count((key, 1) for key in keys if ramp_point(key) < 1000)
    assert all(count for _, count in buckets.buckets())
