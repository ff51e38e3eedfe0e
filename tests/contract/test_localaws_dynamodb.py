"""DynamoDB and S3 on the emulator: what the project calls, and what the item operations get wrong unpatched."""

from __future__ import annotations

import http.client
import json
import time
import zlib
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localaws.fixture import Emulator, mends

pytestmark = pytest.mark.embedded

Item = dict[str, Any]
_numbers = count()


def n(number: int | str) -> Item:
    return {"N": str(number)}


def key(name: str) -> Item:
    return {"pk": {"S": name}, "sk": {"S": "POINTS"}}


@pytest.fixture
def table(emulator: Emulator) -> str:
    """An empty table."""
    name = f"items-{next(_numbers)}"
    emulator.dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


def put(emulator: Emulator, table: str, name: str = "A", **attributes: Item) -> None:
    emulator.dynamodb.put_item(TableName=table, Item=key(name) | attributes)


def update(emulator: Emulator, table: str, expression: str, values: Item | None = None, **rest: Any) -> Item:
    """Update the item A and return its attributes without the key."""
    rest |= {"ExpressionAttributeValues": values} if values else {}
    answer = emulator.dynamodb.update_item(
        TableName=table, Key=key("A"), UpdateExpression=expression, ReturnValues="ALL_NEW", **rest
    )
    return {name: value for name, value in answer["Attributes"].items() if name not in ("pk", "sk")}


def raw(emulator: Emulator, action: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a request without a client and return status, headers and body."""
    headers = {
        "X-Amz-Target": f"DynamoDB_20120810.{action}",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=localaws/20260101/us-east-1/dynamodb/aws4_request",
    }
    connection = http.client.HTTPConnection(emulator.endpoints.aws_endpoint.removeprefix("http://"), timeout=10)
    connection.request("POST", "/", body, headers)
    with connection.getresponse() as answer:
        shown = answer.status, dict(answer.headers), answer.read()
    connection.close()
    return shown


def get(table: str) -> bytes:
    return json.dumps({"TableName": table, "Key": key("A")}).encode()


@mends("exact_numbers")
def test_a_sum_of_38_digits_is_exact(emulator: Emulator, table: str) -> None:
    big = 98765432109876543210987654321098765431
    put(emulator, table, x=n(big))
    assert update(emulator, table, "SET x = x + :one", {":one": n(1)}) == {"x": n(big + 1)}


@mends("plain_sums")
def test_the_sum_of_an_add_is_in_plain_notation(emulator: Emulator, table: str) -> None:
    put(emulator, table, x=n("99.5"))
    add = {"UpdateExpression": "ADD x :d", "ExpressionAttributeValues": {":d": n("0.5")}}
    update = {"Update": {"TableName": table, "Key": key("A")} | add}
    emulator.dynamodb.transact_write_items(TransactItems=[update])
    assert emulator.dynamodb.get_item(TableName=table, Key=key("A"))["Item"]["x"] == n(100)


@mends("overlapping_paths")
@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("SET s = :kept ADD s :more", {":kept": {"BS": [b"a"]}, ":more": {"BS": [b"b"]}}),
        ("SET l = :l, l[0] = :x", {":l": {"L": [{"N": "1"}]}, ":x": {"N": "2"}}),
        ("SET x = :x REMOVE x", {":x": {"N": "2"}}),
    ],
)
def test_two_paths_that_overlap_are_refused(emulator: Emulator, table: str, expression: str, values: Item) -> None:
    put(emulator, table, x=n(1), l={"L": []}, s={"BS": [b"z"]})
    with pytest.raises(ClientError, match="overlap"):
        update(emulator, table, expression, values)


def test_sets_read_the_item_as_it_was_and_neighbours_do_not_overlap(emulator: Emulator, table: str) -> None:
    put(emulator, table, m={"M": {"a": n(1), "b": n(2)}}, ttl=n(9))
    values = {":x": n(5)}
    names = {"#ttl": "ttl"}
    after = update(
        emulator, table, "SET m.a = :x, m.b = m.a, cf_ttl = #ttl REMOVE #ttl", values, ExpressionAttributeNames=names
    )
    assert after == {"m": {"M": {"a": n(5), "b": n(1)}}, "cf_ttl": n(9)}


def test_an_update_along_a_path_leaves_the_old_image_alone(emulator: Emulator, table: str) -> None:
    put(emulator, table, m={"M": {"a": n(1)}}, l={"L": [n(1)]})
    answer = emulator.dynamodb.update_item(
        TableName=table,
        Key=key("A"),
        UpdateExpression="SET m.a = :x, l[0] = :x",
        ExpressionAttributeValues={":x": n(2)},
        ReturnValues="ALL_OLD",
    )
    assert (answer["Attributes"]["m"], answer["Attributes"]["l"]) == ({"M": {"a": n(1)}}, {"L": [n(1)]})


def test_a_refused_condition_returns_the_old_item(emulator: Emulator, table: str) -> None:
    put(emulator, table, x=n(1))
    with pytest.raises(ClientError, match="ConditionalCheckFailed") as refused:
        update(
            emulator,
            table,
            "SET x = :x",
            {":x": n(2), ":least": n(5)},
            ConditionExpression="x >= :least",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert refused.value.response["Item"] == key("A") | {"x": n(1)}


def test_a_transaction_checks_one_item_and_puts_another(emulator: Emulator, table: str) -> None:
    put(emulator, table, term=n(3))
    held = {"TableName": table, "Key": key("A"), "ConditionExpression": "term = :term"}
    new = {"TableName": table, "Item": key("B"), "ConditionExpression": "attribute_not_exists(pk)"}
    for term, outcome in ((4, "TransactionCanceled"), (3, None), (3, "TransactionCanceled")):
        check = held | {"ExpressionAttributeValues": {":term": n(term)}}
        items = [{"ConditionCheck": check}, {"Put": new}]
        if outcome is None:
            emulator.dynamodb.transact_write_items(TransactItems=items)
        else:
            with pytest.raises(ClientError, match=outcome):
                emulator.dynamodb.transact_write_items(TransactItems=items)


def test_a_parallel_scan_reads_each_item_once(emulator: Emulator, table: str) -> None:
    for number in range(40):
        put(emulator, table, f"USER#{number}")
    pages = [
        emulator.dynamodb.scan(TableName=table, Segment=segment, TotalSegments=3, ConsistentRead=True, Limit=1000)
        for segment in range(3)
    ]
    read = [item["pk"]["S"] for page in pages for item in page["Items"]]
    assert sorted(read) == sorted(f"USER#{number}" for number in range(40))
    assert sum(1 for page in pages if page["Items"]) > 1


def test_a_scan_goes_on_where_its_page_ended(emulator: Emulator, table: str) -> None:
    for number in range(10):
        put(emulator, table, f"USER#{number}")
    read: list[str] = []
    start: Item = {}
    while True:
        page = emulator.dynamodb.scan(TableName=table, Limit=3, **start)
        read += [item["pk"]["S"] for item in page["Items"]]
        if "LastEvaluatedKey" not in page:
            break
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert sorted(read) == sorted(f"USER#{number}" for number in range(10))


def test_a_query_reads_a_partition_in_order(emulator: Emulator, table: str) -> None:
    for number in (3, 1, 2):
        item = {"pk": {"S": "J"}, "sk": {"S": f"{number:04d}"}}
        emulator.dynamodb.put_item(TableName=table, Item=item)
    put(emulator, table, "OTHER")
    page = emulator.dynamodb.query(
        TableName=table,
        KeyConditionExpression="pk = :pk AND sk > :sk",
        ExpressionAttributeValues={":pk": {"S": "J"}, ":sk": {"S": "0001"}},
        ConsistentRead=True,
        ScanIndexForward=False,
    )
    assert [item["sk"]["S"] for item in page["Items"]] == ["0003", "0002"]


def test_a_batch_get_returns_what_is_there(emulator: Emulator, table: str) -> None:
    put(emulator, table, "A", x=n(1))
    keys = [key("A"), key("B")]
    answer = emulator.dynamodb.batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
    assert answer["Responses"][table] == [key("A") | {"x": n(1)}]
    assert not answer["UnprocessedKeys"]


def test_time_to_live_and_streaming_show_what_was_set(emulator: Emulator, table: str) -> None:
    specification = {"Enabled": True, "AttributeName": "expires"}
    emulator.dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=specification)
    shown = emulator.dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert shown == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}
    emulator.kinesis.create_stream(StreamName=table, ShardCount=1)
    arn = emulator.kinesis.describe_stream_summary(StreamName=table)["StreamDescriptionSummary"]["StreamARN"]
    emulator.dynamodb.enable_kinesis_streaming_destination(
        TableName=table,
        StreamArn=arn,
        EnableKinesisStreamingConfiguration={"ApproximateCreationDateTimePrecision": "MICROSECOND"},
    )
    (destination,) = emulator.dynamodb.describe_kinesis_streaming_destination(TableName=table)[
        "KinesisDataStreamDestinations"
    ]
    assert (destination["DestinationStatus"], destination["ApproximateCreationDateTimePrecision"]) == (
        "ACTIVE",
        "MICROSECOND",
    )


@mends("compact_json")
def test_an_answer_is_compact_and_carries_its_checksum(emulator: Emulator, table: str) -> None:
    put(emulator, table, x=n(1))
    status, headers, body = raw(emulator, "GetItem", get(table))
    assert status == 200
    assert body == b'{"Item":{"pk":{"S":"A"},"sk":{"S":"POINTS"},"x":{"N":"1"}}}'
    assert int(headers["x-amz-crc32"]) == zlib.crc32(body)


def test_an_error_names_its_type_and_carries_no_checksum(emulator: Emulator) -> None:
    status, headers, body = raw(emulator, "GetItem", get("nobody"))
    assert status == 400
    assert json.loads(body)["__type"].endswith("ResourceNotFoundException")
    assert "x-amz-crc32" not in headers


def test_a_request_that_is_not_json_is_refused(emulator: Emulator) -> None:
    status, _, body = raw(emulator, "GetItem", b"{")
    assert (status, json.loads(body)["__type"]) == (400, "SerializationException")


def test_s3_keeps_what_is_put_and_lists_it_by_pages(emulator: Emulator) -> None:
    bucket = f"bucket-{next(_numbers)}"
    emulator.s3.create_bucket(Bucket=bucket)
    body = bytes(range(256)) * 4096
    for number in range(5):
        emulator.s3.put_object(Bucket=bucket, Key=f"a folder/{number}", Body=body)
    assert emulator.s3.get_object(Bucket=bucket, Key="a folder/3")["Body"].read() == body
    pages = emulator.s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix="a folder/", PaginationConfig={"PageSize": 2}
    )
    assert [each["Key"] for page in pages for each in page["Contents"]] == [f"a folder/{number}" for number in range(5)]
    assert emulator.s3.head_object(Bucket=bucket, Key="a folder/1")["ContentLength"] == len(body)
    with pytest.raises(ClientError, match="NoSuchKey"):
        emulator.s3.get_object(Bucket=bucket, Key="nothing")


def test_two_callers_with_accounts_of_their_own_do_not_meet(emulator: Emulator, table: str) -> None:
    import boto3

    arguments = emulator.endpoints.client_arguments() | {"aws_access_key_id": "123456789012"}
    assert table not in boto3.client("dynamodb", **arguments).list_tables()["TableNames"]


def test_answers_come_within_milliseconds_on_a_kept_connection(emulator: Emulator, table: str) -> None:
    put(emulator, table, x=n(1))
    times = []
    for _ in range(50):
        start = time.perf_counter()
        emulator.dynamodb.get_item(TableName=table, Key=key("A"))
        times.append(time.perf_counter() - start)
    assert sorted(times)[25] < 0.05
