"""The process: settings, both tables, flags, heartbeat, gRPC; and a clean end.

python -m engagement_api.main [--check | --version | --help]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any, Final

import structlog

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.control.heartbeats import DynamoHeartbeats
from crossfade.adapters.control.reports import DynamoReports
from crossfade.adapters.control.tables import control_db
from crossfade.adapters.flags import FlagdFile
from crossfade.adapters.redis_dedup import RedisMarks
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.transfers import DynamoTransfers
from crossfade.adapters.wire import Wire
from crossfade.application.epochs import Epochs
from crossfade.application.ownership import Ownership
from crossfade.application.pulse import Pulse
from crossfade.core.mapping.interface import Mapping
from crossfade.core.migration.control import control_tables
from crossfade.core.values.shape import Side
from crossfade.gen.engagement.v1.engagement_service_pb2_grpc import add_EngagementServiceServicer_to_server
from crossfade.runtime import lifecycle, telemetry
from crossfade.runtime.aws import wire_config
from crossfade.runtime.clients import Clients
from crossfade.runtime.figures import Figures, tell
from crossfade.runtime.grpc import RpcServer
from crossfade.runtime.logging import configure
from crossfade.runtime.settings import describe_settings, load_checked
from engagement_api.measures import observed
from engagement_api.mirror import Mirror
from engagement_api.points import Points
from engagement_api.report import Tally, report
from engagement_api.servicer import EngagementServicer
from engagement_api.settings import Settings
from engagement_api.targets import name_targets

log = structlog.get_logger()

NAME: Final = "engagement-api"

WATCH_S: Final = 0.1
"""How often the flags are evaluated; the requests between two evaluations share the result."""

READINESS_S: Final = 0.1
"""How often it is looked whether owner writes are allowed: a lease ends at a time, not with an event."""

FIGURES_S: Final = 1.0
"""How often failures and latency are reported to the controller."""

COPY_CONNECTIONS: Final = 8
"""As many as the dual write has requests at a time, both sides together."""


class Service:
    """The parts of one process, put together; `run` serves with them."""

    def __init__(self, settings: Settings, mapping: Mapping, flags: FlagdFile, stack: AsyncExitStack) -> None:
        """Build the parts on flags that have been read; `stack` closes what they open."""
        clients = Clients(settings, max_connections=settings.connections)
        # Heartbeat and copies have connections of their own: the one must not wait behind the calls that it permits,
        # the others must not make a call wait.
        self.control = Wire("dynamodb", wire_config(settings, max_connections=2))
        copies = Clients(settings, max_connections=COPY_CONNECTIONS)
        for each in (clients, self.control, copies):
            stack.push_async_callback(each.close)
        self.settings = settings
        self.mapping = mapping
        self.epochs = Epochs(flags)
        self.pulse = Pulse(
            DynamoHeartbeats(control_db(self.control), control_tables(mapping.name).heartbeats),
            self.epochs,
            clock=SYSTEM,
            pod=settings.pod,
            lease_s=settings.lease_s,
            longest_operation_s=settings.operation_s,
        )
        dbs, copied = clients.databases(), copies.databases()
        self.marks = RedisMarks(settings.redis_url, mapping.name) if settings.redis_url else None
        if self.marks:
            stack.push_async_callback(self.marks.close)
        self.mirror = Mirror(
            mapping,
            {side: DynamoTransfers(copied[side], mapping.shape(side), mapping.protocol) for side in Side},
            self.marks,
            self.epochs,
            clock=SYSTEM,
            budget_s=settings.dual_write_budget_ms / 1000,
            call_s=settings.dual_write_call_s,
        )
        self.tally = Tally()
        self.figures = Figures()
        self.reports = DynamoReports(control_db(self.control), control_tables(mapping.name).reports)
        points = Points(
            Ownership(
                DynamoTable(dbs[Side.SOURCE], mapping, Side.SOURCE),
                DynamoTable(dbs[Side.TARGET], mapping, Side.TARGET),
                mapping,
                clock=SYSTEM,
            ),
            mapping,
            self.epochs,
            self.pulse,
            self.mirror,
            clock=SYSTEM,
            operation_s=settings.operation_s,
            tally=self.tally,
        )
        self.server = RpcServer(
            host=settings.host,
            port=settings.port,
            max_message_bytes=settings.max_message_bytes,
            max_concurrent_calls=settings.max_concurrent_calls,
            connection_age_s=settings.connection_age_s,
            connection_grace_s=settings.drain_s,
            tls=settings.tls,
        )
        servicer = EngagementServicer(points, self.figures, clock=SYSTEM, trace_per_million=settings.trace_per_million)
        self.server.add(add_EngagementServiceServicer_to_server, servicer)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain and withdraw the heartbeat."""
        address = await self.server.start()
        await self.pulse.beat()
        if (active := telemetry.active()) is not None:
            active.observe(self._observed)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in self._background()]
            await self._say(self.pulse.hindrance)
            gc.freeze()  # what lives by now lives to the end: no collection need look at it
            lifecycle.ready(address, pod=self.settings.pod)
            await stop.wait()
            await self.server.stop(notice_s=self.settings.drain_notice_s, grace_s=self.settings.drain_s)
            await self.mirror.close(self.settings.dual_write_call_s)
            for task in tasks:
                task.cancel()
        await self.pulse.leave()

    async def _follow(self) -> None:
        """Tell health checks whether the pod may write, until cancelled: one that can't renew its heartbeat may not."""
        while True:
            await SYSTEM.sleep(READINESS_S)
            if (hindrance := self.pulse.hindrance) != lifecycle.HEALTH.hindrance:
                await self._say(hindrance)

    async def _say(self, hindrance: str) -> None:
        if hindrance:
            log.warning("not serving", because=hindrance)
        elif lifecycle.HEALTH.hindrance:
            log.info("serving again")
        lifecycle.HEALTH.hindrance = hindrance
        await self.server.serving(not hindrance)

    def _observed(self) -> Iterator[telemetry.Observed]:
        return observed(self.tally, self.figures, self.epochs, self.pulse, self.mirror.counts, self.marks)

    def _background(self) -> list[Coroutine[Any, Any, None]]:
        background = [
            self.epochs.watch(WATCH_S, SYSTEM),
            self.pulse.run(),
            self._follow(),
            report(self.settings.report_s, self.tally, self.epochs, self.pulse, self.mirror.counts, clock=SYSTEM),
            tell(FIGURES_S, self.figures, self.reports, self.settings.pod),
        ]
        if self.marks:
            background.append(
                name_targets(
                    self.marks, self.control, self.mapping, lambda: self.epochs.current.dual_write, clock=SYSTEM
                )
            )
        return background


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set.

    Raises:
        ConfigError: the mapping or the flag file can't be read, or the port is taken.
    """
    async with AsyncExitStack() as stack:
        mapping = settings.mapping()
        flags = FlagdFile(settings.flags(), settings.flag_poll_s)
        stack.push_async_callback(flags.close)
        await flags.start()
        await stack.enter_async_context(telemetry.running(NAME, settings))
        await Service(settings, mapping, flags, stack).run(stop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service; return its exit code."""
    parser = argparse.ArgumentParser(
        prog=NAME,
        description="The Engagement API: gRPC on one port. Settings are environment variables:",
        epilog=describe_settings(Settings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {version('crossfade-engagement-api')}")
    parser.add_argument("--check", action="store_true", help="check settings, mapping and flag file, then exit")
    wanted = parser.parse_args(arguments)
    settings = load_checked(Settings)
    if wanted.check:
        return 0
    configure(NAME, settings.log_level)
    return lifecycle.run(NAME, lambda stop: serve(settings, stop), health=settings.health_address)


if __name__ == "__main__":
    sys.exit(main())
