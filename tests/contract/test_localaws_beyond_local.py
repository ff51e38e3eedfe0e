"""What the service does and AWS's own engine (DynamoDB Local) doesn't: updates of nothing, backfills, bodies."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from items_cases import create, n, s, scanned
from localaws.fixture import Emulator, mends

pytestmark = pytest.mark.embedded

Item = dict[str, Any]


@mends("ghost_items")
@pytest.mark.parametrize(
    "change",
    [
        {"UpdateExpression": "REMOVE a, b"},
        {"UpdateExpression": "DELETE a :x", "ExpressionAttributeValues": {":x": {"SS": ["x"]}}},
        {"AttributeUpdates": {"a": {"Action": "DELETE"}}},
    ],
    ids=["remove", "delete", "attribute_updates"],
)
def test_an_update_that_only_removes_makes_no_item_of_a_missing_key(emulator: Emulator, change: Item) -> None:
    table, client, key = create(emulator, "S", None), emulator.dynamodb, {"pk": s("a")}
    answer = client.update_item(TableName=table, Key=key, ReturnValues="ALL_NEW", **change)
    assert "Attributes" not in answer
    if "UpdateExpression" in change:
        client.transact_write_items(TransactItems=[{"Update": {"TableName": table, "Key": key} | change}])
    assert scanned(emulator, table) == []
    client.put_item(TableName=table, Item=key | {"a": {"SS": ["x", "y"]}})
    client.update_item(TableName=table, Key=key, **change)
    assert scanned(emulator, table)[0]["pk"] == s("a"), "what is there stays there"


@mends("ghost_items")
def test_an_update_that_makes_no_item_leaves_no_change_record(emulator: Emulator) -> None:
    table = create(emulator, "S", None)
    stream = f"{table}-stream"
    emulator.kinesis.create_stream(StreamName=stream, ShardCount=1)
    arn = emulator.kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    emulator.dynamodb.enable_kinesis_streaming_destination(TableName=table, StreamArn=arn)
    emulator.dynamodb.update_item(TableName=table, Key={"pk": s("a")}, UpdateExpression="REMOVE a")
    emulator.dynamodb.put_item(TableName=table, Item={"pk": s("b")})
    iterator = emulator.kinesis.get_shard_iterator(
        StreamName=stream, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    records = [json.loads(each["Data"]) for each in emulator.kinesis.get_records(ShardIterator=iterator)["Records"]]
    assert [each["dynamodb"]["Keys"] for each in records] == [{"pk": s("b")}]


def test_an_update_without_an_expression_makes_an_item_of_its_key(emulator: Emulator) -> None:
    table = create(emulator, "S", None)
    emulator.dynamodb.update_item(TableName=table, Key={"pk": s("a")})
    assert scanned(emulator, table) == [{"pk": s("a")}]


@mends("index_backfill")
def test_an_index_added_later_holds_no_item_whose_key_is_of_another_type_or_empty(emulator: Emulator) -> None:
    table, client = create(emulator, "S", None), emulator.dynamodb
    values: list[Item | None] = [s("o"), n(1), s(""), {"SS": ["o"]}, {"NULL": True}, s("x" * 2049), None]
    for number, value in enumerate(values):
        client.put_item(TableName=table, Item={"pk": s(str(number))} | ({"of": value} if value else {}))
    index = {"IndexName": "later", "KeySchema": [{"AttributeName": "of", "KeyType": "HASH"}]}
    client.update_table(
        TableName=table,
        AttributeDefinitions=[{"AttributeName": "of", "AttributeType": "S"}],
        GlobalSecondaryIndexUpdates=[{"Create": index | {"Projection": {"ProjectionType": "ALL"}}}],
    )
    query: Item = {"KeyConditionExpression": "#of = :of", "ExpressionAttributeNames": {"#of": "of"}}
    query |= {"TableName": table, "IndexName": "later", "ExpressionAttributeValues": {":of": s("o")}}
    assert client.query(**query)["Items"] == [{"pk": s("0"), "of": s("o")}]
    assert [item["pk"] for item in scanned(emulator, table, IndexName="later")] == [s("0")]


def refused(emulator: Emulator, action: str, body: bytes) -> tuple[int, str]:
    """Send a body as it is, and return the status and the type of the error."""
    headers = {
        "X-Amz-Target": f"DynamoDB_20120810.{action}",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=any/20261128/us-east-1/dynamodb/aws4_request",
    }
    request = urllib.request.Request(emulator.endpoints.aws_endpoint, data=body, headers=headers)  # noqa: S310
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)  # noqa: S310  # loopback
    return caught.value.code, json.load(caught.value)["__type"].rpartition("#")[2]


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("Scan", b'{"TableName": "any", "Limit": "x"}'),
        ("PutItem", b'{"TableName": "any", "Item": ["x"]}'),
        ("PutItem", b'{"TableName": 23, "Item": {}}'),
        ("TransactWriteItems", b'{"TransactItems": ["x"]}'),
        ("BatchGetItem", b'{"RequestItems": {"any": []}}'),
        ("BatchExecuteStatement", b'{"Statements": [{"Statement": 5}]}'),
        ("GetItem", b"[]"),
        ("GetItem", b"{"),
    ],
)
def test_a_body_of_another_shape_is_refused_for_good_and_no_fault_of_the_service(
    emulator: Emulator, action: str, body: bytes
) -> None:
    assert refused(emulator, action, body) == (400, "SerializationException")


@mends("malformed_bodies")
@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("ExecuteTransaction", b'{"TransactStatements": {"a": 1}}'),
        ("DescribeTable", b"5"),
        ("CreateTable", b'{"TableName": "any", "KeySchema": 5}'),
        ("UpdateTable", b'{"TableName": ["any"]}'),
        ("PutResourcePolicy", b'{"ResourceArn": {}, "Policy": 5}'),
    ],
)
def test_so_is_one_about_a_table(emulator: Emulator, action: str, body: bytes) -> None:
    assert refused(emulator, action, body) == (400, "SerializationException")
