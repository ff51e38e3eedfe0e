"""Rows, and the requests that change them: each says what the rows hold afterwards.

A row is what boto3 gives: str, Decimal, bytes, bool, None, sets, lists and dicts. Most requests are conditional on the
row's revision, so one that comes late changes nothing.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterable
from decimal import Decimal
from random import Random
from typing import Any, Final, NamedTuple, TypeAlias

from boto3.dynamodb.types import Binary, TypeDeserializer, TypeSerializer

Row: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str]
"""Customer and entry."""

TABLE: Final = "@table"
"""Stands for the table's name in a request."""

BATCH: Final = 6
BASKET_S: Final = 3
"""How long a basket lives."""

_SERIALIZE, _DESERIALIZE = TypeSerializer().serialize, TypeDeserializer().deserialize


class Ask(NamedTuple):
    """One request of the application's.

    Attributes:
        verb: what it is for.
        operation: boto3's name of it.
        request: its arguments, with `TABLE` for the table's name.
        after: what each row holds if it is applied; None: there is none.
        is_conditional: whether it changes nothing when it comes a second time, after other requests.
    """

    verb: str
    operation: str
    request: dict[str, Any]
    after: dict[Key, Row | None]
    is_conditional: bool = True


def key_of(row: Row) -> Key:
    """Return the key of a row."""
    return row["customer"], row["entry"]


def typed(row: Row) -> dict[str, Any]:
    """Return a row as requests carry it."""
    return {name: _SERIALIZE(value) for name, value in row.items()}


def untyped(item: dict[str, Any]) -> Row:
    """Return a row from an answer."""
    return {name: _plain(_DESERIALIZE(value)) for name, value in item.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Binary):
        return bytes(value)
    if isinstance(value, set):
        return {_plain(each) for each in value}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value


def encoded(value: Any) -> str:
    """Return JSON of a request or typed row; `decoded` is its inverse."""
    return json.dumps(value, default=lambda each: {"bytes": base64.b64encode(each).decode()})


def decoded(text: str) -> Any:
    """Return what `encoded` was given."""
    return json.loads(text, object_hook=lambda each: base64.b64decode(each["bytes"]) if [*each] == ["bytes"] else each)


def new_profile(customer: str, number: int) -> Row:
    """Return a customer who has ordered nothing."""
    return {
        "customer": customer,
        "entry": "PROFILE",
        "name": f"Customer {number}",
        "orders": Decimal(0),
        "spent": Decimal("0.00"),
        "address": {"street": f"{number} High Street", "geo": {"lat": Decimal("59.3293"), "lon": Decimal("18.0686")}},
        "revision": Decimal(1),
    }


def new_order(customer: str, number: int, random: Random) -> Row:
    """Return an order, with everything that a row can have."""
    articles: list[dict[str, Any]] = [
        {
            "sku": f"SKU-{random.randint(1, 99)}",
            "quantity": Decimal(random.randint(1, 9)),
            "price": Decimal(random.randint(1, 99_999)) / 100,
            "options": {"engraving": None, "colours": ["red", "blue"], "limits": []},
        }
        for _ in range(random.randint(1, 3))
    ]
    return {
        "customer": customer,
        "entry": f"ORDER#{number:05d}",
        "status": "placed",
        "placed_at": Decimal(1_700_000_000 + number),
        "articles": articles,
        "total": sum((each["price"] * each["quantity"] for each in articles), Decimal(0)),
        "rate": Decimal("1.0000000000000000000000000000000000001"),
        "tags": {"web", random.choice(("gift", "express"))},
        "parcels": {Decimal(number), Decimal("0.5")},
        "signature": random.randbytes(24),
        "is_gift": random.random() < 0.5,
        "note": None,
        "extra": {},
        "revision": Decimal(1),
    }


def new_event(customer: str, number: int) -> Row:
    """Return an entry of a customer's log: the same for the same number."""
    return {
        "customer": customer,
        "entry": f"EVENT#{number:03d}",
        "kind": ("seen", "asked", "called")[number % 3],
        "scans": {f"scan {number}".encode(), b"\x00\xff"},
    }


def place(profile: Row, order: Row) -> Ask:
    """Place an order: a transaction over two rows."""
    after = profile | {"orders": profile["orders"] + 1, "spent": profile["spent"] + order["total"]} | _revised(profile)
    update = {
        "TableName": TABLE,
        "Key": _key(profile),
        "UpdateExpression": "ADD orders :one, spent :total, revision :one",
        "ConditionExpression": "revision = :seen",
        "ExpressionAttributeValues": typed({":one": 1, ":total": order["total"], ":seen": profile["revision"]}),
    }
    put = {"TableName": TABLE, "Item": typed(order), "ConditionExpression": "attribute_not_exists(entry)"}
    request = {"TransactItems": [{"Put": put}, {"Update": update}]}
    return Ask("place", "transact_write_items", request, {key_of(order): order, key_of(profile): after})


def hand_over(order: Row, giver: Row, taker: Row) -> Ask:
    """Give an order to another customer: a transaction over four rows, one of them deleted."""
    moved = order | {"customer": taker["customer"], "entry": f"{order['entry']}-{giver['customer'][-3:]}"}
    gives = giver | {"spent": giver["spent"] - order["total"]} | _revised(giver)
    takes = taker | {"spent": taker["spent"] + order["total"]} | _revised(taker)
    delete = {"TableName": TABLE, "Key": _key(order)} | _if_seen(order)
    put = {"TableName": TABLE, "Item": typed(moved), "ConditionExpression": "attribute_not_exists(entry)"}
    updates = [
        {
            "TableName": TABLE,
            "Key": _key(row),
            "UpdateExpression": "ADD spent :more, revision :one",
            "ConditionExpression": "revision = :seen",
            "ExpressionAttributeValues": typed({":one": 1, ":more": amount, ":seen": row["revision"]}),
        }
        for row, amount in ((giver, -order["total"]), (taker, order["total"]))
    ]
    request = {"TransactItems": [{"Delete": delete}, {"Put": put}, *({"Update": each} for each in updates)]}
    after: dict[Key, Row | None] = {key_of(each): each for each in (moved, gives, takes)}
    return Ask("hand_over", "transact_write_items", request, after | {key_of(order): None})


def pay(order: Row, receipt: bytes) -> Ask:
    """Pay: a binary comes, a null goes, a set grows."""
    after = order | {"status": "paid", "receipt": receipt, "tags": order["tags"] | {"paid"}} | _revised(order)
    after.pop("note", None)
    told = {":paid": "paid", ":receipt": receipt, ":tags": {"paid"}}
    return _update("pay", order, after, "SET #s = :paid, receipt = :receipt REMOVE note ADD tags :tags", told, "status")


def ship(order: Row, courier: str, due_at: int) -> Ask:
    """Hand it to a courier: it enters the sparse index; a map inside of a list changes."""
    articles = [order["articles"][0] | {"is_packed": True}, *order["articles"][1:]]
    after = order | {"status": "shipped", "courier": courier, "due_at": Decimal(due_at), "articles": articles}
    told = {":shipped": "shipped", ":courier": courier, ":due": due_at, ":true": True}
    expression = "SET #s = :shipped, courier = :courier, due_at = :due, articles[0].is_packed = :true"
    return _update("ship", order, after | _revised(order), expression, told, "status")


def deliver(order: Row) -> Ask:
    """Deliver it: it leaves the sparse index, a set shrinks, a list grows."""
    articles = [*order["articles"], {"sku": "LEAFLET", "quantity": Decimal(1)}]
    after = order | {"status": "delivered", "articles": articles, "tags": order["tags"] - {"paid"}} | _revised(order)
    for name in ("courier", "due_at"):
        after.pop(name, None)
    told = {":delivered": "delivered", ":tags": {"paid"}, ":more": articles[-1:]}
    expression = "SET #s = :delivered, #a = list_append(#a, :more) REMOVE courier, due_at DELETE tags :tags"
    return _update("deliver", order, after, expression, told, "status", "articles")


def amend(order: Row, name: str, value: Any) -> Ask:
    """Put the whole row again, with one attribute changed."""
    after = order | {name: value} | _revised(order)
    request = {"TableName": TABLE, "Item": typed(after)} | _if_seen(order)
    return Ask("amend", "put_item", request, {key_of(order): after})


def put_back(row: Row, as_read: Row) -> Ask:
    """Put a row back as it was read, with whatever somebody else left in it."""
    request = {"TableName": TABLE, "Item": typed(as_read)} | _if_seen(row)
    return Ask("put_back", "put_item", request, {key_of(row): row})


def flip_gift(order: Row) -> Ask:
    """Change a flag and nothing else, so that done twice it is as it was: A-B-A."""
    after = order | {"is_gift": not order["is_gift"]}
    request = {"TableName": TABLE, "Item": typed(after)}
    return Ask("flip_gift", "put_item", request, {key_of(order): after}, is_conditional=False)


def cancel(order: Row) -> Ask:
    """Delete it."""
    request = {"TableName": TABLE, "Key": _key(order)} | _if_seen(order)
    return Ask("cancel", "delete_item", request, {key_of(order): None})


def fill_basket(customer: str, number: int, now_s: float) -> Ask:
    """Put a basket that expires, over whatever basket is there."""
    items = [{"sku": f"SKU-{number % 99}", "quantity": Decimal(number % 7)}]
    row = {"customer": customer, "entry": "BASKET", "items": items, "expires_at": Decimal(int(now_s) + BASKET_S)}
    request = {"TableName": TABLE, "Item": typed(row)}
    return Ask("fill_basket", "put_item", request, {key_of(row): row}, is_conditional=False)


def keep_basket(basket: Row, now_s: float) -> Ask:
    """Let a basket live on, if it still does."""
    after = basket | {"expires_at": Decimal(int(now_s) + 2 * BASKET_S)}
    request = {
        "TableName": TABLE,
        "Key": _key(basket),
        "UpdateExpression": "SET expires_at = :until",
        "ConditionExpression": "attribute_exists(entry) AND expires_at > :now",
        "ExpressionAttributeValues": typed({":until": after["expires_at"], ":now": int(now_s)}),
    }
    return Ask("keep_basket", "update_item", request, {key_of(basket): after}, is_conditional=False)


def log(customer: str, numbers: Iterable[int], known: set[int]) -> Ask:
    """Put and delete entries of a log in one batch: those that are known go, the others come, again or for the first
    time."""
    asked, after = [], dict[Key, Row | None]()
    for number in numbers:
        row = new_event(customer, number)
        if number in known:
            asked.append({"DeleteRequest": {"Key": _key(row)}})
        else:
            asked.append({"PutRequest": {"Item": typed(row)}})
        after[key_of(row)] = None if number in known else row
    return Ask("log", "batch_write_item", {"RequestItems": {TABLE: asked}}, after, is_conditional=False)


def put_all(rows: Iterable[Row]) -> list[Ask]:
    """Put rows, 25 a request."""
    asks = []
    rest = iter(rows)
    while part := list(itertools.islice(rest, 25)):
        asked = [{"PutRequest": {"Item": typed(row)}} for row in part]
        after: dict[Key, Row | None] = {key_of(row): row for row in part}
        asks.append(Ask("fill", "batch_write_item", {"RequestItems": {TABLE: asked}}, after, is_conditional=False))
    return asks


def _update(verb: str, row: Row, after: Row, expression: str, told: Row, *renamed: str) -> Ask:
    names = {"#" + name[0]: name for name in renamed}
    head, _, tail = expression.partition(" ")
    request = {
        "TableName": TABLE,
        "Key": _key(row),
        "UpdateExpression": f"{head} revision = :next, {tail}",
        "ConditionExpression": "revision = :seen",
        "ExpressionAttributeValues": typed(told | {":seen": row["revision"], ":next": row["revision"] + 1}),
        "ExpressionAttributeNames": names,
    }
    return Ask(verb, "update_item", request, {key_of(row): after})


def _if_seen(row: Row) -> dict[str, Any]:
    return {
        "ConditionExpression": "revision = :seen",
        "ExpressionAttributeValues": typed({":seen": row["revision"]}),
    }


def _revised(row: Row) -> Row:
    return {"revision": row["revision"] + 1}


def _key(row: Row) -> dict[str, Any]:
    return typed({"customer": row["customer"], "entry": row["entry"]})
