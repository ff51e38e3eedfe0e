"""Waiting for what a consumer needs: a phase, streams, tables. The log says what for, once each time that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from crossfade.adapters.table_ids import table_id
from crossfade.adapters.wire import Wire
from crossfade.core.values.errors import CrossfadeError, StoreRefused
from crossfade.ports.streams import StreamReader
from crossfade.runtime.pace import set_within

log = structlog.get_logger()

POLL_S: Final = 0.5

Missing = Callable[[], Awaitable[str]]
"""Says what is still missing; empty when nothing is."""


async def wait_for(missing: Missing, stop: asyncio.Event, *, consumer: str, poll_s: float = POLL_S) -> bool:
    """Wait until nothing is missing.

    Args:
        missing: asks the world.
        stop: ends the wait.
        consumer: for the log.
        poll_s: time between two looks.

    Returns:
        False when `stop` came first.

    Raises:
        CrossfadeError: asking was refused for good.
    """
    said = ""
    while not stop.is_set():
        try:
            what = await missing()
        except CrossfadeError as error:
            if not error.retryable:
                raise
            what = str(error)
        if not what:
            return True
        if what != said:
            log.info("waiting", consumer=consumer, waiting_for=what)
            said = what
        await set_within(stop, poll_s)
    return False


async def stream_missing(streams: StreamReader, stream: str) -> str:
    """Say whether a stream can't be read yet."""
    try:
        shards = await streams.list_shards(stream)
    except StoreRefused as error:
        if error.reason in {"ResourceNotFoundException", "ResourceInUseException"}:
            return f"stream {stream} to be ACTIVE"
        raise
    return "" if shards else f"stream {stream} to have shards"


async def table_missing(wire: Wire, table: str) -> str:
    """Say whether a table doesn't exist yet."""
    return "" if await table_id(wire, table) else f"table {table} to exist"
