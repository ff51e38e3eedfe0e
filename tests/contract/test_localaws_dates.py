"""Every answer carries `Date`, of every service and on both paths; a test may set that clock ahead, back or silent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import boto3
import msgspec
import pytest
from botocore.exceptions import ClientError

from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from localaws.endpoints import REGION
from localaws.fixture import Emulator

pytestmark = pytest.mark.embedded

TABLE = "dated"


@pytest.fixture(autouse=True)
def right_again(emulator: Emulator) -> Iterator[None]:
    yield
    emulator.control.post("date", offset_s=0.0, is_told=True)


def dated(answer: Any) -> float:
    """Return by how much an answer's date is ahead of our clock, s."""
    date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    return parsedate_to_datetime(date).timestamp() - time.time()


def answers(emulator: Emulator) -> Iterator[Any]:
    """One answer of each service, some by the short path, some by the long one, and a refusal."""
    yield emulator.dynamodb.list_tables()
    yield emulator.kinesis.list_streams()
    yield emulator.s3.list_buckets()
    yield emulator.cloudwatch.list_metrics(Namespace="AWS/DynamoDB")
    yield boto3.client("sts", **emulator.endpoints.client_arguments()).get_caller_identity()
    with pytest.raises(ClientError) as refused:
        emulator.dynamodb.get_item(TableName="nowhere", Key={"pk": {"S": "a"}})
    yield refused.value.response
    with pytest.raises(ClientError) as missing:
        emulator.s3.head_bucket(Bucket="nowhere-at-all")
    yield missing.value.response


def test_every_service_s_answers_are_dated_by_the_machine_s_clock_in_whole_seconds(emulator: Emulator) -> None:
    for answer in answers(emulator):
        assert -2.0 < dated(answer) <= 0.0


@pytest.mark.parametrize("offset_s", [-600.0, 600.0])
def test_the_clock_of_the_answers_can_be_set(emulator: Emulator, offset_s: float) -> None:
    assert emulator.control.post("date", offset_s=offset_s) == {"offset_s": offset_s, "is_told": True}
    for answer in answers(emulator):
        assert offset_s - 2.0 < dated(answer) <= offset_s


def test_answers_can_go_without_a_date(emulator: Emulator) -> None:
    emulator.control.post("date", is_told=False)
    for answer in answers(emulator):
        assert "date" not in answer["ResponseMetadata"]["HTTPHeaders"]


def wire(emulator: Emulator) -> Wire:
    config = WireConfig(region=REGION, endpoint_url=emulator.endpoints.aws_endpoint)
    return Wire("dynamodb", config, StaticCredentials(Credentials("local", "local")))


async def test_the_wire_client_tells_the_skew_as_an_interval_that_holds_it(emulator: Emulator) -> None:
    async with wire(emulator) as client:
        assert client.dates.skew() is None, "nothing was answered yet"
        for offset_s in (0.0, -600.0, 600.0):
            emulator.control.post("date", offset_s=offset_s)
            await client.call("ListTables", b"{}")
            skew = client.dates.skew()
            assert skew is not None
            assert skew.low_s <= -offset_s <= skew.high_s
            assert skew.high_s - skew.low_s < 3.0, "a second, and the round trip"


async def test_an_answer_without_a_date_leaves_what_was_known_and_a_refusal_tells_it_too(emulator: Emulator) -> None:
    async with wire(emulator) as client:
        emulator.control.post("date", is_told=False)
        await client.call("ListTables", b"{}")
        assert client.dates.skew() is None
        emulator.control.post("date", offset_s=-40.0)
        with pytest.raises(Exception, match="ResourceNotFound"):
            await client.call("GetItem", msgspec.json.encode({"TableName": TABLE, "Key": {"pk": {"S": "a"}}}))
        skew = client.dates.skew()
        assert skew is not None
        assert skew.surely_s > 37.0
