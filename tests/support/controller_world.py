"""A whole migration on the shipped fakes: tables, streams, replicators, pods, a verifier; time is set by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from crossfade.adapters.dynamodb import Page
from crossfade.adapters.memory.admin import SHARD, MemoryAws
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.control import (
    ControlStore,
    MemoryDeadLetters,
    MemoryHeartbeats,
    MemoryJournal,
    MemoryReports,
    MemoryStatusBoard,
)
from crossfade.adapters.memory.flags import MemoryFlags
from crossfade.adapters.memory.marks import MemoryMarks
from crossfade.adapters.memory.raw_rows import MemoryRows
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.application.ownership import Ownership
from crossfade.contracts.heartbeat import Heartbeat
from crossfade.contracts.journal import Entry
from crossfade.contracts.report import Report
from crossfade.core.migration.evidence import Parity
from crossfade.core.ownership.decisions import Outcome
from crossfade.core.ownership.ramp import aim, ramp_point
from crossfade.core.protocol.keyed.item import is_active
from crossfade.core.values.clocks import Skew, skew_of
from crossfade.core.values.image import Image, of_number
from crossfade.core.values.image import number as number_of
from crossfade.core.values.keys import Key, encode_key
from crossfade.core.values.shape import Direction, Side, direction_to
from crossfade.ports.raw_rows import RawRows
from crossfade_controller.context import Context
from crossfade_controller.driver import Driver
from crossfade_controller.load_run import freely
from crossfade_controller.sampling import RawScan, Rows, sample
from crossfade_controller.service import assemble
from crossfade_controller.settings import ControllerSettings
from crossfade_controller.world import World
from crossfade_replicator.interventions import Interventions
from crossfade_replicator.journal import PhaseWatch
from crossfade_replicator.pipeline import ApplyPipeline
from crossfade_replicator.sender import Sender
from crossfade_replicator.tally import Tally
from engagement_api.keys import wallet_key
from engagement_api.operations import BALANCE, Kind, points_operation
from engagement_migration import MAPPING
from engagement_migration.samples import NOT_OURS, WALLETS, legacy_wallet

SETTINGS: dict[str, Any] = {
    "bucket": "exports",
    "verifier_url": "http://127.0.0.1:1",
    "settling_s": 2,
    "probe_s": 1,
    "evidence_s": 0.5,
    "facts_s": 1,
    "sweep_rest_s": 1,
    "stream_margin_s": 0.1,
    "gate_quiet_s": 3,
    "sweep_page": 4,
}


STREAMS = {Side.SOURCE: "wallet-changes", Side.TARGET: "engagement-changes"}


def raw_scan(table: MemoryTable) -> RawScan:
    """Scan a table's rows raw, segment by segment, in the order of a hash as DynamoDB does."""

    async def page(*, segment: int, segments: int, start: Image | None, limit: int) -> Page:
        keys = sorted(key for key in table.images if ramp_point(key) % segments == segment)
        first = 0 if start is None else keys.index(encode_key(start, table.shape.key)) + 1
        found = keys[first : first + limit]
        more = first + limit < len(keys)
        return Page([table.images[key] for key in found], table.images[found[-1]] if more else None, len(found))

    return page


class Killed(Exception):
    """The controller's process ended here."""


class AwsClock(MemoryClock):
    """Everybody's but the controller's: the time of AWS."""

    def __init__(self, town: Town) -> None:
        super().__init__()
        self._town = town

    def wall_us(self) -> int:
        return self._town.now_us()

    def monotonic(self) -> float:
        return self._town.now_s


class Town:
    """Everything around the controller. It goes on when the controller is killed.

    Attributes:
        now_s: AWS's clock, which dates every commit and arrival.
        ahead_s: by how much the controller's wall clock is ahead of it; negative when it is behind.
        dates: whether AWS's answers carry a `Date`.
        target_rows: what load=write writes to.
        kill: asked before and after each journal entry; raises Killed to end the controller there.
    """

    def __init__(self, wallets: int = 6, **settings: Any) -> None:
        self.now_s = 1_764_000_000.0
        self.ahead_s = 0.0
        self.dates = True
        self._booted_s = self.now_s
        self.aws_clock = AwsClock(self)
        self.settings = ControllerSettings(**{**SETTINGS, **settings})
        self.aws = MemoryAws({}, {"wallet"}, now_us=self.now_us)
        self.tables = {side: self._table(side) for side in Side}
        self.aws._tables = {MAPPING.shape(side).table: table for side, table in self.tables.items()}
        for row in (*WALLETS, *NOT_OURS):
            self.tables[Side.SOURCE].put(row)
        for number in range(wallets):
            self.tables[Side.SOURCE].put(legacy_wallet(f"w{number}", "chan", number))
        self.target_rows: RawRows = MemoryRows(self.tables[Side.TARGET])
        self.store = ControlStore()
        self.flags = MemoryFlags()
        self.reports = MemoryReports(self.store)
        self.letters = MemoryDeadLetters(self.store)
        self.parity = Parity(reachable=True, clean_pass_age_s=0.0, clean_pass_began_s=0.0)
        self.pods = [MemoryHeartbeats(self.store), MemoryHeartbeats(self.store)]
        self.silent_pods: set[int] = set()
        self.wordless_pods: set[int] = set()
        self.calls: dict[str, int] = {"calls": 100, "failed": 0, "p99_us": 5_000}
        self.feed_age_ms = 10
        self.silent_consumers: set[str] = set()
        self.missing: list[str] = []
        self.commands: list[tuple[str, ...]] = []
        self.command_exit = 0
        self.kill: Callable[[str, int, str], None] = lambda _when, _number, _kind: None
        self._calls = 0
        self._read = dict.fromkeys(Side, 0)
        self.tallies = {side: Tally() for side in Side}
        self._pipelines = {side: self._pipeline(side) for side in Side}

    def _table(self, side: Side) -> MemoryTable:
        shape = MAPPING.shape(side)
        return MemoryTable(
            shape,
            belongs=MAPPING.belongs,
            on_change=lambda payload: self.aws.record(shape.table, payload),
            now_us=self.now_us,
        )

    def now_us(self) -> int:
        return int(self.now_s * 1e6)

    def wall_us(self) -> int:
        """The controller's wall clock."""
        return int((self.now_s + self.ahead_s) * 1e6)

    def skew(self) -> Skew | None:
        """What the `Date` of an answer that came just now tells: whole seconds of AWS's clock."""
        wall_s = self.wall_us() / 1e6
        return skew_of(math.floor(self.now_s), wall_s, wall_s) if self.dates else None

    def monotonic(self) -> float:
        """The controller's monotonic clock: it begins somewhere with each process, and never jumps."""
        return self.now_s - self._booted_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    async def start(self) -> tuple[Context, Driver]:
        """Start a controller process: it knows nothing but the stores."""
        self._booted_s = self.now_s - len(self.store.journal)
        excluded: set[Key] = set()
        tables = self.tables

        async def parity() -> Parity:
            return self.parity

        async def ask_for_pass() -> None:
            self.commands.append(("pass",))

        async def rows(side: Side, wanted: Callable[[Image], bool]) -> Rows:
            scan = raw_scan(tables[side])
            return await sample(scan, rows=self.settings.plan_sample, units=self.settings.plan_units, wanted=wanted)

        async def missing_control_tables() -> list[str]:
            return self.missing

        async def command(asked: Any) -> tuple[int, str]:
            self.commands.append(tuple(asked))
            return self.command_exit, "said so"

        world = World(
            settings=self.settings,
            mapping=MAPPING,
            journal=MortalJournal(self),
            board=MemoryStatusBoard(self.store),
            heartbeats=MemoryHeartbeats(self.store, monotonic=self.monotonic),
            reports=self.reports,
            letters=self.letters,
            admin=self.aws,
            objects=self.aws,
            metrics=self.aws,
            parity=parity,
            ask_for_pass=ask_for_pass,
            flags=self.flags,
            tables=tables,
            copies=tables,
            ownership=Ownership(
                tables[Side.SOURCE], tables[Side.TARGET], MAPPING, excluded=excluded.__contains__, clock=self
            ),
            shards=self.aws,
            rows=rows,
            missing_control_tables=missing_control_tables,
            command=command,
            excluded=excluded,
            skew=self.skew,
            clock=self,
            source_rows=MemoryRows(tables[Side.SOURCE]),
            loader=lambda: freely(self.target_rows),
        )
        ctx, driver = assemble(world)
        await driver.recover()
        return ctx, driver

    async def live(self, seconds: float = 0.5) -> None:
        """Let time pass: replicators apply, pods beat."""
        self.now_s += seconds
        for side in Side:
            await self._replicate(side)
            await self._feed(side)
        flags = self.flags.current()
        for number, pod in enumerate(self.pods):
            if number not in self.silent_pods:
                await pod.beat(Heartbeat(f"pod-{number}", flags.document, flags.dual_write, 3.0, self.now_us()))
                if number not in self.wordless_pods:
                    await self.reports.put([Report("api", f"pod-{number}", self.now_us(), 0, 0, 0, self.calls)])

    async def _feed(self, side: Side) -> None:
        stream, consumer = STREAMS[side], f"feed-{side.value}"
        if consumer not in self.silent_consumers and await self.aws.list_shards(stream):
            report = Report(consumer, f"{stream}/shardId-000000000000", self.now_us(), self.feed_age_ms, 0, 0, {})
            await self.reports.put([report])

    async def _replicate(self, source: Side) -> None:
        stream = STREAMS[source]
        consumer = {Side.SOURCE: "forward", Side.TARGET: "reverse"}[source]
        if (
            consumer in self.silent_consumers
            or not await self.aws.list_shards(stream)
            or "engagement" not in self._existing()
        ):
            return
        fetched = await self.aws.get_records(f"{stream}:{SHARD}:{self._read[source]}", 10_000)
        if fetched.records:
            self.tallies[source].add(await self._pipelines[source].apply(SHARD, fetched.records))
        self._read[source] += len(fetched.records)
        tally = self.tallies[source]
        await self.reports.put(
            [
                Report(
                    consumer,
                    f"{stream}/{SHARD}",
                    self.now_us(),
                    10,
                    0,
                    tally.applied_commit_us,
                    dict(tally.counts),
                    stray_last_us=tally.stray_last_us,
                )
            ]
        )

    def _pipeline(self, source: Side) -> ApplyPipeline:
        """The replicator's own apply path, which reads the journal as the replicator does."""
        direction, target = direction_to(source.other), self.tables[source.other]
        watch = PhaseWatch(self.journal("replicator"))
        return ApplyPipeline(
            MAPPING,
            direction,
            sender=Sender(target, clock=self.aws_clock),
            interventions=Interventions(
                MAPPING, direction, self.tables[source], target, self.letters, clock=self.aws_clock
            ),
            marks=MemoryMarks(),
            letters=self.letters,
            clock=self.aws_clock,
            strays_since_us=lambda: watch.strays_since_us(source),
        )

    async def earn(self, user: str, points: int) -> None:
        """A client's call, by a pod that works under the flags in force."""
        self._calls += 1
        number = (self.now_us() // 1000).to_bytes(6, "big") + self._calls.to_bytes(10, "big")
        key, seed = wallet_key(user, "chan"), self.now_us() << 10
        op = points_operation(Kind.EARN, key, number, points, seed)
        pod = Ownership(self.tables[Side.SOURCE], self.tables[Side.TARGET], MAPPING, clock=self.aws_clock)
        document = self.flags.current().document
        done = await pod.operate(op, aim(document, key), complete=document.complete)
        assert done.outcome is Outcome.APPLIED, done

    # Writers outside the protocol.

    def plain_add(self, side: Side, user: str, points: int) -> None:
        """A plain client's `ADD balance`, which knows no role and no version; the answer is "done"."""
        key, balance = wallet_key(user, "chan"), MAPPING.shape(side).own(BALANCE)
        image = self.tables[side].images[key]
        self.tables[side].put({**image, balance: of_number(number_of(image[balance]) + points)})

    def _existing(self) -> set[str]:
        return self.aws._existing

    def journal(self, who: str = "ann") -> MemoryJournal:
        """An operator's journal."""
        return MemoryJournal(self.store, who=who, now_us=self.now_us)

    async def ask(self, verb: str, **arguments: Any) -> int:
        """Append an intent, as the CLI does; return its number."""
        return (await self.journal().append("intent", {"verb": verb, "arguments": arguments})).number

    def outcome(self, number: int) -> Mapping[str, Any] | None:
        """Return the outcome of an intent; None when it has none yet."""
        found = [each.body for each in self.entries("outcome") if each.body["intent"] == number]
        assert len(found) <= 1, "an intent has one outcome"
        return found[0] if found else None

    def entries(self, kind: str) -> list[Entry]:
        return [each for each in self.store.journal if each.kind == kind]

    def owners(self) -> dict[Side, int]:
        """Count the keys that each side owns; nothing may be owned twice."""
        counts = dict.fromkeys(Side, 0)
        for key in self.mapped_keys():
            active = [side for side in Side if is_active(self.tables[side].item(key), side)]
            assert len(active) < 2, f"{key!r} has two owners"
            for side in active:
                counts[side] += 1
        return counts

    def balance(self, user: str) -> int:
        """Return the balance that the owner's row holds."""
        side = self.owner_of(user)
        assert side is not None, f"{user} is in handover"
        return self.balances(side)[wallet_key(user, "chan")]

    def owner_of(self, user: str) -> Side | None:
        """Return the side that owns a wallet; None while it is in handover."""
        key = wallet_key(user, "chan")
        sides = [side for side in Side if is_active(self.tables[side].item(key), side)]
        return sides[0] if sides else None

    def mapped_keys(self) -> set[Key]:
        return {key for table in self.tables.values() for key in table.images if MAPPING.belongs(key)}

    def balances(self, side: Side) -> dict[Key, int]:
        shape = MAPPING.shape(side)
        found = {}
        for key in self.mapped_keys():
            item = self.tables[side].item(key)
            if item is not None and not item.deleted:
                value = item.value(shape.own(BALANCE))
                assert value is not None
                found[key] = int(bytes(value).split(b'"')[3])
        return found


class MortalJournal:
    """The controller's journal, with a place to die before and after each entry."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._journal = MemoryJournal(town.store, who="controller", now_us=town.wall_us)

    async def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        number = len(self._town.store.journal) + 1
        self._town.kill("before", number, kind)
        entry = await self._journal.append(kind, body)
        self._town.kill("after", number, kind)
        return entry

    async def entries(self, *, after: int = 0) -> list[Entry]:
        return await self._journal.entries(after=after)


async def run(town: Town, until: Callable[[], bool], *, ticks: int = 400) -> tuple[Context, Driver]:
    """Run the controller, started again whenever it is killed, until something holds."""
    ctx, driver = await start_again(town)
    for _ in range(ticks):
        if until():
            return ctx, driver
        await town.live()
        try:
            await driver.tick()
        except Killed:
            ctx, driver = await start_again(town)
    raise AssertionError(f"{ctx.state.phase} after {ticks} ticks; it waits for: {driver.waiting_for}")


async def start_again(town: Town) -> tuple[Context, Driver]:
    """Start the controller; it may be killed while it starts, too."""
    while True:
        try:
            return await town.start()
        except Killed:
            continue


async def settled(town: Town, verb: str, **arguments: Any) -> tuple[Context, Driver]:
    """Ask for something and run until it is done."""
    number = await town.ask(verb, **arguments)
    ctx, driver = await run(town, lambda: town.outcome(number) is not None)
    outcome = town.outcome(number)
    assert outcome is not None
    assert outcome["outcome"] == "done", outcome
    return ctx, driver


__all__ = ["Direction", "Killed", "Town", "run", "settled", "start_again"]


async def to_ramping(town: Town, percent: int = 50) -> None:
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=percent * 100)
