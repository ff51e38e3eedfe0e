"""CPU time of the embedded AWS per request, beside ministack as it comes.

    .venv/bin/python benchmarks/localaws_requests.py [REQUESTS]

Both answer the same requests over one kept connection, one after the other; the time is that of the
server's process (user and system), so what the client costs does not count. Ticks are 10 ms: take
several hundred requests.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from localaws import Stack
from localaws.redis import free_port

Json = dict[str, Any]
ITEMS = 500
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=localaws/20260101/us-east-1/dynamodb/aws4_request"
IDS = [base64.b64encode(bytes([i]) * 16).decode() for i in range(20)]
EVENTS = {"L": [{"M": {"kind": {"S": "earn"}, "delta": {"N": "5"}, "reason": {"S": "watch"}, "id": {"B": IDS[1]}}}]}
VALUES: Json = {
    "balance": {"N": "100"},
    "level": {"S": "gold"},
    "updated": {"S": "2026-11-23T12:00:00Z"},
    "cf_mv": {"N": "1799999999999999991"},
    "cf_emv": {"N": "1799999999999999991"},
    "cf_recent": {"BS": IDS},
    "cf_floor": {"B": IDS[0]},
    "cf_events": EVENTS,
}
STAMP = "if_not_exists(cf_mv, :seed) + :one"
EARN = (
    f"SET #balance = if_not_exists(#balance, :zero) + :d, cf_mv = {STAMP}, cf_emv = {STAMP}, cf_events = :events"
    " REMOVE cf_deleted ADD cf_recent :ids"
)
FRESH = (
    "(attribute_not_exists(cf_role) OR cf_role = :active) AND (attribute_not_exists(cf_floor) OR cf_floor < :id)"
    " AND NOT contains(cf_recent, :id) AND (attribute_not_exists(cf_recent) OR size(cf_recent) < :soft)"
)
TRANSFER = 'UPDATE "wallet" ' + " ".join(f'SET "{name}"=?' for name in VALUES)
TRANSFER += ' REMOVE "cf_deleted" WHERE "pk"=? AND "sk"=? AND cf_mv<? AND cf_role=\'A\''


class Server:
    """A running emulator and a connection to it."""

    def __init__(self, port: int, pid: int) -> None:
        self.pid = pid
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def call(self, target: str, request: Json) -> Json:
        headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.0", "Authorization": AUTHORIZATION}
        self._connection.request("POST", "/", json.dumps(request), headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{target}: {answer.status} {body[:300]!r}")
        shown: Json = json.loads(body)
        return shown

    def dynamodb(self, action: str, request: Json) -> Json:
        return self.call(f"DynamoDB_20120810.{action}", request)

    def kinesis(self, action: str, request: Json) -> Json:
        return self.call(f"Kinesis_20131202.{action}", request)

    def cpu_us(self) -> float:
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


@contextmanager
def ministack() -> Iterator[Server]:
    """ministack as it comes, on its own server."""
    port = free_port()
    settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "ERROR"}
    settings |= {"SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ministack"], env=os.environ | settings, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            try:
                http.client.HTTPConnection("127.0.0.1", port, timeout=1).request("GET", "/_ministack/health")
                break
            except OSError:
                time.sleep(0.1)
        yield Server(port, process.pid)
    finally:
        process.kill()
        process.wait()


@contextmanager
def localaws() -> Iterator[Server]:
    """The embedded AWS."""
    with Stack(redis=False) as stack:
        yield Server(int(stack.endpoints.aws_endpoint.rpartition(":")[2]), stack.pids[0])


def key(i: int) -> Json:
    return {"pk": {"S": f"USER#{i % ITEMS}"}, "sk": {"S": "POINTS#1"}}


def prepare(server: Server) -> None:
    """Make a table of items with its change records on a stream."""
    schema = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    types = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")]
    table = {"TableName": "wallet", "KeySchema": schema, "AttributeDefinitions": types}
    server.dynamodb("CreateTable", table | {"BillingMode": "PAY_PER_REQUEST"})
    server.kinesis("CreateStream", {"StreamName": "cdc", "ShardCount": 1})
    summary = server.kinesis("DescribeStreamSummary", {"StreamName": "cdc"})["StreamDescriptionSummary"]
    server.dynamodb("EnableKinesisStreamingDestination", {"TableName": "wallet", "StreamArn": summary["StreamARN"]})
    for i in range(ITEMS):
        server.dynamodb("PutItem", {"TableName": "wallet", "Item": key(i) | VALUES | {"cf_role": {"S": "A"}}})


def earn(i: int) -> Json:
    identity = base64.b64encode(b"\xff" + i.to_bytes(15, "big")).decode()
    numbers = {":zero": "0", ":d": "5", ":seed": "1", ":one": "1", ":soft": "2000"}
    values: Json = {name: {"N": value} for name, value in numbers.items()}
    values |= {":events": EVENTS, ":ids": {"BS": [identity]}, ":id": {"B": identity}, ":active": {"S": "A"}}
    request = {"TableName": "wallet", "Key": key(i), "UpdateExpression": EARN, "ConditionExpression": FRESH}
    names = {"ExpressionAttributeNames": {"#balance": "balance"}, "ExpressionAttributeValues": values}
    return request | names | {"ReturnValues": "ALL_NEW"}


def transfers(i: int, count: int) -> Json:
    version = {"N": str(1800000000000000000 + i)}
    values = list((VALUES | {"cf_mv": version}).values())
    entries = [
        {"Statement": TRANSFER, "Parameters": [*values, *key(i * count + j).values(), version]} for j in range(count)
    ]
    return {"Statements": entries}


def cases(server: Server) -> Iterator[tuple[str, Callable[[int], Json], int]]:
    """Yield name, request and how many requests count as one of the runs."""
    yield "GetItem", lambda i: server.dynamodb("GetItem", {"TableName": "wallet", "Key": key(i)}), 1
    yield "UpdateItem (earn)", lambda i: server.dynamodb("UpdateItem", earn(i)), 1
    whole = VALUES | {"cf_role": {"S": "A"}}
    yield "PutItem", lambda i: server.dynamodb("PutItem", {"TableName": "wallet", "Item": key(i) | whole}), 1
    yield "BatchExecuteStatement of 1", lambda i: server.dynamodb("BatchExecuteStatement", transfers(i, 1)), 1
    yield "BatchExecuteStatement of 25", lambda i: server.dynamodb("BatchExecuteStatement", transfers(i, 25)), 10
    record = {"StreamName": "cdc", "Data": base64.b64encode(b"x" * 900).decode()}
    yield "PutRecord", lambda i: server.kinesis("PutRecord", record | {"PartitionKey": str(i)}), 1
    shard = {"StreamName": "cdc", "ShardId": "shardId-000000000000"}
    token = server.kinesis("GetShardIterator", shard | {"ShardIteratorType": "TRIM_HORIZON"})["ShardIterator"]
    yield "GetRecords of 100", lambda _: server.kinesis("GetRecords", {"ShardIterator": token, "Limit": 100}), 5
    tip = [server.kinesis("GetShardIterator", shard | {"ShardIteratorType": "LATEST"})["ShardIterator"]]

    def poll(_: int) -> Json:
        answer = server.kinesis("GetRecords", {"ShardIterator": tip[0]})
        tip[0] = answer["NextShardIterator"]
        return answer

    yield "GetRecords at the tip", poll, 1
    for i in range(2000):
        poll(i)
    yield "GetRecords at the tip, 2,000 calls later", poll, 1


def measure(server: Server, requests: int) -> dict[str, float]:
    """Return the CPU time per request in µs, by case."""
    prepare(server)
    found = {}
    for name, send, divisor in cases(server):
        count = max(20, requests // divisor)
        for i in range(10):
            send(i)
        before = server.cpu_us()
        for i in range(10, 10 + count):
            send(i)
        found[name] = (server.cpu_us() - before) / count
    return found


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with ministack() as bare:
        before = measure(bare, requests)
    with localaws() as ours:
        now = measure(ours, requests)
    print("| CPU-µs per request | ministack | localaws |\n|---|---|---|")
    for name, value in now.items():
        print(f"| {name} | {before[name]:,.0f} | {value:,.0f} |")


if __name__ == "__main__":
    main()
