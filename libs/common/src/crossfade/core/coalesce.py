"""Coalescing: of the transfers of one batch only the newest of each key is written (design.md, section 3, rule 8).

The feed reads the stream for itself, so an event is never lost to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from crossfade.core.fence import Transfer

T = TypeVar("T")


class Coalesced(NamedTuple):
    """What is left of a batch.

    Attributes:
        kept: index of each transfer to write, in order. Two of one key only where one version came with two contents:
            which of them is right is not guessed here, the fence tells.
        dropped: how many were overtaken within the batch, or came twice.
    """

    kept: list[int]
    dropped: int


def coalesce(transfers: Sequence[Transfer]) -> Coalesced:
    """Keep the highest version of each key.

    Args:
        transfers: of one batch, in any order.
    """
    best: dict[bytes, int] = {}
    twins: list[int] = []
    for index, transfer in enumerate(transfers):
        held = best.setdefault(transfer.key, index)
        if held == index:
            continue
        other = transfers[held]
        if other.version < transfer.version:
            best[transfer.key] = index
        elif other.version == transfer.version and other.image != transfer.image:
            twins.append(index)
    kept = list(best.values())
    if twins:
        kept += [index for index in twins if transfers[best[transfers[index].key]].version == transfers[index].version]
    return Coalesced(kept, len(transfers) - len(kept))


def waves(items: Iterable[tuple[bytes, T]]) -> list[list[T]]:
    """Split items into waves that hold each key once, keeping the order of each key (rule 8, rule 10).

    Args:
        items: key and item, in order.
    """
    depth: dict[bytes, int] = {}
    found: list[list[T]] = []
    for key, item in items:
        level = depth.get(key, 0)
        depth[key] = level + 1
        if level == len(found):
            found.append([])
        found[level].append(item)
    return found
