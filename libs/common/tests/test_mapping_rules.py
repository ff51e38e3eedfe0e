"""Section 3, rule 9: the rules of a mapping, in both directions."""

from typing import Any

import pytest
from msgspec import Raw

from crossfade.core.mapping.rules import (
    Compute,
    Constant,
    Keep,
    Rename,
    RuleMapping,
    Table,
    key_prefixes,
    prove_round_trip,
)
from crossfade.core.protocol.keyed.item import parse_item
from crossfade.core.values.errors import ConfigError, PoisonRecord
from crossfade.core.values.image import Image, decode_image, number, of_boolean, of_number, of_string
from crossfade.core.values.keys import encode_key, key_of_strings
from crossfade.core.values.shape import Direction, Side
from plain_protocol import Plain

FORWARD, REVERSE = Direction.FORWARD, Direction.REVERSE
SOURCE = Table("old", key=("pk", "sk"), ttl="expires")
NEW = Table("young", key=("viewer", "channel"))


def cents(source: Image) -> Image:
    return {"cents": of_number(number(source["euros"]) * 100)}


def euros(new: Image) -> Image:
    return {"euros": of_number(number(new["cents"]) // 100)}


RULES = (
    Rename(source="bal", target="points"),
    Keep("tier"),
    Constant(Side.SOURCE, "kind", of_string("P")),
    Constant(Side.TARGET, "schema", of_number(2)),
    Compute(source=("euros",), target=("cents",), forward=cents, reverse=euros),
)


def mapping(**changed: Any) -> RuleMapping:
    settings: dict[str, Any] = {
        "source": SOURCE,
        "target": NEW,
        "rules": RULES,
        "belongs": key_prefixes("USER#", "POINTS#"),
        "zero": {"bal": of_number(0)},
    }
    return RuleMapping("test", **settings | changed)


KEY = {"pk": of_string("USER#7"), "sk": of_string("POINTS#c")}
ROW = KEY | {"bal": of_number(12), "tier": of_string("gold"), "kind": of_string("P"), "euros": of_number(3)}
PROTOCOL = {"cf_mv": of_number(5), "cf_role": of_string("A"), "cf_gen": of_number(1)}
CARRIED = {"cf_emv": of_number(4), "cf_floor": of_string("floor")}


def test_rule_9_each_rule_does_what_it_says_in_both_directions() -> None:
    there = mapping().carry(FORWARD, ROW)
    assert there == {
        "points": of_number(12),
        "tier": of_string("gold"),
        "schema": of_number(2),
        "cents": of_number(300),
    }
    back = mapping().carry(REVERSE, there)
    assert back == {name: raw for name, raw in ROW.items() if name not in KEY}


def test_rule_9_kept_and_renamed_values_are_the_same_bytes() -> None:
    there = mapping().carry(FORWARD, ROW)
    assert there["points"] is ROW["bal"]
    assert there["tier"] is ROW["tier"]


def test_rule_2_version_role_and_generation_never_travel_and_the_carried_ones_do() -> None:
    for direction, row in ((FORWARD, ROW), (REVERSE, mapping().carry(FORWARD, ROW))):
        there = mapping().carry(direction, row | PROTOCOL | CARRIED)
        assert not there.keys() & PROTOCOL.keys()
        assert there.items() >= CARRIED.items()


def test_rule_9_an_attribute_unknown_to_a_closed_mapping_is_named_and_never_dropped() -> None:
    with pytest.raises(PoisonRecord, match="'nickname'"):
        mapping().carry(FORWARD, ROW | {"nickname": of_string("z")})
    with pytest.raises(PoisonRecord, match="'nickname'"):
        mapping().map_item(FORWARD, parse_item(ROW | {"nickname": of_string("z")}, mapping().shape(Side.SOURCE)))


def test_rule_9_an_open_mapping_keeps_what_it_does_not_know_both_ways() -> None:
    row = ROW | {"nickname": of_string("z")}
    there = mapping(is_open=True).carry(FORWARD, row)
    assert there["nickname"] is row["nickname"]
    assert prove_round_trip(mapping(is_open=True), FORWARD, row) == []
    assert mapping(is_open=True).shape(Side.TARGET).attributes is None


@pytest.mark.parametrize("name", ["points", "schema", "cents", "viewer"])
def test_an_open_mapping_refuses_an_attribute_that_would_overwrite_a_mapped_one(name: str) -> None:
    with pytest.raises(PoisonRecord, match=name):
        mapping(is_open=True).carry(FORWARD, ROW | {name: of_number(1)})


@pytest.mark.parametrize("is_open", [False, True])
def test_an_unknown_protocol_attribute_is_refused_even_by_an_open_mapping(is_open: bool) -> None:
    with pytest.raises(PoisonRecord, match="cf_new_thing"):
        mapping(is_open=is_open).carry(FORWARD, ROW | {"cf_new_thing": of_number(1)})


@pytest.mark.parametrize("changed", [{"kind": of_string("Q")}, {"kind": None}])
def test_a_constant_with_another_value_or_none_is_refused(changed: dict[str, Any]) -> None:
    row = {name: raw for name, raw in (ROW | changed).items() if raw is not None}
    with pytest.raises(PoisonRecord, match="kind"):
        mapping().carry(FORWARD, row)


def test_a_constant_in_another_spelling_is_the_constant() -> None:
    spelled = decode_image(b'{"kind": {"S": "P"}}')
    assert "kind" not in mapping().carry(FORWARD, ROW | spelled)


def test_the_ttl_value_travels_as_cf_ttl_wherever_it_stood() -> None:
    ttl = of_number(4_102_444_800)
    active = mapping().carry(FORWARD, ROW | {"expires": ttl})
    assert active["cf_ttl"] is ttl
    assert "expires" not in active
    assert mapping().carry(FORWARD, ROW | {"cf_ttl": ttl})["cf_ttl"] is ttl
    assert mapping().carry(REVERSE, active)["cf_ttl"] is ttl


def test_the_tables_own_ttl_wins_over_one_that_the_seal_left_behind() -> None:
    row = {"expires": of_number(1)} | ROW | {"cf_ttl": of_number(2)}
    assert mapping().carry(FORWARD, row)["cf_ttl"] == of_number(1)


@pytest.mark.parametrize("direction", [FORWARD, REVERSE])
def test_a_tombstone_carries_no_mapped_attribute(direction: Direction) -> None:
    row = (ROW if direction is FORWARD else mapping().carry(FORWARD, ROW)) | CARRIED | {"cf_deleted": of_boolean(True)}
    assert mapping().carry(direction, row) == CARRIED | {"cf_deleted": of_boolean(True)}
    assert mapping().map_item(direction, parse_item(KEY | {"cf_deleted": of_boolean(True)}, SOURCE_SHAPE)).content == ()


SOURCE_SHAPE = mapping().shape(Side.SOURCE)


@pytest.mark.parametrize("direction", [FORWARD, REVERSE])
def test_a_mapped_item_is_what_a_carried_image_parses_to(direction: Direction) -> None:
    source, target = mapping().shape(direction.origin), mapping().shape(direction.destination)
    row = ROW if direction is FORWARD else mapping().carry(FORWARD, ROW)
    row = row | PROTOCOL | {"cf_emv": of_number(4), "cf_ttl": of_number(9)}
    mapped = mapping().map_item(direction, parse_item(row, source))
    carried = parse_item(mapping().carry(direction, row) | PROTOCOL, target)
    assert mapped == carried


def test_a_computed_attribute_that_is_missing_stays_missing() -> None:
    without = {name: raw for name, raw in ROW.items() if name != "euros"}
    assert "cents" not in mapping().carry(FORWARD, without)


def test_what_can_not_be_computed_is_a_poison_record_that_names_its_source() -> None:
    with pytest.raises(PoisonRecord, match="can't compute from euros: expected an integer"):
        mapping().carry(FORWARD, ROW | {"euros": Raw(b'{"N":"1.5"}')})
    broken = Compute(source=("euros",), target=("cents",), forward=lambda _: 1 / 0, reverse=euros)  # type: ignore[arg-type,return-value]  # fails first
    with pytest.raises(PoisonRecord, match="euros"):
        mapping(rules=(*RULES[:4], broken)).carry(FORWARD, ROW)


def test_a_computation_may_only_write_what_it_declares() -> None:
    sly = Compute(source=("euros",), target=("cents",), forward=lambda _: {"points": of_number(0)}, reverse=euros)
    with pytest.raises(PoisonRecord, match="undeclared attributes: points"):
        mapping(rules=(*RULES[:4], sly)).carry(FORWARD, ROW)


def test_the_round_trip_names_what_a_wrong_inverse_changes() -> None:
    assert prove_round_trip(mapping(), FORWARD, ROW | PROTOCOL | CARRIED) == []
    lossy = Compute(source=("euros",), target=("cents",), forward=cents, reverse=lambda _: {"euros": of_number(0)})
    assert prove_round_trip(mapping(rules=(*RULES[:4], lossy)), FORWARD, ROW) == ["euros"]
    lost = Compute(source=("euros",), target=("cents",), forward=lambda _: {}, reverse=euros)
    assert prove_round_trip(mapping(rules=(*RULES[:4], lost)), FORWARD, ROW) == ["euros"]


def test_the_round_trip_is_proven_from_the_new_side_too() -> None:
    key = {"viewer": of_string("USER#7"), "channel": of_string("POINTS#c")}
    row = key | {"points": of_number(1), "schema": of_number(2), "cents": of_number(150)}
    assert prove_round_trip(mapping(), REVERSE, row) == ["cents"]
    assert prove_round_trip(mapping(), REVERSE, row | {"cents": of_number(200)}) == []


def test_a_key_encodes_the_same_under_renamed_attributes() -> None:
    there = {"viewer": ROW["pk"], "channel": ROW["sk"]}
    assert encode_key(ROW, SOURCE.key) == encode_key(there, mapping().shape(Side.TARGET).key)


def test_zero_items_map_onto_each_other_and_carry_the_constants() -> None:
    source, target = (dict(mapping().shape(side).zero) for side in (Side.SOURCE, Side.TARGET))
    assert source == {"bal": b'{"N":"0"}', "kind": b'{"S":"P"}'}
    assert target == {"points": b'{"N":"0"}', "schema": b'{"N":"2"}'}


def test_shapes_say_names_keys_and_attributes_of_each_side() -> None:
    source, target = mapping().shape(Side.SOURCE), mapping().shape(Side.TARGET)
    assert (source.table, source.key, source.own("bal"), source.ttl) == ("old", ("pk", "sk"), "bal", "expires")
    assert (target.table, target.key, target.own("bal"), target.ttl) == ("young", ("viewer", "channel"), "points", None)
    assert set(source.attributes or ()) == {"bal", "tier", "kind", "euros"}
    assert set(target.attributes or ()) == {"points", "tier", "schema", "cents"}
    assert mapping().with_tables(source="a", target="b").shape(Side.TARGET).table == "b"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"zero": {"nothing": of_number(0)}}, "nothing"),
        ({"rules": (*RULES, Keep("tier"))}, "tier"),
        ({"rules": (*RULES, Rename(source="other", target="points"))}, "points"),
        ({"rules": (*RULES, Keep("pk"))}, "pk"),
        ({"rules": (*RULES, Keep("expires"))}, "expires"),
        ({"rules": (*RULES, Keep("cf_x"))}, "cf_x"),
        ({"target": Table("young", key=("viewer",))}, "key"),
        ({"target": Table("young", key=("viewer", "channel"), ttl="expires")}, "expires"),
        ({"zero": {"stray": of_number(1)}}, "stray"),
    ],
)
def test_rules_that_contradict_each_other_are_refused_by_name(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        mapping(**changed)


def test_key_prefixes_look_at_each_key_attribute() -> None:
    belongs = key_prefixes("USER#", "POINTS#")
    assert belongs(key_of_strings("USER#7", "POINTS#c"))
    assert belongs(key_of_strings('USER#a"b\\', "POINTS#日本"))
    assert not belongs(key_of_strings("USER#7", "WALLET#EUR"))
    assert not belongs(key_of_strings("SHOP#7", "POINTS#c"))
    assert not belongs(key_of_strings("USER#7"))
    assert not belongs(key_of_strings("USER#7", "x", "POINTS#c"))
    assert not belongs(key_of_strings('USER#7"},{"S":"POINTS#c', "WALLET#EUR"))


@pytest.mark.parametrize("direction", [FORWARD, REVERSE])
@pytest.mark.parametrize("name", ["surprise", "cf_future"])
def test_a_tombstone_with_an_unknown_attribute_is_refused_and_names_it(direction: Direction, name: str) -> None:
    deleted = {"cf_mv": of_number(7), "cf_deleted": of_boolean(True), name: of_number(1)}
    with pytest.raises(PoisonRecord, match=name):
        mapping().carry(direction, deleted)
    if not name.startswith("cf_"):  # an item has no place for those
        with pytest.raises(PoisonRecord, match=name):
            mapping().map_item(direction, parse_item(deleted, mapping().shape(direction.origin)))


def test_what_travels_with_a_copy_is_the_mappings_protocols_to_spell() -> None:
    plain: Any = Plain(Side.SOURCE)
    rules = mapping(protocol=plain)
    assert rules.protocol is rules.with_tables(source="s", target="t").protocol is plain
    gone = rules.carry(FORWARD, KEY | {"cf_mv": of_number(5), "cf_deleted": of_boolean(True), "expires": of_number(9)})
    assert gone == {"cf_deleted": of_boolean(True), "cf_ttl": of_number(9)}
    for name in ("cf_role", "cf_floor"):  # the keyed protocol's, and no attribute of this one's rows
        with pytest.raises(PoisonRecord, match=f"protocol attribute '{name}' is unknown"):
            rules.carry(FORWARD, ROW | {name: of_string("S")})
