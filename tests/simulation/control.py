"""The controller and the verifier, made of their own parts, and the operator who asks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from crossfade.adapters.memory.control import (
    MemoryHeartbeats,
    MemoryJournal,
    MemoryLease,
    MemoryReports,
    MemoryStatusBoard,
)
from crossfade.adapters.memory.passes import MemoryPassStore
from crossfade.adapters.memory.repairs import MemoryRepairs
from crossfade.application.ownership import Ownership
from crossfade.contracts.repairs import OVER
from crossfade.core.migration.acts import failed
from crossfade.core.migration.evidence import Parity
from crossfade.core.migration.phases import Phase
from crossfade.core.ownership.machine import OwnershipRules
from crossfade.core.parity.classes import Difference
from crossfade.core.parity.verdict import Names
from crossfade.core.values.clocks import Skew, skew_of
from crossfade.core.values.errors import CrossfadeError, LeaseLost
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_controller.build import parity_of
from crossfade_controller.context import Context
from crossfade_controller.driver import Driver
from crossfade_controller.sampling import Rows
from crossfade_controller.service import assemble
from crossfade_controller.settings import ControllerSettings
from crossfade_controller.world import World
from crossfade_verifier.both import BothTables
from crossfade_verifier.continuous import Continuous
from crossfade_verifier.lags import Crossings
from crossfade_verifier.passes import Passes
from crossfade_verifier.repair import Repairer
from crossfade_verifier.repairs import Repairs
from crossfade_verifier.report import Reporter
from crossfade_verifier.settings import Settings as VerifierSettings
from crossfade_verifier.watch import Watch
from engagement_migration import MAPPING
from simulation.ground import STREAMS, Ground, Journal
from simulation.network import Process

TICK_S: Final = 0.25
LEASE_S: Final = 1.5
TAIL_S: Final = 0.6

SETTINGS: Final[dict[str, Any]] = {
    "bucket": "exports",
    "verifier_url": "http://127.0.0.1:1",
    "settling_s": 0.3,
    "marker_s": 2,
    "marker_poll_s": 0.2,
    "probe_s": 0.8,
    "evidence_s": 0.5,
    "facts_s": 1,
    "sweep_rest_s": 0.5,
    "helped_after_s": 1,
    "stream_margin_s": 0.1,
    "report_s": 3,
    "gate_quiet_s": 0.6,
    "gate_probe_errors": 1.0,
    "gate_probe_p99_ms": 60_000,
    "gate_api_errors": 1.0,
    "gate_api_p99_ms": 60_000,
    "sweep_page": 4,
    "revoke_command": ["true"],
}
"""Bounds a tenth or so of the design's. The gates on errors and latency stay open: here faults are the rule."""

VERIFIER: Final[dict[str, Any]] = {
    "pod": "verifier",
    "pause_s": 2.0,
    "reads_per_s": 100_000,
    "units": 2,
    "segments": 1,
    "page": 5,
    "checkpoint_s": 1.0,
    "unit_lease_s": 3.0,
    "share_every_s": 0.5,
    "buckets": 4,
    "in_flight_bound_s": 4.0,
    "settle_every_s": 0.5,
    "follow_limit_s": 5.0,
    "retry_s": 0.5,
}


class Controller:
    """One life of a controller process."""

    def __init__(
        self,
        process: Process,
        ground: Ground,
        verifier: Callable[[], Verifier | None],
        settings: ControllerSettings,
        rules: OwnershipRules,
    ) -> None:
        self._process, self._ground, self._verifier = process, ground, verifier
        store, far = ground.store, process.far
        self._lease = MemoryLease(store, holder=process.name, lease_s=LEASE_S, monotonic=process.monotonic)
        tables = {side: far(table) for side, table in ground.tables.items()}
        excluded: set[Key] = set()
        ownership = Ownership(
            tables[Side.SOURCE],
            tables[Side.TARGET],
            MAPPING,
            excluded=excluded.__contains__,
            clock=process,
        )
        ownership._rules = rules
        self.world = World(
            settings=settings,
            mapping=MAPPING,
            journal=far(Journal(ground, process, self._lease)),
            board=far(MemoryStatusBoard(store)),
            heartbeats=far(MemoryHeartbeats(store, monotonic=process.monotonic)),
            reports=far(MemoryReports(store)),
            letters=far(ground.letters),
            admin=far(ground.aws),
            objects=far(ground.aws),
            metrics=far(ground.aws),
            parity=self._parity,
            ask_for_pass=self._ask_for_pass,
            flags=far(ground.flags),
            tables=tables,
            copies=tables,
            ownership=ownership,
            shards=far(ground.aws),
            rows=self._rows,
            missing_control_tables=self._missing,
            command=self._command,
            excluded=excluded,
            skew=self._skew,
            clock=process,
        )
        self.ctx: Context | None = None
        self.driver: Driver | None = None

    async def run(self) -> None:
        """Hold the lease and drive, as the service does."""
        while True:
            try:
                await self._drive()
            except LeaseLost:
                self._ground.story.tell(self._process.name, "lost the lease")
            except CrossfadeError as error:
                self._ground.story.tell(self._process.name, f"not driving: {error}")
            await asyncio.sleep(LEASE_S / 5)

    async def _drive(self) -> None:
        lease = self._process.far(self._lease)
        if not await lease.acquire():
            return
        beating = self._process.spawn(self._beat(lease))
        try:
            ctx, driver = self.assembled()
            await driver.recover()
            self.ctx, self.driver, phase = ctx, driver, None
            while not beating.done():
                try:
                    await driver.tick()
                except LeaseLost:
                    raise
                except CrossfadeError as error:
                    driver.wait = failed(error)
                if ctx.state.phase is not phase:
                    phase = ctx.state.phase
                    self._ground.story.tell(self._process.name, f"phase {phase.value}")
                await asyncio.sleep(TICK_S)
        finally:
            beating.cancel()

    def assembled(self) -> tuple[Context, Driver]:
        """Put the state machine together."""
        return assemble(self.world)

    async def _beat(self, lease: Any) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 3)
            try:
                await lease.renew()
            except LeaseLost:
                return
            except CrossfadeError:
                if not self._lease.held:
                    return

    async def _parity(self) -> Parity:
        verifier = self._verifier()
        if verifier is None:
            return Parity(detail="connection refused")
        return parity_of(verifier.report.parity().to_dict())

    async def _ask_for_pass(self) -> None:
        verifier = self._verifier()
        if verifier is not None:
            await verifier.passes.ask()

    async def _rows(self, side: Side, wanted: Callable[[Image], bool]) -> Rows:
        found = [each for each in self._ground.tables[side].images.values() if wanted(each)]
        return Rows(found, read=len(self._ground.tables[side].images), units=1, whole=True)

    async def _missing(self) -> Sequence[str]:
        return []

    async def _command(self, command: Sequence[str]) -> tuple[int, str]:
        self._ground.story.tell(self._process.name, f"runs {' '.join(command)}")
        return 0, ""

    def _skew(self) -> Skew | None:
        wall_s = self._process.wall_us() / 1e6
        return skew_of(math.floor(self._ground.network.now_us() / 1e6), wall_s, wall_s)


REPAIRED: Final = (
    Difference.STUCK,
    Difference.DIVERGED,
    Difference.MISSING,
    Difference.EXTRA,
    Difference.AHEAD,
)


class StreamTail:
    """The verifier's reading of one stream, from where it stands when it begins."""

    def __init__(self, process: Process, ground: Ground, side: Side, passes: Passes, continuous: Continuous) -> None:
        self._process, self._ground, self._passes, self._continuous = process, ground, passes, continuous
        self.side, self.stream = side, STREAMS[side]
        self.read = self.unreadable = 0
        self.trouble = "not started"
        self._read_to_s: dict[str, float] = {}

    async def run(self) -> None:
        streams, stream = self._process.far(self._ground.aws), STREAMS[self.side]
        iterators: dict[str, str] = {}
        while True:
            try:
                if not iterators:
                    for each in await streams.list_shards(stream):
                        iterators[each.shard_id] = await streams.shard_iterator(stream, each.shard_id, latest=True)
                for shard, iterator in iterators.items():
                    sent_s = self._process.monotonic()
                    if self._ground.aws.is_read(iterator):
                        self._read_to_s[shard], self.trouble = sent_s, ""
                        continue
                    fetched = await streams.get_records(iterator, 1000)
                    iterators[shard] = fetched.next_iterator
                    for record in fetched.records:
                        self.read += 1
                        change = self._ground.known(record.data).change
                        self._passes.hear(self.side, change)
                        self._continuous.hear(self.side, change)
                    self._read_to_s[shard] = sent_s
                    self.trouble = ""
            except CrossfadeError as error:
                self.trouble = str(error)
            await asyncio.sleep(TAIL_S)

    def behind_s(self) -> float | None:
        if not self._read_to_s:
            return None
        return max(0.0, self._process.monotonic() - min(self._read_to_s.values()) - 2 * TAIL_S)


class Verifier:
    """One life of a verifier process."""

    def __init__(self, process: Process, ground: Ground, settings: VerifierSettings) -> None:
        self.process, network = process, ground.network
        tables = {side: process.far(table) for side, table in ground.tables.items()}
        both = BothTables(MAPPING, tables[Side.SOURCE], tables[Side.TARGET])
        self.passes = Passes(
            both,
            settings,
            store=process.far(MemoryPassStore(ground.passes)),
            journal=process.far(MemoryJournal(ground.store)),
            complete=lambda: ground.flags.current().document.complete,
            clock=process,
            at_most_us=network.now_us,
        )
        self.continuous = Continuous(
            both,
            settings,
            self.passes.handovers,
            clock=process,
            at_most_us=network.now_us,
            behind_s=self._behind_s,
            complete=lambda: ground.flags.current().document.complete,
            swept=self.passes.swept,
            ask=self.passes.hurry,
        )
        self.passes.heard, self.passes.proven = self.continuous.differing, self.continuous.proven
        self.tails = {side: StreamTail(process, ground, side, self.passes, self.continuous) for side in Side}
        self.repairs = Repairs(
            Repairer(both, tables, self.passes, clock=process),
            process.far(MemoryRepairs(ground.repairs)),
            process.far(MemoryJournal(ground.store, who=process.name, now_us=process.wall_us)),
            clock=process,
            pod=process.name,
            per_s=settings.repairs_per_s,
            retry_s=settings.retry_s,
            every_s=1.0,
        )
        self.report = Reporter(
            self.passes,
            settings,
            self.tails,  # type: ignore[arg-type]  # what the report asks of a tail, without Faust's transport
            Crossings(0, both),
            Watch(Names({side: MAPPING.shape(side).table for side in Side}, STREAMS, "journal"), clock=process),
            clock=process,
            continuous=self.continuous,
        )

    def _behind_s(self) -> float | None:
        behind_s = [tail.behind_s() for tail in self.tails.values()]
        known_s = [each for each in behind_s if each is not None]
        return max(known_s) if len(known_s) == len(behind_s) else None

    async def run(self) -> None:
        self.process.spawn(self.continuous.run())
        for tail in self.tails.values():
            self.process.spawn(tail.run())
        self.process.spawn(self.repairs.run())
        await self.passes.run()

    async def repair(self) -> str:
        """Repair what the last pass found wrong, as `POST /repairs` does; say what became of it."""
        keys = [key for found in REPAIRED for key in self.passes.keys_of(found)]
        if not keys:
            return ""
        repair = (await self.repairs.plan(keys, asked={"keys": len(keys)}, who="ann")).id
        await self.repairs.planned(repair, within_s=60.0)
        record = await self.repairs.execute(repair, who="ann")
        while record.state not in OVER:
            await asyncio.sleep(0.2)
            record = await self.repairs.get(repair)
        steps = (await self.repairs.report(record, limit=record.keys)).steps
        return ", ".join(str(each.outcome) for each in steps)


class Operator:
    """Asks for a whole migration, one thing after another, and insists where the controller refuses."""

    PATIENCE_S: Final = 120.0

    def __init__(self, ground: Ground, waiting_for: Callable[[], str], verifier: Callable[[], Verifier | None]) -> None:
        self._ground, self._waiting_for, self._verifier = ground, waiting_for, verifier

    async def tend(self) -> None:
        """After an accident: repair what differs, and discard the letters that wait for a decision."""
        while not self._ground.flags.current().dual_write:  # noqa: ASYNC110 - before, the target table is being filled
            await asyncio.sleep(1.0)
        while True:
            await asyncio.sleep(4.0)
            verifier = self._verifier()
            if verifier is not None:
                try:
                    if done := await verifier.process.call(verifier.repair()):
                        self._ground.story.tell("operator", f"has rows repaired: {done}")
                except CrossfadeError:
                    pass
                except asyncio.CancelledError:
                    if not verifier.process.dead:
                        raise  # it is the operator who is to end
            for letter in await self._ground.letters.all():
                self._ground.story.tell("operator", f"discards a letter: {letter.reason}")
                await self._ground.letters.remove(letter)

    async def run(self) -> None:
        journal = self._ground.store.journal
        asks = self._ground.script.asks
        for ask in ("start", *asks, *(() if _at_the_end(asks) else ("cutover",)), "complete"):
            await self._ask(ask)
        last = [each.body["to"] for each in journal if each.kind == "phase"][-1]
        assert last == Phase.COMPLETE.value, f"complete is done, and the phase is {last}"

    async def _ask(self, ask: str) -> None:
        verb, _, argument = ask.partition(" ")
        arguments: dict[str, Any] = {}
        if verb == "ramp":
            arguments = {"share": int(argument)}
        elif verb == "complete":
            arguments = {"confirm": MAPPING.name}
        elif verb == "start":
            arguments = {"exclude": []}
        mine = MemoryJournal(self._ground.store, who="ann", now_us=self._ground.network.now_us)
        for _ in range(20):
            self._ground.story.tell("operator", f"asks for {ask}")
            number = (await mine.append("intent", {"verb": verb, "arguments": arguments})).number
            outcome = await self._outcome(number, ask)
            self._ground.story.tell("operator", f"{ask} is {outcome['outcome']}: {outcome.get('because', '')}")
            if outcome["outcome"] == "done":
                return
            if "can't move" in str(outcome.get("because")) and verb == "complete":
                await self._ask("cutover")  # keys that were given back are taken up again
            await asyncio.sleep(1.0)
        raise AssertionError(f"the controller refuses to {ask}")

    async def _outcome(self, number: int, ask: str) -> Any:
        loop = self._ground.network.loop
        ends_s = loop.time() + self.PATIENCE_S
        while loop.time() < ends_s:
            await asyncio.sleep(0.2)
            for each in self._ground.store.journal[number:]:
                if each.kind == "outcome" and each.body["intent"] == number:
                    return each.body
        raise AssertionError(f"{ask} took longer than {self.PATIENCE_S:g} s; it waits for: {self._waiting_for()}")


def _at_the_end(asks: Sequence[str]) -> bool:
    """Say whether the asks end in BAKING."""
    return bool(asks) and asks[-1] == "cutover"
