"""Kinesis Data Streams for DynamoDB on the emulator: the record, when there is one, and faults on its way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, TypeVar

import boto3
import pytest
from botocore.exceptions import ClientError

from localaws.fixture import Emulator, mends

pytestmark = pytest.mark.embedded

Item = dict[str, Any]
_numbers = count()
FAR_S = 4_102_444_800


class Captured:
    """A table with its change records going to a stream of its own, of two shards."""

    def __init__(self, emulator: Emulator, precision: str = "MICROSECOND") -> None:
        self.emulator = emulator
        self.name = f"captured-{next(_numbers)}"
        keys = {"pk": "HASH", "sk": "RANGE"}
        emulator.dynamodb.create_table(
            TableName=self.name,
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
            BillingMode="PAY_PER_REQUEST",
        )
        emulator.kinesis.create_stream(StreamName=self.name, ShardCount=2)
        summary = emulator.kinesis.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]
        emulator.dynamodb.enable_kinesis_streaming_destination(
            TableName=self.name,
            StreamArn=summary["StreamARN"],
            EnableKinesisStreamingConfiguration={"ApproximateCreationDateTimePrecision": precision},
        )

    def put(self, key: str, **attributes: Item) -> None:
        item = {"pk": {"S": key}, "sk": {"S": "POINTS"}, **attributes}
        self.emulator.dynamodb.put_item(TableName=self.name, Item=item)

    def delivered(self) -> list[Item]:
        """Return all records of the stream, as they came, with their shard."""
        kinesis, found = self.emulator.kinesis, []
        for shard in kinesis.list_shards(StreamName=self.name)["Shards"]:
            token = kinesis.get_shard_iterator(
                StreamName=self.name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            for each in kinesis.get_records(ShardIterator=token)["Records"]:
                found.append(each | {"Shard": shard["ShardId"]})
        return sorted(found, key=lambda each: int(each["SequenceNumber"]))

    def records(self) -> list[Item]:
        return [json.loads(each["Data"]) for each in self.delivered()]

    def pending(self) -> int:
        streams = self.emulator.control.get("faults")["streams"]
        return int(streams[self.name]["pending"])


Found = TypeVar("Found")


def eventually(look: Callable[[], Found], within_s: float = 5.0) -> Found:
    """Return what `look` finds, once it finds something."""
    deadline = time.monotonic() + within_s
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found
    return found


def number(value: int) -> Item:
    return {"N": str(value)}


@mends("change_records")
def test_a_record_has_the_shape_of_the_service(emulator: Emulator) -> None:
    table = Captured(emulator)
    before_us = time.time_ns() // 1000
    table.put("A", n=number(1))
    table.put("A", n=number(2))
    (record, last) = table.records()
    assert set(record) == {
        "awsRegion",
        "eventID",
        "eventName",
        "userIdentity",
        "recordFormat",
        "tableName",
        "dynamodb",
        "eventSource",
    }
    key = {"pk": {"S": "A"}, "sk": {"S": "POINTS"}}
    assert (record["eventName"], record["tableName"], record["eventSource"]) == ("INSERT", table.name, "aws:dynamodb")
    assert (record["awsRegion"], record["recordFormat"], record["userIdentity"]) == (
        "us-east-1",
        "application/json",
        None,
    )
    change = record["dynamodb"]
    assert before_us <= change.pop("ApproximateCreationDateTime") <= time.time_ns() // 1000
    assert change.pop("SizeBytes") > 0
    assert change == {
        "Keys": key,
        "NewImage": key | {"n": number(1)},
        "ApproximateCreationDateTimePrecision": "MICROSECOND",
    }
    assert last["eventName"] == "MODIFY"
    assert (last["dynamodb"]["OldImage"], last["dynamodb"]["NewImage"]) == (
        key | {"n": number(1)},
        key | {"n": number(2)},
    )
    assert record["eventID"] != last["eventID"]


@mends("change_records")
def test_the_precision_is_that_of_the_destination(emulator: Emulator) -> None:
    table = Captured(emulator, "MILLISECOND")
    table.put("A")
    change = table.records()[0]["dynamodb"]
    assert len(str(change["ApproximateCreationDateTime"])) == 13
    assert "ApproximateCreationDateTimePrecision" not in change


@mends("change_records")
def test_a_write_that_changes_nothing_leaves_no_record(emulator: Emulator) -> None:
    table = Captured(emulator)
    table.put("A", n=number(1))
    table.put("A", n=number(1))
    emulator.dynamodb.update_item(
        TableName=table.name,
        Key={"pk": {"S": "A"}, "sk": {"S": "POINTS"}},
        UpdateExpression="SET n = :n",
        ExpressionAttributeValues={":n": number(1)},
    )
    assert len(table.records()) == 1


@mends("change_records")
def test_all_records_of_a_key_share_a_partition_key_and_a_shard(emulator: Emulator) -> None:
    table = Captured(emulator)
    for value in range(4):
        for key in "ABCDEF":
            table.put(key, n=number(value))
    homes: dict[str, set[tuple[str, str]]] = {}
    for each in table.delivered():
        homes.setdefault(json.loads(each["Data"])["dynamodb"]["Keys"]["pk"]["S"], set()).add(
            (each["PartitionKey"], each["Shard"])
        )
    assert {key: len(home) for key, home in homes.items()} == dict.fromkeys("ABCDEF", 1)
    assert len({shard for home in homes.values() for _, shard in home}) == 2


@mends("partiql_change_records")
def test_partiql_writes_leave_records_like_any_other(emulator: Emulator) -> None:
    table = Captured(emulator)
    update, delete = (
        "UPDATE TABLE SET n=2 WHERE pk='A' AND sk='POINTS'",
        "DELETE FROM TABLE WHERE pk='A' AND sk='POINTS'",
    )
    for text in ("INSERT INTO TABLE VALUE {'pk':'A','sk':'POINTS','n':1}", update, update, delete, delete):
        statement = {"Statement": text.replace("TABLE", f'"{table.name}"')}
        (answer,) = emulator.dynamodb.batch_execute_statement(Statements=[statement])["Responses"]
        assert "Error" not in answer
    assert [each["eventName"] for each in table.records()] == ["INSERT", "MODIFY", "REMOVE"]
    assert [each["dynamodb"].get("OldImage", {}).get("n") for each in table.records()] == [None, number(1), number(2)]


@mends("partiql_change_records")
def test_a_partiql_transaction_leaves_records_only_when_it_holds(emulator: Emulator) -> None:
    table = Captured(emulator)
    insert = [{"Statement": f"INSERT INTO \"{table.name}\" VALUE {{'pk':'{key}','sk':'POINTS'}}"} for key in "ABA"]
    emulator.dynamodb.execute_transaction(TransactStatements=insert[:1])
    with pytest.raises(ClientError):
        emulator.dynamodb.execute_transaction(TransactStatements=[insert[1], insert[2]])
    assert [each["dynamodb"]["Keys"]["pk"]["S"] for each in table.records()] == ["A"]


def test_transactions_and_batches_leave_a_record_per_item(emulator: Emulator) -> None:
    table = Captured(emulator)
    item = {"pk": {"S": "A"}, "sk": {"S": "POINTS"}}
    emulator.dynamodb.transact_write_items(TransactItems=[{"Put": {"TableName": table.name, "Item": item}}])
    emulator.dynamodb.batch_write_item(RequestItems={table.name: [{"DeleteRequest": {"Key": item}}]})
    assert [each["eventName"] for each in table.records()] == ["INSERT", "REMOVE"]


@mends("ttl_records")
def test_expiry_removes_items_with_the_identity_of_the_service(emulator: Emulator) -> None:
    table = Captured(emulator)
    emulator.dynamodb.update_time_to_live(
        TableName=table.name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    now_s = int(time.time())
    table.put("OVER", expires=number(now_s - 10))
    table.put("LATER", expires=number(now_s + 1000))
    table.put("NO TIME", expires={"S": "1"})
    assert emulator.control.post("expire")["expired"] >= 1
    gone = eventually(lambda: [each for each in table.records() if each["eventName"] == "REMOVE"])[0]
    assert gone["dynamodb"]["Keys"]["pk"] == {"S": "OVER"}
    assert gone["userIdentity"] == {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    assert emulator.dynamodb.scan(TableName=table.name, Select="COUNT")["Count"] == 2


@mends("record_sizes")
def test_a_record_that_is_larger_than_the_streams_records_can_be_never_comes(emulator: Emulator) -> None:
    table, kinesis = Captured(emulator), emulator.kinesis
    stream = kinesis.describe_stream_summary(StreamName=table.name)["StreamDescriptionSummary"]
    assert stream["MaxRecordSizeInKiB"] == 1024
    binary = {"B": b"x" * 398_000}
    for number in range(2):  # the second record has two images, each of half a MiB in base64
        table.put("WIDE", big=binary, n={"N": str(number)})
    assert [each["eventName"] for each in table.records()] == ["INSERT"]
    assert emulator.control.get("faults")["streams"][table.name]["refused"] == 1
    kinesis.update_max_record_size(StreamARN=stream["StreamARN"], MaxRecordSizeInKiB=10_240)
    table.put("WIDE", big=binary, n={"N": "2"})
    assert [each["eventName"] for each in table.records()] == ["INSERT", "MODIFY"]
    kinesis.create_stream(StreamName=f"{table.name}-wide", ShardCount=1, MaxRecordSizeInKiB=10_240)
    wide = kinesis.describe_stream_summary(StreamName=f"{table.name}-wide")["StreamDescriptionSummary"]
    assert wide["MaxRecordSizeInKiB"] == 10_240
    with pytest.raises(ClientError, match="from 1024 to 10240"):
        kinesis.update_max_record_size(StreamARN=stream["StreamARN"], MaxRecordSizeInKiB=10_241)


@mends("ttl_records")
def test_dynamodb_streams_tell_an_expiry_from_a_delete_too(emulator: Emulator) -> None:
    table = Captured(emulator)
    arn = emulator.dynamodb.update_table(
        TableName=table.name, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    )["TableDescription"]["LatestStreamArn"]
    emulator.dynamodb.update_time_to_live(
        TableName=table.name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    for name in ("OVER", "DELETED"):
        table.put(name, expires=number(int(time.time()) - 10 if name == "OVER" else FAR_S))
    emulator.dynamodb.delete_item(TableName=table.name, Key={"pk": {"S": "DELETED"}, "sk": {"S": "POINTS"}})
    emulator.control.post("expire")
    streams = boto3.client("dynamodbstreams", **emulator.endpoints.client_arguments())
    shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]

    def removals() -> list[dict[str, Any]]:
        iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        found = streams.get_records(ShardIterator=iterator["ShardIterator"])["Records"]
        gone = [each for each in found if each["eventName"] == "REMOVE"]
        return gone if len(gone) == 2 else []

    deleted, over = eventually(removals)
    assert over["dynamodb"]["OldImage"]["pk"] == {"S": "OVER"}
    assert over["userIdentity"] == {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
    assert "userIdentity" not in deleted


def test_a_sweep_that_is_set_removes_by_itself_what_is_over(emulator: Emulator) -> None:
    table = Captured(emulator)
    emulator.dynamodb.update_time_to_live(
        TableName=table.name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    assert emulator.control.post("expire", every_s=0.05)["every_s"] == 0.05
    try:
        table.put("OVER", expires=number(int(time.time()) - 10))
        gone = eventually(lambda: [each for each in table.records() if each["eventName"] == "REMOVE"])
        assert gone[0]["userIdentity"]["principalId"] == "dynamodb.amazonaws.com"
    finally:
        emulator.control.post("expire", every_s=0)


@pytest.mark.parametrize("settings", [{"every_s": -1}, {"every": 1}])
def test_a_sweep_that_makes_no_sense_is_refused(emulator: Emulator, settings: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="400"):
        emulator.control.post("expire", **settings)


@pytest.fixture
def faults(emulator: Emulator) -> Iterator[Emulator]:
    """The emulator, which gets back to delivering everything once, in order."""
    yield emulator
    emulator.control.post("faults", duplicate=0, shuffle_window=0, delay_ms=0)


def test_records_come_twice_and_out_of_order_on_request(faults: Emulator) -> None:
    table = Captured(faults)
    faults.control.post("faults", duplicate=0.5, duplicate_after_ms=200, shuffle_window=10, seed=7)
    for value in range(60):
        table.put("A", n=number(value))
    assert table.pending() > 0
    report = faults.control.post("faults", duplicate=0, shuffle_window=0)
    counters = report["streams"][table.name]
    assert (counters["emitted"], counters["pending"]) == (60, 0)
    assert counters["duplicated"] > 10
    assert counters["shuffled"] > 10
    assert report["tables"][table.name]["records"] == 60
    values = [int(each["dynamodb"]["NewImage"]["n"]["N"]) for each in table.records()]
    assert len(values) == 60 + counters["duplicated"] == counters["delivered"]
    assert set(values) == set(range(60))
    assert values != sorted(values)


def test_a_waiting_record_shows_in_the_age_of_the_oldest_unreplicated_one(faults: Emulator) -> None:
    table = Captured(faults)
    faults.control.post("faults", delay_ms=60_000, seed=1)
    table.put("A")
    dimensions = [{"Name": "TableName", "Value": table.name}]
    listed = eventually(
        lambda: faults.cloudwatch.list_metrics(
            Namespace="AWS/DynamoDB", MetricName="AgeOfOldestUnreplicatedRecord", Dimensions=dimensions
        )["Metrics"]
    )[0]["Dimensions"]
    assert {each["Name"] for each in listed} == {"TableName", "DelegatedOperation"}
    assert 0 < eventually(lambda: newest_age_ms(faults, listed)) < 20_000
    faults.control.post("faults", delay_ms=0)
    eventually(lambda: newest_age_ms(faults, listed) == 0)


def newest_age_ms(emulator: Emulator, dimensions: list[Item]) -> float:
    """Return the newest value of the metric, by GetMetricData as a client reads it."""
    now_s = time.time()
    answer = emulator.cloudwatch.get_metric_data(
        StartTime=now_s - 60,
        EndTime=now_s + 1,
        MetricDataQueries=[
            {
                "Id": "age",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/DynamoDB",
                        "MetricName": "AgeOfOldestUnreplicatedRecord",
                        "Dimensions": dimensions,
                    },
                    "Period": 1,
                    "Stat": "Maximum",
                },
            }
        ],
    )["MetricDataResults"][0]
    return float(max(zip(answer["Timestamps"], answer["Values"], strict=True))[1]) if answer["Values"] else 0.0


def test_a_wrong_fault_setting_is_refused_and_changes_nothing(emulator: Emulator) -> None:
    import urllib.error

    before = emulator.control.get("faults")["faults"]
    for settings in ({"duplicate": 2}, {"loss": 0.1}, {"delay_ms": "soon"}, {"stream": "nobody", "delay_ms": 1}):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            emulator.control.post("faults", **settings)
    assert emulator.control.get("faults")["faults"] == before
