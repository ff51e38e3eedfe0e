"""A table of the plain protocol: one suite, on memory and on the embedded AWS, whose conditions are real."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.memory.plain_table import MemoryPlainTable
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.adapters.plain_table import DynamoPlainTable
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.values.image import Image, of_number, of_string
from crossfade.core.values.keys import Key, key_of_strings
from crossfade.core.values.shape import Side
from crossfade.ports.plain_table import PlainTable
from engine_tables import create_plain_table
from localaws import Endpoints
from plain_records import MAPPING, row

A, B = key_of_strings("CUSTOMER#7", "ORDER#1"), key_of_strings("CUSTOMER#8", "ORDER#1")
THEIRS = key_of_strings("SUPPLIER#1", "OFFER#1")


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.embedded)])
async def table(request: pytest.FixtureRequest) -> AsyncIterator[PlainTable]:
    shape = MAPPING.shape(Side.SOURCE)._replace(table=f"plain-{secrets.token_hex(5)}")
    if request.param == "memory":
        yield MemoryPlainTable(MemoryTable(shape), MAPPING.belongs)
        return
    endpoints: Endpoints = request.getfixturevalue("local_aws")
    config = WireConfig(region=endpoints.region, endpoint_url=endpoints.aws_endpoint)
    keys = StaticCredentials(Credentials(endpoints.access_key_id, endpoints.secret_access_key, None))
    wire = Wire("dynamodb", config, keys)
    await create_plain_table(wire, shape)
    yield DynamoPlainTable(DynamoDB(wire), shape, MAPPING.belongs)
    await wire.close()


async def there(table: PlainTable, key: Key = A) -> Image | None:
    found = (await table.read_many([key])).get(key)
    return None if found is None else {name: bytes(value) for name, value in found.items()}  # type: ignore[misc]


async def test_a_row_is_put_only_over_what_was_met(table: PlainTable) -> None:
    assert await table.put(row(1), met=None)
    assert not await table.put(row(2), met=None), "something stands there by now"
    assert await table.put(row(2, mv=10), met=row(1))
    assert not await table.put(row(3, mv=11), met=row(1)), "it had no fence when it was met"
    assert not await table.put(row(3, mv=11), met=row(1, mv=9))
    assert await table.put(row(3, mv=11), met=row(2, mv=10))
    assert not await table.put(row(4, B, mv=11), met=row(1, B)), "there was one, and it is gone"
    assert (await there(table) or {})["cf_mv"] == b'{"N":"11"}'
    assert await there(table, B) is None


async def test_a_tombstone_is_deleted_only_while_it_is_the_one_that_was_read(table: PlainTable) -> None:
    await table.put(row(deleted=True, mv=10), met=None)
    assert not await table.delete_tombstone(A, fence=9)
    assert await table.delete_tombstone(A, fence=10)
    assert await there(table) is None
    assert not await table.delete_tombstone(A, fence=10)
    await table.put(row(5, mv=10), met=None)
    assert not await table.delete_tombstone(A, fence=10), "it is a row"


async def test_attributes_are_taken_out_only_of_a_row_that_has_the_fence_and_none_is_created(table: PlainTable) -> None:
    await table.put(row(5, mv=10), met=None)
    assert not await table.strip(A, ["cf_mv"], fence=9)
    assert await table.strip(A, ["cf_mv"], fence=10)
    assert (await there(table) or {}).keys() == {"customer", "entry", "total"}
    assert not await table.strip(A, ["cf_mv"], fence=10)
    assert not await table.strip(B, ["cf_mv"], fence=10)
    assert await there(table, B) is None


async def test_a_row_is_deleted_only_while_each_attribute_is_as_it_was_met(table: PlainTable) -> None:
    await table.put(row(5, note=of_string("a")), met=None)
    assert not await table.delete(row(6, note=of_string("a")))
    assert not await table.delete(row(5, note=of_string("b")))
    assert await table.delete(row(5, note=of_string("a")))
    assert not await table.delete(row(5, note=of_string("a")))


async def test_a_scan_goes_on_where_it_was_and_shows_the_rows_that_belong(table: PlainTable) -> None:
    for key in (A, B, THEIRS):
        await table.put(row(1, key, size=of_number(3)), met=None)
    found, start, scanned = set(), None, 0
    while True:
        page = await table.scan_page(start=start, limit=1)
        found |= {key for key, _ in page.rows}
        scanned += page.scanned
        start = page.next
        if start is None:
            break
    assert found == {A, B}
    assert scanned == 3
