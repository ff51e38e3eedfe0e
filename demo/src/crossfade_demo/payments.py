"""The other tenant of the shared table: wallets and ledger rows of the payments system.

It goes on writing for the whole migration and keeps its own book of what each row must be. No row of it may change by
another hand, and none may reach the target table.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random
from typing import Final

from crossfade.core.values.errors import CrossfadeError
from crossfade_demo.store import SOURCE, TARGET, Row, Store, plain

PER_SECOND: Final = 5


def payment_rows(users: list[str], random: Random) -> list[Row]:
    """Return one paid-currency wallet and two ledger rows for every tenth user."""
    rows: list[Row] = []
    for user in users[::10]:
        pk = {"S": f"USER#{user}"}
        cents = random.randint(0, 100_000)
        rows.append({"pk": pk, "sk": {"S": "WALLET#EUR"}, "cents": {"N": str(cents)}, "status": {"S": "open"}})
        rows += [
            {"pk": pk, "sk": {"S": f"LEDGER#{entry:06d}"}, "cents": {"N": str(random.randint(1, 999))}}
            for entry in range(2)
        ]
    return rows


class Payments:
    """The payments system's writer."""

    def __init__(self, store: Store, rows: list[Row], seed: int) -> None:
        self._store = store
        self._book = {(row["pk"]["S"], row["sk"]["S"]): row for row in rows}
        self._wallets = [key for key in self._book if key[1].startswith("WALLET#")]
        self._random = Random(seed)
        self._stop = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._entry = 1_000
        self.written = 0
        self.failed = 0

    def start(self) -> None:
        """Start writing."""
        self._loop = asyncio.create_task(self._run())

    async def finish(self) -> None:
        """Stop writing."""
        self._stop.set()
        if self._loop:
            await self._loop

    async def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 1 / PER_SECOND)
            key = self._random.choice(self._wallets)
            cents = int(self._book[key]["cents"]["N"]) + self._random.randint(-50, 500)
            wallet = {**self._book[key], "cents": {"N": str(cents)}}
            self._entry += 1
            entry: Row = {
                "pk": wallet["pk"],
                "sk": {"S": f"LEDGER#{self._entry:06d}"},
                "cents": {"N": str(cents)},
            }
            try:
                await self._store.call("TransactWriteItems", TransactItems=[_put(wallet), _put(entry)])
            except CrossfadeError:
                self.failed += 1
                continue
            self.written += 1
            self._book[key] = wallet
            self._book[entry["pk"]["S"], entry["sk"]["S"]] = entry

    async def differences(self) -> list[str]:
        """Return what is wrong with the payments rows in the source table, and which of them are in the target."""
        wrong: list[str] = []
        missing = set(self._book)
        async for row in self._store.scan(SOURCE):
            key = row["pk"]["S"], row["sk"]["S"]
            if key in self._book:
                missing.discard(key)
                if plain({"M": row}) != plain({"M": self._book[key]}):
                    wrong.append(f"{key} changed: {row}")
            elif not key[1].startswith("POINTS#"):
                wrong.append(f"{key} is nobody's")
        wrong += [f"{key} is gone" for key in missing]
        async for row in self._store.scan(TARGET):
            if not row["sk"]["S"].startswith("POINTS#"):
                wrong.append(f"{row['pk']['S']} {row['sk']['S']} left the shared table")
        return wrong


def _put(row: Row) -> dict[str, object]:
    return {"Put": {"TableName": SOURCE, "Item": row}}
