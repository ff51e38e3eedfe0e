"""Writes of the plain protocol: the same on a table in memory and on an engine."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple, Protocol

import pytest

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.memory.plain_writes import MemoryCopies, MemoryOwnerWrites
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.adapters.plain_owner import MOST_ATTRIBUTES, DynamoOwnerWrites
from crossfade.adapters.plain_transfers import Copied, Met, PlainTransfers
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.protocol.plain.map import version_at
from crossfade.core.protocol.writing import Transfer, Unfit, Verdict
from crossfade.core.values.canonical import canonical_value
from crossfade.core.values.image import Image, encode_image, of_boolean, of_number, of_string
from crossfade.core.values.keys import Key, key_image, key_of_strings
from crossfade.core.values.shape import Side
from localaws import Endpoints
from plain_records import FLIPPED, HELD_US, KEY, MAPPING, S, row

V = version_at(HELD_US + 60 * S)
FLOOR = FLIPPED.floor


class Copies(Protocol):
    async def copy(self, transfers: list[Transfer], floor: int) -> list[Copied]: ...


class OwnerWrites(Protocol):
    async def replace(self, key: Key, met: Image | None, image: Image | None) -> bool | None: ...

    async def delete_expired(self, key: Key, ttl: str, at_s: int) -> bool: ...


class Bench(NamedTuple):
    """One table, and what writes to it."""

    copies: Copies
    owner: OwnerWrites
    put: Callable[[Image], Awaitable[None]]
    get: Callable[[Key], Awaitable[Image | None]]


def in_memory() -> Bench:
    table = MemoryTable(MAPPING.shape(Side.SOURCE))

    async def put(image: Image) -> None:
        table.put(image)

    async def get(key: Key) -> Image | None:
        return table.images.get(key)

    return Bench(MemoryCopies(table), MemoryOwnerWrites(table), put, get)


Opened = Callable[[Callable[[Bench], Awaitable[None]]], None]


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.embedded)])
def on(request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Runs a test on a table."""
    if request.param == "memory":
        yield lambda main: asyncio.run(_on_memory(main))
        return
    endpoints: Endpoints = request.getfixturevalue("local_aws")
    yield lambda main: asyncio.run(_on_engine(endpoints, main))


async def _on_memory(main: Callable[[Bench], Awaitable[None]]) -> None:
    await main(in_memory())


async def _on_engine(endpoints: Endpoints, main: Callable[[Bench], Awaitable[None]]) -> None:
    keys = StaticCredentials(Credentials(endpoints.access_key_id, endpoints.secret_access_key))
    shape = MAPPING.with_tables(source=f"orders-{uuid.uuid4().hex[:8]}", target="unused").shape(Side.SOURCE)
    async with Wire("dynamodb", WireConfig(endpoints.region, endpoints.aws_endpoint), keys) as wire:
        request: dict[str, Any] = {
            "TableName": shape.table,
            "KeySchema": [
                {"AttributeName": name, "KeyType": kind}
                for name, kind in zip(shape.key, ("HASH", "RANGE"), strict=True)
            ],
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in shape.key],
            "BillingMode": "PAY_PER_REQUEST",
        }
        await wire.call("CreateTable", json.dumps(request).encode())
        dynamodb = DynamoDB(wire)

        async def put(image: Image) -> None:
            table = json.dumps(shape.table).encode()
            await dynamodb.put_item(b'{"TableName":%b,"Item":%b}' % (table, encode_image(image)))

        async def get(key: Key) -> Image | None:
            return await dynamodb.get_item(shape.table, key_image(key, shape.key))

        await main(Bench(PlainTransfers(dynamodb, shape), DynamoOwnerWrites(dynamodb, shape), put, get))


def met(answer: Copied) -> dict[str, bytes] | None:
    """The row that an answer hands back; engines space values differently."""
    assert isinstance(answer, Met)
    return None if answer.row is None else canonical_row(answer.row)


def canonical_row(image: Image) -> dict[str, bytes]:
    return {name: canonical_value(raw) for name, raw in image.items()}


def copy(total: int = 5, version: int = V, key: Key = KEY) -> Transfer:
    return Transfer(key, version, {"total": of_number(total)})


def test_in_the_first_interval_a_copy_takes_no_row_one_without_a_fence_and_a_lower_one(on: Opened) -> None:
    async def main(bench: Bench) -> None:
        for standing in (None, row(1), row(1, mv=V - 1), row(mv=V - 1, deleted=True)):
            if standing is not None:
                await bench.put(standing)
            assert await bench.copies.copy([copy()], 0) == [Verdict.APPLIED]
            assert await bench.get(KEY) == row(5, mv=V)

    on(main)


def test_a_copy_is_the_whole_row(on: Opened) -> None:
    async def main(bench: Bench) -> None:
        await bench.put(row(1, mv=V - 1, note=of_string("old")))
        await bench.copies.copy([copy()], 0)
        assert await bench.get(KEY) == row(5, mv=V)
        await bench.copies.copy([Transfer(KEY, V + 1, {"cf_deleted": of_boolean(True)})], 0)
        assert await bench.get(KEY) == row(mv=V + 1, deleted=True)

    on(main)


def test_a_row_that_stands_in_the_way_comes_back_as_it_stands_and_is_left(on: Opened) -> None:
    async def main(bench: Bench) -> None:
        for standing in (row(1, mv=V), row(1, mv=V + 1), row(1) | {"cf_mv": of_string("high")}):
            await bench.put(standing)
            (answer,) = await bench.copies.copy([copy()], 0)
            assert met(answer) == canonical_row(standing)
            assert await bench.get(KEY) == standing

    on(main)


def test_after_a_flip_only_a_lower_fence_of_this_interval_takes_a_copy(on: Opened) -> None:
    async def main(bench: Bench) -> None:
        assert await bench.copies.copy([copy()], FLOOR) == [Met(None)]
        for standing in (row(1), row(1, mv=FLOOR - 1), row(1, mv=V)):
            await bench.put(standing)
            (answer,) = await bench.copies.copy([copy()], FLOOR)
            assert met(answer) == canonical_row(standing)
        await bench.put(row(1, mv=FLOOR))
        assert await bench.copies.copy([copy()], FLOOR) == [Verdict.APPLIED]

    on(main)


def test_each_copy_of_a_call_has_its_own_answer(on: Opened) -> None:
    async def main(bench: Bench) -> None:
        keys = [key_of_strings("CUSTOMER#7", f"ORDER#{number}") for number in range(40)]
        await bench.put(row(9, keys[3], mv=V + 1))
        answers = await bench.copies.copy([copy(number, V, key) for number, key in enumerate(keys)], 0)
        assert met(answers[3]) == canonical_row(row(9, keys[3], mv=V + 1))
        assert answers[:3] + answers[4:] == [Verdict.APPLIED] * 39
        assert await bench.get(keys[39]) == row(39, keys[39], mv=V)

    on(main)


def test_a_row_that_is_too_large_is_refused_for_good(on: Opened) -> None:
    async def main(bench: Bench) -> None:
        large = Transfer(KEY, V, {"note": of_string("x" * 410_000)})
        (answer,) = await bench.copies.copy([large], 0)
        assert isinstance(answer, Unfit)

    on(main)


def test_an_owners_row_is_replaced_only_if_it_is_the_one_that_was_read(on: Opened) -> None:
    async def main(bench: Bench) -> None:
        assert await bench.owner.replace(KEY, None, row(1))
        assert await bench.owner.replace(KEY, None, row(2)) is False
        assert await bench.owner.replace(KEY, row(2), row(3)) is False
        assert await bench.owner.replace(KEY, row(1), row(3, note=of_string("…")))
        assert await bench.owner.replace(KEY, row(3, note=of_string("!")), None) is False
        assert await bench.owner.replace(KEY, row(3, note=of_string("…")), None)
        assert await bench.get(KEY) is None
        assert await bench.owner.replace(KEY, row(3), row(4)) is False, "it was deleted meanwhile"
        assert await bench.get(KEY) is None

    on(main)


def test_an_owners_row_of_many_attributes_is_compared_whole_or_not_at_all(on: Opened) -> None:
    async def main(bench: Bench) -> None:
        wide = row(1) | {f"a{number}": of_number(number) for number in range(MOST_ATTRIBUTES - 3)}
        await bench.put(wide)
        assert await bench.owner.replace(KEY, wide, row(2))

    on(main)


def test_an_expired_row_goes_only_if_its_ttl_is_a_number_and_due(on: Opened) -> None:
    async def main(bench: Bench) -> None:
        at_s = 1_764_230_400
        for standing in (of_number(at_s + 1), of_string("soon"), None):
            await bench.put(row(1) | ({} if standing is None else {"expires_at": standing}))
            assert await bench.owner.delete_expired(KEY, "expires_at", at_s) is False
        await bench.put(row(1, expires_at=of_number(at_s)))
        assert await bench.owner.delete_expired(KEY, "expires_at", at_s)
        assert await bench.owner.delete_expired(KEY, "expires_at", at_s) is False

    on(main)
