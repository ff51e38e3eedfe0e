"""What the adapters ask of the wire, and what they make of its answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest

from crossfade.adapters.admin import DynamoAdmin
from crossfade.adapters.control.tables import look_at_tables
from crossfade.adapters.dynamodb import EMPTY_ROUNDS, DynamoDB, Page, StatementResult
from crossfade.adapters.kinesis import MAX_PUT_RECORDS, PUT_ATTEMPTS, Kinesis
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.wire import Credentials, ServiceError, StaticCredentials, Wire, WireConfig
from crossfade.core.migration.control import control_tables
from crossfade.core.values.errors import StoreUnavailable, Throttled
from crossfade.core.values.image import Image, of_string
from crossfade.core.values.shape import Side
from crossfade.ports.streams import Fetched, StreamRecord, StreamShard
from engagement_migration import MAPPING

Answerer = Callable[[str, dict[str, Any]], dict[str, Any] | bytes]


class ScriptedWire(Wire):
    """Answers calls by a function of operation and request, and keeps what was asked and how long was waited."""

    def __init__(self, service: Literal["dynamodb", "kinesis"], answer: Answerer) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.options: list[tuple[float | None, int | None]] = []
        self.waits_s: list[float] = []
        self._answer = answer

        async def sleep(delay_s: float) -> None:
            self.waits_s.append(delay_s)

        config = WireConfig("us-east-1", "http://127.0.0.1:9")
        super().__init__(service, config, StaticCredentials(Credentials("a", "b")), sleep=sleep, jitter=lambda: 1.0)

    async def call(
        self, operation: str, body: bytes, *, timeout_s: float | None = None, attempts: int | None = None
    ) -> bytes:
        request = json.loads(body)
        self.calls.append((operation, request))
        self.options.append((timeout_s, attempts))
        answer = self._answer(operation, request)
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


def dynamodb(answer: Answerer | dict[str, Any] | bytes) -> tuple[DynamoDB, ScriptedWire]:
    wire = ScriptedWire("dynamodb", answer if callable(answer) else lambda _operation, _request: answer)
    return DynamoDB(wire), wire


def kinesis(answer: Answerer | dict[str, Any] | bytes) -> tuple[Kinesis, ScriptedWire]:
    wire = ScriptedWire("kinesis", answer if callable(answer) else lambda _operation, _request: answer)
    return Kinesis(wire), wire


def key(number: int) -> Image:
    return {"pk": of_string(f"USER#{number}"), "sk": of_string('a "quoted" µ')}


def plain(image: Image) -> dict[str, Any]:
    return {name: json.loads(bytes(value)) for name, value in image.items()}


# DynamoDB


async def test_get_item_reads_consistently_unless_told_otherwise_and_leaves_values_raw() -> None:
    store, wire = dynamodb(b'{"Item": {"cf_mv": {"N": "98765432109876543210"}}}')
    item = await store.get_item('t"able', key(1))
    assert item is not None
    assert bytes(item["cf_mv"]) == b'{"N": "98765432109876543210"}'
    await store.get_item("table", key(1), consistent=False)
    assert [request["ConsistentRead"] for _, request in wire.calls] == [True, False]
    assert wire.calls[0][1]["TableName"] == 't"able'
    assert wire.calls[0][1]["Key"] == plain(key(1))


async def test_an_item_that_is_not_there_is_none() -> None:
    store, _ = dynamodb({})
    assert await store.get_item("table", key(1)) is None


def found(_operation: str, request: dict[str, Any]) -> dict[str, Any]:
    read = {table: asked["Keys"] for table, asked in request["RequestItems"].items()}
    return {"Responses": read, "UnprocessedKeys": {}}


async def test_batch_get_reads_any_count_by_hundreds_and_a_key_given_twice_once() -> None:
    store, wire = dynamodb(found)
    items = await store.batch_get("table", [key(number) for number in (*range(250), 7)])
    assert sorted(len(request["RequestItems"]["table"]["Keys"]) for _, request in wire.calls) == [50, 100, 100]
    assert sorted(plain(item)["pk"]["S"] for item in items) == sorted(f"USER#{number}" for number in range(250))


async def test_batch_get_of_nothing_asks_nothing() -> None:
    store, wire = dynamodb(found)
    assert await store.batch_get("table", []) == []
    assert wire.calls == []


async def test_batch_get_follows_what_was_left_unprocessed() -> None:
    def three_at_a_time(_operation: str, request: dict[str, Any]) -> dict[str, Any]:
        keys = request["RequestItems"]["table"]["Keys"]
        left = {"table": {"Keys": keys[3:], "ConsistentRead": True}} if keys[3:] else {}
        return {"Responses": {"table": keys[:3]}, "UnprocessedKeys": left}

    store, wire = dynamodb(three_at_a_time)
    assert len(await store.batch_get("table", [key(number) for number in range(8)])) == 8
    assert [len(request["RequestItems"]["table"]["Keys"]) for _, request in wire.calls] == [8, 5, 2]
    assert len(wire.waits_s) == 2


@pytest.mark.parametrize("count", [10, 150])
async def test_batch_get_that_gets_nowhere_is_throttled_not_endless(count: int) -> None:
    def nothing(_operation: str, request: dict[str, Any]) -> dict[str, Any]:
        return {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}

    store, wire = dynamodb(nothing)
    with pytest.raises(Throttled, match="unprocessed"):
        await store.batch_get("table", [key(number) for number in range(count)])
    assert wire.waits_s[: EMPTY_ROUNDS - 1] == sorted(wire.waits_s[: EMPTY_ROUNDS - 1]), "waits grow"


async def test_rule_10_each_statement_has_its_own_outcome_though_the_request_succeeded() -> None:
    answer = {
        "Responses": [
            {"TableName": "t"},
            {"Error": {"Code": "com.amazonaws#ConditionalCheckFailed", "Message": "no", "Item": {"cf_mv": {"N": "9"}}}},
            {"Error": {"Code": "DuplicateItem"}},
            {"Item": {"balance": {"N": "12"}}, "TableName": "t"},
            {"Error": {"Code": "ThrottlingError"}},
        ]
    }
    store, wire = dynamodb(answer)
    results = await store.execute([b'{"Statement":"S%d"}' % number for number in range(5)], timeout_s=0.2, attempts=1)
    assert [result.error for result in results] == [
        None,
        "ConditionalCheckFailed",
        "DuplicateItem",
        None,
        "ThrottlingError",
    ]
    assert [result.item and plain(result.item) for result in results] == [
        None,
        {"cf_mv": {"N": "9"}},
        None,
        {"balance": {"N": "12"}},
        None,
    ]
    assert [each["Statement"] for each in wire.calls[0][1]["Statements"]] == ["S0", "S1", "S2", "S3", "S4"]
    assert wire.options == [(0.2, 1)], "throttled statements are returned, not sent again"
    assert results[0] == StatementResult(None, None)


@pytest.mark.parametrize("count", [0, 26])
async def test_execute_refuses_what_one_request_cannot_hold(count: int) -> None:
    store, wire = dynamodb({"Responses": []})
    with pytest.raises(ValueError, match="1 to 25"):
        await store.execute([b"{}"] * count)
    assert wire.calls == []


async def test_fewer_results_than_statements_is_no_success() -> None:
    store, _ = dynamodb({"Responses": [{}]})
    with pytest.raises(StoreUnavailable, match="1 results for 2 statements"):
        await store.execute([b"{}", b"{}"])


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"Responses":7}', b'{"Responses":[{"Error":1}]}'])
async def test_an_unreadable_success_is_not_taken_for_one(body: bytes) -> None:
    store, _ = dynamodb(body)
    with pytest.raises(StoreUnavailable, match="unreadable"):
        await store.execute([b"{}"])


async def test_single_writes_send_the_request_as_it_is_with_the_callers_bounds() -> None:
    store, wire = dynamodb({"Attributes": {"n": {"N": "1"}}})
    returned = await store.update_item(b'{"U":1}', timeout_s=1.5, attempts=2)
    assert returned is not None
    assert plain(returned) == {"n": {"N": "1"}}
    await store.put_item(b'{"P":1}', attempts=1)
    await store.delete_item(b'{"D":1}')
    await store.transact(b'{"T":1}')
    assert wire.calls == [
        ("UpdateItem", {"U": 1}),
        ("PutItem", {"P": 1}),
        ("DeleteItem", {"D": 1}),
        ("TransactWriteItems", {"T": 1}),
    ]
    assert wire.options == [(1.5, 2), (None, 1), (None, None), (None, None)]


async def test_the_verifiers_scan_is_eventually_consistent_at_half_the_cost_and_says_what_it_has_cost() -> None:
    store, wire = dynamodb(b'{"Items":[],"ScannedCount":0,"ConsumedCapacity":{"CapacityUnits":12.5}}')
    table = DynamoTable(store, MAPPING, Side.SOURCE)
    answer = await table.scan_answer(segment=1, segments=3, start=None, limit=7)
    [(operation, request)] = wire.calls
    assert operation == "Scan"
    assert (request["ConsistentRead"], request["ReturnConsumedCapacity"]) == (False, "TOTAL")
    assert b"12.5" in answer


async def test_a_scan_reads_its_segment_from_where_the_last_page_ended() -> None:
    store, wire = dynamodb({"Items": [{"n": {"N": "1"}}], "ScannedCount": 4, "LastEvaluatedKey": {"pk": {"S": "x"}}})
    page = await store.scan("table", segment=2, segments=4, start=key(1), limit=10, consistent=False)
    assert wire.calls[0][1] == {
        "TableName": "table",
        "Segment": 2,
        "TotalSegments": 4,
        "Limit": 10,
        "ConsistentRead": False,
        "ExclusiveStartKey": plain(key(1)),
    }
    assert page.next_key is not None
    assert (len(page.items), plain(page.next_key), page.scanned) == (1, {"pk": {"S": "x"}}, 4)


async def test_the_last_page_names_no_next_key() -> None:
    store, wire = dynamodb({"Items": [], "Count": 0, "ScannedCount": 0})
    assert await store.scan("table") == Page([], None, 0)
    assert "ExclusiveStartKey" not in wire.calls[0][1]
    assert await store.query(b'{"TableName":"t"}') == Page([], None, 0)


async def test_a_count_reads_no_items() -> None:
    store, _ = dynamodb({"Count": 3, "ScannedCount": 3, "LastEvaluatedKey": {"pk": {"S": "x"}}})
    page = await store.query_count(b'{"TableName":"t","Select":"COUNT"}')
    assert (page.items, page.scanned, page.next_key is not None) == ([], 3, True)


READS: dict[str, Callable[[DynamoDB], Awaitable[object]]] = {
    "Scan": lambda store: store.scan("table"),
    "Query": lambda store: store.query(b'{"TableName":"t"}'),
    "Query for a count": lambda store: store.query_count(b'{"TableName":"t","Select":"COUNT"}'),
    "BatchGetItem": lambda store: store.batch_get("table", [key(1)]),
    "BatchExecuteStatement": lambda store: store.execute([b"{}"]),
}


@pytest.mark.parametrize("answer", [{}, {"ConsumedCapacity": {}}, {"Count": 0}], ids=["{}", "no field", "count only"])
@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
async def test_b6_an_answer_without_its_fields_is_a_failure_and_never_the_end(
    read: Callable[[DynamoDB], Awaitable[object]], answer: dict[str, Any]
) -> None:
    """HTTP 200 with `{}` was taken for the last page of a table, and for keys without rows."""
    store, _ = dynamodb(answer)
    with pytest.raises(StoreUnavailable, match="unreadable answer"):
        await read(store)


async def test_b6_a_page_without_its_items_is_none() -> None:
    store, _ = dynamodb({"Count": 3, "ScannedCount": 3})
    with pytest.raises(StoreUnavailable, match="Items"):
        await store.scan("table")
    with pytest.raises(StoreUnavailable, match="Items"):
        await store.query(b'{"TableName":"t"}')


# Kinesis


@pytest.mark.parametrize("answer", [{}, {"Records": []}, {"MillisBehindLatest": 0}, {"NextShardIterator": "x"}])
async def test_b6_a_shard_ends_only_by_an_answer_that_is_whole(answer: dict[str, Any]) -> None:
    stream, _ = kinesis(answer)
    with pytest.raises(StoreUnavailable, match="GetRecords: unreadable answer"):
        await stream.get_records("it")


@pytest.mark.parametrize("operation", ["table", "stream", "destinations", "export_facts", "import_facts"])
@pytest.mark.parametrize("answer", [{}, b"null", b"[]", b"<html>"])
async def test_b6_a_description_without_its_subject_is_a_failure(
    operation: str, answer: dict[str, Any] | bytes
) -> None:
    """An empty one was "no change stream", or a KeyError."""
    admin = DynamoAdmin(dynamodb(answer)[1], kinesis(answer)[1])
    with pytest.raises(StoreUnavailable, match=r"Describe\w+: (the answer has no|unreadable answer)"):
        await getattr(admin, operation)("name")


async def test_b6_a_control_table_without_its_description_is_not_missing() -> None:
    _, wire = dynamodb({"Table": {}})
    with pytest.raises(StoreUnavailable, match="DescribeTable: unreadable answer"):
        await look_at_tables(wire, control_tables("demo"))


async def test_shards_are_listed_over_all_pages_with_their_parents() -> None:
    def pages(_operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if request == {"StreamName": "s"}:
            return {"Shards": [{"ShardId": "0"}, {"ShardId": "1"}], "NextToken": "more"}
        assert request == {"NextToken": "more"}
        merged = {"ShardId": "2", "ParentShardId": "0", "AdjacentParentShardId": "1"}
        return {"Shards": [merged, {"ShardId": "3", "ParentShardId": "2", "AdjacentParentShardId": None}]}

    stream, _ = kinesis(pages)
    assert await stream.list_shards("s") == [
        StreamShard("0", ()),
        StreamShard("1", ()),
        StreamShard("2", ("0", "1")),
        StreamShard("3", ("2",)),
    ]


@pytest.mark.parametrize(
    ("position", "asked"),
    [
        ({}, {"ShardIteratorType": "TRIM_HORIZON"}),
        ({"after": "007"}, {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": "007"}),
        ({"at_s": 12.3456}, {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 12.346}),
        ({"at_s": 0.0}, {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 0.0}),
        ({"latest": True}, {"ShardIteratorType": "LATEST"}),
    ],
)
async def test_an_iterator_starts_where_it_is_told(position: dict[str, Any], asked: dict[str, Any]) -> None:
    stream, wire = kinesis({"ShardIterator": "it"})
    assert await stream.shard_iterator("s", "0", **position) == "it"
    assert wire.calls == [("GetShardIterator", {"StreamName": "s", "ShardId": "0"} | asked)]


async def test_an_iterator_cannot_start_at_two_places() -> None:
    stream, _ = kinesis({"ShardIterator": "it"})
    with pytest.raises(ValueError, match="one of"):
        await stream.shard_iterator("s", "0", after="1", latest=True)


async def test_records_come_decoded_and_their_sequence_numbers_untouched() -> None:
    record = {
        "SequenceNumber": "00049668899999999999999999999999999999999999999999999999",
        "PartitionKey": "p",
        "Data": base64.b64encode(b"\x00payload\xff").decode(),
        "ApproximateArrivalTimestamp": 1.5e9,
        "EncryptionType": "KMS",
    }
    stream, wire = kinesis({"Records": [record], "NextShardIterator": "next", "MillisBehindLatest": 250})
    fetched = await stream.get_records("it", limit=77)
    expected = StreamRecord(record["SequenceNumber"], "p", b"\x00payload\xff", 1.5e9)  # type: ignore[arg-type]  # a dict of mixed values
    assert fetched == Fetched([expected], "next", 250)
    assert wire.calls == [("GetRecords", {"ShardIterator": "it", "Limit": 77})]


@pytest.mark.parametrize("ended", [{"MillisBehindLatest": 0}, {"NextShardIterator": None, "MillisBehindLatest": 0}])
async def test_a_shard_read_to_its_end_has_no_next_iterator(ended: dict[str, Any]) -> None:
    stream, _ = kinesis({"Records": []} | ended)
    assert (await stream.get_records("it")).next_iterator is None


async def test_an_expired_iterator_is_told_by_its_reason() -> None:
    def expired(_operation: str, _request: dict[str, Any]) -> bytes:
        raise ServiceError("expired", reason="ExpiredIteratorException", body=b"")

    stream, _ = kinesis(expired)
    with pytest.raises(ServiceError) as refusal:
        await stream.get_records("it")
    assert refusal.value.reason == "ExpiredIteratorException"


class Sink:
    """A stream that refuses each payload as often as it is told."""

    def __init__(self, refusals: dict[bytes, int]) -> None:
        self.refusals = refusals
        self.taken: list[tuple[str, bytes]] = []

    def __call__(self, _operation: str, request: dict[str, Any]) -> dict[str, Any]:
        results: list[dict[str, Any]] = []
        for record in request["Records"]:
            payload = base64.b64decode(record["Data"])
            if self.refusals.get(payload, 0):
                self.refusals[payload] -= 1
                results.append({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow"})
            else:
                self.taken.append((record["PartitionKey"], payload))
                results.append({"SequenceNumber": "1", "ShardId": "0", "ErrorCode": None})
        return {"FailedRecordCount": 0, "Records": results}


async def test_only_the_records_that_failed_are_put_again_with_growing_waits() -> None:
    sink = Sink({b"b": 2, b"d": 1})
    stream, wire = kinesis(sink)
    records = [("k1", b"a"), ("k2", b"b"), ("k3", b"c"), ("k4", b"d")]
    assert await stream.put_records("s", records) == [True] * 4
    assert sink.taken == [("k1", b"a"), ("k3", b"c"), ("k4", b"d"), ("k2", b"b")]
    assert [len(request["Records"]) for _, request in wire.calls] == [4, 2, 1]
    assert wire.waits_s == [0.1, 0.2]


async def test_a_record_that_is_never_taken_is_reported_as_such() -> None:
    stream, wire = kinesis(Sink({b"b": 99}))
    assert await stream.put_records("s", [("k", b"a"), ("k", b"b"), ("k", b"c")]) == [True, False, True]
    assert len(wire.calls) == PUT_ATTEMPTS


async def test_more_records_than_one_request_holds_take_several() -> None:
    sink = Sink({})
    stream, wire = kinesis(sink)
    records = [("k", b"%d" % number) for number in range(MAX_PUT_RECORDS + 3)]
    assert await stream.put_records("s", records) == [True] * len(records)
    assert sink.taken == records
    assert [len(request["Records"]) for _, request in wire.calls] == [MAX_PUT_RECORDS, 3]


async def test_putting_nothing_asks_nothing() -> None:
    stream, wire = kinesis({})
    assert await stream.put_records("s", []) == []
    assert wire.calls == []
