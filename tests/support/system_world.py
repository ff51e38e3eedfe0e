"""The whole system in small: the real pieces on two tables in memory, one step at a time.

Pods and sweepers are the ownership machine, driven request by request; replication is the replicator's own pipeline on
the records that the tables emit; dual writes are the API's transfers; the feed and the snapshot are the core's. Only
time, order, crashes and lost answers are made up here, and the truth is kept beside: what the writes that took effect,
in their order, make of each key.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec import Raw

from crossfade.adapters.memory.control import MemoryDeadLetters
from crossfade.adapters.memory.marks import MemoryMarks
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.mapping.copies import transfer_of
from crossfade.core.mapping.snapshot import Fate, LineMapper
from crossfade.core.ownership.decisions import Done, Found, Outcome, Perform, Read, Reply, Seen, State, Task
from crossfade.core.ownership.machine import OwnershipRules
from crossfade.core.ownership.ramp import FlagDocument, aim, raised
from crossfade.core.ownership.trim import WINDOW_MS, ulid_ms
from crossfade.core.protocol.events import PublishedEvent
from crossfade.core.protocol.keyed.item import Item, generation_of, is_active, is_fence, version_of
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.records import events_of
from crossfade.core.protocol.keyed.writes import Activate, Operate, OperateAndTrim
from crossfade.core.protocol.writing import HOLDS, Applied, Transfer, Unfit
from crossfade.core.replication.change import decode_change
from crossfade.core.replication.feed import decode_published, encode_published
from crossfade.core.values import image as wire
from crossfade.core.values.image import decode_image, encode_image
from crossfade.core.values.keys import Key, encode_key
from crossfade.core.values.shape import Direction, Side, direction_to
from crossfade_replicator.interventions import Interventions
from crossfade_replicator.pipeline import ApplyPipeline
from crossfade_replicator.tally import Tally
from engagement_api.operations import Kind, points_operation
from engagement_migration import MAPPING
from engagement_migration.samples import NOT_OURS, legacy_wallet
from system_parts import (
    DIRECTIONS,
    KEYS,
    NEW_KEY,
    POINTS,
    START_US,
    TIER,
    TTL,
    ZERO,
    IdleSender,
    InTurn,
    Owner,
    Record,
    Running,
    Truth,
    now,
)
from system_strays import Strays


@dataclass
class World(Strays):
    """See the module."""

    table: type[MemoryTable] = MemoryTable
    now_us: int = START_US
    document: FlagDocument = field(default_factory=FlagDocument)
    counter: int = 0
    skewed: bool = True
    imported: bool = False
    documents: list[FlagDocument] = field(default_factory=lambda: [FlagDocument()])
    ops: list[Operation] = field(default_factory=list)
    running: list[Running] = field(default_factory=list)
    copies: list[tuple[Side, Transfer]] = field(default_factory=list)
    truth: dict[Key, Truth | None] = field(default_factory=dict)
    applied: Counter[bytes] = field(default_factory=Counter)
    acknowledged: set[bytes] = field(default_factory=set)
    published: list[PublishedEvent] = field(default_factory=list)
    versions: dict[tuple[Side, Key], int] = field(default_factory=dict)
    done: list[Done] = field(default_factory=list)
    strays_wrote: bool = False
    strays_since_us: int = 0
    owner_strays: list[tuple[Side, bytes]] = field(default_factory=list)
    standby_strays: list[tuple[Side, bytes]] = field(default_factory=list)
    pages: set[str] = field(default_factory=set)
    forgotten: set[Key] = field(default_factory=set)
    stamped: set[Key] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.tables = {
            side: self.table(MAPPING.shape(side), belongs=MAPPING.belongs, now_us=self.tick) for side in Side
        }
        self.source, self.target = self.tables[Side.SOURCE], self.tables[Side.TARGET]
        self.rules = OwnershipRules(MAPPING)
        self.marks, self.letters = MemoryMarks(), MemoryDeadLetters()
        self.tally = Tally()
        self.pipelines = {side: self._pipeline(side) for side in Side}
        self.fed = dict.fromkeys(Side, 0)
        self.delivered = dict.fromkeys(Side, 0)
        self.not_ours = {encode_key(image, ("pk", "sk")): image for image in NOT_OURS}
        self._numbers = itertools.count(1)
        for image in NOT_OURS:
            self.source.put(image)
        row = legacy_wallet("7", "old", 0, created_at="2021-03-04T05:06:07.089Z")
        self.put_stray(row | {"tier": Raw(TIER), "expires_at": Raw(TTL)})
        self.truth[NEW_KEY] = None

    def _pipeline(self, side: Side) -> ApplyPipeline:
        direction, target = DIRECTIONS[side], self.tables[side.other]
        return ApplyPipeline(
            MAPPING,
            direction,
            sender=IdleSender(target, clock=self),
            interventions=self._interventions(direction),
            marks=self.marks,
            letters=self.letters,
            clock=self,
            strays_since_us=self._strays_since_us,
        )

    async def _strays_since_us(self) -> int:
        return self.strays_since_us

    def _interventions(self, direction: Direction) -> Interventions:
        source, target = self.tables[direction.origin], self.tables[direction.destination]
        return InTurn(MAPPING, direction, source, target, self.letters, clock=self)

    def wall_us(self) -> int:
        return self.tick()

    def monotonic(self) -> float:
        return self.now_us / 1e6

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits here")

    def tick(self) -> int:
        """Return the wall clock, µs; no two looks at it are alike."""
        self.now_us += 1
        return self.now_us

    # Clients and pods.

    def operation(self, key: Key, kind: Kind, amount: int, skew_s: int = 0) -> Operation:
        number = next(self._numbers)
        transaction_id = (self.tick() // 1000).to_bytes(6, "big") + number.to_bytes(10, "big")
        amount = 0 if kind is Kind.DELETE else amount
        op = points_operation(kind, key, transaction_id, amount, self._seed(skew_s))
        self.ops.append(op)
        return op

    def _seed(self, skew_s: int) -> int:
        # Where others take versions away, a clock that is behind would start below what was there.
        return (self.tick() + (skew_s * 1_000_000 if self.skewed else 0)) << 10

    def begin(
        self,
        key: Key,
        document: FlagDocument,
        op: Operation | None,
        *,
        soft: int = 32,
        scanned: bool = False,
        unfit: bool = False,
    ) -> None:
        """Start an operation, or (without one) the sweeper's look at a key."""
        wish = aim(document, key)
        task = Task(key, wish, op, self.tick() // 1000, op.seed if op else self._seed(0), soft, document.complete)
        known = Seen(self.tables[wish.side.other].item(key)) if scanned else None
        self._goes_on(Running(task, unfit), self.rules.begin(task, known))

    def _goes_on(self, pod: Running, step: tuple[State, Read | Perform] | Done) -> None:
        if isinstance(step, Done):
            if pod in self.running:
                self.running.remove(pod)
            self._ended(pod.task, step)
            return
        pod.step = step
        if pod not in self.running:
            self.running.append(pod)

    def _ended(self, task: Task, done: Done) -> None:
        self.done.append(done)
        assert done.outcome not in (Outcome.AMBIGUOUS, Outcome.REFUSED), done
        if task.op is None:
            assert done.outcome in (Outcome.SETTLED, Outcome.HELD_OUT, Outcome.BUSY), done
            return
        if done.outcome is Outcome.EXPIRED:
            age_ms = self.now_us // 1000 - ulid_ms(task.op.transaction_id)
            assert age_ms >= WINDOW_MS, f"an id of the window was trimmed: {age_ms} ms old"
        if done.outcome in (Outcome.APPLIED, Outcome.REPLAYED):
            self.acknowledged.add(task.op.transaction_id)
            if done.outcome is Outcome.APPLIED and done.item is not None:
                transfer = transfer_of(MAPPING, done.side, task.key, done.item)
                self.copies.append((done.side.other, transfer))

    def advance(self, pod: Running, *, answer_lost: bool = False) -> None:
        """Send a pod's request, and give it the answer; unless that is lost: then it will send it again."""
        assert pod.step is not None
        state, request = pod.step
        reply = self._sent(request, pod.unfit)
        if not answer_lost:
            self._goes_on(pod, self.rules.advance(state, reply))

    def finish(self, pod: Running) -> None:
        """Run a pod to the end of its task. Nobody interferes, so it is never too busy."""
        ended = len(self.done)
        while pod in self.running:
            self.advance(pod)
        assert all(done.outcome is not Outcome.BUSY for done in self.done[ended:]), "a pod fights with itself"

    def _sent(self, request: Read | Perform, unfit: bool) -> Reply:
        table = self.tables[request.side]
        if isinstance(request, Read):
            return Found(now(table.read(request.key)))
        if unfit and request.side is Side.TARGET and isinstance(request.write, Activate):
            return Unfit("this release can't write it there")
        answer = now(table.perform(request.write))
        if isinstance(answer, Applied):
            self.stamped.add(request.write.key)
            if isinstance(request.write, Operate | OperateAndTrim):
                self._took_effect(request.write.op)
        self.check()
        return answer

    def _took_effect(self, op: Operation) -> None:
        self.applied[op.transaction_id] += 1
        before = self.truth[op.key]
        if op.verb.deletes:
            assert before is not None, "a delete of nothing took effect"
            self.truth[op.key] = None
            return
        held = dict(before.content) if before else {}
        if op.verb.creates:
            held = dict(ZERO) | held
        points = wire.number(Raw(held[POINTS])) + int(op.amounts[0])
        assert points >= 0, "overspent"
        held[POINTS] = bytes(wire.of_number(points))
        self.truth[op.key] = Truth(tuple(sorted(held.items())), before.ttl if before else b"")

    # The controller.

    def publish(self, share: int) -> None:
        """Move the share, as the controller does."""
        self.document, self.counter = raised(self.document, share, self.counter)
        self.documents.append(self.document)

    def snapshot(self) -> list[bytes]:
        """Export the source table."""
        return [b'{"Item":%b}' % encode_image(image) for image in self.source.images.values()]

    def import_(self, lines: Iterable[bytes]) -> None:
        """Map and import an export. No stream shows it."""
        mapper = LineMapper(MAPPING)
        for line in lines:
            mapped = mapper.map_line(line)
            assert mapped.fate in (Fate.MAPPED, Fate.NOT_OURS), mapped
            if mapped.fate is Fate.MAPPED:
                self.target.images[mapped.key] = decode_image(wire.map_of(Raw(b'{"M":%b}' % mapped.line))["Item"])
        self.imported = True
        self.strays_since_us = self.now_us + 1

    # Streams.

    def records(self, side: Side) -> list[Record]:
        return [Record(f"{side.value}-{n}", data) for n, data in enumerate(self.tables[side].changes)]

    def deliver(self, side: Side, picks: Sequence[int]) -> None:
        """Hand a batch of records to the replicator: any of them, in any order, any number of times."""
        log = self.records(side)
        if log and (side is Side.TARGET or self.imported):
            self.tally.add(now(self.pipelines[side].apply("shard", [log[pick % len(log)] for pick in picks])))
            self.check()

    def deliver_next(self, side: Side, count: int) -> None:
        """Hand over what comes next in the shard."""
        if side is Side.TARGET or self.imported:
            first = self.delivered[side]
            self.delivered[side] = min(first + count, len(self.tables[side].changes))
            self.deliver(side, range(first, self.delivered[side]))

    def copy(self, pick: int) -> None:
        """Let a dual write arrive, and mark it; it may arrive again."""
        side, transfer = self.copies[pick % len(self.copies)]
        (verdict,) = now(self.tables[side].transfer([transfer]))
        if verdict in HOLDS:
            now(self.marks.mark(direction_to(side), {transfer.key: transfer.version}))
        self.check()

    def feed(self, side: Side, picks: Iterable[int]) -> None:
        """Hand records to the feed."""
        log = self.tables[side].changes
        for pick in picks:
            if log:
                change = decode_change(log[pick % len(log)], MAPPING.shape(side).key)
                if MAPPING.belongs(change.key):
                    found = events_of(change, side)
                    self.published += [decode_published(encode_published(event)) for event in found]

    def pay(self, pick: int, cents: int) -> None:
        """Write a row of the payments system."""
        key = sorted(self.not_ours)[pick % len(self.not_ours)]
        self.not_ours[key] = self.not_ours[key] | {"cents": wire.of_number(cents)}
        self.source.put(self.not_ours[key])

    # What must hold.

    def owner(self, key: Key) -> Owner:
        """Return who owns a key, and the image that is the truth."""
        items = {side: self.tables[side].item(key) for side in Side}
        complete = self.document.complete
        sides = [side for side in Side if is_active(items[side], side, complete=complete)]
        assert len(sides) < 2, f"two owners of {key.decode()}: {items}"
        if sides:
            return Owner(sides[0], items[sides[0]], owned=True)
        generations = {side: generation_of(item) for side, item in items.items()}
        assert generations[Side.SOURCE] != generations[Side.TARGET], f"nobody owns {key.decode()}: {items}"
        sealed = max(Side, key=lambda side: generations[side])
        if is_fence(items[sealed]):
            sealed = sealed.other
        return Owner(sealed, items[sealed], owned=False)

    def held(self, side: Side, item: Item | None) -> Truth | None:
        """Return what an item says, in the names of the target table."""
        if item is None or item.deleted:
            return None
        mapped = item if side is Side.TARGET else MAPPING.map_item(Direction.FORWARD, item)
        return Truth(mapped.content, item.ttl)

    def check(self) -> None:
        """After every write: one owner, it holds the truth; nothing twice; versions rise; no payments row touched."""
        for key in KEYS:
            side, item, _ = self.owner(key)
            truth, held = self.truth[key], self.held(side, item)
            assert (truth and truth.canonical()) == (held and held.canonical()), (
                f"{key.decode()}: {held} is not {truth}"
            )
            for each in Side:
                version = version_of(self.tables[each].item(key))
                assert version >= self.versions.get((each, key), 0), f"a version fell: {key.decode()} in {each.value}"
                self.versions[each, key] = version
            self._check_ttl(key)
        twice = [transaction_id.hex() for transaction_id, times in self.applied.items() if times > 1]
        assert not twice, f"applied twice: {twice}"
        for key, image in self.not_ours.items():
            assert self.source.images[key] == image, "a row of the payments system was touched"
        assert set(self.target.images) <= set(KEYS), "another application's row in the target table"

    def _check_ttl(self, key: Key) -> None:
        """The TTL value stands where DynamoDB sees it while the source row is active, and nowhere else."""
        image = self.source.images.get(key, {})
        item = self.source.item(key)
        if item is not None and item.ttl:
            assert ("expires_at" in image) is is_active(item, Side.SOURCE), f"TTL in the wrong place: {image}"
        if item is not None and not is_active(item, Side.SOURCE):
            assert "expires_at" not in image, "a standby row would expire"

    def replicate(self, seed: int) -> None:
        """Deliver every record of both streams until nothing comes any more, in an order of no meaning."""
        order = random.Random(seed)
        for _ in range(12):
            before = [len(table.changes) for table in self.tables.values()]
            for side in Side:
                picks = list(range(len(self.tables[side].changes)))
                order.shuffle(picks)
                for start in range(0, len(picks), 7):
                    self.deliver(side, picks[start : start + 7])
            if before == [len(table.changes) for table in self.tables.values()]:
                return
        raise AssertionError("replication never comes to rest")

    def quiesce(self, seed: int) -> None:
        """Let everything come to its end: pods finish, streams drain, the sweeper passes over all keys, twice.

        The first time it only completes what it finds half done, whichever way that goes.
        """
        for pod in list(self.running):
            self.finish(pod)
        self.replicate(seed)
        for key in KEYS * 2:
            self.begin(key, self.document, None)
            for pod in list(self.running):
                self.finish(pod)
        self.replicate(seed + 1)
