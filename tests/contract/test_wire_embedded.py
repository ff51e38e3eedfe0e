"""The thin adapters against the embedded AWS: what they send is understood, and what comes back is read."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.kinesis import Kinesis
from crossfade.adapters.wire import (
    ConditionFailed,
    Credentials,
    ServiceError,
    StaticCredentials,
    TransactionCanceled,
    Wire,
    WireConfig,
)
from crossfade.core.values.image import Image, encode_image, number, of_number, of_string
from localaws import Endpoints

pytestmark = pytest.mark.embedded


@pytest.fixture
async def dynamodb_wire(local_aws: Endpoints) -> AsyncIterator[Wire]:
    keys = StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key))
    async with Wire("dynamodb", WireConfig(local_aws.region, local_aws.aws_endpoint), keys) as wire:
        yield wire


@pytest.fixture
async def store(dynamodb_wire: Wire) -> DynamoDB:
    return DynamoDB(dynamodb_wire)


@pytest.fixture
async def table(dynamodb_wire: Wire) -> str:
    name = f"wire-{uuid.uuid4().hex[:12]}"
    request = {
        "TableName": name,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
        "BillingMode": "PAY_PER_REQUEST",
    }
    await dynamodb_wire.call("CreateTable", json.dumps(request).encode())
    return name


def key(index: int) -> Image:
    return {"pk": of_string(f"USER#{index}"), "sk": of_string("POINTS")}


def put(table: str, index: int, version: int, role: str = "S") -> bytes:
    item = key(index) | {"cf_mv": of_number(version), "cf_role": of_string(role)}
    return b'{"TableName":"%b","Item":%b}' % (table.encode(), encode_image(item))


def update(table: str, index: int, version: int) -> bytes:
    parameters = [of_number(version), key(index)["pk"], key(index)["sk"], of_number(version)]
    return (
        b'{"Statement":"UPDATE \\"%b\\" SET cf_mv=? WHERE pk=? AND sk=? AND cf_mv<? AND cf_role=\'S\'",'
        b'"Parameters":[%b],"ReturnValuesOnConditionCheckFailure":"ALL_OLD"}'
        % (table.encode(), b",".join(map(bytes, parameters)))
    )


def insert(table: str, index: int, version: int) -> bytes:
    parameters = [key(index)["pk"], key(index)["sk"], of_number(version)]
    return (
        b"{\"Statement\":\"INSERT INTO \\\"%b\\\" VALUE {'pk':?,'sk':?,'cf_mv':?,'cf_role':'S'}\",\"Parameters\":[%b]}"
        % (table.encode(), b",".join(map(bytes, parameters)))
    )


def version_of(item: Image | None) -> int | None:
    return None if item is None else number(item["cf_mv"])


async def test_an_item_put_is_read_back_and_gone_after_its_deletion(store: DynamoDB, table: str) -> None:
    high = (1_790_000_000_000_000 << 10) + 1
    assert await store.get_item(table, key(1)) is None
    await store.put_item(put(table, 1, high))
    assert version_of(await store.get_item(table, key(1))) == high
    await store.delete_item(b'{"TableName":"%b","Key":%b}' % (table.encode(), encode_image(key(1))))
    assert await store.get_item(table, key(1)) is None


async def test_rule_10_a_batch_tells_applied_stale_absent_and_duplicate_apart(store: DynamoDB, table: str) -> None:
    await store.put_item(put(table, 1, 5))
    await store.put_item(put(table, 2, 9))
    await store.put_item(put(table, 3, 1, role="A"))
    results = await store.execute([update(table, index, 7) for index in (1, 2, 3, 4)])
    assert [result.error for result in results] == [None, *["ConditionalCheckFailed"] * 3]
    assert [version_of(result.item) for result in results] == [None, 9, 1, None]
    results = await store.execute([insert(table, 1, 7), insert(table, 4, 7)])
    assert [result.error for result in results] == ["DuplicateItem", None]
    assert version_of(await store.get_item(table, key(1))) == 7
    assert version_of(await store.get_item(table, key(4))) == 7


async def test_a_single_write_returns_its_new_image_or_the_item_that_refused_it(store: DynamoDB, table: str) -> None:
    await store.put_item(put(table, 1, 5))

    def guarded(version: int) -> bytes:
        return (
            b'{"TableName":"%b","Key":%b,"UpdateExpression":"SET cf_mv=:v","ConditionExpression":"cf_mv<:v",'
            b'"ExpressionAttributeValues":{":v":%b},"ReturnValues":"ALL_NEW",'
            b'"ReturnValuesOnConditionCheckFailure":"ALL_OLD"}'
            % (table.encode(), encode_image(key(1)), bytes(of_number(version)))
        )

    assert version_of(await store.update_item(guarded(6))) == 6
    with pytest.raises(ConditionFailed) as refusal:
        await store.update_item(guarded(6))
    assert version_of(refusal.value.item) == 6


async def test_a_transaction_happens_whole_or_names_who_objected(store: DynamoDB, table: str) -> None:
    def both(first: int, second: int) -> bytes:
        puts = [
            b'{"Put":{"TableName":"%b","Item":%b,"ConditionExpression":"attribute_not_exists(pk)"}}'
            % (table.encode(), encode_image(key(index)))
            for index in (first, second)
        ]
        return b'{"TransactItems":[' + b",".join(puts) + b"]}"

    await store.transact(both(1, 2))
    with pytest.raises(TransactionCanceled) as refusal:
        await store.transact(both(3, 2))
    assert [code for code, _ in refusal.value.reasons] == ["None", "ConditionalCheckFailed"]
    assert await store.get_item(table, key(3)) is None


async def test_pages_and_batches_bring_every_item_once(store: DynamoDB, table: str) -> None:
    everyone = {f"USER#{index}" for index in range(130)}
    await asyncio.gather(*(store.put_item(put(table, index, 1)) for index in range(130)))
    seen: list[bytes] = []
    for segment in range(2):
        page = await store.scan(table, segment=segment, segments=2, limit=25)
        seen += [bytes(item["pk"]) for item in page.items]
        while page.next_key is not None:
            page = await store.scan(table, segment=segment, segments=2, limit=25, start=page.next_key)
            assert page.scanned <= 25
            seen += [bytes(item["pk"]) for item in page.items]
    assert sorted(json.loads(each)["S"] for each in seen) == sorted(everyone)
    items = await store.batch_get(table, [key(index) for index in range(140)])
    assert sorted(json.loads(bytes(item["pk"]))["S"] for item in items) == sorted(everyone)
    query = {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": "USER#7"}},
    }
    page = await store.query(json.dumps(query).encode())
    assert [version_of(item) for item in page.items] == [1]
    assert page.next_key is None


async def test_what_is_wrong_is_refused_with_its_type(store: DynamoDB) -> None:
    with pytest.raises(ServiceError) as refusal:
        await store.get_item("no-such-table", key(1))
    assert refusal.value.reason == "ResourceNotFoundException"


async def test_records_put_into_a_stream_are_read_back_in_order_from_every_kind_of_position(
    local_aws: Endpoints,
) -> None:
    keys = StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key))
    async with Wire("kinesis", WireConfig(local_aws.region, local_aws.aws_endpoint), keys) as wire:
        stream, name = Kinesis(wire), f"wire-{uuid.uuid4().hex[:12]}"
        await wire.call("CreateStream", json.dumps({"StreamName": name, "ShardCount": 1}).encode())
        async with asyncio.timeout(10):
            while b"ACTIVE" not in await wire.call("DescribeStreamSummary", b'{"StreamName":"%b"}' % name.encode()):  # noqa: ASYNC110 -- the service tells no one
                await asyncio.sleep(0.05)
        (shard,) = await stream.list_shards(name)
        assert shard.parents == ()
        latest = await stream.shard_iterator(name, shard.shard_id, latest=True)
        began_s = time.time()
        payloads = [b"\x00%d\xff" % each for each in range(5)]
        assert await stream.put_records(name, [("p", payload) for payload in payloads]) == [True] * 5

        oldest = await stream.shard_iterator(name, shard.shard_id)
        fetched = await stream.get_records(oldest, limit=2)
        assert [record.data for record in fetched.records] == payloads[:2]
        assert all(abs(record.arrived_s - began_s) < 60 for record in fetched.records)
        assert fetched.next_iterator is not None
        rest = await stream.get_records(fetched.next_iterator)
        assert [record.data for record in rest.records] == payloads[2:]

        third = rest.records[0].sequence_number
        after = await stream.shard_iterator(name, shard.shard_id, after=third)
        assert [record.data for record in (await stream.get_records(after)).records] == payloads[3:]
        assert [record.data for record in (await stream.get_records(latest)).records] == payloads
        since = await stream.shard_iterator(name, shard.shard_id, at_s=began_s - 30)
        assert len((await stream.get_records(since)).records) == 5
        future = await stream.shard_iterator(name, shard.shard_id, at_s=began_s + 3600)
        assert (await stream.get_records(future)).records == []
