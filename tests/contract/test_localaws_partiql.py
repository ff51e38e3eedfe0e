"""PartiQL on the emulator, as AWS's own engine takes it; each test fails without the patch it names."""

from __future__ import annotations

import base64
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localaws.fixture import Emulator, mends

pytestmark = pytest.mark.embedded

Item = dict[str, Any]
_numbers = count()
KEY: Item = {"pk": {"S": "USER#1"}, "sk": {"S": "POINTS#1"}}


def n(number: int | str) -> Item:
    return {"N": str(number)}


@pytest.fixture
def table(emulator: Emulator) -> str:
    """An empty table."""
    name = f"partiql-{next(_numbers)}"
    emulator.dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in KEY],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


def put(emulator: Emulator, table: str, **attributes: Item) -> None:
    emulator.dynamodb.put_item(TableName=table, Item=KEY | attributes)


def read(emulator: Emulator, table: str) -> Item:
    item: Item = emulator.dynamodb.get_item(TableName=table, Key=KEY, ConsistentRead=True).get("Item", {})
    return {name: value for name, value in item.items() if name not in KEY}


def statement(table: str, text: str, *parameters: Item) -> Item:
    return {"Statement": text.replace("TABLE", f'"{table}"'), "Parameters": list(parameters)}


def run(emulator: Emulator, table: str, text: str, *parameters: Item, where: str = "", returning: str = "") -> Item:
    """Run an UPDATE of the one item in a batch and return its part of the answer."""
    marks = text.count("?")
    whole = f"UPDATE TABLE {text} WHERE pk=? AND sk=?{' AND ' if where else ''}{where} {returning}"
    return batch(emulator, statement(table, whole, *parameters[:marks], *KEY.values(), *parameters[marks:]))[0]


def batch(emulator: Emulator, *statements: Item) -> list[Item]:
    entries = [each | {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"} for each in statements]
    responses: list[Item] = emulator.dynamodb.batch_execute_statement(Statements=entries)["Responses"]
    return responses


def refusal(answer: Item) -> str:
    return str(answer.get("Error", {}).get("Code"))


@mends("partiql_or")
def test_an_or_beside_the_key_is_a_condition(emulator: Emulator, table: str) -> None:
    put(emulator, table, x=n(1))
    assert "Error" not in run(emulator, table, "SET y=?", n(5), n(2), where="(x IS MISSING OR x<?)")
    assert (
        refusal(run(emulator, table, "SET y=?", n(6), n(1), where="(x IS MISSING OR x<?)")) == "ConditionalCheckFailed"
    )
    assert read(emulator, table)["y"] == n(5)


@mends("partiql_or")
def test_attribute_not_exists_or_a_comparison_works_in_a_batch(emulator: Emulator, table: str) -> None:
    put(emulator, table, x=n(1))
    assert "Error" not in run(emulator, table, "SET y=?", n(5), n(9), where="(attribute_not_exists(cf_mv) OR cf_mv<?)")


@mends("partiql_functions")
def test_if_not_exists_and_list_append_work_in_a_set(emulator: Emulator, table: str) -> None:
    put(emulator, table, x=n(1), l={"L": [n(1)]})
    text = "SET x=if_not_exists(x,?) SET y=if_not_exists(y,?) SET l=list_append(l,?)"
    assert "Error" not in run(emulator, table, text, n(7), n(8), {"L": [n(2)]})
    assert read(emulator, table) == {"x": n(1), "y": n(8), "l": {"L": [n(1), n(2)]}}


@mends("partiql_functions")
def test_begins_with_compares_bytes(emulator: Emulator, table: str) -> None:
    put(emulator, table, b={"B": b"abcd"})
    assert "Error" not in run(emulator, table, "SET y=?", n(1), {"B": b"ab"}, where="begins_with(b,?)")


@mends("partiql_or")
def test_a_set_grows_from_nothing_under_a_condition_on_its_size(emulator: Emulator, table: str) -> None:
    put(emulator, table, x=n(1))
    text, where = "SET s=set_add(s,?)", "(s IS MISSING OR size(s)<?)"
    assert "Error" not in run(emulator, table, text, {"BS": [b"a"]}, n(1), where=where)
    assert refusal(run(emulator, table, text, {"BS": [b"b"]}, n(1), where=where)) == "ConditionalCheckFailed"
    assert read(emulator, table)["s"] == {"BS": [b"a"]}


@mends("partiql_update")
def test_every_set_reads_the_item_as_it_was(emulator: Emulator, table: str) -> None:
    put(emulator, table, mv=n(5), emv=n(0))
    run(emulator, table, "SET mv=mv+1 SET emv=mv+1")
    assert read(emulator, table) == {"mv": n(6), "emv": n(6)}


@mends("partiql_update")
def test_a_set_and_a_remove_of_one_path_overlap(emulator: Emulator, table: str) -> None:
    put(emulator, table, x=n(1))
    assert refusal(run(emulator, table, "SET x=? REMOVE x", n(2))) == "ValidationError"
    assert read(emulator, table) == {"x": n(1)}


@mends("partiql_update")
def test_a_key_attribute_can_not_be_set(emulator: Emulator, table: str) -> None:
    put(emulator, table, x=n(1))
    assert refusal(run(emulator, table, "SET sk=?", {"S": "other"})) == "ValidationError"


def test_a_value_may_move_from_one_attribute_to_another(emulator: Emulator, table: str) -> None:
    put(emulator, table, ttl=n(9))
    assert "Error" not in run(emulator, table, 'SET cf_ttl="ttl" REMOVE "ttl"')
    assert read(emulator, table) == {"cf_ttl": n(9)}


@mends("partiql_insert")
def test_an_insert_of_one_parameter_is_refused(emulator: Emulator, table: str) -> None:
    (answer,) = batch(emulator, statement(table, "INSERT INTO TABLE VALUE ?", {"M": KEY}))
    assert refusal(answer) == "ValidationError"
    assert not emulator.dynamodb.get_item(TableName=table, Key=KEY).get("Item")


@mends("partiql_insert")
def test_an_insert_is_checked_like_a_put(emulator: Emulator, table: str) -> None:
    text = "INSERT INTO TABLE VALUE {'pk':?,'sk':?,'s':?}"
    (answer,) = batch(emulator, statement(table, text, *KEY.values(), {"NS": ["1", "1.0"]}))
    assert refusal(answer) == "ValidationError"


def test_an_insert_in_struct_form_works_once(emulator: Emulator, table: str) -> None:
    insert = statement(table, "INSERT INTO TABLE VALUE {'pk':?,'sk':?,'x':?}", *KEY.values(), n(1))
    assert "Error" not in batch(emulator, insert)[0]
    assert refusal(batch(emulator, insert)[0]) == "DuplicateItem"
    assert read(emulator, table) == {"x": n(1)}


@mends("partiql_parameters")
def test_a_parameter_too_many_is_refused(emulator: Emulator, table: str) -> None:
    put(emulator, table)
    update = statement(table, "UPDATE TABLE SET x=? WHERE pk=? AND sk=?", n(1), *KEY.values(), n(2))
    assert refusal(batch(emulator, update)[0]) == "ValidationError"


@mends("partiql_parameters")
def test_numbers_are_stored_normalised(emulator: Emulator, table: str) -> None:
    put(emulator, table)
    run(emulator, table, "SET x=? SET s=? SET m=?", n("007.50"), {"NS": ["01"]}, {"M": {"y": {"L": [n("1.0")]}}})
    assert read(emulator, table) == {"x": n("7.5"), "s": {"NS": ["1"]}, "m": {"M": {"y": {"L": [n(1)]}}}}


@mends("partiql_parameters")
def test_a_statement_has_at_most_8192_characters(emulator: Emulator, table: str) -> None:
    put(emulator, table)
    assert refusal(run(emulator, table, f"SET x='{'a' * 8192}'")) == "ValidationError"


@mends("exact_numbers")
def test_a_number_of_38_digits_stays_exact_through_arithmetic(emulator: Emulator, table: str) -> None:
    digits = 12345678901234567890123456789012345677
    put(emulator, table, x=n(digits))
    run(emulator, table, f"SET x=x+1 SET y={digits}")
    assert read(emulator, table) == {"x": n(digits + 1), "y": n(digits)}


@mends("partiql_batch")
def test_one_key_twice_fails_the_whole_request_and_writes_nothing(emulator: Emulator, table: str) -> None:
    put(emulator, table, x=n(1))
    update = statement(table, "UPDATE TABLE SET x=? WHERE pk=? AND sk=?", n(2), *KEY.values())
    with pytest.raises(ClientError, match="ValidationException"):
        batch(emulator, update, update)
    assert read(emulator, table) == {"x": n(1)}


def test_each_statement_of_a_batch_has_an_outcome_of_its_own(emulator: Emulator, table: str) -> None:
    put(emulator, table, mv=n(5))
    text = "UPDATE TABLE SET mv=? WHERE pk=? AND sk=? AND mv<?"
    stale = statement(table, text, n(4), *KEY.values(), n(4))
    absent = statement(table, text, n(4), {"S": "USER#2"}, KEY["sk"], n(4))
    wrong = statement(table, "UPDATE TABLE SET x=? WHERE pk=?", n(1), KEY["pk"])
    nobody = statement("nobody", "UPDATE TABLE SET x=? WHERE pk=?", n(1), KEY["pk"])
    answers = batch(emulator, stale, absent, wrong, nobody)
    codes = ["ConditionalCheckFailed", "ConditionalCheckFailed", "ValidationError", "ResourceNotFound"]
    assert [refusal(each) for each in answers] == codes
    assert answers[0]["Error"]["Item"] == KEY | {"mv": n(5)}
    assert "Item" not in answers[1]["Error"]


def test_a_batch_returns_the_new_item(emulator: Emulator, table: str) -> None:
    put(emulator, table, x=n(1))
    assert run(emulator, table, "SET x=x+1", returning="RETURNING ALL NEW *")["Item"] == KEY | {"x": n(2)}


def test_a_sum_with_a_missing_operand_is_refused(emulator: Emulator, table: str) -> None:
    put(emulator, table)
    assert refusal(run(emulator, table, "SET bal=bal+?", n(1))) == "ValidationError"


@pytest.mark.parametrize(
    ("where", "value", "holds"),
    [
        ("NOT contains(x,?)", {"S": "a"}, True),
        ("x<>?", n(1), True),
        ("x<?", n(1), False),
        ("size(x)<?", n(1), False),
        ("NOT x>=?", n(1), True),
        ("b<?", {"B": bytes([251])}, True),  # as base64 text, '+w==' is below '+g=='
        ("b>?", {"B": bytes([249, 255])}, True),
        ("contains(s,?)", {"B": b"a"}, True),
        ("x IS NOT MISSING", None, False),
    ],
)
def test_a_condition_on_what_is_missing_or_binary(
    emulator: Emulator, table: str, where: str, value: Item | None, holds: bool
) -> None:
    put(emulator, table, b={"B": bytes([250])}, s={"BS": [b"a", b"b"]})
    answer = run(emulator, table, "SET y=?", n(1), *([value] if value else []), where=where)
    assert ("Error" not in answer) is holds, answer


def test_a_binary_parameter_is_what_it_was_when_it_comes_back(emulator: Emulator, table: str) -> None:
    raw = base64.b64decode("AP/+/w==")
    put(emulator, table)
    run(emulator, table, "SET b=?", {"B": raw})
    assert read(emulator, table) == {"b": {"B": raw}}


@mends("throttles")
def test_statements_on_a_hot_partition_are_sent_back_and_the_others_run(emulator: Emulator) -> None:
    name = f"hot-{next(_numbers)}"
    emulator.dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    emulator.control.post("throttles", table=name, key="b", statements=2)
    statements = [
        {"Statement": f"INSERT INTO \"{name}\" VALUE {{'pk':?}}", "Parameters": [{"S": key}]} for key in ("a", "b", "c")
    ]
    codes = []
    for _ in range(3):
        answers = emulator.dynamodb.batch_execute_statement(Statements=statements)["Responses"]
        codes.append([each.get("Error", {}).get("Code", "") for each in answers])
    assert codes == [
        ["", "ThrottlingError", ""],
        ["DuplicateItem", "ThrottlingError", "DuplicateItem"],
        ["DuplicateItem", "", "DuplicateItem"],
    ]
    shown = emulator.control.get("throttles")["throttles"]
    assert {"table": name, "key": "b", "statements": 0, "sent_back": 2} in shown
