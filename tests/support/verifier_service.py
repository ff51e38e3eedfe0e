"""The verifier put together on memory, with all that it watches: tests ask its door, and wait for what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.memory.admin import MemoryAws
from crossfade.adapters.memory.control import ControlStore, MemoryJournal
from crossfade.adapters.memory.passes import MemoryPassStore
from crossfade.adapters.memory.repairs import MemoryRepairs, RepairRows
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.contracts.journal import Entry
from crossfade.contracts.repairs import OVER
from crossfade.core.parity.verdict import Names
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import CrossfadeError, StoreUnavailable
from crossfade.core.values.shape import Side
from crossfade.ports.passes import PassStore
from crossfade.runtime.access import access_of
from crossfade.runtime.http import Door
from crossfade_verifier.continuous import Continuous
from crossfade_verifier.endpoints import routes
from crossfade_verifier.heard import Heard
from crossfade_verifier.lags import Crossings
from crossfade_verifier.listing import Listing
from crossfade_verifier.masking import Reveals
from crossfade_verifier.passes import Passes
from crossfade_verifier.repair import Repairer
from crossfade_verifier.repairs import Repairs
from crossfade_verifier.report import Reporter
from crossfade_verifier.settings import Settings
from crossfade_verifier.spot import Spot
from crossfade_verifier.tails import Tail
from crossfade_verifier.watch import Watch
from door_calls import Answer, call
from engagement_migration import MAPPING
from faust_kinesis import KinesisClient
from openapi_checks import check_answer
from verifier_world import World

QUICK: dict[str, Any] = {
    "in_flight_bound_s": 0.05,
    "settle_every_s": 0.02,
    "follow_limit_s": 0.2,
    "pause_s": 0.02,
    "retry_s": 0.02,
    "reads_per_s": 1_000_000,
    "buckets": 16,
    "poll_s": 0.2,
    "ask_every_s": 0.02,
    "units": 2,
    "segments": 2,
    "share_every_s": 0.02,
    "checkpoint_s": 0.05,
    "unit_lease_s": 0.5,
    "cloudwatch_every_s": 1.0,
    "repairs_per_s": 10_000,
}

ARN = "arn:aws:kinesis:eu-west-1:000000000000:stream/"
NAMES = Names({side: MAPPING.shape(side).table for side in Side}, {side: f"{side.value}-stream" for side in Side}, "j")


class Stream:
    """A Kinesis stream of one shard that is always read to its tip, and answers no more once it `hangs`."""

    hangs = False

    async def list_shards(self, stream: str) -> Sequence[Any]:
        class Shard:
            shard_id = "shard-0"
            parents: tuple[str, ...] = ()

        return [Shard()]

    async def shard_iterator(self, stream: str, shard_id: str, **_position: Any) -> str:
        return "i"

    async def get_records(self, iterator: str, limit: int) -> Any:
        if self.hangs:
            await asyncio.Event().wait()

        class Page:
            records: tuple[Any, ...] = ()
            next_iterator = "i"
            behind_ms = 0

        return Page()

    async def close(self) -> None:
        pass


class GatedTable(MemoryTable):
    """A table whose scans fail with `error` while it is set, and wait while `gate` is shut; or wait from page 2 on."""

    error: CrossfadeError | None = None
    gate: asyncio.Event | None = None
    from_page_2 = False

    async def scan_answer(self, *, segment: int, segments: int, start: bytes | None, limit: int) -> bytes:
        if self.gate is not None and (start is not None or not self.from_page_2):
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await super().scan_answer(segment=segment, segments=segments, start=start, limit=limit)


class Aws(MemoryAws):
    """CloudWatch says what `ages_s` has; it is down while `down` is set."""

    down = False
    ages_s: Mapping[str, float | None] = {}

    async def unreplicated_s(self, table: str) -> float | None:
        if self.down:
            raise OSError("no route to CloudWatch")
        return self.ages_s.get(table, await super().unreplicated_s(table))


class Refusing(MemoryJournal):
    """A journal that can't be written while it is `down`, and waits while its `gate` is shut."""

    down = False
    gate: asyncio.Event | None = None

    def __init__(self, store: ControlStore, *, who: str) -> None:
        super().__init__(store, who=who)
        self.waiting = asyncio.Event()

    async def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        if self.gate is not None:
            self.waiting.set()
            await self.gate.wait()
        if self.down:
            raise StoreUnavailable("the journal's table: no route to host")
        return await super().append(kind, body)


class Running:
    def __init__(
        self,
        world: World,
        *,
        reads_streams: bool = True,
        complete: bool = False,
        hears: bool = False,
        passes: PassStore | None = None,
        **changed: Any,
    ) -> None:
        self.world = world
        self.settings = Settings(**(QUICK | changed))
        mapping = world.mapping
        self.target = GatedTable(mapping.shape(Side.TARGET), belongs=mapping.belongs)
        self.target.images = world.tables[Side.TARGET].images
        world.reading[Side.TARGET] = self.target
        both = world.both()
        self.complete = complete
        self.store = ControlStore()
        self.passes = Passes(
            both,
            self.settings,
            store=MemoryPassStore() if passes is None else passes,
            journal=MemoryJournal(self.store),
            clock=SYSTEM,
            at_most_us=SYSTEM.wall_us,
            complete=lambda: self.complete,
        )
        self.continuous = Continuous(
            both,
            self.settings,
            self.passes.handovers,
            clock=SYSTEM,
            at_most_us=SYSTEM.wall_us,
            complete=lambda: self.complete,
            swept=self.passes.swept,
            ask=self.passes.hurry,
        )
        self.passes.heard, self.passes.proven = self.continuous.differing, self.continuous.proven
        if hears:
            world.on_change = self.continuous.hear
        self.aws = Aws({NAMES.tables[side]: world.tables[side] for side in Side}, set(NAMES.tables.values()))
        self.watch = Watch(NAMES._replace(map="j" if both.is_plain else ""), clock=SYSTEM)
        self.both = both
        self.streams = {side: Stream() for side in Side}
        self.tails = {side: self._tail(side) for side in Side}
        self.reads_streams = reads_streams
        self.report = self.reporter(self.watch)
        self.repair_rows = RepairRows()
        self.repairer = Repairer(
            both,
            {Side.SOURCE: world.tables[Side.SOURCE], Side.TARGET: self.target},
            self.passes,
            clock=SYSTEM,
            complete=lambda: self.complete,
        )
        self.repairs = Repairs(
            self.repairer,
            MemoryRepairs(self.repair_rows),
            MemoryJournal(self.store, who="me"),
            clock=SYSTEM,
            pod="me",
            per_s=self.settings.repairs_per_s,
            retry_s=self.settings.retry_s,
            every_s=self.settings.ask_every_s,
        )
        self.heard = Heard(SYSTEM.monotonic)
        listing = Listing(self.passes, self.continuous, self.settings.buckets, SYSTEM)
        spot = Spot(
            both, self.heard, self.tails, listing.called, self.settings, complete=lambda: self.complete, clock=SYSTEM
        )
        self.journal = Refusing(self.store, who="me")
        reveals = Reveals(self.journal)
        doors = routes(self.passes, self.report, listing, spot, self.repairs, reveals, mapping, self.settings)
        self.door = Door(doors, access=access_of(self.settings, SYSTEM))

    def reporter(self, watch: Watch) -> Reporter:
        crossings = Crossings(1_000_000, self.both)
        return Reporter(
            self.passes, self.settings, self.tails, crossings, watch, clock=SYSTEM, continuous=self.continuous
        )

    def _tail(self, side: Side) -> Tail:
        client: KinesisClient = self.streams[side]

        def ignored(_side: Side, _change: Change) -> None:
            pass

        return Tail(
            client,
            NAMES.streams[side],
            MAPPING.shape(side),
            ignored,
            poll_s=0.2,
            retry_s=0.02,
            now_s=time.time,
            clock=SYSTEM,
        )

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Running]:
        for side in Side:
            await self.aws.enable_destination(NAMES.tables[side], ARN + NAMES.streams[side])
        every_s = self.settings.ask_every_s
        work = [
            self.passes.run(),
            self.continuous.run(),
            self.repairs.run(),
            *(tail.run() for tail in self.tails.values() if self.reads_streams),
            *self.watch.tables(self.both.table, every_s),
            *self.watch.owner(self.both.owning, every_s),
            *self.watch.captures(self.aws, every_s),
            *self.watch.first_hops(self.aws, self.settings.lag_bound_s, every_s),
            self.watch.journal(MemoryJournal(self.store), "me", self.passes.repaired, every_s),
        ]
        tasks = [asyncio.create_task(each) for each in work]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def get(self, path: str) -> Answer:
        return self._promised("GET", path, await call(self.door, "GET", path))

    async def post(self, path: str, body: object = None, **headers: str) -> Answer:
        return self._promised("POST", path, await call(self.door, "POST", path, body, **headers))

    def _promised(self, method: str, path: str, answer: Answer) -> Answer:
        check_answer(method, path, answer.status_code, answer.json())
        return answer

    async def parity(self) -> dict[str, Any]:
        answer = await self.get("/parity")
        assert answer.status_code == 200
        body: dict[str, Any] = answer.json()
        return body

    async def repaired(self, asked: object) -> dict[str, Any]:
        """Plan, execute, and return the answer once the repair is over, with its steps."""
        planned = await self.post("/repairs", asked)
        assert planned.status_code == 202, planned.json()
        name = planned.json()["id"]
        executed = await self.post(f"/repairs/{name}/execute")
        assert executed.status_code == 202, executed.json()
        return await self.until_repair(name, lambda body: body["state"] in OVER)

    async def until_repair(self, name: str, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        for _ in range(1000):
            body: dict[str, Any] = (await self.get(f"/repairs/{name}?limit=1000")).json()
            if holds(body):
                return body
            await asyncio.sleep(0.01)
        raise AssertionError(body)

    async def until(self, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        for _ in range(400):
            body = await self.parity()
            if holds(body):
                return body
            await asyncio.sleep(0.01)
        raise AssertionError(body)


@asynccontextmanager
async def running(wallets: int = 4, **changed: Any) -> AsyncIterator[Running]:
    async with Running(World(wallets), **changed)() as service:
        yield service


def is_safe(body: dict[str, Any]) -> bool:
    return bool(body["safe_to_cut_over"]["answer"])
