"""Tables and attribute values for tests of the embedded engine."""

from __future__ import annotations

from itertools import count
from typing import Any

from localaws.fixture import Emulator

Item = dict[str, Any]
_numbers = count()


def n(number: int | str) -> Item:
    return {"N": str(number)}


def s(text: str) -> Item:
    return {"S": text}


def create(emulator: Emulator, pk: str = "S", sk: str | None = "S", **rest: Any) -> str:
    """Create a table and return its name."""
    name = f"any-{next(_numbers)}"
    kinds = {"pk": pk} | ({"sk": sk} if sk else {}) | ({"of": "S", "at": "N"} if rest else {})
    keys = [{"AttributeName": "pk", "KeyType": "HASH"}] + ([{"AttributeName": "sk", "KeyType": "RANGE"}] if sk else [])
    emulator.dynamodb.create_table(
        TableName=name,
        KeySchema=keys,
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": kind} for each, kind in kinds.items()],
        BillingMode="PAY_PER_REQUEST",
        **rest,
    )
    return name


def scanned(emulator: Emulator, table: str, **rest: Any) -> list[Item]:
    """Return all items, by pages."""
    pages = emulator.dynamodb.get_paginator("scan").paginate(TableName=table, **rest)
    return [item for page in pages for item in page["Items"]]
