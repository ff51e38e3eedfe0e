"""A shop: a pod that changes stock, with a book. Started again after a kill, it asks again for what had no answer.

    python -m stock.shop SHOP

SHOP is the name of its rows, SHOP#<name>, and of its book, <name>.jsonl: lines of JSON, what is about to be asked and
what came of it. It runs until SIGTERM. `Pod` is what a service of any keyed domain is made of.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.control.heartbeats import DynamoHeartbeats
from crossfade.adapters.control.reports import DynamoReports
from crossfade.adapters.control.tables import control_db
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.flags import FlagdFile
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.wire import Wire
from crossfade.application.epochs import Epochs
from crossfade.application.ownership import Ownership
from crossfade.application.pulse import Pulse
from crossfade.core.migration.control import control_tables
from crossfade.core.ownership.decisions import Done, Outcome
from crossfade.core.ownership.ramp import aim
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.versions import seeded
from crossfade.core.values.errors import ConfigError, CrossfadeError
from crossfade.core.values.keys import Key, key_of_strings
from crossfade.core.values.shape import Side
from crossfade.runtime import lifecycle
from crossfade.runtime.aws import wire_config
from crossfade.runtime.figures import Figures, tell
from crossfade.runtime.logging import configure
from crossfade.runtime.settings import ServiceSettings, load_checked
from stock import MAPPING, stock_operation

WORKERS: Final = 4
REST_S: Final = 0.05
"""Between two operations of a worker."""
AMOUNTS: Final = ("1", "0.25", "3.5", "100000000000000000000", "0.000000000001")
"""Some are no integer, one is beyond 64 bits."""


def rows_of(shop: str) -> list[Key]:
    """Return the keys of a shop; half of them are in the table from the beginning."""
    return [key_of_strings(f"ART#{number}", f"SHOP#{shop}") for number in range(24)]


class Settings(ServiceSettings):
    """Settings of a shop, beside those of every process of a migration."""

    lease_s: float = Field(15.0, gt=0, description="How long the shop's heartbeat counts.")
    operation_s: float = Field(5.0, gt=0, description="Longest time of one operation; at most half of the lease.")


class Pod:
    """The parts of a process that writes a keyed domain: what it may do follows the flags and its own heartbeat."""

    def __init__(self, settings: Settings, flags: FlagdFile, stack: AsyncExitStack) -> None:
        """Put it together on flags that have been read; `stack` closes what it opens."""
        wire = Wire("dynamodb", wire_config(settings))
        control = Wire("dynamodb", wire_config(settings, max_connections=2))  # a heartbeat must not queue behind calls
        for each in (wire, control):
            stack.push_async_callback(each.close)
        source, target = (DynamoTable(DynamoDB(wire), MAPPING, side) for side in Side)
        tables = control_tables(MAPPING.name)
        self._settings = settings
        self._ownership = Ownership(source, target, MAPPING, clock=SYSTEM)
        self._epochs = Epochs(flags)
        self._figures = Figures()
        self._reports = DynamoReports(control_db(control), tables.reports)
        self._pulse = Pulse(
            DynamoHeartbeats(control_db(control), tables.heartbeats),
            self._epochs,
            clock=SYSTEM,
            pod=settings.pod,
            lease_s=settings.lease_s,
            longest_operation_s=settings.operation_s,
        )

    async def operate(self, op: Operation) -> Done:
        """Do an operation once, however often it is asked for, on the table that owns its row.

        Raises:
            CrossfadeError: ask again with the same id where it is `retryable`.
        """
        self._pulse.check()
        epoch = self._epochs.begin()
        try:
            with self._figures.counting(op.verb.name):
                document, ends = epoch.document, asyncio.get_running_loop().time() + self._settings.operation_s
                return await self._ownership.operate(
                    op, aim(document, op.key), complete=document.complete, deadline=ends
                )
        finally:
            self._epochs.end(epoch)

    async def run(self, stack: AsyncExitStack) -> None:
        """Follow the flags, beat and report until `stack` is closed; then withdraw the heartbeat."""
        await self._pulse.beat()
        stack.push_async_callback(self._pulse.leave)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        telling = tell(1.0, self._figures, self._reports, self._settings.pod)
        for each in (self._epochs.watch(0.1, SYSTEM), self._pulse.run(), telling):
            stack.callback(group.create_task(each).cancel)


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

    def __init__(self, pod: Pod, name: str, stop: asyncio.Event) -> None:
        """Take what it writes through, its name, and what ends it."""
        book = Path(f"{name}.jsonl")
        self._pod, self._rows, self._stop = pod, rows_of(name), stop
        self._open = stock_of(book)[1]
        self._book = book.open("a", buffering=1)  # a line is out before the next step

    async def work(self, number: int) -> None:
        """Ask for one thing after the other, of the rows that only this worker asks for; first what is open."""
        own = self._rows[number::WORKERS]
        for ask in [each for each in self._open if each["key"].encode() in own]:
            await self._answered(ask)
        for ask in self._asks(own):
            if self._stop.is_set():
                return
            self._book.write(json.dumps(ask) + "\n")
            await self._answered(ask)
            await asyncio.sleep(REST_S)

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
        key, seed = ask["key"].encode(), seeded(time.time_ns() // 1000)
        op = stock_operation(ask["verb"], key, bytes.fromhex(ask["id"]), Decimal(ask["amount"]), seed)
        while True:
            try:
                done = await self._pod.operate(op)
            except CrossfadeError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(REST_S)
                continue
            if done.outcome not in (Outcome.FULL, Outcome.BUSY):
                self._book.write(json.dumps({"id": ask["id"], "ended": done.outcome.value}) + "\n")
                return
            await asyncio.sleep(REST_S)


async def serve(settings: Settings, name: str, stop: asyncio.Event) -> None:
    """Keep the shop open until `stop` is set."""
    async with AsyncExitStack() as stack:
        if settings.flag_file is None:
            raise ConfigError("CROSSFADE_FLAG_FILE: not set")
        flags = FlagdFile(settings.flag_file)
        stack.push_async_callback(flags.close)
        await flags.start()
        pod = Pod(settings, flags, stack)
        await pod.run(stack)
        lifecycle.ready("", pod=settings.pod)
        shop = Shop(pod, name, stop)
        await asyncio.gather(*(shop.work(number) for number in range(WORKERS)))


def main(name: str) -> int:
    """Open a shop; return its exit code."""
    settings = load_checked(Settings)
    configure("stock-shop", settings.log_level)
    return lifecycle.run("stock-shop", lambda stop: serve(settings, name, stop), health=settings.health_address)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
