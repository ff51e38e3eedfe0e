"""The replicator's pipelines on two tables in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from apply_cases import COMMITTED_US, KEY
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.control import MemoryDeadLetters
from crossfade.adapters.memory.marks import MemoryMarks
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.keyed.writes import Operate
from crossfade.core.protocol.writing import Applied, Transfer
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.clock import Clock
from crossfade.ports.sending import Sent
from crossfade_replicator.interventions import Interventions
from crossfade_replicator.pipeline import ApplyPipeline
from crossfade_replicator.sender import Sender
from crossfade_replicator.tally import Tally
from engagement_api.operations import Kind
from engagement_migration import MAPPING
from ownership_cases import SEED, operation


class Rec(NamedTuple):
    """A record of a stream."""

    sequence_number: str
    data: bytes


def records(payloads: Iterable[bytes]) -> list[Rec]:
    return [Rec(str(number), data) for number, data in enumerate(payloads, start=1)]


class Counting:
    """A table that keeps what was sent to it, and can be told to answer otherwise."""

    def __init__(self, table: MemoryTable) -> None:
        self._table = table
        self.calls: list[list[Transfer]] = []
        self.answers: list[Sequence[Sent] | Exception] = []

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        self.calls.append(list(transfers))
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return list(answer)
        return await self._table.transfer(transfers)

    @property
    def sent(self) -> int:
        return sum(map(len, self.calls))


class Bench:
    """Both tables, and a pipeline in each direction; time is a counter."""

    def __init__(
        self,
        mapping: Mapping = MAPPING,
        *,
        use_marks: bool = True,
        strays_since_us: int = 0,
        clock: Clock | None = None,
        table: type[MemoryTable] = MemoryTable,
    ) -> None:
        self.strays_since_us = strays_since_us
        ticks = itertools.count(COMMITTED_US, 1000)
        self.tables = {
            side: table(mapping.shape(side), belongs=mapping.belongs, now_us=lambda: next(ticks)) for side in Side
        }
        self.source, self.target = self.tables[Side.SOURCE], self.tables[Side.TARGET]
        self.marks = MemoryMarks()
        self.letters = MemoryDeadLetters()
        self.clock = MemoryClock(COMMITTED_US)
        self.waits = self.clock.slept
        self.writers = {direction: Counting(self.tables[direction.destination]) for direction in Direction}
        self.tallies = {direction: Tally() for direction in Direction}
        self.senders = {
            direction: Sender(self.writers[direction], clock=self.clock, jitter=lambda: 1.0) for direction in Direction
        }
        self.pipelines = {
            direction: ApplyPipeline(
                mapping,
                direction,
                sender=self.senders[direction],
                interventions=Interventions(
                    mapping,
                    direction,
                    self.tables[direction.origin],
                    self.tables[direction.destination],
                    self.letters,
                    # A seed of 0 is below all versions, so that a test can name the lifted one.
                    clock=clock or MemoryClock(),
                ),
                marks=self.marks,
                letters=self.letters,
                clock=self.clock,
                use_marks=use_marks,
                strays_since_us=self._strays_since_us,
            )
            for direction in Direction
        }

    async def _strays_since_us(self) -> int:
        return self.strays_since_us

    async def forward(self, payloads: Iterable[bytes]) -> dict[str, int]:
        """Apply records of the source table as one batch; return the counts so far."""
        return await self.apply(Direction.FORWARD, payloads)

    async def apply(self, direction: Direction, payloads: Iterable[bytes]) -> dict[str, int]:
        tally = self.tallies[direction]
        tally.add(await self.pipelines[direction].apply("shard-1", records(payloads)))
        return {name: count for name, count in tally.counts.items() if count}


FORWARD, REVERSE = Direction.FORWARD, Direction.REVERSE


async def earn(bench: Bench, side: Side = Side.SOURCE, seed: int = SEED) -> None:
    answer = await bench.tables[side].perform(
        Operate(KEY, operation(Kind.EARN, key=KEY, seed=seed, transaction_id=seed.to_bytes(16, "big")), soft=32)
    )
    assert isinstance(answer, Applied)
