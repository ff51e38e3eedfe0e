"""What DynamoDB refuses for good, refused by the emulator: on puts, updates, PartiQL and transactions alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from crossfade.adapters.owner_requests import render
from crossfade.core.protocol.limits import MAX_ITEM_BYTES, item_size
from crossfade.core.values.image import decode_image
from crossfade.core.values.shape import Side
from engagement_migration import MAPPING
from localaws.fixture import Emulator, mends
from localaws.patches.limits import MAX_OPERATORS, operators
from ownership_cases import writes

pytestmark = pytest.mark.embedded

Item = dict[str, Any]
_numbers = count()
KEY: Item = {"pk": {"S": "USER#1"}, "sk": {"S": "POINTS#1"}}
FULL = MAX_ITEM_BYTES


@pytest.fixture
def table(emulator: Emulator) -> str:
    """An empty table with an index on `email` (partition key) and `at` (sort key)."""
    name = f"limits-{next(_numbers)}"
    emulator.dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in (*KEY, "email", "at")],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by_email",
                "KeySchema": [
                    {"AttributeName": "email", "KeyType": "HASH"},
                    {"AttributeName": "at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


# Each of these brings a row to hold `attributes`, and returns what refused it: error type and message.
Write = Callable[[Emulator, str, Item], tuple[str, str]]


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    try:
        answer = call()
    except ClientError as error:
        reasons = error.response.get("CancellationReasons")
        if reasons:
            return reasons[0]["Code"], reasons[0].get("Message", "")
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    for each in answer.get("Responses", ()):
        if "Error" in each:
            return each["Error"]["Code"], each["Error"]["Message"]
    return "", ""


def sets(attributes: Item) -> Item:
    return {
        "UpdateExpression": "SET " + ",".join(f"#{name}=:{name}" for name in attributes),
        "ExpressionAttributeNames": {f"#{name}": name for name in attributes},
        "ExpressionAttributeValues": {f":{name}": value for name, value in attributes.items()},
    }


def by_put(emulator: Emulator, table: str, attributes: Item) -> tuple[str, str]:
    return refusal(lambda: emulator.dynamodb.put_item(TableName=table, Item=KEY | attributes))


def by_update(emulator: Emulator, table: str, attributes: Item) -> tuple[str, str]:
    return refusal(lambda: emulator.dynamodb.update_item(TableName=table, Key=KEY, **sets(attributes)))


def statement(table: str, attributes: Item) -> Item:
    assigned = " ".join(f'SET "{name}"=?' for name in attributes)
    where = " AND ".join(f"{name}=?" for name in KEY)
    return {
        "Statement": f'UPDATE "{table}" {assigned} WHERE {where}',
        "Parameters": [*attributes.values(), *KEY.values()],
    }


def by_statement(emulator: Emulator, table: str, attributes: Item) -> tuple[str, str]:
    emulator.dynamodb.put_item(TableName=table, Item=KEY)
    return refusal(lambda: emulator.dynamodb.execute_statement(**statement(table, attributes)))


def by_batch(emulator: Emulator, table: str, attributes: Item) -> tuple[str, str]:
    emulator.dynamodb.put_item(TableName=table, Item=KEY)
    return refusal(lambda: emulator.dynamodb.batch_execute_statement(Statements=[statement(table, attributes)]))


def by_insert(emulator: Emulator, table: str, attributes: Item) -> tuple[str, str]:
    item = KEY | attributes
    text = f'INSERT INTO "{table}" VALUE {{{",".join(f"{name!r}:?" for name in item)}}}'
    entry = {"Statement": text, "Parameters": list(item.values())}
    return refusal(lambda: emulator.dynamodb.batch_execute_statement(Statements=[entry]))


def by_transact_put(emulator: Emulator, table: str, attributes: Item) -> tuple[str, str]:
    put = {"Put": {"TableName": table, "Item": KEY | attributes}}
    return refusal(lambda: emulator.dynamodb.transact_write_items(TransactItems=[put]))


def by_transact_update(emulator: Emulator, table: str, attributes: Item) -> tuple[str, str]:
    update = {"Update": {"TableName": table, "Key": KEY, **sets(attributes)}}
    return refusal(lambda: emulator.dynamodb.transact_write_items(TransactItems=[update]))


WAYS: list[Write] = [by_put, by_update, by_statement, by_batch, by_insert, by_transact_put, by_transact_update]
every_way = pytest.mark.parametrize("write", WAYS, ids=[each.__name__ for each in WAYS])
CODES = {"ValidationException", "ValidationError"}


@every_way
@mends("index_key_sizes", "partiql_update", "partiql_insert")
def test_an_index_key_is_bounded(emulator: Emulator, table: str, write: Write) -> None:
    assert write(emulator, table, {"email": {"S": "e" * 2048}, "at": {"S": "a" * 1024}}) == ("", "")
    emulator.dynamodb.delete_item(TableName=table, Key=KEY)
    for name, most in (("email", 2048), ("at", 1024)):
        code, message = write(emulator, table, {name: {"S": "x" * (most + 1)}})
        assert code in CODES
        assert message == (
            f"One or more parameter values were invalid: Size limit exceeded for Index Key {name} Actual Size: "
            f"{most + 1} bytes Max Size: {most} bytes IndexName: by_email"
        )


@pytest.mark.parametrize("write", [by_statement, by_batch, by_insert])
@mends("partiql_update", "partiql_insert")
def test_partiql_takes_no_empty_index_key_nor_one_of_another_type(emulator: Emulator, table: str, write: Write) -> None:
    code, message = write(emulator, table, {"email": {"S": ""}})
    assert code in CODES
    assert "cannot contain an empty string value" in message
    code, message = write(emulator, table, {"email": {"N": "7"}})
    assert code in CODES
    assert "Type mismatch for Index Key email Expected: S Actual: N IndexName: by_email" in message


@every_way
def test_no_way_takes_an_empty_index_key(emulator: Emulator, table: str, write: Write) -> None:
    code, message = write(emulator, table, {"email": {"S": ""}})
    assert code in CODES
    assert "The AttributeValue for a key attribute cannot contain an empty string value" in message


@every_way
def test_an_item_is_bounded_to_the_byte(emulator: Emulator, table: str, write: Write) -> None:
    def padded(total: int) -> Item:
        fixed: Item = {"n": {"N": "-12.5"}, "m": {"M": {"ä": {"L": [{"BOOL": True}]}}}}
        bare = item_size(decode_image(_json(KEY | fixed | {"p": {"S": ""}})))
        return fixed | {"p": {"S": "x" * (total - bare)}}

    # A standalone UpdateItem is charged for its clauses, and not for the key: it ends below (see core.fit).
    most = FULL - 3 - 3 * 19 + _size(KEY) if write is by_update else FULL
    assert write(emulator, table, padded(most)) == ("", "")
    emulator.dynamodb.delete_item(TableName=table, Key=KEY)
    code, message = write(emulator, table, padded(most + 1))
    assert code in CODES
    assert "has exceeded the maximum allowed size" in message


def _json(item: Item) -> bytes:
    return json.dumps(item).encode()


def _size(item: Item) -> int:
    return item_size(decode_image(_json(item)))


@mends("expression_operators")
def test_an_expression_has_at_most_300_operators(emulator: Emulator, table: str) -> None:
    def condition(terms: int) -> tuple[str, str]:
        text = " OR ".join(["a=:a"] * terms)
        values = {":a": {"S": "x"}}
        put = {"TableName": table, "Item": KEY | {"a": {"S": "x"}}, "ConditionExpression": text}
        emulator.dynamodb.put_item(TableName=table, Item=KEY | {"a": {"S": "x"}})
        return refusal(lambda: emulator.dynamodb.put_item(**put, ExpressionAttributeValues=values))

    assert condition(150) == ("", "")
    assert condition(151) == (
        "ValidationException",
        "Invalid ConditionExpression: The expression contains too many operators; operator count: 301",
    )


@mends("expression_operators")
def test_an_update_has_at_most_300_functions_in_a_transaction_too(emulator: Emulator, table: str) -> None:
    # 4,096 bytes hold fewer functions than sums.
    many: dict[str, Any] = {"UpdateExpression": "SET " + ",".join(f"{_name(n)}=:a+:a" for n in range(301))}
    many |= {"ExpressionAttributeValues": {":a": {"N": "1"}}}
    said = "Invalid UpdateExpression: The expression contains too many operators; operator count: 301"
    call = {"TableName": table, "Key": KEY}
    assert refusal(lambda: emulator.dynamodb.update_item(**call, **many)) == ("ValidationException", said)
    transaction = [{"Update": call | many}]
    assert refusal(lambda: emulator.dynamodb.transact_write_items(TransactItems=transaction)) == (
        "ValidationException", said,
    )  # fmt: skip


def _name(number: int) -> str:
    """Short names that no word is reserved for."""
    letters = "bcdfghjklmnpqrstvwxz"
    return f"z{letters[number // 20]}{letters[number % 20]}"


def test_an_assignment_is_no_operator() -> None:
    assert operators("SET a = :x + :y, b = if_not_exists(b, :z), c = :c REMOVE d", compares=False) == 2
    assert operators("a = :a AND (NOT b < :b OR size(c) BETWEEN :x AND :y)", compares=True) == 7


@given(st.sampled_from(Side).flatmap(lambda side: st.tuples(st.just(side), writes(side))))
def test_no_write_of_the_protocol_comes_near_the_limit_of_operators(case: tuple[Side, Any]) -> None:
    side, write = case
    request = render(write, MAPPING.shape(side))
    body = json.loads(request.body)
    assert operators(body.get("UpdateExpression", ""), compares=False) < MAX_OPERATORS / 10
    assert operators(body["ConditionExpression"], compares=True) < MAX_OPERATORS / 10


@mends("hash_key_size")
def test_a_partition_key_is_bounded_in_the_services_words(emulator: Emulator, table: str) -> None:
    key = {"pk": {"S": "x" * 2049}, "sk": {"S": "s"}}
    said = "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes"
    assert refusal(lambda: emulator.dynamodb.put_item(TableName=table, Item=key)) == ("ValidationException", said)
    assert refusal(lambda: emulator.dynamodb.get_item(TableName=table, Key=key)) == ("ValidationException", said)
