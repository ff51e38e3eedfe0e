"""Lease items in DynamoDB, through aiobotocore: the default where no backend is given."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from faust_kinesis.client import boto_call, boto_client, needed
from faust_kinesis.errors import ServiceError
from faust_kinesis.leases import Value, put_request, query_request, read_item, update_request


class DynamoBackend:
    """A `LeaseBackend` on a DynamoDB table, which is created when it is missing.

    Args:
        table: name of the table. It may hold other items too: its keys are the strings `pk` and `sk`.
        region: AWS Region.
        endpoint_url: another endpoint, for an emulator.
    """

    def __init__(self, table: str, *, region: str | None = None, endpoint_url: str | None = None) -> None:
        self._table = table
        self._region = region
        self._endpoint_url = endpoint_url
        self._stack = AsyncExitStack()
        self._client: Any = None

    async def items(self, pk: str) -> list[dict[str, Value]]:
        """See `LeaseBackend`."""
        found: list[dict[str, Value]] = []
        request = query_request(self._table, pk)
        while True:
            answer = await self._call("query", **request)
            found += [read_item(item) for item in needed(answer, "query", "Items")]
            if "LastEvaluatedKey" not in answer:
                return found
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def add(self, pk: str, sk: str, put: Mapping[str, Value]) -> bool:
        """See `LeaseBackend`."""
        return await self._conditional("put_item", put_request(self._table, pk, sk, put))

    async def swap(self, pk: str, sk: str, expect: Mapping[str, Value | None], put: Mapping[str, Value | None]) -> bool:
        """See `LeaseBackend`."""
        return await self._conditional("update_item", update_request(self._table, pk, sk, expect, put))

    async def close(self) -> None:
        """Give back connections."""
        self._client = None
        await self._stack.aclose()

    async def _conditional(self, operation: str, request: dict[str, Any]) -> bool:
        try:
            await self._call(operation, **request)
        except ServiceError as error:
            if error.reason == "ConditionalCheckFailedException":
                return False
            raise
        return True

    async def _call(self, operation: str, **request: Any) -> Any:
        if self._client is None:
            client = boto_client("dynamodb", region=self._region, endpoint_url=self._endpoint_url)
            self._client = await self._stack.enter_async_context(client)
            await self._create_table()
        return await boto_call(self._client, operation, **request)

    async def _create_table(self) -> None:
        try:
            await boto_call(
                self._client,
                "create_table",
                TableName=self._table,
                KeySchema=[
                    {"AttributeName": "pk", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
                AttributeDefinitions=[
                    {"AttributeName": "pk", "AttributeType": "S"},
                    {"AttributeName": "sk", "AttributeType": "S"},
                ],
                BillingMode="PAY_PER_REQUEST",
            )
        except ServiceError as error:
            # A worker that may not create tables must be able to use one that is there.
            if error.reason not in {"ResourceInUseException", "AccessDeniedException"}:
                raise
            return
        await self._client.get_waiter("table_exists").wait(TableName=self._table, WaiterConfig={"Delay": 1})
