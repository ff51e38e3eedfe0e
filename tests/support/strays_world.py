"""A small migration with real processes, and a writer that knows nothing of it, with a book of its own."""

from __future__ import annotations

import asyncio
import shlex
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, Final

from crossfade.adapters.flagd import FlagFile
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import CrossfadeError
from crossfade_demo.book import Book, Wallet, total
from crossfade_demo.checks import key_of
from crossfade_demo.pace import Pace
from crossfade_demo.processes import python_module
from crossfade_demo.seed import TTL, wallet_rows
from crossfade_demo.services import BUCKET, OPERATOR, Fleet, controller_settings, make_fleet, shared_settings
from crossfade_demo.store import SOURCE, TARGET, Row, Store
from crossfade_demo.story import free_port
from crossfade_demo.traffic import Traffic
from migration_world import Migration, Ran, stage

WALLETS: Final = 160
BALANCE: Final = {SOURCE: "balance", TARGET: "points"}


class PlainWriter:
    """Adds to balances with plain UpdateItem calls, as an old release or a script would.

    Attributes:
        book: what was acknowledged, by wallet.
        writes: how many acknowledged writes there were.
    """

    def __init__(self, store: Store, table: str, wallets: Sequence[Wallet], seed: int, per_s: float = 20.0) -> None:
        self._store, self._table, self._wallets = store, table, list(wallets)
        self._random, self._pause_s = Random(seed), 1 / per_s
        self._stop = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._written = asyncio.Condition()
        self.book: Counter[Wallet] = Counter()
        self.writes = 0

    async def write(self, wallet: Wallet, points: int) -> None:
        """Add points to a row that exists, whoever owns it."""
        pk, sk = key_of(wallet)
        await self._store.call(
            "UpdateItem",
            TableName=self._table,
            Key={"pk": {"S": pk}, "sk": {"S": sk}},
            UpdateExpression="ADD #b :points",
            ConditionExpression="attribute_exists(pk)",
            ExpressionAttributeNames={"#b": BALANCE[self._table]},
            ExpressionAttributeValues={":points": {"N": str(points)}},
        )
        self.book[wallet] += points
        async with self._written:
            self.writes += 1
            self._written.notify_all()

    async def wrote(self, writes: int) -> None:
        """Return once so many writes are acknowledged, however long the machine takes."""
        async with self._written:
            await self._written.wait_for(lambda: self.writes >= writes)

    def start(self) -> None:
        """Write on, until `finish`."""
        self._loop = asyncio.create_task(self._run())

    async def finish(self) -> None:
        """Stop writing; what was sent is answered."""
        self._stop.set()
        if self._loop is not None:
            await self._loop

    async def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(CrossfadeError):
                await self.write(self._random.choice(self._wallets), self._random.randint(1, 9))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._pause_s)


class World(Migration):
    """The migration, its clients and its operator's tools.

    Attributes:
        store: plain AWS calls.
        wallets: all seeded ones.
        traffic: clients of the API, on the same wallets.
    """

    def __init__(self, store: Store, fleet: Fleet, settings: dict[str, str], ports: dict[str, int], pace: Pace) -> None:
        super().__init__(pace, lambda: f"127.0.0.1:{ports['controller']}")
        self.store, self._fleet, self._settings, self._ports = store, fleet, settings, ports
        self.wallets: list[Wallet] = []
        self._seeded: dict[Wallet, int] = {}
        self.traffic: Traffic
        self._books: list[Book] = []
        self._writers: list[PlainWriter] = []

    async def seed(self) -> None:
        """Fill the source table."""
        rows = wallet_rows(WALLETS, Random(5))
        await self.store.put_all(list(rows.values()))
        self._seeded = {wallet: int(row["balance"]["N"]) for wallet, row in rows.items()}
        self.wallets = list(rows)

    def plain_writer(self, table: str, wallets: Sequence[Wallet] | None = None, **options: Any) -> PlainWriter:
        """Return a writer outside the protocol; its book counts in `expected`."""
        chosen = self.wallets if wallets is None else wallets
        writer = PlainWriter(self.store, table, chosen, seed=len(self._writers), **options)
        self._writers.append(writer)
        return writer

    async def crossfade(self, *arguments: str, wait: bool = True) -> Ran:
        """Run the operator's CLI, executing."""
        flags = ["--execute", *(["--wait"] if wait else [])]
        return await self.run("crossfade", *arguments, *([] if arguments[0] == "status" else flags), "--json")

    async def run(self, tool: str, *arguments: str) -> Ran:
        """Run `crossfade …` or `replicator …` as an operator would."""
        module = {"crossfade": "crossfade_controller.cli", "replicator": "crossfade_replicator.main"}[tool]
        own = controller_settings(self._ports) if tool == "crossfade" else {}
        settings = self._settings | own | {"AWS_ACCESS_KEY_ID": OPERATOR}
        if tool == "replicator":
            settings.pop("CROSSFADE_FLAG_FILE", None)
        return await self.tool(python_module(module, *arguments), settings)

    @property
    def verifier(self) -> str:
        """Its address, as the runbooks mean it."""
        return f"http://127.0.0.1:{self._ports['verifier']}"

    async def shell(self, line: str) -> Ran:
        """Run a line of a runbook."""
        tool, *arguments = shlex.split(line)
        if tool == "curl":
            return await self.tool([tool, "--fail-with-body", *arguments], {})
        return await self.run(tool, *arguments)

    async def pause_traffic(self) -> None:
        """Stop the clients of the API; all that they asked for is answered."""
        await self.traffic.finish()
        self._books += self.traffic.books

    def resume_traffic(self) -> None:
        """Start clients again, with new books."""
        self.traffic = Traffic(
            [each.address for each in self._fleet.apis], self.wallets, 30, len(self._books), self._pace
        )
        self.traffic.start()

    def expected(self) -> Counter[Wallet]:
        """Return what each seeded wallet must hold, while the clients of the API pause: by the seed and all books.

        A client's own wallet is left out: it is deleted with the balance that its client remembers, and clients are new
        after each pause.
        """
        found = Counter(self._seeded)
        found.update(total(self._books))
        for writer in self._writers:
            found.update(writer.book)
        return Counter({wallet: found[wallet] for wallet in self.wallets})

    async def balances(self, table: str) -> dict[Wallet, tuple[int, Row]]:
        """Return each wallet's points in a table with its row."""
        found: dict[Wallet, tuple[int, Row]] = {}
        async for row in self.store.scan(table):
            if row["sk"]["S"].startswith("POINTS#") and "cf_deleted" not in row:
                wallet = row["pk"]["S"].removeprefix("USER#"), row["sk"]["S"].removeprefix("POINTS#")
                found[wallet] = int(row[BALANCE[table]]["N"]), row
        return found


@asynccontextmanager
async def world(folder: Path, *, moves_per_s: int = 800) -> AsyncIterator[World]:
    """Start the embedded AWS, seed a table, create the control tables, start every service and the clients."""
    logs = folder / "logs"
    logs.mkdir(parents=True)
    async with AsyncExitStack() as cleanup:
        endpoints, store, pace = await cleanup.enter_async_context(stage(folder))
        await store.create_source(TTL)
        await store.create_bucket(BUCKET)
        flag_file = folder / "flags.json"
        FlagFile(flag_file).write(FlagDocument(), dual_write=False)
        shared = shared_settings(endpoints, flag_file)
        ports = {name: free_port() for name in ("api-a", "api-b", "verifier", "controller")}
        fleet = make_fleet(shared, flag_file, logs, ports, pace)
        fleet.controller.configure(CROSSFADE_SWEEP_MOVES_PER_S=str(moves_per_s))
        cleanup.push_async_callback(fleet.stop)
        made = World(store, fleet, shared, ports, pace)
        await made.seed()
        created = await made.run("crossfade", "control", "create", "--execute", "--json")
        assert created.code == 0, created
        for each in fleet.all():
            await each.start()
        await asyncio.gather(*(each.ready() for each in (*fleet.apis, fleet.verifier, fleet.controller)))
        made.resume_traffic()
        try:
            yield made
        finally:
            await made.traffic.finish()
