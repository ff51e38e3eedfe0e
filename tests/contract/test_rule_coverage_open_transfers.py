"""Rule 1 for open shapes, whose transfers read before they write: what happens between the two is never overwritten."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.transfers import DynamoTransfers
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.protocol.keyed.item import Item, Role, build_image, parse_item
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image, encode_image
from crossfade.core.values.keys import key_image, key_of_strings
from crossfade.core.values.shape import Side, TableShape
from engagement_migration import MAPPING
from localaws import Endpoints
from ownership_cases import SEED, stamped

KEY = key_of_strings("USER#7", "POINTS#chan-3")
TRANSFER = Transfer(KEY, SEED + 5, {"points": wire.of_number(55)})


class Racing(DynamoDB):
    """DynamoDB, with somebody who writes between the first read and whatever comes after it."""

    def __init__(self, client: Wire) -> None:
        super().__init__(client)
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def get_item(self, table: str, key: Image, *, consistent: bool = True) -> Image | None:
        found = await super().get_item(table, key, consistent=consistent)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return found


class Bench:
    def __init__(self, dynamodb: Racing, shape: TableShape) -> None:
        self.dynamodb, self.shape = dynamodb, shape
        self.transfers = DynamoTransfers(dynamodb, shape, KEYED)

    async def put(self, item: Item) -> None:
        name = json.dumps(self.shape.table).encode()
        image = encode_image(build_image(item, self.shape, key_image(KEY, self.shape.key)))
        await self.dynamodb.put_item(b'{"TableName":%b,"Item":%b}' % (name, image))

    async def raced(self, before: Item | None, after: Item) -> tuple[Verdict, Item]:
        """Transfer onto `before`, which becomes `after` once it was read; return what came of it."""
        if before is not None:
            await self.put(before)
        self.dynamodb.meanwhile = lambda: self.put(after)
        [verdict] = await self.transfers.transfer([TRANSFER])
        assert self.dynamodb.meanwhile is None, "nothing was read"
        image = await self.dynamodb.get_item(self.shape.table, key_image(KEY, self.shape.key))
        assert image is not None
        return verdict, parse_item(image, self.shape)


@pytest.fixture
async def bench(local_aws: Endpoints) -> AsyncIterator[Bench]:
    keys = StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key))
    shape = MAPPING.shape(Side.TARGET)._replace(table=f"open-{uuid.uuid4().hex[:12]}", attributes=None)
    table = {
        "TableName": shape.table,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
        "BillingMode": "PAY_PER_REQUEST",
    }
    async with Wire("dynamodb", WireConfig(local_aws.region, local_aws.aws_endpoint), keys) as client:
        await client.call("CreateTable", json.dumps(table).encode())
        yield Bench(Racing(client), shape)


pytestmark = pytest.mark.embedded
STANDBY = stamped(Side.TARGET, Role.STANDBY, 1)


async def test_rule_1_a_newer_image_that_came_between_read_and_write_stays(bench: Bench) -> None:
    newer = STANDBY._replace(version=SEED + 9)
    assert await bench.raced(STANDBY, newer) == (Verdict.STALE, newer)


async def test_rule_1_an_item_that_became_active_between_read_and_write_stays(bench: Bench) -> None:
    """Even at the same version: the role is a condition of its own."""
    active = STANDBY._replace(role=Role.ACTIVE)
    assert await bench.raced(STANDBY, active) == (Verdict.OWNED, active)


async def test_rule_1_a_row_that_appeared_between_read_and_write_stays(bench: Bench) -> None:
    newer = STANDBY._replace(version=SEED + 9)
    assert await bench.raced(None, newer) == (Verdict.STALE, newer)


async def test_an_older_image_that_came_between_is_still_overwritten_and_keeps_its_generation(bench: Bench) -> None:
    verdict, item = await bench.raced(STANDBY, STANDBY._replace(version=SEED + 2, generation=3))
    assert verdict is Verdict.APPLIED
    assert (item.version, item.role, item.generation) == (SEED + 5, Role.STANDBY, 3)
    assert item.content == (("points", b'{"N":"55"}'),)
