"""What makes the emulator fast gives the same answers as what it replaces; and costs what it promises."""

from __future__ import annotations

import base64
import copy
import re
from pathlib import Path
from typing import Any

import ministack.services._dynamodb_keywords as keywords
import ministack.services.dynamodb as dynamodb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localaws.patches import all as _all_patches  # noqa: F401  # registers them
from localaws.patches import registry, speed, statements, streams

numbers = st.one_of(
    st.integers(-(10**40), 10**40).map(str),
    st.sampled_from(
        ["0", "00", "007.50", "-1", "+1", "1E3", "1e-131", "", "x", "١", "1_0", " 1", "100", "1200", "9" * 39]
    ),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
)
binaries = st.binary(max_size=40).map(lambda raw: base64.b64encode(raw).decode())
scalars = st.one_of(
    st.text(max_size=8).map(lambda text: {"S": text}),
    numbers.map(lambda text: {"N": text}),
    binaries.map(lambda text: {"B": text}),
    st.booleans().map(lambda flag: {"BOOL": flag}),
    st.just({"NULL": True}),
    st.lists(binaries, max_size=4).map(lambda members: {"BS": members}),
    st.lists(st.text(max_size=3), max_size=4).map(lambda members: {"SS": members}),
    st.lists(numbers, max_size=4).map(lambda members: {"NS": members}),
    st.sampled_from([{}, {"S": 1}, {"N": 1}, {"BOOL": "yes"}, {"S": "a", "N": "1"}, {"Q": "?"}]),
)
attribute_values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda members: {"L": members}),
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(lambda members: {"M": members}),
    ),
    max_leaves=6,
)


def outcome(function: Any, *arguments: Any) -> Any:
    """Return what a call gives, or the type of what it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return type(error)


@given(attribute_values)
def test_a_fast_copy_equals_a_deep_one_and_shares_nothing_that_can_change(value: Any) -> None:
    made = speed.copied(value)
    assert made == value
    assert not containers(made) & containers(value)


def containers(value: Any) -> set[int]:
    """Return the identities of all that can change in a value."""
    if not isinstance(value, (dict, list)):
        return set()
    return {id(value)}.union(*map(containers, value.values() if isinstance(value, dict) else value))


@given(numbers)
@pytest.mark.parametrize(
    ("mend", "name"),
    [
        (speed.canonical_number, "_ddb_canonicalize_number"),
        (speed.no_error, "_number_error"),
        (speed.no_error, "_partiql_number_param_error"),
        (speed.number_size, "_number_size_bytes"),
    ],
)
def test_a_fast_number_function_agrees_with_its_original(mend: Any, name: str, text: str) -> None:
    original = getattr(dynamodb, name)
    assert outcome(mend(original), text) == outcome(original, text)


@given(attribute_values)
def test_a_fast_size_agrees_with_the_original_on_what_may_be_stored(value: Any) -> None:
    original = dynamodb._attribute_value_size
    if dynamodb._validate_attribute_value("x", copy.deepcopy(value)) is None:
        assert speed.fast_sizes(original)(value) == original(value)


@given(st.dictionaries(st.text(max_size=4), scalars, max_size=4))
def test_a_fast_item_size_agrees_with_the_original(item: dict[str, Any]) -> None:
    original = dynamodb._item_size_bytes
    assert outcome(speed.item_size(original), item) == outcome(original, item)


@given(attribute_values)
@pytest.mark.parametrize(
    ("mend", "name", "arguments"),
    [
        (speed.value_error, "_attribute_value_error", ()),
        (speed.partiql_parameter_error, "_partiql_parameter_error", ()),
        (speed.nesting_level, "_nesting_level", ()),
    ],
)
def test_a_fast_check_agrees_with_its_original(mend: Any, name: str, arguments: tuple[Any, ...], value: Any) -> None:
    original = getattr(dynamodb, name)
    assert outcome(mend(original), value, *arguments) == outcome(original, value, *arguments)


@given(attribute_values)
def test_a_fast_validation_accepts_and_normalises_like_the_original(value: Any) -> None:
    original = dynamodb._validate_attribute_value
    ours, theirs = copy.deepcopy(value), copy.deepcopy(value)
    assert outcome(speed.validate_value(original), "x", ours) == outcome(original, "x", theirs)
    assert ours == theirs


def test_an_update_that_could_be_too_large_is_counted_exactly() -> None:
    calls: list[str] = []

    def original(expression: str, *_rest: Any) -> int:
        calls.append(expression)
        return 1

    charge = speed.update_charge(original)
    assert charge("SET a = :a", {":a": {"S": "short"}}, {}, {}) <= dynamodb._DDB_ITEM_MAX_BYTES
    assert not calls
    assert charge("SET a = :a", {":a": {"S": "x" * 300_000}}, {}, {}) == 1
    assert calls


TEXTS = [
    'UPDATE "t" SET a=? SET b=if_not_exists(b,?) REMOVE c WHERE pk=? AND sk=? AND (v IS MISSING OR v<?)',
    'UPDATE "t" SET s=set_add(s,?) WHERE pk=? AND size(s)<? RETURNING ALL NEW *',
    "UPDATE \"t\" SET m={'a':?,'b':[?,1]} WHERE pk=?",
    "INSERT INTO \"t\" VALUE {'pk':?,'n':{'x':?},'fixed':1}",
    'DELETE FROM "t" WHERE pk=? AND v BETWEEN ? AND ?',
    'SELECT * FROM "t" WHERE pk=? AND x IN (?,?)',
    'SELECT * FROM "t" WHERE pk=? AND x IN ?',
    'UPDATE "t" SET s=<<?,?>> WHERE pk=?',
    "UPDATE \"t\" SET x=1 WHERE pk='a'",
    'UPDATE "t" SET WHERE pk=?',
    'UPDATE "t" SET x=? WHERE pk=? #',
]
kinds = [{"S": "a"}, {"N": "1"}, {"B": "AA=="}, {"SS": ["a"]}, {"L": [{"N": "2"}]}, {"BOOL": True}]
parameters = st.lists(st.sampled_from(kinds), max_size=6)


@given(st.sampled_from(TEXTS), parameters)
def test_a_remembered_statement_is_what_the_parser_makes_of_it(text: str, given_: list[dict[str, Any]]) -> None:
    original = keywords.parse_statement
    remembered = statements.remembered_statement(original)
    for _ in range(2):
        assert _plain(outcome(remembered, text, given_)) == _plain(outcome(original, text, given_))


def _plain(parsed: Any) -> Any:
    """Leave out the token that an INSERT keeps of its text: where it stands does not matter."""
    return {k: v for k, v in parsed.items() if k != "item_token"} if isinstance(parsed, dict) else parsed


def test_a_remembered_statement_is_parsed_once() -> None:
    parsed: list[str] = []

    def original(text: str, given_: list[Any]) -> Any:
        parsed.append(text)
        return keywords.parse_statement(text, given_)

    remembered = statements.remembered_statement(original)
    for value in range(5):
        answer = remembered(TEXTS[1], [{"SS": ["a"]}, {"S": "k"}, {"N": str(value)}])
        assert answer["where"][2][3] == ("lit", {"N": str(value)}, "param")
    assert len(parsed) == 1


def test_expired_records_are_looked_for_once_in_a_while_not_in_every_call() -> None:
    looks: list[str] = []
    expire = streams.expire_records(lambda stream: looks.append(stream["StreamARN"]))
    for _ in range(100):
        expire({"StreamARN": "arn of a stream of its own"})
    assert looks == ["arn of a stream of its own"]


def test_a_patch_that_does_not_exist_can_not_be_left_out() -> None:
    with pytest.raises(registry.UnknownPatch, match="no_such_patch"):
        registry.install(["no_such_patch"])


def test_patches_go_on_in_order_and_off_again() -> None:
    class Owner:
        value = "bare"

    before = list(registry._patches)
    registry.patch("inner", Owner, "value")(lambda found: f"inner({found})")
    registry.patch("outer", Owner, "value")(lambda found: f"outer({found})")
    try:
        others = [fault for fault in registry.faults() if fault not in ("inner", "outer")]
        registry.install(others)
        assert Owner.value == "outer(inner(bare))"
        registry.install([*others, "inner"])
        assert Owner.value == "outer(bare)"
        registry.install([*others, "inner", "outer"])
        assert Owner.value == "bare"
    finally:
        registry._patches[:] = before


def test_every_fault_has_a_test_that_names_it() -> None:
    contract = Path(__file__).parents[3] / "tests/contract"
    named: set[str] = set()
    for file in contract.glob("test_localaws_*.py"):
        for names in re.findall(r"@mends\(([^)]*)\)", file.read_text()):
            named |= set(re.findall(r'"(\w+)"', names))
    quicker = {
        each.fault for each in registry._patches if each.mend.__module__ in (speed.__name__, statements.__name__)
    }
    held_to_their_originals_here = quicker | {"record_expiry", "scan_pages"}  # the last in test_localaws_scans.py
    assert set(registry.faults()) - held_to_their_originals_here <= named
    assert named <= set(registry.faults())
