"""What all tests share. Beside their packages, and in `tests/property`, they reach no network."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
from hypothesis import settings
from pytest_socket import disable_socket, enable_socket

ROOT: Final = Path(__file__).parent
WITHOUT_NETWORK: Final = ("libs", "services", "migrations", "demo", "tests/house", "tests/property")

pytest_plugins = ["localaws.fixture"]

settings.register_profile("suite", deadline=None)  # on a busy machine an example may take any time
settings.register_profile("check", deadline=None, max_examples=25)  # of make check
settings.load_profile("suite")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell, in the background; what we start inherits it
    signal.signal(signal.SIGINT, signal.default_int_handler)

_configure = structlog.configure


def _configure_uncached(*args: Any, **chosen: Any) -> None:
    _configure(*args, **{**chosen, "cache_logger_on_first_use": False})


structlog.configure = _configure_uncached  # a cached logger would keep the captured stdout of the test that made it


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Leave nothing of a program's logging behind, where a test configured it in this process."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.root.handlers[:] = [each for each in logging.root.handlers if each in handlers]
    logging.root.setLevel(level)


@pytest.fixture(autouse=True)
def no_sockets(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that opens a socket, where tests need none."""
    place = request.path.relative_to(ROOT)
    if not any(place.is_relative_to(each) for each in WITHOUT_NETWORK):
        yield
        return
    disable_socket(allow_unix_socket=True)  # asyncio wakes itself through a socket pair
    yield
    enable_socket()
