"""Source and target in two accounts: two embedded AWSs, a profile, a role, a Region and an endpoint for each side."""

from __future__ import annotations

import configparser
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from crossfade.adapters.wire import ServiceError
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Side
from crossfade.runtime.aws import control_client
from crossfade.runtime.clients import Clients
from crossfade.runtime.settings import ServiceSettings
from engagement_migration import MAPPING
from localaws import Endpoints, Stack
from localaws.fixture import Control

ROLE = "arn:aws:iam::222233334444:role/crossfade-target"
KEY = {"KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
KEY |= {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}]}


@pytest.fixture(scope="module")
def other_aws() -> Iterator[Endpoints]:
    """The target's account."""
    with Stack(redis=False) as stack:
        yield stack.endpoints


@pytest.fixture
def settings(
    local_aws: Endpoints, other_aws: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ServiceSettings:
    """The source by a profile; the target by a role that another profile may assume, elsewhere."""
    profiles = configparser.ConfigParser()
    profiles["profile old"] = {"aws_access_key_id": "oldkey", "aws_secret_access_key": "x"}
    profiles["profile new"] = {"aws_access_key_id": "newkey", "aws_secret_access_key": "x"}
    with (tmp_path / "config").open("w") as file:
        profiles.write(file)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "homekey")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    return ServiceSettings(
        aws_endpoint_url=local_aws.aws_endpoint,
        source_profile="old",
        target_profile="new",
        target_role_arn=ROLE,
        target_endpoint_url=other_aws.aws_endpoint,
        target_region="eu-west-1",
        source_stream="accounts-source",
        target_stream="accounts-target",
    )


@pytest.fixture
async def clients(settings: ServiceSettings) -> AsyncIterator[Clients]:
    async with Clients(settings) as made:
        yield made


def callers(at: Endpoints, action: str) -> set[str]:
    """Return the access keys that made a call."""
    return {key for key, actions in Control(at.aws_endpoint).get("calls").items() if action in actions}


async def create_table(settings: ServiceSettings, side: Side, name: str) -> None:
    async with control_client(settings, "dynamodb", side=side) as client:
        await client.create_table(TableName=name, **KEY)


async def test_each_side_s_rows_are_written_to_its_own_account_by_its_own_keys(
    clients: Clients, settings: ServiceSettings, local_aws: Endpoints, other_aws: Endpoints
) -> None:
    dbs = clients.databases()
    for side in Side:
        await create_table(settings, side, f"accounts-{side.value}")
        await dbs[side].put_item(b'{"TableName":"accounts-%b","Item":{"pk":{"S":"%b"}}}' % ((side.value.encode(),) * 2))
    for side in Side:
        found = await dbs[side].scan(f"accounts-{side.value}", segment=0, segments=1, start=None, limit=9)
        assert [bytes(row["pk"]) for row in found.items] == [b'{"S":"%b"}' % side.value.encode()]
        with pytest.raises(ServiceError, match="ResourceNotFound"):
            await dbs[side.other].scan(f"accounts-{side.value}", segment=0, segments=1, start=None, limit=9)
    assert "oldkey" in callers(local_aws, "dynamodb:PutItem")
    assumed = callers(other_aws, "dynamodb:PutItem")
    assert assumed
    assert not assumed & {"newkey", "oldkey", "homekey"}, "a role's keys are STS's"
    assert "homekey" not in callers(other_aws, "dynamodb:CreateTable"), "the control plane, too"


async def test_a_call_of_the_control_plane_goes_to_the_side_that_its_table_stream_or_arn_names(
    clients: Clients, settings: ServiceSettings, local_aws: Endpoints, other_aws: Endpoints
) -> None:
    mapping: Any = MAPPING.with_tables(source="accounts-old", target="accounts-new")
    admin, streams = clients.admin(mapping), clients.streams(mapping)
    for side, name, at in ((Side.SOURCE, "accounts-old", local_aws), (Side.TARGET, "accounts-new", other_aws)):
        await create_table(settings, side, name)
        facts = await admin.table(name)
        assert facts is not None
        stream = f"accounts-{side.value}"
        await admin.create_stream(stream, shards=1)
        assert "kinesis:CreateStream" in str(Control(at.aws_endpoint).get("calls"))
        found = await admin.stream(stream)
        assert found is not None
        await admin.enable_destination(name, found.arn)
        [destination] = await admin.destinations(name)
        assert destination.stream_arn == found.arn
        await clients.databases()[side].put_item(b'{"TableName":"%b","Item":{"pk":{"S":"x"}}}' % name.encode())
        read: list[bytes] = []
        [shard] = await streams.list_shards(stream)
        iterator: str | None = await streams.shard_iterator(stream, shard.shard_id)
        while iterator is not None and not read:
            fetched = await streams.get_records(iterator)
            read += [each.data for each in fetched.records]
            iterator = fetched.next_iterator
        assert name.encode() in read[0]


async def test_where_both_sides_are_home_there_is_one_pool_of_connections(local_aws: Endpoints) -> None:
    async with Clients(ServiceSettings(aws_endpoint_url=local_aws.aws_endpoint)) as clients:
        assert clients.wire("dynamodb", Side.SOURCE) is clients.wire("dynamodb", Side.TARGET)
        assert clients.wire("dynamodb") is clients.wire("dynamodb", Side.SOURCE)


async def test_a_profile_that_is_missing_is_named(settings: ServiceSettings) -> None:
    wrong = settings.model_copy(update={"source_profile": "nobody-s"})
    async with Clients(wrong) as clients:
        with pytest.raises(ConfigError, match="no profile 'nobody-s'"):
            await clients.wire("dynamodb", Side.SOURCE).call("ListTables", b"{}")
    with pytest.raises(ConfigError, match="no profile 'nobody-s'"):
        control_client(wrong, "dynamodb", side=Side.SOURCE)
