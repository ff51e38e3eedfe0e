"""Copying an owner's item to the other table, outside of the stream: dual writes, repairs, markers."""

from __future__ import annotations

from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.keyed.fence import Transfer
from crossfade.core.protocol.keyed.item import Item, build_image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side, direction_to


def transfer_of(mapping: Mapping, owner: Side, key: Key, item: Item, *, repair: bool = False) -> Transfer:
    """Return the state transfer that copies an owner's item to the other table.

    Args:
        mapping: of the migration.
        owner: the side that owns the key.
        key: the encoded key.
        item: as it stands there.
        repair: see `Transfer`.

    Raises:
        PoisonRecord: the mapping can't take it.
    """
    image = mapping.carry(direction_to(owner.other), build_image(item, mapping.shape(owner), {}))
    version, first_generation = mapping.protocol.condition(item, owner.other)
    return Transfer(key, version, image, first_generation, repair)
