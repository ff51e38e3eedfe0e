"""Control records as DynamoDB items, and back. Requests are put together here, so that the adapters read as rules."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

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
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.ports.control import STRAY, DeadLetter, Entry, Heartbeat, Report

ITEM_BUDGET_BYTES: Final = 380_000
"""Of one payload in one item: DynamoDB takes 400 KB with all names and other values."""

WORTH_PACKING_BYTES: Final = 64_000

encode = msgspec.json.encode
_decode_body = msgspec.json.Decoder(dict[str, Any]).decode


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
        nonce: of this one append, so that its writer knows it again after a lost answer.
    """
    return key_of(JOURNAL_PK, journal_sk(entry.number)) | {
        "number": wire.of_number(entry.number),
        "kind": wire.of_string(entry.kind),
        "at_us": wire.of_number(entry.at_us),
        "who": wire.of_string(entry.who),
        "code": wire.of_string(entry.code),
        "body": wire.of_string(text_of(entry.body)),
        "nonce": wire.of_string(nonce),
    }


def entry_of(row: Mapping[str, Raw]) -> Entry:
    """Read a journal entry."""
    return Entry(
        number=wire.number(row["number"]),
        kind=wire.string(row["kind"]),
        at_us=wire.number(row["at_us"]),
        who=wire.string(row["who"]),
        code=wire.string(row["code"]),
        body=_decode_body(wire.string(row["body"])),
    )


def nonce_of(row: Mapping[str, Raw]) -> str:
    """Return the nonce of the append that wrote a journal item."""
    return wire.string(row["nonce"])


def heartbeat_row(heartbeat: Heartbeat, beat: int) -> Image:
    """Return a pod's word as an item.

    Args:
        heartbeat: the word.
        beat: counts the pod's words, so that two never look alike.
    """
    return key_of(HEARTBEAT_PK, heartbeat.pod) | {
        "document": wire.of_string(text_of(heartbeat.document._asdict())),
        "dual_write": wire.of_boolean(heartbeat.dual_write),
        "lease_ms": wire.of_number(round(heartbeat.lease_s * 1000)),
        "beat_us": wire.of_number(heartbeat.beat_us),
        "beat": wire.of_number(beat),
    }


def heartbeat_of(row: Mapping[str, Raw]) -> Heartbeat:
    """Read a pod's word; whether it has expired is for the reader to judge."""
    return Heartbeat(
        pod=wire.string(row[SK]),
        document=FlagDocument(**_decode_body(wire.string(row["document"]))),
        dual_write=wire.boolean(row["dual_write"]),
        lease_s=wire.number(row["lease_ms"]) / 1000,
        beat_us=wire.number(row["beat_us"]),
    )


def beat_of(row: Mapping[str, Raw]) -> tuple[int, int]:
    """Return what changes with each beat of a pod."""
    return wire.number(row["beat_us"]), wire.number(row["beat"])


def report_row(report: Report) -> Image:
    """Return a consumer's report as an item."""
    return key_of(REPORT_PK, report_sk(report.role, report.shard)) | {"body": wire.of_string(text_of(report._asdict()))}


def report_of(row: Mapping[str, Raw]) -> Report:
    """Read a consumer's report."""
    return Report(**_decode_body(wire.string(row["body"])))


def letter_key(letter: DeadLetter) -> Image:
    """Return the key of a letter's item."""
    if letter.code == STRAY:
        return key_of(strays_pk(letter.role, settled=letter.settled), letter.sequence)
    return key_of(letters_pk(letter.role), letter.sequence)


def letter_row(letter: DeadLetter) -> tuple[Image, list[bytes]]:
    """Return a letter as an item, and the parts of its payload that don't fit into it.

    A change record may hold two images of 400 KB, an item one: a large payload is packed, then cut.
    """
    packed = len(letter.payload) > WORTH_PACKING_BYTES
    payload = gzip.compress(letter.payload, 6) if packed else letter.payload
    pieces = [payload[at : at + ITEM_BUDGET_BYTES] for at in range(0, len(payload), ITEM_BUDGET_BYTES)] or [b""]
    row = letter_key(letter) | {
        "role": wire.of_string(letter.role),
        "key": wire.of_binary(letter.key),
        "reason": wire.of_string(letter.reason),
        "code": wire.of_string(letter.code),
        "payload": wire.of_binary(pieces[0]),
        "packed": wire.of_boolean(packed),
        "parts": wire.of_number(len(pieces) - 1),
        "trace": wire.of_string(letter.trace),
        "at_us": wire.of_number(letter.at_us),
        "table": wire.of_string(letter.table),
        "committed_us": wire.of_number(letter.committed_us),
        "settled": wire.of_boolean(letter.settled),
        "cure": wire.of_string(letter.cure),
    }
    if letter.version is not None:
        row["version"] = wire.of_number(letter.version)
    return row, pieces[1:]


def parts_of(row: Mapping[str, Raw]) -> int:
    """Return how many parts of a letter's payload lie outside its item."""
    return wire.number(row["parts"])


def letter_of(row: Mapping[str, Raw], parts: list[bytes]) -> DeadLetter:
    """Read a letter, given the parts of its payload that lie outside."""
    payload = b"".join([wire.binary(row["payload"]), *parts])
    return DeadLetter(
        role=wire.string(row["role"]),
        sequence=wire.string(row[SK]),
        key=Key(wire.binary(row["key"])),
        version=wire.number(row["version"]) if "version" in row else None,
        reason=wire.string(row["reason"]),
        code=wire.string(row["code"]),
        payload=gzip.decompress(payload) if wire.boolean(row["packed"]) else payload,
        trace=wire.string(row["trace"]),
        at_us=wire.number(row["at_us"]),
        table=wire.string(row["table"]),
        committed_us=wire.number(row["committed_us"]),
        settled=wire.boolean(row["settled"]),
        cure=wire.string(row["cure"]),
    )


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
    """
    condition, values = "pk = :pk", {":pk": {"S": pk}}
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
    return encode(request)
