"""The process: both tables, both streams, passes, HTTP; and a clean end.

python -m crossfade_verifier.main [--check | --version | --help]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import structlog

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.control.dead_letters import DynamoDeadLetters
from crossfade.adapters.control.journal import DynamoJournal
from crossfade.adapters.control.owner_map import DynamoOwnerMaps
from crossfade.adapters.control.repairs import DynamoRepairs
from crossfade.adapters.control.tables import control_db
from crossfade.adapters.flagd import standing
from crossfade.adapters.kinesis import Kinesis
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.transfers import DynamoTransfers
from crossfade.core.mapping.interface import Mapping
from crossfade.core.migration.control import control_tables
from crossfade.core.parity.verdict import Names
from crossfade.core.replication.change import Change
from crossfade.core.values.shape import Side
from crossfade.runtime import lifecycle, telemetry
from crossfade.runtime.access import access_of
from crossfade.runtime.clients import Clients
from crossfade.runtime.listening import listening
from crossfade.runtime.logging import configure
from crossfade.runtime.pace import Pace
from crossfade.runtime.settings import describe_settings, load_checked
from crossfade.runtime.telemetry.contract import CROSSING, DIRECTION, PASS_DURATION
from crossfade.runtime.urls import Address
from crossfade_verifier.both import BothTables
from crossfade_verifier.continuous import Continuous
from crossfade_verifier.endpoints import routes
from crossfade_verifier.handing import Handing
from crossfade_verifier.heard import Heard
from crossfade_verifier.lags import Crossings
from crossfade_verifier.listing import Listing
from crossfade_verifier.looks import FirstLooks
from crossfade_verifier.masking import Reveals
from crossfade_verifier.measures import observed
from crossfade_verifier.passes import Passes
from crossfade_verifier.plain_repair import PlainRepairer
from crossfade_verifier.repair import Repairer
from crossfade_verifier.repairs import Repairs
from crossfade_verifier.report import Reporter
from crossfade_verifier.settings import Settings
from crossfade_verifier.spot import Spot
from crossfade_verifier.stores import member_of, pass_store
from crossfade_verifier.tails import Tail
from crossfade_verifier.watch import JOURNAL_EVERY, Watch

log = structlog.get_logger()

NAME: Final = "verifier"


class _Unclosed(Kinesis):
    """The wire client as the transport wants it; who made the wire closes it."""

    async def close(self) -> None:
        """See `faust_kinesis.KinesisClient`."""


class Service:
    """The parts of one process, put together; `run` serves with them."""

    def __init__(self, settings: Settings, mapping: Mapping, stack: AsyncExitStack) -> None:
        """Build the parts; `stack` closes what they open."""
        clients = Clients(settings, max_connections=2 * settings.segments + 8)
        stack.push_async_callback(clients.close)
        dynamodb, dbs = clients.wire("dynamodb"), clients.databases()
        stream_clients = {side: _Unclosed(clients.wire("kinesis", side)) for side in Side}
        self.settings, self.mapping = settings, mapping
        control, names = control_db(dynamodb), control_tables(mapping.name)
        maps = DynamoOwnerMaps(control, names.journal)
        source, target = (DynamoTable(dbs[side], mapping, side) for side in (Side.SOURCE, Side.TARGET))
        both = BothTables(mapping, source, target, maps)
        journal = DynamoJournal(control, names.journal, who=settings.pod, code=lifecycle.code_version())
        self.journal = journal
        self._admin = clients.admin(mapping)
        self.passes = Passes(
            both,
            settings,
            store=pass_store(settings, mapping.name, dynamodb, stack),
            journal=journal,
            clock=SYSTEM,
            complete=lambda: says_complete(settings.flag_file),
            at_most_us=lambda: int(dynamodb.dates.at_most_s() * 1e6),
            size=self._admin.size,
        )
        self.heard = Heard(SYSTEM.monotonic)
        self.continuous = Continuous(
            both,
            settings,
            self.passes.handovers,
            clock=SYSTEM,
            at_most_us=lambda: int(dynamodb.dates.at_most_s() * 1e6),
            behind_s=self._behind_s,
            complete=lambda: says_complete(settings.flag_file),
            swept=self.passes.swept,
            ask=self.passes.hurry,
        )
        self.passes.heard, self.passes.proven = self.continuous.differing, self.continuous.proven
        self.crossings = Crossings(settings.lag_per_million, both)
        streams = {Side.SOURCE: settings.source_stream, Side.TARGET: settings.target_stream}
        self.tails = {
            side: Tail(
                stream_clients[side],
                stream,
                mapping.shape(side),
                self._hear,
                poll_s=settings.poll_s,
                retry_s=settings.retry_s,
                now_s=stream_clients[side].now_s,
                clock=SYSTEM,
                on_gap=self.continuous.lost,
            )
            for side, stream in streams.items()
        }
        self._metrics = clients.metrics(mapping)
        self._both = both
        tables = {side: mapping.shape(side).table for side in Side}
        names_map = names.journal if both.is_plain else ""
        self.watch = Watch(Names(tables, streams, names.journal, names_map), clock=SYSTEM)
        if both.is_plain:
            member = member_of(settings, mapping, clients, control, SYSTEM)
            self.repairer: Repairer = PlainRepairer(both, member, self.passes, clock=SYSTEM)
        else:
            self.repairer = Repairer(
                both,
                {side: DynamoTransfers(dbs[side], mapping.shape(side), mapping.protocol) for side in Side},
                self.passes,
                clock=SYSTEM,
                complete=lambda: says_complete(settings.flag_file),
            )
        letters = DynamoDeadLetters(control, names.dead_letters)
        self.handing = Handing(both, self.passes, letters, clock=SYSTEM, every_s=settings.ask_every_s)
        self.repairs = Repairs(
            self.repairer,
            DynamoRepairs(control, names.reports),
            self.journal,
            clock=SYSTEM,
            pod=settings.pod,
            per_s=settings.repairs_per_s,
            retry_s=settings.retry_s,
            every_s=settings.ask_every_s,
            reads=Pace(settings.reads_per_s),
        )

        self.looks: FirstLooks | None = None
        active = telemetry.active()
        if active is not None:
            self._emit_to(active, both, streams)

    def _emit_to(self, active: telemetry.Telemetry, both: BothTables, streams: dict[Side, str]) -> None:
        if active.traces:
            self.looks = FirstLooks(active, both, streams, clock=SYSTEM)
        self.passes.on_done = lambda took_s: active.record(PASS_DURATION, took_s)
        self.crossings.on_taken = lambda to, taken_s: active.record(CROSSING, taken_s, {DIRECTION: f"to-{to.value}"})

    def _hear(self, side: Side, record: Change) -> None:
        change = self._both.told(side, record)
        if change is None:
            return
        self.passes.hear(side, change)
        self.continuous.hear(side, change)
        self.crossings.hear(side, change)
        self.heard.hear(side, change)
        if self.looks is not None:
            self.looks.hear(side, change)

    def _behind_s(self) -> float | None:
        """Return how far the reading of the streams is behind; None while one isn't read."""
        behind_s = [tail.behind_s() for tail in self.tails.values()]
        known_s = [each for each in behind_s if each is not None]
        return max(known_s) if len(known_s) == len(behind_s) else None

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set."""
        settings = self.settings
        report = Reporter(
            self.passes, settings, self.tails, self.crossings, self.watch, clock=SYSTEM, continuous=self.continuous
        )
        at = Address(settings.host, settings.http_port, "CROSSFADE_HTTP_PORT")
        listing = Listing(self.passes, self.continuous, settings.buckets, SYSTEM)
        spot = Spot(
            self._both,
            self.heard,
            self.tails,
            listing.called,
            settings,
            complete=lambda: says_complete(settings.flag_file),
            clock=SYSTEM,
        )
        doors = routes(self.passes, report, listing, spot, self.repairs, Reveals(self.journal), self.mapping, settings)
        active = telemetry.active()
        if active is not None:
            active.observe(lambda: observed(report, self.tails, self.repairer.repaired))
        async with (
            listening(
                doors, at, access=access_of(settings, SYSTEM), tls=settings.tls, for_all=settings.insecure
            ) as address,
            asyncio.TaskGroup() as group,
        ):
            tasks = [group.create_task(each) for each in self._background()]
            lifecycle.ready(address, pod=settings.pod)
            await stop.wait()
            for task in tasks:
                task.cancel()
        if self.looks is not None:
            self.looks.close()

    def _background(self) -> list[Coroutine[Any, Any, None]]:
        settings, watch = self.settings, self.watch
        every_s = settings.ask_every_s
        background = [
            self.passes.run(),
            self.continuous.run(),
            self.repairs.run(),
            self.handing.run(),
            *(tail.run() for tail in self.tails.values()),
            *watch.tables(self._both.table, every_s),
            *watch.owner(self._both.owning, every_s),
            *watch.captures(self._admin, every_s),
            watch.journal(self.journal, settings.pod, self.passes.repaired, JOURNAL_EVERY * every_s),
        ]
        if settings.cloudwatch:
            background += watch.first_hops(self._metrics, settings.lag_bound_s, settings.cloudwatch_every_s)
        else:
            watch.without_first_hops("CROSSFADE_CLOUDWATCH is off")
        return background


def says_complete(flag_file: Path | None) -> bool:
    """Return whether the flag document says `complete`; asked once a pass, so the file is read and not watched.

    A file that is missing says nothing: before COMPLETE the answer makes no difference. Of one that is refused, what
    it would say counts, since `complete` never ends (ADR 0018).
    """
    try:
        found = None if flag_file is None else standing(flag_file.read_text())
    except (OSError, ValueError):
        return False
    return found is not None and found.document.complete


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set.

    Raises:
        ConfigError: the mapping can't be loaded, or the port is taken.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(telemetry.running(NAME, settings))
        await Service(settings, settings.mapping(), stack).run(stop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service; return its exit code."""
    parser = argparse.ArgumentParser(
        prog=NAME,
        description="The verifier: compares both tables all the time. Settings are environment variables:",
        epilog=describe_settings(Settings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {version('crossfade-verifier')}")
    parser.add_argument("--check", action="store_true", help="check settings, mapping and files, then exit")
    wanted = parser.parse_args(arguments)
    settings = load_checked(Settings)
    if wanted.check:
        return 0
    configure(NAME, settings.log_level)
    return lifecycle.run(NAME, lambda stop: serve(settings, stop), health=settings.health_address)


if __name__ == "__main__":
    sys.exit(main())
