"""The seam: all that a writer protocol decides, and all that the rest of Crossfade asks of it (ADR 0027).

Which side owns a key, which version orders a write, what a change record tells (an owner write, an echo, a stray), and
under which condition an owner's image may be copied. Whoever asks here knows no role and no generation: those are the
keyed protocol's (`crossfade.core.protocol.keyed.protocol`).
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from crossfade.core.protocol.keyed.item import Item
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side, TableShape


class Condition(NamedTuple):
    """Under which condition an image may be copied to the other table.

    Attributes:
        version: only over a lower one.
        first_generation: of a row that the copy creates.
    """

    version: int
    first_generation: int


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
        erased: the row before it, if a put erased all that the protocol had written into it; None otherwise.
    """

    key: Key
    item: Item
    committed_us: int
    watched: bool
    erased: Item | None = None


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


class RowReader(Protocol):
    """Reads rows, at one state of the flag document. Both rows of a key are given in the names of one side."""

    def owns(self, item: Item | None, side: Side) -> bool:
        """Say whether `side` owns the key, as far as its row tells."""

    def owner_of(self, legacy: Item | None, new: Item | None) -> Side | None:
        """Return the side that owns the key; None when both or neither do."""

    def is_contested(self, legacy: Item | None, new: Item | None) -> bool:
        """Say whether both rows are there and claim the key: must never happen, and needs a human decision."""

    def is_held_out(self, item: Item | None) -> bool:
        """Say whether the row itself says that the other table refuses it for good."""

    def may_leave(self, item: Item | None, side: Side) -> bool:
        """Say whether `side` owns the key and would give it away: a key that was held out is at home for good."""

    def is_live(self, item: Item | None) -> bool:
        """Say whether there is anything for a client to read."""

    def version_of(self, item: Item | None) -> int:
        """Return the version that orders the row; 0 where there is none."""

    def is_ordered(self, version: int) -> bool:
        """Say whether an owner write gave a version, so that versions of both tables may be compared."""

    def standing_of(self, item: Item | None) -> Hashable:
        """Return what changes whenever the key moves, and never otherwise."""

    def described(self, item: Item) -> dict[str, str | None]:
        """Return what the protocol has written into the row, for a person."""

    def state_of(self, item: Item) -> Hashable:
        """Return all that an owner and its standby must have in common at one version."""

    def is_same_state(self, one: Item, other: Item) -> bool:
        """Say whether two rows agree in `state_of`; cheaper where they agree byte by byte.

        Raises:
            PoisonRecord: a value can't be read.
        """


class WriterProtocol(Protocol):
    """How the writers of a migration keep a key in one place."""

    def rows(self, *, complete: bool = False) -> RowReader:
        """Return what reads rows; `complete` as the flag document says."""

    def reader(self, shape: TableShape) -> RecordReader:
        """Return what reads the change records of a table."""

    def condition(self, item: Item, target: Side) -> Condition:
        """Return under which condition an owner's item may be copied to a table."""
