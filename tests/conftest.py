"""What all tests share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import settings

pytest_plugins = ["localaws.fixture"]

settings.register_profile("suite", deadline=None)  # on a busy machine an example may take any time
settings.load_profile("suite")

_configure = structlog.configure


def _configure_uncached(**chosen: Any) -> None:
    _configure(**{**chosen, "cache_logger_on_first_use": False})


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
