"""Who called what: the names of IAM's actions, and the resources, of each kind of request."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from localaws.calls import UNKNOWN, Calls
from localaws.http_server import Request

SIGNED = "AWS4-HMAC-SHA256 Credential=feed/20261123/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"


def counted(service: str, operation: str, body: dict[str, Any]) -> dict[str, dict[str, int]]:
    calls = Calls()
    calls.count("feed", service, operation, body)
    return calls.report()["feed"]


def asked(service: str, method: str, target: str, body: bytes = b"", **headers: str) -> dict[str, dict[str, int]]:
    calls = Calls()
    lines = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    lines[b"authorization"] = SIGNED.format(service).encode()
    calls.count_request(Request(method, target.encode(), lines, body))
    return calls.report()["feed"]


@pytest.mark.parametrize(
    ("statement", "action", "table"),
    [
        ('UPDATE "wallet" SET a=? WHERE pk=?', "PartiQLUpdate", "wallet"),
        ("update wallet-2.x set a=?", "PartiQLUpdate", "wallet-2.x"),
        ("INSERT INTO \"wallet\" VALUE {'pk':?}", "PartiQLInsert", "wallet"),
        ('DELETE FROM "wallet" WHERE pk=?', "PartiQLDelete", "wallet"),
        ('SELECT a, b FROM "wallet" WHERE pk=?', "PartiQLSelect", "wallet"),
    ],
)
def test_a_statement_counts_as_what_it_does_to_its_table(statement: str, action: str, table: str) -> None:
    body = {"Statements": [{"Statement": statement}] * 3}
    assert counted("dynamodb", "BatchExecuteStatement", body) == {f"dynamodb:{action}": {table: 3}}
    assert counted("dynamodb", "ExecuteStatement", {"Statement": statement}) == {f"dynamodb:{action}": {table: 1}}


def test_a_transaction_counts_as_what_its_items_do() -> None:
    items = [{"Put": {"TableName": "a"}}, {"ConditionCheck": {"TableName": "b"}}, {"Delete": {"TableName": "a"}}]
    assert counted("dynamodb", "TransactWriteItems", {"TransactItems": items}) == {
        "dynamodb:ConditionCheckItem": {"b": 1},
        "dynamodb:DeleteItem": {"a": 1},
        "dynamodb:PutItem": {"a": 1},
    }


def test_a_batch_counts_for_each_of_its_tables() -> None:
    body: dict[str, Any] = {"RequestItems": {"a": {"Keys": []}, "b": {"Keys": []}}}
    assert counted("dynamodb", "BatchGetItem", body) == {"dynamodb:BatchGetItem": {"a": 1, "b": 1}}


@pytest.mark.parametrize(
    ("service", "operation", "body", "resource"),
    [
        ("dynamodb", "GetItem", {"TableName": "wallet"}, "wallet"),
        ("dynamodb", "ExportTableToPointInTime", {"TableArn": "arn:aws:dynamodb:r:0:table/wallet"}, "wallet"),
        ("dynamodb", "DescribeExport", {"ExportArn": "arn:aws:dynamodb:r:0:table/wallet/export/1"}, "wallet"),
        ("dynamodb", "ImportTable", {"TableCreationParameters": {"TableName": "engagement"}}, "engagement"),
        ("dynamodb", "EnableKinesisStreamingDestination", {"TableName": "w", "StreamArn": "arn:x"}, "w"),
        ("kinesis", "PutRecords", {"StreamName": "events"}, "events"),
        ("kinesis", "PutRecords", {"StreamARN": "arn:aws:kinesis:r:0:stream/events"}, "events"),
        ("kinesis", "ListShards", {"NextToken": "x"}, UNKNOWN),
        ("kinesis", "GetRecords", {"ShardIterator": "not ours"}, UNKNOWN),
        ("dynamodb", "ListTables", {}, UNKNOWN),
    ],
)
def test_the_resource_is_the_one_that_iam_would_ask_about(
    service: str, operation: str, body: dict[str, Any], resource: str
) -> None:
    assert counted(service, operation, body) == {f"{service}:{operation}": {resource: 1}}


def test_a_shard_iterator_tells_its_stream() -> None:
    iterator = base64.b64encode(json.dumps(["arn:aws:kinesis:r:0:stream/events", "s-0", "1", 0]).encode()).decode()
    assert counted("kinesis", "GetRecords", {"ShardIterator": iterator}) == {"kinesis:GetRecords": {"events": 1}}


@pytest.mark.parametrize(
    ("method", "target", "action"),
    [
        ("HEAD", "/files", "ListBucket"),
        ("GET", "/files?list-type=2&prefix=a", "ListBucket"),
        ("PUT", "/files", "CreateBucket"),
        ("PUT", "/files?versioning", "PutBucketVersioning"),
        ("GET", "/files/a/b%20c.json", "GetObject"),
        ("HEAD", "/files/a", "GetObject"),
        ("PUT", "/files/a", "PutObject"),
        ("POST", "/files/a?uploads", "PutObject"),
        ("DELETE", "/files/a", "DeleteObject"),
        ("DELETE", "/files/a?uploadId=1", "AbortMultipartUpload"),
    ],
)
def test_s3_requests_are_told_by_method_path_and_query(method: str, target: str, action: str) -> None:
    assert asked("s3", method, target) == {f"s3:{action}": {"files": 1}}


def test_every_protocol_of_cloudwatch_is_understood() -> None:
    by_path = asked("monitoring", "POST", "/service/GraniteServiceVersion20100801/operation/ListMetrics", b"\xa0")
    by_form = asked("monitoring", "POST", "/", b"Action=ListMetrics&Version=2010-08-01")
    by_header = asked("monitoring", "POST", "/", b"{}", x_amz_target="GraniteServiceVersion20100801.ListMetrics")
    assert by_path == by_form == by_header == {"cloudwatch:ListMetrics": {UNKNOWN: 1}}


def test_requests_of_several_callers_are_told_apart_and_unsigned_ones_are_nobody_s() -> None:
    calls = Calls()
    for key in ("feed", "feed", "api"):
        calls.count(key, "dynamodb", "GetItem", {"TableName": "wallet"})
    calls.count_request(Request("GET", b"/", {}, b""))
    assert calls.report() == {
        "api": {"dynamodb:GetItem": {"wallet": 1}},
        "feed": {"dynamodb:GetItem": {"wallet": 2}},
    }
    calls.forget()
    assert calls.report() == {}
