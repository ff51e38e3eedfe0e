"""Puts a plain pipeline together on the process's clients."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from collections.abc import Mapping as Mapped
from contextlib import AsyncExitStack
from typing import NamedTuple

from crossfade.adapters.control.members import DynamoMembers
from crossfade.adapters.control.owner_map import DynamoOwnerMaps
from crossfade.adapters.control.reports import DynamoReports
from crossfade.adapters.control.tombstones import DynamoTombstones
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.kinesis import Kinesis
from crossfade.adapters.plain_owner import DynamoOwnerWrites
from crossfade.adapters.plain_table import DynamoPlainTable
from crossfade.adapters.plain_transfers import PlainTransfers
from crossfade.adapters.wire import Wire
from crossfade.application.membership import Membership
from crossfade.core.mapping.interface import Mapping
from crossfade.core.migration.control import control_tables
from crossfade.core.protocol.plain.map import State
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.clock import Clock
from crossfade.ports.control import DeadLetters
from crossfade.runtime.aws import access_to, credentials_of, wire_config
from crossfade.runtime.clients import Clients
from crossfade_replicator.kill_points import KillPoints
from crossfade_replicator.plain.answered import Answered
from crossfade_replicator.plain.handed import Handed
from crossfade_replicator.plain.hints import Hints
from crossfade_replicator.plain.letters import Letters
from crossfade_replicator.plain.pipeline import PlainPipeline
from crossfade_replicator.plain.progress import Progress, Witness
from crossfade_replicator.plain.writes import StandbyWrites
from crossfade_replicator.settings import Settings


class Parts(NamedTuple):
    """A pipeline, and what its process must do for it.

    Attributes:
        pipeline: applies.
        membership: to be run, and to be left at the end.
        writes: of the pipeline, for its figures.
        answered: lets letters go.
        handed: settles keys that the verifier has handed over.
    """

    pipeline: PlainPipeline
    membership: Membership
    writes: StandbyWrites
    answered: Answered
    handed: Handed

    async def tidy(self) -> int:
        """Let letters go, and settle what the verifier has handed over; to be called now and then."""
        return await self.answered.look() + await self.handed.look()


def plain_parts(
    settings: Settings,
    mapping: Mapping,
    direction: Direction,
    *,
    clients: Clients,
    control: DynamoDB,
    streams: Mapped[Side | None, Kinesis],
    letters: DeadLetters,
    stack: AsyncExitStack,
    kill: KillPoints,
    clock: Clock,
    strays_since_us: Callable[[], Awaitable[int]],
    duty: str = "",
) -> Parts:
    """Put the parts together; nothing is sent yet.

    Args:
        settings: of the process.
        mapping: of the migration.
        direction: which way.
        clients: of the process, for reads.
        control: the control tables.
        streams: reads the streams, by side.
        letters: the dead-letter store.
        stack: closes what is opened here.
        kill: points at which tests kill the process.
        clock: of the process.
        strays_since_us: see `crossfade_replicator.plain.pipeline.PlainPipeline`.
        duty: as a member; the direction's name unless told.
    """
    tables, consumer = control_tables(mapping.name), direction.value
    duty = duty or consumer
    membership = Membership(
        DynamoOwnerMaps(control, tables.journal),
        DynamoMembers(control, tables.reports, lease_s=settings.member_lease_s),
        clock=clock,
        name=f"{duty}-{settings.pod}-{secrets.token_hex(4)}",
        duty=duty,
        lease_s=settings.member_lease_s,
        signature_s=settings.signature_s,
    )

    def written(side: Side) -> DynamoDB:
        """Return the data plane of a table whose requests only a member signs."""
        config = wire_config(settings, max_connections=settings.in_flight * 2, side=side)
        wire = Wire("dynamodb", config, credentials_of(access_to(settings, side)), permit=membership)
        stack.push_async_callback(wire.close)
        return DynamoDB(wire)

    def sealed() -> bool:
        return membership.view is None or membership.view.state is State.SEALED

    read = clients.databases()
    shapes = {side: mapping.shape(side) for side in Side}
    origin, destination = direction.origin, direction.destination
    to_destination = written(destination)
    old = DynamoPlainTable(read[origin], shapes[origin], mapping.belongs)
    there = DynamoPlainTable(to_destination, shapes[destination], mapping.belongs)
    seen = DynamoPlainTable(read[destination], shapes[destination], mapping.belongs)
    told = Letters(consumer, letters, clock)
    writes = StandbyWrites(
        mapping,
        direction,
        copies=PlainTransfers(to_destination, shapes[destination], in_flight=settings.in_flight),
        standby=there,
        owner=old,
        tombstones=DynamoTombstones(control, tables.reports),
        clock=clock,
        stops=sealed,
        on_request=lambda: kill.reached("between-writes"),
    )
    other = Direction.REVERSE if direction is Direction.FORWARD else Direction.FORWARD
    names = {Side.SOURCE: settings.source_stream, Side.TARGET: settings.target_stream}
    witnesses = {side: Witness(streams[side], names[side], shapes[side].key, streams[side].now_s) for side in Side}
    hints = Hints(
        mapping,
        direction,
        membership=membership,
        old=old,
        owner=seen,
        owner_writes=DynamoOwnerWrites(to_destination, shapes[destination]),
        progress=Progress(
            DynamoReports(control, tables.reports), other.value, streams[destination], names[destination], clock
        ),
        witness=witnesses[destination],
        old_witness=witnesses[origin],
        letters=told,
        clock=clock,
    )
    answered = Answered(mapping, direction, letters, seen)
    pipeline = PlainPipeline(
        mapping,
        direction,
        membership=membership,
        writes=writes,
        hints=hints,
        letters=told,
        answered=answered,
        kill=kill,
        strays_since_us=strays_since_us,
    )
    return Parts(pipeline, membership, writes, answered, Handed(consumer, letters, hints))
