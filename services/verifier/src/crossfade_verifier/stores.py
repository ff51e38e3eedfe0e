"""The store of passes of one process: records and leases in the control table, spilled rows there or in a bucket."""

from __future__ import annotations

from contextlib import AsyncExitStack

from crossfade.adapters.control.parts import ObjectBlobs
from crossfade.adapters.control.passes import DynamoPassStore
from crossfade.adapters.control.tables import control_db
from crossfade.adapters.s3_objects import LazyClient, S3Objects
from crossfade.adapters.wire import Wire
from crossfade.core.migration.control import control_tables
from crossfade.runtime.aws import control_client
from crossfade_verifier.settings import Settings


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
