"""Rows as they stand, read and inserted: the same on memory and on an engine, in a table with a local index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from crossfade.adapters.memory.raw_rows import MemoryRows
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.adapters.raw_rows import DynamoRows
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image, decode_image, encode_image
from crossfade.core.values.shape import Side, TableShape
from crossfade.ports.raw_rows import RawRows
from crossfade.runtime.clients import Clients
from crossfade.runtime.settings import ServiceSettings
from localaws.endpoints import Endpoints

TABLE, KEY = "raw-rows", ("pk", "n")
LOCAL_INDEX: dict[str, Any] = {
    "IndexName": "by-day",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "day", "KeyType": "RANGE"}],
    "Projection": {"ProjectionType": "ALL"},
}


async def on_engine(local_aws: Endpoints) -> AsyncIterator[RawRows]:
    settings = ServiceSettings(aws_endpoint_url=local_aws.aws_endpoint)
    async with Clients(settings) as clients:
        client = await clients.lazy("dynamodb").get()
        await client.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "n", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": kind} for name, kind in (("pk", "S"), ("n", "N"), ("day", "S"))
            ],
            LocalSecondaryIndexes=[LOCAL_INDEX],
        )
        yield DynamoRows(clients.databases()[Side.TARGET], TABLE, KEY)
        await client.delete_table(TableName=TABLE)


@pytest.fixture
async def rows(engine: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RawRows]:
    if engine == "memory":
        yield MemoryRows(MemoryTable(TableShape(Side.TARGET, TABLE, KEY, None, ())))
        return
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    async for made in on_engine(request.getfixturevalue("local_aws")):
        yield made


ROW = (
    b'{"pk":{"S":"a\\"b"},"n":{"N":"7"},"day":{"S":"mon"},"set":{"SS":["x","y"]},'
    b'"deep":{"M":{"l":{"L":[{"NULL":true}]}}}}'
)


def plain(image: Image | None) -> Any:
    return None if image is None else {name: bytes(raw) for name, raw in decode_image(encode_image(image)).items()}


async def test_a_row_is_inserted_once_and_whoever_comes_later_is_told_what_stands_there(rows: RawRows) -> None:
    assert await rows.insert(ROW) is None
    met = await rows.insert(ROW.replace(b'"mon"', b'"tue"'))
    assert met is not None
    assert wire.string(met["day"]) == "mon"
    (found,) = await rows.read([decode_image(b'{"pk":{"S":"a\\"b"},"n":{"N":"7"}}')])
    assert plain(found).keys() == decode_image(ROW).keys()
    assert wire.string(found["day"]) == "mon"


async def test_of_many_inserts_at_once_one_is_done(rows: RawRows) -> None:
    told = await asyncio.gather(*(rows.insert(ROW.replace(b'"mon"', b'"d%d"' % number)) for number in range(8)))
    assert sum(each is None for each in told) == 1
    assert len({bytes(each["day"]) for each in told if each is not None}) == 1


async def test_rows_that_are_not_there_are_left_out_of_what_is_read(rows: RawRows) -> None:
    await rows.insert(ROW)
    keys = [decode_image(b'{"pk":{"S":"%b"},"n":{"N":"7"}}' % each) for each in (b'a\\"b', b"nobody")]
    assert len(await rows.read(keys)) == 1
    assert await rows.read([]) == []
