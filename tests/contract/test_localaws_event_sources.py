"""Event source mappings on the emulator: a function behind a stream gets what Lambda would give it, as often."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from localaws.fixture import Emulator, mends

pytestmark = pytest.mark.embedded

_numbers = count()

FUNCTION = """
import base64, json, os, time

BOOK = os.environ["BOOK"]

def handler(event, context):
    found = [each["kinesis"] for each in event["Records"]]
    records = [(each["sequenceNumber"], int(base64.b64decode(each["data"]))) for each in found]
    values = [value for _, value in records]
    seen = [json.loads(line)["values"] for line in open(BOOK)] if os.path.exists(BOOK) else []
    with open(BOOK, "a") as book:
        book.write(json.dumps({"at": time.time(), "values": values}) + "\\n")
    fails = json.loads(os.environ["FAILS"])  # value to how often it fails
    failing = [(sequence, value) for sequence, value in records
               if sum(value in each for each in seen) < fails.get(str(value), 0)]
    time.sleep(float(os.environ["TAKES_S"]))
    with open(BOOK + ".ends", "a") as ends:
        ends.write(json.dumps({"at": time.time(), "values": values}) + "\\n")
    if not failing:
        return None
    if os.environ["ANSWER"] == "raise":
        raise RuntimeError(f"can't take {failing}")
    if os.environ["ANSWER"] == "nonsense":
        return {"batchItemFailures": [{"itemIdentifier": ""}]}
    return {"batchItemFailures": [{"itemIdentifier": sequence} for sequence, _ in reversed(failing)]}
"""

ALWAYS = 10**6


class Mapped:
    """A stream, a function that writes down what it gets, and a mapping between them."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        arguments = emulator.endpoints.client_arguments()
        self.kinesis = emulator.kinesis
        self.patience_s = 1.5 if emulator.without else 60.0  # where it must fail, it is not worth waiting for
        self.functions, self.sqs = (boto3.client(name, **arguments) for name in ("lambda", "sqs"))
        self.name = f"mapped-{next(_numbers)}"
        self.book = folder / f"{self.name}.jsonl"
        self.mapping_id = ""

    def stream(self, shards: int = 1) -> str:
        self.kinesis.create_stream(StreamName=self.name, ShardCount=shards)
        summary = self.kinesis.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]
        return str(summary["StreamARN"])

    def map(
        self,
        fails: dict[int, int] | None = None,
        *,
        answer: str = "partial",
        takes_s: float = 0,
        arn: str = "",
        **settings: Any,
    ) -> None:
        """Make the function and its mapping."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("function.py", FUNCTION)
        variables = {
            "BOOK": str(self.book),
            "FAILS": json.dumps(fails or {}),
            "ANSWER": answer,
            "TAKES_S": str(takes_s),
        }
        self.functions.create_function(
            FunctionName=self.name,
            Runtime="python3.11",
            Role="arn:aws:iam::000000000000:role/any",
            Handler="function.handler",
            Code={"ZipFile": packed.getvalue()},
            Timeout=10,
            Environment={"Variables": variables},
        )
        settings = {"StartingPosition": "TRIM_HORIZON", "BatchSize": 10} | settings
        if answer != "raise":
            settings |= {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
        made = self.functions.create_event_source_mapping(
            EventSourceArn=arn or self.stream(), FunctionName=self.name, **settings
        )
        self.mapping_id = made["UUID"]

    def put(self, *values: int, key: str = "one") -> None:
        records = [{"Data": str(value).encode(), "PartitionKey": key} for value in values]
        self.kinesis.put_records(StreamName=self.name, Records=records)

    def invocations(self) -> list[list[int]]:
        return [each["values"] for each in self.entries()]

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.book.read_text().splitlines()] if self.book.exists() else []

    def ends(self) -> list[dict[str, Any]]:
        """Wait until each invocation has ended, and return when it did."""
        book = self.book.with_name(self.book.name + ".ends")
        end_s = time.monotonic() + self.patience_s
        while not book.exists() or len(book.read_text().splitlines()) < len(self.entries()):
            assert time.monotonic() < end_s, "invocations that don't end"
            time.sleep(0.05)
        return [json.loads(line) for line in book.read_text().splitlines()]

    def until(self, reached: Callable[[list[list[int]]], bool]) -> list[list[int]]:
        """Wait until the invocations are as wanted, and return them; fail with what there is."""
        end_s = time.monotonic() + self.patience_s
        while not reached(found := self.invocations()):
            assert time.monotonic() < end_s, found
            time.sleep(0.05)
        return found

    def queue(self) -> tuple[str, str]:
        url = self.sqs.create_queue(QueueName=self.name)["QueueUrl"]
        return url, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def message(self, url: str) -> dict[str, Any]:
        end_s = time.monotonic() + self.patience_s
        while time.monotonic() < end_s:
            if found := self.sqs.receive_message(QueueUrl=url).get("Messages"):
                body: dict[str, Any] = json.loads(found[0]["Body"])
                return body
            time.sleep(0.05)
        raise AssertionError("nothing in the queue")

    def close(self) -> None:
        if self.mapping_id:
            self.functions.delete_event_source_mapping(UUID=self.mapping_id)


@pytest.fixture
def mapped(emulator: Emulator, tmp_path: Path) -> Iterator[Mapped]:
    each = Mapped(emulator, tmp_path)
    yield each
    each.close()


@mends("event_sources")
def test_everything_from_the_lowest_named_record_on_is_delivered_again(emulator: Emulator, mapped: Mapped) -> None:
    mapped.map({3: 2, 5: 2})
    mapped.put(*range(1, 8))
    found = mapped.until(lambda them: len(them) >= 3)
    assert found[:3] == [[1, 2, 3, 4, 5, 6, 7], [3, 4, 5, 6, 7], [3, 4, 5, 6, 7]]
    mapped.put(8)
    assert mapped.until(lambda them: [8] in them).count([3, 4, 5, 6, 7]) == 2, "what is done comes no more"


@mends("event_sources")
def test_a_name_that_is_none_fails_the_whole_batch(emulator: Emulator, mapped: Mapped) -> None:
    mapped.map({2: 1}, answer="nonsense")
    mapped.put(1, 2, 3)
    found = mapped.until(lambda them: len(them) >= 2)
    assert found[:2] == [[1, 2, 3], [1, 2, 3]]


@mends("event_sources")
def test_retries_end_and_the_destination_is_told_where_but_not_what(emulator: Emulator, mapped: Mapped) -> None:
    url, queue = mapped.queue()
    mapped.map(
        {2: ALWAYS},
        answer="raise",
        MaximumRetryAttempts=2,
        DestinationConfig={"OnFailure": {"Destination": queue}},
    )
    mapped.put(1, 2, 3)
    told = mapped.message(url)
    assert mapped.invocations() == [[1, 2, 3]] * 3
    assert told["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert told["requestContext"]["approximateInvokeCount"] == 3
    assert told["KinesisBatchInfo"]["shardId"] == "shardId-000000000000"
    assert told["KinesisBatchInfo"]["batchSize"] == 3
    assert "Records" not in told


@mends("event_sources")
def test_bisecting_finds_the_one_record_that_fails(emulator: Emulator, mapped: Mapped) -> None:
    url, queue = mapped.queue()
    mapped.map(
        {3: ALWAYS},
        answer="raise",
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=0,
        MaximumBatchingWindowInSeconds=1,
        BatchSize=4,
        DestinationConfig={"OnFailure": {"Destination": queue}},
    )
    mapped.put(1, 2, 3, 4)
    told = mapped.message(url)
    assert told["KinesisBatchInfo"]["batchSize"] == 1
    assert mapped.until(lambda them: [4] in them) == [[1, 2, 3, 4], [1, 2], [3, 4], [3], [4]]


@mends("event_sources")
def test_a_record_that_is_too_old_is_given_up(emulator: Emulator, mapped: Mapped) -> None:
    url, queue = mapped.queue()
    mapped.map(
        {1: ALWAYS},
        answer="raise",
        MaximumRecordAgeInSeconds=60,
        Enabled=False,
        DestinationConfig={"OnFailure": {"Destination": queue}},
    )
    mapped.functions.update_event_source_mapping(UUID=mapped.mapping_id, MaximumRecordAgeInSeconds=1)
    mapped.put(1)
    time.sleep(1.1)
    mapped.functions.update_event_source_mapping(UUID=mapped.mapping_id, Enabled=True)
    mapped.put(2)
    assert mapped.message(url)["requestContext"]["condition"] == "MaxRecordAgeExceeded"
    assert mapped.until(lambda them: [2] in them) == [[2]]


@mends("event_sources")
def test_the_window_gathers_a_batch(emulator: Emulator, mapped: Mapped) -> None:
    mapped.map(MaximumBatchingWindowInSeconds=1)
    for value in range(4):
        mapped.put(value)
        time.sleep(0.2)
    assert mapped.until(lambda them: sum(map(len, them)) == 4) == [[0, 1, 2, 3]]


@mends("event_sources")
def test_one_shard_is_worked_on_in_parallel_and_each_key_in_order(emulator: Emulator, mapped: Mapped) -> None:
    mapped.map(takes_s=0.5, ParallelizationFactor=2, BatchSize=1)
    mapped.put(1, 2, 3, key="one")
    mapped.put(11, 12, 13, key="two")
    found = [each[0] for each in mapped.until(lambda them: len(them) == 6)]
    assert [each for each in found if each < 10] == [1, 2, 3]
    assert [each for each in found if each > 10] == [11, 12, 13]
    began_s = [each["at"] for each in mapped.entries()]
    ended_s = {each["values"][0]: each["at"] for each in mapped.ends()}
    inside = [
        n
        for n, at_s in zip(found[1:], began_s[1:], strict=True)
        if at_s < max(map(ended_s.__getitem__, found[: found.index(n)]))
    ]
    assert inside, "none began before the one before it had ended"


@mends("event_sources")
def test_a_mapping_begins_at_its_moment(emulator: Emulator, mapped: Mapped) -> None:
    arn = mapped.stream()
    mapped.put(1)
    time.sleep(0.2)
    moment_s = time.time()
    time.sleep(0.2)
    mapped.put(2)
    mapped.map(arn=arn, StartingPosition="AT_TIMESTAMP", StartingPositionTimestamp=moment_s)
    assert mapped.until(lambda them: bool(them)) == [[2]]


@mends("event_sources")
def test_children_come_after_the_end_of_their_parent(emulator: Emulator, mapped: Mapped) -> None:
    arn = mapped.stream()
    mapped.put(1, 2)
    mapped.map({2: 2}, arn=arn, BatchSize=1)
    mapped.kinesis.split_shard(
        StreamName=mapped.name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127)
    )
    mapped.put(3)
    found = mapped.until(lambda them: [3] in them)
    assert found == [[1], [2], [2], [2], [3]]


@mends("event_sources")
@pytest.mark.parametrize(
    "wrong", [{"BatchSize": 10_001}, {"ParallelizationFactor": 11}, {"FunctionResponseTypes": ["Else"]}]
)
def test_settings_out_of_range_are_refused(emulator: Emulator, mapped: Mapped, wrong: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as refused:
        mapped.map(answer="raise", **wrong)
    assert refused.value.response["Error"]["Code"] == "InvalidParameterValueException"
    assert next(iter(wrong)) in str(refused.value)


@mends("event_sources")
def test_the_age_of_the_last_record_is_a_metric(emulator: Emulator, mapped: Mapped) -> None:
    mapped.map()
    mapped.put(1)
    mapped.until(lambda them: them == [[1]])
    listed = emulator.cloudwatch.list_metrics(Namespace="AWS/Lambda", MetricName="IteratorAge")["Metrics"]
    assert {"Name": "FunctionName", "Value": mapped.name} in [each for one in listed for each in one["Dimensions"]]


def test_the_event_has_lambdas_shape(emulator: Emulator) -> None:
    from localaws.patches import event_sources

    arn = "arn:aws:kinesis:us-east-1:000000000000:stream/any"
    record = {"SequenceNumber": "7", "PartitionKey": "k", "ApproximateArrivalTimestamp": 1.5, "Data": "e30="}
    shown = event_sources._event({"EventSourceArn": arn}, "shardId-000000000003", record)
    assert shown["eventID"] == "shardId-000000000003:7"
    assert base64.b64decode(shown["kinesis"]["data"]) == b"{}"
    assert shown["eventSourceARN"] == arn
