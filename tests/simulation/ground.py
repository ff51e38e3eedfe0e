"""What is durable: both tables with the truth beside them, the streams, the control tables; and what must hold of them.

The truth of a key is what the owner writes that took effect, in their order, make of it. It is compared after every
write, so a broken promise stops the play at the act that broke it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Raw

from crossfade.adapters.memory.admin import MemoryAws
from crossfade.adapters.memory.control import ControlStore, MemoryDeadLetters, MemoryJournal, MemoryLease
from crossfade.adapters.memory.flags import MemoryFlags
from crossfade.adapters.memory.marks import MemoryMarks
from crossfade.adapters.memory.passes import PassRows
from crossfade.adapters.memory.repairs import RepairRows
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.contracts.journal import Entry
from crossfade.contracts.letter import DeadLetter
from crossfade.core.migration.phases import Phase
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.protocol.events import PublishedEvent
from crossfade.core.protocol.keyed.item import (
    MV,
    Item,
    generation_of,
    is_active,
    is_fence,
    is_held_out,
    parse_item,
    version_of,
)
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.writes import Answer, Fence, Operate, OperateAndTrim, Reseal, Seal, Write
from crossfade.core.protocol.writing import Applied
from crossfade.core.replication.change import Change, decode_change
from crossfade.core.replication.feed import decode_published
from crossfade.core.values.image import Image, number, of_number
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.streams import StreamRecord
from engagement_api.keys import wallet_key
from engagement_api.operations import BALANCE, points_of
from engagement_migration import MAPPING
from engagement_migration.samples import NOT_OURS, legacy_wallet
from simulation.network import Network, Process
from simulation.script import Script
from simulation.story import Broken

STREAMS = {Side.SOURCE: "wallet-changes", Side.TARGET: "engagement-changes"}
FEED = "engagement-events"
HELD_BACK_S = 1.0
"""How long a change record may be held back on its way into the stream, at most."""


class Truth(NamedTuple):
    """What a key holds: the balance, and whether it exists."""

    balance: int
    exists: bool


class Table(MemoryTable):
    """A table that tells the ground of each write, before anybody else can act."""

    ground: Ground

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._items: dict[Key, tuple[Image, Item]] = {}

    def item(self, key: Key) -> Item | None:
        image = self.images.get(key)
        if image is None:
            return None
        known = self._items.get(key)
        if known is None or known[0] is not image:
            known = self._items[key] = (image, parse_item(image, self.shape))
        return known[1]

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        return self._told(write, await super().perform(write, timeout_s=timeout_s))

    async def perform_many(self, writes: Sequence[Write]) -> list[Answer | Exception]:
        return [await self.perform(each) for each in writes]

    def _told(self, write: Write, answer: Answer) -> Answer:
        if isinstance(answer, Applied) and isinstance(write, Operate | OperateAndTrim):
            self.ground.took_effect(self.shape.side, write.op)
        if isinstance(answer, Applied) and isinstance(write, Seal | Reseal | Fence):
            self.ground.surprised.discard(write.key)
        return answer

    def _store(self, key: Key, new: Image | None) -> None:
        super()._store(key, new)
        if not self.ground.quiet:
            self.ground.written.append(key)


class Known(NamedTuple):
    """A change record, decoded once for all who look whether promises are kept."""

    change: Change
    old: Item | None
    new: Item | None


class Stray(NamedTuple):
    """A write outside the protocol, which has to be named: the journal had its entry into BOTH_WAYS by then."""

    side: Side
    key: Key
    committed_us: int


class Letters(MemoryDeadLetters):
    """The dead letters, which remember each one that was ever parked."""

    def __init__(self, store: ControlStore) -> None:
        super().__init__(store)
        self.ever: set[tuple[Key, int]] = set()

    async def park(self, letter: DeadLetter) -> None:
        await super().park(letter)
        self.ever.add((letter.key, letter.committed_us))


class Flags(MemoryFlags):
    """The flags, which tell when they changed."""

    ground: Ground

    async def publish(self, document: FlagDocument, *, dual_write: bool) -> None:
        before = self.current().document
        await super().publish(document, dual_write=dual_write)
        if document != before:
            self.ground.flags_changed_s = self.ground.network.loop.time()
            self.ground.on_flags()
            self.ground.story.tell("flags", f"{document}")


class Journal(MemoryJournal):
    """The journal, which has the ground looked at when a phase begins."""

    def __init__(self, ground: Ground, process: Process, lease: MemoryLease | None = None) -> None:
        super().__init__(ground.store, who=process.name, lease=lease, now_us=process.wall_us)
        self._ground = ground

    async def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        entry = await super().append(kind, body)
        if kind == "phase":
            self._ground.network.watched(lambda: self._ground.check_phase(Phase(body["to"])))
        return entry


class Aws(MemoryAws):
    """AWS whose tables send their records late, twice and out of order, to streams of several shards."""

    ground: Ground
    network: Network
    script: Script

    def begin(self, ground: Ground) -> None:
        self.ground, self.network = ground, ground.network
        self.script = ground.script
        self._on_their_way: dict[str, list[int]] = {}
        self._records: Counter[tuple[str, str]] = Counter()
        self.told: list[PublishedEvent] = []
        self.told_ids: set[bytes] = set()

    def record(self, table: str, payload: bytes) -> None:
        for (name, arn), status in self._destinations.items():
            if name == table and status == "ACTIVE":
                self._send(table, arn.rpartition("/")[2], payload)

    def _send(self, table: str, stream: str, payload: bytes) -> None:
        key = self.ground.known(payload).change.key.decode()
        faults, network = self.script.faults, self.network
        number = self._records[table, key] = self._records[table, key] + 1
        act = f"record {table} {key} {number}"
        shuffle, double, after, again, whole, *_ = network.rolls(act)
        shuffled = shuffle < faults.shuffled and network.happens(f"{act} is held back")
        twice = double < faults.twice and network.happens(f"{act} comes twice")
        after_s = 0.2 + (HELD_BACK_S - 0.2) * after if shuffled else 0.001 + 0.029 * after
        again_s = after_s + (0.05, 1.0, 8.0)[int(whole * 3)] * again
        committed_us = self._now_us()
        waiting = self._on_their_way.setdefault(table, [])
        waiting.append(committed_us)

        def arrive() -> None:
            waiting.remove(committed_us)
            self.take(stream, key, payload)

        network.loop.call_later(after_s, arrive)
        if twice:
            network.loop.call_later(again_s, self.take, stream, key, payload)

    async def unreplicated_s(self, table: str) -> float | None:
        if not any(name == table for name, _ in self._destinations):
            return None
        waiting = self._on_their_way.get(table)
        return (self._now_us() - min(waiting)) / 1e6 if waiting else 0.0

    def is_read(self, iterator: str) -> bool:
        """Say whether an iterator stands at the end of its shard."""
        stream, shard_id, start = iterator.rsplit(":", 2)
        return int(start) >= len(self.shard(stream, shard_id))

    def shard(self, stream: str, shard_id: str) -> list[StreamRecord]:
        """Return a shard's records."""
        return self._shards[stream][int(shard_id.rpartition("-")[2])]

    def take(self, name: str, partition_key: str, data: bytes) -> None:
        super().take(name, partition_key, data)
        if name == FEED:
            self.told.append(decode_published(data))
            self.told_ids.add(self.told[-1].event.transaction_id)

    def captures(self, table: str) -> bool:
        """Say whether a table's change records go to a stream."""
        return any(name == table and status == "ACTIVE" for (name, _), status in self._destinations.items())


class Ground:
    """See the module.

    Attributes:
        applied: how often each transaction took effect.
        to_tell: those among them that the feed has to tell of: there was a stream by then.
        operations: by transaction id.
        quiet: nothing is checked yet: rows are being seeded or imported.
        strayed: keys that somebody wrote to outside the protocol.
        owners: the last owner of each key.
        surprised: keys of which a standby row was overwritten since the last write that looked at both sides.
    """

    def __init__(self, script: Script, network: Network, table: type[Table] = Table) -> None:
        self.script, self.network, self.story = script, network, network.story
        self.quiet, self.written = True, list[Key]()
        self._last_us = 0
        self.aws = Aws({}, {MAPPING.shape(Side.SOURCE).table}, now_us=network.now_us)
        self.aws.begin(self)
        self.tables = {side: self._table(table, side) for side in Side}
        self.aws._tables = {MAPPING.shape(side).table: each for side, each in self.tables.items()}
        self.store, self.passes, self.repairs = ControlStore(), PassRows(), RepairRows()
        self.flags, self.marks, self.flags_changed_s = Flags(), MemoryMarks(), float("-inf")
        self.flags.ground = self
        self.on_flags: Callable[[], None] = lambda: None
        self.letters, self.strays = Letters(self.store), list[Stray]()
        self.checkpoints: dict[tuple[str, str], str] = {}
        self.applied: Counter[bytes] = Counter()
        self.to_tell: Counter[bytes] = Counter()
        self.operations: dict[bytes, Operation] = {}
        self.truth: dict[Key, Truth] = {}
        self.versions: dict[tuple[Side, Key], int] = {}
        self.strayed: set[Key] = set()
        self._unlike = 0
        self._known: dict[bytes, Known] = {}
        self.not_ours: dict[Key, Image] = {}
        self.keys = [wallet_key(f"u{n}", "chan") for n in range(script.keys + script.cold)]
        self.warm, self.cold = self.keys[: script.keys], self.keys[script.keys :]
        self.owners: dict[Key, Side | None] = {}
        self.surprised: set[Key] = set()
        self._seed()
        self.quiet = False
        network.after = self.check

    def known(self, payload: bytes) -> Known:
        """Return what a change record says."""
        found = self._known.get(payload)
        if found is None:
            change = decode_change(payload, ("pk", "sk"))
            shape = next(each.shape for each in self.tables.values() if each.shape.table == change.table)
            old, new = (None if each is None else parse_item(each, shape) for each in (change.old, change.new))
            found = self._known[payload] = Known(change, old, new)
        return found

    def _table(self, kind: type[Table], side: Side) -> Table:
        shape = MAPPING.shape(side)
        table = kind(
            shape,
            belongs=MAPPING.belongs,
            on_change=lambda payload: self.aws.record(shape.table, payload),
            now_us=self.commit_us,
        )
        table.ground = self
        return table

    def commit_us(self) -> int:
        """A commit time: AWS's clock, and no two alike."""
        self._last_us = max(self._last_us + 1, self.network.now_us())
        return self._last_us

    def _seed(self) -> None:
        source = self.tables[Side.SOURCE]
        for row in NOT_OURS:
            self.not_ours[source.put(row)] = row
        for n, key in enumerate(self.keys):
            exists = n % 2 == 0 or key in self.cold
            if exists:
                source.put(legacy_wallet(f"u{n}", "chan", 10 * n))
            self.truth[key] = Truth(10 * n if exists else 0, exists)

    # Truth.

    def took_effect(self, side: Side, op: Operation) -> None:
        """Take in an owner write that was just applied."""
        self.network.watched(lambda: self._took_effect(side, op))

    def _took_effect(self, side: Side, op: Operation) -> None:
        if op.key not in self.truth:
            return  # the canary's
        self.applied[op.transaction_id] += 1
        if self.aws.captures(MAPPING.shape(side).table):
            self.to_tell[op.transaction_id] += 1
        self.operations[op.transaction_id] = op
        asked = f"{op.verb.name} {points_of(op)}"
        self.story.tell(side.value, f"{asked} on {op.key.decode()} {op.transaction_id.hex()[-6:]}")
        if self.applied[op.transaction_id] > 1:
            raise Broken(f"applied twice: {op.transaction_id.hex()}")
        before = self.truth[op.key]
        if op.verb.deletes:
            self.truth[op.key] = Truth(0, exists=False)
        elif op.verb.creates:
            self.truth[op.key] = Truth(before.balance + points_of(op), exists=True)
        else:
            if not before.exists or before.balance < points_of(op):
                raise Broken(f"overspent: {op.key.decode()} holds {before}, {points_of(op)} were spent")
            self.truth[op.key] = Truth(before.balance - points_of(op), exists=True)

    # What must hold.

    def check(self) -> None:
        """Hold every promise to the rows that were written since the last look."""
        if not self.written:
            return
        for key in dict.fromkeys(self.written):
            if key in self.not_ours:
                if self.tables[Side.SOURCE].images.get(key) != self.not_ours[key]:
                    raise Broken("a row of the payments system was touched")
            elif not MAPPING.belongs(key):
                raise Broken(f"another application's row in the target table: {key.decode()}")
            elif key in self.truth:
                self.check_key(key)
        self.written.clear()

    def check_key(self, key: Key) -> None:
        """One owner at most; it, or else the image that was sealed, holds the truth; versions rise."""
        items = {side: self.tables[side].item(key) for side in Side}
        complete = self.flags.current().document.complete
        active = [side for side, item in items.items() if is_active(item, side, complete=complete)]
        if len(active) > 1:
            raise Broken(f"two owners of {key.decode()}: {items}")
        side = active[0] if active else self._sealed(key, items)
        self._owned(key, side if active else None, items)
        held = self._held(side, items[side])
        if held != self.truth[key]:
            raise Broken(f"{key.decode()} holds {held} in {side.value}, the truth is {self.truth[key]}: {items}")
        for each, item in items.items():
            version = version_of(item)
            if version < self.versions.get((each, key), 0):
                raise Broken(f"the version of {key.decode()} fell in {each.value}: {items}")
            self.versions[each, key] = version

    def _owned(self, key: Key, owner: Side | None, items: dict[Side, Item | None]) -> None:
        """Whoever becomes the owner of a key is above the other side: else no copy of what it writes would pass."""
        became = owner if self.owners.get(key, owner) is None else None
        self.owners[key] = owner
        if became is None or key in self.surprised:
            return
        if version_of(items[became]) <= version_of(items[became.other]):
            raise Broken(f"{key.decode()} is owned below its standby: {items}")

    def check_phase(self, phase: Phase) -> None:
        """When BAKING or COMPLETE begins, no row is left behind."""
        if phase in {Phase.BAKING, Phase.COMPLETE}:
            for key in self.keys:
                source, target = (self.tables[side].item(key) for side in Side)
                owns = is_active(source, Side.SOURCE, complete=phase is Phase.COMPLETE)
                if owns and (source is not None or target is not None) and not is_held_out(source):
                    raise Broken(f"{phase.value} begins, and {key.decode()} is left behind: {source}, {target}")

    def _sealed(self, key: Key, items: dict[Side, Item | None]) -> Side:
        generations = {side: generation_of(item) for side, item in items.items()}
        if generations[Side.SOURCE] == generations[Side.TARGET]:
            raise Broken(f"nobody owns {key.decode()}, and nobody can tell who did: {items}")
        sealed = max(Side, key=lambda side: generations[side])
        return sealed.other if is_fence(items[sealed]) else sealed

    def _held(self, side: Side, item: Item | None) -> Truth:
        if item is None or item.deleted:
            return Truth(0, exists=False)
        value = item.value(MAPPING.shape(side).own(BALANCE))
        return Truth(0 if value is None else number(Raw(value)), exists=True)

    # A pod of the old release.

    def stray(self, key: Key, amount: int) -> bool:
        """Add to a source row in place, or (0) delete it, as long as the source table owns it; say whether it did."""
        source = self.tables[Side.SOURCE]
        item = source.item(key)
        if item is None or item.deleted or not is_active(item, Side.SOURCE):
            return False
        if amount:
            image, balance = source.images[key], MAPPING.shape(Side.SOURCE).own(BALANCE)
            self.truth[key] = Truth(self.truth[key].balance + amount, exists=True)
            source.put(image | {balance: of_number(number(image[balance]) + amount)})
        else:
            self.truth[key] = Truth(0, exists=False)
            self.versions.pop((Side.SOURCE, key), None)
            source.delete(key)
        self._strayed(Side.SOURCE, key)
        self.story.tell("old release", f"adds {amount} to {key.decode()}" if amount else f"deletes {key.decode()}")
        self.network.watched(self.check)
        return True

    def accident(self, key: Key, ahead: int) -> bool:
        """Change a standby row: as a zombie that gets ahead of its owner, or (0) as one who knows no versions."""
        for side, table in self.tables.items():
            item, other = table.item(key), self.tables[side.other].item(key)
            plain = item is None or item.version is None or item.deleted or is_active(item, side)
            if plain or item is None or not is_active(other, side.other) or other is None:
                continue
            version = max(item.version or 0, version_of(other)) + ahead if ahead else item.version or 0
            self.surprised.add(key)
            self._unlike += 1
            changed = {MAPPING.shape(side).own(BALANCE): of_number(700 + self._unlike), MV: of_number(version)}
            table.put(table.images[key] | changed)
            self.story.tell("a stray", f"overwrites {key.decode()}, a standby in {side.value}, {ahead} ahead")
            self.strayed.add(key)
            if not ahead:
                self._strayed(side, key)
            self.network.watched(self.check)
            return True
        return False

    def _strayed(self, side: Side, key: Key) -> None:
        self.strayed.add(key)
        if any("strays_since_us" in each.body for each in self.store.journal):
            self.strays.append(Stray(side, key, self._last_us))

    def check_strays(self) -> None:
        """Each stray is in a letter, or was carried over with a later one, whose letter names it."""
        for stray in self.strays:
            if not any(key == stray.key and at_us >= stray.committed_us for key, at_us in self.letters.ever):
                raise Broken(f"no letter names the stray on {stray.key.decode()} in {stray.side.value}")
