"""One key under the plain protocol: tables, streams, members and coordinators as values, and the decisions they go by.

What is real: the map and its changes, what a record tells, what a copy meets and may replace, late records, when
members are waited for, the rows' images. What is modelled: two tables, their streams (records shuffled, twice, late or
never), members with one request on the wire each, coordinators, the operator's hook, the application. `Code` holds the
real decisions, so that each can be planted out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from msgspec import Raw

from crossfade.core.mapping.rules import RuleMapping, Table
from crossfade.core.migration.acts import Wait
from crossfade.core.migration.flipping import all_wait
from crossfade.core.migration.seen import Decision
from crossfade.core.protocol.plain import fence, late, records
from crossfade.core.protocol.plain.map import OwnerMap, taken_back_from
from crossfade.core.protocol.plain.members import Member as Listed
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.protocol.plain.rows import DELETED, TOMBSTONE, PlainRow, build, owned, parse
from crossfade.core.replication.change import Change, ChangeKind
from crossfade.core.replication.plain import PlainRule
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Direction, Side

S, T = Side.SOURCE, Side.TARGET
MAPPING = RuleMapping(
    "m",
    source=Table("old", ("pk",), ttl="expires"),
    target=Table("new", ("pk",)),
    rules=(),
    belongs=lambda _key: True,
    is_open=True,
    protocol=PLAIN,
)
KEY = key_of_strings("k")
PK = {"pk": wire.of_string("k")}
RULES = {Side.SOURCE: PlainRule(MAPPING, Direction.FORWARD), Side.TARGET: PlainRule(MAPPING, Direction.REVERSE)}
BEGIN_US = 10**15
OFFSET = {Side.SOURCE: 0, Side.TARGET: 240_000_000}
"""The target's clock is four minutes ahead: nothing may compare the two."""

EXPIRED = 1
"""Rows of this content have a TTL that has passed; others have none."""

Row = PlainRow | None


class Record(NamedTuple):
    """One change of one table."""

    side: Side
    at_us: int
    old: Row
    new: Row
    expired: bool = False


class Doing(NamedTuple):
    """What a member is at; `what` "put", "met", "expire" and "owner" are requests on the wire."""

    what: str
    record: Record
    row: Row = None
    met: Row = None
    map: OwnerMap | None = None
    writes: int = 0

    @property
    def on_wire(self) -> bool:
        return self.what in ("put", "met", "owner", "expire")


class Member(NamedTuple):
    """One worker of a direction, named for the table that it reads."""

    side: Side
    listed: bool = True
    view: OwnerMap | None = None
    acked: int = 0
    doing: Doing | None = None
    is_live: bool = True


class Coordinator(NamedTuple):
    at: str = "idle"
    seen: OwnerMap | None = None
    origin: Side = S
    held_us: int = 0
    met: Row = None
    wire: tuple[Any, ...] | None = None
    is_live: bool = True


class World(NamedTuple):
    rows: tuple[Row, Row]
    map: OwnerMap
    members: tuple[Member, ...]
    coordinators: tuple[Coordinator, ...]
    now_us: int = BEGIN_US
    app: Side | None = S  # where the application writes; None while it is held
    hook: int = 0  # the highest epoch that the hook was called with
    truth: int = 0  # content that the application's book has; 0 for nothing
    missed: int | None = None  # what was true at a flip, and the new owner didn't have
    writes: int = 0  # of the application
    fresh: frozenset[Record] = frozenset()
    slow: frozenset[Record] = frozenset()  # fresh ones that the drain knows nothing of
    seen: frozenset[Record] = frozenset()
    gone: frozenset[Record] = frozenset()  # that never come
    hints: frozenset[Record] = frozenset()
    letters: frozenset[tuple[str, int]] = frozenset()
    listed: bool = False  # the coordinator knows that the key changed
    passed: bool = True  # the pass after the flip has been
    spent: tuple[tuple[str, int], ...] = ()


class Wrong(Exception):
    """What must never happen."""


class Scope(NamedTuple):
    """What may happen, and how often.

    Attributes:
        ops: of the application: contents to put, "uN" to update, "d", "b" to put back a row with an old fence.
        step_us: between two writes.
        in_order: each of `ops` once, in that order.
    """

    start: Row = None
    ops: tuple[str, ...] = ("p2", "d")
    writes: int = 2
    flips: int = 1
    holds: int = 1
    members: tuple[Side, ...] = (S, T)
    coordinators: int = 1
    step_us: int = 30_000_000
    late: int = 0
    gone: int = 0
    twice: int = 0
    deaths: int = 0
    joins: int = 0
    strays: int = 0
    expiries: int = 0
    give_ups: int = 0
    old: tuple[Record, ...] = ()
    in_order: bool = False


def content(row: Row) -> int:
    return 0 if row is None else int(wire.number(row.value("v") or wire.of_number(0)))


@cache
def holding(value: int) -> PlainRow:
    pairs = [("v", bytes(wire.of_number(value)))]
    if value == EXPIRED:
        pairs.insert(0, ("expires", bytes(wire.of_number(1))))
    return PlainRow(content=tuple(pairs))


@cache
def image_of(row: Row) -> Image | None:
    return None if row is None else build(row, PK) | ({DELETED: TOMBSTONE} if row.deleted else {})


@cache
def change_of(record: Record) -> Change:
    kind = ChangeKind.REMOVE if record.new is None else ChangeKind.MODIFY if record.old else ChangeKind.INSERT
    name = MAPPING.shape(record.side).table
    new, old = image_of(record.new), image_of(record.old)
    return Change(name, kind, KEY, record.at_us, True, new, old, record.expired)


@cache
def decided(record: Record, now: OwnerMap) -> records.Decision:
    return RULES[record.side].decide(change_of(record), now)


class Code(NamedTuple):
    """The decisions, each to be replaced by a faulty one."""

    decide: Callable[[Record, OwnerMap], records.Decision] = decided
    needs_the_map: Callable[[records.Decision], bool] = records.needs_the_map
    judge: Callable[..., Any] = fence.judge
    may_replace: Callable[..., bool] = fence.may_replace
    asked: Callable[..., int | None] = fence.asked
    compared: Callable[[int | None, int], int] = fence.compared
    disturbs: Callable[[records.Decision], bool] = records.disturbs
    settle: Callable[..., late.Late] = late.settle
    floor: Callable[[OwnerMap], int] = lambda now: now.floor
    taken_back: Callable[[OwnerMap], OwnerMap] = taken_back_from
    acks_early: bool = False
    waits: Callable[[Sequence[Listed], int, float], Decision[Wait | None]] = all_wait
    looks_again: bool = True
    registers_first: bool = True
    awaits_the_pass: bool = True
    drains: bool = True
    compares: bool = True
    copy_names_the_row: bool = True
    purges: bool = True
    hook_checks: bool = True
    swaps_blindly: bool = False
    reads_owner_first: bool = False
    copies_as_read: bool = True
    expires_on_condition: bool = True
    puts_blindly: bool = False
    hint_waits: bool = True
    sees_between: bool = True
    leaves_tombstones: bool = True
    drains_both: bool = True
    halts: bool = True


@cache
def parsed(side: Side, image: tuple[tuple[str, bytes], ...]) -> PlainRow:
    return parse({name: Raw(raw) for name, raw in image}, MAPPING.shape(side))


def of_image(side: Side, image: Image) -> PlainRow:
    return parsed(side, tuple((name, bytes(raw)) for name, raw in image.items()))


def copy_of(wanted: Row, version: int) -> PlainRow:
    """Return an owner's content as it is written to a standby."""
    return PlainRow(version, deleted=True) if wanted is None else wanted.at(version)


AT = {S: 0, T: 1}


def replaced(pair: tuple[Any, ...], index: int, value: Any) -> tuple[Any, ...]:
    return (*pair[:index], value, *pair[index + 1 :])


def row_of(world: World, side: Side) -> Row:
    return world.rows[AT[side]]


def clock(world: World, side: Side) -> int:
    return world.now_us + OFFSET[side]


def spend(world: World, what: str, most: int) -> World | None:
    spent = dict(world.spent)
    if spent.get(what, 0) >= most:
        return None
    spent[what] = spent.get(what, 0) + 1
    return world._replace(spent=tuple(sorted(spent.items())))


def written(world: World, side: Side, new: Row, *, expired: bool = False) -> World:
    """Change a row of a table, with its record; the clock goes on a little."""
    old = row_of(world, side)
    if old == new:
        return world
    record = Record(side, clock(world, side), old, new, expired)
    rows = replaced(world.rows, AT[side], new)
    return world._replace(rows=rows, fresh=world.fresh | {record}, now_us=world.now_us + 1)


def by_crossfade(world: World, side: Side, new: Row, *, parks: bool = False) -> World:
    """Write for Crossfade. On the owner it may only ever bring back what is true."""
    before = row_of(world, side)
    after = written(world, side, new)
    if side is world.map.owner and world.app is side and not parks:
        was, now = content(owned(before)), content(owned(new))
        if was != now and now != world.truth:
            raise Wrong("Crossfade changed the owner")
    return after
