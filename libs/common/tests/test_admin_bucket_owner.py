"""Export and import name the bucket's account where it is another than the table's: AWS refuses them otherwise."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from crossfade.adapters.admin import DynamoAdmin
from crossfade.adapters.wire import Wire


class Heard:
    """A wire client that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    async def call(self, operation: str, body: bytes) -> bytes:
        self.asked[operation] = json.loads(body)
        return b'{"ExportDescription":{"ExportArn":"e"},"ImportTableDescription":{"ImportArn":"i"}}'


@pytest.mark.parametrize("owner", ["", "111122223333"])
async def test_export_and_import_name_the_bucket_s_owner_if_there_is_one(owner: str) -> None:
    heard = Heard()
    admin = DynamoAdmin(cast("Wire", heard), cast("Wire", heard), bucket_owner=owner)
    await admin.export("arn", at_s=1, bucket="b", prefix="p", token="t")  # no secret
    table = "arn:aws:dynamodb:eu-west-1:444455556666:table/orders"
    await admin.import_table(table, [("pk", "S")], indexes=(), bucket="b", prefix="p", token="t")
    imported = heard.asked["ImportTable"]
    assert heard.asked["ExportTableToPointInTime"].get("S3BucketOwner", "") == owner
    assert imported["S3BucketSource"].get("S3BucketOwner", "") == owner
    assert imported["TableCreationParameters"]["TableName"] == "orders", "a table is created by its name"
