"""Whether a key can be carried to the other side, as far as that is known before anything is written."""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from crossfade.core.mapping.interface import Mapping
from crossfade.core.ownership.decisions import Task
from crossfade.core.protocol.keyed.fit import unfit
from crossfade.core.protocol.keyed.item import Item, is_held_out
from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side, direction_to

EXCLUDED: Final = "an operator excluded it"
GIVEN_BACK: Final = "the other table refused it for good, and it was given back"
"""Why a key is held out when nothing tells the cause any more: only the table that refused it knew."""


def carried(mapping: Mapping, key: Key, target: Side, item: Item, standing: Item | None = None) -> Item:
    """Return an item in the names of the other side.

    Args:
        mapping: of the migration.
        key: the encoded key.
        target: the side it is to be carried to.
        item: as it stands on the other one.
        standing: what stands on `target`, as far as known: what isn't mapped there stays, and counts.

    Raises:
        PoisonRecord: it doesn't map, or it is known that `target` would refuse it for good; the message says why.
    """
    if item.ttl:
        wire.number(Raw(item.ttl))  # a seal moves it to `cf_ttl`, where it has to be an integer
    mapped = mapping.map_item(direction_to(target), item)
    if because := unfit(key, mapped, mapping.shape(target), standing=standing):
        raise PoisonRecord(because)
    return mapped


def why_not(mapping: Mapping, key: Key, target: Side, item: Item, standing: Item | None = None) -> str:
    """Say why an item can't be carried to `target`; empty when nothing speaks against it. See `carried`."""
    try:
        carried(mapping, key, target, item, standing)
    except PoisonRecord as error:
        return str(error)
    return ""


def why_it_stays(mapping: Mapping, task: Task, owner: Item | None) -> str:
    """Say why the sweeper leaves a key where it is; empty when it was not to be moved, or has nothing in its way.

    Args:
        mapping: of the migration.
        task: the sweeper's, for a key that the side not aimed at owns.
        owner: the item there.
    """
    if owner is None or task.op is not None or not task.aim.generation:
        return ""
    if not task.may_hand_over:
        return EXCLUDED
    return (why_not(mapping, task.key, task.aim.side, owner) or GIVEN_BACK) if is_held_out(owner) else ""
