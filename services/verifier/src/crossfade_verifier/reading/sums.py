"""What the rows of one side sum up to, and the layout under which the sums of two sides may be compared."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from crossfade.core.values.shape import Side
from crossfade_verifier.reading.pages import Reading
from crossfade_verifier.reading.rows import GENERATION, ROLE, Seen

MASK: Final = 2**64 - 1
"""Sums are kept modulo 2^64: copies of our own data are compared, and a wrong bucket passes by an accident of one in
10^19."""

LANES: Final = 3
VALUED: Final = 2
"""The lane of sums over values; 0 and 1 are over raw bytes, of the keys that the source and the target table own."""


class _Line(msgspec.Struct, gc=False):
    Item: dict[str, Raw]


decode_line = msgspec.json.Decoder(_Line).decode


class Layout(NamedTuple):
    """What a sample of both tables looked like; the digests of two sides are comparable only under one layout.

    Attributes:
        names: attributes that were met, by side, in the order in which they come in a row.
        standings: the generation most often met, by side and role.
    """

    names: dict[Side, tuple[str, ...]]
    standings: dict[tuple[Side, str], int]

    def as_json(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "names": {side.value: list(names) for side, names in self.names.items()},
            "standings": [[side.value, role, standing] for (side, role), standing in self.standings.items()],
        }

    @classmethod
    def of_json(cls, body: Mapping[str, Any]) -> Layout:
        """Read what `as_json` gave."""
        return cls(
            {Side(side): tuple(names) for side, names in body["names"].items()},
            {(Side(side), role): standing for side, role, standing in body["standings"]},
        )


def layout_of(reading: Reading, samples: Mapping[Side, Iterable[bytes]]) -> Layout:
    """Return the layout of some lines of each side; lines that can't be read are passed over."""
    names: dict[Side, tuple[str, ...]] = {}
    met: dict[tuple[Side, str], Counter[int]] = {}
    for side, lines in samples.items():
        found: dict[str, None] = {}
        read: dict[tuple[bytes, bytes], Seen] = {}
        for line in lines:
            try:
                image = decode_line(line).Item
            except msgspec.MsgspecError:
                continue
            found |= dict.fromkeys(image)
            spelled = bytes(image.get(ROLE, b"")), bytes(image.get(GENERATION, b""))
            if spelled not in read:
                read[spelled] = reading.seen(side, image)
            seen = read[spelled]
            if not seen.unreadable:
                met.setdefault((side, seen.role), Counter())[seen.generation] += 1
        names[side] = tuple(found)
    return Layout(names, {each: counted.most_common(1)[0][0] for each, counted in met.items()})


class Odd(NamedTuple):
    """A line that is no row: it can't be joined with anything.

    Attributes:
        cause: why.
        where: its file, and the number of the line as far as it is known.
    """

    cause: str
    where: str


class Sums:
    """What the rows of one side sum up to.

    Attributes:
        lanes: by lane, the sum of the digests in each bucket.
        highest: by bucket, the highest generation of a standby, where it is above the usual one.
        lowest: by bucket, the lowest generation of an owner, where it is below the usual one.
        rows: lines read.
        belonging: rows of the migration among them.
        valued: those of them that were summed by value.
        dropped: attributes that the mapping doesn't carry, and in how many rows they were met.
        others: encoded keys of the first rows that don't belong.
        odd: the first lines that are no rows.
        odd_count: how many there were.
        nothing: rows of the migration that are nothing, where only one side has such: they are in no other count.
        file: that is being read.
        before: lines of it before the block that is being read.
    """

    def __init__(self, buckets: int, kept: int) -> None:
        self.lanes = [[0] * buckets for _ in range(LANES)]
        self.highest: dict[int, int] = {}
        self.lowest: dict[int, int] = {}
        self.rows = self.belonging = self.valued = self.odd_count = self.nothing = 0
        self.dropped: Counter[str] = Counter()
        self.others: list[bytes] = []
        self.odd: list[Odd] = []
        self.kept = kept
        self.file, self.before = "", 0

    def meet_odd(self, cause: str, line: int = 0) -> None:
        """Count a line that is no row; its number in the block counts from 1, and 0 is unknown."""
        self.odd_count += 1
        if len(self.odd) < self.kept:
            self.odd.append(Odd(cause, f"{self.file}, line {self.before + line}" if line else self.file))

    def meet_other(self, key: bytes) -> None:
        """Keep the key of a row that doesn't belong."""
        if len(self.others) < self.kept:
            self.others.append(key)

    def mark(self, bucket: int, standing: int, *, active: bool) -> None:
        """Note a generation that is not the usual one."""
        if active:
            self.lowest[bucket] = min(standing, self.lowest.get(bucket, standing))
        else:
            self.highest[bucket] = max(standing, self.highest.get(bucket, standing))

    def packed(self) -> bytes:
        """Return everything as bytes."""
        lanes = [array("Q", [each & MASK for each in lane]).tobytes() for lane in self.lanes]
        return msgspec.msgpack.encode(
            [
                lanes,
                self.highest,
                self.lowest,
                [self.rows, self.belonging, self.valued, self.odd_count, self.nothing],
                self.dropped,
                self.others,
                self.odd,
            ]
        )

    def plus(self, packed: bytes) -> None:
        """Add what `packed` gave of other rows of the same side."""
        lanes, highest, lowest, counts, dropped, others, odd = msgspec.msgpack.decode(packed, type=_Packed)
        for mine, theirs in zip(self.lanes, lanes, strict=True):
            for bucket, each in enumerate(array("Q", theirs)):
                mine[bucket] += each
        for marks, active in ((highest, False), (lowest, True)):
            for bucket, standing in marks.items():
                self.mark(bucket, standing, active=active)
        known: tuple[int, ...] = (self.rows, self.belonging, self.valued, self.odd_count, self.nothing)
        self.rows, self.belonging, self.valued, self.odd_count, self.nothing = map(int.__add__, known, counts)
        self.dropped.update(dropped)
        self.others = (self.others + others)[: self.kept]
        self.odd = (self.odd + [Odd(*each) for each in odd])[: self.kept]


_Packed = tuple[
    list[bytes], dict[int, int], dict[int, int], list[int], dict[str, int], list[bytes], list[tuple[str, str]]
]


def differing(source: Sums, target: Sums, layout: Layout) -> list[int]:
    """Return the numbers of the buckets in which the sides differ, or where a standby may be above its owner."""
    found = set()
    for mine, theirs in zip(source.lanes, target.lanes, strict=True):
        found |= {bucket for bucket, (one, other) in enumerate(zip(mine, theirs, strict=True)) if (one - other) & MASK}
    for owners, standbys, side in ((source, target, Side.SOURCE), (target, source, Side.TARGET)):
        lowest, highest = layout.standings.get((side, "A"), 0), layout.standings.get((side.other, "S"), 0)
        if highest > lowest:
            return list(range(len(source.lanes[0])))
        found |= {
            bucket for bucket, standing in standbys.highest.items() if standing > owners.lowest.get(bucket, lowest)
        }
        found |= {
            bucket for bucket, standing in owners.lowest.items() if standbys.highest.get(bucket, highest) > standing
        }
    return sorted(found)
