"""States of change records: as the values say, at a fraction of the cost of reading them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from test_verifier_reading import FULL, KEY, source_row, spaced, target_row

from attribute_values import encoded, respelled, values
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.shape import Side
from crossfade_verifier.reading.judging import OwnRows
from crossfade_verifier.reading.pages import Reading
from crossfade_verifier.reading.states import State, StateReading, spelled
from crossfade_verifier.reading.values import form_of
from engagement_migration import MAPPING
from property_examples import examples

READING = Reading(MAPPING.declared)
STATES = {side: StateReading(READING, side) for side in Side}
ROWS = OwnRows()
CHANGES: dict[str, list[Any]] = {
    "tier": [None, {"S": "silver"}, {"S": 'a "quoted" \\ one'}, {"S": "é"}, {"N": "1"}],
    "badges": [None, {"SS": ["loyal", "early"]}, {"SS": ["early"]}],
    "preferences": [
        None,
        {"M": {"list": {"L": [{"S": "a"}, {"N": "1.0"}]}, "empty": {"S": ""}, "blob": {"B": "AAE="}}},
        {"M": {"list": {"L": [{"N": "1"}, {"S": "a"}]}}},
        {"M": {"set": {"NS": ["1", "2"]}}},
        {"M": {"set": {"NS": ["2.0", "1"]}}},
    ],
    "cf_mv": [None, {"N": "180657192960000002"}],
    "cf_role": [None, {"S": "A"}, {"S": "S"}],
    "cf_gen": [None, {"N": "2"}, {"N": "3"}],
    "cf_recent": [None, {"BS": ["AAECAwQFBgcICQoLDA0ODw=="]}, {"BS": ["AAECAwQFBgcICQoLDA0OEA=="]}],
    "cf_floor": [None, {"B": "AAECAwQFBgcICQoLDA0OEA=="}],
    "cf_events": [None, {"L": [{"M": {"kind": {"S": "spend"}}}]}],
    "cf_emv": [None, {"N": "7"}],
    "cf_deleted": [{"BOOL": True}, {"BOOL": False}],
    "cf_ttl": [None, {"N": "0"}, {"N": "4102444801"}],
    "nickname": [{"S": "unknown"}],
    "cf_unknown": [{"S": "unknown"}],
}
OF_SIDE: dict[Side, dict[str, list[Any]]] = {
    Side.SOURCE: {
        "balance": [None, {"N": "12.0"}, {"N": "13"}, {"N": "1.2E1"}],
        "created_at": [None, {"S": "2021-03-04T05:06:07.090Z"}, {"S": "no date"}],
        "wallet_type": [None, {"S": "OTHER"}],
        "expires_at": [None, {"N": "4102444800.0"}],
    },
    Side.TARGET: {
        "points": [None, {"N": "12.0"}, {"N": "13"}],
        "created_ms": [None, {"N": "1614834367090"}, {"N": "1614834367089.0"}],
    },
}
MADE = {Side.SOURCE: source_row, Side.TARGET: target_row}


def read(side: Side, row: dict[str, Any], spelling: Any) -> tuple[State, bytes]:
    image = {name: Raw(spelling(each)) for name, each in row.items()}
    seen = READING.row(side, image)
    state = STATES[side].state(KEY, image)
    assert (state.version, state.role, state.generation, state.deleted) == (
        seen.version,
        seen.role,
        seen.generation,
        seen.deleted,
    )
    return state, ROWS.digest_of(seen)


@given(st.data())
@settings(max_examples=examples(300), deadline=None)
def test_two_values_are_spelled_alike_exactly_when_they_have_one_form(data: st.DataObject) -> None:
    one = data.draw(values)
    other = respelled(one, data.draw) if data.draw(st.booleans()) else data.draw(values)
    first, second = encoded(one), data.draw(st.sampled_from([encoded, spaced]))(other)
    assert (spelled(first) == spelled(second)) == (form_of(first) == form_of(second))


@given(st.data())
@settings(max_examples=examples(400), deadline=None)
def test_states_of_both_sides_are_alike_exactly_when_their_rows_are_value_by_value(data: st.DataObject) -> None:
    found = []
    for side in Side:
        may = CHANGES | OF_SIDE[side]
        names = data.draw(st.lists(st.sampled_from(sorted(may)), max_size=2, unique=True))
        changed = {name: data.draw(st.sampled_from(may[name])) for name in names}
        row = {name: each for name, each in (MADE[side]() | changed).items() if each is not None}
        found.append(read(side, row, data.draw(st.sampled_from([encoded, spaced]))))
    (one, its_form), (other, other_form) = found
    assert (one.digest == other.digest) == (its_form == other_form)


def test_a_row_and_its_copy_have_one_state_and_another_keys_has_none_of_it() -> None:
    ours, theirs = ({name: Raw(encoded(each)) for name, each in MADE[side]().items()} for side in Side)
    one, other = STATES[Side.SOURCE].state(KEY, ours), STATES[Side.TARGET].state(KEY, theirs)
    assert one.digest == other.digest
    assert (one.role, other.role) == ("A", "S")
    assert STATES[Side.SOURCE].state(KEY + b" ", ours).digest != one.digest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cf_role", {"S": "X"}),
        ("cf_mv", {"S": "7"}),
        ("cf_mv", {"N": "1.5"}),
        ("cf_gen", {"N": "x"}),
        ("cf_recent", {"SS": ["a"]}),
        ("cf_floor", {"S": "a"}),
        ("cf_emv", {"B": "AA=="}),
        ("cf_deleted", {"S": "true"}),
        ("cf_deleted", {"N": "1"}),
    ],
)
def test_protocol_attributes_that_can_not_be_read_are_refused_as_the_reading_does(name: str, value: Any) -> None:
    image = {each: Raw(msgspec.json.encode(raw)) for each, raw in (FULL | {name: value}).items()}
    with pytest.raises(PoisonRecord) as wanted:
        READING.row(Side.SOURCE, image)
    with pytest.raises(PoisonRecord) as found:
        STATES[Side.SOURCE].state(KEY, image)
    assert str(found.value) == str(wanted.value)


def test_a_live_ttl_on_a_standby_is_a_state_of_its_own() -> None:
    ours, theirs = source_row(cf_role={"S": "S"}), target_row(cf_role={"S": "A"})
    (one, its_form), (other, other_form) = read(Side.SOURCE, ours, encoded), read(Side.TARGET, theirs, encoded)
    assert its_form != other_form
    assert one.digest != other.digest
