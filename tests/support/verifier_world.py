"""Both tables in memory, a replicator of a few lines, and faults to plant: what tests of the verifier stand on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from msgspec import Raw

from crossfade.adapters.memory.passes import MemoryPassStore
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.contracts.passes import PassRecord, pass_id
from crossfade.core.mapping.interface import Mapping
from crossfade.core.parity.classes import Difference
from crossfade.core.protocol.keyed.item import Item, generation_of, is_active, parse_item, version_of
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.protocol.keyed.writes import Activate, Answer, Operate, Seal, Write
from crossfade.core.protocol.writing import Applied, Transfer
from crossfade.core.replication.change import Change, decode_change
from crossfade.core.values.image import Image, of_number, of_string
from crossfade.core.values.keys import Key, key_image, key_of_strings
from crossfade.core.values.shape import Side, TableShape, direction_to
from crossfade.runtime.pace import Pace
from crossfade_verifier.both import BothTables, SweptTable
from crossfade_verifier.findings import Findings, Stage
from crossfade_verifier.followlist import Handovers
from crossfade_verifier.join_unit import JoinUnit
from crossfade_verifier.scan_unit import ScanUnit
from crossfade_verifier.settings import Settings
from crossfade_verifier.units import Means, Unit, all_or_first
from engagement_api.operations import Kind, points_operation
from engagement_migration import MAPPING
from engagement_migration.samples import legacy_wallet

T = TypeVar("T")
SEED = 1_764_230_400_000_000 << 10
BOUND_S = 10.0


def wallet(number: int) -> Key:
    return key_of_strings(f"USER#{number}", "POINTS#c")


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run what never waits, as nothing in a memory table does, from synchronous code."""
    try:
        work.send(None)
    except StopIteration as finished:
        value: T = finished.value
        return value
    raise AssertionError("it waited")


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_764_230_400.0
        self.on_sleep: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def wall_us(self) -> int:
        return int(self.now * 1e6)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()


class HookedTable:
    """A table with a hook on both sides of each read."""

    def __init__(self, table: MemoryTable, hook: Callable[[], None]) -> None:
        self._table, self._hook = table, hook

    async def scan_answer(self, *, segment: int, segments: int, start: bytes | None, limit: int) -> bytes:
        self._hook()
        answer = await self._table.scan_answer(segment=segment, segments=segments, start=start, limit=limit)
        self._hook()
        return answer

    async def read_answers(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        self._hook()
        answers = await self._table.read_answers(keys)
        self._hook()
        return answers

    @property
    def shape(self) -> TableShape:
        return self._table.shape

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        return await self._table.perform(write, timeout_s=timeout_s)


class World:
    """Two tables, and every change of them in `changes`, oldest first; nothing is replicated unless asked."""

    mapping: Mapping = MAPPING

    def __init__(self, wallets: int = 0, clock: Clock | None = None, **more: Raw) -> None:
        self.clock = clock or Clock()
        self.changes: list[tuple[Side, Change]] = []
        self.on_change: Callable[[Side, Change], None] = lambda _side, _change: None
        self.tables = {side: self._table(side) for side in Side}
        self.reading: dict[Side, SweptTable] = dict(self.tables)
        self.handovers = Handovers()
        self._ids = itertools.count(1)
        for number in range(wallets):
            self.add(number, **more)

    def add(self, number: int, **more: Raw) -> None:
        """Make a wallet that is equal on both sides, owned by the source table."""
        self.tables[Side.SOURCE].put(legacy_wallet(str(number), "c", number) | more)
        self.earn(wallet(number), 1)
        self.copy(wallet(number))

    def _table(self, side: Side) -> MemoryTable:
        def changed(payload: bytes) -> None:
            change = decode_change(payload, ("pk", "sk"))
            self.changes.append((side, change))
            self.on_change(side, change)

        return MemoryTable(MAPPING.shape(side), belongs=MAPPING.belongs, on_change=changed, now_us=self.clock.wall_us)

    def both(self) -> BothTables:
        """Return both tables as the verifier reads them."""
        return BothTables(MAPPING, self.reading[Side.SOURCE], self.reading[Side.TARGET])

    def item(self, side: Side, key: Key) -> Item | None:
        return self.tables[side].item(key)

    def owner(self, key: Key) -> Side | None:
        return KEYED.rows().owner_of(self.item(Side.SOURCE, key), self.item(Side.TARGET, key))

    def operate(self, key: Key, kind: Kind, amount: int) -> bool:
        side = self.owner(key)
        if side is None:
            return False
        op = points_operation(kind, key, next(self._ids).to_bytes(16, "big"), amount, SEED)
        return isinstance(at_once(self.tables[side].perform(Operate(key, op, soft=1000))), Applied)

    def earn(self, key: Key, amount: int) -> bool:
        return self.operate(key, Kind.EARN, amount)

    def seal(self, key: Key, generation: int) -> None:
        side = self.owner(key)
        if side is not None:
            at_once(self.tables[side].perform(Seal(key, generation, SEED)))

    def activate(self, key: Key) -> None:
        """Complete a handover, as the sweeper does: from the side with the higher generation."""
        if self.owner(key) is None:
            items = {side: self.item(side, key) for side in Side}
            source = max(Side, key=lambda side: generation_of(items[side]))
            item = items[source]
            if item is not None:
                sealed = MAPPING.map_item(direction_to(source.other), item)
                at_once(self.tables[source.other].perform(Activate(key, sealed)))

    def hand_over(self, key: Key, generation: int) -> None:
        self.seal(key, generation)
        self.activate(key)

    def transfer(self, side: Side, change: Change) -> None:
        """Apply one change record of `side` to the other table."""
        if change.new is None:
            return
        new, old = (
            None if image is None else parse_item(image, MAPPING.shape(side)) for image in (change.new, change.old)
        )
        if new is None or (not is_active(new, side) and old is not None and not is_active(old, side)):
            return  # an echo
        version = version_of(new) if new.version is not None else change.committed_us
        generation = new.generation if side is Side.TARGET else 0
        image = MAPPING.carry(direction_to(side.other), change.new)
        transfer = Transfer(change.key, version, image, first_standing=generation)
        at_once(self.tables[side.other].transfer([transfer]))

    def copy(self, key: Key) -> None:
        """Bring the owner's last change over."""
        owner = self.owner(key)
        for side, change in reversed(self.changes):
            if side is owner and change.key == key:
                self.transfer(side, change)
                return

    def put(self, side: Side, key: Key, **changed: object) -> None:
        """Replace attributes of a row from outside the protocol; None removes one."""
        image: Image = dict(self.tables[side].images.get(key, key_image(key, ("pk", "sk"))))
        for name, value in changed.items():
            if value is None:
                image.pop(name, None)
            else:
                image[name] = of_number(value) if isinstance(value, int) else of_string(str(value))
        self.tables[side].put(image)

    def plant(self, fault: Difference, key: Key) -> None:
        """Plant a fault on a key that is equal, owned by the source table."""
        owner = self.item(Side.SOURCE, key)
        version = version_of(owner)
        match fault:
            case Difference.STUCK:
                self.earn(key, 1)
            case Difference.DIVERGED:
                self.put(Side.TARGET, key, points=-1)
            case Difference.MISSING:
                self.tables[Side.TARGET].delete(key)
            case Difference.EXTRA:
                self.tables[Side.SOURCE].delete(key)
            case Difference.AHEAD:
                self.put(Side.TARGET, key, cf_mv=version + 5)
            case Difference.TWO_OWNERS:
                self.put(Side.TARGET, key, cf_role="A")
            case Difference.UNREADABLE:
                self.put(Side.TARGET, key, cf_role="X")
            case Difference.IN_HANDOVER:
                self.seal(key, 2)
            case _:
                raise AssertionError(fault)

    async def sweep(
        self, *, limit_s: float = 60.0, samples: int = 10, most: int = 1000, units: int = 1, **changed: Any
    ) -> Findings:
        """Make one pass, with this world's clock; what the streams tell reaches its follow lists."""
        settings = Settings(
            **({"page": 3, "segments": 1, "units": units, "buckets": 16, "samples": samples} | changed),
            in_flight_bound_s=BOUND_S,
            follow_limit_s=limit_s,
            settle_every_s=1.0,
            follow_bound=most,
        )
        both = self.both()
        await both.look()
        pace = Pace(1e9, now_s=self.clock.monotonic, sleep=self.clock.sleep)
        store = MemoryPassStore()
        means = Means(both, store, pace, self.handovers, settings, self.clock, self.clock.wall_us)
        record = await store.begin(
            PassRecord(
                id=pass_id(1, "pod"), tables=("s", "t"), scan_units=units, created_us=1, state="running", buckets=16
            )
        )
        found = await self._units(means, record)
        if any(each.head["spilled"] for each in await store.units(record)):
            joining = await store.change(record.replace(join_units=units))
            assert joining is not None
            found += await self._units(means, joining)
        whole = Findings(means.limits(record), both.rows())
        for each in found:
            whole.add(each)
        whole.stage = Stage.DONE
        return whole

    async def _units(self, means: Means, record: PassRecord) -> list[Findings]:
        units: list[Unit] = []
        for each in await means.store.units(record):
            held = await means.store.claim(each, "pod")
            if held is not None:
                kind = ScanUnit if each.kind == "scan" else JoinUnit
                units.append(kind(means, record, held, complete=False))
        self.followed = units[0].followed

        def heard(side: Side, change: Change) -> None:
            told = means.both.told(side, change)
            if told is not None:
                for each in units:
                    each.followed.hear(side, told)

        self.on_change = heard
        await all_or_first(each.work() for each in units)
        self.on_change = lambda _side, _change: None
        for unit in units:
            await means.store.save(unit.record, unit.head(), b"", saved_us=1, done=True)
        return [unit.findings for unit in units]
