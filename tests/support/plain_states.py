"""What `plain_exploration` walks through: rows, records, processes, how much may happen, and which code decides."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

from msgspec import Raw

from crossfade.core.mapping.rules import RuleMapping, Table
from crossfade.core.migration.flipping import all_wait
from crossfade.core.protocol.plain import fence, late
from crossfade.core.protocol.plain.map import (
    OwnerMap,
    taken_back_from,
)
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.protocol.plain.records import needs_the_map
from crossfade.core.protocol.plain.rows import PlainRow, owned, parse, standing
from crossfade.core.replication.change import Change, ChangeKind
from crossfade.core.replication.plain import PlainRule
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Direction, Side

S, T = 0, 1
SIDES: Final = (Side.SOURCE, Side.TARGET)
ABSENT, TOMB = 0, -1
STEP_US: Final = 2_000_000
"""Between two commits of a table: more than what is near, less than half an overlap."""
LONG: Final = 12
"""Steps that a flip takes at least: an interval lasts 20 s."""
BASES: Final = (1_764_230_400_000_000, 1_764_230_400_000_000 + 86_400_000_000)
KEY: Final = key_of_strings("k")
MAPPING: Final = RuleMapping(
    "one",
    source=Table("s", ("pk",)),
    target=Table("t", ("pk",)),
    rules=(),
    belongs=lambda _key: True,
    is_open=True,
    protocol=PLAIN,
)
RULES: Final = (PlainRule(MAPPING, Direction.FORWARD), PlainRule(MAPPING, Direction.REVERSE))
SHAPES: Final = tuple(MAPPING.shape(side) for side in SIDES)


class Row(NamedTuple):
    """What stands in a table: a value, ABSENT or TOMB; and its fence."""

    value: int = ABSENT
    fence: int | None = None


class Rec(NamedTuple):
    """A change record. `is_late`: it comes after a flip only."""

    commit: int
    old: Row
    new: Row
    is_late: bool = False


class Applier(NamedTuple):
    """One direction's applier: its view, what it is at, and what it has acknowledged."""

    view: OwnerMap
    at: tuple[Any, ...] | None = None
    acked: int = 0


class Coordinator(NamedTuple):
    """A process that flips, or ends a hold. `seen`: the map that its next swap names."""

    at: str = "idle"
    seen: OwnerMap | None = None
    held: tuple[int, int] = (0, 0)
    read: tuple[Any, ...] | None = None


class World(NamedTuple):
    """One state."""

    rows: tuple[Row, Row]
    truth: int
    now: OwnerMap
    clocks: tuple[int, int]
    records: tuple[frozenset[Rec], frozenset[Rec]]
    applied: tuple[frozenset[int], frozenset[int]]
    appliers: tuple[Applier, Applier]
    coordinators: tuple[Coordinator, Coordinator]
    zombies: frozenset[tuple[int, tuple[Any, ...]]] = frozenset()  # requests of appliers that died, by direction
    table: int = S
    is_open: bool = True
    hook_epoch: int = 0
    parked: bool = False  # a late record's key, with both rows
    kept: frozenset[int] = frozenset()  # what first touches kept in letters, until the record of it comes
    missed: bool = False  # a record came too late for the flip, and its key was not compared
    next_value: int = 2
    read: int | None = None  # the last fence that the application saw
    flips: int = 0
    crashes: int = 0
    endings: int = 0  # how often one found a hold and ended it, or gave its own up


class Scenario(NamedTuple):
    """How much may happen."""

    writes: int = 2
    flips: int = 2
    kinds: tuple[str, ...] = ("put", "update", "delete")
    crashes: int = 0
    endings: int = 0
    late: bool = False
    starts_with: int = 1
    fenced: bool = False  # the standby's row was written by a copy, not by the import


class Code(NamedTuple):
    """What is decided by production's code; a planted fault takes the place of one."""

    decide: Callable[[int, Change, OwnerMap], Any] = lambda origin, change, now: RULES[origin].decide(change, now)
    judge: Callable[..., Any] = fence.judge
    asked: Callable[..., Any] = fence.asked
    settle: Callable[..., Any] = late.settle
    waits: Callable[..., Any] = all_wait
    needs_the_map: Callable[[Any], bool] = needs_the_map
    taken_back: Callable[[OwnerMap], OwnerMap] = taken_back_from
    compares: bool = True
    acknowledges_idle: bool = True  # an applier acknowledges with nothing on the wire only
    first_touch_parks: bool = True
    purges: bool = True
    lists_from_the_stream: bool = True
    copy_names_the_fence: bool = True
    late_copy_names_the_row: bool = True
    late_sees_between: bool = True
    late_waits_for_reverse: bool = True
    standby_first: bool = True
    hook_refuses_lower: bool = True


class Broken(Exception):
    """What must never be seen."""


@cache
def image_of(row: Row) -> Image | None:
    if row.value == ABSENT:
        return None
    image: Image = {"pk": Raw(b'{"S":"k"}')}
    if row.value == TOMB:
        image["cf_deleted"] = wire.of_boolean(True)
    else:
        image["v"] = wire.of_number(row.value)
    if row.fence is not None:
        image["cf_mv"] = wire.of_number(row.fence)
    return image


@cache
def parsed(row: Row, side: int) -> PlainRow | None:
    image = image_of(row)
    return None if image is None else parse(image, SHAPES[side])


@cache
def change_of(origin: int, rec: Rec) -> Change:
    new, old = image_of(rec.new), image_of(rec.old)
    kind = ChangeKind.REMOVE if new is None else ChangeKind.INSERT if old is None else ChangeKind.MODIFY
    return Change(SHAPES[origin].table, kind, KEY, time_us(origin, rec.commit), True, new, old, False)


def time_us(side: int, commit: int) -> int:
    return BASES[side] + commit * STEP_US


def value_of(row: PlainRow | None) -> int:
    return ABSENT if row is None else int(wire.number(Raw(dict(row.content)["v"])))


def put(pair: tuple[Any, ...], index: int, value: Any) -> Any:
    return (*pair[:index], value, *pair[index + 1 :])


def content(row: Row, side: int, *, owns: bool) -> PlainRow | None:
    found = parsed(row, side)
    return owned(found) if owns else standing(found)
