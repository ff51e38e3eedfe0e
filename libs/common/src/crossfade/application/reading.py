"""Reads of many rows, of which one may be unreadable."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from crossfade.core.ownership.decisions import Found
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.ports.owned_table import OwnedTable


async def read_apart(table: OwnedTable, keys: Sequence[Key], *, consistent: bool) -> Mapping[Key, Found | PoisonRecord]:
    """Read rows together; one whose protocol attributes can't be read fails no other (ADR 0023).

    Args:
        table: one of the two.
        keys: at least one, each once.
        consistent: whether to see all writes that were acknowledged before.

    Returns:
        For each key what was found, or why it can't be read.

    Raises:
        CrossfadeError: the store did not answer.
    """
    try:
        items = await table.read_many(keys, consistent=consistent)
        return {key: Found(items.get(key)) for key in keys}
    except PoisonRecord as error:
        if len(keys) == 1:
            return {keys[0]: error}
    half = len(keys) // 2  # such rows are few: halves find them with few more requests
    parts = (read_apart(table, part, consistent=consistent) for part in (keys[:half], keys[half:]))
    one, other = await asyncio.gather(*parts)
    return {**one, **other}
