"""Verifiers as processes that share a store of passes: they are killed, and tables and store fail, in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.memory.control import ControlStore, MemoryJournal
from crossfade.adapters.memory.passes import MemoryPassStore, PassRows
from crossfade.core.ownership.ramp import ramp_point
from crossfade.core.protocol.keyed.writes import Answer, Write
from crossfade.core.values.errors import CrossfadeError, StoreUnavailable
from crossfade.core.values.image import decode_image
from crossfade.core.values.keys import encode_key, key_image
from crossfade.core.values.shape import Side, TableShape
from crossfade_verifier.both import BothTables
from crossfade_verifier.findings import Findings
from crossfade_verifier.pass_views import Pass
from crossfade_verifier.passes import Passes
from crossfade_verifier.settings import Settings
from engagement_migration import MAPPING
from verifier_world import World

SETTINGS: dict[str, Any] = {
    "units": 3,
    "segments": 1,
    "page": 4,
    "buckets": 16,
    "in_flight_bound_s": 0.1,
    "settle_every_s": 0.02,
    "follow_limit_s": 0.4,
    "retry_s": 0.02,
    "reads_per_s": 1_000_000,
    "share_every_s": 0.02,
    "checkpoint_s": 0.02,
    "unit_lease_s": 0.3,
    "continuous": False,
}


class Reads:
    """What all pods together do to both tables.

    Attributes:
        scanned: rows that were scanned.
        hold_at: from so many scanned rows on, scans wait for `go`; None for never.
        held: set once one waits.
        error: what each scan raises; None for nothing.
        failed: scans that raised it.
        looked: called at each scan.
    """

    def __init__(self) -> None:
        self.scanned = self.failed = 0
        self.hold_at: int | None = None
        self.held, self.go = asyncio.Event(), asyncio.Event()
        self.error: CrossfadeError | None = None
        self.looked: Callable[[], None] = lambda: None

    async def before(self) -> None:
        self.looked()
        if self.hold_at is not None and self.scanned >= self.hold_at:
            self.held.set()
            await self.go.wait()
        if self.error is not None:
            self.failed += 1
            raise self.error


class ReadTable:
    """A table of a world, whose scans are counted, held and failed."""

    def __init__(self, world: World, side: Side, reads: Reads) -> None:
        self._table, self._reads = world.tables[side], reads

    @property
    def shape(self) -> TableShape:
        return self._table.shape

    async def scan_answer(self, *, segment: int, segments: int, start: bytes | None, limit: int) -> bytes:
        await self._reads.before()
        answer = await self._table.scan_answer(segment=segment, segments=segments, start=start, limit=limit)
        self._reads.scanned += answer.count(b'"sk"') - answer.count(b"LastEvaluatedKey")
        return answer

    async def read_answers(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        return await self._table.read_answers(keys)

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        return await self._table.perform(write, timeout_s=timeout_s)


class ScrambledTable(ReadTable):
    """A table whose scan shows its rows in an order that the other one's has nothing in common with."""

    async def scan_answer(self, *, segment: int, segments: int, start: bytes | None, limit: int) -> bytes:
        await self._reads.before()
        names, after = self._table.shape.key, b""
        if start is not None:
            after = _place(encode_key(decode_image(start), names))
        keys = [key for key in self._table.images if ramp_point(key) % segments == segment and _place(key) > after]
        page = sorted(keys, key=_place)[:limit]
        answer: dict[str, object] = {"Items": [self._table.images[key] for key in page], "ScannedCount": len(page)}
        if len(keys) > limit:
            answer["LastEvaluatedKey"] = key_image(page[-1], names)
        self._reads.scanned += len(page)
        return msgspec.json.encode(answer)


def _place(key: bytes) -> bytes:
    return blake2b(key, digest_size=8).digest()


class Mortal:
    """A store as one process reaches it: no more once that is dead."""

    def __init__(self, store: MemoryPassStore) -> None:
        self._store = store
        self.dead = False
        self.error: CrossfadeError | None = None
        self.refuses: set[str] = set()
        self.saves: Counter[int] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            if self.dead:
                raise asyncio.CancelledError
            if self.error is not None or name in self.refuses:
                raise self.error or StoreUnavailable("the control tables: no route to host")
            answer = await found(*args, **kwargs)
            if name == "save":
                self.saves[args[0].number] += 1
            return answer

        return call


class Pod:
    """One life of a verifier."""

    def __init__(self, pods: Pods, name: str) -> None:
        self.pods = pods
        self.store = Mortal(MemoryPassStore(pods.rows))
        both = BothTables(MAPPING, pods.tables[Side.SOURCE], pods.tables[Side.TARGET])
        self.passes = Passes(
            both,
            Settings(**(pods.settings | {"pod": name})),
            store=self.store,
            journal=MemoryJournal(pods.control),
            clock=SYSTEM,
            at_most_us=SYSTEM.wall_us,
        )
        self.task = asyncio.create_task(self.passes.run())

    async def kill(self) -> None:
        """End it as SIGKILL does: nothing that it leaves behind reaches the store."""
        self.store.dead = True
        await self.stop()

    async def stop(self) -> None:
        """End it as SIGTERM does."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def done(self, wanted: str) -> Pass:
        """Wait for the end of a pass."""
        ended: Pass = await until(lambda: self._ended(wanted))
        return ended

    async def _ended(self, wanted: str) -> Pass | None:
        found = await self.passes.get(wanted)
        return found if found is not None and found.record.ended and self.passes.running is not found else None

    async def saved(self) -> None:
        """Wait until a checkpoint of all that it has done by now was saved."""
        running = self.passes.running
        assert running is not None
        wanted = {number: self.store.saves[number] + 2 for _, number in running.mine}

        async def enough() -> bool:
            return all(
                self.store.saves[number] >= count or (unit := running.mine.get(("scan", number))) is None or unit.ended
                for number, count in wanted.items()
            )

        await until(enough)


class Pods:
    """The verifiers of one world, which share passes and journal."""

    def __init__(self, world: World, *, scrambled: bool = False, **settings: Any) -> None:
        self.world, self.settings = world, SETTINGS | settings
        self.rows, self.control, self.reads = PassRows(), ControlStore(), Reads()
        self.tables = {side: ReadTable(world, side, self.reads) for side in Side}
        if scrambled:
            self.tables[Side.TARGET] = ScrambledTable(world, Side.TARGET, self.reads)
        self.alive: list[Pod] = []

    def start(self, name: str = "pod") -> Pod:
        pod = Pod(self, name)
        self.alive.append(pod)
        return pod

    async def __aenter__(self) -> Pods:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for pod in self.alive:
            await pod.stop()

    def beat(self) -> int:
        """Return the last sign of life of any unit."""
        return max((each.beat for each in self.rows.units.values()), default=0)

    @property
    def rows_in_tables(self) -> int:
        return sum(len(self.world.tables[side].images) for side in Side)


async def until(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is true."""
    async with asyncio.timeout(30):
        while not (answer := await ask()):  # noqa: ASYNC110 - it polls what many tasks change
            await asyncio.sleep(0.005)
    return answer


def told(found: Findings) -> dict[str, Any]:
    """Return all that a pass has found, except when, and what it has cost."""
    return {
        "scanned": found.scanned,
        "belonging": found.belonging,
        "verified": found.book.verified,
        "classes": {each: count for each, count in found.book.by_class.items() if count},
        "keys": {each: sorted(keys) for each, keys in found.keys.items()},
        "others": sorted(found.others),
        "counts": {side: found.digests[side].count for side in Side},
        "differing": found.differing,
        "not_ours": found.not_ours,
    }
