"""The application: plain boto3, two or more processes, each with customers of its own. It knows nothing of a migration.

    python -m orders.app NAME [--customers 24] [--workers 4] [--per-second 20] [--seed 1]

It uses the table that the switch names, and keeps a book (`orders.book`). It runs until SIGTERM and then ends what it
has begun. Started again after a kill, it first asks again for what had no answer. Every second it prints a line of
JSON: what it has done, and how long writes took.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from orders import rows as of
from orders.book import Book, same
from orders.rows import TABLE, Ask, Key, Row
from orders.switch import Held, Switch

REST_S: Final = 0.05
"""Before a request is sent again."""
READS: Final = 0.25
MOST_ORDERS: Final = 8
EVENTS: Final = 24
TIMEOUT_S: Final = 10.0
NOT_APPLIED: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Answers that say that nothing happened, and that the same may be asked again."""


def customers_of(name: str, customers: int) -> list[str]:
    """Return the customers of a process."""
    return [f"CUSTOMER#{name}-{number:03d}" for number in range(customers)]


class Application:
    """Asks, until there is an answer, and keeps the book."""

    def __init__(self, switch: Switch, book: Book, stop: threading.Event | None = None) -> None:
        """Take the switch, the book of this process, and what ends it."""
        config = Config(
            retries={"total_max_attempts": 1},  # it retries itself: what had no answer may have been applied
            connect_timeout=TIMEOUT_S,
            read_timeout=TIMEOUT_S,
            max_pool_connections=32,
        )
        self._client = boto3.client("dynamodb", config=config)
        self.switch, self.book, self.stop = switch, book, stop or threading.Event()
        self.took_ms: deque[float] = deque(maxlen=500)

    def ask(self, ask: Ask) -> bool:
        """Ask for one thing; say whether it was applied.

        Raises:
            Held: writes are stopped for maintenance; nothing was sent.
        """
        since_s = time.time()
        try:
            with self.switch.writing() as table:
                return self._until_answered(self.book.asked(ask), ask, table, attempts=0)
        except Held:
            self.book.was_held(ask.verb, since_s)
            raise
        finally:
            self.took_ms.append(1000 * (time.time() - since_s))

    def ask_again(self) -> None:
        """Ask again for what has no answer: this process was killed."""
        for ident, ask in list(self.book.open.items()):
            while not self.stop.is_set():
                try:
                    with self.switch.writing() as table:
                        self._until_answered(ident, ask, table, attempts=1)
                    break
                except Held:
                    time.sleep(REST_S)

    def read(self, key: Key) -> Row | None:
        """Read a row, consistently."""
        while True:
            typed = of.typed(dict(zip(("customer", "entry"), key, strict=True)))
            try:
                answer = self._client.get_item(TableName=self.switch.read().table, Key=typed, ConsistentRead=True)
            except (BotoCoreError, ClientError) as error:
                if isinstance(error, ClientError) and _code(error) not in NOT_APPLIED and _status(error) < 500:
                    raise
                time.sleep(REST_S)
                continue
            return of.untyped(answer["Item"]) if "Item" in answer else None

    def _until_answered(self, ident: str, ask: Ask, table: str, attempts: int) -> bool:
        """Send until there is an answer; `attempts` says how often it was sent before, with an unknown outcome."""
        request = _with_table(ask.request, table)
        if ask.operation == "transact_write_items":
            request["ClientRequestToken"] = ident
        while True:
            try:
                answer = getattr(self._client, ask.operation)(**request)
            except (BotoCoreError, ClientError) as error:
                code = _code(error) if isinstance(error, ClientError) else ""
                if _is_refusal(error):
                    applied = attempts > 0 and self._stands(ask)
                    self.book.ended(ident, "applied" if applied else "refused", attempts + 1)
                    return applied
                if code and code not in NOT_APPLIED and not _is_conflict(error) and _status(error) < 500:
                    self.book.wrong(f"{ask.verb} {[*ask.after]}: {error}")
                    self.book.ended(ident, "refused", attempts + 1)
                    return False
                attempts += code not in NOT_APPLIED and not _is_conflict(error)
                time.sleep(REST_S)
                continue
            if left := answer.get("UnprocessedItems"):
                request = {"RequestItems": left}
                time.sleep(REST_S)
                continue
            self.book.ended(ident, "applied", attempts + 1)
            return True

    def _stands(self, ask: Ask) -> bool:
        return all(same(row, self.read(key), time.time()) for key, row in ask.after.items())


class Worker:
    """One thread, with customers that only it asks for: so it knows what each of their rows holds."""

    def __init__(self, application: Application, customers: Sequence[str], random: Random, rest_s: float) -> None:
        """Take what it asks through, its customers, and how long it rests between two things, at most twice that."""
        self._application, self._customers, self._random, self._rest_s = application, customers, random, rest_s
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        """Ask for one thing after the other."""
        application = self._application
        while not application.stop.wait(self._random.uniform(0, 2 * self._rest_s)):
            try:
                if self._random.random() < READS:
                    self._look()
                else:
                    self._write()
            except Held:
                application.stop.wait(REST_S)
            except Exception as error:  # whatever it is, it belongs into the book
                application.book.wrong(f"{type(error).__name__}: {error}")
                application.stop.wait(REST_S)

    def _write(self) -> None:
        ask = self._next()
        self.done["writes"] += self._application.ask(ask)
        if ask.verb == "flip_gift" and self._random.random() < 0.7:  # and back: A-B-A
            (order,) = ask.after.values()
            self.done["writes"] += bool(order) and self._application.ask(of.flip_gift(order))  # type: ignore[arg-type]

    def _look(self) -> None:
        """Read a row, and see that it is what the book says."""
        key = self._random.choice(self._keys(self._random.choice(self._customers)))
        found, told = self._application.read(key), self._application.book.rows.get(key)
        loose = self._application.book.loose.get(key, [])
        if not any(same(each, found, time.time()) for each in (told, *loose)):
            self._application.book.wrong(f"read {key}: {found}, and the book says {told}")
        self.done["reads"] += 1

    def _next(self) -> Ask:
        random, book = self._random, self._application.book
        customer = random.choice(self._customers)
        profile = book.rows[customer, "PROFILE"] or {}
        orders = [row for key in self._keys(customer) if key[1].startswith("ORDER#") and (row := book.rows[key])]
        dice = random.random()
        if dice < 0.1:
            return of.fill_basket(customer, random.randrange(999), time.time())
        if dice < 0.15 and (basket := book.rows.get((customer, "BASKET"))):
            return of.keep_basket(basket, time.time())
        if dice < 0.3:
            known = {each for each in range(EVENTS) if book.rows.get((customer, f"EVENT#{each:03d}"))}
            return of.log(customer, random.sample(range(EVENTS), of.BATCH), known)
        if not orders or (dice < 0.5 and len(orders) < MOST_ORDERS):
            return of.place(profile, of.new_order(customer, int(profile["orders"]), random))
        return self._about(random.choice(orders), profile)

    def _about(self, order: Row, profile: Row) -> Ask:
        """Choose what to do about an order."""
        random = self._random
        dice = random.random()
        if dice < 0.12:
            return of.cancel(order)
        if dice < 0.24:
            return of.flip_gift(order)
        if dice < 0.36:
            found = self._application.read(of.key_of(order))
            return of.put_back(order, found or order)
        if dice < 0.46:
            return of.amend(order, random.choice(("memo", "parcels")), {Decimal(random.randint(1, 9))})
        taker = self._application.book.rows[random.choice(self._customers), "PROFILE"]
        if dice < 0.56 and taker and taker["customer"] != profile["customer"] and len(order["entry"]) < 40:
            return of.hand_over(order, profile, taker)
        match order["status"]:
            case "placed":
                return of.pay(order, random.randbytes(48))
            case "paid":
                return of.ship(order, f"COURIER#{random.randrange(5)}", random.randrange(10**6))
            case "shipped":
                return of.deliver(order)
        return of.cancel(order)

    def _keys(self, customer: str) -> list[Key]:
        return [key for key in list(self._application.book.rows) if key[0] == customer]


def _with_table(request: Any, table: str) -> Any:
    if isinstance(request, dict):
        return {table if name == TABLE else name: _with_table(value, table) for name, value in request.items()}
    if isinstance(request, list):
        return [_with_table(each, table) for each in request]
    return table if isinstance(request, str) and request == TABLE else request


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _status(error: Exception) -> int:
    found = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    return int(found)


def _reasons(error: Exception) -> set[str]:
    reasons = getattr(error, "response", {}).get("CancellationReasons", [])
    return {each.get("Code", "None") for each in reasons} - {"None"}


def _is_refusal(error: Exception) -> bool:
    """Say whether a condition didn't hold."""
    return isinstance(error, ClientError) and (
        _code(error) == "ConditionalCheckFailedException" or "ConditionalCheckFailed" in _reasons(error)
    )


def _is_conflict(error: Exception) -> bool:
    """Say whether another transaction was in the way, or there were too many: nothing happened."""
    return bool(_reasons(error)) and not _is_refusal(error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one process of the application; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m orders.app")
    parser.add_argument("name")
    parser.add_argument("--customers", type=int, default=24)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--per-second", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args(arguments)
    folder = Path(os.environ.get("ORDERS_FOLDER", "."))
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    application = Application(Switch(folder), Book(folder / f"{told.name}.book.jsonl"), stop)
    _say(event="ready", name=told.name)
    application.ask_again()
    customers = customers_of(told.name, told.customers)
    workers = [
        Worker(
            application,
            customers[number :: told.workers],
            Random(f"{told.name} {told.seed} {number}"),
            told.workers / told.per_second,
        )
        for number in range(told.workers)
    ]
    threads = [threading.Thread(target=each.run) for each in workers]
    for thread in threads:
        thread.start()
    while not stop.wait(1.0):
        _report(application, workers)
    for thread in threads:
        thread.join()
    _report(application, workers)
    return 0


def _report(application: Application, workers: Sequence[Worker]) -> None:
    took = sorted(application.took_ms) or [0.0]
    counts = application.book.counts
    _say(
        event="report",
        writes=sum(each.done["writes"] for each in workers),
        reads=sum(each.done["reads"] for each in workers),
        held=counts["held"],
        errors=counts["error"],
        p50_ms=round(took[len(took) // 2], 1),
        p99_ms=round(took[int(0.99 * (len(took) - 1))], 1),
    )


def _say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
