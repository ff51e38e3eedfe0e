"""Both tables, read by the verifier's own reading (`crossfade_verifier.reading`, ADR 0035)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from crossfade.core.mapping.copies import GIVEN_BACK, why_not
from crossfade.core.mapping.interface import Mapping as MigrationMapping
from crossfade.core.parity.classes import Pair
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import RowReader
from crossfade.core.protocol.writing import Answer
from crossfade.core.values.errors import ConfigError, PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, Side, TableShape
from crossfade.ports.table import Answers
from crossfade_verifier.reading.judging import OwnRows
from crossfade_verifier.reading.pages import Reading
from crossfade_verifier.reading.rows import ATTRIBUTES, Seen


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
    """Reads of either table, by the verifier's own reading, in the names of the source."""

    def __init__(self, mapping: MigrationMapping, source: SweptTable, target: SweptTable) -> None:
        """Take the mapping and its tables.

        Raises:
            ConfigError: its protocol writes other attributes into rows than the reading knows.
        """
        spelling = mapping.protocol.spelling
        if strange := sorted(ATTRIBUTES.symmetric_difference((*spelling.own, *spelling.carried))):
            raise ConfigError(
                f"the verifier can't read rows of the mapping {mapping.name!r}: its protocol and the verifier's "
                f"reading differ in {', '.join(strange)}; write a reading for that protocol (ADR 0035)"
            )
        self.mapping = mapping
        self.reading = Reading(mapping.declared)
        self.readers = {side: mapping.protocol.reader(mapping.shape(side)) for side in Side}
        self._tables: Mapping[Side, SweptTable] = {Side.SOURCE: source, Side.TARGET: target}

    def table(self, side: Side) -> SweptTable:
        """Return a side's table."""
        return self._tables[side]

    def rows(self, *, complete: bool = False) -> RowReader:
        """Return what reads rows, as the flag document says."""
        # It answers what parity asks, of the rows that `read` and `heard` return; of the seam's, no more is asked here.
        return cast("RowReader", OwnRows(complete))

    def heard(self, side: Side, image: Image) -> Row:
        """Read an image of a change record.

        Raises:
            PoisonRecord: an attribute of the protocol can't be read.
        """
        return self.reading.row(side, image)

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
