"""Passes of the real verifier over busy tables, in virtual time: traffic, copies and change records that go astray.

Copies arrive late, twice and out of order, but each within the bound after which a key counts as stuck. What the
verifier hears of the streams has no bound at all: a record in five comes twice, and some come minutes late.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Raw

from crossfade.adapters.memory.control import MemoryJournal
from crossfade.adapters.memory.passes import MemoryPassStore, PassRows
from crossfade.core.parity.classes import FINAL
from crossfade.core.protocol.keyed.item import generation_of
from crossfade.core.replication.change import Change
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side, TableShape
from crossfade_verifier.both import BothTables, SweptTable
from crossfade_verifier.continuous import Continuous
from crossfade_verifier.findings import Findings
from crossfade_verifier.hearing import Counts
from crossfade_verifier.passes import Passes
from crossfade_verifier.settings import Settings
from engagement_api.operations import Kind
from engagement_migration import MAPPING
from planted_kinds import ROW, Planted
from simulation.loop import VirtualLoop
from verifier_pods import Mortal
from verifier_world import Clock, World, wallet

T = TypeVar("T")

WALLETS: Final = 120
HOT: Final = 6
"""Wallets that get half of all operations."""

BOUND_S: Final = 10.0
Spans: TypeAlias = tuple[float, float, float]
"""Seconds: at least, mostly, and at most."""

COPY_S: Final[Spans] = (0.02, 0.4, 4.0)
"""How long a copy takes; within `BOUND_S` together with the reads of a pass."""

HEARD_S: Final[Spans] = (0.05, 1.0, 25.0)
"""How long a change record takes to the verifier."""

TWICE: Final = 0.2
ASTRAY: Final = 0.08
"""Share of the records that come at any time within the longest span."""

FULL: Final = {
    "tier": Raw(b'{"S":"gold"}'),
    "badges": Raw(b'{"SS":["early","loyal"]}'),
    "created_at": Raw(b'{"S":"2021-03-04T05:06:07.089Z"}'),
    "expires_at": Raw(b'{"N":"4102444800"}'),
}


class VirtualClock(Clock):
    """The clocks of the loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def monotonic(self) -> float:
        return self._loop.time()

    def wall_us(self) -> int:
        return int((self.now + self._loop.time()) * 1e6)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _ScanAnswer(msgspec.Struct):
    ScannedCount: int

    @classmethod
    def of(cls, answer: bytes) -> _ScanAnswer:
        return msgspec.json.decode(answer, type=cls)


class FarTable:
    """A table whose answers take their time both ways, so that everything may happen in between."""

    def __init__(self, table: SweptTable, dice: random.Random, scanned: Callable[[int], None]) -> None:
        self._table, self._dice, self._scanned = table, dice, scanned

    @property
    def shape(self) -> TableShape:
        return self._table.shape

    async def _far(self, call: Callable[[], Awaitable[T]]) -> T:
        await asyncio.sleep(self._dice.uniform(0.001, 0.03))
        answer = await call()
        await asyncio.sleep(self._dice.uniform(0.001, 0.03))
        return answer

    async def scan_answer(self, *, segment: int, segments: int, start: bytes | None, limit: int) -> bytes:
        table = self._table
        answer = await self._far(
            lambda: table.scan_answer(segment=segment, segments=segments, start=start, limit=limit)
        )
        self._scanned(_ScanAnswer.of(answer).ScannedCount)
        return answer

    async def read_answers(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        return await self._far(lambda: self._table.read_answers(keys))

    async def perform(self, write: Any, *, timeout_s: float | None = None) -> Any:
        return await self._far(lambda: self._table.perform(write, timeout_s=timeout_s))


class Busy:
    """The tables and all that goes on in them.

    Attributes:
        world: the tables.
        counted: change records: see `Told`.
        hear: what hears them.
        scanned: rows that were scanned, of both tables.
    """

    def __init__(
        self, loop: VirtualLoop, seed: int, planted: Sequence[Planted] = (), *, copy_s: Spans = COPY_S
    ) -> None:
        """Fill the tables.

        Args:
            loop: runs everything.
            seed: of all chance.
            planted: planted on one wallet each; these have no traffic.
            copy_s: how long a copy takes.
        """
        self._loop, self._dice, self._copy_s = loop, random.Random(seed), copy_s
        self.clock = VirtualClock(loop)
        self.hear: Callable[[Side, Change], None] = lambda _side, _change: None
        self.counted: Counter[str] = Counter()
        self._last: dict[tuple[Side, bytes], int] = {}
        self.world = World(0, clock=self.clock)
        for number in range(WALLETS):
            self.world.add(number, **(FULL if number % 2 else {}))
            if number % 3 == 0:
                self.world.hand_over(wallet(number), 2)
                self.world.copy(wallet(number))
        for number, each in enumerate(planted, start=WALLETS):
            self.world.add(number, **FULL | ROW)
            each.harm(self.world, wallet(number))
        self.world.on_change = self._changed
        self._far_dice = random.Random(seed + 1)
        self.scanned = 0

    def both(self) -> BothTables:
        """Return both tables as one process reaches them."""
        far = {side: FarTable(self.world.tables[side], self._far_dice, self._scanned) for side in Side}
        return BothTables(MAPPING, far[Side.SOURCE], far[Side.TARGET])

    def _scanned(self, rows: int) -> None:
        self.scanned += rows

    def _changed(self, side: Side, change: Change) -> None:
        """Send a change on its two ways: to the other table, and to the verifier."""
        dice = self._dice
        self._loop.call_later(self._after(self._copy_s), self.world.transfer, side, change)
        if dice.random() < TWICE:
            self._loop.call_later(dice.uniform(0, HEARD_S[2]), self.world.transfer, side, change)
        self._loop.call_later(self._after(HEARD_S), self._arrive, side, change, self._loop.time())
        if dice.random() < TWICE:
            self.counted["twice"] += 1
            again_s = dice.uniform(0, HEARD_S[2])
            self._loop.call_later(again_s, self._arrive, side, change, self._loop.time())

    def _after(self, span: Spans) -> float:
        shortest, mostly, longest = span
        return self._dice.uniform(shortest, longest if self._dice.random() < ASTRAY else mostly)

    def _arrive(self, side: Side, change: Change, sent_s: float) -> None:
        self.counted["heard"] += 1
        self.counted["late"] += self._loop.time() - sent_s > BOUND_S
        last = self._last.get((side, change.key), 0)
        self.counted["shuffled"] += change.committed_us < last
        self._last[side, change.key] = max(last, change.committed_us)
        self.hear(side, change)

    async def live(self, per_s: float = 15.0) -> None:
        """Operate on the wallets, forever."""
        while True:
            await asyncio.sleep(self._dice.expovariate(per_s))
            hot = self._dice.random() < 0.5
            self._act(self._dice.randrange(HOT if hot else WALLETS), hot=hot)

    def _act(self, number: int, *, hot: bool) -> None:
        world, dice, key = self.world, self._dice, wallet(number)
        rolled = dice.random()
        if rolled < 0.7 or hot:
            world.earn(key, dice.randrange(1, 9))
        elif rolled < 0.85:
            world.operate(key, Kind.SPEND, 1)
        elif rolled < 0.9:
            world.operate(key, Kind.DELETE, 0)
        elif world.owner(key) is not None:
            world.seal(key, max(generation_of(world.item(side, key)) for side in Side) + 2)
            self._loop.call_later(dice.uniform(0.05, 2.0), world.activate, key)


class Told(NamedTuple):
    """What passes under traffic came to.

    Attributes:
        passes: number of passes that were done.
        clean: of them, those that found every key equal.
        alarms: what was called though nothing is wrong, by pass.
        records: what reached the verifier: `heard`, of these `twice`, `shuffled` behind a younger one of the key, and
            `late`, which came after the bound.
        listening: what the continuous mode made of them.
    """

    passes: int
    clean: int
    alarms: list[str]
    records: Counter[str]
    listening: Counts


def passes_under_traffic(passes: int, seed: int, *, copy_s: Spans = COPY_S) -> Told:
    """Make passes over busy tables, one after the other, in virtual time.

    Args:
        passes: how many are to be done.
        seed: of all chance.
        copy_s: how long a copy takes.
    """
    loop = VirtualLoop()
    busy = Busy(loop, seed, copy_s=copy_s)
    settings = Settings(
        pod="v",
        in_flight_bound_s=BOUND_S,
        settle_every_s=1,
        pause_s=0.5,
        retry_s=0.5,
        reads_per_s=40,
        page=10,
        buckets=16,
    )
    made = Passes(
        busy.both(),
        settings,
        store=MemoryPassStore(),
        journal=MemoryJournal(),
        clock=busy.clock,
        at_most_us=busy.clock.wall_us,
    )
    listening = Continuous(
        busy.both(),
        settings,
        made.handovers,
        clock=busy.clock,
        at_most_us=busy.clock.wall_us,
        swept=made.swept,
        ask=made.hurry,
    )

    def hear(side: Side, change: Change) -> None:
        made.hear(side, change)
        listening.hear(side, change)

    busy.hear = hear
    done: list[bool] = []
    alarms: list[str] = []
    over = asyncio.Event()

    def ended(_took_s: float) -> None:
        last = made.last
        if last is not None and last.findings is not None:
            done.append(last.clean)
            called = {found.value: count for found, count in last.findings.book.by_class.items() if found in FINAL}
            if called or last.findings.differing:
                alarms.append(f"pass {len(done)}: {called}, buckets {last.findings.differing}")
        if listening.differing.keys:
            alarms.append(f"listening, by pass {len(done)}: {listening.differing.keys}")
        if len(done) >= passes:
            over.set()

    made.on_done = ended

    async def play() -> None:
        tasks = [asyncio.create_task(each) for each in (busy.live(), made.run(), listening.run())]
        await over.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    loop.run_until_complete(play())
    return Told(len(done), sum(done), alarms, busy.counted, listening.counts)


class Killed(NamedTuple):
    """What a pass came to whose verifiers were killed.

    Attributes:
        found: keys by class.
        verified: number of keys found equal.
        scanned: rows that were scanned, of both tables and by all verifiers.
        rows: rows of both tables.
        lives: number of verifiers that took part.
    """

    found: dict[str, list[Key]]
    verified: int
    scanned: int
    rows: int
    lives: int


def killed_under_traffic(
    seed: int, planted: Sequence[Planted], *, kills: int, pods: int = 1, waiting_rows: int = 5000
) -> Killed:
    """Make one pass over busy tables, while verifiers are killed and replaced, in virtual time.

    Args:
        seed: of all chance.
        planted: see `Busy`.
        kills: how many, at even shares of the rows that are to be scanned.
        pods: verifiers at a time.
        waiting_rows: rows of a unit that wait for their partners in memory; more are spilled.
    """
    loop, dice = VirtualLoop(), random.Random(seed)
    busy = Busy(loop, seed, planted)
    rows, journal = PassRows(), MemoryJournal()
    total = sum(len(busy.world.tables[side].images) for side in Side)
    alive: list[tuple[Mortal, Passes, asyncio.Task[None]]] = []
    lives = 0

    def start() -> Passes:
        nonlocal lives
        lives += 1
        store = Mortal(MemoryPassStore(rows))
        settings = Settings(
            pod=f"v{lives}",
            continuous=False,
            in_flight_bound_s=BOUND_S,
            settle_every_s=1,
            reads_per_s=max(10, 20 // pods),
            waiting_rows=waiting_rows,
            units=5,
            segments=1,
            page=2,
            buckets=16,
            checkpoint_s=0.2,
            unit_lease_s=1.5,
            share_every_s=0.2,
        )
        made = Passes(
            busy.both(), settings, store=store, journal=journal, clock=busy.clock, at_most_us=busy.clock.wall_us
        )
        alive.append((store, made, asyncio.create_task(made.run())))
        return made

    def hear(side: Side, change: Change) -> None:
        for _, made, _ in alive:
            made.hear(side, change)

    async def play() -> Findings:
        busy.hear = hear
        traffic = asyncio.create_task(busy.live())
        for _ in range(pods):
            start()
        asked = await alive[0][1].ask()
        for kill in range(1, kills + 1):
            while busy.scanned < total * kill / (kills + 1):  # noqa: ASYNC110 - time is virtual
                await asyncio.sleep(0.05)
            store, _, task = alive.pop(dice.randrange(len(alive)))
            store.dead = True
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            start()
        while (ended := await alive[0][1].get(asked.id)) is None or not ended.record.ended:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.5)
        traffic.cancel()
        for _, _, task in alive:
            task.cancel()
        await asyncio.gather(traffic, *(task for _, _, task in alive), return_exceptions=True)
        assert ended.findings is not None
        return ended.findings

    found = loop.run_until_complete(play())
    keys = {each.value: sorted(keys) for each, keys in found.keys.items() if keys}
    return Killed(keys, found.book.verified, busy.scanned, total, lives)
