"""Policies of tables, ages of signatures, and two processes that are two accounts: what a flip's guard leans on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

from localaws import Stack
from localaws.fixture import Emulator, mends

pytestmark = pytest.mark.embedded

Item = dict[str, Any]
_numbers = count()

APPLIER = "arn:aws:iam::000000000000:role/crossfade/applier"
KEY: Item = {"pk": {"S": "a"}}


@pytest.fixture
def table(emulator: Emulator) -> Iterator[str]:
    """A table with one row; settings of access are as before afterwards."""
    name = f"policies-{next(_numbers)}"
    schema: list[Any] = [{"AttributeName": "pk", "KeyType": "HASH"}]
    types: list[Any] = [{"AttributeName": "pk", "AttributeType": "S"}]
    emulator.dynamodb.create_table(
        TableName=name, KeySchema=schema, AttributeDefinitions=types, BillingMode="PAY_PER_REQUEST"
    )
    emulator.dynamodb.put_item(TableName=name, Item=KEY)
    emulator.control.post("access", principals={"applier": APPLIER})
    yield name
    emulator.control.post("access", policy_delay_s=0, policy_pause_s=0, signature_age_s=900)


def arn_of(table: str) -> str:
    return f"arn:aws:dynamodb:us-east-1:000000000000:table/{table}"


def guard(table: str, *, but: str = APPLIER, resource: str | None = None) -> str:
    """Return a policy that denies everyone but one role to write."""
    statement = {
        "Sid": "CrossfadeGuard",
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:PartiQL*"],
        "Resource": resource or arn_of(table),
        "Condition": {"ArnNotEquals": {"aws:PrincipalArn": [but]}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def client_of(emulator: Emulator, access_key_id: str) -> Any:
    arguments = emulator.endpoints.client_arguments() | {"aws_access_key_id": access_key_id}
    return boto3.client("dynamodb", config=Config(retries={"total_max_attempts": 1}), **arguments)


def code_of(refused: Any) -> str:
    return str(refused.value.response["Error"]["Code"])


@mends("resource_policies")
def test_a_deny_for_all_but_a_role_holds_for_each_way_to_write_and_not_for_reads(
    emulator: Emulator, table: str
) -> None:
    emulator.dynamodb.put_resource_policy(ResourceArn=arn_of(table), Policy=guard(table))
    other, statement = emulator.dynamodb, f"INSERT INTO \"{table}\" VALUE {{'pk':'b'}}"
    put = {"Put": {"TableName": table, "Item": {"pk": {"S": "b"}}}}
    ways: list[Callable[[], Any]] = [
        lambda: other.put_item(TableName=table, Item=KEY),
        lambda: other.put_item(TableName=arn_of(table), Item=KEY),
        lambda: other.delete_item(TableName=table, Key=KEY),
        lambda: other.update_item(TableName=table, Key=KEY, UpdateExpression="REMOVE a"),
        lambda: other.transact_write_items(TransactItems=[put]),
        lambda: other.execute_statement(Statement=statement),
    ]
    for refused in ways:
        with pytest.raises(ClientError, match="explicit deny in a resource-based policy") as caught:
            refused()
        assert code_of(caught) == "AccessDeniedException"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert other.scan(TableName=table)["Items"] == [KEY]
    client_of(emulator, "applier").put_item(TableName=table, Item=KEY | {"a": {"N": "1"}})


@mends("resource_policies")
def test_in_a_batch_of_statements_each_that_is_denied_says_so_and_the_others_run(
    emulator: Emulator, table: str
) -> None:
    emulator.dynamodb.put_resource_policy(ResourceArn=arn_of(table), Policy=guard(table))
    names = (table, _plain_table(emulator))
    statements = [{"Statement": "DELETE FROM \"{}\" WHERE pk='a'".format(name)} for name in names]  # noqa: S608, UP032
    answers = emulator.dynamodb.batch_execute_statement(Statements=statements)["Responses"]
    assert answers[0]["Error"]["Code"] == "AccessDenied"
    assert "Error" not in answers[1]
    assert emulator.dynamodb.get_item(TableName=table, Key=KEY)["Item"] == KEY


def _plain_table(emulator: Emulator) -> str:
    name = f"open-{next(_numbers)}"
    emulator.dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    emulator.dynamodb.put_item(TableName=name, Item=KEY)
    return name


@mends("resource_policies")
def test_a_write_whose_condition_fails_tells_a_hold_from_an_open_table_and_leaves_no_trace(
    emulator: Emulator, table: str
) -> None:
    probe: Item = {"TableName": table, "Item": {"pk": {"S": "absent"}}, "ConditionExpression": "attribute_exists(pk)"}
    with pytest.raises(ClientError) as caught:
        emulator.dynamodb.put_item(**probe)
    assert code_of(caught) == "ConditionalCheckFailedException"
    emulator.dynamodb.put_resource_policy(ResourceArn=arn_of(table), Policy=guard(table))
    with pytest.raises(ClientError) as caught:
        emulator.dynamodb.put_item(**probe)
    assert code_of(caught) == "AccessDeniedException"
    assert emulator.dynamodb.scan(TableName=table)["Items"] == [KEY]


@mends("resource_policies")
def test_a_policy_is_in_force_after_its_delay_and_so_is_its_end(emulator: Emulator, table: str) -> None:
    slow, quick = _plain_table(emulator), table
    emulator.control.post("access", policy_delay_s=3600)
    emulator.dynamodb.put_resource_policy(ResourceArn=arn_of(slow), Policy=guard(slow))
    assert not _is_denied(emulator, slow)
    emulator.control.post("access", policy_delay_s=0.05)
    emulator.dynamodb.put_resource_policy(ResourceArn=arn_of(quick), Policy=guard(quick))
    _until(lambda: _is_denied(emulator, quick))
    emulator.control.post("access", policy_delay_s=3600)
    emulator.dynamodb.delete_resource_policy(ResourceArn=arn_of(quick))
    assert _is_denied(emulator, quick)


def _is_denied(emulator: Emulator, table: str) -> bool:
    try:
        emulator.dynamodb.put_item(TableName=table, Item=KEY)
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "AccessDeniedException")
    return False


def _until(true: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if true():
            return
    pytest.fail("what the emulator was told to do within 0.05 s has not happened after 10,000 requests")


@mends("resource_policies")
def test_a_revision_guards_a_change_and_the_same_document_keeps_its_own(emulator: Emulator, table: str) -> None:
    arn, client = arn_of(table), emulator.dynamodb
    first = client.put_resource_policy(ResourceArn=arn, Policy=guard(table), ExpectedRevisionId="NO_POLICY")
    assert client.put_resource_policy(ResourceArn=arn, Policy=guard(table))["RevisionId"] == first["RevisionId"]
    assert client.get_resource_policy(ResourceArn=arn) | {"ResponseMetadata": None} == {
        "Policy": guard(table),
        "RevisionId": first["RevisionId"],
        "ResponseMetadata": None,
    }
    other = guard(table, but="arn:aws:iam::000000000000:role/other")
    for expected in ("NO_POLICY", "another"):
        with pytest.raises(ClientError) as caught:
            client.put_resource_policy(ResourceArn=arn, Policy=other, ExpectedRevisionId=expected)
        assert code_of(caught) == "PolicyNotFoundException"
    with pytest.raises(ClientError) as caught:
        client.delete_resource_policy(ResourceArn=arn, ExpectedRevisionId="another")
    assert code_of(caught) == "PolicyNotFoundException"
    client.delete_resource_policy(ResourceArn=arn, ExpectedRevisionId=first["RevisionId"])
    with pytest.raises(ClientError) as caught:
        client.get_resource_policy(ResourceArn=arn)
    assert code_of(caught) == "PolicyNotFoundException"


@mends("resource_policies")
def test_a_policy_that_was_changed_just_now_cant_be_changed_again(emulator: Emulator, table: str) -> None:
    arn = arn_of(table)
    emulator.dynamodb.put_resource_policy(ResourceArn=arn, Policy=guard(table))
    emulator.control.post("access", policy_pause_s=15)
    with pytest.raises(ClientError) as caught:
        emulator.dynamodb.delete_resource_policy(ResourceArn=arn)
    assert code_of(caught) == "ResourceInUseException"
    emulator.control.post("access", policy_pause_s=0)
    emulator.dynamodb.delete_resource_policy(ResourceArn=arn)


@mends("resource_policies")
@pytest.mark.parametrize(
    "change",
    [{"Condition": {"ArnNotEqual": {"aws:PrincipalArn": APPLIER}}}, {"Effect": "deny"}, {"Principal": None}],
)
def test_a_policy_that_would_deny_nobody_by_mistake_is_refused(emulator: Emulator, table: str, change: Item) -> None:
    document = json.loads(guard(table))
    document["Statement"][0] |= change
    document["Statement"][0] = {name: each for name, each in document["Statement"][0].items() if each is not None}
    with pytest.raises(ClientError) as caught:
        emulator.dynamodb.put_resource_policy(ResourceArn=arn_of(table), Policy=json.dumps(document))
    assert code_of(caught) == "ValidationException"


@mends("resource_policies")
def test_an_index_has_an_arn_of_its_own_and_a_table_may_bring_its_policy(emulator: Emulator) -> None:
    name = f"policies-{next(_numbers)}"
    document = json.loads(guard(name, resource=f"{arn_of(name)}/index/*"))
    document["Statement"][0]["Action"] = "dynamodb:*"
    emulator.dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "of")],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-of",
                "KeySchema": [{"AttributeName": "of", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
        ResourcePolicy=json.dumps(document),
    )
    assert emulator.dynamodb.scan(TableName=name)["Items"] == []
    with pytest.raises(ClientError) as caught:
        emulator.dynamodb.scan(TableName=name, IndexName="by-of")
    assert code_of(caught) == "AccessDeniedException"
    emulator.dynamodb.delete_table(TableName=name)


def test_another_accounts_role_needs_an_allow(emulator: Emulator, table: str) -> None:
    outsider = "arn:aws:iam::111122223333:role/outsider"
    emulator.control.post("access", principals={"outsider": outsider})
    client = client_of(emulator, "outsider")
    with pytest.raises(ClientError, match="no resource-based policy allows"):
        client.get_item(TableName=table, Key=KEY)
    allow = {"Effect": "Allow", "Principal": {"AWS": outsider}, "Action": "dynamodb:GetItem", "Resource": arn_of(table)}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    emulator.dynamodb.put_resource_policy(ResourceArn=arn_of(table), Policy=policy)
    assert client.get_item(TableName=table, Key=KEY)["Item"] == KEY
    with pytest.raises(ClientError, match="no resource-based policy allows"):
        client.put_item(TableName=table, Item=KEY)


def test_a_session_of_a_role_is_that_role(emulator: Emulator, table: str) -> None:
    role = "arn:aws:iam::000000000000:role/applier"
    emulator.dynamodb.put_resource_policy(ResourceArn=arn_of(table), Policy=guard(table, but=role))
    sts = boto3.client("sts", **emulator.endpoints.client_arguments())
    for name, may in (("applier", True), ("other", False)):
        assumed = sts.assume_role(RoleArn=f"arn:aws:iam::000000000000:role/{name}", RoleSessionName="test")[
            "Credentials"
        ]
        session = boto3.client(
            "dynamodb",
            endpoint_url=emulator.endpoints.aws_endpoint,
            region_name="us-east-1",
            aws_access_key_id=assumed["AccessKeyId"],
            aws_secret_access_key=assumed["SecretAccessKey"],
            aws_session_token=assumed["SessionToken"],
        )
        if may:
            session.put_item(TableName=table, Item=KEY)
        else:
            with pytest.raises(ClientError) as caught:
                session.put_item(TableName=table, Item=KEY)
            assert code_of(caught) == "AccessDeniedException"


@pytest.mark.parametrize("age_s", [3, -3])
def test_a_signature_that_is_too_old_or_from_ahead_is_refused_and_does_nothing(
    emulator: Emulator, table: str, age_s: int
) -> None:
    emulator.control.post("access", signature_age_s=2)
    emulator.control.post("date", offset_s=age_s)
    try:
        with pytest.raises(ClientError, match="now earlier than" if age_s > 0 else "still later than") as caught:
            emulator.dynamodb.put_item(TableName=table, Item={"pk": {"S": "late"}})
        with pytest.raises(ClientError):
            emulator.dynamodb.describe_table(TableName=table)
        with pytest.raises(ClientError) as s3:
            emulator.s3.list_buckets()
    finally:
        emulator.control.post("date", offset_s=0)
    assert code_of(caught) == "InvalidSignatureException"
    assert code_of(s3) == "RequestTimeTooSkewed"
    assert emulator.dynamodb.scan(TableName=table)["Items"] == [KEY]


def given_up(emulator: Emulator, table: str, pk: str) -> None:
    """Send a put that is held on its way, and close the connection without an answer."""
    emulator.control.post("late", access_key_id="slow", operation="PutItem")
    arguments = emulator.endpoints.client_arguments() | {"aws_access_key_id": "slow"}
    config = Config(read_timeout=0.2, retries={"total_max_attempts": 1})
    with pytest.raises(ReadTimeoutError):
        boto3.client("dynamodb", config=config, **arguments).put_item(TableName=table, Item={"pk": {"S": pk}})
    _until(lambda: emulator.control.get("late")["waiting"] == 1)


def arrived(emulator: Emulator) -> None:
    emulator.control.post("late", release=True)
    _until(lambda: emulator.control.get("late")["waiting"] == 0)


def test_a_request_that_its_client_gave_up_may_be_carried_out_later(emulator: Emulator, table: str) -> None:
    given_up(emulator, table, "late")
    assert emulator.dynamodb.scan(TableName=table)["Items"] == [KEY]
    arrived(emulator)
    found = emulator.dynamodb.scan(TableName=table)["Items"]
    assert sorted(item["pk"]["S"] for item in found) == ["a", "late"]


def test_a_request_that_comes_late_with_a_signature_too_old_does_nothing(emulator: Emulator, table: str) -> None:
    given_up(emulator, table, "too late")
    emulator.control.post("access", signature_age_s=60)
    emulator.control.post("date", offset_s=120)
    try:
        arrived(emulator)
    finally:
        emulator.control.post("date", offset_s=0)
    assert emulator.dynamodb.scan(TableName=table)["Items"] == [KEY]


@pytest.mark.parametrize("setting", [{"late": 2}, {"delay_s": -2}, {"requests": "all"}, {"operation": 5}])
def test_a_late_request_that_makes_no_sense_is_refused(emulator: Emulator, setting: Item) -> None:
    with pytest.raises(Exception, match="400"):
        emulator.control.post("late", **setting)


@pytest.mark.parametrize("setting", [{"age": 2}, {"signature_age_s": -1}, {"principals": {"a": "applier"}}])
def test_a_setting_of_access_that_makes_no_sense_is_refused(emulator: Emulator, setting: Item) -> None:
    with pytest.raises(Exception, match="400"):
        emulator.control.post("access", **setting)


def test_two_processes_are_two_accounts_in_two_regions() -> None:
    with Stack(redis=False, account_id="222233334444", region="eu-west-1", signature_age_s=2) as stack:
        client = boto3.client("dynamodb", **stack.endpoints.client_arguments())
        table = client.create_table(
            TableName="wallet",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )["TableDescription"]
        assert table["TableArn"] == "arn:aws:dynamodb:eu-west-1:222233334444:table/wallet"
        identity = boto3.client("sts", **stack.endpoints.client_arguments()).get_caller_identity()
        assert identity["Account"] == "222233334444"
