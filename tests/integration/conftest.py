"""What several modules of this folder start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from api_stage import Stage

from localaws import Endpoints


@pytest.fixture
async def stage(local_aws: Endpoints, tmp_path: Path) -> AsyncIterator[Stage]:
    """Tables of their own, and API processes that end with the test."""
    made = Stage(local_aws, tmp_path)
    try:
        await made.prepare()
        yield made
    finally:
        made.end()
        await made.wire.close()
