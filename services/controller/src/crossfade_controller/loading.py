"""Opens what fills a target table by writes, from settings."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crossfade.adapters.control.members import DynamoMembers
from crossfade.adapters.control.owner_map import DynamoOwnerMaps
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.raw_rows import DynamoRows
from crossfade.application.membership import Membership
from crossfade.core.mapping.interface import Mapping
from crossfade.core.migration.control import ControlTables
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.runtime.clients import Clients
from crossfade_controller.load_run import Loader, as_member, freely
from crossfade_controller.settings import ControllerSettings


@asynccontextmanager
async def loading(
    settings: ControllerSettings,
    mapping: Mapping,
    clients: Clients,
    control: DynamoDB,
    names: ControlTables,
    clock: Clock,
) -> AsyncIterator[Loader]:
    """Open what writes rows of the target table: as a member, where the protocol has members."""
    shape = mapping.shape(Side.TARGET)
    if mapping.protocol is not PLAIN:
        async with freely(
            DynamoRows(DynamoDB(clients.wire("dynamodb", Side.TARGET)), shape.table, shape.key)
        ) as loader:
            yield loader
        return
    membership = Membership(
        DynamoOwnerMaps(control, names.journal),
        DynamoMembers(control, names.reports, lease_s=settings.lease_s),
        clock=clock,
        name=f"{settings.pod}-load-{secrets.token_hex(4)}",
        duty="load",
        lease_s=settings.lease_s,
        signature_s=settings.signature_s,
    )
    dynamodb = DynamoDB(clients.wire("dynamodb", Side.TARGET, permit=membership))
    async with as_member(membership, DynamoRows(dynamodb, shape.table, shape.key)) as loader:
        yield loader
