"""What a change record tells, by what the keyed protocol writes into its rows (design.md, section 3, rules 1 to 6).

    record                                     tells
    new image active, version risen            an owner write, to be copied at its version
    …version not risen, nothing mapped changed the same: a duplicate, or a change that is none of ours
    …version not risen                         StrayOwner, if it was stamped or strays are looked for (rule 5)
    …unstamped, strays not looked for yet      an owner write at its commit time: writers are outside the protocol
    …over a standby, by erasing its role       StrayStandby
    new image standby, old one active          an owner write: a seal is one; what is no seal is StrayStandby
    new image standby, old one not active      Skip ECHO (rule 4)
    …with a version that did not rise          StrayStandby, if a mapped attribute changed (rule 5)
    …with its version or role erased           StrayStandby (rule 5)
    REMOVE of an active item                   OwnerRemoval: a tombstone travels (rule 3); no stray if the TTL did it
    REMOVE of a standby item                   RemovedStandby: never applied, put back (rule 3)
    REMOVE of an active tombstone              Skip TOMBSTONE_REMOVED (rule 3)

What made a record is told by the protocol itself: every write of a pod raises the version, and nothing else can.

An item that appears as standby out of nothing was created by a transfer, by the import, as a stub or as a restored row.
None of them tells anything that the other table doesn't know, and re-applying such a row after its owner was deleted
would bring it back; so it is an echo, too.
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from crossfade.core.protocol.events import PublishedEvent, decode_events
from crossfade.core.protocol.keyed.fence import takes_generation
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
from crossfade.core.protocol.seam import (
    ChangeRecord,
    Condition,
    OwnerRemoval,
    Place,
    Removed,
    RemovedStandby,
    Skip,
    StrayOwner,
    StrayStandby,
    Told,
)
from crossfade.core.values import image as wire
from crossfade.core.values.canonical import same_value
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import PROTOCOL_PREFIX, Image
from crossfade.core.values.shape import Side, TableShape

_TOMBSTONE_KEEPS: Final = (RECENT, FLOOR, EVENTS, EMV)


class KeyedReader:
    """Reads the change records of one table."""

    def __init__(self, shape: TableShape) -> None:
        """Take the shape of the table."""
        self._shape = shape
        self._side = shape.side
        self._copies_generation = takes_generation(shape.side.other)

    def told(self, record: ChangeRecord, new: Image, *, watched: bool) -> Told:
        """See `crossfade.core.protocol.seam.RecordReader`."""
        if is_raw_active(new, self._side):
            return self._owned(record, new, watched)
        old = record.old
        if old is not None and is_raw_active(old, self._side):
            return self._sealed(record, new, old, watched)
        return self._standby(record, new, old, watched)

    def place(self, record: ChangeRecord, new: Image) -> Place:
        """See `crossfade.core.protocol.seam.RecordReader`."""
        return Place(is_raw_active(new, self._side), raw_version(new) if MV in new else record.committed_us)

    def removed(self, record: ChangeRecord, *, watched: bool) -> Removed:
        """See `crossfade.core.protocol.seam.RecordReader`."""
        old = record.old
        if old is None:
            raise PoisonRecord("REMOVE without an old image")
        watched = watched and not record.expired
        if not is_raw_active(old, self._side):
            item = parse_item(old, self._shape)._replace(role=Role.STANDBY)
            return RemovedStandby(record.key, item, record.committed_us, watched)
        if DELETED in old and wire.boolean(old[DELETED]):
            return Skip.TOMBSTONE_REMOVED
        tombstone: Image = {name: old[name] for name in _TOMBSTONE_KEEPS if name in old}
        tombstone[DELETED] = wire.of_boolean(True)
        version = removal_version(raw_version(old), record.committed_us)
        generation = raw_generation(old) if self._copies_generation else 0
        return OwnerRemoval(Condition(version, generation), tombstone, watched)

    def events(self, record: ChangeRecord) -> list[PublishedEvent]:
        """See `crossfade.core.protocol.seam.RecordReader`."""
        return events_of(record, self._shape.side)

    def row(self, image: Image) -> Item:
        """See `crossfade.core.protocol.seam.RecordReader`."""
        return parse_item(image, self._shape)

    def _owned(self, record: ChangeRecord, new: Image, watched: bool) -> Told:
        raw, before = new.get(MV), record.old_version()
        seen = None if raw is None else wire.number(raw)
        version = seen or 0
        stamped = is_stamped(version)
        if (version <= before or not stamped or not before) and (
            stray := self._stray_of_owner(record, new, seen, before, watched)
        ):
            return stray
        generation = raw_generation(new) if self._copies_generation else 0
        return Condition(version if stamped else record.committed_us, generation)

    def _stray_of_owner(
        self, record: ChangeRecord, new: Image, seen: int | None, before: int, watched: bool
    ) -> StrayOwner | StrayStandby | None:
        """Say whether a record whose new image is active was made by no pod."""
        old, version = record.old, seen or 0
        rose = version > before and is_stamped(version)
        if old is None:
            made = rose and ROLE in new  # what a pod creates has a role
        elif not is_raw_active(old, self._side):
            if not rose and (is_stamped(before) or watched):  # it looks active since its role was erased
                return self._stray_standby(record, new, old, watched)
            made = rose
        else:
            made = rose or (version == before and not self._content_changed(new, old))
            made = made or (not is_stamped(before) and not self._content_changed(new, old))
        if made or not (watched or is_stamped(before)):
            return None
        hidden = DELETED in new and wire.boolean(new[DELETED])
        erased = self._erased(new, old)
        if erased is not None:
            erased = erased._replace(deleted=False)  # what was put over a tombstone is to be seen
        return StrayOwner(record.key, seen, before, record.committed_us, watched, hidden, erased)

    def _sealed(self, record: ChangeRecord, new: Image, old: Image, watched: bool) -> Told:
        # A put that erased what made it the owner is no seal.
        if ROLE not in new or raw_version(new) <= raw_version(old):
            return self._stray_standby(record, new, old, watched)
        # A row that this creates must be open to the handover which the seal began, hence the generation before it.
        return Condition(raw_version(new), raw_generation(old) if self._copies_generation else 0)

    def _standby(self, record: ChangeRecord, new: Image, old: Image | None, watched: bool) -> Told:
        if old is None:
            stray = ROLE not in new or (MV not in new and DELETED not in new)
        else:
            version, before = raw_version(new), raw_version(old)
            stray = version < before or any(name in old and name not in new for name in (MV, ROLE))
            stray = stray or (version == before and self._content_changed(new, old))
        if stray:
            return self._stray_standby(record, new, old, watched)
        return Skip.ECHO

    def _stray_standby(self, record: ChangeRecord, new: Image, old: Image | None, watched: bool) -> StrayStandby:
        item = parse_item(new, self._shape)
        return StrayStandby(record.key, item, record.committed_us, watched, self._erased(new, old))

    def _erased(self, new: Image, old: Image | None) -> Item | None:
        if old is None or ROLE not in old or any(name in new for name in (ROLE, GEN, MV)):
            return None
        return parse_item(old, self._shape)

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


def events_of(record: ChangeRecord, side: Side) -> list[PublishedEvent]:
    """Return the events of a record, in the order of the write.

    An owner write sets `cf_emv` to its own version, and everything that copies or moves an item changes its version or
    its role, but not that. So each event is told exactly by one record, whatever is handed over, copied or lifted
    around it: the events of its new image, if that is active, `cf_emv` is the image's own version, and the old image's
    `cf_emv` is another one.

    Args:
        record: the record, before any deduplication.
        side: the table it comes from.

    Raises:
        PoisonRecord: the events can't be read.
    """
    new = record.new
    if new is None:
        return []
    emv, version = new.get(EMV), new.get(MV)
    if emv is None or version is None or not is_raw_active(new, side):
        return []
    number = wire.number(version)
    if wire.number(emv) != number:
        return []
    previous = _event_version(record.old)
    if previous == number:
        return []
    events = new.get(EVENTS)
    if events is None:
        raise PoisonRecord("the image has cf_emv but no cf_events")
    return [
        PublishedEvent(key=record.key, version=number, index=index, previous=previous, event=event)
        for index, event in enumerate(decode_events(events))
    ]


def _event_version(image: Image | None) -> int:
    emv = None if image is None else image.get(EMV)
    return 0 if emv is None else wire.number(emv)
