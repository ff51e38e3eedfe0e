"""The seam: everything that a writer protocol decides, and that the rest of Crossfade asks it (ADR 0027).

Which side owns a key, which version orders a write, what a change record tells (an owner write, an echo, a stray, its
events), under which condition an owner's image may be copied, and which write mends what went wrong. Callers know
neither role nor generation: those are the keyed protocol's (`crossfade.core.protocol.keyed.protocol`), and
`pyproject.toml` lists who may know that one.

A row, a write and a standing are a protocol's own values. They are handed back to the protocol they came from, and to
no other.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeAlias

from msgspec import Struct

from crossfade.core.protocol.events import PublishedEvent
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.writing import Answer, Transfer, Verdict
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side, TableShape


class Aim(NamedTuple):
    """Where a key is to be, and the number of that wish: a higher one wins, and none is ever given twice."""

    side: Side
    generation: int


class Condition(Struct, frozen=True, gc=False):
    """Under which condition an image may be copied to the other table.

    Attributes:
        version: only over a lower one.
        first_standing: of a row that the copy creates: the protocol's own number, which nobody else reads.
    """

    version: int
    first_standing: int


class Spelling(NamedTuple):
    """What a protocol writes into rows beside their content, by name.

    Attributes:
        version: orders copies; on each row that has one.
        carried: attributes that travel with each copy.
        deleted: one of them: the row is nothing to a client.
        ttl: one of them: the value of the origin's TTL attribute; empty where that is content, as any other.
        standby: what a row must say, beside its version, to take a copy; a row that a copy creates says it, too.
        standing: takes `Condition.first_standing` in such a row; empty where there is no such attribute.
        ignored: what of Crossfade's own an owner's row may hold and no copy of it does.
    """

    version: str
    carried: tuple[str, ...]
    deleted: str
    ttl: str
    standby: tuple[tuple[str, str], ...] = ()
    standing: str = ""
    ignored: tuple[str, ...] = ()

    @property
    def own(self) -> tuple[str, ...]:
        """What only the table itself may write: no copy brings it."""
        return (self.version, *(name for name, _ in self.standby), *((self.standing,) if self.standing else ()))


class Place(NamedTuple):
    """Where an image stands.

    Attributes:
        owns: whether its table owned the key by then.
        version: that orders it; its commit time in µs where it has none.
    """

    owns: bool
    version: int


class OwnerRemoval(NamedTuple):
    """An owner's row was removed: a tombstone travels.

    Attributes:
        condition: under which it may be written.
        tombstone: what it carries.
        is_stray: whether a writer outside the protocol did it.
    """

    condition: Condition
    tombstone: Image
    is_stray: bool


class Act(NamedTuple):
    """One conditional write that only its protocol's own tables understand.

    Attributes:
        write: for `crossfade.ports.table.Table.perform`.
        version: that it leaves; 0 where it leaves none of its own.
    """

    write: Any
    version: int = 0


class Skip(Enum):
    """Why a record is not applied, and need not be."""

    NOT_OURS = "not_ours"  # a row of somebody else in a shared table
    ECHO = "echo"  # a state transfer, coming back
    TOMBSTONE_REMOVED = "tombstone_removed"  # the item was deleted long ago


class StrayOwner(NamedTuple):
    """A writer outside the protocol changed an owner: its version is lifted, and the write travels as any other.

    Attributes:
        key: the encoded key.
        seen: `cf_mv` as in the record; None when it is missing. The lift is void if the item has moved on.
        before: the highest version that the record shows: its old image's, or `seen`.
        committed_us: when it was written.
        watched: whether strays were looked for by then; otherwise the lift is all that is to be done.
        hidden: the row is a tombstone, so that what was written is not to be seen anywhere.
        erased: as in `StrayStandby`.
    """

    key: Key
    seen: int | None
    before: int
    committed_us: int
    watched: bool
    hidden: bool = False
    erased: Row | None = None


class StrayStandby(NamedTuple):
    """A writer outside the protocol changed a row that is no owner's. Unless it was a repair, which looks the same.

    Attributes:
        key: the encoded key.
        item: the row after it.
        committed_us: when it was written.
        watched: whether strays were looked for by then; otherwise nothing is to be done.
        erased: the row before it, if a put erased all that the protocol had written into it; None otherwise.
    """

    key: Key
    item: Row
    committed_us: int
    watched: bool
    erased: Row | None = None


class RemovedStandby(NamedTuple):
    """A standby item was removed: the row is put back if it is still absent.

    Attributes:
        key: the encoded key.
        item: what stood there, as standby.
        committed_us: when it was removed.
        watched: whether a writer did it, and strays were looked for by then.
    """

    key: Key
    item: Row
    committed_us: int
    watched: bool


Told: TypeAlias = Condition | Skip | StrayOwner | StrayStandby
"""What a record with a new image tells. A Condition says: an owner write, which may be copied under it."""

Removed: TypeAlias = OwnerRemoval | Skip | RemovedStandby
"""What the record of a removal tells."""


class ChangeRecord(Protocol):
    """What a protocol reads of a change record (`crossfade.core.replication.change.Change`)."""

    @property
    def key(self) -> Key:
        """The encoded key."""

    @property
    def committed_us(self) -> int:
        """Commit time, µs."""

    @property
    def new(self) -> Image | None:
        """Image after it; None for a removal."""

    @property
    def old(self) -> Image | None:
        """Image before it, decoded at each use; None when there was none."""

    @property
    def expired(self) -> bool:
        """Whether the table's TTL removed it."""

    def old_version(self) -> int:
        """Version of the image before; 0 when it has none. Cheaper than `old`."""


class RecordReader(Protocol):
    """Reads the change records of one table."""

    def told(self, record: ChangeRecord, new: Image, *, watched: bool) -> Told:
        """Say what a record of a migrated row tells.

        Args:
            record: one of the table's.
            new: the image after the change.
            watched: whether writers outside the protocol were strays by its commit time.

        Raises:
            PoisonRecord: the record, or the row in it, can't be understood.
        """

    def place(self, record: ChangeRecord, new: Image) -> Place:
        """Say where a record's image stands, undecoded. Arguments and errors as of `told`."""

    def removed(self, record: ChangeRecord, *, watched: bool) -> Removed:
        """Say what the removal of a migrated row tells. Arguments and errors as of `told`."""

    def events(self, record: ChangeRecord) -> list[PublishedEvent]:
        """Return the domain events that this very record tells, in the order of the write; copies tell none.

        Args:
            record: before any deduplication.

        Raises:
            PoisonRecord: the events can't be read.
        """

    def row(self, image: Image) -> Row:
        """Read an image of the table. Errors as of `told`."""


class RowReader(Protocol):
    """Reads rows, at one state of the flag document. Both rows of a key are given in the names of one side."""

    def owns(self, item: Row | None, side: Side) -> bool:
        """Say whether `side` owns the key, as far as its row tells."""

    def owner_of(self, source: Row | None, target: Row | None) -> Side | None:
        """Return the side that owns the key; None when both or neither do."""

    def is_contested(self, source: Row | None, target: Row | None) -> bool:
        """Say whether both rows are there and claim the key: must never happen, and needs a human decision."""

    def why_unreadable(self, item: Row | None) -> str:
        """Return what of the row can't be understood; empty when all can, and for a reader that refuses such rows."""

    def is_held_out(self, item: Row | None) -> bool:
        """Say whether the row itself says that the other table refuses it for good."""

    def may_leave(self, item: Row | None, side: Side) -> bool:
        """Say whether `side` owns the key and would give it away: a key that was held out is at home for good."""

    def is_live(self, item: Row | None) -> bool:
        """Say whether there is anything for a client to read."""

    def version_of(self, item: Row | None) -> int:
        """Return the version that orders the row; 0 where there is none."""

    def is_ordered(self, version: int) -> bool:
        """Say whether an owner write gave a version, so that versions of both tables may be compared."""

    def standing_of(self, item: Row | None) -> int:
        """Return what rises whenever the key moves, and never otherwise; 0 where it never did."""

    def is_settled(self, item: Row | None) -> bool:
        """Say whether the row itself says who owns the key. A complete migration may read another one otherwise."""

    def is_merged(self, item: Row | None, identity: bytes) -> bool:
        """Say whether a merge of this identity was written to the row, or travelled to it."""

    def is_taken_along(self, standby: Row, owner: Row) -> bool:
        """Say whether the owner may have come by the standby's content when the key moved."""

    def described(self, item: Row) -> dict[str, str | None]:
        """Return what the protocol has written into the row, for humans."""

    def digest_of(self, item: Row) -> bytes:
        """Return 16 bytes over all that an owner and its standby must have in common at one version."""

    def is_same_state(self, one: Row, other: Row) -> bool:
        """Say whether two rows agree in that; cheaper where they agree byte by byte.

        Raises:
            PoisonRecord: a value can't be read.
        """


class Acts(Protocol):
    """The writes that mend what a writer outside the protocol, or a handover, left behind.

    `now_us` is the wall clock, µs: it only seeds the version of a row that has none.
    """

    def lift(
        self, key: Key, seen: int | None, *, now_us: int, before: int = 0, standby: int = 0, complete: bool = False
    ) -> Act:
        """Raise an owner's version above all that is known of the key, if it is still at `seen`; no event.

        Args:
            key: the encoded key.
            seen: the owner's version; None when it has none.
            now_us: see above.
            before: the owner's before a stray, as far as known.
            standby: the other side's.
            complete: of the flag document.
        """

    def bury(self, key: Key, standby: Row, *, now_us: int) -> Act:
        """Turn a standby whose owner has nothing into a deleted row, if it is still at its version, or without one."""

    def restore(self, key: Key, item: Row) -> Act:
        """Put back a standby row that a stray removed, if it is still absent."""

    def reinstate(self, key: Key, item: Row, side: Side, other: Row | None, *, now_us: int) -> Act | None:
        """Give a row back what a stray erased of the protocol's; what the stray wrote stays.

        Args:
            key: the encoded key.
            item: the row before the stray.
            side: its table's.
            other: the other table's row now.
            now_us: see above.

        Returns:
            None where the key has moved on, so that nothing is to be given back.
        """

    def merge(
        self,
        key: Key,
        owner: Row,
        sets: tuple[tuple[str, bytes], ...],
        removes: tuple[str, ...],
        identity: bytes,
        *,
        now_us: int,
        complete: bool,
    ) -> Act:
        """Bring a stray's change to the owner, once: the row remembers the identity (16 bytes). No event."""

    def stub(self, key: Key, standing: int, *, now_us: int) -> Act:
        """Stand something in for a key that never was, so that it can move."""

    def shut(self, key: Key, owner: Row | None) -> Act:
        """Shut the other table to a key that stays with its owner for good."""

    def own_stub(self, key: Key, stub: Row, standing: int) -> Act:
        """Make a stub that no one has moved yet the key's first owner."""


class WriterProtocol(Protocol):
    """How the writers of a migration keep a key in one place."""

    @property
    def acts(self) -> Acts:
        """The writes that mend."""

    @property
    def spelling(self) -> Spelling:
        """How it spells itself in rows: mappings and the text of copies are made of it."""

    def rows(self, *, complete: bool = False) -> RowReader:
        """Return what reads rows; `complete` as the flag document says."""

    def reader(self, shape: TableShape) -> RecordReader:
        """Return what reads the change records of a table."""

    def condition(self, item: Row, destination: Side) -> Condition:
        """Return under which condition an owner's row may be copied to a table."""

    def image(self, item: Row, shape: TableShape, key: Image) -> Image:
        """Return a row as it stands in its table; the inverse of `RecordReader.row`.

        Args:
            item: the row.
            shape: of the table.
            key: its key attributes; empty for an image without them.
        """

    def imported(self, image: Image, mapped: Image) -> int:
        """Write into a mapped row what the protocol gives one that is imported as a standby.

        Args:
            image: the row of the origin.
            mapped: its mapped image, to be completed.

        Returns:
            The standing that the row carries from an earlier migration; 0 when it carries none.

        Raises:
            PoisonRecord: the row can't be imported.
        """

    def stands_for_nothing(self, image: Image, shape: TableShape) -> bool:
        """Say whether an image of a table, with the mark of a deleted row, is nothing to a client.

        Raises:
            PoisonRecord: the mark can't be read.
        """

    def judge(self, transfer: Transfer, item: Row | None, shape: TableShape) -> Verdict:
        """Say what a transfer would do to the row it meets; `shape` is its table's. Errors as of `RecordReader.row`."""

    def is_there(self, transfer: Transfer, item: Row | None, shape: TableShape) -> bool:
        """Say whether a row has all that a transfer would bring. It is asked of an owner's row, too."""

    def widest(self, item: Row) -> Row:
        """Return a row as it will stand when it moves, with all that the protocol adds as long as that ever gets."""

    def unfit(self, key: Key, item: Row, shape: TableShape, *, standing: Row | None = None) -> str:
        """Say why a table would refuse for good to take a key over; empty when nothing speaks against it.

        Args:
            key: the encoded key.
            item: the owner's row, in the table's names.
            shape: of the table.
            standing: what stands there, as far as known.
        """

    def unfit_image(self, key: Key, image: Image, shape: TableShape, *, encoded_bytes: int) -> str:
        """Say why a table would refuse for good a row as it would stand there, key included; see `unfit`.

        `encoded_bytes` is the row's length as JSON, which spares counting small ones.
        """

    def unfit_transfer(self, transfer: Transfer, shape: TableShape, *, standing: Row | None = None) -> str:
        """Say why a table would refuse a transfer for good; see `unfit`."""

    def after(self, write: Any, item: Row | None, shape: TableShape) -> Answer[Row]:
        """Say what a write of the protocol's own would do to the row it meets."""
