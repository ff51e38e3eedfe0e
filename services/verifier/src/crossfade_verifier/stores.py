"""What one process keeps where: passes and their leases in the control table, spilled rows there or in a bucket."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack

from crossfade.adapters.control.members import DynamoMembers
from crossfade.adapters.control.owner_map import DynamoOwnerMaps
from crossfade.adapters.control.parts import ObjectBlobs
from crossfade.adapters.control.passes import DynamoPassStore
from crossfade.adapters.control.tables import control_db
from crossfade.adapters.control.tombstones import DynamoTombstones
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.plain_table import DynamoPlainTable
from crossfade.adapters.s3_objects import LazyClient, S3Objects
from crossfade.adapters.wire import Wire
from crossfade.application.membership import Membership
from crossfade.core.mapping.interface import Mapping
from crossfade.core.migration.control import control_tables
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.runtime.aws import control_client
from crossfade.runtime.clients import Clients
from crossfade_verifier.plain_repair import Member
from crossfade_verifier.settings import Settings


def member_of(settings: Settings, mapping: Mapping, clients: Clients, control: DynamoDB, clock: Clock) -> Member:
    """Return what standby rows are written with under the plain protocol; nothing is sent yet.

    Args:
        settings: of the process.
        mapping: of the migration.
        clients: of the process.
        control: the control tables.
        clock: of the process.
    """
    names = control_tables(mapping.name)
    membership = Membership(
        DynamoOwnerMaps(control, names.journal),
        DynamoMembers(control, names.reports, lease_s=settings.member_lease_s),
        clock=clock,
        name=f"repair-{settings.pod}-{secrets.token_hex(4)}",
        duty="repair",
        lease_s=settings.member_lease_s,
        signature_s=settings.signature_s,
    )
    dbs = clients.databases(permit=membership)
    tables = {side: DynamoPlainTable(dbs[side], mapping.shape(side), mapping.belongs) for side in Side}
    return Member(membership, tables, DynamoTombstones(control, names.reports))


def pass_store(settings: Settings, migration: str, dynamodb: Wire, stack: AsyncExitStack) -> DynamoPassStore:
    """Return the store.

    Args:
        settings: of the process; `spill` names the bucket, if there is one.
        migration: name of the migration.
        dynamodb: a wire client of the service "dynamodb".
        stack: closes what is opened.
    """
    blobs = None
    if settings.spill is not None:
        bucket, _, prefix = settings.spill.removeprefix("s3://").partition("/")
        client = LazyClient(lambda: control_client(settings, "s3"))
        stack.push_async_callback(client.close)
        blobs = ObjectBlobs(S3Objects(client, bucket), f"{prefix.rstrip('/')}/{migration}")
    return DynamoPassStore(control_db(dynamodb), control_tables(migration).reports, blobs=blobs)
