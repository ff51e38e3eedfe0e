"""The apply rule: what one change record of a table means for the other one (design.md, section 3, rules 1 to 6).

    record                                     decision
    key of no migrated row                     Skip NOT_OURS
    new image active, version risen            Transfer of the mapped image at its version: an owner write
    …version not risen, nothing mapped changed Transfer: a duplicate, or a change that is none of ours
    …version not risen                         StrayOwner, if it was stamped or strays are looked for (rule 5)
    …unstamped, strays not looked for yet      Transfer at its commit time: writers are outside the protocol by nature
    …over a standby, by erasing its role       StrayStandby
    new image standby, old one active          Transfer: a seal is an owner write; what is no seal is StrayStandby
    new image standby, old one not active      Skip ECHO (rule 4)
    …with a version that did not rise          StrayStandby, if a mapped attribute changed (rule 5)
    …with its version or role erased           StrayStandby (rule 5)
    REMOVE of an active item                   StrayRemoval: a tombstone travels (rule 3); a Transfer if the TTL did it
    REMOVE of a standby item                   RemovedStandby: never applied, put back (rule 3)
    REMOVE of an active tombstone              Skip TOMBSTONE_REMOVED (rule 3)

Strays are looked for from one moment on, the journalled entry into DUAL_WRITE, and a record is judged by its commit
time: an old duplicate of an earlier write is none (ADR 0016). What made a record is told by the protocol itself: every
write of a pod raises the version, and nothing else can.

An item that appears as standby out of nothing was created by a transfer, by the import, as a stub or as a restored row.
None of them tells anything that the other table doesn't know, and re-applying such a row after its owner was deleted
would bring it back; so it is an echo, too.

Nothing here reads a table or a clock. A record that maps to nothing raises `PoisonRecord` and is parked.
"""

from __future__ import annotations

import functools
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from msgspec import Raw

from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.keyed.fence import Transfer, takes_generation
from crossfade.core.protocol.keyed.item import (
    DELETED,
    EMV,
    EVENTS,
    FLOOR,
    GEN,
    MV,
    RECENT,
    ROLE,
    Item,
    Role,
    parse_item,
)
from crossfade.core.protocol.keyed.raw import is_raw_active, raw_generation, raw_version
from crossfade.core.protocol.keyed.versions import is_stamped, removal_version
from crossfade.core.replication.change import Change, ChangeKind
from crossfade.core.values import image as wire
from crossfade.core.values.canonical import same_value
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import PROTOCOL_PREFIX, Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, TableShape


class Skip(Enum):
    """Why a record is not applied, and need not be."""

    NOT_OURS = "not_ours"  # a row of somebody else in a shared table
    ECHO = "echo"  # a state transfer, coming back
    TOMBSTONE_REMOVED = "tombstone_removed"  # the item was deleted long ago


class StrayOwner(NamedTuple):
    """A writer outside the protocol changed an owner: its version is to be lifted, then the write travels by itself.

    Attributes:
        key: the encoded key.
        seen: `cf_mv` as in the record; None when it is missing. The lift is void if the item has moved on.
        before: the highest version that the record tells of: its old image's, or `seen`.
        committed_us: when it was written.
        watched: whether strays were looked for by then; otherwise the lift is all that is to be done.
        hidden: the row is a tombstone, so that what was written is not to be seen anywhere.
    """

    key: Key
    seen: int | None
    before: int
    committed_us: int
    watched: bool
    hidden: bool = False


class StrayStandby(NamedTuple):
    """A writer outside the protocol changed a row that is no owner's. Unless it was a repair, which looks the same.

    Attributes:
        key: the encoded key.
        item: the row after it.
        committed_us: when it was written.
        watched: whether strays were looked for by then; otherwise nothing is to be done.
        erased: the row before it, if a put erased role, generation and version of it; None otherwise.
    """

    key: Key
    item: Item
    committed_us: int
    watched: bool
    erased: Item | None = None


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


class RemovedStandby(NamedTuple):
    """A standby item was removed: the row is put back if it is still absent.

    Attributes:
        key: the encoded key.
        item: what stood there, as standby.
        committed_us: when it was removed.
        watched: whether a writer did it, and strays were looked for by then.
    """

    key: Key
    item: Item
    committed_us: int
    watched: bool


Stray: TypeAlias = StrayOwner | StrayStandby | StrayRemoval | RemovedStandby
Decision: TypeAlias = Transfer | Skip | Stray

_REMOVE: Final = ChangeKind.REMOVE
_TOMBSTONE_KEEPS: Final = (RECENT, FLOOR, EVENTS, EMV)


class ApplyRule:
    """The apply rule of one mapping in one direction."""

    def __init__(self, mapping: Mapping, direction: Direction) -> None:
        """Prepare the rule.

        Args:
            mapping: of the migration.
            direction: which way the records are applied; its source is the table they tell of.
        """
        self._direction = direction
        self._shape: TableShape = mapping.shape(direction.source)
        self._belongs = mapping.belongs
        self._carry = mapping.carry
        self._owns = functools.partial(is_raw_active, side=direction.source)
        self._copies_generation = takes_generation(direction.target)

    def decide(self, change: Change, strays_since_us: int = 0) -> Decision:
        """Say what to do about a record.

        Args:
            change: the record.
            strays_since_us: commit time in this table, µs, from which on writers outside the protocol are strays; 0
                while they are normal.

        Raises:
            PoisonRecord: the record, or the row in it, can't be understood or mapped.
        """
        if not self._belongs(change.key):
            return Skip.NOT_OURS
        if change.table != self._shape.table:
            raise PoisonRecord(f"a record of table {change.table!r} in the stream of {self._shape.table!r}")
        watched = 0 < strays_since_us <= change.committed_us
        if change.kind is _REMOVE:
            return self._removed(change, watched)
        new = change.new
        if new is None:
            raise PoisonRecord(f"{change.kind.value} without a new image")
        if self._owns(new):
            return self._owned(change, new, watched)
        old = change.old
        if old is not None and self._owns(old):
            return self._sealed(change, new, old, watched)
        return self._standby(change, new, old, watched)

    def _owned(self, change: Change, new: Image, watched: bool) -> Decision:
        raw, before = new.get(MV), change.old_version()
        seen = None if raw is None else wire.number(raw)
        version = seen or 0
        if (version <= before or not is_stamped(version) or not before) and (
            stray := self._stray_of_owner(change, new, seen, before, watched)
        ):
            return stray
        if not is_stamped(version):
            version = change.committed_us
        generation = raw_generation(new) if self._copies_generation else 0
        return Transfer(change.key, version, self._carry(self._direction, new), generation)

    def _stray_of_owner(
        self, change: Change, new: Image, seen: int | None, before: int, watched: bool
    ) -> StrayOwner | StrayStandby | None:
        """Say whether a record whose new image is active was made by no pod."""
        old, version = change.old, seen or 0
        rose = version > before and is_stamped(version)
        if old is None:
            made = rose and ROLE in new  # what a pod creates has a role
        elif not self._owns(old):
            if not rose and (is_stamped(before) or watched):  # it looks active since its role was erased
                return self._stray_standby(change, new, old, watched)
            made = rose
        else:
            made = rose or (version == before and not self._content_changed(new, old))
            made = made or (not is_stamped(before) and not self._content_changed(new, old))
        if made or not (watched or is_stamped(before)):
            return None
        hidden = DELETED in new and wire.boolean(new[DELETED])
        return StrayOwner(change.key, seen, before, change.committed_us, watched, hidden)

    def _sealed(self, change: Change, new: Image, old: Image, watched: bool) -> Decision:
        if ROLE not in new or raw_version(new) <= raw_version(
            old
        ):  # a put that erased what made it the owner is no seal
            return self._stray_standby(change, new, old, watched)
        # A row that this creates must be open to the handover which the seal began, hence the generation before it.
        generation = raw_generation(old) if self._copies_generation else 0
        return Transfer(change.key, raw_version(new), self._carry(self._direction, new), generation)

    def _standby(self, change: Change, new: Image, old: Image | None, watched: bool) -> Decision:
        if old is None:
            stray = ROLE not in new or (MV not in new and DELETED not in new)
        else:
            version, before = raw_version(new), raw_version(old)
            stray = version < before or any(name in old and name not in new for name in (MV, ROLE))
            stray = stray or (version == before and self._content_changed(new, old))
        if stray:
            return self._stray_standby(change, new, old, watched)
        return Skip.ECHO

    def _stray_standby(self, change: Change, new: Image, old: Image | None, watched: bool) -> StrayStandby:
        erased = None
        if old is not None and ROLE in old and not any(name in new for name in (ROLE, GEN, MV)):
            erased = parse_item(old, self._shape)
        return StrayStandby(change.key, parse_item(new, self._shape), change.committed_us, watched, erased)

    def _removed(self, change: Change, watched: bool) -> Decision:
        old = change.old
        if old is None:
            raise PoisonRecord("REMOVE without an old image")
        watched = watched and not change.expired
        if not self._owns(old):
            item = parse_item(old, self._shape)._replace(role=Role.STANDBY)
            return RemovedStandby(change.key, item, change.committed_us, watched)
        if DELETED in old and wire.boolean(old[DELETED]):
            return Skip.TOMBSTONE_REMOVED
        self._carry(self._direction, old)  # what can't be mapped is parked when it goes, as when it came
        image: Image = {name: old[name] for name in _TOMBSTONE_KEEPS if name in old}
        image[DELETED] = wire.of_boolean(True)
        generation = raw_generation(old) if self._copies_generation else 0
        transfer = Transfer(change.key, removal_version(raw_version(old), change.committed_us), image, generation)
        return StrayRemoval(transfer, change.committed_us) if watched else transfer

    def _content_changed(self, new: Image, old: Image) -> bool:
        shape = self._shape
        names = set(shape.attributes) if shape.attributes is not None else {*new, *old} - {*shape.key}
        if shape.ttl is not None:
            names.add(shape.ttl)
        return any(_differ(new.get(name), old.get(name)) for name in names if not name.startswith(PROTOCOL_PREFIX))


def _differ(one: Raw | None, other: Raw | None) -> bool:
    if one is None or other is None:
        return one is not other
    return not same_value(one, other)
