"""What a pass will cost, before it begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from typing import NamedTuple, TypeAlias

import structlog

from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.shape import Side
from crossfade.ports.admin import TableSize
from crossfade_verifier.pass_views import Pass
from crossfade_verifier.scan_unit import UNIT_BYTES

log = structlog.get_logger()

Sizing: TypeAlias = Callable[[str], Awaitable[TableSize | None]]
"""Asks how large a table is, by its name."""


class Cost(NamedTuple):
    """What a pass is expected to read.

    Attributes:
        rows: by side; nothing where it isn't known.
        read_units: of both scans; 0 where it isn't known.
    """

    rows: Mapping[str, int]
    read_units: float


async def expected(last: Pass | None, tables: Mapping[Side, str], sizing: Sizing | None) -> Cost:
    """Return what the next pass will cost: as the last one did, or by the tables' sizes, which may be hours old.

    Args:
        last: the last pass that was done.
        tables: names.
        sizing: see there; None where nobody knows.
    """
    if last is not None and last.record.counts:
        return Cost(dict(last.record.counts.get("scanned", {})), last.read_units)
    if sizing is None:
        return Cost({}, 0.0)
    sizes: dict[str, TableSize] = {}
    for side, table in tables.items():
        try:
            found = await sizing(table)
        except CrossfadeError as error:
            log.info("the size of a table is unknown", table=table, reason=str(error))
            continue
        if found is not None:
            sizes[side.value] = found
    rows = {name: size.rows for name, size in sizes.items()}
    return Cost(rows, sum(ceil(size.bytes / UNIT_BYTES) / 2 for size in sizes.values()))
