"""State transfers: the fence, the memory table and DynamoDB's statements mean the same (rules 1, 2 and 10)."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from apply_cases import V
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.adapters.transfers import DynamoTransfers
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.protocol.keyed.fence import judge
from crossfade.core.protocol.keyed.item import GEN, ROLE, Item, Role, build_image, parse_item
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.values import image as wire
from crossfade.core.values.errors import StoreRefused
from crossfade.core.values.image import Image, encode_image
from crossfade.core.values.keys import Key, key_image, key_of_strings
from crossfade.core.values.shape import Side, TableShape
from crossfade.ports.table import TransferTable
from engagement_api.operations import BALANCE
from engagement_migration import MAPPING
from localaws import Endpoints
from ownership_cases import SEED, comparable, items
from property_examples import examples

PARAMETERS = [
    pytest.param(
        (engine, side, is_open),
        marks=pytest.mark.embedded if engine == "embedded" else (),
        id=f"{engine}-{side.value}-{'open' if is_open else 'closed'}",
    )
    for engine, is_open in (("memory", False), ("embedded", False), ("embedded", True))
    for side in Side
]


class Bench(NamedTuple):
    """A table under test and a way around the protocol."""

    table: TransferTable
    shape: TableShape
    put: Callable[[Key, Item | None], Awaitable[None]]
    image: Callable[[Key], Awaitable[Image | None]]


@pytest.fixture(params=PARAMETERS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    engine, side, is_open = request.param
    shape = MAPPING.shape(side)
    if is_open:
        shape = shape._replace(attributes=None)
    if engine == "memory":
        memory = MemoryTable(shape)

        async def store(key: Key, item: Item | None) -> None:
            if item is None:
                memory.delete(key)
            else:
                memory.put(build_image(item, shape, key_image(key, shape.key)))

        async def load(key: Key) -> Image | None:
            return memory.images.get(key)

        yield Bench(memory, shape, store, load)
        return
    local_aws: Endpoints = request.getfixturevalue("local_aws")
    keys = StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key))
    async with Wire("dynamodb", WireConfig(local_aws.region, local_aws.aws_endpoint), keys) as client:
        shape = shape._replace(table=f"transfers-{uuid.uuid4().hex[:12]}")
        await client.call("CreateTable", create_table(shape))
        dynamodb = DynamoDB(client)
        name = json.dumps(shape.table).encode()

        async def put(key: Key, item: Item | None) -> None:
            at = key_image(key, shape.key)
            if item is None:
                await dynamodb.delete_item(b'{"TableName":%b,"Key":%b}' % (name, encode_image(at)))
            else:
                image = encode_image(build_image(item, shape, at))
                await dynamodb.put_item(b'{"TableName":%b,"Item":%b}' % (name, image))

        async def get(key: Key) -> Image | None:
            return await dynamodb.get_item(shape.table, key_image(key, shape.key))

        yield Bench(DynamoTransfers(dynamodb, shape, KEYED), shape, put, get)


def create_table(shape: TableShape) -> bytes:
    request = {
        "TableName": shape.table,
        "KeySchema": [
            {"AttributeName": each, "KeyType": kind} for each, kind in zip(shape.key, ("HASH", "RANGE"), strict=True)
        ],
        "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in shape.key],
        "BillingMode": "PAY_PER_REQUEST",
    }
    return json.dumps(request).encode()


def transfer_from(item: Item, version: int, side: Side, key: Key, *, repair: bool = False) -> Transfer:
    """The transfer of an owner's item, in this side's names."""
    shape = MAPPING.shape(side)
    kept = () if item.deleted else tuple(pair for pair in item.content if pair[0] in (shape.attributes or ()))
    image = build_image(item._replace(content=kept, role=Role.STANDBY, version=None), shape, {})
    for name in (ROLE, GEN):
        image.pop(name, None)
    return Transfer(key, version, image, 3, repair)


OWNERS = {side: items(side).filter(lambda item: item is not None) for side in Side}


async def test_a_transfer_means_what_the_fence_says(bench: Bench) -> None:
    side = bench.shape.side
    loop = asyncio.get_running_loop()

    async def example(before: Item | None, owner: Item, version: int, repair: bool) -> None:
        key = key_of_strings(f"USER#{uuid.uuid4().hex}", "POINTS#1")
        if before is not None:
            await bench.put(key, before)
        transfer = transfer_from(owner, version, side, key, repair=repair)
        [verdict] = await bench.table.transfer([transfer])
        image = await bench.image(key)
        expected = judge(transfer, before, bench.shape)
        assert verdict is expected.verdict
        found = None if image is None else parse_item(image, bench.shape)
        assert comparable(found) == comparable(expected.item)

    @settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(items(side), OWNERS[side], st.sampled_from([1, SEED - 1, SEED, SEED + 1, SEED + 3]), st.booleans())
    def run(before: Item | None, owner: Item, version: int, repair: bool) -> None:
        asyncio.run_coroutine_threadsafe(example(before, owner, version, repair), loop).result()

    await asyncio.to_thread(run)


def points(side: Side, balance: int) -> tuple[tuple[str, bytes], ...]:
    fields = dict(MAPPING.shape(side).zero) | {MAPPING.shape(side).own(BALANCE): bytes(wire.of_number(balance))}
    return tuple(sorted(fields.items()))


def standby(side: Side, version: int, balance: int = 5, generation: int = 7) -> Item:
    return Item(version=version, role=Role.STANDBY, generation=generation, content=points(side, balance))


async def test_rule_10_each_transfer_of_a_batch_has_its_own_verdict(bench: Bench) -> None:
    """Sixty transfers in one call: a request takes 25, and absent rows need an INSERT after their UPDATE."""
    side = bench.shape.side
    before = {
        Verdict.APPLIED: standby(side, V - 1),
        Verdict.STALE: standby(side, V + 1),
        Verdict.DUPLICATE: standby(side, V, 9),
        Verdict.CONFLICT: standby(side, V, 8),
        Verdict.OWNED: standby(side, V - 1)._replace(role=Role.ACTIVE),
    }
    wanted = [[*before, None][number % 6] for number in range(60)]
    keys = [key_of_strings(f"USER#{uuid.uuid4().hex}", "POINTS#1") for _ in wanted]
    owner = standby(side, V, 9)
    for key, kind in zip(keys, wanted, strict=True):
        if kind is not None:
            await bench.put(key, before[kind])
    verdicts = await bench.table.transfer([transfer_from(owner, V, side, key) for key in keys])
    assert verdicts == [kind or Verdict.APPLIED for kind in wanted]


async def test_rule_10_one_key_twice_in_a_call_goes_out_in_two_requests(bench: Bench) -> None:
    side = bench.shape.side
    key, other = (key_of_strings(f"USER#{uuid.uuid4().hex}", "POINTS#1") for _ in range(2))
    first, second = (
        transfer_from(standby(side, V, 5), V, side, key),
        transfer_from(standby(side, V, 6), V + 1, side, key),
    )
    assert await bench.table.transfer([first, second, replace(first, key=other)]) == [Verdict.APPLIED] * 3
    image = await bench.image(key)
    assert image is not None
    assert wire.number(image["cf_mv"]) == V + 1


async def test_rule_2_a_tombstone_erases_neither_role_nor_generation_nor_memory(bench: Bench) -> None:
    side, key = bench.shape.side, key_of_strings(f"USER#{uuid.uuid4().hex}", "POINTS#1")
    await bench.put(key, standby(side, V - 1)._replace(recent=frozenset({b"a" * 16})))
    memory = {"cf_deleted": wire.of_boolean(True), "cf_recent": Raw(b'{"BS":["YmJiYmJiYmJiYmJiYmJiYg=="]}')}
    assert await bench.table.transfer([Transfer(key, V, memory)]) == [Verdict.APPLIED]
    image = await bench.image(key)
    assert image is not None
    found = parse_item(image, bench.shape)
    assert (found.role, found.generation, found.version, found.deleted) == (Role.STANDBY, 7, V, True)
    assert found.recent == {b"b" * 16}
    assert found.content == ()


async def test_rule_3_a_delete_does_not_come_back(bench: Bench) -> None:
    side, key = bench.shape.side, key_of_strings(f"USER#{uuid.uuid4().hex}", "POINTS#1")
    live = transfer_from(standby(side, V), V, side, key)
    gone = Transfer(key, V + 1, {"cf_deleted": wire.of_boolean(True)})
    assert await bench.table.transfer([gone]) == [Verdict.APPLIED]
    assert await bench.table.transfer([live]) == [Verdict.STALE]
    image = await bench.image(key)
    assert image is not None
    assert parse_item(image, bench.shape).deleted


async def test_rule_6_an_imported_row_takes_an_unstamped_update(bench: Bench) -> None:
    """Without `cf_mv = 0` the row would fail every comparison, and live updates would look stale."""
    side, key = bench.shape.side, key_of_strings(f"USER#{uuid.uuid4().hex}", "POINTS#1")
    await bench.put(key, standby(side, 0, generation=0))
    update = transfer_from(standby(side, 0, 9), 1_764_230_400_123_456, side, key)
    assert await bench.table.transfer([update]) == [Verdict.APPLIED]


async def test_a_call_with_nothing_in_it_is_allowed(bench: Bench) -> None:
    assert await bench.table.transfer([]) == []


@pytest.mark.embedded
async def test_a_table_that_is_gone_is_an_error_and_no_verdict(local_aws: Endpoints) -> None:
    keys = StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key))
    async with Wire("dynamodb", WireConfig(local_aws.region, local_aws.aws_endpoint), keys) as client:
        for attributes in (("points",), None):
            shape = MAPPING.shape(Side.TARGET)._replace(table="nowhere", attributes=attributes)
            transfers = [Transfer(key_of_strings("USER#1", f"POINTS#{n}"), V, {}) for n in range(3)]
            with pytest.raises(StoreRefused):
                await DynamoTransfers(DynamoDB(client), shape, KEYED).transfer(transfers)
