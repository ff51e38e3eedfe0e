"""Where a verifier's process keeps its passes, and the rows that it spills."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack

import pytest
from pydantic import ValidationError

from crossfade.adapters.control.tables import create_control_tables
from crossfade.adapters.wire import Wire
from crossfade.contracts.passes import PassRecord
from crossfade.core.migration.control import control_tables
from crossfade.runtime.aws import control_client, wire_config
from crossfade_verifier.settings import Settings
from crossfade_verifier.stores import pass_store
from localaws.endpoints import Endpoints


@pytest.mark.embedded
@pytest.mark.parametrize("spilling", [False, True])
async def test_spilled_rows_go_to_the_bucket_that_is_named_or_stay_in_the_table(
    spilling: bool, local_aws: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", local_aws.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", local_aws.secret_access_key)
    bucket, migration = "b" + secrets.token_hex(8), "t" + secrets.token_hex(5)
    spill = f"s3://{bucket}/verifier/rows/" if spilling else None
    settings = Settings(aws_endpoint_url=local_aws.aws_endpoint, spill=spill)
    async with AsyncExitStack() as stack:
        s3 = await stack.enter_async_context(control_client(settings, "s3"))
        await s3.create_bucket(Bucket=bucket)
        wire = await stack.enter_async_context(Wire("dynamodb", wire_config(settings)))
        await create_control_tables(wire, control_tables(migration))
        store = pass_store(settings, migration, wire, stack)
        record = PassRecord(id="1", tables=("wallet", "engagement"), scan_units=1, created_us=1, state="running")
        await store.begin(record)
        await store.put_blob(record.id, "3/0-1", b"rows")
        await store.put_blob(record.id, "3/1-1", b"others")

        async def objects() -> list[str]:
            listed = await s3.list_objects_v2(Bucket=bucket)
            return [each["Key"] for each in listed.get("Contents", [])]

        root = f"verifier/rows/{migration}/1/3/"
        assert await objects() == ([root + "0-1", root + "1-1"] if spilling else [])
        assert await store.blobs(record.id, "3/") == ["3/0-1", "3/1-1"]
        assert await store.blob(record.id, "3/1-1") == b"others"
        assert await store.blob(record.id, "3/2-1") is None
        await store.change(record.replace(state="done"))
        await store.forget(record.id)
        assert await store.blobs(record.id) == await objects() == []


@pytest.mark.parametrize(
    "spill", ["s3://bucket", "bucket/prefix", "s3://Bucket/prefix", "https://bucket/prefix", "s3://b/p"]
)
def test_a_place_for_spilled_rows_that_is_none_is_refused_at_the_start(spill: str) -> None:
    with pytest.raises(ValidationError):
        Settings(spill=spill)
