"""Carrying an owner's row to the other table, outside of the stream: dual writes, repairs, markers, handovers."""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.row import Row, RowT
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side, direction_to

EXCLUDED: Final = "an operator excluded it"
GIVEN_BACK: Final = "the other table refused it for good, and it was given back"
"""Why a key is held out when nothing tells the cause any more: only the table that refused it knew."""


def transfer_of(mapping: Mapping, owner: Side, key: Key, item: Row, *, repair: bool = False) -> Transfer:
    """Return the state transfer that copies an owner's row to the other table.

    Args:
        mapping: of the migration.
        owner: the side that owns the key.
        key: the encoded key.
        item: as it stands there.
        repair: see `Transfer`.

    Raises:
        PoisonRecord: the mapping can't take it.
    """
    protocol = mapping.protocol
    image = mapping.carry(direction_to(owner.other), protocol.image(item, mapping.shape(owner), {}))
    condition = protocol.condition(item, owner.other)
    return Transfer(key, condition.version, image, condition.first_standing, repair)


def carried(mapping: Mapping, key: Key, destination: Side, item: RowT, standing: Row | None = None) -> RowT:
    """Return a row in the names of the other side, if it can be carried there as far as that is known.

    Args:
        mapping: of the migration.
        key: the encoded key.
        destination: the side it is to be carried to.
        item: as it stands on the other one.
        standing: what stands on `destination`, as far as known: what isn't mapped there stays, and counts.

    Raises:
        PoisonRecord: it doesn't map, or it is known that `destination` would refuse it for good; the message says why.
    """
    if item.ttl:
        wire.number(Raw(item.ttl))  # it travels as `cf_ttl`, where it has to be an integer
    mapped = mapping.map_item(direction_to(destination), item)
    if because := mapping.protocol.unfit(key, mapped, mapping.shape(destination), standing=standing):
        raise PoisonRecord(because)
    return mapped


def why_not(mapping: Mapping, key: Key, destination: Side, item: Row, standing: Row | None = None) -> str:
    """Say why a row can't be carried to `destination`; empty when nothing speaks against it. See `carried`."""
    try:
        carried(mapping, key, destination, item, standing)
    except PoisonRecord as error:
        return str(error)
    return ""
