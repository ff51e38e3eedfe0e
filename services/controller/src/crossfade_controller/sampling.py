"""Some rows of a table, from all over its key space, for a bounded number of read units.

A scan gives a table in the order of its partitions' hashes, so the first rows of one are all from one corner of it: in
a shared table, perhaps, none of ours. A parallel scan begins in as many places as it has segments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from crossfade.core.values.image import Image, encode_image

SEGMENTS: Final = 32
"""Places of the key space that a sample is taken from."""

PAGE_ROWS: Final = 250
"""Most rows of one page: at 4 KB a row half a megabyte."""

UNIT_BYTES: Final = 8192
"""What one read unit reads without strong consistency. The rows' JSON is longer than what DynamoDB counts, so what is
reckoned is never less than what is paid."""


class RawPage(Protocol):
    """A page of raw rows; `crossfade.adapters.dynamodb.Page` is one."""

    @property
    def items(self) -> Sequence[Image]:
        """The rows."""
        ...

    @property
    def next_key(self) -> Image | None:
        """Where the next page begins; None at the segment's end."""
        ...


class RawScan(Protocol):
    """Reads one page of one segment of a table, whoever's rows they are."""

    async def __call__(self, *, segment: int, segments: int, start: Image | None, limit: int) -> RawPage:
        """Read one page of at most `limit` rows."""
        ...


class Rows(NamedTuple):
    """A sample.

    Attributes:
        found: the rows that were wanted.
        read: rows that were looked at.
        units: read units it took, at most.
        whole: whether these are all rows of the table.
    """

    found: Sequence[Image]
    read: int
    units: int
    whole: bool


def anything(_row: Image) -> bool:
    """Want every row."""
    return True


async def sample(scan: RawScan, *, rows: int, units: int, wanted: Callable[[Image], bool] = anything) -> Rows:
    """Read rows from all over a table until enough are found, the units are spent, or there are no more.

    The segments take turns, a page each, so that they are read equally far. The last page may go over the bound: by a
    megabyte at most, which is 128 units.

    Args:
        scan: of the table.
        rows: how many are wanted.
        units: read units to spend.
        wanted: which rows count.
    """
    starts: dict[int, Image | None] = dict.fromkeys(range(SEGMENTS))
    limit = max(1, min(PAGE_ROWS, -(-rows // SEGMENTS)))
    found: list[Image] = []
    read = size_bytes = spent = 0
    while starts:
        for segment, start in list(starts.items()):
            if len(found) >= rows or spent >= units:
                return Rows(found[:rows], read, spent, whole=False)
            page = await scan(segment=segment, segments=SEGMENTS, start=start, limit=limit)
            read += len(page.items)
            size_bytes += sum(len(encode_image(each)) for each in page.items)
            spent = -(-size_bytes // UNIT_BYTES)
            found += filter(wanted, page.items)
            if page.next_key is None:
                del starts[segment]
            else:
                starts[segment] = page.next_key
        limit = PAGE_ROWS  # the first round was for breadth
    return Rows(found, read, spent, whole=True)


class Sample(NamedTuple):
    """What some rows of the source table told.

    Attributes:
        read: rows read.
        ours: those that belong.
        broken: rows whose mapping doesn't come back the same, with the reason; the first ones.
        broken_count: how many there are.
        item_bytes: mean size of ours.
        highest_generation: that any of them carries.
        unfit: rows that a table would never take, with the cause; the first ones.
        unfit_count: how many there are.
        inexact: rows with numbers that the domain can't answer exactly, with the cause; the first ones.
        inexact_count: how many there are.
        table: rows of the whole table, by DynamoDB's own count, which is up to six hours old.
        whole: whether all rows of the table were read.
        units: read units that the sample took, at most.
    """

    read: int
    ours: int
    broken: tuple[str, ...]
    broken_count: int
    item_bytes: int
    highest_generation: int
    unfit: tuple[str, ...] = ()
    unfit_count: int = 0
    inexact: tuple[str, ...] = ()
    inexact_count: int = 0
    table: int = 0
    whole: bool = False
    units: int = 0

    @property
    def looked_at(self) -> str:
        """How many rows of how many."""
        return f"all {self.read} rows" if self.whole else f"{self.read} of about {max(self.table, self.read)} rows"

    @property
    def staying(self) -> int:
        """Rows of the sample that belong to somebody else."""
        return self.read - self.ours
