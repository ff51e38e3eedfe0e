"""Start, run and stop a process cleanly."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import structlog
import uvloop

from crossfade.core.values.errors import CrossfadeError
from crossfade.runtime.health import READY, STOPPING, Health, health_page
from crossfade.runtime.urls import Address

log = structlog.get_logger()

FAILED: Final = 1
"""Exit code of a service that stopped because of an error."""

HEALTH: Final = Health()
"""This process's standing: `ready` and the stop signal set it, a service marks in it what work it has in hand."""


def code_version() -> str:
    """Return the version of the code that runs, as journal entries carry it."""
    try:
        return version("crossfade-common")
    except PackageNotFoundError:
        return "unknown"


def on_signals(stop: asyncio.Event) -> None:
    """Set `stop` at the first SIGTERM or SIGINT; end the process at the second."""

    def asked(number: signal.Signals) -> None:
        # Logging comes last: it fails where nobody reads the log any more, and the process must end anyway.
        if stop.is_set():
            try:
                log.warning("ended at once", signal=number.name)
            finally:
                os._exit(128 + number)
        HEALTH.state = STOPPING
        stop.set()
        log.info("stopping", signal=number.name)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)


def run(service: str, main: Callable[[asyncio.Event], Awaitable[None]], *, health: Address | None = None) -> int:
    """Run a service until it ends or is asked to stop.

    Args:
        service: name for the logs; `crossfade.runtime.logging.configure` comes first.
        main: the service; it returns soon after the event is set, with everything checkpointed and closed.
        health: where the health page is served; None for nowhere.

    Returns:
        The exit code: 0 after a clean stop, 1 after an error, which is logged.
    """

    async def guarded() -> None:
        stop = asyncio.Event()
        on_signals(stop)
        async with health_page(HEALTH, health) as page:
            if page:
                log.info("health page", address=page)
            await main(stop)

    started_s = time.monotonic()
    log.info("starting", pid=os.getpid(), version=code_version())
    try:
        uvloop.run(guarded())
    except CrossfadeError as error:
        log.error("failed", code=error.code, error=str(error))
        return FAILED
    except Exception:
        log.exception("failed")
        return FAILED
    log.info("stopped", service_name=service, ran_s=round(time.monotonic() - started_s, 1))
    return 0


def ready(address: str, **more: object) -> None:
    """Log the line that a parent process waits for.

    Args:
        address: where the service listens, "127.0.0.1:50051"; empty when it doesn't.
        more: whatever else a parent should know.
    """
    if HEALTH.state != STOPPING:
        HEALTH.state = READY
    log.info("ready", address=address, **more)
