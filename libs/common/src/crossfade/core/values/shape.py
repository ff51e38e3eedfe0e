"""The two sides of a migration, and what a table on one side looks like."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Side(Enum):
    """One of the two tables."""

    SOURCE = "source"
    TARGET = "target"

    @property
    def other(self) -> Side:
        """The other table."""
        return Side.TARGET if self is Side.SOURCE else Side.SOURCE


class Direction(Enum):
    """Which way state travels."""

    FORWARD = "forward"  # source to target
    REVERSE = "reverse"  # target to source

    @property
    def origin(self) -> Side:
        """The table the state comes from."""
        return Side.SOURCE if self is Direction.FORWARD else Side.TARGET

    @property
    def destination(self) -> Side:
        """The table the state goes to."""
        return self.origin.other


def direction_to(destination: Side) -> Direction:
    """Return the direction whose destination is `destination`."""
    return Direction.FORWARD if destination is Side.TARGET else Direction.REVERSE


class IndexKey(NamedTuple):
    """An attribute that is a key of a secondary index. An item may lack it, but never have it empty or of another type.

    Attributes:
        name: of the attribute.
        kind: its type: "S", "N" or "B".
        sorts: whether it is an index's sort key (1,024 bytes) or its partition key (2,048 bytes).
    """

    name: str
    kind: str
    sorts: bool = False


class Index(NamedTuple):
    """A global secondary index.

    Attributes:
        name: of the index.
        key: its key attributes, in the order of its key schema.
        projection: "ALL", "KEYS_ONLY" or "INCLUDE".
        projected: attributes beside the keys, under "INCLUDE".
    """

    name: str
    key: tuple[IndexKey, ...]
    projection: str = "ALL"
    projected: tuple[str, ...] = ()


class TableShape(NamedTuple):
    """What the protocol must know of one table.

    Attributes:
        side: which side it is.
        table: its name.
        key: names of the key attributes, in the order of the key schema.
        attributes: the closed list of mapped attributes, without key, TTL and protocol attributes; a transfer sets
            those that are present and removes the others. None for an open shape.
        zero: a complete mapped item with nothing in it, as (name, raw value) pairs: what operations create rows
            from.
        names: how this table calls attributes that it has under another name than the source.
        ttl: the attribute that the table's TTL reads, if it has one; only the source table may.
        index_keys: attributes that are keys of its secondary indexes.
        indexes: global indexes that the target table is created with; None for those of the source.
        kept: attributes of the target that keep the key of the source's row (`crossfade.core.mapping.keying.KeyRule`).
    """

    side: Side
    table: str
    key: tuple[str, ...]
    attributes: tuple[str, ...] | None
    zero: tuple[tuple[str, bytes], ...]
    ttl: str | None = None
    index_keys: tuple[IndexKey, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    indexes: tuple[Index, ...] | None = None
    kept: tuple[str, ...] = ()

    def own(self, name: str) -> str:
        """Return how this table calls an attribute that goes by its source's name."""
        for source, own in self.names:
            if source == name:
                return own
        return name

    @property
    def is_shared(self) -> bool:
        """Whether others write to its rows, too: the source table is somebody's, the target is the migration's own."""
        return self.side is Side.SOURCE

    @property
    def may_put(self) -> bool:
        """Whether a row may be replaced whole, under a condition on its version, role and generation (ADR 0015).

        Not in a shared table under a closed mapping: there a row has attributes of other tenants, whose writes change
        none of the three, so a put could take one back that came after the read. An update leaves them alone.
        """
        return self.attributes is None or not self.is_shared


def absent_is_active(side: Side, *, complete: bool = False) -> bool:
    """Say what an absent item or a missing role means on a side (design.md, section 4).

    Active in the source table, so that it needs no back-filling; after COMPLETE, active in the target.

    Args:
        side: the table.
        complete: whether the flag document says `complete`.
    """
    return side is (Side.TARGET if complete else Side.SOURCE)


def table_name(reference: str) -> str:
    """Return the bare name of a table that is given by its name or its ARN."""
    return reference.rpartition("/")[2] if reference.startswith("arn:") else reference


def same_table(one: str, other: str) -> bool:
    """Say whether two references are, or are nearly, one table: a name and an ARN of it, or names that differ only in
    case. DynamoDB tells case apart, people and typing don't: two tables of a migration never have such names. Two ARNs
    of different accounts or Regions are two tables, whatever their names.
    """
    places = [each.split(":")[3:5] for each in (one, other) if each.startswith("arn:")]
    if len(places) == 2 and places[0] != places[1]:
        return False
    return table_name(one).casefold() == table_name(other).casefold()
