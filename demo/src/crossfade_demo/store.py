"""The demo's own view of the tables and streams: plain AWS calls, nothing of the services."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, TypeAlias

from crossfade.adapters.kinesis import Kinesis
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.ports.streams import StreamRecord
from crossfade_demo.loopback import send
from localaws.endpoints import Endpoints

Row: TypeAlias = dict[str, dict[str, Any]]
"""An item as DynamoDB JSON, decoded."""

PATIENCE_S: Final = 30.0
"""For one request: the demo reads to compare, and a busy machine is no finding."""

SOURCE: Final = "wallet"
TARGET: Final = "engagement"


class Store:
    """DynamoDB and Kinesis of the embedded AWS."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        config = WireConfig(
            region=endpoints.region,
            endpoint_url=endpoints.aws_endpoint,
            max_connections=8,
            connect_timeout_s=PATIENCE_S,
            timeout_s=PATIENCE_S,
        )
        keys = StaticCredentials(Credentials(endpoints.access_key_id, endpoints.secret_access_key))
        self._dynamodb = Wire("dynamodb", config, keys)
        self._kinesis_wire = Wire("kinesis", config, keys)
        self._kinesis = Kinesis(self._kinesis_wire)

    async def close(self) -> None:
        """Close the connections."""
        await self._dynamodb.close()
        await self._kinesis_wire.close()

    async def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """Send one DynamoDB request."""
        answer: dict[str, Any] = json.loads(await self._dynamodb.call(operation, json.dumps(request).encode()))
        return answer

    async def create_bucket(self, name: str) -> None:
        """Create the bucket of the snapshot."""
        await asyncio.to_thread(send, f"{self._endpoints.aws_endpoint}/{name}", method="PUT")

    async def create_source(self, ttl: str) -> None:
        """Create the shared table, with point-in-time recovery and TTL on."""
        await self.call(
            "CreateTable",
            TableName=SOURCE,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        await self.call(
            "UpdateContinuousBackups",
            TableName=SOURCE,
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
        )
        await self.call(
            "UpdateTimeToLive", TableName=SOURCE, TimeToLiveSpecification={"AttributeName": ttl, "Enabled": True}
        )

    async def put_all(self, rows: Sequence[Row]) -> None:
        """Write rows, 25 a request, four requests at a time."""
        room = asyncio.Semaphore(4)

        async def put(part: Sequence[Row]) -> None:
            async with room:
                waiting = [{"PutRequest": {"Item": row}} for row in part]
                while waiting:
                    answer = await self.call("BatchWriteItem", RequestItems={SOURCE: waiting})
                    waiting = answer.get("UnprocessedItems", {}).get(SOURCE, [])

        await asyncio.gather(*(put(rows[start : start + 25]) for start in range(0, len(rows), 25)))

    async def scan(self, table: str) -> AsyncIterator[Row]:
        """Yield every row, strongly consistent."""
        start: dict[str, Any] = {}
        while True:
            page = await self.call("Scan", TableName=table, ConsistentRead=True, Limit=1000, **start)
            for row in page["Items"]:
                yield row
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    async def rows(self, table: str, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
        """Read rows by key, strongly consistent; missing ones are left out."""
        found: dict[tuple[str, str], Row] = {}
        for start in range(0, len(keys), 100):
            wanted = [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in keys[start : start + 100]]
            while wanted:
                answer = await self.call("BatchGetItem", RequestItems={table: {"Keys": wanted, "ConsistentRead": True}})
                for row in answer["Responses"].get(table, []):
                    found[row["pk"]["S"], row["sk"]["S"]] = row
                wanted = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        return found

    async def stream(self, name: str) -> list[StreamRecord]:
        """Return all records of a stream, shard by shard, each in the order of the shard."""
        records: list[StreamRecord] = []
        for shard in await self._kinesis.list_shards(name):
            iterator: str | None = await self._kinesis.shard_iterator(name, shard.shard_id)
            empty = 0
            while iterator and empty < 2:
                fetched = await self._kinesis.get_records(iterator, 5_000)
                records += fetched.records
                iterator = fetched.next_iterator
                empty = empty + 1 if not fetched.records and fetched.behind_ms == 0 else 0
        return records


def plain(value: dict[str, Any]) -> Any:
    """Return a DynamoDB value in a form that compares: numbers as text, sets ordered, binaries as bytes."""
    ((kind, inner),) = value.items()
    if kind == "B":
        return (kind, base64.b64decode(inner))
    if kind in {"SS", "NS"}:
        return (kind, tuple(sorted(inner)))
    if kind == "BS":
        return (kind, tuple(sorted(map(base64.b64decode, inner))))
    if kind == "L":
        return (kind, tuple(plain(each) for each in inner))
    if kind == "M":
        return (kind, tuple(sorted((name, plain(each)) for name, each in inner.items())))
    return (kind, inner)
