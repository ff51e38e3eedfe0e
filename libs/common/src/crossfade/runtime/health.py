"""What a process reports about itself: starting, ready, stopping, or stuck.

GET /readyz    200 when it is ready for its work (waiting for work is ready, too), else 503, with the reason
GET /healthz   200 while it makes progress; 503 if some work takes longer than it ever may: restart it

Kubernetes can't present certificates to a probe, so this page has a port of its own, in plain HTTP for everybody, and
tells nothing but these words. A loop that hangs doesn't answer at all, which a probe takes for stuck, as it should.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from crossfade.runtime.http import anyone, page
from crossfade.runtime.listening import listening
from crossfade.runtime.urls import Address

STARTING: Final = "starting"
READY: Final = "ready"
STOPPING: Final = "stopping"


class _Work(NamedTuple):
    name: str
    until_s: float


class Health:
    """The standing of one process.

    Attributes:
        state: STARTING, READY or STOPPING.
        hindrance: why a process that has started can't do its work at the moment; empty when nothing hinders it. The
            page is open to everybody, so it holds no address and no name of a table.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin as STARTING.

        Args:
            monotonic: clock in seconds.
        """
        self.state = STARTING
        self.hindrance = ""
        self._monotonic = monotonic
        self._works: dict[int, _Work] = {}
        self._number = 0

    @contextmanager
    def working(self, name: str, longest_s: float) -> Iterator[None]:
        """Have work in progress; the process is stuck if it takes longer than this.

        Args:
            name: what it is, for humans.
            longest_s: the longest time it may take, in seconds, back-offs included.
        """
        self._number += 1
        number = self._number
        self._works[number] = _Work(name, self._monotonic() + longest_s)
        try:
            yield
        finally:
            del self._works[number]

    def stuck(self) -> list[str]:
        """Return the names of the work that took too long."""
        now_s = self._monotonic()
        return [work.name for work in self._works.values() if now_s > work.until_s]

    def readyz(self) -> tuple[HTTPStatus, dict[str, Any]]:
        """Answer whether the process is ready for its work."""
        if self.state == READY and self.hindrance:
            return HTTPStatus.SERVICE_UNAVAILABLE, {"state": self.state, "hindrance": self.hindrance}
        status = HTTPStatus.OK if self.state == READY else HTTPStatus.SERVICE_UNAVAILABLE
        return status, {"state": self.state}

    def healthz(self) -> tuple[HTTPStatus, dict[str, Any]]:
        """Answer whether the process makes progress."""
        stuck = self.stuck()
        status = HTTPStatus.SERVICE_UNAVAILABLE if stuck else HTTPStatus.OK
        return status, {"state": self.state, "stuck": stuck}


@asynccontextmanager
async def health_page(health: Health, address: Address | None) -> AsyncIterator[str]:
    """Serve the page until the context is left; yields its address, "127.0.0.1:8081", empty when there is none.

    Args:
        health: what it tells.
        address: where; None for no page.

    Raises:
        ConfigError: the port can't be opened.
    """
    if address is None:
        yield ""
        return
    routes = {"GET /healthz": anyone(page(health.healthz)), "GET /readyz": anyone(page(health.readyz))}
    async with listening(routes, address, for_all=True) as listens:
        yield listens
