"""Kinesis Data Streams for DynamoDB: the record, when one is written, and on which shard.

ministack 1.5.33 sends a DynamoDB *Streams* record instead (seconds, with a sequence number, without the
table's name), under a random partition key, so that the records of one item spread over all shards; it
sends one for a write that changed nothing; none for a PartiQL write nor for an item that TTL removed.

Source: Amazon DynamoDB developer guide, "Using Kinesis Data Streams to capture changes to DynamoDB", and
docs/aws-facts.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import ministack.services.dynamodb as dynamodb
import ministack.services.dynamodb_streams as streams
import ministack.services.kinesis as kinesis
import msgspec
from ministack.core.responses import get_account_id, get_region, request_scope

from localaws.delivery import Delivery, Record
from localaws.patches.registry import patch

Item = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]

TTL_REAPER_THREAD = "dynamodb-ttl-reaper"
TTL_IDENTITY = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
TTL_OLDEST_S = 5 * 365 * 86_400  # values further back are taken for other than a time

Listener = Callable[[Item, Item | None, Item | None, int], None]
"""Gets the table, the old item, the new one and the commit time in µs."""


class Capture:
    """What happens to each write of an item: listeners are told, and its streams get a record."""

    def __init__(self) -> None:
        """Start without listeners; nothing waits."""
        self.delivery = Delivery(self._put)
        self.listeners: list[Listener] = []
        self.held: list[tuple[Any, ...]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.expiring = False
        self._releasing = False
        self._last_us = 0
        self._encode = msgspec.json.Encoder().encode

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run what comes later on this loop."""
        self._loop = loop

    def on_loop(self, call: Callable[[], object]) -> None:
        """Run a call on the event loop, where all writes happen, soon; from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(call)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work on the event loop beside the requests."""
        if self._loop is not None:
            task = self._loop.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def commit(self, table: Item, event: str, old: Item | None, new: Item | None) -> None:
        """Note a write that changed an item.

        Args:
            table: ministack's table.
            event: INSERT, MODIFY or REMOVE.
            old: the item before, None when there was none.
            new: the item after, None when it is gone.
        """
        if old is not None and old == new:
            return
        if self.held is not None:
            self.held.append((table, event, old, new))
            return
        at_us = self._last_us = max(self._last_us + 1, time.time_ns() // 1000)
        for listener in self.listeners:
            listener(table, old, new, at_us)
        for destination in dynamodb._kinesis_destinations.get(table["TableName"], ()):
            if destination.get("DestinationStatus") == "ACTIVE":
                precision = destination.get("ApproximateCreationDateTimePrecision") or "MILLISECOND"
                self._send(table, event, old, new, at_us, destination["StreamArn"], precision)

    def wait_for_release(self) -> None:
        """Deliver later what waits now."""
        if self._loop is not None and not self._releasing:
            self._releasing = True
            self._loop.call_later(0.02, self._release)

    def _release(self) -> None:
        self._releasing = False
        if self.delivery.release_due(time.monotonic()):
            self.wait_for_release()

    def _send(  # the parts of one record; a class for them would be read once
        self,
        table: Item,
        event: str,
        old: Item | None,
        new: Item | None,
        at_us: int,
        stream_arn: str,
        precision: str,
    ) -> None:
        present = new or old or {}
        keys = {name: present[name] for name in (table["pk_name"], table["sk_name"]) if name}
        change: Item = {
            "ApproximateCreationDateTime": at_us if precision == "MICROSECOND" else at_us // 1000,
            "Keys": keys,
        }
        if new is not None:
            change["NewImage"] = new
        if old is not None:
            change["OldImage"] = old
        sizes = (dynamodb._item_size_bytes(part) for part in (keys, old, new) if part)
        change["SizeBytes"] = sum(sizes)
        if precision == "MICROSECOND":
            change["ApproximateCreationDateTimePrecision"] = precision
        record = {
            "awsRegion": get_region(),
            "eventID": str(uuid.uuid4()),
            "eventName": event,
            "userIdentity": TTL_IDENTITY if self.expiring else None,
            "recordFormat": "application/json",
            "tableName": table["TableName"],
            "dynamodb": change,
            "eventSource": "aws:dynamodb",
        }
        partition_key = hashlib.md5(self._encode(keys), usedforsecurity=False).hexdigest().upper()
        sent = Record(table["TableName"], stream_arn, partition_key, self._encode(record), at_us)
        self.delivery.take(sent, time.monotonic())
        self.wait_for_release()

    @staticmethod
    def _put(stream_arn: str, partition_key: str, payload: bytes) -> bool:
        _, _, _, region, account_id, _ = stream_arn.split(":", 5)
        if (account_id, region) == (get_account_id(), get_region()):
            return bool(kinesis.put_record_internal(stream_arn, partition_key, payload))
        with request_scope(account_id, region):
            return bool(kinesis.put_record_internal(stream_arn, partition_key, payload))


capture = Capture()


@patch("change_records", dynamodb, "_emit_stream_event")
def emit(original: Any) -> Any:
    """Every write through the item operations leaves a change record, if it changed anything."""

    def mended(table_name: str, event: str, old: Item | None, new: Item | None, replicate: bool = True) -> None:
        table = dynamodb._tables.get(table_name)
        if table is None:
            return
        if table.get("StreamSpecification") or dynamodb._replica_group(table):
            original(table_name, event, old, new, replicate)
        capture.commit(table, event, old, new)

    return mended


@patch("change_records", dynamodb, "_fan_out_to_kinesis")
def no_streams_record_on_kinesis(_original: Any) -> Any:
    """The record of another service's shape goes nowhere."""
    return lambda _table_name, _record: None


def _partiql_key(table: Item, parsed: Item) -> tuple[Any, Any]:
    if parsed["op"] == "INSERT":
        item = parsed["item"]
        sort = dynamodb._extract_key_val(item.get(table["sk_name"])) if table["sk_name"] else "__no_sort__"
        return dynamodb._extract_key_val(item.get(table["pk_name"])), sort
    pk_value, sk_value, _, _ = dynamodb._partiql_key_target(table, parsed)
    return pk_value, sk_value


def _with_record(original: Any) -> Any:
    def mended(table: Item, parsed: Item, *rest: Any) -> Answer:
        pk_value, sk_value = _partiql_key(table, parsed)
        old = table["items"].get(pk_value, {}).get(sk_value)
        answer: Answer = original(table, parsed, *rest)
        if answer[0] == 200:
            new = table["items"].get(pk_value, {}).get(sk_value)
            if old is not None or new is not None:
                event = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
                dynamodb._emit_stream_event(table["TableName"], event, old, new)
        return answer

    return mended


@patch("partiql_change_records", dynamodb, "_partiql_insert")
def recorded_insert(original: Any) -> Any:
    """A PartiQL INSERT leaves a change record like any other write."""
    return _with_record(original)


@patch("partiql_change_records", dynamodb, "_partiql_update")
def recorded_update(original: Any) -> Any:
    """A PartiQL UPDATE leaves a change record like any other write."""
    return _with_record(original)


@patch("partiql_change_records", dynamodb, "_partiql_delete")
def recorded_delete(original: Any) -> Any:
    """A PartiQL DELETE leaves a change record like any other write."""
    return _with_record(original)


@patch("partiql_change_records", dynamodb, "_execute_transaction")
def recorded_transaction(original: Any) -> Any:
    """A PartiQL transaction leaves its records when it holds, and none when it is rolled back."""

    def mended(request: Item) -> Answer:
        capture.held = []
        try:
            answer: Answer = original(request)
        finally:
            held, capture.held = capture.held, None
        if answer[0] == 200:
            for each in held:
                capture.commit(*each)
        return answer

    return mended


@patch("ttl_records", dynamodb, "_remove_item")
def leave_expiry_to_the_loop(original: Any) -> Any:
    """The reaper of ministack is a thread of its own and tells nobody: it only starts a sweep here."""

    def mended(table: Item, pk_value: Any, sk_value: Any) -> Item | None:
        if threading.current_thread().name == TTL_REAPER_THREAD:
            capture.on_loop(remove_expired)
            return None
        removed: Item | None = original(table, pk_value, sk_value)
        return removed

    return mended


class Expired(NamedTuple):
    """An item whose time to live is over, and where it is."""

    account_id: str
    region: str
    table: Item
    pk_value: Any
    sk_value: Any
    item: Item


def _expired() -> list[Expired]:
    now_s, found = time.time(), []
    for (account_id, region, name), setting in dynamodb._ttl_settings.all_items():
        table = dynamodb._tables.get_scoped(account_id, region, name)
        if table is None or setting.get("TimeToLiveStatus") != "ENABLED":
            continue
        for pk_value, by_sort in list(table["items"].items()):
            for sk_value, item in list(by_sort.items()):
                at = item.get(setting.get("AttributeName"), {}).get("N")
                if at is not None and now_s - TTL_OLDEST_S < float(at) <= now_s:
                    found.append(Expired(account_id, region, table, pk_value, sk_value, item))
    return found


def remove_expired() -> None:
    """Remove all items whose time to live is over, each with its records, on the event loop."""
    capture.expiring = True
    try:
        for each in _expired():
            with request_scope(each.account_id, each.region):
                dynamodb._remove_item(each.table, each.pk_value, each.sk_value)
                dynamodb._emit_stream_event(each.table["TableName"], "REMOVE", each.item, None)
    finally:
        capture.expiring = False


@patch("ttl_records", dynamodb, "_build_change_record")
def streams_record(original: Any) -> Any:
    """A record of DynamoDB Streams, too, says that TTL made it."""

    def mended(*arguments: Any) -> Item:
        record: Item = original(*arguments)
        return record | {"userIdentity": TTL_IDENTITY} if capture.expiring else record

    return mended


@patch("ttl_records", streams, "_get_records")
def streams_page(original: Any) -> Any:
    """The API of DynamoDB Streams spells the identity with capitals; an event of Lambda doesn't."""

    def mended(request: Item) -> Answer:
        status, headers, body = original(request)
        text = body if isinstance(body, bytes) else body.encode()
        if status != 200 or b'"userIdentity"' not in text:
            return status, headers, body
        page = msgspec.json.decode(text)
        for record in page["Records"]:
            if identity := record.get("userIdentity"):
                record["userIdentity"] = {"Type": identity["type"], "PrincipalId": identity["principalId"]}
        return status, headers, msgspec.json.encode(page)

    return mended


class Sweep:
    """Removes expired items at an interval; ministack's own sweep of each minute goes on beside it.

    Attributes:
        every_s: how often; 0 for never.
    """

    def __init__(self) -> None:
        """Begin without an interval."""
        self.every_s = 0.0
        self._changed = asyncio.Event()

    def set(self, every_s: Any) -> None:
        """Sweep as often from now on.

        Raises:
            ValueError: it isn't a number of seconds.
        """
        if not isinstance(every_s, (int, float)) or isinstance(every_s, bool) or every_s < 0:
            raise ValueError(f"every_s is {every_s!r}, and must be a number of seconds, or 0 for no sweep")
        self.every_s = float(every_s)
        self._changed.set()

    async def run_for_ever(self) -> None:
        """Sweep until cancelled."""
        while True:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), self.every_s or None)
            except TimeoutError:
                remove_expired()


sweep = Sweep()


def reap() -> int:
    """Start the sweep that ministack's reaper makes each minute, in a thread as it does; return what it finds."""
    expired = _expired()

    def sweep() -> None:
        for each in expired:
            with request_scope(each.account_id, each.region):
                dynamodb._remove_item(each.table, each.pk_value, each.sk_value)

    threading.Thread(target=sweep, name=TTL_REAPER_THREAD).start()
    return len(expired)
