"""Control records as DynamoDB items, and back. Requests are assembled here, so that the adapters read as rules."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from crossfade.contracts.heartbeat import Heartbeat
from crossfade.contracts.journal import Entry
from crossfade.contracts.letter import STRAY, DeadLetter
from crossfade.contracts.report import Report
from crossfade.core.migration.control import (
    HEARTBEAT_PK,
    JOURNAL_PK,
    PK,
    REPORT_PK,
    SK,
    journal_sk,
    letters_pk,
    report_sk,
    strays_pk,
)
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image

ITEM_BUDGET_BYTES: Final = 380_000
"""Of one payload in one item: DynamoDB takes 400 KB with all names and other values."""

WORTH_PACKING_BYTES: Final = 64_000

BODY: Final = "body"
"""Attribute with the document of a control item (`crossfade.contracts`)."""

encode = msgspec.json.encode


def key_of(pk: str, sk: str) -> Image:
    """Return the key of a control item."""
    return {PK: wire.of_string(pk), SK: wire.of_string(sk)}


def text_of(value: object) -> str:
    """Return JSON text."""
    return encode(value).decode()


def entry_row(entry: Entry, nonce: str) -> Image:
    """Return a journal entry as an item.

    Args:
        entry: the entry.
        nonce: of this one append, so that its writer recognises it after a lost answer.
    """
    key = key_of(JOURNAL_PK, journal_sk(entry.number))
    return key | {BODY: wire.of_string(entry.to_text()), "nonce": wire.of_string(nonce)}


def entry_of(row: Mapping[str, Raw]) -> Entry:
    """Read a journal entry."""
    return Entry.of_text(wire.string(row[BODY]))


def nonce_of(row: Mapping[str, Raw]) -> str:
    """Return the nonce of the append that wrote a journal item."""
    return wire.string(row["nonce"])


def heartbeat_row(heartbeat: Heartbeat, beat: int) -> Image:
    """Return a pod's heartbeat as an item.

    Args:
        heartbeat: the pod's.
        beat: counts the pod's heartbeats, so that no two are alike.
    """
    key = key_of(HEARTBEAT_PK, heartbeat.pod)
    return key | {BODY: wire.of_string(heartbeat.to_text()), "beat": wire.of_number(beat)}


def heartbeat_of(row: Mapping[str, Raw]) -> Heartbeat:
    """Read a pod's heartbeat; the reader judges whether it has expired."""
    return Heartbeat.of_text(wire.string(row[BODY]))


def beat_of(row: Mapping[str, Raw]) -> tuple[str, int]:
    """Return what changes with each beat of a pod."""
    return wire.string(row[BODY]), wire.number(row["beat"])


def report_row(report: Report) -> Image:
    """Return a consumer's report as an item."""
    return key_of(REPORT_PK, report_sk(report.consumer, report.shard)) | {BODY: wire.of_string(report.to_text())}


def report_of(row: Mapping[str, Raw]) -> Report:
    """Read a consumer's report."""
    return Report.of_text(wire.string(row[BODY]))


def letter_key(letter: DeadLetter) -> Image:
    """Return the key of a letter's item."""
    if letter.code == STRAY:
        return key_of(strays_pk(letter.consumer, settled=letter.settled), letter.sequence)
    return key_of(letters_pk(letter.consumer), letter.sequence)


def letter_row(letter: DeadLetter) -> tuple[Image, list[bytes]]:
    """Return a letter as an item, and the parts of its payload that don't fit into it.

    A change record may hold two images of 400 KB, an item one: a large payload is packed, then cut.
    """
    packed = len(letter.payload) > WORTH_PACKING_BYTES
    payload = gzip.compress(letter.payload, 6) if packed else letter.payload
    pieces = [payload[at : at + ITEM_BUDGET_BYTES] for at in range(0, len(payload), ITEM_BUDGET_BYTES)] or [b""]
    row = letter_key(letter) | {
        BODY: wire.of_string(letter.replace(payload=b"").to_text()),
        "payload": wire.of_binary(pieces[0]),
        "packed": wire.of_boolean(packed),
        "parts": wire.of_number(len(pieces) - 1),
        "committed_us": wire.of_number(letter.committed_us),  # for the condition of `put_request`
    }
    return row, pieces[1:]


def parts_of(row: Mapping[str, Raw]) -> int:
    """Return how many parts of a letter's payload lie outside its item."""
    return wire.number(row["parts"])


def head_of(row: Mapping[str, Raw]) -> DeadLetter:
    """Read a letter without its payload, which may lie in several items."""
    return DeadLetter.of_text(wire.string(row[BODY]))


def letter_of(row: Mapping[str, Raw], parts: list[bytes]) -> DeadLetter:
    """Read a letter, given the parts of its payload that lie outside."""
    payload = b"".join([wire.binary(row["payload"]), *parts])
    payload = gzip.decompress(payload) if wire.boolean(row["packed"]) else payload
    return head_of(row).replace(payload=payload)


def put_request(table: str, row: Image, *, if_absent: bool = False, if_older: str = "") -> bytes:
    """Return a PutItem request.

    Args:
        table: its name.
        row: the item.
        if_absent: only where there is none.
        if_older: only where there is none, or one whose number of this name is lower.
    """
    request: dict[str, Any] = {"TableName": table, "Item": row}
    if if_absent:
        request["ConditionExpression"] = "attribute_not_exists(pk)"
    if if_older:
        request["ConditionExpression"] = "attribute_not_exists(pk) OR #n < :n"
        request["ExpressionAttributeNames"] = {"#n": if_older}
        request["ExpressionAttributeValues"] = {":n": row[if_older]}
    return encode(request)


def replace_request(table: str, row: Image, body: Raw | None) -> bytes:
    """Return a PutItem request that goes through only while the item's body is as it was read.

    Args:
        table: its name.
        row: the new item.
        body: of the item that is there; None when there is none.
    """
    if body is None:
        return put_request(table, row, if_absent=True)
    condition: dict[str, Any] = {
        "ConditionExpression": "#body = :body",
        "ExpressionAttributeNames": {"#body": "body"},
        "ExpressionAttributeValues": {":body": body},
    }
    return encode({"TableName": table, "Item": row} | condition)


def delete_request(table: str, key: Image) -> bytes:
    """Return a DeleteItem request."""
    return encode({"TableName": table, "Key": key})


def query_request(
    table: str,
    pk: str,
    *,
    after: str = "",
    backward: bool = False,
    limit: int | None = None,
    start: Image | None = None,
    count: bool = False,
    keys_only: bool = False,
    beginning: str = "",
) -> bytes:
    """Return a consistent Query of one partition, in the order of the sort key.

    Args:
        table: its name.
        pk: the partition.
        after: only items with a higher sort key.
        backward: highest sort key first.
        limit: most items of the page.
        start: where the page before ended.
        count: return no items, only how many were looked at.
        keys_only: return the items' keys alone.
        beginning: only items whose sort key begins with this; not together with `after`.
    """
    condition, values = "pk = :pk", {":pk": {"S": pk}}
    if beginning:
        condition, values = "pk = :pk AND begins_with(sk, :beginning)", values | {":beginning": {"S": beginning}}
    if after:
        condition, values = "pk = :pk AND sk > :after", values | {":after": {"S": after}}
    request: dict[str, Any] = {
        "TableName": table,
        "KeyConditionExpression": condition,
        "ExpressionAttributeValues": values,
        "ConsistentRead": True,
        "ScanIndexForward": not backward,
    }
    if limit is not None:
        request["Limit"] = limit
    if start is not None:
        request["ExclusiveStartKey"] = start
    if count:
        request["Select"] = "COUNT"
    if keys_only:
        request["ProjectionExpression"] = f"{PK}, {SK}"
    return encode(request)
