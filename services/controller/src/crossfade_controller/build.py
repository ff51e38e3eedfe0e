"""Assembles the real ports from settings. What is slow to import is created at first use."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple

import structlog

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.control.dead_letters import DynamoDeadLetters
from crossfade.adapters.control.heartbeats import DynamoHeartbeats
from crossfade.adapters.control.journal import DynamoJournal
from crossfade.adapters.control.lease import DynamoLease
from crossfade.adapters.control.reports import DynamoReports
from crossfade.adapters.control.status import DynamoStatusBoard
from crossfade.adapters.control.tables import control_db, missing_tables
from crossfade.adapters.describing import describe
from crossfade.adapters.dynamodb import Page
from crossfade.adapters.flagd import FlagFile
from crossfade.adapters.raw_rows import DynamoRows
from crossfade.adapters.s3_objects import S3Objects
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.transfers import DynamoTransfers
from crossfade.adapters.wire import Wire
from crossfade.application.ownership import Ownership
from crossfade.contracts.parity import ParityReport
from crossfade.core.migration.control import CONTROLLER_LEASE, ControlTables, control_tables
from crossfade.core.migration.evidence import Parity
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.parity.classes import FINAL, Difference
from crossfade.core.values.errors import ConfigError, CrossfadeError
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.flags import FlagPublisher, Flags
from crossfade.ports.owned_table import OwnedTable
from crossfade.runtime.clients import Clients
from crossfade.runtime.http_client import NO_TOKEN, Answered, Bearer, call_json
from crossfade.runtime.lifecycle import code_version
from crossfade.runtime.silence import ATTEMPT_S, ATTEMPTS
from crossfade.runtime.tls import client_context, keep_fresh
from crossfade_controller.hooks import run_command
from crossfade_controller.loading import loading
from crossfade_controller.mapping_crew import beside
from crossfade_controller.plain.building import plain_ports
from crossfade_controller.sampling import Rows, sample
from crossfade_controller.settings import ControllerSettings
from crossfade_controller.world import World

log = structlog.get_logger()


class Built(NamedTuple):
    """The world, and what only the service needs.

    Attributes:
        world: the ports.
        lease: the controller's.
        dynamodb: the wire client, for looking at the control tables.
        tables: names of the control tables.
    """

    world: World
    lease: DynamoLease
    dynamodb: Wire
    tables: ControlTables


class _Reader:
    """The flags in a process that must not publish them."""

    def __init__(self, place: FlagPublisher | None) -> None:
        self._place = place

    async def publish(self, document: FlagDocument, *, dual_write: bool) -> None:
        """Refuse."""
        raise ConfigError(f"only the controller publishes flags, not this program: {document}, dual_write={dual_write}")

    async def in_place(self) -> Flags | None:
        """Return what is published; None where this process can't see it."""
        return None if self._place is None else await self._place.in_place()


def _place(settings: ControllerSettings) -> FlagPublisher | None:
    if settings.flag_config_map:
        from crossfade.adapters.config_map import ConfigMapFlags, in_cluster

        return ConfigMapFlags(settings.flag_config_map, in_cluster())
    if settings.flag_file is None:
        return None
    return FlagFile(settings.flag_file)


def _flags(settings: ControllerSettings, publishes: bool) -> FlagPublisher:
    if not publishes:
        with suppress(ConfigError):  # the CLI outside of the cluster: the tables tell enough
            return _Reader(_place(settings))
        return _Reader(None)
    return _place(settings) or _Reader(None)


@asynccontextmanager
async def build(settings: ControllerSettings, *, who: str, under_lease: bool) -> AsyncIterator[Built]:
    """Connect to everything; close it at the end.

    Args:
        settings: of the process.
        who: writes into the journal.
        under_lease: for the service: journal entries are written under the lease, and flags can be published.
    """
    mapping = settings.mapping()
    # An operator waits for a command; the service waits out the large files of a snapshot.
    clients = Clients(settings) if under_lease else Clients(settings, timeout_s=ATTEMPT_S, attempts=ATTEMPTS)
    dynamodb, dbs = clients.wire("dynamodb"), clients.databases()
    control, names = control_db(dynamodb), control_tables(mapping.name)
    tables: dict[Side, OwnedTable] = {side: DynamoTable(dbs[side], mapping, side) for side in Side}
    lease = DynamoLease(control, names.leases, CONTROLLER_LEASE, holder=settings.pod, lease_s=settings.lease_s)
    excluded: set[Key] = set()
    tls = client_context(settings.tls) if settings.tls else None
    renewing = asyncio.create_task(keep_fresh(settings.tls, tls)) if settings.tls and tls else None

    async def rows(side: Side, wanted: Callable[[Image], bool]) -> Rows:
        table = mapping.shape(side).table

        async def page(*, segment: int, segments: int, start: Image | None, limit: int) -> Page:
            return await dbs[side].scan(
                table, segment=segment, segments=segments, start=start, limit=limit, consistent=False
            )

        return await sample(page, rows=settings.plan_sample, units=settings.plan_units, wanted=wanted)

    world = World(
        settings=settings,
        mapping=mapping,
        journal=DynamoJournal(
            control, names.journal, who=who, code=code_version(), lease=lease if under_lease else None
        ),
        board=DynamoStatusBoard(control, names.heartbeats),
        heartbeats=DynamoHeartbeats(control, names.heartbeats),
        reports=DynamoReports(control, names.reports),
        letters=DynamoDeadLetters(control, names.dead_letters),
        admin=clients.admin(mapping, bucket_owner=settings.bucket_owner),
        objects=S3Objects(clients.lazy("s3"), settings.bucket),
        metrics=clients.metrics(mapping, period_s=settings.metric_period_s),
        parity=lambda: ask_verifier(settings.verifier_url, tls, settings.bearer),
        ask_for_pass=lambda: ask_for_pass(settings.verifier_url, tls, settings.bearer),
        flags=_flags(settings, publishes=under_lease),
        tables=tables,
        copies={side: DynamoTransfers(dbs[side], mapping.shape(side), mapping.protocol) for side in Side},
        ownership=Ownership(
            tables[Side.SOURCE], tables[Side.TARGET], mapping, clock=SYSTEM, excluded=excluded.__contains__
        ),
        shards=clients.streams(mapping),
        rows=rows,
        missing_control_tables=lambda: missing_tables(dynamodb, names),
        command=lambda command: run_command(command, settings.hook_timeout_s),
        excluded=excluded,
        skew=dynamodb.dates.skew,
        clock=SYSTEM,
        describe=lambda side, only: describe(
            partial(clients.lazy, side=side), mapping.shape(side).table, now_s=SYSTEM.wall_us() / 1e6, only=only
        ),
        source_rows=DynamoRows(dbs[Side.SOURCE], mapping.shape(Side.SOURCE).table, mapping.shape(Side.SOURCE).key),
        loader=partial(loading, settings, mapping, clients, control, names, SYSTEM),
        map_beside=partial(beside, settings),
        plain=plain_ports(settings, mapping, clients, control, names, clock=SYSTEM),
    )
    try:
        yield Built(world, lease, dynamodb, names)
    finally:
        if renewing is not None:
            renewing.cancel()
        await clients.close()


async def ask_verifier(url: str, tls: ssl.SSLContext | None = None, bearer: Bearer = NO_TOKEN) -> Parity:
    """Ask for GET /parity; what can't be read is an unreachable verifier."""
    if not url:
        return Parity(detail="CROSSFADE_VERIFIER_URL is not set")
    try:
        return parity_of(await call_json(f"{url.rstrip('/')}/parity", tls=tls, bearer=bearer))
    except (CrossfadeError, ValueError) as error:
        return Parity(detail=str(error) or type(error).__name__)


async def ask_for_pass(url: str, tls: ssl.SSLContext | None = None, bearer: Bearer = NO_TOKEN) -> None:
    """Ask the verifier to begin a pass now; it starts passes on its own, too, so a refusal is harmless."""
    if url:
        try:
            await call_json(f"{url.rstrip('/')}/passes", {}, tls=tls, bearer=bearer)
        except CrossfadeError as error:
            if isinstance(error, Answered) and error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                log.warning("the verifier takes no requests for passes from this controller", error=str(error))


def parity_of(body: dict[str, Any]) -> Parity:
    """Read the verifier's answer.

    Raises:
        UnknownDocument: it isn't one that this build can read.
    """
    report = ParityReport.of_dict(body)
    harmless = {each.value for each in Difference if each not in FINAL}  # a newer verifier's class may not be
    drift = {name: each.count for name, each in report.differences.items() if each.count and name not in harmless}
    if report.not_ours_in_target:
        drift["not_ours_in_target"] = report.not_ours_in_target
    clean = report.last_clean_pass
    return Parity(
        reachable=True,
        clean_pass_age_s=clean.age_s if clean else None,
        clean_pass_began_s=clean.started_age_s if clean else None,
        drift=drift,
        in_handover=report.in_handover.keys,
        detail=f"{report.verdict}: {report.reason}",
    )
