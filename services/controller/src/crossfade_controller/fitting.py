"""What `plan` says of limits: which sampled rows a table would never take, and whether its indexes are declared."""

from __future__ import annotations

from collections.abc import Sequence

from crossfade.core.mapping.copies import why_not
from crossfade.core.mapping.indexes import target_indexes
from crossfade.core.mapping.interface import Mapping
from crossfade.core.migration.gates import GateResult
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import IndexKey, Side, TableShape
from crossfade_controller.world import World


def why_unfit(mapping: Mapping, key: Key, row: Image) -> str:
    """Say why a row of the source table can't move to the target, or not back; empty when nothing speaks against it.

    Raises:
        PoisonRecord: it can't be read.
    """
    source, protocol = mapping.shape(Side.SOURCE), mapping.protocol
    item = protocol.reader(source).row(row)
    sealed = protocol.widest(item)
    if cause := why_not(mapping, key, Side.TARGET, sealed):
        return cause
    cause = protocol.unfit(key, sealed, source, standing=item)
    return f"there would be no way back: {cause}" if cause else ""


def fits(unfit_rows: Sequence[str], count: int, ours: int) -> GateResult:
    """Return the check of the sampled rows.

    Args:
        unfit_rows: key and cause of some.
        count: how many there are.
        ours: sampled rows that belong to the mapping.
    """
    because = f"{ours} sampled rows fit both tables"
    if count:
        because = (
            f"{count} of {ours} sampled rows would be refused for good: {'; '.join(unfit_rows)}. Change them, or leave "
            "them out: crossfade start --exclude KEY"
        )
    return GateResult("fits", not count, count, 0, because)


async def indexes(world: World, side: Side) -> GateResult:
    """Compare the index keys that the mapping declares with those of the table, if there is one.

    Only attributes that the mapping writes matter: others are never ours to write.
    """
    shape = world.mapping.shape(side)
    facts = await world.admin.table(shape.table)
    name = f"{side.value}_indexes"
    if facts is None:
        because = f"there is no {shape.table} yet; the mapping declares {_named(shape.index_keys) or 'no index keys'}"
        return GateResult(name, True, None, None, because + (await _to_be_made(world) if side is Side.TARGET else ""))
    found = tuple(each for each in facts.index_keys if _written(each, shape))
    wrong = sorted(set(found) - set(shape.index_keys))
    if wrong:
        because = (
            f"{shape.table} has index keys that the mapping doesn't declare that way: {_named(wrong)}. A value that is "
            "empty, too long or of another type would be refused after its key is sealed. Declare them: "
            f"Table({shape.table!r}, …, index_keys=({', '.join(map(_declared, found))},))"
        )
        return GateResult(name, False, _named(found), _named(shape.index_keys), because)
    because = _named(found) or "no index has a mapped attribute as its key"
    return GateResult(name, True, _named(found), _named(shape.index_keys), because)


async def _to_be_made(world: World) -> str:
    """Say which indexes the import makes."""
    source = await world.admin.table(world.mapping.shape(Side.SOURCE).table)
    found = target_indexes(world.mapping, source.indexes if source else ())
    made = f"; the import makes the indexes {', '.join(each.name for each in found.made)}" if found.made else ""
    return "".join((made, *(f"; WARNING: {each}" for each in found.left_out)))


def _written(each: IndexKey, shape: TableShape) -> bool:
    return each.name not in shape.key and (shape.attributes is None or each.name in shape.attributes)


def _named(keys: Sequence[IndexKey]) -> str:
    return ", ".join(f"{each.name} ({each.kind}, {'sort' if each.sorts else 'partition'} key)" for each in keys)


def _declared(each: IndexKey) -> str:
    return f'IndexKey("{each.name}", "{each.kind}"{", sorts=True" if each.sorts else ""})'
