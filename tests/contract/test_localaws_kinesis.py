"""Kinesis on the emulator: positions, resharding and lag as the service has them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from itertools import count, pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localaws.fixture import Emulator, mends

pytestmark = pytest.mark.embedded

_numbers = count()
MIDDLE = str(2**127)


class Stream:
    """A stream of its own."""

    def __init__(self, emulator: Emulator, shards: int = 1) -> None:
        self.kinesis = emulator.kinesis
        self.name = f"stream-{next(_numbers)}"
        self.kinesis.create_stream(StreamName=self.name, ShardCount=shards)

    def put(self, *values: int) -> list[str]:
        """Put a record per value, each on a shard of its own choosing, and return the sequence numbers."""
        records = [{"Data": str(value).encode(), "PartitionKey": f"key {value}"} for value in values]
        answer = self.kinesis.put_records(StreamName=self.name, Records=records)
        return [each["SequenceNumber"] for each in answer["Records"]]

    def shards(self) -> list[dict[str, Any]]:
        shards: list[dict[str, Any]] = self.kinesis.list_shards(StreamName=self.name)["Shards"]
        return shards

    def token(self, kind: str, shard: int = 0, **position: Any) -> str:
        shard_id = f"shardId-{shard:012d}"
        answer = self.kinesis.get_shard_iterator(
            StreamName=self.name, ShardId=shard_id, ShardIteratorType=kind, **position
        )
        return str(answer["ShardIterator"])

    def page(self, token: str, limit: int = 1000) -> dict[str, Any]:
        answer: dict[str, Any] = self.kinesis.get_records(ShardIterator=token, Limit=limit)
        return answer

    def values(self, kind: str = "TRIM_HORIZON", shard: int = 0, **position: Any) -> list[int]:
        return values(self.page(self.token(kind, shard, **position)))


@mends("iterators")
def test_a_page_holds_at_most_10_mb_of_data(emulator: Emulator) -> None:
    stream = Stream(emulator)
    for number in range(12):
        emulator.kinesis.put_record(StreamName=stream.name, Data=b"x" * 1_000_000, PartitionKey=str(number))
    first = stream.page(stream.token("TRIM_HORIZON"), limit=10_000)
    assert len(first["Records"]) == 10
    assert first["MillisBehindLatest"] >= 0
    rest = stream.page(first["NextShardIterator"], limit=10_000)
    assert len(rest["Records"]) == 2
    emulator.kinesis.delete_stream(StreamName=stream.name)


@mends("iterators")
@pytest.mark.parametrize("limit", [10_001, 0])
def test_a_page_of_more_than_10_000_records_cant_be_asked_for(emulator: Emulator, limit: int) -> None:
    stream = Stream(emulator)
    token = stream.token("TRIM_HORIZON")
    body = json.dumps({"ShardIterator": token, "Limit": limit}).encode()
    headers = {"X-Amz-Target": "Kinesis_20131202.GetRecords", "Content-Type": "application/x-amz-json-1.1"}
    headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=any/20261128/us-east-1/kinesis/aws4_request"
    request = urllib.request.Request(emulator.endpoints.aws_endpoint, data=body, headers=headers)  # noqa: S310
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)  # noqa: S310  # loopback
    assert caught.value.code == 400


def values(page: dict[str, Any]) -> list[int]:
    return [int(each["Data"]) for each in page["Records"]]


@mends("sequence_numbers")
def test_a_sequence_number_is_the_same_as_text_and_as_integer(emulator: Emulator) -> None:
    stream = Stream(emulator)
    found = stream.put(*range(20))
    assert [str(int(each)) for each in found] == found
    assert sorted(found) == found
    assert min(map(int, found)) > 2**64


@mends("iterators", "sequence_numbers")
def test_a_reader_resumes_behind_its_checkpoint_whether_it_kept_text_or_integer(emulator: Emulator) -> None:
    stream = Stream(emulator)
    found = stream.put(1, 2, 3)
    assert stream.values("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=str(int(found[0]))) == [2, 3]
    assert stream.values("AT_SEQUENCE_NUMBER", StartingSequenceNumber=found[1]) == [2, 3]


def test_each_kind_of_iterator_starts_where_it_says(emulator: Emulator) -> None:
    stream = Stream(emulator)
    stream.put(1, 2)
    time.sleep(0.02)
    between_s = time.time()
    time.sleep(0.02)
    latest = stream.token("LATEST")
    stream.put(3)
    assert stream.values("TRIM_HORIZON") == [1, 2, 3]
    assert values(stream.page(latest)) == [3]
    assert stream.values("AT_TIMESTAMP", Timestamp=between_s) == [3]
    assert stream.values("AT_TIMESTAMP", Timestamp=between_s + 60) == []


def test_pages_follow_each_other_without_gap_or_overlap(emulator: Emulator) -> None:
    stream = Stream(emulator)
    stream.put(*range(25))
    token, read = stream.token("TRIM_HORIZON"), []
    for _ in range(4):
        page = stream.page(token, limit=10)
        read += values(page)
        token = page["NextShardIterator"]
    assert read == list(range(25))
    stream.put(25)
    assert values(stream.page(token)) == [25]


def test_a_page_can_be_read_again_with_its_iterator(emulator: Emulator) -> None:
    stream = Stream(emulator)
    stream.put(1, 2)
    token = stream.token("TRIM_HORIZON")
    assert values(stream.page(token)) == values(stream.page(token)) == [1, 2]


def test_millis_behind_latest_is_the_age_of_the_next_record_and_zero_at_the_tip(emulator: Emulator) -> None:
    stream = Stream(emulator)
    stream.put(1, 2)
    time.sleep(0.1)
    page = stream.page(stream.token("TRIM_HORIZON"), limit=1)
    assert 100 <= page["MillisBehindLatest"] < 5000
    assert stream.page(page["NextShardIterator"])["MillisBehindLatest"] == 0


@mends("resharding")
def test_a_split_loses_nothing_and_shows_the_lineage(emulator: Emulator) -> None:
    stream = Stream(emulator)
    stream.put(*range(10))
    stream.kinesis.split_shard(StreamName=stream.name, ShardToSplit="shardId-000000000000", NewStartingHashKey=MIDDLE)
    stream.put(*range(10, 30))
    parent, *children = stream.shards()
    assert "EndingSequenceNumber" in parent["SequenceNumberRange"]
    assert [each["ParentShardId"] for each in children] == ["shardId-000000000000"] * 2
    assert stream.values(shard=0) == list(range(10))
    assert sorted(stream.values(shard=1) + stream.values(shard=2)) == list(range(10, 30))
    assert stream.values(shard=1)
    assert stream.values(shard=2)
    summary = stream.kinesis.describe_stream_summary(StreamName=stream.name)["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 2


@mends("iterators")
def test_the_last_page_of_a_closed_shard_names_its_children_and_ends(emulator: Emulator) -> None:
    stream = Stream(emulator)
    stream.put(1, 2)
    stream.kinesis.split_shard(StreamName=stream.name, ShardToSplit="shardId-000000000000", NewStartingHashKey=MIDDLE)
    first = stream.page(stream.token("TRIM_HORIZON"), limit=1)
    assert "ChildShards" not in first
    last = stream.page(first["NextShardIterator"])
    assert "NextShardIterator" not in last
    assert [each["ShardId"] for each in last["ChildShards"]] == ["shardId-000000000001", "shardId-000000000002"]


@mends("resharding")
def test_a_merge_loses_nothing_and_has_two_parents(emulator: Emulator) -> None:
    stream = Stream(emulator, shards=2)
    stream.put(*range(20))
    stream.kinesis.merge_shards(
        StreamName=stream.name, ShardToMerge="shardId-000000000000", AdjacentShardToMerge="shardId-000000000001"
    )
    stream.put(20)
    child = stream.shards()[2]
    assert {child["ParentShardId"], child["AdjacentParentShardId"]} == {"shardId-000000000000", "shardId-000000000001"}
    assert sorted(stream.values(shard=0) + stream.values(shard=1)) == list(range(20))
    assert stream.values(shard=2) == [20]


@mends("resharding")
def test_a_new_shard_count_keeps_the_records_and_covers_every_key(emulator: Emulator) -> None:
    stream = Stream(emulator, shards=2)
    stream.put(*range(20))
    for target in (4, 2):
        stream.kinesis.update_shard_count(
            StreamName=stream.name, TargetShardCount=target, ScalingType="UNIFORM_SCALING"
        )
        shards = stream.shards()
        opened = [each for each in shards if "EndingSequenceNumber" not in each["SequenceNumberRange"]]
        assert len(opened) == target
        spans = sorted(
            (int(e["HashKeyRange"]["StartingHashKey"]), int(e["HashKeyRange"]["EndingHashKey"])) for e in opened
        )
        assert spans[0][0] == 0
        assert spans[-1][1] == 2**128 - 1
        assert all(left[1] + 1 == right[0] for left, right in pairwise(spans))
    stream.put(*range(20, 40))
    read = [value for shard in range(len(stream.shards())) for value in stream.values(shard=shard)]
    assert sorted(read) == list(range(40))


@mends("resharding")
def test_a_shard_count_beyond_double_is_refused(emulator: Emulator) -> None:
    stream = Stream(emulator)
    with pytest.raises(ClientError, match="LimitExceeded"):
        stream.kinesis.update_shard_count(StreamName=stream.name, TargetShardCount=3, ScalingType="UNIFORM_SCALING")


@mends("iterators")
def test_an_iterator_that_is_none_is_refused_as_invalid(emulator: Emulator) -> None:
    with pytest.raises(ClientError, match="InvalidArgument"):
        emulator.kinesis.get_records(ShardIterator="made up")


def test_retention_can_be_raised(emulator: Emulator) -> None:
    stream = Stream(emulator)
    stream.kinesis.increase_stream_retention_period(StreamName=stream.name, RetentionPeriodHours=168)
    summary = stream.kinesis.describe_stream_summary(StreamName=stream.name)["StreamDescriptionSummary"]
    assert (summary["RetentionPeriodHours"], summary["StreamStatus"]) == (168, "ACTIVE")
