"""Owned tables under test: each test that opens one runs on the memory fake and on the embedded AWS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.mapping.rules import RuleMapping
from crossfade.core.values.shape import Side
from engagement_migration import MAPPING
from engine_tables import create_plain_table
from localaws import Endpoints
from owned_benches import EmbeddedBench, MemoryBench, OpenBench


@pytest.fixture
def mapping() -> RuleMapping:
    """Of the tables; a module that is about another domain has a fixture of that name."""
    return MAPPING


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.embedded)])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def open_bench(engine: str, mapping: RuleMapping, request: pytest.FixtureRequest) -> AsyncIterator[OpenBench]:
    if engine == "memory":
        yield partial(MemoryBench, mapping)
        return
    local_aws: Endpoints = request.getfixturevalue("local_aws")
    keys = StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key))
    async with Wire("dynamodb", WireConfig(local_aws.region, local_aws.aws_endpoint), keys) as client:
        benches = {side: EmbeddedBench(DynamoDB(client), mapping, side) for side in Side}
        for bench in benches.values():
            await create_plain_table(client, bench.table.shape)
        yield benches.__getitem__
