"""Both tables, read by the verifier's own reading (`crossfade_verifier.reading`, ADR 0035).

With `crossfade_verifier.protocols` the one place that knows which protocol they are under: it decides how they are
read, who owns them, and how a key that differs is followed (ADR 0046).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast

from msgspec import Raw
from msgspec.structs import replace

from crossfade.core.mapping.copies import GIVEN_BACK, why_not
from crossfade.core.mapping.interface import Mapping as MigrationMapping
from crossfade.core.parity import classes, plain
from crossfade.core.parity.classes import Difference, Followed, Pair
from crossfade.core.parity.classes import Reading as Reads
from crossfade.core.parity.plain import PlainFollowed
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import Place, RowReader
from crossfade.core.protocol.writing import Answer
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import ConfigError, PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, Side, TableShape
from crossfade.ports.owner_map import OwnerMaps
from crossfade.ports.table import Answers
from crossfade_verifier.owning import ByMap, ByRows, Owning, View
from crossfade_verifier.protocols import is_plain, reading_of
from crossfade_verifier.reading.judging import OwnRows
from crossfade_verifier.reading.plain import OWN_DIGITS, PlainReading, PlainRows, PlainStateReading
from crossfade_verifier.reading.rows import DELETED, Seen
from crossfade_verifier.reading.states import StateReading

AnyFollowed: TypeAlias = Followed | PlainFollowed
"""A key on the follow list."""


class SweptTable(Answers, Protocol):
    """A table that the verifier reads, and repairs by writes of the migration's protocol."""

    @property
    def shape(self) -> TableShape:
        """What the table looks like."""
        ...

    async def perform(self, write: Any, *, timeout_s: float | None = None) -> Answer[Row]:
        """See `crossfade.ports.table.Table.perform`."""
        ...


class BothTables:
    """Reads of either table, by the verifier's own reading, in the names of the source.

    Attributes:
        mapping: of the migration.
        is_plain: whether one table owns all rows, and a map says which.
        reading: of both tables.
        readers: the protocol's own, for whoever writes.
        owning: tells which table owns.
    """

    def __init__(
        self, mapping: MigrationMapping, source: SweptTable, target: SweptTable, maps: OwnerMaps | None = None
    ) -> None:
        """Take the mapping and its tables.

        Args:
            mapping: of the migration.
            source: the one table.
            target: the other.
            maps: reads the map, where a map says which table owns.

        Raises:
            ConfigError: its protocol writes other attributes into rows than the reading knows.
        """
        self.is_plain = is_plain(mapping)
        if self.is_plain and maps is None:
            raise ConfigError(f"which table owns the rows of the mapping {mapping.name!r}, only its map tells")
        self.mapping = mapping
        self.owning: Owning = ByMap(maps) if self.is_plain and maps is not None else ByRows()
        self.reading = reading_of(mapping)
        self.readers = {side: mapping.protocol.reader(mapping.shape(side)) for side in Side}
        self._tables: Mapping[Side, SweptTable] = {Side.SOURCE: source, Side.TARGET: target}

    def table(self, side: Side) -> SweptTable:
        """Return a side's table."""
        return self._tables[side]

    async def look(self) -> View:
        """Look which table owns now; see `Owning`."""
        return await self.owning.look()

    def own(self, *, complete: bool = False) -> OwnRows:
        """Return what reads rows, as the flag document says, or the map at each moment."""
        if self.is_plain:
            return cast("OwnRows", PlainRows(lambda: self.owning.view.owner))  # it answers alike
        return OwnRows(complete)

    def states(self, side: Side) -> StateReading:
        """Return what reads the states of a table's rows, as change records tell them."""
        if isinstance(self.reading, PlainReading):
            return PlainStateReading(self.reading, side, lambda: self.owning.view.owner)
        return StateReading(self.reading, side)

    def rows(self, *, complete: bool = False) -> RowReader:
        """Return the same, for parity."""
        # It answers what parity asks, of the rows that `read` and `heard` return; of the seam's, no more is asked here.
        return cast("RowReader", self.own(complete=complete))

    @property
    def keys_change(self) -> bool:
        """Whether a row's key on one side is another than on the other."""
        return self.mapping.declared.source_key is not None

    def key_at(self, side: Side, key: Key) -> Key:
        """Return the key of a row in a side's table.

        Args:
            side: the table.
            key: in the source table, as rows go by everywhere else.

        Raises:
            PoisonRecord: the row can have none there.
        """
        if side is Side.SOURCE or not self.keys_change:
            return key
        return self.mapping.other_key(Direction.FORWARD, key, None)

    def told(self, side: Side, change: Change) -> Change | None:
        """Return a change record under its row's key in the source table; None where it has no way back."""
        way = self.mapping.declared.source_key
        if side is Side.SOURCE or way is None:
            return change
        try:
            image = change.old if change.new is None else change.new
            return replace(change, key=Key(way(change.key, image or {})))
        except PoisonRecord:
            return None

    def heard(self, side: Side, change: Change) -> Row | None:
        """Read the row that a change record shows; None where it tells nothing.

        Under the plain protocol an owner's row has the record's commit time as its version, and a removed one is
        nothing at that time.

        Raises:
            PoisonRecord: an attribute of the protocol can't be read.
        """
        if not self.is_plain:
            return None if change.new is None else self.reading.row(side, change.new)
        if self.owning.view.owner is side:
            image = {DELETED: Raw(b'{"BOOL":true}')} if change.new is None else change.new
            return self.reading.row(side, image).at(change.committed_us)
        if change.new is None:
            return None
        found = self.reading.row(side, change.new)
        if found.unreadable:
            raise PoisonRecord(found.unreadable)
        return None if found.version is None else found.at(found.version // OWN_DIGITS)

    def place(self, side: Side, change: Change, new: Image) -> Place | None:
        """Say where a record's image stands; None where it tells nothing. Errors as of `heard`.

        Args:
            side: whose record it is.
            change: the record.
            new: its image after the change.
        """
        if not self.is_plain:
            return self.readers[side].place(change, new)
        found = self.heard(side, change)
        return None if found is None else Place(self.owning.view.owner is side, found.version or 0)

    def follow(self, pair: Pair, now_s: float, rows: RowReader, *, since_us: int) -> AnyFollowed:
        """Put a pair that is not equal on a follow list; see `crossfade.core.parity`.

        Args:
            pair: as two scans found it.
            now_s: monotonic clock.
            rows: reads it.
            since_us: a moment that the tables' clock has surely not passed yet.
        """
        if self.is_plain:
            return plain.follow(pair, now_s, rows, since_us=since_us)
        return classes.follow(pair, now_s, rows)

    def classify(self, reading: Reads, rows: RowReader, *, last: int = 0) -> Difference | None:
        """Call the class that a key has once the bound has passed; None where the owner changed between the reads.

        Args:
            reading: three consistent reads; made while the map was open and the same.
            rows: reads them.
            last: under the plain protocol, the commit time of the owner's last record that is known, µs; 0 for none.
        """
        if self.is_plain:
            return plain.classify(reading, rows, last=last)
        return classes.classify(reading, rows, reached=rows.version_of(reading.owner_again), late=True)

    def suspected(self, first: int, since_s: float, *, reached: int, since_us: int) -> AnyFollowed:
        """Put a key on a follow list that nobody has read; see `crossfade_verifier.followlist.FollowList.suspect`."""
        if self.is_plain:
            return PlainFollowed(since_s, first or since_us, first or reached)
        return Followed(since_s, first, since_s, first or reached, by_reads=not first)

    def core_row(self, side: Side, row: Row) -> Row:
        """Return a row as whoever writes wants it: read by the protocol, in the names of its own table.

        Raises:
            PoisonRecord: it can't be read.
        """
        return self.readers[side].row(cast("Seen", row).image)

    async def read(self, side: Side, keys: Sequence[Key]) -> dict[Key, Row]:
        """Read rows consistently; keys without one are missing in the result."""
        if not keys:
            return {}
        answers = await self._tables[side].read_answers(self.reading.asks(side, list(dict.fromkeys(keys))))
        found = self.reading.batch(side, answers)
        return {Key(key): self.reading.seen(side, row).kept() for key, row in found.items()}

    def why_refused(self, key: Key, pair: Pair) -> str:
        """Say why the other table has not got an owner's item, and won't get it; empty when nothing tells so."""
        rows = self.rows()
        side = rows.owner_of(*pair)
        owner = None if side is None else pair.of(side)
        if side is None or owner is None:
            return ""
        try:
            row = self.core_row(side, owner)
            cause = why_unmappable(owner) or self._why_not(key, side, row, pair.target)
        except PoisonRecord as error:
            return str(error)
        return cause or (GIVEN_BACK if rows.is_held_out(owner) else "")

    def _why_not(self, key: Key, side: Side, row: Row, standing: Row | None) -> str:
        if side is Side.TARGET:
            return why_not(self.mapping, key, Side.SOURCE, row)
        there = None if standing is None else self.core_row(Side.TARGET, standing)
        mapped = self.mapping.map_item(Direction.FORWARD, row)
        return self.mapping.protocol.unfit(key, mapped, self.mapping.shape(Side.TARGET), standing=there)


def why_unmappable(item: Row | None) -> str:
    """Return what of a row the declared facts don't fit; empty when they do."""
    return "" if item is None else cast("Seen", item).trouble
