"""A plain migration on the shipped fakes: a table, an application that knows nothing of Crossfade, appliers, a hook.

Time is set by hand. The controller is killed wherever a test likes: before and after each journal entry, and before and
after each effect that reaches the world.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from controller_world import AwsClock, Killed
from crossfade.adapters.memory.admin import SHARD, MemoryAws
from crossfade.adapters.memory.control import (
    ControlStore,
    MemoryDeadLetters,
    MemoryHeartbeats,
    MemoryJournal,
    MemoryReports,
    MemoryStatusBoard,
)
from crossfade.adapters.memory.flags import MemoryFlags
from crossfade.adapters.memory.guards import MemoryGuards
from crossfade.adapters.memory.owning import MemoryMembers, OwningStore
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.application.membership import Membership
from crossfade.application.ownership import Ownership
from crossfade.contracts.journal import Entry
from crossfade.contracts.report import Report
from crossfade.core.mapping.rules import RuleMapping, Table
from crossfade.core.migration.evidence import Parity
from crossfade.core.protocol.plain.map import Interval, OwnerMap, State, version_at
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.protocol.plain.rows import PlainRow, build, fence_of, is_tombstone, owned, parse
from crossfade.core.replication.change import decode_change
from crossfade.core.values.clocks import Skew, skew_of
from crossfade.core.values.image import Image, of_number, of_string
from crossfade.core.values.keys import Key, encode_key, key_image, key_of_strings
from crossfade.core.values.shape import Side, direction_to
from crossfade_controller.context import Context
from crossfade_controller.driver import Driver
from crossfade_controller.plain.ports import PlainPorts
from crossfade_controller.sampling import Rows, sample
from crossfade_controller.service import assemble
from crossfade_controller.settings import ControllerSettings
from crossfade_controller.world import World
from flip_ports import MortalGuards, MortalJournal, MortalMaps, MortalTable, MortalTombstones, no_effect, wide_letter

ORDERS = RuleMapping(
    "orders",
    source=Table("orders-old", ("pk", "sk"), ttl="expires_at"),
    target=Table("orders-new", ("pk", "sk")),
    rules=(),
    belongs=lambda _key: True,
    is_open=True,
    protocol=PLAIN,
)
STREAMS = {Side.SOURCE: "wallet-changes", Side.TARGET: "engagement-changes"}
CONSUMERS = {Side.SOURCE: "forward", Side.TARGET: "reverse"}
SETTINGS: dict[str, Any] = {
    "bucket": "exports",
    "verifier_url": "http://127.0.0.1:1",
    "settling_s": 2,
    "evidence_s": 0.5,
    "facts_s": 1,
    "stream_margin_s": 0.1,
    "gate_quiet_s": 3,
    "marker_poll_s": 0.05,
    "hold_command": ["hold"],
    "release_command": ["release"],
    "settle_s": 1,
    "signature_s": 5,
}


def order(number: int, status: str = "new") -> Image:
    return {
        "pk": of_string(f"CUSTOMER#{number % 3}"),
        "sk": of_string(f"ORDER#{number:04d}"),
        "status": of_string(status),
        "total": of_number(number * 100),
    }


def key_of(number: int) -> Key:
    return key_of_strings(f"CUSTOMER#{number % 3}", f"ORDER#{number:04d}")


class FlipTown:
    """Everything around the controller. It goes on when the controller is killed.

    Attributes:
        writes_to: the table that the application writes to; None while it is held.
        book: what the application was told, by key: None for a deleted order.
        hook_epoch: the highest epoch that the hook has seen.
        hook_exit: what the next hook commands end with.
        silent, deaf: appliers that are dead; that acknowledge nothing.
        unanswered_s: since when an applier waits for an answer.
        loses: whether the record that an applier reads never came; asked once a record.
        is_blind: whether the verifier calls each pass clean.
        wide: keys of rows that leave no room for a fence.
        clean_s: when the verifier's last clean pass began, and ended.
        effect: called with a controller's number and the name of its effect, before and after it; may raise Killed.
    """

    def __init__(self, orders: int = 9, **settings: Any) -> None:
        self.now_s = 1_764_000_000.0
        self.aws_clock = AwsClock(self)  # type: ignore[arg-type]
        self.settings = ControllerSettings(**{**SETTINGS, **settings})
        self.aws = MemoryAws({}, {"orders-old"}, now_us=self.now_us)
        self.tables = {side: self._table(side) for side in Side}
        self.aws._tables = {ORDERS.shape(side).table: table for side, table in self.tables.items()}
        self.store = ControlStore()
        self.reports = MemoryReports(self.store)
        self.letters = MemoryDeadLetters(self.store)
        self.guards = MemoryGuards()
        self.flags = MemoryFlags()
        self.owning = OwningStore()
        self.appliers = MemoryMembers(self.owning, lease_s=2.0, monotonic=self.monotonic)
        self.writes_to: Side | None = Side.SOURCE
        self.book: dict[Key, str | None] = {}
        self.hook_epoch = 0
        self.hook_exit: list[int] = []
        self.hooks: list[tuple[str, str, int]] = []
        self.loses: Callable[[Key], bool] = lambda _key: False
        self.is_blind = False
        self.wide: set[Key] = set()
        self.clean_s = self.now_s
        self.silent: set[str] = set()
        self.deaf: set[str] = set()
        self.unanswered_s: dict[str, float] = {}
        self.effect: Callable[[int, str], Awaitable[None]] = no_effect
        self.starts = 0
        self.process: tuple[Context, Driver] | None = None
        self._read = dict.fromkeys(Side, 0)
        self._applied_us = dict.fromkeys(Side, 0)
        for number in range(orders):
            self.write(number)

    def _table(self, side: Side) -> MemoryTable:
        shape = ORDERS.shape(side)
        return MemoryTable(
            shape,
            belongs=ORDERS.belongs,
            on_change=lambda payload: self.aws.record(shape.table, payload),
            now_us=self.now_us,
        )

    # Clocks.

    def now_us(self) -> int:
        return int(self.now_s * 1e6)

    wall_us = now_us

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def skew(self) -> Skew | None:
        return skew_of(math.floor(self.now_s), self.now_s, self.now_s)

    @property
    def map(self) -> OwnerMap | None:
        return self.owning.owner_map

    @property
    def state(self) -> State | None:
        return self.map.state if self.map is not None else None

    # The application.

    def write(self, number: int, status: str = "new") -> bool:
        """Put an order; False while writes are held."""
        if not self._may_write():
            return False
        assert self.writes_to is not None
        self.tables[self.writes_to].put(order(number, status))
        self.book[key_of(number)] = status
        return True

    def delete(self, number: int) -> bool:
        if not self._may_write():
            return False
        assert self.writes_to is not None
        self.tables[self.writes_to].delete(key_of(number))
        self.book[key_of(number)] = None
        return True

    def _may_write(self) -> bool:
        if self.writes_to is None or self.writes_to in self.guards.on:
            return False
        assert self.map is None or self.map.owner is self.writes_to, "the application writes to the standby"
        return True

    async def hook(self, process: int, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """The operator's hook: it refuses an epoch that is lower than one it has seen."""
        await self.effect(process, f"{command[0]} begins")
        epoch, owner = int(environment["EPOCH"]), environment["OWNER"]
        self.hooks.append((command[0], owner, epoch))
        if epoch < self.hook_epoch:
            return 9, f"epoch {epoch} is lower than {self.hook_epoch}"
        self.hook_epoch = epoch
        code = self.hook_exit.pop(0) if self.hook_exit else 0
        if code:
            return code, "no such service"
        self.writes_to = None if command[0] == "hold" else Side(owner)
        await self.effect(process, f"{command[0]} ended")
        return 0, f"{command[0]} done"

    # The appliers, as simple as they can be.

    async def live(self, seconds: float = 0.3) -> None:
        self.now_s += seconds
        for side in Side:
            await self._apply(side)
        if self.is_blind or self.contents(Side.SOURCE) == self.contents(Side.TARGET):  # the verifier's pass is clean
            self.clean_s = self.now_s

    def contents(self, side: Side) -> dict[Key, Any]:
        """Return what is there for an application to see."""
        shape = ORDERS.shape(side)
        rows = {key: owned(parse(image, shape)) for key, image in self.tables[side].images.items()}
        return {key: row.content for key, row in rows.items() if row is not None and row.content}

    async def _apply(self, side: Side) -> None:
        name = CONSUMERS[side]
        if name in self.silent or not await self.aws.list_shards(STREAMS[side]):
            return
        acked = self.map.epoch if self.map is not None and name not in self.deaf else 0
        await self.appliers.beat(name, name, acked=acked, unanswered_s=self.unanswered_s.get(name, 0.0))
        if self.map is not None and self.map.state is not State.SEALED and "orders-new" in self.aws._existing:
            fetched = await self.aws.get_records(f"{STREAMS[side]}:{SHARD}:{self._read[side]}", 10_000)
            for record in fetched.records:
                self._take(side, record.data)
            self._read[side] += len(fetched.records)
        report = Report(name, f"{STREAMS[side]}/{SHARD}", self.now_us(), 10, 0, self._applied_us[side], {})
        await self.reports.put([report])

    def _take(self, side: Side, payload: bytes) -> None:
        assert self.map is not None
        change = decode_change(payload, ORDERS.shape(side).key)
        self._applied_us[side] = max(self._applied_us[side], change.committed_us)
        if self.map.owner is not side or not self.map.interval.covers(change.committed_us) or self.loses(change.key):
            return
        if change.new is not None and fence_of(change.new) is not None and fence_of(change.new) != change.old_version():
            return
        standby, shape = self.tables[side.other], ORDERS.shape(side.other)
        met = standby.images.get(change.key)
        version = version_at(change.committed_us)
        if met is not None and (fence_of(met) or 0) >= version:
            return
        row = owned(parse(change.new, ORDERS.shape(side))) if change.new is not None else None
        if row is not None and change.key in self.wide:
            self.store.letters[CONSUMERS[side], f"wide-{change.key.decode()}"] = wide_letter(CONSUMERS[side], change)
            return
        wanted = ORDERS.map_item(direction_to(side.other), row) if row is not None else None
        if wanted is None:
            self.owning.tombstones[side.other][change.key] = None
        written = PlainRow(version, deleted=True) if wanted is None else wanted.at(version)
        standby.put(build(written, key_image(change.key, shape.key)))

    # The controller.

    async def start(self) -> tuple[Context, Driver]:
        """Start a controller process: it knows nothing but the stores."""
        self.starts += 1
        tables, process = self.tables, self.starts

        async def hook(asked: Sequence[str], environment: Mapping[str, str], _timeout_s: float) -> tuple[int, str]:
            return await self.hook(process, asked, environment)

        maps, name = MortalMaps(self, process), f"controller-{process}"
        members = MemoryMembers(self.owning, lease_s=2.0, monotonic=self.monotonic)
        signature_s = self.settings.signature_s
        membership = Membership(maps, members, clock=self, name=name, duty="tail", lease_s=2.0, signature_s=signature_s)
        plain = PlainPorts(
            maps=maps,
            members=members,
            membership=membership,
            tombstones=MortalTombstones(self, process),
            tables={side: MortalTable(self, tables[side], process) for side in Side},
            guards=MortalGuards(self, process) if self.settings.guard else None,
            hook=hook,
            skews=dict.fromkeys(Side, self.skew),
            name=name,
        )

        async def parity() -> Parity:
            age_s = self.now_s - self.clean_s
            return Parity(reachable=True, clean_pass_age_s=age_s, clean_pass_began_s=age_s)

        async def nothing() -> None:
            return None

        async def rows(side: Side, wanted: Callable[[Image], bool]) -> Rows:
            async def page(**_: Any) -> Any:
                from crossfade.adapters.dynamodb import Page

                return Page(list(tables[side].images.values()), None, len(tables[side].images))

            return await sample(page, rows=1000, units=1000, wanted=wanted)

        async def no_tables() -> list[str]:
            return []

        async def command(_asked: Any) -> tuple[int, str]:
            return 0, ""

        world = World(
            settings=self.settings,
            mapping=ORDERS,
            journal=MortalJournal(self, process),
            board=MemoryStatusBoard(self.store),
            heartbeats=MemoryHeartbeats(self.store, monotonic=self.monotonic),
            reports=self.reports,
            letters=self.letters,
            admin=self.aws,
            objects=self.aws,
            metrics=self.aws,
            parity=parity,
            ask_for_pass=nothing,
            flags=self.flags,
            tables=tables,
            copies=tables,
            ownership=Ownership(tables[Side.SOURCE], tables[Side.TARGET], ORDERS, clock=self),
            shards=self.aws,
            rows=rows,
            missing_control_tables=no_tables,
            command=command,
            excluded=set(),
            skew=self.skew,
            clock=self,
            plain=plain,
        )
        ctx, driver = assemble(world)
        await driver.recover()
        return ctx, driver

    # What the journal says.

    def journal(self, who: str = "ann") -> MemoryJournal:
        return MemoryJournal(self.store, who=who, now_us=self.now_us)

    async def ask(self, verb: str, **arguments: Any) -> int:
        """Append an intent, as the CLI does; return its number."""
        return (await self.journal().append("intent", {"verb": verb, "arguments": arguments})).number

    def outcome(self, number: int) -> Mapping[str, Any] | None:
        found = [each.body for each in self.entries("outcome") if each.body["intent"] == number]
        assert len(found) <= 1, "an intent has one outcome"
        return found[0] if found else None

    def entries(self, kind: str) -> list[Entry]:
        return [each for each in self.store.journal if each.kind == kind]

    def steps(self) -> list[str]:
        return [each.body["step"] for each in self.entries("step")]

    # What must hold.

    def check(self) -> None:
        """The owner has what the application's book says, and none of ours shows."""
        assert self.map is not None
        rows = self.tables[self.map.owner].images
        shape = ORDERS.shape(self.map.owner)
        told = {}
        for key, image in rows.items():
            row = owned(parse(image, shape))
            if row is not None and row.value("status") is not None:
                told[key] = bytes(row.value("status") or b"").split(b'"')[3].decode()
        assert told == {key: status for key, status in self.book.items() if status is not None}
        left = [key for key, image in rows.items() if is_tombstone(image, shape)]
        assert not left, f"tombstones that the application would see: {left}"

    def check_open(self) -> None:
        """Nobody is held, and the application writes to the table that owns."""
        assert self.map is not None
        assert self.map.state is State.OPEN
        assert self.writes_to is self.map.owner
        assert self.map.owner not in self.guards.on


async def start_again(town: FlipTown) -> tuple[Context, Driver]:
    while True:
        try:
            town.process = await town.start()
            return town.process
        except Killed:
            continue


async def run(
    town: FlipTown, until: Callable[[], bool], *, ticks: int = 400, between: Callable[[], None] = lambda: None
) -> tuple[Context, Driver]:
    """Run the controller, started again whenever it is killed, until something holds. It is the one of the run before,
    if there was one.
    """
    ctx, driver = town.process or await start_again(town)
    for _ in range(ticks):
        if until():
            return ctx, driver
        await town.live()
        between()
        try:
            await driver.tick()
        except Killed:
            ctx, driver = await start_again(town)
    raise AssertionError(f"{ctx.state.phase} after {ticks} ticks; it waits for: {driver.waiting_for}")


async def settled(town: FlipTown, number: int, *, between: Callable[[], None] = lambda: None) -> Mapping[str, Any]:
    """Run until a command has an outcome, and return that."""
    await run(town, lambda: town.outcome(number) is not None, between=between)
    outcome = town.outcome(number)
    assert outcome is not None
    return outcome


async def ended(town: FlipTown, verb: str, **arguments: Any) -> Mapping[str, Any]:
    """Ask for something, run until it has an outcome, and return that."""
    return await settled(town, await town.ask(verb, **arguments))


async def done(town: FlipTown, verb: str, **arguments: Any) -> str:
    """As `ended`; it must be done. Return what was said of it."""
    outcome = await ended(town, verb, **arguments)
    assert outcome["outcome"] == "done", outcome
    return str(outcome["because"])


__all__ = ["Interval", "Killed", "encode_key"]
