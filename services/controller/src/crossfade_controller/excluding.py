"""Keys that an operator leaves out of the migration: which they are, and whether the rows they name are there."""

from __future__ import annotations

from collections.abc import Mapping as Arguments
from typing import Any

from crossfade.core.mapping.interface import Mapping
from crossfade.core.migration.asking import FRESH
from crossfade.core.migration.state import Migration
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import Side
from crossfade.ports.table import RowTable

NAMED = 5


async def why_not_excluded(mapping: Mapping, table: RowTable, state: Migration, arguments: Arguments[str, Any]) -> str:
    """Say which keys can't be left out, by name and with the cure; empty when all can.

    A key with a slip in it would exclude nothing, and the row that was meant would stop the snapshot or be moved.

    Args:
        mapping: of the migration.
        table: the source table.
        state: of the migration: keys that it has left out before are not looked at again, unless for a fresh export.
        arguments: of START: `exclude` has encoded keys, as typed; `exclude_unknown` takes those without a row, too.
    """
    even_unknown = bool(arguments.get("exclude_unknown"))
    known = frozenset() if arguments.get(FRESH) else state.excluded
    names = mapping.shape(Side.SOURCE).key
    wrong, keys = [], []
    for text in sorted({*arguments.get("exclude", [])} - {key.decode() for key in known}):
        try:
            key = encode_key(key_image(Key(text.encode()), names), names)
        except (PoisonRecord, ValueError):
            form = ",".join(f'{{"S":"{name}"}}' for name in names).join("[]")
            wrong.append(f"{text[:80]} is not an encoded key, such as {form}")
            continue
        if not mapping.belongs(key):
            wrong.append(f"{text} doesn't belong to the mapping {mapping.name}: such rows stay anyway")
        else:
            keys.append(key)
    if not even_unknown:
        name = mapping.shape(Side.SOURCE).table
        wrong += [f"{key.decode()} has no row in {name}" for key in await _without_row(table, keys)]
    if not wrong:
        return ""
    more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    cure = "correct the keys" + ("" if even_unknown else "; --exclude-unknown leaves out keys without a row, too")
    return f"--exclude: {'; '.join(wrong[:NAMED])}{more}. Nothing was excluded: {cure}"


async def _without_row(table: RowTable, keys: list[Key]) -> list[Key]:
    try:
        found = await table.read_many(keys)
    except PoisonRecord:  # rows that can't be read are there, and good reasons to exclude a key
        return [key for key in keys if not await _is_there(table, key)]
    return [key for key in keys if key not in found]


async def _is_there(table: RowTable, key: Key) -> bool:
    try:
        return await table.read(key) is not None
    except PoisonRecord:
        return True
