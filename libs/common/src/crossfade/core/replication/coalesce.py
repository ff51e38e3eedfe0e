"""Coalescing: of the transfers of one batch only the newest of each key is written (design.md, section 3, rule 8).

The feed reads the stream for itself, so an event is never lost to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from crossfade.core.protocol.writing import Transfer
from crossfade.core.values.keys import Key


class Coalesced(NamedTuple):
    """What is left of a batch.

    Attributes:
        kept: index of one transfer a key, the highest version.
        twins: index of those about which only the fence can tell: of the same version with another content, or the
            newest without a stamp beside a stamped one, which may be a stray that lost its version (rule 5).
            They are written after the others, since a request takes a key once.
        dropped: how many were overtaken within the batch, or came twice.
    """

    kept: list[int]
    twins: list[int]
    dropped: int


def coalesce(transfers: Sequence[Transfer], is_ordered: Callable[[int], bool]) -> Coalesced:
    """Keep the highest version of each key.

    Args:
        transfers: of one batch, in any order.
        is_ordered: of the protocol (`crossfade.core.protocol.seam.RowReader`).
    """
    best = {transfer.key: index for index, transfer in enumerate(transfers)}
    if len(best) == len(transfers):
        return Coalesced(list(best.values()), [], 0)
    best.clear()
    equal: list[int] = []
    unstamped: dict[Key, int] = {}
    for index, transfer in enumerate(transfers):
        if not is_ordered(transfer.version):
            held = unstamped.setdefault(transfer.key, index)
            if transfers[held].version < transfer.version:
                unstamped[transfer.key] = index
        held = best.setdefault(transfer.key, index)
        if held == index:
            continue
        other = transfers[held]
        if other.version < transfer.version:
            best[transfer.key] = index
        elif other.version == transfer.version and other.image != transfer.image:
            equal.append(index)
    twins = [index for index in equal if transfers[best[transfers[index].key]].version == transfers[index].version]
    twins += [index for key, index in unstamped.items() if is_ordered(transfers[best[key]].version)]
    return Coalesced(list(best.values()), twins, len(transfers) - len(best) - len(twins))
