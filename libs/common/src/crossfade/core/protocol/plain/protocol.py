"""The plain protocol behind the seam: what mapping, plan, snapshot, status and letters ask of any protocol (ADR 0043).

What only the map can tell (who owns, what a record says, what mends), the seam can't be asked here: the modules beside
this one answer it (`records`, `fence`, `late`, `compare`, `flip`), and each of them takes the map.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, NoReturn, cast

from crossfade.core.protocol.events import PublishedEvent
from crossfade.core.protocol.plain.fit import unfit, unfit_image, unfit_transfer
from crossfade.core.protocol.plain.rows import DELETED, SPELLING, PlainRow, build, digest, is_tombstone, owned, parse
from crossfade.core.protocol.row import same_content
from crossfade.core.protocol.seam import (
    Acts,
    ChangeRecord,
    Condition,
    Place,
    RecordReader,
    Removed,
    RowReader,
    Told,
    WriterProtocol,
)
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.values.errors import ConfigError, PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.shape import Side, TableShape


class PlainRows(NamedTuple):
    """Reads rows while one table owns. See `crossfade.core.protocol.seam.RowReader`."""

    owner: Side

    def owns(self, _item: PlainRow | None, side: Side) -> bool:
        """The map says it, for every row."""
        return side is self.owner

    def owner_of(self, _source: PlainRow | None, _target: PlainRow | None) -> Side:
        """The map says it."""
        return self.owner

    def why_unreadable(self, _item: PlainRow | None) -> str:
        """What can't be understood was refused when it was parsed."""
        return ""

    def is_contested(self, _source: PlainRow | None, _target: PlainRow | None) -> bool:
        """No row claims anything."""
        return False

    def is_held_out(self, _item: PlainRow | None) -> bool:
        """Rows don't move one by one."""
        return False

    def may_leave(self, item: PlainRow | None, side: Side) -> bool:
        """Every row moves with its table."""
        return self.owns(item, side)

    def is_live(self, item: PlainRow | None) -> bool:
        """A tombstone is nothing, as an absent row is; one with content is a row that an application put back."""
        return owned(item) is not None

    def version_of(self, item: PlainRow | None) -> int:
        """`cf_mv`, which means something on a standby only."""
        return (item.version or 0) if item else 0

    def is_ordered(self, _version: int) -> bool:
        """An owner's row tells none, so the two are never compared."""
        return False

    def standing_of(self, _item: PlainRow | None) -> int:
        """Rows don't move one by one."""
        return 0

    def is_settled(self, _item: PlainRow | None) -> bool:
        """No row says who owns it."""
        return False

    def is_merged(self, _item: PlainRow | None, _identity: bytes) -> bool:
        """Nothing is merged under this protocol: a stray waits for a human decision."""
        return False

    def is_taken_along(self, _standby: PlainRow, _owner: PlainRow) -> bool:
        """Rows don't move one by one."""
        return False

    def described(self, item: PlainRow) -> dict[str, str | None]:
        """The fence and the tombstone's mark; text, since JSON readers round 64-bit numbers."""
        return {
            "version": None if item.version is None else str(item.version),
            "tombstone": "yes" if item.deleted else None,
        }

    def digest_of(self, item: PlainRow) -> bytes:
        """Content alone."""
        return digest(item)

    def is_same_state(self, one: PlainRow, other: PlainRow) -> bool:
        """As `digest_of`, without a canonical form where the bytes are the same."""
        return same_content(one, other)


class PlainReader:
    """Reads rows of one table; of records, the seam can't be asked. See `crossfade.core.protocol.seam.RecordReader`."""

    def __init__(self, shape: TableShape) -> None:
        """Take the shape of the table."""
        self._shape = shape

    def row(self, image: Image) -> PlainRow:
        """Read an image of the table."""
        return parse(image, self._shape)

    def events(self, _record: ChangeRecord) -> list[PublishedEvent]:
        """Writers that nobody changed tell none."""
        return []

    def told(self, _record: ChangeRecord, _new: Image, *, watched: bool) -> Told:  # noqa: ARG002 - the seam's
        """Not without the map."""
        _ask("what a record tells", "crossfade.core.replication.plain")

    def place(self, _record: ChangeRecord, _new: Image) -> Place:
        """Not without the map."""
        _ask("where a record's image stands", "crossfade.core.replication.plain")

    def removed(self, _record: ChangeRecord, *, watched: bool) -> Removed:  # noqa: ARG002 - the seam's
        """Not without the map."""
        _ask("what a removal tells", "crossfade.core.replication.plain")


class Plain:
    """See `crossfade.core.protocol.seam.WriterProtocol`."""

    spelling: Final = SPELLING
    unfit = staticmethod(unfit)
    unfit_image = staticmethod(unfit_image)
    unfit_transfer = staticmethod(unfit_transfer)
    stands_for_nothing = staticmethod(is_tombstone)

    @property
    def acts(self) -> Acts:
        """There are none: a row is mended by a copy of its owner's (`compare`)."""
        _ask("which write mends a row", "crossfade.core.protocol.plain.compare.copy")

    def rows(self, *, complete: bool = False) -> RowReader:
        """Return what reads rows of a migration whose map isn't known: one that hasn't begun, or is complete."""
        return rows_of(Side.TARGET if complete else Side.SOURCE)

    def reader(self, shape: TableShape) -> RecordReader:
        """Return what reads the rows of a table."""
        return cast("RecordReader", PlainReader(shape))

    def condition(self, _item: PlainRow, _destination: Side) -> Condition:
        """Not from a row: an owner's says no version."""
        _ask("under which condition a row is copied", "crossfade.core.protocol.plain.compare.copy")

    def image(self, item: PlainRow, _shape: TableShape, key: Image) -> Image:
        """Return a row as it stands in its table."""
        return build(item, key)

    def imported(self, _image: Image, mapped: Image) -> int:
        """Nothing: a missing fence is lower than any.

        Raises:
            PoisonRecord: the row is a tombstone, which only a standby has.
        """
        if DELETED in mapped:
            raise PoisonRecord(
                "the row is a tombstone that an earlier migration left in the source table; "
                "`crossfade clean` of that migration takes it out"
            )
        return 0

    def judge(self, transfer: Transfer, item: PlainRow | None, shape: TableShape) -> Verdict:
        """As the fence alone says it, in an interval whose standby was imported."""
        found = 0 if item is None or item.version is None else item.version
        if found < transfer.version:
            return Verdict.APPLIED
        if same_content(parse(transfer.image, shape), item or PlainRow()):
            return Verdict.DUPLICATE
        return Verdict.STALE if found > transfer.version else Verdict.CONFLICT

    def is_there(self, transfer: Transfer, item: PlainRow | None, shape: TableShape) -> bool:
        """A row has the same content, or a higher fence."""
        incoming = parse(transfer.image, shape)
        if item is None:
            return incoming.deleted
        return (item.version or 0) > transfer.version or same_content(incoming, item)

    def widest(self, item: PlainRow) -> PlainRow:
        """A row moves as it is: one that has no room for a fence is copied in the hold without one."""
        return PlainRow(content=item.content)

    def after(self, _write: Any, _item: PlainRow | None, _shape: TableShape) -> NoReturn:
        """There are no writes of its own."""
        _ask("what its own write does", "crossfade.core.protocol.plain.compare.copy")


def rows_of(owner: Side) -> RowReader:
    """Return what reads rows while a table owns; `owner` as the map says."""
    return cast("RowReader", _ROWS[owner])


_ROWS: Final = {side: PlainRows(side) for side in Side}


def _ask(what: str, where: str) -> NoReturn:
    raise ConfigError(
        f"the plain protocol can't say {what} without the map: this part is the keyed protocol's, and a plain "
        f"migration asks {where}"
    )


PLAIN: Final = cast("WriterProtocol", Plain())
"""The one cast between this protocol's own rows and the seam's, as `KEYED` is."""
