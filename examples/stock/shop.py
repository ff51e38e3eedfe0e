"""A shop: a writer with a book. Killed and started again, it asks once more for what it had no answer to.

    python shop.py ENDPOINT FLAGS BOOK

ENDPOINT is DynamoDB's, FLAGS a file with the flag document, BOOK a file of JSON lines: what is about to be asked, and
what came of it. It runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, Final

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.ownership.decisions import Outcome
from crossfade.core.ownership.ramp import FlagDocument, aim, document_of_flag
from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.keys import Key, key_of_strings
from crossfade.core.values.shape import Side
from crossfade.runtime.ownership import Ownership
from stock import MAPPING, stock_operation

WORKERS: Final = 4
AMOUNTS: Final = ("1", "0.25", "3.5", "100000000000000000000", "0.000000000001")
"""No integer, and none of 64 bits."""
ROWS: Final = [key_of_strings(f"ART#{number}", "SHOP#north") for number in range(48)]
"""The rows of the shops; some are in the table from the beginning."""


def stock_of(book: Path) -> tuple[dict[Key, dict[str, Decimal] | None], list[dict[str, Any]]]:
    """Return what a book says that each row has (None: it is gone), and what was asked for and not answered."""
    rows: dict[Key, dict[str, Decimal] | None] = {}
    asked: dict[str, dict[str, Any]] = {}
    for line in book.read_text().splitlines() if book.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:  # the last words of one who was killed
            continue
        if "ended" not in entry:
            asked[entry["id"]] = entry
            continue
        ask = asked.pop(entry["id"])
        if entry["ended"] in (Outcome.APPLIED.value, Outcome.REPLAYED.value):
            _count(rows, ask["verb"], ask["key"].encode(), Decimal(ask["amount"]))
    return rows, list(asked.values())


def _count(rows: dict[Key, dict[str, Decimal] | None], verb: str, key: Key, amount: Decimal) -> None:
    if verb == "discard":
        rows[key] = None
        return
    row = rows.get(key) or {"available": Decimal(0), "held": Decimal(0)}
    with localcontext() as exact:
        exact.prec = 60  # DynamoDB keeps 38 digits, Python by default 28
        row["available"] += {"receive": amount, "reserve": -amount}.get(verb, 0)
        row["held"] += {"reserve": amount, "ship": -amount}.get(verb, 0)
    rows[key] = row


class Shop:
    """Asks, and keeps the book."""

    def __init__(self, ownership: Ownership, flags: Path, book: Path) -> None:
        """Take what it writes through, where the flag document is, and its book."""
        self._ownership, self._flags = ownership, flags
        self._open = stock_of(book)[1]
        self._book = book.open("a", buffering=1)  # a line is out before the next step
        self.stopping = False

    def _document(self) -> FlagDocument:
        return document_of_flag(json.loads(self._flags.read_text()))

    async def work(self, number: int) -> None:
        """Ask for one thing after the other, of the rows that only this worker asks for; first what is open."""
        own = ROWS[number::WORKERS]
        for ask in [each for each in self._open if each["key"].encode() in own]:
            await self._answered(ask)
        for ask in self._asks(own):
            if self.stopping:
                return
            self._book.write(json.dumps(ask) + "\n")
            await self._answered(ask)

    def _asks(self, own: list[Key]) -> Iterator[dict[str, Any]]:
        while True:
            verb = random.choices(("receive", "reserve", "ship", "discard"), (6, 5, 3, 1))[0]
            made = time.time_ns() // 1_000_000
            yield {
                "id": (made.to_bytes(6, "big") + os.urandom(10)).hex(),
                "verb": verb,
                "key": random.choice(own).decode(),
                "amount": random.choice(AMOUNTS),
            }

    async def _answered(self, ask: dict[str, Any]) -> None:
        """Ask until there is an answer: the same id makes it safe."""
        key = ask["key"].encode()
        op = stock_operation(
            ask["verb"], key, bytes.fromhex(ask["id"]), Decimal(ask["amount"]), (time.time_ns() // 1000) << 10
        )
        while True:
            try:
                done = await self._ownership.operate(op, aim(self._document(), key))
            except CrossfadeError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(0.05)
                continue
            if done.outcome not in (Outcome.FULL, Outcome.BUSY):
                self._book.write(json.dumps({"id": ask["id"], "ended": done.outcome.value}) + "\n")
                return
            await asyncio.sleep(0.05)


async def main(endpoint: str, flags: Path, book: Path) -> None:
    """Open the shop."""
    who = StaticCredentials(Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]))
    async with Wire("dynamodb", WireConfig(os.environ["AWS_DEFAULT_REGION"], endpoint), who) as client:
        legacy, new = (DynamoTable(DynamoDB(client), MAPPING, side) for side in Side)
        shop = Shop(Ownership(legacy, new, MAPPING), flags, book)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: setattr(shop, "stopping", True))
        await asyncio.gather(*(shop.work(number) for number in range(WORKERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
