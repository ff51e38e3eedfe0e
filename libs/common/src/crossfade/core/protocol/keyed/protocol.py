"""The keyed protocol behind the seam: rows carry version, role and generation (design.md, sections 3 and 4)."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple, cast

from crossfade.core.protocol.keyed.acts import KeyedActs
from crossfade.core.protocol.keyed.fence import is_there, judge, takes_generation
from crossfade.core.protocol.keyed.fit import unfit, unfit_image, unfit_transfer
from crossfade.core.protocol.keyed.item import (
    CARRIED,
    DELETED,
    FIRST_STAMPED,
    GEN,
    MV,
    ROLE,
    TTL,
    Item,
    Role,
    build_image,
    generation_of,
    is_active,
    is_held_out,
    version_of,
)
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.raw import raw_generation, raw_role
from crossfade.core.protocol.keyed.records import KeyedReader
from crossfade.core.protocol.keyed.versions import is_stamped
from crossfade.core.protocol.row import canonical_content, same_content
from crossfade.core.protocol.seam import Acts, Condition, RecordReader, RowReader, Spelling, WriterProtocol
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.shape import Side, TableShape


class KeyedRows(NamedTuple):
    """Reads rows of the keyed protocol. See `crossfade.core.protocol.seam.RowReader`."""

    complete: bool = False

    def owns(self, item: Item | None, side: Side) -> bool:
        """An active row does; an absent one where `absent_is_active` says so."""
        return is_active(item, side, complete=self.complete)

    def owner_of(self, source: Item | None, target: Item | None) -> Side | None:
        """An absent item never counts against one that says it is active.

        A row that somebody removed from under the protocol is missing, it does not own anything.
        """
        owns_source = is_active(source, Side.SOURCE, complete=self.complete)
        owns_target = is_active(target, Side.TARGET, complete=self.complete)
        if owns_source and owns_target:
            owns_source, owns_target = source is not None, target is not None
        if owns_source == owns_target:
            return None
        return Side.SOURCE if owns_source else Side.TARGET

    def why_unreadable(self, _item: Item | None) -> str:
        """What can't be understood was refused when it was parsed."""
        return ""

    def is_contested(self, source: Item | None, target: Item | None) -> bool:
        """Both are there, and active."""
        return (
            source is not None
            and target is not None
            and self.owns(source, Side.SOURCE)
            and self.owns(target, Side.TARGET)
        )

    def is_held_out(self, item: Item | None) -> bool:
        """Active at an odd generation (ADR 0014)."""
        return is_held_out(item)

    def may_leave(self, item: Item | None, side: Side) -> bool:
        """Active, and not at an odd generation."""
        return self.owns(item, side) and not is_held_out(item)

    def is_live(self, item: Item | None) -> bool:
        """A tombstone or a stub is nothing, as an absent item is."""
        return item is not None and not item.deleted

    def version_of(self, item: Item | None) -> int:
        """`cf_mv`."""
        return version_of(item)

    def is_ordered(self, version: int) -> bool:
        """Below FIRST_STAMPED versions are commit times of one table."""
        return is_stamped(version)

    def standing_of(self, item: Item | None) -> int:
        """`cf_gen`: each handover raises it."""
        return generation_of(item)

    def is_settled(self, item: Item | None) -> bool:
        """A row with a role does: without one the target table's is read otherwise once the migration is complete."""
        return item is not None and item.role is not None

    def is_merged(self, item: Item | None, identity: bytes) -> bool:
        """`cf_recent` holds it, and travels with every copy."""
        return item is not None and identity in item.recent

    def is_taken_along(self, standby: Item, owner: Item) -> bool:
        """One version above the row, and alike in what a handover carries."""
        one_above = standby.version is not None and owner.version == standby.version + 1
        return one_above and (owner.recent, owner.event_version) == (standby.recent, standby.event_version)

    def described(self, item: Item) -> dict[str, str | None]:
        """Role and generation; text, since JSON readers round 64-bit numbers."""
        return {"role": item.role.value if item.role else None, "generation": str(item.generation)}

    def digest_of(self, item: Item) -> bytes:
        """Content, and what exactly-once rests on.

        The transaction ids, the floor and the version of the events are no content, and no digest counts them. But they
        travel with every transfer, and a standby that lacks them would apply a retried call twice after the handover.
        """
        try:
            content = b"deleted" if item.deleted else canonical_content(item)
        except PoisonRecord:
            content = repr(item.content).encode()
        state = sorted(item.recent), item.floor, item.event_version, content
        return blake2b(repr(state).encode(), digest_size=16).digest()

    def is_same_state(self, one: Item, other: Item) -> bool:
        """As `digest_of`, without a canonical form where the bytes are the same."""
        return (
            one.recent == other.recent
            and one.floor == other.floor
            and one.event_version == other.event_version
            and same_content(one, other)
        )


_ROWS: Final = {complete: cast("RowReader", KeyedRows(complete)) for complete in (False, True)}
_A_GENERATION: Final = 10**8
"""As long as a generation ever gets; it stands in for the one that a handover will give."""
_STANDBY: Final = wire.of_string(Role.STANDBY.value)
_GENERATION: Final = wire.of_number(0)
_UNSTAMPED: Final = wire.of_number(0)


def _stands_for_nothing(image: Image, _shape: TableShape) -> bool:
    return wire.boolean(image[DELETED])


def _judged(transfer: Transfer, item: Item | None, shape: TableShape) -> Verdict:
    return judge(transfer, item, shape).verdict


class Keyed:
    """See `crossfade.core.protocol.seam.WriterProtocol`."""

    acts: Final = cast("Acts", KeyedActs())
    spelling: Final = Spelling(MV, CARRIED, DELETED, TTL, ((ROLE, Role.STANDBY.value),), GEN)
    judge = staticmethod(_judged)
    is_there = staticmethod(is_there)
    unfit = staticmethod(unfit)
    unfit_image = staticmethod(unfit_image)
    unfit_transfer = staticmethod(unfit_transfer)
    after = staticmethod(perform)
    image = staticmethod(build_image)
    stands_for_nothing = staticmethod(_stands_for_nothing)

    def rows(self, *, complete: bool = False) -> RowReader:
        """Return what reads rows."""
        return _ROWS[complete]

    def reader(self, shape: TableShape) -> RecordReader:
        """Return what reads the change records of a table."""
        return KeyedReader(shape)

    def condition(self, item: Item, destination: Side) -> Condition:
        """Only over a lower version; a row that it creates in the source table takes the generation along."""
        return Condition(version_of(item), item.generation if takes_generation(destination) else 0)

    def widest(self, item: Item) -> Item:
        """A version of 19 digits, and a generation of nine."""
        return item._replace(version=max(version_of(item), FIRST_STAMPED * 10), generation=_A_GENERATION)

    def imported(self, image: Image, mapped: Image) -> int:
        """Standby, of generation 0, and with a version even when the origin has none (rule 6)."""
        if raw_role(image) is Role.STANDBY:
            # Its owner would be a table that doesn't exist yet.
            raise PoisonRecord("the row is standby in the source table before anything was handed over")
        mapped[MV], mapped[ROLE], mapped[GEN] = image.get(MV, _UNSTAMPED), _STANDBY, _GENERATION
        return raw_generation(image)


KEYED: Final = cast("WriterProtocol", Keyed())
"""The one cast between this protocol's own rows and writes and the seam's: what tables of this protocol return is
handed to no other reader."""
