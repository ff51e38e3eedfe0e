"""GET /_localaws/calls: what each access key did, as real clients send it over every path of the emulator."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import boto3
import pytest

from localaws.endpoints import Endpoints

pytestmark = pytest.mark.embedded

KEY = "calls-counted"


def calls_of(key: str, endpoints: Endpoints) -> dict[str, dict[str, int]]:
    with urllib.request.urlopen(f"{endpoints.aws_endpoint}/_localaws/calls") as answer:  # noqa: S310  # loopback
        found: dict[str, dict[str, int]] = json.load(answer).get(key, {})
    return found


def test_the_quick_and_the_slow_path_are_both_counted_and_each_client_by_its_own_key(local_aws: Endpoints) -> None:
    arguments: dict[str, Any] = local_aws.client_arguments() | {"aws_access_key_id": KEY}
    dynamodb, kinesis = boto3.client("dynamodb", **arguments), boto3.client("kinesis", **arguments)
    s3, cloudwatch = boto3.client("s3", **arguments), boto3.client("cloudwatch", **arguments)
    key = {"AttributeName": "pk", "AttributeType": "S"}
    dynamodb.create_table(
        TableName="counted",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[key],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    for _ in range(3):
        dynamodb.put_item(TableName="counted", Item={"pk": {"S": "a"}})
    dynamodb.batch_execute_statement(Statements=[{"Statement": "SELECT * FROM counted WHERE pk='a'"}])
    kinesis.create_stream(StreamName="counted-changes", ShardCount=1)
    shard = kinesis.list_shards(StreamName="counted-changes")["Shards"][0]["ShardId"]
    token = kinesis.get_shard_iterator(StreamName="counted-changes", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    kinesis.get_records(ShardIterator=token["ShardIterator"])
    s3.create_bucket(Bucket="counted-files")
    s3.put_object(Bucket="counted-files", Key="a", Body=b"x")
    cloudwatch.list_metrics(Namespace="AWS/DynamoDB")
    assert calls_of(KEY, local_aws) == {
        "cloudwatch:ListMetrics": {"?": 1},
        "dynamodb:CreateTable": {"counted": 1},
        "dynamodb:PartiQLSelect": {"counted": 1},
        "dynamodb:PutItem": {"counted": 3},
        "kinesis:CreateStream": {"counted-changes": 1},
        "kinesis:GetRecords": {"counted-changes": 1},
        "kinesis:GetShardIterator": {"counted-changes": 1},
        "kinesis:ListShards": {"counted-changes": 1},
        "s3:CreateBucket": {"counted-files": 1},
        "s3:PutObject": {"counted-files": 1},
    }
