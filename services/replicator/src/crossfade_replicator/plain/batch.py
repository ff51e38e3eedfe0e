"""The records of one batch, and what is left of them to write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from crossfade.core.protocol.plain.fence import is_in_doubt
from crossfade.core.protocol.writing import Transfer
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key
from crossfade_replicator.letters import Place
from crossfade_replicator.records import Record


class Entry(NamedTuple):
    """One record.

    Attributes:
        record: as it came.
        change: decoded; None when that failed.
    """

    record: Record
    change: Change | None

    @property
    def known(self) -> Change:
        """The record decoded.

        Raises:
            PoisonRecord: it can't be.
        """
        if self.change is None:
            raise PoisonRecord("not a change record")
        return self.change

    def place(self, consumer: str, shard_id: str) -> Place:
        """Say where it was read."""
        return Place(consumer, shard_id, self.record.sequence_number)


class Work(NamedTuple):
    """What a batch writes.

    Attributes:
        copies: the newest of each key, with the place of its record.
        asks: place of the latest record of each key that only a read of the owner can settle.
        dropped: how many were overtaken within the batch, or came twice.
    """

    copies: list[tuple[Transfer, int]]
    asks: dict[Key, int]
    dropped: int


def coalesce(transfers: Sequence[tuple[Transfer, int]], asks: Iterable[tuple[Key, int, int]]) -> Work:
    """Keep the highest version of each key; a key about which the order says nothing is asked for.

    One ask stands for all records of its key in the batch, so it is as late as the latest of them: what it writes at an
    earlier version, a record from between the two would take back.

    Args:
        transfers: of one batch, in the order of the shard, each with the place of its record.
        asks: keys that are asked for anyway, with the places and the versions of their records.
    """
    asked: dict[Key, tuple[int, int]] = {}
    for key, place, version in asks:
        asked[key] = max(asked.get(key, (0, 0)), (version, place))
    best: dict[Key, tuple[Transfer, int]] = {}
    for each in transfers:
        transfer = each[0]
        held = best.get(transfer.key)
        if held is None or held[0].version < transfer.version:
            best[transfer.key] = each
        elif is_in_doubt(transfer, held[0]):
            asked.setdefault(transfer.key, (0, 0))
    for key in asked.keys() & best.keys():
        asked[key] = max(asked[key], (best[key][0].version, best[key][1]))
    copies = [each for key, each in best.items() if key not in asked]
    return Work(copies, {key: place for key, (_, place) in asked.items()}, len(transfers) - len(best))
