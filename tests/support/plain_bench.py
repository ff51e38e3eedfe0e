"""The plain pipelines of both directions on two tables in memory, a map, members and letters."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence
from copy import copy

from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.control import MemoryDeadLetters
from crossfade.adapters.memory.owning import MemoryMembers, MemoryOwnerMaps, MemoryTombstones, OwningStore
from crossfade.adapters.memory.plain_table import MemoryPlainTable
from crossfade.adapters.memory.plain_writes import MemoryCopies, MemoryOwnerWrites
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.adapters.plain_transfers import Copied
from crossfade.application.membership import Membership
from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.plain.map import OwnerMap, State
from crossfade.core.protocol.writing import Transfer
from crossfade.core.replication.change import Change, decode_change
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.control import DeadLetters
from crossfade_replicator.plain.answered import Answered
from crossfade_replicator.plain.building import Parts
from crossfade_replicator.plain.handed import Handed
from crossfade_replicator.plain.hints import Hints
from crossfade_replicator.plain.letters import Letters
from crossfade_replicator.plain.pipeline import PlainPipeline
from crossfade_replicator.plain.writes import StandbyWrites
from crossfade_replicator.tally import Tally
from plain_records import BEGAN_US, FIRST, MAPPING, S
from replicator_bench import records


class Yielding(MemoryClock):
    """Time that passes at once, and lets others go on."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await asyncio.sleep(0)


class Counted:
    """Copies that keep what was sent, and can be told to answer otherwise."""

    def __init__(self, table: MemoryTable) -> None:
        self._copies = MemoryCopies(table)
        self.calls: list[list[Transfer]] = []
        self.answers: list[Sequence[Copied] | Exception] = []
        self.before: Callable[[], None] = lambda: None

    async def copy(self, transfers: Sequence[Transfer], floor: int) -> list[Copied]:
        self.calls.append(list(transfers))
        self.before()
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return list(answer)
        return await self._copies.copy(transfers, floor)


class Stream:
    """The other direction's progress, and what the owner's stream shows: all that the table has told, at once."""

    def __init__(self, table: MemoryTable) -> None:
        self._table = table
        self._since = 0
        self.waited: list[Callable[[], object]] = []
        """What happens while the other direction is waited for."""

    async def is_past_now(self) -> None:
        for each in self.waited:
            each()
        self.waited.clear()

    def moment_s(self) -> float:
        return float(len(self._table.changes))

    async def changes(self, since_s: float, keys: frozenset[Key]) -> dict[Key, list[Change]]:
        names = self._table.shape.key
        found = [decode_change(payload, names) for payload in self._table.changes[int(since_s) :]]
        return {key: [each for each in found if each.key == key] for key in keys}


class SinceHold(Stream):
    """A stream that is read by time, from the hold on."""

    async def changes(self, since_s: float, keys: frozenset[Key]) -> dict[Key, list[Change]]:
        found = await super().changes(0, keys)
        return {key: [each for each in told if each.committed_us >= since_s * 1e6] for key, told in found.items()}


class PlainBench:
    """Both tables, and a pipeline in each direction; time is a counter."""

    def __init__(self, owner_map: OwnerMap = FIRST, *, mapping: Mapping = MAPPING, strays_since_us: int = 1) -> None:
        self.mapping, self.strays_since_us = mapping, strays_since_us
        self.now_us = BEGAN_US + S
        ticks = itertools.count(1)
        self.store = OwningStore(owner_map)
        self.tables = {
            side: MemoryTable(mapping.shape(side), belongs=mapping.belongs, now_us=lambda: self.now_us + next(ticks))
            for side in Side
        }
        self.source, self.target = self.tables[Side.SOURCE], self.tables[Side.TARGET]
        self.letters: DeadLetters = MemoryDeadLetters()
        self._prepare("")

    def beside(self, role: str, letters: DeadLetters) -> PlainBench:
        """Another process on the same stores, which parks its letters elsewhere."""
        other = copy(self)
        other.letters = letters
        other._prepare(f"{role}-")
        return other

    def _prepare(self, prefix: str) -> None:
        self.clock = Yielding(BEGAN_US)
        self.tombstones = MemoryTombstones(self.store)
        self.copies = {each: Counted(self.tables[each.destination]) for each in Direction}
        self.streams = {each: Stream(self.tables[each.destination]) for each in Direction}
        self.members = {each: self._member(f"{prefix}{each.value}") for each in Direction}
        self.tallies = {each: Tally() for each in Direction}
        self.answered: dict[Direction, Answered] = {}
        self.handed: dict[Direction, Handed] = {}
        self.parts = {each: self._parts(self.mapping, each) for each in Direction}
        self.pipelines = {each: self.parts[each].pipeline for each in Direction}

    def _member(self, name: str) -> Membership:
        return Membership(
            MemoryOwnerMaps(self.store),
            MemoryMembers(self.store),
            clock=self.clock,
            name=name,
            duty=name,
            lease_s=10.0,
            signature_s=900.0,
        )

    def _parts(self, mapping: Mapping, direction: Direction) -> Parts:
        tables = {side: MemoryPlainTable(table) for side, table in self.tables.items()}
        there, stream, member = tables[direction.destination], self.streams[direction], self.members[direction]
        told = Letters(direction.value, self.letters, self.clock)
        self.answered[direction] = Answered(mapping, direction, self.letters, there)
        hints = Hints(
            mapping,
            direction,
            membership=member,
            old=tables[direction.origin],
            owner=there,
            owner_writes=MemoryOwnerWrites(self.tables[direction.destination]),
            progress=stream,
            witness=stream,
            old_witness=SinceHold(self.tables[direction.origin]),
            letters=told,
            clock=self.clock,
        )
        self.handed[direction] = Handed(direction.value, self.letters, hints)
        writes = StandbyWrites(
            mapping,
            direction,
            copies=self.copies[direction],
            standby=there,
            owner=tables[direction.origin],
            tombstones=self.tombstones,
            clock=self.clock,
            stops=lambda: member.view is None or member.view.state is State.SEALED,
            jitter=lambda: 1.0,
        )
        pipeline = PlainPipeline(
            mapping,
            direction,
            membership=member,
            writes=writes,
            hints=hints,
            letters=told,
            answered=self.answered[direction],
            strays_since_us=self._strays_since_us,
        )
        return Parts(pipeline, member, writes, self.answered[direction], self.handed[direction])

    async def _strays_since_us(self) -> int:
        return self.strays_since_us

    async def apply(self, direction: Direction, payloads: Iterable[bytes]) -> dict[str, int]:
        """Apply records as one batch; return the counts so far."""
        await self.members[direction].beat()
        tally = self.tallies[direction]
        tally.add(await self.pipelines[direction].apply("shard-1", records(payloads)))
        return {name: count for name, count in tally.counts.items() if count}

    async def forward(self, *payloads: bytes) -> dict[str, int]:
        return await self.apply(Direction.FORWARD, payloads)

    async def reverse(self, *payloads: bytes) -> dict[str, int]:
        return await self.apply(Direction.REVERSE, payloads)

    async def codes(self) -> list[str]:
        """The codes of all letters that wait for somebody."""
        return sorted(each.code for each in await self.letters.all())
