"""Has this migration run before? An empty journal is no proof: the tables and the flags are checked too.

A controller that took an empty journal for a beginning would publish share 0 and generation 0, and `start` would want
the target table out of its way: the only copy, if the journal was lost in BAKING (ADR 0018).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from crossfade.core.mapping.interface import Mapping
from crossfade.core.migration.control import begun_before, control_tables, missing_because
from crossfade.core.migration.state import Migration
from crossfade.core.values.errors import ConfigError, PoisonRecord, StateMissing
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, encode_key
from crossfade.core.values.shape import Side
from crossfade.ports.flags import Flags
from crossfade_controller.sampling import anything
from crossfade_controller.world import World


class Owned(NamedTuple):
    """What a sample of the target table's rows tells.

    Attributes:
        read: rows read.
        owned: those that the target table owns or has owned: active, or with a generation.
        example: the first of them; empty when there is none.
    """

    read: int
    owned: int
    example: str

    def __str__(self) -> str:
        return f"{self.owned} of {self.read} sampled rows, such as {self.example}"


async def owned_rows(world: World) -> Owned:
    """Sample the target table for keys that it owns: the canary's row, which is the first to move, and some others."""
    shape = world.mapping.shape(Side.TARGET)
    if await world.admin.table(shape.table) is None:
        return Owned(0, 0, "")
    sampled = await world.rows(Side.TARGET, anything)
    read, found = (
        sampled.read,
        [named for row in sampled.found if is_owned(world.mapping, row) for named in _named(world.mapping, row)],
    )
    canary = _canary(world)
    item = await world.tables[Side.TARGET].read(canary) if canary is not None else None
    if (
        canary is not None
        and item is not None
        and (standing := world.mapping.protocol.rows().standing_of(item))
        and not any(canary.decode() in each for each in found)
    ):
        found.insert(0, f"{canary.decode()} at generation {standing}")
        read += 1
    return Owned(read, len(found), found[0] if found else "")


async def traces(world: World, *, knew: int = 0) -> list[str]:
    """Return what shows that this migration, or another with the same tables or flags, has begun before.

    Args:
        world: the ports.
        knew: the last journal entry that a status knew.
    """
    found = []
    owned = await owned_rows(world)
    if owned.owned:
        found.append(f"table {world.mapping.shape(Side.TARGET).table} owns keys ({owned})")
    sealed = await _sealed(world)
    if sealed:
        found.append(f"keys of table {world.mapping.shape(Side.SOURCE).table} are handed over (such as {sealed})")
    flags = await world.flags.in_place()
    if flags is not None and _tells(flags):
        document = flags.document
        more = f"{', complete' if document.complete else ''}{', dual-write' if flags.dual_write else ''}"
        found.append(
            f"the published flags have share {document.share / 100:g} %, target_gen {document.target_gen}, source_gen "
            f"{document.source_gen}{more}"
        )
    if knew:
        found.append(f"its last status had seen journal entry {knew}")
    return found


async def missing_state(world: World) -> str:
    """Say which control tables are missing, what that means, and the cure; empty when all are there."""
    missing = await world.missing_control_tables()
    tables = control_tables(world.mapping.name)
    return missing_because(tables, missing, await traces(world) if set(missing) == set(tables) else ())


async def check_tables(world: World) -> None:
    """Refuse to go on without the control tables.

    Raises:
        StateMissing: one is missing, or all are.
    """
    because = await missing_state(world)
    if because:
        raise StateMissing(because)


async def check_history(world: World, state: Migration) -> None:
    """Refuse to go on with a journal that is not the one this migration wrote.

    Raises:
        StateMissing: it ends before an entry that a status knew, or is empty although a migration has begun.
    """
    journal = control_tables(world.mapping.name).journal
    knew = int((await world.board.get() or {}).get("journal", 0))
    if state.has_begun:
        if knew > state.number:
            raise StateMissing(
                begun_before(journal, [f"it ends at entry {state.number}, but a status had seen entry {knew}"])
            )
        return
    found = await traces(world, knew=knew if knew > state.number else 0)
    if found:
        raise StateMissing(begun_before(journal, found))


def _tells(flags: Flags) -> bool:
    document = flags.document
    return bool(document.share or document.target_gen or document.source_gen or document.complete or flags.dual_write)


async def _sealed(world: World) -> str:
    """Return a row of the source table that is standby; the canary's, which an abort may leave so, is none."""
    key_names, canary = world.mapping.shape(Side.SOURCE).key, _canary(world)
    if await world.admin.table(world.mapping.shape(Side.SOURCE).table) is None:
        return ""
    for row in (await world.rows(Side.SOURCE, anything)).found:
        owns, generation = _standing(world.mapping, Side.SOURCE, row)
        if owns is not False:
            continue
        try:
            key = encode_key(row, key_names)
        except PoisonRecord:
            continue
        if key != canary and world.mapping.belongs(key):
            return f"{key.decode()} at generation {generation}"
    return ""


def is_owned(mapping: Mapping, row: Image) -> bool:
    """Say whether the target table owns a row, or did: one that was imported or copied has never moved."""
    owns, generation = _standing(mapping, Side.TARGET, row)
    return bool(owns) or generation > 0


def _named(mapping: Mapping, row: Image) -> Iterable[str]:
    generation = _standing(mapping, Side.TARGET, row)[1]
    try:
        yield f"{encode_key(row, mapping.shape(Side.TARGET).key).decode()} at generation {generation}"
    except PoisonRecord:
        yield f"a row without a readable key at generation {generation}"


def _standing(mapping: Mapping, side: Side, row: Image) -> tuple[bool | None, int]:
    """Return whether a row's table owns it, and how often it moved; what can't be read tells neither."""
    rows = mapping.protocol.rows()
    try:
        item = mapping.protocol.reader(mapping.shape(side)).row(row)
        return rows.owns(item, side), rows.standing_of(item)
    except PoisonRecord:
        return None, 0


def _canary(world: World) -> Key | None:
    try:
        return world.settings.canary(world.mapping)
    except ConfigError:
        return None
