"""Keys that an operator leaves out of the migration: which they are, and whether the rows they name are there."""

from __future__ import annotations

from collections.abc import Iterable

from controller.context import Context
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import Side

NAMED = 5


def excluded_keys(ctx: Context) -> frozenset[Key]:
    """Return the keys that START left out, of this intent and the ones before it."""
    return frozenset(Key(each.encode()) for each in ctx.state.facts.get("excluded", {}).get("keys", []))


async def why_not_excluded(ctx: Context, wanted: Iterable[str], *, even_unknown: bool) -> str:
    """Say which keys can't be left out, by name and with the cure; empty when all can.

    A key with a slip in it would exclude nothing, and the row that was meant would stop the snapshot or be moved.

    Args:
        ctx: the run.
        wanted: encoded keys, as typed.
        even_unknown: whether a key without a row is left out all the same.
    """
    mapping, names = ctx.world.mapping, ctx.world.mapping.shape(Side.LEGACY).key
    wrong, keys = [], []
    for text in sorted(wanted):
        try:
            key = encode_key(key_image(Key(text.encode()), names), names)
        except (PoisonRecord, ValueError):
            form = ",".join(f'{{"S":"{name}"}}' for name in names).join("[]")
            wrong.append(f"{text[:80]} is no encoded key, as in {form}")
            continue
        if not mapping.belongs(key):
            wrong.append(f"{text} doesn't belong to the mapping {mapping.name}: such rows stay anyway")
        else:
            keys.append(key)
    if not even_unknown:
        table = mapping.shape(Side.LEGACY).table
        wrong += [f"{key.decode()} has no row in {table}" for key in await _without_row(ctx, keys)]
    if not wrong:
        return ""
    more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    cure = "correct the keys" + ("" if even_unknown else "; --exclude-unknown leaves out keys without a row, too")
    return f"--exclude: {'; '.join(wrong[:NAMED])}{more}. Nothing was excluded: {cure}"


async def _without_row(ctx: Context, keys: list[Key]) -> list[Key]:
    table = ctx.world.tables[Side.LEGACY]
    try:
        found = await table.read_many(keys)
    except PoisonRecord:  # rows that can't be read are there, and good reasons to exclude a key
        return [key for key in keys if not await _is_there(ctx, key)]
    return [key for key in keys if key not in found]


async def _is_there(ctx: Context, key: Key) -> bool:
    try:
        return await ctx.world.tables[Side.LEGACY].read(key) is not None
    except PoisonRecord:
        return True
