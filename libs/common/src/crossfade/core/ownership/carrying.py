"""Why the sweeper leaves a key where it is."""

from __future__ import annotations

from crossfade.core.mapping.copies import EXCLUDED, GIVEN_BACK, why_not
from crossfade.core.mapping.interface import Mapping
from crossfade.core.ownership.decisions import Task
from crossfade.core.protocol.keyed.item import Item, is_held_out


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
