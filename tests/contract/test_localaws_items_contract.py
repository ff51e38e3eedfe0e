"""Items as DynamoDB keeps them, where a migrator of any table looks: number keys, lists, projections, what reads cost.

Each contract runs on the embedded engine, and fails there without the patch it names; `make test-dynamodb-local` runs
the same ones on AWS's own engine.
"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from items_cases import create, n, s, scanned
from localaws.fixture import Emulator, mends

pytestmark = pytest.mark.embedded

Item = dict[str, Any]

INDEXES: Item = {
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-of",
            "KeySchema": [{"AttributeName": "of", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["shown"]},
        }
    ],
    "LocalSecondaryIndexes": [
        {
            "IndexName": "by-at",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
}


@mends("number_spelling")
@pytest.mark.parametrize("spelled", ["5.0", "05", "5E0", "0.5e1"])
def test_a_number_key_is_its_value_however_it_is_spelled(emulator: Emulator, spelled: str) -> None:
    table, client = create(emulator, "N", "N"), emulator.dynamodb
    client.put_item(TableName=table, Item={"pk": n(5), "sk": n(1), "a": n(1)})
    key = {"pk": n(spelled), "sk": n("1.0")}
    assert client.get_item(TableName=table, Key=key)["Item"]["a"] == n(1)
    client.update_item(TableName=table, Key=key, UpdateExpression="SET b = :b", ExpressionAttributeValues={":b": n(2)})
    client.put_item(TableName=table, Item={"pk": n("6.0"), "sk": n(spelled)})
    found = client.query(
        TableName=table, KeyConditionExpression="pk = :p", ExpressionAttributeValues={":p": n(spelled)}
    )["Items"]
    assert found == [{"pk": n(5), "sk": n(1), "a": n(1), "b": n(2)}]
    client.delete_item(TableName=table, Key=key)
    assert scanned(emulator, table) == [{"pk": n(6), "sk": n(5)}]


@mends("number_spelling")
def test_a_batch_and_a_transaction_know_a_number_key_by_its_value(emulator: Emulator) -> None:
    table, client = create(emulator, "N", None), emulator.dynamodb
    client.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": {"pk": n("1.00")}}}]})
    update = {"UpdateExpression": "SET a = :a", "ExpressionAttributeValues": {":a": n("1.50")}}
    client.transact_write_items(TransactItems=[{"Update": {"TableName": table, "Key": {"pk": n("1.0")}} | update}])
    read = client.batch_get_item(RequestItems={table: {"Keys": [{"pk": n("01")}]}})["Responses"][table]
    assert [item["pk"] for item in read] == [n(1)]
    assert len(scanned(emulator, table)) == 1


@mends("number_spelling", "plain_sums")
def test_a_set_of_numbers_holds_values_not_spellings(emulator: Emulator) -> None:
    table, client = create(emulator, "S", None), emulator.dynamodb
    client.put_item(TableName=table, Item={"pk": s("a"), "of": {"NS": ["1", "2"]}})
    for expression, members, left in (("ADD", ["1.0", "10"], ["1", "2", "10"]), ("DELETE", ["2.0"], ["1", "10"])):
        client.update_item(
            TableName=table,
            Key={"pk": s("a")},
            UpdateExpression=f"{expression} #of :members",
            ExpressionAttributeNames={"#of": "of"},
            ExpressionAttributeValues={":members": {"NS": members}},
        )
        assert scanned(emulator, table) == [{"pk": s("a"), "of": {"NS": left}}]


@mends("list_indexes")
@pytest.mark.parametrize(
    ("expression", "left"),
    [
        ("REMOVE a[1], a[2]", "0 3 4"),
        ("REMOVE a[0], a[4], a[9]", "1 2 3"),
        ("SET a[30] = :x, a[10] = :y", "0 1 2 3 4 y x"),
        ("SET a[9] = :x REMOVE a[0], a[1]", "2 3 4 x"),
    ],
)
def test_the_indexes_of_an_update_are_those_of_the_list_as_it_was(
    emulator: Emulator, expression: str, left: str
) -> None:
    table, client, key = create(emulator, "S", None), emulator.dynamodb, {"pk": s("a")}
    client.put_item(TableName=table, Item=key | {"a": {"L": [s(str(each)) for each in range(5)]}})
    values = {":x": s("x"), ":y": s("y")}
    named = {":x", ":y"} if ":y" in expression else {":x"} if ":x" in expression else set()
    given = {"ExpressionAttributeValues": {name: values[name] for name in named}} if named else {}
    answer = client.update_item(TableName=table, Key=key, UpdateExpression=expression, ReturnValues="ALL_NEW", **given)
    assert " ".join(each["S"] for each in answer["Attributes"]["a"]["L"]) == left


@mends("list_indexes")
def test_removing_below_what_isnt_there_is_refused(emulator: Emulator) -> None:
    table = create(emulator, "S", None)
    emulator.dynamodb.put_item(TableName=table, Item={"pk": s("a")})
    with pytest.raises(ClientError, match="document path provided in the update expression is invalid"):
        emulator.dynamodb.update_item(TableName=table, Key={"pk": s("a")}, UpdateExpression="REMOVE a.b")


@pytest.fixture
def indexed(emulator: Emulator) -> str:
    """A table with a global and a local index, and one item in both."""
    table = create(emulator, **INDEXES)
    item = {"pk": s("p"), "sk": s("s"), "of": s("o"), "at": n(1), "shown": s("yes"), "inside": s("no")}
    emulator.dynamodb.put_item(TableName=table, Item=item)
    return table


BY_OF: Item = {
    "IndexName": "by-of",
    "KeyConditionExpression": "#of = :of",
    "ExpressionAttributeNames": {"#of": "of"},
    "ExpressionAttributeValues": {":of": s("o")},
}


@mends("index_projections")
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"Select": "ALL_ATTRIBUTES"}, "Select type ALL_ATTRIBUTES is not supported for global secondary index by-of"),
        ({"ProjectionExpression": "shown, inside.x"}, r"by-of does not project \[inside\]"),
        ({"FilterExpression": "inside = :of"}, r"does not project one or more filter attributes: \[inside\]"),
    ],
)
def test_a_global_index_refuses_to_show_what_it_doesnt_project(
    emulator: Emulator, indexed: str, asked: Item, words: str
) -> None:
    with pytest.raises(ClientError, match=words):
        emulator.dynamodb.query(TableName=indexed, **BY_OF, **asked)
    if "FilterExpression" not in asked:
        with pytest.raises(ClientError, match=words):
            emulator.dynamodb.scan(TableName=indexed, IndexName="by-of", **asked)
    read = emulator.dynamodb.query(TableName=indexed, **BY_OF, ProjectionExpression="shown")
    assert read["Items"] == [{"shown": s("yes")}]


@mends("index_projections")
def test_a_local_index_fetches_from_the_table_what_it_doesnt_project(emulator: Emulator, indexed: str) -> None:
    query: Item = {"TableName": indexed, "IndexName": "by-at", "KeyConditionExpression": "pk = :p"}
    query["ExpressionAttributeValues"] = {":p": s("p")}
    assert "inside" not in emulator.dynamodb.query(**query)["Items"][0]
    assert emulator.dynamodb.query(**query, Select="ALL_ATTRIBUTES")["Items"][0]["inside"] == s("no")
    assert emulator.dynamodb.query(**query, ProjectionExpression="inside")["Items"] == [{"inside": s("no")}]
    scan = emulator.dynamodb.scan(TableName=indexed, IndexName="by-at", ProjectionExpression="inside")
    assert scan["Items"] == [{"inside": s("no")}]


BIG = "x" * 9_000


@mends("read_capacity")
def test_a_read_costs_by_the_size_of_what_it_reads(emulator: Emulator) -> None:
    table, client = create(emulator), emulator.dynamodb
    for sort in "abc":
        client.put_item(TableName=table, Item={"pk": s("p"), "sk": s(sort), "big": s(BIG)})
    total: Item = {"TableName": table, "ReturnConsumedCapacity": "TOTAL"}
    key = {"pk": s("p"), "sk": s("a")}
    query: Item = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": s("p")}}
    costs = [
        client.get_item(Key=key, **total),
        client.get_item(Key=key, ConsistentRead=True, **total),
        client.get_item(Key=key | {"sk": s("none")}, ConsistentRead=True, **total),
        client.query(**query, **total),
        client.query(**query, Limit=1, ProjectionExpression="pk", **total),
        client.scan(ConsistentRead=True, **total),
        client.scan(FilterExpression="attribute_exists(nothing)", **total),
    ]
    units = [each["ConsumedCapacity"]["CapacityUnits"] for each in costs]
    assert units == [1.5, 3.0, 1.0, 3.5, 1.5, 7.0, 3.5]
    batch = {"RequestItems": {table: {"Keys": [key, key | {"sk": s("b")}]}}, "ReturnConsumedCapacity": "TOTAL"}
    assert [each["CapacityUnits"] for each in client.batch_get_item(**batch)["ConsumedCapacity"]] == [3.0]


@mends("batch_get_bytes")
def test_a_batch_of_more_than_16_mb_leaves_the_rest_for_another_request(emulator: Emulator) -> None:
    table, client = create(emulator, "S", None), emulator.dynamodb
    names = [f"{number:02d}" for number in range(45)]
    for name in names:
        client.put_item(TableName=table, Item={"pk": s(name), "big": s("x" * 390_000)})
    asked: Item = {table: {"Keys": [{"pk": s(name)} for name in names], "ProjectionExpression": "pk"}}
    first = client.batch_get_item(RequestItems=asked)
    rest = first["UnprocessedKeys"]
    assert len(rest[table]["Keys"]) == 2
    assert rest[table]["ProjectionExpression"] == "pk"
    second = client.batch_get_item(RequestItems=rest)
    found = first["Responses"][table] + second["Responses"][table]
    assert sorted(item["pk"]["S"] for item in found) == names
    assert second["UnprocessedKeys"] == {}
    client.delete_table(TableName=table)
