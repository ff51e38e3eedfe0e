"""Property tests reach no network: a socket opened here fails the test."""

from __future__ import annotations

import pytest
from pytest_socket import disable_socket, enable_socket


@pytest.fixture(autouse=True)
def no_sockets() -> object:
    disable_socket(allow_unix_socket=True)  # asyncio wakes itself through a socket pair
    yield
    enable_socket()
