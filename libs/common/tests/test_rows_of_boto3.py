"""Rows as boto3 gives them are images; what DynamoDB never gives is refused by attribute, with the cure."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import Binary, TypeDeserializer
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, json

from crossfade.core.mapping.rows import image_of_row
from crossfade.core.mapping.rules import prove_round_trip
from crossfade.core.values.canonical import same_value
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.image import of_number, of_string
from crossfade.core.values.shape import Direction
from engagement_migration import MAPPING

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9).map(str)
SCALARS = st.one_of(
    st.text(max_size=5).map(lambda text: {"S": text}),
    NUMBERS.map(lambda text: {"N": text}),
    st.binary(max_size=5).map(lambda data: {"B": data}),
    st.booleans().map(lambda flag: {"BOOL": flag}),
    st.just({"NULL": True}),
    st.lists(st.text(max_size=3), min_size=1, max_size=3, unique=True).map(lambda values: {"SS": values}),
    st.lists(NUMBERS, min_size=1, max_size=3, unique_by=Decimal).map(lambda values: {"NS": values}),
    st.lists(st.binary(max_size=3), min_size=1, max_size=3, unique=True).map(lambda values: {"BS": values}),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: {"L": values}),
        st.dictionaries(st.text(min_size=1, max_size=3), inner, max_size=3).map(lambda values: {"M": values}),
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.text(min_size=1, max_size=4), VALUES, max_size=4))
def test_a_resources_row_and_a_clients_row_are_one_image(attributes: dict[str, Any]) -> None:
    client = {"pk": {"S": "USER#1"}} | attributes
    resource = {name: TypeDeserializer().deserialize(value) for name, value in client.items()}
    one, other = image_of_row(client), image_of_row(resource)
    assert one.keys() == other.keys() == client.keys()
    assert all(same_value(one[name], other[name]) for name in client)


def test_what_is_raw_stays_as_it_is() -> None:
    raw = Raw(b'{"S" : "x"}')
    assert image_of_row({"pk": raw}) == {"pk": raw}


def test_a_map_that_looks_like_a_type_is_a_map_in_a_resources_row() -> None:
    image = image_of_row({"pk": "USER#1", "sizes": {"S": "small"}})
    assert json.decode(image["sizes"]) == {"M": {"S": {"S": "small"}}}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1.5, "price: 1.5 is a float, which DynamoDB doesn't have; write Decimal('1.5')"),
        ({"list": [Decimal(1), {"deep": 2.5}]}, "price.list[1].deep: 2.5 is a float"),
        (set(), "price: a set holds one or more"),
        ({"a", Decimal(1)}, "price: a set holds one or more"),
        ({1.5}, "price: a set holds one or more"),
        (Decimal("NaN"), "price: Decimal 'NaN' is not a DynamoDB number"),
        (datetime.date(2026, 1, 2), "price: date '2026-01-02' is not a DynamoDB value; give the row as boto3 reads it"),
        (Raw(b'{"N":"1"}'), "price: is raw, other values of the row are not; give the whole row in one form"),
    ],
)
def test_what_no_resource_gives_is_refused_by_attribute(value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        image_of_row({"pk": "USER#1", "price": value})
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"N": "twelve"}, "price: str 'twelve' is not a DynamoDB number"),
        ({"L": [{"S": "a"}, "b"]}, "price[1]: str 'b' has no type"),
        ({"M": {"cents": 5}}, "price.cents: int '5' has no type"),
        ({"SS": []}, "price: is an empty set"),
        ({"SS": [1]}, "price: a set of strings (SS) holds strings only"),
    ],
)
def test_what_no_client_gives_is_refused_by_attribute(value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        image_of_row({"pk": {"S": "USER#1"}, "price": value})
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "row",
    [
        {"pk": "USER#1", "sk": "POINTS#c", "balance": Decimal("12"), "wallet_type": "ENGAGEMENT", "badges": {"a"}},
        {
            "pk": {"S": "USER#1"},
            "sk": {"S": "POINTS#c"},
            "balance": {"N": "12"},
            "wallet_type": {"S": "ENGAGEMENT"},
            "badges": {"SS": ["a"]},
        },
        {
            "pk": of_string("USER#1"),
            "sk": of_string("POINTS#c"),
            "balance": of_number(12),
            "wallet_type": of_string("ENGAGEMENT"),
        },
    ],
    ids=["resource", "client", "raw"],
)
def test_the_round_trip_is_proven_on_rows_as_they_come(row: dict[str, Any]) -> None:
    assert prove_round_trip(MAPPING, Direction.FORWARD, row) == []


@pytest.mark.parametrize("data", [b"\x00\xff", bytearray(b"\x00\xff"), Binary(b"\x00\xff")])
def test_bytes_are_base64_however_they_are_wrapped(data: Any) -> None:
    assert json.decode(image_of_row({"pk": "x", "photo": data})["photo"]) == {"B": "AP8="}
    assert json.decode(image_of_row({"pk": "x", "photos": {Binary(b"\x00\xff")}})["photos"]) == {"BS": ["AP8="]}
