"""The apply rule under the plain protocol: what one change record means at one view of the map.

What there is to tell, `crossfade.core.protocol.plain.records` says; whether a record is of a migrated row, and how its
row is mapped, the mapping does. Nothing here reads a table or a clock.
"""

from __future__ import annotations

from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.plain.map import OwnerMap, version_at
from crossfade.core.protocol.plain.records import (
    Ask,
    Decision,
    Expired,
    Late,
    Left,
    Stray,
    has_risen,
    is_copy_of,
    of_standby,
    was_tombstone,
)
from crossfade.core.protocol.plain.rows import DELETED, TOMBSTONE
from crossfade.core.protocol.writing import Transfer
from crossfade.core.replication.change import Change, ChangeKind
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import key_image
from crossfade.core.values.shape import Direction


class PlainRule:
    """Decides about the records of one table."""

    def __init__(self, mapping: Mapping, direction: Direction) -> None:
        """Prepare the rule.

        Args:
            mapping: of the migration.
            direction: which way the records are applied; its origin is the table they come from.
        """
        self._direction, self._side = direction, direction.origin
        self._shape = mapping.shape(direction.origin)
        self._belongs, self._other_key = mapping.belongs_at, mapping.other_key
        self._carry = mapping.carry

    def decide(self, change: Change, now: OwnerMap) -> Decision:
        """Say what a record tells.

        Args:
            change: the record.
            now: a view of the map; see `crossfade.core.protocol.plain.records.needs_the_map`.

        Raises:
            PoisonRecord: the record, or the row in it, can't be understood or mapped.
        """
        if not self._belongs(self._side, change.key):
            return Left.NOT_OURS
        if change.table != self._shape.table:
            raise PoisonRecord(f"a record of table {change.table!r} in the stream of {self._shape.table!r}")
        if change.new is None and change.kind is not ChangeKind.REMOVE:
            raise PoisonRecord(f"{change.kind.value} without a new image")
        committed_us, lasting = change.committed_us, now.intervals[-1]
        if lasting.owner is self._side and committed_us >= lasting.since_us:
            return self._of_owner(change)
        for ended, next_one in zip(now.intervals[-2::-1], now.intervals[:0:-1], strict=True):
            if ended.owner is self._side and ended.covers(committed_us):
                if change.new is not None and is_copy_of(change, change.new, next_one):
                    return Left.ECHO
                if change.new is None and committed_us > ended.held_us:  # the TTL and purges go on, whatever is held
                    told = self._of_standby(change, now)
                    return Late(change.key, committed_us, True) if isinstance(told, Stray) else told
                return Late(change.key, committed_us, committed_us > ended.held_us)
        first = now.intervals[0]
        if first.owner is self._side and committed_us < first.since_us:
            return Left.OLD
        return self._of_standby(change, now)

    def _of_standby(self, change: Change, now: OwnerMap) -> Decision:
        told = of_standby(change, self._shape)
        # A removal by the TTL crosses to the owner; where this table owns again, what expired is long decided.
        return Left.OLD if isinstance(told, Expired) and now.owner is self._side else told

    def _of_owner(self, change: Change) -> Decision:
        version, new = version_at(change.committed_us), change.new
        if new is None:
            if was_tombstone(change, self._shape):
                return Left.TOMBSTONE_REMOVED
            key = self._other_key(self._direction, change.key, change.old)
            mark = key_image(change.key, self._shape.key) | {DELETED: TOMBSTONE}
            return Transfer(key, version, self._carry(self._direction, mark))
        key = self._other_key(self._direction, change.key, new)
        if has_risen(change, new):
            return Ask(key, change.committed_us)
        return Transfer(key, version, self._carry(self._direction, new))
