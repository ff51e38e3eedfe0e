"""Whether it is safe to cut over, from what each sense said and when it said so.

A sense that says nothing, says it too late, or speaks of something else is a reason against: what isn't known isn't
safe (design.md, section 6). So the answer is made of ages at the time of asking, never of the last value alone, and a
sense that nobody asks or that stopped answering turns the answer without anybody noticing that it did.

Time is the caller's, in seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from crossfade.core.values.shape import Side


class Sense(Enum):
    """What the answer is made of."""

    PASSES = "passes"  # what they found, and whether they go on; dated by the last read of a table that was answered
    CLEAN = "clean pass"  # the last one; dated by its end
    HANDOVERS = "handovers"  # keys standby on both sides; dated as the passes that see them
    MAP = "owner map"  # which table owns all rows, and whether a flip is under way
    JOURNAL = "journal"  # repairs of other verifiers
    TABLE = "table"  # a read of its rows
    CAPTURE = "capture"  # DescribeKinesisStreamingDestination: do changes go to the stream that is read?
    FIRST_HOP = "first hop"  # AgeOfOldestUnreplicatedRecord
    STREAM = "stream"  # the verifier's reading of it; dated by what it has read


OF_EACH_SIDE: Final = frozenset({Sense.TABLE, Sense.CAPTURE, Sense.FIRST_HOP, Sense.STREAM})

OF_ROWS: Final = frozenset({Sense.HANDOVERS})
"""Where each row tells who owns it."""

OF_THE_MAP: Final = frozenset({Sense.MAP})
"""Where one table owns all rows, and a map says which."""

Input: TypeAlias = tuple[Sense, Side | None]
"""A sense; those of each table with the side."""


class Reading(NamedTuple):
    """What a sense said.

    Attributes:
        of: of which table, stream, journal or pair of tables, as it was asked or as it says.
        taken_s: when it was asked for what it said; None when it never answered.
        against: what it says against cutting over.
        trouble: why there is no newer answer; empty when nothing is known to be wrong.
    """

    of: str
    taken_s: float | None
    against: tuple[str, ...] = ()
    trouble: str = ""


class Wanted(NamedTuple):
    """What an input must be to count.

    Attributes:
        of: the table, stream, journal or pair of tables of this migration.
        bound_s: oldest answer that counts.
    """

    of: str
    bound_s: float


class Names(NamedTuple):
    """The migration's own names.

    Attributes:
        tables: of both tables.
        streams: of their change streams.
        journal: of the journal's table.
        map: of the table in which the map is that says which table owns; empty where rows say it.
    """

    tables: Mapping[Side, str]
    streams: Mapping[Side, str]
    journal: str
    map: str = ""

    @property
    def pair(self) -> str:
        """Both tables, as a pass speaks of them."""
        return pair_of(self.tables)


def pair_of(tables: Mapping[Side, str]) -> str:
    """Return how two tables are named as one."""
    return f"{tables[Side.SOURCE]} and {tables[Side.TARGET]}"


def inputs(*, by_map: bool = False) -> list[Input]:
    """Return every input that the answer needs, in the order in which reasons are given.

    Args:
        by_map: whether a map says which table owns all rows.
    """
    left = OF_ROWS if by_map else OF_THE_MAP
    needed = [sense for sense in Sense if sense not in left]
    return [(sense, side) for sense in needed for side in (Side if sense in OF_EACH_SIDE else (None,))]


def wanted(names: Names, bounds_s: Mapping[Sense, float]) -> dict[Input, Wanted]:
    """Return what each input must be to count.

    Args:
        names: of the migration.
        bounds_s: oldest answer of each sense that counts.
    """

    def of(sense: Sense, side: Side | None) -> str:
        if side is not None:
            return (names.streams if sense is Sense.STREAM else names.tables)[side]
        return {Sense.JOURNAL: names.journal, Sense.MAP: names.map}.get(sense, names.pair)

    return {(sense, side): Wanted(of(sense, side), bounds_s[sense]) for sense, side in inputs(by_map=bool(names.map))}


def why_not(
    needs: Mapping[Input, Wanted], readings: Mapping[Input, Reading], now_s: float
) -> dict[Input, tuple[str, ...]]:
    """Return the reasons against cutting over, by the input that gives them; none: it is safe.

    Args:
        needs: of `wanted`.
        readings: what is known; an input that isn't there was never asked.
        now_s: when the answer is wanted.
    """
    found = {each: _against(need, readings.get(each), now_s) for each, need in needs.items()}
    return {each: reasons for each, reasons in found.items() if reasons}


def _against(need: Wanted, reading: Reading | None, now_s: float) -> tuple[str, ...]:
    if reading is None:
        return (f"unknown: {need.of} was not asked yet",)
    because = f": {reading.trouble}" if reading.trouble else ""
    if reading.of != need.of:
        return (f"the answer is of {reading.of}, not of {need.of}",)
    if reading.taken_s is None:
        return (f"unknown of {need.of}{because}",)
    age_s = now_s - reading.taken_s
    if not -need.bound_s <= age_s <= need.bound_s:  # a date ahead of the clock is none; NaN compares with nothing
        return (
            *reading.against,
            f"the last answer of {need.of} is {age_s:.1f} s old, bound {need.bound_s:g} s{because}",
        )
    return reading.against


def against_capture(stream: str, destinations: Sequence[tuple[str, str, str]]) -> tuple[str, ...]:
    """Return what a table's change streams say against cutting over.

    Args:
        stream: name of the stream that is read.
        destinations: (ARN, status, precision) of each, as DescribeKinesisStreamingDestination tells them.
    """
    ours = [each for each in destinations if each[0].rpartition("/")[2] == stream]
    if not ours:
        others = ", ".join(arn.rpartition("/")[2] for arn, _, _ in destinations)
        return (f"changes don't go to {stream}" + (f", but to {others}" if others else ""),)
    if all(status != "ACTIVE" for _, status, _ in ours):
        return (f"changes don't go to {stream}: it is {ours[0][1]}",)
    return ()
