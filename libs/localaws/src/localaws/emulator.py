"""ministack with all patches, put together. Importing this imports ministack, which reads the environment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import ministack.app

from localaws.access import access
from localaws.control import CONTROL_PREFIX
from localaws.dispatch import quick_answer
from localaws.http_server import Application, Quick, Request
from localaws.lateness import lateness
from localaws.patches import all as _all_patches  # noqa: F401  # registers them
from localaws.patches import metrics, registry
from localaws.patches.change_records import capture, sweep
from localaws.patches.event_sources import sources

__all__ = ["access", "application", "held", "start"]

application: Application = ministack.app.app


def held(request: Request) -> Awaitable[None] | None:
    """Return what a request has to wait for that is to come late."""
    delay_s = None if request.target.startswith(CONTROL_PREFIX) else lateness.delay_of(request)
    return None if delay_s is None else lateness.wait(delay_s)


def start(loop: asyncio.AbstractEventLoop, *, without: Sequence[str] = ()) -> Quick:
    """Install the patches and return what answers a request at once.

    Args:
        loop: runs what happens later: delayed change records, exports, imports.
        without: names of faults to leave unmended.

    Raises:
        UnknownPatch: a name is of no patch.
    """
    registry.install(without)
    capture.bind(loop)
    capture.later(metrics.publish_for_ever())
    capture.later(sources.run_for_ever())
    capture.later(sweep.run_for_ever())
    return quick_answer
