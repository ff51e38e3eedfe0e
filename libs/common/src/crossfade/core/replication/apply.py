"""The apply rule: what one change record of a table means for the other one (design.md, section 3, rules 1 to 6).

Whether a record is of a migrated row the mapping says; what it tells, the writer protocol
(`crossfade.core.protocol.seam`): an owner write is mapped, and travels under the protocol's condition; an echo is left;
a stray is handed to `crossfade_replicator.interventions`.

Strays are looked for from one moment on, the journalled entry into BOTH_WAYS, and a record is judged by its commit
time: an old duplicate of an earlier write is none (ADR 0016).

Nothing here reads a table or a clock. A record that maps to nothing raises `PoisonRecord` and is parked.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.seam import Condition, OwnerRemoval, RemovedStandby, Skip, StrayOwner, StrayStandby
from crossfade.core.protocol.writing import Transfer
from crossfade.core.replication.change import Change, ChangeKind
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction


class StrayRemoval(NamedTuple):
    """A writer outside the protocol removed an owner.

    Attributes:
        transfer: the tombstone that travels.
        committed_us: when it was removed.
    """

    transfer: Transfer
    committed_us: int

    @property
    def key(self) -> Key:
        """The encoded key."""
        return self.transfer.key


Stray: TypeAlias = StrayOwner | StrayStandby | StrayRemoval | RemovedStandby
Decision: TypeAlias = Transfer | Skip | Stray

_REMOVE: Final = ChangeKind.REMOVE


class ApplyRule:
    """The apply rule of one mapping in one direction."""

    def __init__(self, mapping: Mapping, direction: Direction) -> None:
        """Prepare the rule.

        Args:
            mapping: of the migration.
            direction: which way the records are applied; its origin is the table they come from.
        """
        self._direction = direction
        shape = mapping.shape(direction.origin)
        self._table = shape.table
        self._reader = mapping.protocol.reader(shape)
        self._belongs = mapping.belongs
        self._carry = mapping.carry

    def decide(self, change: Change, strays_since_us: int = 0) -> Decision:
        """Say what to do about a record.

        Args:
            change: the record.
            strays_since_us: commit time in this table, µs, from which writers outside the protocol are strays; 0
                while they are normal.

        Raises:
            PoisonRecord: the record, or the row in it, can't be understood or mapped.
        """
        if not self._belongs(change.key):
            return Skip.NOT_OURS
        if change.table != self._table:
            raise PoisonRecord(f"a record of table {change.table!r} in the stream of {self._table!r}")
        watched = 0 < strays_since_us <= change.committed_us
        if change.kind is _REMOVE:
            return self._removed(change, watched)
        new = change.new
        if new is None:
            raise PoisonRecord(f"{change.kind.value} without a new image")
        told = self._reader.told(change, new, watched=watched)
        if isinstance(told, Condition):
            return Transfer(change.key, told.version, self._carry(self._direction, new), told.first_standing)
        return told

    def _removed(self, change: Change, watched: bool) -> Decision:
        told = self._reader.removed(change, watched=watched)
        if not isinstance(told, OwnerRemoval):
            return told
        if change.old is not None:
            self._carry(self._direction, change.old)  # what can't be mapped is parked when it goes, as when it came
        transfer = Transfer(change.key, told.condition.version, told.tombstone, told.condition.first_standing)
        return StrayRemoval(transfer, change.committed_us) if told.is_stray else transfer
