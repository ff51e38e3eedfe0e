"""The embedded AWS as a pytest plugin: `pytest_plugins = ["localaws.fixture"]` in the top conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localaws.endpoints import Endpoints
from localaws.stack import Stack


@pytest.fixture(scope="session")
def local_aws() -> Iterator[Endpoints]:
    """One embedded AWS, with Redis, for all tests of the run: use table and stream names of your own."""
    with Stack() as stack:
        yield stack.endpoints
