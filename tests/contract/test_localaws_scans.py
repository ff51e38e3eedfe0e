"""Scans: pages, segments, writes in between; and a page that costs the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, pairwise
from typing import Any

import ministack.services.dynamodb as dynamodb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localaws.fixture import Emulator
from localaws.patches import all as _all_patches  # noqa: F401  # registers them
from localaws.patches import registry
from localaws.patches.scans import Order

pytestmark = pytest.mark.embedded

Item = dict[str, Any]
_numbers = count()


def filled(emulator: Emulator, partitions: int, rows: int) -> str:
    """Create a table of some partitions with some rows each, every other one in the index `by-of`."""
    name = f"scanned-{next(_numbers)}"
    index = {"IndexName": "by-of", "KeySchema": [{"AttributeName": "of", "KeyType": "HASH"}]}
    emulator.dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk", "of")],
        GlobalSecondaryIndexes=[index | {"Projection": {"ProjectionType": "ALL"}}],
        BillingMode="PAY_PER_REQUEST",
    )
    keys = [(pk, sk) for pk in range(partitions) for sk in range(rows)]
    for start in range(0, len(keys), 25):
        puts = [{"PutRequest": {"Item": row(pk, sk)}} for pk, sk in keys[start : start + 25]]
        emulator.dynamodb.batch_write_item(RequestItems={name: puts})
    return name


def row(pk: int, sk: int) -> Item:
    return {"pk": {"S": f"p{pk}"}, "sk": {"S": f"s{sk:03d}"}} | ({"of": {"S": f"p{pk}"}} if sk % 2 else {})


def pages(emulator: Emulator, table: str, **rest: Any) -> list[list[Item]]:
    answers = emulator.dynamodb.get_paginator("scan").paginate(TableName=table, **rest)
    return [page["Items"] for page in answers]


def keys_of(found: list[list[Item]]) -> list[tuple[str, str]]:
    return sorted((item["pk"]["S"], item["sk"]["S"]) for page in found for item in page)


def test_pages_and_segments_hold_each_item_once(emulator: Emulator) -> None:
    table = filled(emulator, 12, 9)
    everything = sorted((f"p{pk}", f"s{sk:03d}") for pk in range(12) for sk in range(9))
    found = pages(emulator, table, PaginationConfig={"PageSize": 7})
    assert keys_of(found) == everything
    assert all(len(page) == 7 for page in found[:-1])
    segments = [pages(emulator, table, Segment=each, TotalSegments=5, Limit=4) for each in range(5)]
    assert keys_of([page for segment in segments for page in segment]) == everything
    assert sum(bool(keys_of(segment)) for segment in segments) > 1
    indexed = pages(emulator, table, IndexName="by-of", Limit=5)
    assert keys_of(indexed) == [key for key in everything if int(key[1][1:]) % 2]


def test_what_is_written_between_two_pages_is_seen_as_on_a_shelf(emulator: Emulator) -> None:
    table = filled(emulator, 10, 3)
    first = emulator.dynamodb.scan(TableName=table, Limit=15)
    seen = keys_of([first["Items"]])
    for pk in range(10):
        emulator.dynamodb.put_item(TableName=table, Item=row(pk, 7))
        emulator.dynamodb.delete_item(TableName=table, Key={name: row(pk, 0)[name] for name in ("pk", "sk")})
    rest = pages(emulator, table, ExclusiveStartKey=first["LastEvaluatedKey"])
    now = keys_of(pages(emulator, table))
    later = keys_of(rest)
    assert set(seen).isdisjoint(later)
    assert set(later) <= set(now)
    stable = {(f"p{pk}", f"s{sk:03d}") for pk in range(10) for sk in (1, 2)}
    assert stable <= {*seen, *later}


class Counted(dict[str, dict[str, Item]]):
    """The items of a table, which count how often one of a partition is looked up."""

    looks = 0

    def __getitem__(self, pk: str) -> dict[str, Item]:
        self.looks += 1
        return super().__getitem__(pk)


@pytest.fixture
def patches_here() -> Iterator[None]:
    """Take all patches, which a test puts on in this process, off again."""
    yield
    registry.install(registry.faults())
    dynamodb._tables.pop("counted", None)


@pytest.mark.usefixtures("patches_here")
@pytest.mark.parametrize("is_mended", [True, False])
def test_a_page_costs_the_page_and_not_the_table(is_mended: bool) -> None:
    registry.install([] if is_mended else ["scan_pages"])
    items = Counted({f"p{number}": {"__no_sort__": {"pk": {"S": f"p{number}"}}} for number in range(500)})
    table = {"TableName": "counted", "pk_name": "pk", "sk_name": None, "items": items, "ItemCount": 500}
    dynamodb._tables["counted"] = table | {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}]}
    status, _, body = dynamodb._scan({"TableName": "counted", "Limit": 10})
    for _ in range(3):
        start = json.loads(body)["LastEvaluatedKey"]
        items.looks = 0
        status, _, body = dynamodb._scan({"TableName": "counted", "Limit": 10, "ExclusiveStartKey": start})
        assert status == 200
        assert len(json.loads(body)["Items"]) == 10
        assert (items.looks <= 10) is is_mended


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.text(max_size=3), st.text(max_size=2))), st.integers(1, 7))
def test_the_order_holds_what_the_items_hold(writes: list[tuple[bool, str, str]], segments: int) -> None:
    items: dict[str, dict[str, Item]] = {}
    order = Order(items)
    for put, pk, sk in writes:
        if put and sk not in items.get(pk, {}):
            items.setdefault(pk, {})[sk] = {"key": (pk, sk)}
            order.add(pk, sk)
        elif not put and sk in items.get(pk, {}):
            del items[pk][sk]
            order.remove(pk, sk)
    bounds = [(each << 32) // segments for each in range(segments + 1)]
    found = [
        item["key"]
        for low, high in pairwise(bounds)
        for item in order.between((low, "", "") if low else (-1, "", ""), high)
    ]
    assert sorted(found) == sorted((pk, sk) for pk, by_sort in items.items() for sk in by_sort)
    assert found == [item["key"] for item in Order(items).between((-1, "", ""), 1 << 32)]
