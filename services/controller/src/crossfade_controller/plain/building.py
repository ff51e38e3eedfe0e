"""Assembles what a flip reaches from settings."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from crossfade.adapters.control.members import DynamoMembers
from crossfade.adapters.control.owner_map import DynamoOwnerMaps
from crossfade.adapters.control.tombstones import DynamoTombstones
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.plain_table import DynamoPlainTable
from crossfade.adapters.resource_policy import PolicyGuards
from crossfade.application.membership import Membership
from crossfade.core.mapping.interface import Mapping as MigrationMapping
from crossfade.core.migration.control import ControlTables
from crossfade.core.migration.keyed import phases_of
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Side
from crossfade.ports.admin import TableFacts
from crossfade.ports.clock import Clock
from crossfade.runtime.clients import Clients
from crossfade_controller.hooks import run_command
from crossfade_controller.plain.ports import PlainPorts
from crossfade_controller.settings import ControllerSettings

DUTY: Final = "tail"
"""The coordinator's own, as a member."""


def plain_ports(
    settings: ControllerSettings,
    mapping: MigrationMapping,
    clients: Clients,
    control: DynamoDB,
    names: ControlTables,
    *,
    clock: Clock,
) -> PlainPorts | None:
    """Return what a flip reaches; None for a migration whose writers follow a protocol.

    Args:
        settings: of the process.
        mapping: of the migration.
        clients: of home and of both sides.
        control: the data plane of the control tables.
        names: of the control tables.
        clock: of the process.
    """
    if phases_of(mapping.protocol).flags:
        return None
    name = f"{settings.pod}-{secrets.token_hex(4)}"
    maps = DynamoOwnerMaps(control, names.journal)
    members = DynamoMembers(control, names.reports, lease_s=settings.lease_s)
    membership = Membership(
        maps,
        members,
        clock=clock,
        name=name,
        duty=DUTY,
        lease_s=settings.lease_s,
        signature_s=settings.signature_s,
    )
    databases = clients.databases(permit=membership)
    return PlainPorts(
        maps=maps,
        members=members,
        membership=membership,
        tombstones=DynamoTombstones(control, names.reports),
        tables={
            side: DynamoPlainTable(databases[side], mapping.shape(side), partial(mapping.belongs_at, side))
            for side in Side
        },
        guards=_guards(settings, mapping, clients) if settings.guard else None,
        hook=_hook,
        skews={side: clients.wire("dynamodb", side).dates.skew for side in Side},
        name=name,
    )


def _guards(settings: ControllerSettings, mapping: MigrationMapping, clients: Clients) -> PolicyGuards:
    admin = clients.admin(mapping)

    async def facts(side: Side) -> TableFacts:
        name = mapping.shape(side).table
        found = await admin.table(name)
        if found is None:
            raise ConfigError(f"there is no table {name}")
        return found

    identity = {"profile": settings.probe_profile, "role_arn": settings.probe_role_arn}
    return PolicyGuards(
        {side: clients.wire("dynamodb", side) for side in Side},
        {side: clients.wire_as(side, **identity) for side in Side},
        facts,
        settings.guard_roles,
    )


async def _hook(command: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> tuple[int, str]:
    return await run_command(command, timeout_s, environment)
