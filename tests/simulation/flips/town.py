"""A town whose appliers are the shipped ones, with streams that shuffle, repeat, keep back and lose records."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from crossfade.adapters.memory.admin import MemoryAws
from crossfade.adapters.memory.owning import MemoryOwnerMaps
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.contracts.letter import HINT
from crossfade.core.parity.classes import Difference
from crossfade.core.protocol.plain.map import State
from crossfade.core.protocol.plain.rows import is_tombstone, owned, parse
from crossfade.core.replication.change import decode_change
from crossfade.core.values.clocks import Skew, skew_of
from crossfade.core.values.image import Image, of_number
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, Side
from crossfade_verifier.both import BothTables
from crossfade_verifier.handing import Handing
from flip_world import ORDERS, STREAMS, FlipTown, key_of, order
from simulation.flips.worker import Worker

ROWS: Final = 14
"""Orders of the traffic; those from here on are the held-back ones'."""

EXPIRES: Final = ROWS + 8
"""An order that is due to be removed."""

SERVICE: Final = b'"userIdentity":{"type":"Service","principalId":"dynamodb.amazonaws.com"}'

PASS_S: Final = 1.0
MOMENTS: Final = 12
"""Turns of the loop in one moment: what runs in it comes to rest."""


def image_of(number: int, status: str) -> Image:
    due = {"expires_at": of_number(1_763_000_000)} if number == EXPIRES else {}
    return order(number, status) | due


class Arrival(NamedTuple):
    """A record on its way to its stream."""

    due_s: float
    side: Side
    payload: bytes


class LateAws(MemoryAws):
    """AWS, whose metric knows of records that are on their way."""

    town: RunTown

    async def unreplicated_s(self, table: str) -> float | None:
        """Return how old the oldest record is that isn't in the stream; those that come minutes late don't show."""
        if await super().unreplicated_s(table) is None:
            return None
        waits = [each for each in self.town.on_their_way if ORDERS.shape(each.side).table == table]
        return 1.0 if waits else 0.0


class Called:
    """What of the verifier's `Passes` is asked: the keys that two passes in a row called."""

    def __init__(self) -> None:
        self.keys: list[Key] = []

    def keys_of(self, found: Difference) -> list[Key]:
        return self.keys if found is Difference.DIVERGED else []


class RunTown(FlipTown):
    """See `FlipTown`; the appliers, and what the verifier does after a flip, are the shipped ones.

    Attributes:
        told: what the application was told, by key: the row, or None for a deleted one.
        errors: writes that were refused to the application, each with the state of the map.
        before_export: records of before the export, with their tables.
        keeps: keys whose records are kept back until `bring`.
        kept: the records.
        returns: the owner's row that the TTL took from a standby in a hold: the comparison may put it there again.
        loses_next: keys whose next record never comes.
        delay_s: how long a record takes to its stream at most.
        same_moment_us: the commit time of all writes, while it isn't 0.
        throttled_until_s: until when the standby takes no copies.
        verifier_until_s: until when the verifier is dead.
        strays_since_us: since when both ways are watched; 0 before.
    """

    mapping = ORDERS

    def __init__(self, seed: int, **settings: Any) -> None:
        self.numbers = random.Random(seed)
        self.on_their_way: list[Arrival] = []
        self.kept: list[Arrival] = []
        self.keeps: set[Key] = set()
        self.loses_next: set[Key] = set()
        self.told: dict[Key, Image | None] = {}
        self.before_export: list[tuple[Side, bytes]] = []
        self.errors: list[tuple[float, State | None]] = []
        self.delay_s = 0.0
        self.throttled_until_s = self.verifier_until_s = float("-inf")
        self.strays_since_us = 0
        self.same_moment_us = 0
        self.ahead_s, self.wrong_until_s = 0.0, float("-inf")
        self._expiring = False
        self.returns: Image | None = None
        self._moment = asyncio.Event()
        self._passed_s, self._differed = 0.0, set[Key]()
        self._last_us = 0
        super().__init__(0, **settings)
        self.aws = LateAws({}, {"orders-old"}, now_us=self.now_us)
        self.aws.town = self
        self.aws._tables = {ORDERS.shape(side).table: table for side, table in self.tables.items()}
        self.history: list[tuple[Side, bytes]] = []
        for number in range(ROWS + 9):
            self.set(number, "first")
        self.called = Called()
        both = BothTables(ORDERS, self.tables[Side.SOURCE], self.tables[Side.TARGET], MemoryOwnerMaps(self.owning))
        self.handing = Handing(both, self.called, self.letters, clock=self.aws_clock, every_s=PASS_S)  # type: ignore[arg-type]
        self.workers = {each: Worker(self, each) for each in Direction}

    def _table(self, side: Side) -> MemoryTable:
        return MemoryTable(
            ORDERS.shape(side),
            belongs=ORDERS.belongs,
            on_change=lambda payload: self._emit(side, payload),
            now_us=self._commit_us,
        )

    def _commit_us(self) -> int:
        """Return a commit time: no two alike, unless a fault says so."""
        if self.same_moment_us:
            return self.same_moment_us
        self.now_s += 5e-6
        self._last_us = max(self.now_us(), self._last_us + 1)
        return self._last_us

    # Clocks: those of the processes may be wrong, those of AWS are not.

    def _wall_s(self) -> float:
        return self.now_s + (self.ahead_s if self.now_s < self.wrong_until_s else 0.0)

    def wall_us(self) -> int:
        return int(self._wall_s() * 1e6)

    def skew(self) -> Skew | None:
        wall_s = self._wall_s()
        return skew_of(math.floor(self.now_s), wall_s, wall_s)

    # Between a table and its stream.

    def is_captured(self, side: Side) -> bool:
        return STREAMS[side] in self.aws._streams and "orders-new" in self.aws._existing

    def _emit(self, side: Side, payload: bytes) -> None:
        if self._expiring:
            payload = payload.replace(b'"userIdentity":null', SERVICE)
        change = decode_change(payload, ORDERS.shape(side).key)
        if not any(name == ORDERS.shape(side).table for name, _ in self.aws._destinations):
            self.before_export.append((side, payload))
            return
        self.history.append((side, payload))
        if change.key in self.loses_next:
            self.loses_next.discard(change.key)
            return
        if change.key in self.keeps and self.map is not None and side is self.map.owner:
            self.kept.append(Arrival(0.0, side, payload))
            return
        due_s = self.now_s + self.numbers.random() * self.delay_s
        self.on_their_way.append(Arrival(due_s, side, payload))
        self._arrive()

    def again(self, records: list[tuple[Side, bytes]]) -> None:
        """Bring records a second time."""
        self.on_their_way += [Arrival(self.now_s, *each) for each in records]
        self._arrive()

    def some_of(self, records: list[tuple[Side, bytes]], count: int) -> list[tuple[Side, bytes]]:
        """Choose records, in any order."""
        return self.numbers.sample(records, min(count, len(records)))

    def turn_clocks(self) -> None:
        """Have the processes' clocks be four minutes wrong for half a minute, until NTP mends them."""
        self.ahead_s, self.wrong_until_s = (240.0 if self.ahead_s <= 0 else -240.0), self.now_s + 30.0

    def bring(self) -> int:
        """Let what was kept back come, in any order; return how many records."""
        found, self.kept = self.kept, []
        self.numbers.shuffle(found)
        self.again([(each.side, each.payload) for each in found])
        return len(found)

    def _arrive(self) -> None:
        due = sorted((each for each in self.on_their_way if each.due_s <= self.now_s), key=lambda each: each.due_s)
        self.on_their_way = [each for each in self.on_their_way if each.due_s > self.now_s]
        for each in due:
            self.aws.record(ORDERS.shape(each.side).table, each.payload)

    # The application.

    def set(self, number: int, status: str | None) -> bool:
        """Put an order, or delete it; False while writes are held."""
        if not self._may_write():
            self.errors.append((self.now_s, self.state))
            return False
        assert self.writes_to is not None
        key, table = key_of(number), self.tables[self.writes_to]
        if status is None:
            table.delete(key)
            self.told[key] = None
        else:
            table.put(image_of(number, status))
            self.told[key] = image_of(number, status)
        return True

    def set_if_there(self, number: int, status: str) -> None:
        """Put an order on the condition that there is one; what the table says of that is what the book says."""
        if self.writes_to is not None and self._may_write():
            found = key_of(number) in self.tables[self.writes_to].images
            assert found is (self.told[key_of(number)] is not None), (
                f"a condition failed that holds: {key_of(number)!r}"
            )
            if not found:
                return
        self.set(number, status)

    def traffic(self) -> None:
        """Do a few things to the orders: put, delete, put if absent, update if there, several in one transaction."""
        numbers = self.numbers
        for _ in range(numbers.randrange(3)):
            number, chance = numbers.randrange(ROWS), numbers.random()
            status = f"s{numbers.randrange(1000)}"
            if chance < 0.2:
                self.set(number, None)
            elif chance < 0.4:
                self.set_if_there(number, status)
            elif chance < 0.5:
                for each in {number, numbers.randrange(ROWS)}:
                    self.set(each, status)
            else:
                self.set(number, status)

    def ignore(self, side: Side, number: int, status: str) -> None:
        """Write to a table whatever the hook says; a guard refuses it."""
        if side in self.guards.on:
            return
        self.tables[side].put(image_of(number, status))
        self.told[key_of(number)] = image_of(number, status)

    def expire(self, *, owner: bool) -> bool:
        """Have the TTL service delete an order on the source's table, if that is the owner's or the standby."""
        assert self.map is not None
        if (self.map.owner is Side.SOURCE) is not owner:
            return False
        key = key_of(EXPIRES)
        image = self.tables[Side.SOURCE].images.get(key)
        present = self.tables[self.map.owner].images.get(key)
        if image is None or present is None or "expires_at" not in image or "expires_at" not in present:
            return False
        self._expiring = True
        self.tables[Side.SOURCE].delete(key)
        self._expiring = False
        self.told[key] = None
        if not owner and self.state is not State.OPEN:
            self.returns = present
        return True

    def set_key(self, key: Key) -> None:
        """Write an order again as the book has it, and differently."""
        number = next(each for each in range(ROWS + 9) if key_of(each) == key)
        self.set(number, f"mended {self.now_s:.1f}")

    def status_of(self, image: Image | None) -> str | None:
        return None if image is None else bytes(image["status"]).split(b'"')[3].decode()

    def last_arrival(self) -> Arrival:
        return Arrival(0.0, *self.history[-1])

    def hints(self) -> bool:
        """Say whether the verifier's keys still wait for the replicator."""
        return any(each.code == HINT for each in self.store.letters.values())

    # Time.

    async def next_moment(self) -> None:
        await self._moment.wait()

    async def live(self, seconds: float = 0.3) -> None:
        ends_s = self.now_s + seconds
        while self.now_s < ends_s:
            self.now_s = min(ends_s, self.now_s + 0.3)
            await self._moments()

    async def _moments(self) -> None:
        self._arrive()
        for each in self.workers.values():
            each.look()
        for _ in range(MOMENTS):
            woken, self._moment = self._moment, asyncio.Event()
            woken.set()
            await asyncio.sleep(0)
        if self.now_s >= self.verifier_until_s and self.now_s - self._passed_s >= PASS_S:
            await self._pass()

    async def _pass(self) -> None:
        """The verifier's pass: what differs in two passes is called."""
        began_s, self._passed_s = self.now_s, self.now_s
        contents = {side: self.contents(side) for side in Side}
        keys = contents[Side.SOURCE].keys() | contents[Side.TARGET].keys()
        differ = {key for key in keys if contents[Side.SOURCE].get(key) != contents[Side.TARGET].get(key)}
        self.called.keys = sorted(differ & self._differed)
        self._differed = differ
        if not differ:
            self.clean_s = began_s
        if self.map is not None:
            await self.handing.look()

    async def close(self) -> None:
        for each in self.workers.values():
            await each.kill()

    # What must hold.

    def differing(self) -> dict[Key, tuple[object, object]]:
        """Return the keys whose row on the owner is not what the application was told, with both."""
        assert self.map is not None
        owner = self.map.owner
        rows, shape = self.contents(owner), ORDERS.shape(owner)
        left = [key for key, image in self.tables[owner].images.items() if is_tombstone(image, shape)]
        assert not left, f"tombstones that the application would see: {left}"
        told = {}
        if self.returns is not None and self.told[key_of(EXPIRES)] is None and key_of(EXPIRES) in rows:
            self.told[key_of(EXPIRES)] = self.returns  # the owner's row went over the gap; the TTL takes it once more
        self.returns = None
        for key, image in self.told.items():
            row = None if image is None else owned(parse(image, shape))
            if row is not None:
                told[key] = row.content
        return {
            key: (told.get(key), rows.get(key)) for key in told.keys() | rows.keys() if told.get(key) != rows.get(key)
        }

    async def at_rest(self, is_at_rest: Callable[[], bool], what: str, *, moments: int = 600) -> None:
        """Live until something holds."""
        for _ in range(moments):
            if is_at_rest():
                return
            await self.live()
        raise AssertionError(f"not within {moments * 0.3:.0f} s: {what}")

    def is_level(self) -> bool:
        """Say whether all has arrived, and the standby holds what the owner does."""
        return not self.on_their_way and self.contents(Side.SOURCE) == self.contents(Side.TARGET)
