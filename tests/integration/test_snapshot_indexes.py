"""The import creates the target with the source's global indexes: on an engine, by what it describes afterwards."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest

from crossfade.adapters.admin import DynamoAdmin
from crossfade.core.values.shape import Index, IndexKey
from crossfade.runtime.clients import Clients
from crossfade.runtime.settings import ServiceSettings
from localaws.endpoints import Endpoints

pytestmark = pytest.mark.embedded

SOURCE, TARGET, BUCKET = "indexed-source", "indexed-target", "indexed-imports"
INDEXES = (
    Index("by-mail", (IndexKey("mail", "S"), IndexKey("created", "N", sorts=True)), "INCLUDE", ("total",)),
    Index("by-state", (IndexKey("state", "S"),), "KEYS_ONLY"),
)


async def test_an_imported_table_has_the_indexes_that_its_source_has(
    local_aws: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    async with Clients(ServiceSettings(aws_endpoint_url=local_aws.aws_endpoint)) as clients:
        admin = DynamoAdmin(clients.wire("dynamodb"), clients.wire("kinesis"))
        dynamodb, s3 = await clients.lazy("dynamodb").get(), await clients.lazy("s3").get()
        request: dict[str, Any] = {
            "TableName": SOURCE,
            "BillingMode": "PROVISIONED",
            "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": kind}
                for name, kind in (("pk", "S"), ("mail", "S"), ("created", "N"), ("state", "S"))
            ],
            "GlobalSecondaryIndexes": [
                {
                    "IndexName": "by-mail",
                    "KeySchema": [
                        {"AttributeName": "mail", "KeyType": "HASH"},
                        {"AttributeName": "created", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["total"]},
                    "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
                },
                {
                    "IndexName": "by-state",
                    "KeySchema": [{"AttributeName": "state", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                    "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
                },
            ],
        }
        await dynamodb.create_table(**request)
        facts = await admin.table(SOURCE)
        assert facts is not None
        assert facts.indexes == INDEXES
        await s3.create_bucket(Bucket=BUCKET)
        line = b'{"Item":{"pk":{"S":"1"},"mail":{"S":"a@b"},"created":{"N":"7"},"total":{"N":"3"}}}\n'
        await s3.put_object(Bucket=BUCKET, Key="in/1.json.gz", Body=gzip.compress(line))
        arn = await admin.import_table(
            TARGET, facts.key, indexes=facts.indexes, bucket=BUCKET, prefix="in/", token="indexed"
        )
        async with asyncio.timeout(60):
            while (await admin.import_facts(arn)).status == "IN_PROGRESS":  # noqa: ASYNC110  # no event tells it
                await asyncio.sleep(0.05)
        assert (await admin.import_facts(arn)).status == "COMPLETED"
        made = await admin.table(TARGET)
        assert made is not None
        assert made.indexes == INDEXES
        asked: dict[str, Any] = {
            "KeyConditionExpression": "mail = :m",
            "ExpressionAttributeValues": {":m": {"S": "a@b"}},
        }
        found = await dynamodb.query(TableName=TARGET, IndexName="by-mail", **asked)
        assert [each["total"] for each in found["Items"]] == [{"N": "3"}]
