"""Section 4, reads: whatever moves the key meanwhile, a read shows what the key held at some moment of that read.

The real driver, on tables in memory that let others run before and after each request. Pods write one by one and in
batches, a sweeper hands the key over and back, replication carries images both ways, and readers with any flags look.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

import pytest

from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.application.ownership import Ownership
from crossfade.core.ownership.decisions import Done, Outcome
from crossfade.core.protocol.keyed.item import Item
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.writes import Answer, Operate, OperateAndTrim, Write
from crossfade.core.protocol.seam import Aim
from crossfade.core.protocol.writing import Applied, Transfer
from crossfade.core.replication.apply import ApplyRule
from crossfade.core.replication.change import decode_change
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, Side, TableShape
from crossfade.ports.table import ScanPage
from engagement_api.operations import Kind, balance_of, points_of
from engagement_migration import MAPPING
from engagement_migration.samples import legacy_wallet
from ownership_cases import KEY, NOW_MS, operation, ulid

HANDOVERS = 8
"""Times the key changes sides in one run."""


class Busy:
    """An owned table during whose requests others run."""

    def __init__(self, table: MemoryTable, dice: random.Random, history: list[int]) -> None:
        self._table, self._dice, self._history = table, dice, history

    @property
    def shape(self) -> TableShape:
        return self._table.shape

    async def _others_run(self) -> None:
        for _ in range(self._dice.randrange(4)):
            await asyncio.sleep(0)

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        await self._others_run()
        answer = await self._table.perform(write)
        if isinstance(answer, Applied) and isinstance(write, Operate | OperateAndTrim):
            self._history.append(self._history[-1] + points_of(write.op))
        await self._others_run()
        return answer

    async def perform_many(self, writes: Sequence[Write]) -> list[Answer | Exception]:
        return [await self.perform(write) for write in writes]

    async def read(self, key: Key, *, consistent: bool = True) -> Item | None:
        await self._others_run()
        item = await self._table.read(key)
        await self._others_run()
        return item

    async def read_many(self, keys: Sequence[Key], *, consistent: bool = True) -> Mapping[Key, Item]:
        found = {key: await self.read(key) for key in keys}
        return {key: item for key, item in found.items() if item is not None}

    async def scan_page(
        self, *, segment: int = 0, segments: int = 1, start: bytes | None = None, limit: int = 500
    ) -> ScanPage[Item]:
        return await self._table.scan_page(segment=segment, segments=segments, start=start, limit=limit)


def pod(source: Busy, target: Busy) -> Ownership:
    """A pod whose clock stands still, so that no id ever leaves the window."""
    return Ownership(source, target, MAPPING, clock=MemoryClock(NOW_MS * 1000))


class Run:
    """One key through several handovers."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.history = [0]
        self.tables = {side: MemoryTable(MAPPING.shape(side)) for side in Side}
        self.tables[Side.SOURCE].put(legacy_wallet("7", "chan-3", 0))
        busy = {side: Busy(table, self.dice, self.history) for side, table in self.tables.items()}
        self.pods = [pod(busy[Side.SOURCE], busy[Side.TARGET]) for _ in range(3)]
        self.wishes = [Aim(Side.SOURCE, 0)]
        self.over = False
        self.reads = 0

    def wish(self) -> Aim:
        """The last wish, or an older one."""
        return self.wishes[-1 - min(self.dice.choice((0, 0, 0, 1, 2)), len(self.wishes) - 1)]

    def earn(self, number: int) -> Operation:
        return operation(Kind.EARN, 1 + number % 7, transaction_id=ulid(number))

    async def writes(self, pod: Ownership, first: int) -> None:
        number = first
        while not self.over:
            calls = [(self.earn(number + n), self.wish()) for n in range(self.dice.choice((1, 1, 3)))]
            number += len(calls)
            done = [await pod.operate(*calls[0])] if len(calls) == 1 else await pod.operate_many(calls)
            assert all(isinstance(each, Done) and each.outcome in (Outcome.APPLIED, Outcome.BUSY) for each in done)

    async def looks(self, pod: Ownership) -> None:
        while not self.over:
            begun = len(self.history) - 1
            side, item = await pod.owner_read(KEY, self.wish())
            seen = balance_of(item, MAPPING.shape(side))
            held = self.history[begun:]
            assert seen in held, f"a read showed {seen}; the key held {held} meanwhile"
            self.reads += 1

    async def replicates(self, direction: Direction) -> None:
        rule, log = ApplyRule(MAPPING, direction), self.tables[direction.origin].changes
        while not self.over:
            if log:
                decision = rule.decide(decode_change(self.dice.choice(log[-6:]), MAPPING.shape(direction.origin).key))
                if isinstance(decision, Transfer):
                    await self.tables[direction.destination].transfer([decision])
            await asyncio.sleep(0)

    async def moves(self) -> None:
        for number in range(1, HANDOVERS + 1):
            self.wishes.append(Aim(Side.TARGET if number % 2 else Side.SOURCE, number * 2))
            for _ in range(self.dice.randrange(40)):
                await asyncio.sleep(0)
            await self.pods[0].hand_over_many([KEY], self.wishes[-1])
        self.over = True

    async def play(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number, pod in enumerate(self.pods):
                group.create_task(self.writes(pod, 1_000 * number))
                group.create_task(self.looks(pod))
            for direction in Direction:
                group.create_task(self.replicates(direction))
            group.create_task(self.moves())


@pytest.mark.parametrize("seed", range(20))
async def test_section_4_a_read_shows_a_state_of_its_own_time(seed: int) -> None:
    run = Run(seed)
    await asyncio.wait_for(run.play(), timeout=30)
    side, item = await run.pods[0].owner_read(KEY, run.wishes[-1])
    assert balance_of(item, MAPPING.shape(side)) == run.history[-1]
    assert run.reads > HANDOVERS
    assert len(run.history) > HANDOVERS


class BelievesAStandby(Busy):
    """The planted fault: what stands in the source table reads as active."""

    async def read(self, key: Key, *, consistent: bool = True) -> Item | None:
        item = await super().read(key)
        return item._replace(role=None) if item is not None and self.shape.side is Side.SOURCE else item


class Credulous(Run):
    """A run whose readers have the fault."""

    async def looks(self, pod_: Ownership) -> None:
        source = BelievesAStandby(self.tables[Side.SOURCE], self.dice, self.history)
        await super().looks(pod(source, Busy(self.tables[Side.TARGET], self.dice, self.history)))


async def test_a_read_that_believes_a_standby_is_found() -> None:
    async def plays() -> None:
        for seed in range(20):
            await asyncio.wait_for(Credulous(seed).play(), timeout=30)

    with pytest.raises(ExceptionGroup) as caught:
        await plays()
    assert "a read showed" in str(caught.value.exceptions[0])
