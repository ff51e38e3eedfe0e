"""A load of a plain migration on the embedded AWS: as a member, into a table with a local index."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.control.members import DynamoMembers
from crossfade.adapters.control.owner_map import DynamoOwnerMaps
from crossfade.adapters.control.tables import control_db, create_control_tables
from crossfade.adapters.memory.admin import MemoryAws
from crossfade.core.mapping.rules import RuleMapping, Table
from crossfade.core.migration.control import control_tables
from crossfade.core.protocol.plain.map import first_map
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.runtime.clients import Clients
from crossfade.runtime.pace import Pace
from crossfade_controller.load_run import FileLoader, LoadCounts
from crossfade_controller.loading import loading
from crossfade_controller.settings import ControllerSettings
from localaws.endpoints import Endpoints

pytestmark = pytest.mark.embedded

MAPPING = RuleMapping(
    "loaded",
    source=Table("loaded-old", key=("pk", "n")),
    target=Table("loaded-new", key=("pk", "n")),
    belongs=lambda _key: True,
    rules=(),
    is_open=True,
    protocol=PLAIN,
)
LOCAL_INDEX: dict[str, Any] = {
    "IndexName": "by-day",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "day", "KeyType": "RANGE"}],
    "Projection": {"ProjectionType": "ALL"},
}


async def test_rows_are_written_by_a_member_and_are_found_by_the_local_index(
    local_aws: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    settings, names = ControllerSettings(aws_endpoint_url=local_aws.aws_endpoint), control_tables(MAPPING.name)
    async with Clients(settings) as clients:
        client = await clients.lazy("dynamodb").get()
        await client.create_table(
            TableName="loaded-new",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "n", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": kind} for name, kind in (("pk", "S"), ("n", "N"), ("day", "S"))
            ],
            LocalSecondaryIndexes=[LOCAL_INDEX],
        )
        wire = clients.wire("dynamodb")
        await create_control_tables(wire, names)
        control = control_db(wire)
        assert await DynamoOwnerMaps(control, names.journal).swap(None, first_map(1))
        members, bucket = DynamoMembers(control, names.reports), MemoryAws({}, set())
        rows = b"".join(
            b'{"Item":{"pk":{"S":"a"},"n":{"N":"%d"},"day":{"S":"d%d"}}}\n' % (n, 99 - n) for n in range(60)
        )
        bucket.objects["in"] = gzip.compress(rows)

        async def load() -> LoadCounts:
            async with loading(settings, MAPPING, clients, control, names, SYSTEM) as loader:
                assert [each.duty for each in await members.all()] == ["load"]
                files = FileLoader(bucket, MAPPING, loader, Pace(1e6), SYSTEM)
                return await files.load("in", "others")

        assert await load() == LoadCounts(written=60)
        assert await members.all() == []
        assert await load() == LoadCounts(there=60), "whoever does it again finds its rows"
        found = await client.query(
            TableName="loaded-new",
            IndexName="by-day",
            KeyConditionExpression="pk = :p",
            ExpressionAttributeValues={":p": {"S": "a"}},
            Limit=1,
        )
        assert found["Items"] == [{"pk": {"S": "a"}, "n": {"N": "59"}, "day": {"S": "d40"}}], (
            "and nothing of Crossfade's"
        )
