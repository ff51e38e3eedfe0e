"""DynamoDB's data plane on the wire client. Values stay raw bytes in both directions (section 3, rule 9).

Requests come in whole, as JSON: `crossfade.adapters.owner_requests` splices them. Reads are simple enough to be put
together here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from crossfade.adapters.wire.answers import read_answer
from crossfade.adapters.wire.errors import bare
from crossfade.core.values.errors import StoreUnavailable, Throttled
from crossfade.core.values.image import Image, encode_image

MAX_STATEMENTS: Final = 25
"""Of one BatchExecuteStatement."""

MAX_KEYS: Final = 100
"""Of one BatchGetItem."""

MAX_BATCHES: Final = 4
"""BatchGetItem requests of one call at a time; more would only queue for connections, against their own deadline."""

EMPTY_ROUNDS: Final = 8
"""How often a BatchGetItem may bring nothing at all before it counts as throttled."""


class StatementResult(msgspec.Struct, frozen=True, gc=False):
    """What became of one statement of a batch.

    Attributes:
        error: bare code ("ConditionalCheckFailed", "DuplicateItem", "ThrottlingError"); None when it was done.
        item: what a RETURNING clause gave, or the item that refused the condition; None where nothing was asked for
            or nothing is there.
        message: what the service says of an error.
    """

    error: str | None
    item: Image | None
    message: str = ""


class Page(NamedTuple):
    """One page of a query or scan.

    Attributes:
        items: those that passed the filter, if there is one.
        next_key: where to continue; None at the end.
        scanned: items looked at, before the filter.
    """

    items: list[Image]
    next_key: Image | None
    scanned: int


class _ItemAnswer(msgspec.Struct):
    Item: Image | None = None


class _AttributesAnswer(msgspec.Struct):
    Attributes: Image | None = None


class _StatementError(msgspec.Struct):
    Code: str = "Unknown"
    Message: str = ""
    Item: Image | None = None


class _StatementAnswer(msgspec.Struct):
    Error: _StatementError | None = None
    Item: Image | None = None


class _BatchAnswer(msgspec.Struct):
    Responses: list[_StatementAnswer]


class _Keys(msgspec.Struct):
    Keys: list[Image]


class _BatchGetAnswer(msgspec.Struct):
    """Both are always there, empty or not: without them, rows would be taken for missing."""

    Responses: dict[str, list[Image]]
    UnprocessedKeys: dict[str, _Keys]


class _Unprocessed(msgspec.Struct):
    UnprocessedKeys: dict[str, _Keys]


class _CountAnswer(msgspec.Struct):
    """DynamoDB always counts what it looked at: an answer without that is none, and no end of a table."""

    ScannedCount: int
    LastEvaluatedKey: Image | None = None


class _PageAnswer(msgspec.Struct):
    """As `_CountAnswer`, with the items, which are there even if none is."""

    Items: list[Image]
    ScannedCount: int
    LastEvaluatedKey: Image | None = None


_item_answer = msgspec.json.Decoder(_ItemAnswer)
_attributes_answer = msgspec.json.Decoder(_AttributesAnswer)
_batch_answer = msgspec.json.Decoder(_BatchAnswer)
_batch_get_answer = msgspec.json.Decoder(_BatchGetAnswer)
_unprocessed = msgspec.json.Decoder(_Unprocessed)
_count_answer = msgspec.json.Decoder(_CountAnswer)
_page_answer = msgspec.json.Decoder(_PageAnswer)
_encode = msgspec.json.encode
_DONE: Final = StatementResult(None, None)


class Caller(Protocol):
    """What of `Wire` is needed."""

    async def call(
        self, operation: str, body: bytes, *, timeout_s: float | None = None, attempts: int | None = None
    ) -> bytes:
        """See `Wire.call`."""
        ...

    async def back_off(self, failures: int) -> None:
        """See `Wire.back_off`."""
        ...


class DynamoDB:
    """DynamoDB's reads and writes. Errors are those of `Wire.call`."""

    def __init__(self, wire: Caller) -> None:
        """Take a wire client of the service "dynamodb"."""
        self._wire = wire

    async def get_item(self, table: str, key: Image, *, consistent: bool = True) -> Image | None:
        """Read one item; None when there is none."""
        request = b'{"TableName":%b,"Key":%b,"ConsistentRead":%b}' % (
            _encode(table),
            encode_image(key),
            _encode(consistent),
        )
        return read_answer(_item_answer, "GetItem", await self._wire.call("GetItem", request)).Item

    async def batch_get(self, table: str, keys: Sequence[Image], *, consistent: bool = True) -> list[Image]:
        """Read any number of items, in requests of 100.

        Args:
            table: name or ARN.
            keys: of the items; one given twice is read once.
            consistent: whether to see all writes that were acknowledged before.

        Returns:
            The items that exist, in no order.

        Raises:
            Throttled: several rounds brought nothing.
        """
        encoded = list(dict.fromkeys(map(encode_image, keys)))
        bodies = await self.batch_get_bodies(table, encoded, consistent=consistent)
        answers = [read_answer(_batch_get_answer, "BatchGetItem", body) for body in bodies]
        return [item for answer in answers for items in answer.Responses.values() for item in items]

    async def batch_get_bodies(self, table: str, keys: Sequence[bytes], *, consistent: bool = True) -> list[bytes]:
        """Do as `batch_get`, with keys encoded and no two the same, and leave the answers undecoded."""
        chunks = [keys[start : start + MAX_KEYS] for start in range(0, len(keys), MAX_KEYS)]
        if len(chunks) == 1:
            return await self._batch_get(table, chunks[0], consistent=consistent)
        turns = asyncio.Semaphore(MAX_BATCHES)

        async def in_turn(chunk: Sequence[bytes]) -> list[bytes]:
            async with turns:
                return await self._batch_get(table, chunk, consistent=consistent)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(in_turn(chunk)) for chunk in chunks]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return [body for task in tasks for body in task.result()]

    async def _batch_get(self, table: str, keys: Sequence[bytes], *, consistent: bool) -> list[bytes]:
        found: list[bytes] = []
        empty_rounds = 0
        while keys:
            request = b'{"RequestItems":{%b:{"Keys":[%b],"ConsistentRead":%b}}}' % (
                _encode(table),
                b",".join(keys),
                _encode(consistent),
            )
            body = await self._wire.call("BatchGetItem", request)
            found.append(body)
            answer = read_answer(_unprocessed, "BatchGetItem", body)
            left = [encode_image(key) for each in answer.UnprocessedKeys.values() for key in each.Keys]
            if left:
                # Part of an answer may mean a throttle, or only 16 MB: what counts is progress.
                empty_rounds = empty_rounds + 1 if len(left) >= len(keys) else 0
                if empty_rounds >= EMPTY_ROUNDS:
                    raise Throttled(f"BatchGetItem: {len(left)} keys of {table} still unprocessed")
                await self._wire.back_off(empty_rounds + 1)
            keys = left
        return found

    async def update_item(
        self, request: bytes, *, timeout_s: float | None = None, attempts: int | None = None
    ) -> Image | None:
        """Send a whole UpdateItem request; return the attributes its `ReturnValues` asked for."""
        body = await self._wire.call("UpdateItem", request, timeout_s=timeout_s, attempts=attempts)
        return read_answer(_attributes_answer, "UpdateItem", body).Attributes

    async def put_item(self, request: bytes, *, timeout_s: float | None = None, attempts: int | None = None) -> None:
        """Send a whole PutItem request."""
        await self._wire.call("PutItem", request, timeout_s=timeout_s, attempts=attempts)

    async def delete_item(self, request: bytes) -> None:
        """Send a whole DeleteItem request."""
        await self._wire.call("DeleteItem", request)

    async def execute(
        self, statements: Sequence[bytes], *, timeout_s: float | None = None, attempts: int | None = None
    ) -> list[StatementResult]:
        """Run 1 to 25 PartiQL statements, each with its own condition and outcome (section 3, rule 10).

        Args:
            statements: encoded `{"Statement": …, "Parameters": […]}`; no two of one key, or all fail.
            timeout_s: see `Wire.call`.
            attempts: see `Wire.call`; of the request. A statement that was throttled is returned as such.

        Returns:
            One result a statement, in their order.
        """
        if not 1 <= len(statements) <= MAX_STATEMENTS:
            raise ValueError(f"1 to {MAX_STATEMENTS} statements a request, got {len(statements)}")
        request = b'{"Statements":[' + b",".join(statements) + b"]}"
        body = await self._wire.call("BatchExecuteStatement", request, timeout_s=timeout_s, attempts=attempts)
        answers = read_answer(_batch_answer, "BatchExecuteStatement", body).Responses
        if len(answers) != len(statements):
            raise StoreUnavailable(
                f"BatchExecuteStatement: {len(answers)} results for {len(statements)} statements: outcome unknown"
            )
        return [
            _DONE
            if answer.Error is None and answer.Item is None
            else StatementResult(None, answer.Item)
            if answer.Error is None
            else StatementResult(bare(answer.Error.Code), answer.Error.Item, answer.Error.Message)
            for answer in answers
        ]

    async def transact(self, request: bytes) -> None:
        """Send a whole TransactWriteItems request; safe to retry only with its `ClientRequestToken`.

        Raises:
            TransactionCanceled: with the reason of each action.
        """
        await self._wire.call("TransactWriteItems", request)

    async def query(self, request: bytes) -> Page:
        """Send a whole Query request; return its page."""
        return _page("Query", await self._wire.call("Query", request))

    async def query_count(self, request: bytes) -> Page:
        """Send a whole Query request that selects the count; return its page, which has no items."""
        answer = read_answer(_count_answer, "Query", await self._wire.call("Query", request))
        return Page([], answer.LastEvaluatedKey or None, answer.ScannedCount)

    async def scan(
        self,
        table: str,
        *,
        segment: int = 0,
        segments: int = 1,
        start: Image | None = None,
        limit: int = 500,
        consistent: bool = True,
    ) -> Page:
        """Read one page of one segment of a table.

        Args:
            table: name or ARN.
            segment: which one, from 0.
            segments: into how many the table is cut.
            start: `next_key` of the page before.
            limit: most items to look at.
            consistent: whether to see all writes that were acknowledged before.
        """
        raw = None if start is None else encode_image(start)
        return _page(
            "Scan",
            await self.scan_body(
                table, segment=segment, segments=segments, start=raw, limit=limit, consistent=consistent
            ),
        )

    async def scan_body(
        self,
        table: str,
        *,
        segment: int,
        segments: int,
        start: bytes | None,
        limit: int,
        consistent: bool = True,
        counted: bool = False,
    ) -> bytes:
        """Do as `scan`, with the start as it came, and leave the answer undecoded; `counted`: it says what it cost."""
        request: dict[str, Any] = {
            "TableName": table,
            "Segment": segment,
            "TotalSegments": segments,
            "Limit": limit,
            "ConsistentRead": consistent,
        }
        if counted:
            request["ReturnConsumedCapacity"] = "TOTAL"
        if start is not None:
            request["ExclusiveStartKey"] = msgspec.Raw(start)
        return await self._wire.call("Scan", _encode(request))


def _page(operation: str, body: bytes) -> Page:
    answer = read_answer(_page_answer, operation, body)
    return Page(answer.Items, answer.LastEvaluatedKey or None, answer.ScannedCount)
