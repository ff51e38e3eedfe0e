"""Tells the marks which table they speak of: its id, which changes when the table is dropped and imported again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from crossfade.adapters.redis_dedup import RedisMarks
from crossfade.adapters.table_ids import table_id
from crossfade.adapters.wire import Wire
from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.shape import Direction
from crossfade.ports.clock import Clock

log = structlog.get_logger()

LOOK_S: Final = 2.0
"""How often to look for a table that has no id yet."""

AGAIN_S: Final = 60.0
"""How often to look whether a table is still the same."""


async def name_targets(
    marks: RedisMarks, wire: Wire, mapping: Mapping, wanted: Callable[[], bool], *, clock: Clock, look_s: float = LOOK_S
) -> None:
    """Keep the marks' table ids true, until cancelled. Without an id there are no marks, which only costs money.

    Args:
        marks: to tell.
        wire: a client of DynamoDB.
        mapping: names the tables.
        wanted: whether marks are needed now; nobody asks before that.
        clock: of the process.
        look_s: see `LOOK_S`.
    """
    known: dict[Direction, str] = {}
    while True:
        if wanted():
            for direction in Direction:
                with suppress(CrossfadeError):
                    found = await table_id(wire, mapping.shape(direction.destination).table)
                    if found is not None and found != known.get(direction):
                        known[direction] = found
                        marks.name_destination(direction, found)
                        log.info("marks speak of", direction=direction.value, table_id=found)
        await clock.sleep(AGAIN_S if len(known) == len(Direction) else look_s)
