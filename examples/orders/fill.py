"""Make what was there before anybody thought of moving it: the table `orders` with rows, its books, the switch.

    python -m orders.fill [CUSTOMERS] [NAME …]

CUSTOMERS for each of the application's processes, north and south unless they are named.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import boto3

from orders.app import Application, customers_of
from orders.book import Book
from orders.rows import Row, new_event, new_order, new_profile, put_all
from orders.switch import Switch

SOURCE: Final = "orders"
NAMES: Final = ("north", "south")
CUSTOMERS: Final = 24
ITEM_BYTES: Final = 409_600
"""As much as DynamoDB takes: nothing more can be added to such a row."""


def create_table(client: Any) -> None:
    """Create the table: two indexes, one of them sparse, TTL, point-in-time recovery."""
    client.create_table(
        TableName=SOURCE,
        KeySchema=_schema("customer", "entry"),
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind}
            for name, kind in (
                ("customer", "S"),
                ("entry", "S"),
                ("status", "S"),
                ("placed_at", "N"),
                ("courier", "S"),
                ("due_at", "N"),
            )
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-status",
                "KeySchema": _schema("status", "placed_at"),
                "Projection": {"ProjectionType": "ALL"},
            },
            {
                "IndexName": "on-the-way",  # sparse: only orders with a courier are in it
                "KeySchema": _schema("courier", "due_at"),
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["status", "total"]},
            },
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    client.get_waiter("table_exists").wait(TableName=SOURCE)
    client.update_time_to_live(
        TableName=SOURCE, TimeToLiveSpecification={"AttributeName": "expires_at", "Enabled": True}
    )
    client.update_continuous_backups(
        TableName=SOURCE, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )


def first_rows(name: str, customers: int) -> Iterator[Row]:
    """Yield the rows that a process begins with."""
    random = Random(name)
    for number, customer in enumerate(customers_of(name, customers)):
        orders = [new_order(customer, each, random) for each in range(3)]
        spent = sum(each["total"] for each in orders)
        yield new_profile(customer, number) | {"orders": len(orders), "spent": spent}
        yield from orders
        yield from (new_event(customer, each) for each in range(0, 12, 2))
    yield _largest(f"CUSTOMER#{name}-000", random)


def _largest(customer: str, random: Random) -> Row:
    row: Row = {"customer": customer, "entry": "SCAN", "scan": b""}
    taken = sum(len(name) + len(value) for name, value in row.items())
    return row | {"scan": random.randbytes(ITEM_BYTES - taken)}


def _schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


def main(arguments: list[str]) -> None:
    """Make it all."""
    folder = Path(os.environ.get("ORDERS_FOLDER", "."))
    customers, names = int(arguments[0]) if arguments else CUSTOMERS, tuple(arguments[1:]) or NAMES
    create_table(boto3.client("dynamodb"))
    switch = Switch(folder)
    switch.create(SOURCE)
    for name in names:
        application = Application(switch, Book(folder / f"{name}.book.jsonl"))
        for ask in put_all(first_rows(name, customers)):
            application.ask(ask)


if __name__ == "__main__":
    main(sys.argv[1:])
