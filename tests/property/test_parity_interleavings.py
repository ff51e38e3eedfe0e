"""Section 6: no false alarm under live traffic, and no planted fault goes unseen, whatever the interleaving.

One key: its owner writes, hands over and deletes, transfers arrive late, twice and out of order, and the verifier reads
whenever it likes. As long as every image reaches the other side within the bound, no final class may be called; when a
fault is planted for good, its class must be.
"""

from __future__ import annotations

from typing import cast

from hypothesis import example, given, settings
from hypothesis import strategies as st

from crossfade.core.parity.classes import FINAL, Difference, Pair, Reading, follow, is_equal
from crossfade.core.protocol.keyed.item import FIRST_STAMPED, Item, Role, version_of
from crossfade.core.protocol.keyed.protocol import KeyedRows
from crossfade.core.protocol.seam import RowReader
from crossfade.core.values.shape import Side
from property_examples import examples

UNREADABLE = Item(content=(("points", b'{"Q":"7"}'),))


class Rows(KeyedRows):
    """As the keyed protocol reads rows, but one of them can't be read: the verifier's own reading finds such."""

    def why_unreadable(self, item: Item | None) -> str:
        return "marked" if item is not None and item.content == UNREADABLE.content else ""


ROWS = cast("RowReader", Rows())

BOUND_S = 10.0


class Key:
    """One key in both tables, with every image that was ever emitted."""

    def __init__(self) -> None:
        self.tables: dict[Side, Item | None] = {Side.SOURCE: self.image(1, 0, Role.ACTIVE, 0), Side.TARGET: None}
        self.log: list[tuple[Side, Item]] = [(Side.SOURCE, self.tables[Side.SOURCE] or Item())]
        self.transfers: list[tuple[Side, Item]] = [(Side.TARGET, self.log[0][1])]
        self.delivered = 0

    @staticmethod
    def image(version: int, points: int, role: Role, generation: int) -> Item:
        content = (("points", b'{"N":"%d"}' % points),)
        return Item(version=FIRST_STAMPED + version, role=role, generation=generation, content=content)

    @property
    def owner(self) -> Side | None:
        return ROWS.owner_of(self.tables[Side.SOURCE], self.tables[Side.TARGET])

    def _put(self, side: Side, item: Item) -> None:
        self.tables[side] = item
        self.log.append((side, item))
        self.transfers.append((side.other, item))

    def write(self, points: int, *, deleted: bool = False) -> None:
        if self.owner is None:
            return
        old = self.tables[self.owner] or Item()
        new = self.image(version_of(old) - FIRST_STAMPED + 1, points, Role.ACTIVE, old.generation)
        self._put(self.owner, new._replace(deleted=deleted, content=() if deleted else new.content))

    def seal(self) -> None:
        if self.owner is not None:
            old = self.tables[self.owner] or Item()
            sealed = old._replace(role=Role.STANDBY, generation=old.generation + 2, version=version_of(old) + 1)
            self._put(self.owner, sealed)

    def activate(self) -> None:
        source, target = self.tables[Side.SOURCE], self.tables[Side.TARGET]
        if self.owner is None and source is not None:
            newer = target is None or source.generation > target.generation
            sealed_at, sealed = (Side.SOURCE, source) if newer or target is None else (Side.TARGET, target)
            self._put(sealed_at.other, sealed._replace(role=Role.ACTIVE, version=version_of(sealed) + 1))

    def deliver(self, position: int) -> None:
        """Apply one transfer under the fence; those not yet delivered stay owed."""
        side, image = self.transfers[position]
        there = self.tables[side]
        if there is not None and (there.role is Role.ACTIVE or version_of(there) >= version_of(image)):
            return
        kept = (Role.STANDBY, image.generation if side is Side.SOURCE else 0)
        role, generation = kept if there is None else (there.role, there.generation)
        item = image._replace(role=role, generation=generation)
        self.tables[side] = item
        self.log.append((side, item))

    def deliver_all(self) -> None:
        for position in range(len(self.transfers)):
            self.deliver(position)


steps = st.lists(
    st.tuples(
        st.sampled_from(["write", "delete", "seal", "activate", "deliver", "first", "second", "third", "hear"]),
        st.integers(0, 99),
    ),
    max_size=40,
)


def act(key: Key, name: str, number: int) -> None:
    match name:
        case "write":
            key.write(number)
        case "delete":
            key.write(0, deleted=True)
        case "seal":
            key.seal()
        case "activate":
            key.activate()
        case "deliver":
            key.deliver(number % len(key.transfers))


@given(before=steps, during=steps, pause_s=st.floats(0.1, 4.0))
@example(before=[], during=[("first", 0), ("first", 0), ("write", 0), ("write", 0), ("first", 0)], pause_s=2.0)
@settings(max_examples=examples(300), deadline=None)
def test_no_final_class_is_called_while_replication_works(
    before: list[tuple[str, int]], during: list[tuple[str, int]], pause_s: float
) -> None:
    key = Key()
    for name, number in before:
        act(key, name, number)
    first = key.tables[Side.SOURCE]
    pair = Pair(first, key.tables[Side.TARGET])
    if is_equal(*pair, ROWS):
        return
    followed, now_s, began_s = follow(pair, 0.0, ROWS), 0.0, 0.0
    reads: list[Item | None] = []
    side, owed_since_s = Side.SOURCE, 0.0
    for name, number in during:
        act(key, name, number)
        now_s += pause_s
        if now_s - owed_since_s >= BOUND_S / 2:  # every image arrives within half the bound
            key.deliver_all()
            owed_since_s = now_s
        if name in ("first", "second", "third"):
            if not reads:
                side, began_s = key.owner or side, now_s
            reads.append(key.tables[side if len(reads) != 1 else side.other])
        if name == "hear":
            position = number % len(key.log)
            followed.hear(*key.log[position], ROWS)
        if len(reads) == 3:
            found = followed.settle(Reading(side, *reads), ROWS, began_s, BOUND_S, ended_s=now_s)
            assert found not in FINAL, f"{found} called at {began_s} of {reads}"
            reads = []


def planted(key: Key, fault: Difference) -> None:
    owner = key.owner or Side.SOURCE
    item = key.tables[owner] or Item()
    standby = item._replace(role=Role.STANDBY)
    match fault:
        case Difference.STUCK:
            key.tables[owner.other] = standby._replace(version=version_of(item) - 1)
        case Difference.DIVERGED:
            key.tables[owner.other] = standby._replace(content=(("points", b'{"N":"-1"}'),), deleted=False)
        case Difference.MISSING:
            key.tables[owner.other] = None
        case Difference.EXTRA:
            key.tables[owner] = None
            key.tables[owner.other] = standby
        case Difference.AHEAD:
            key.tables[owner.other] = standby._replace(version=version_of(item) + 1)
        case Difference.TWO_OWNERS:
            key.tables[owner.other] = item
        case Difference.UNREADABLE:
            key.tables[owner.other] = standby._replace(content=UNREADABLE.content)
        case _:
            raise AssertionError(fault)


@given(before=steps, fault=st.sampled_from(sorted(FINAL, key=str)), heard=st.lists(st.integers(0, 99)))
@settings(max_examples=examples(300), deadline=None)
def test_a_planted_fault_is_called_by_its_class_whatever_the_streams_repeat(
    before: list[tuple[str, int]], fault: Difference, heard: list[int]
) -> None:
    key = Key()
    for name, number in before:
        act(key, name, number)
    key.activate()
    key.write(7)
    if fault is Difference.EXTRA and key.owner is not Side.SOURCE:
        return  # an absent source row is active, an absent new one is not: only the source table can lose an owner
    told = list(key.log)
    planted(key, fault)
    side = key.owner or Side.SOURCE
    followed = follow(Pair(key.tables[Side.SOURCE], key.tables[Side.TARGET]), 0.0, ROWS)
    for number in heard:
        old = told[number % len(told)]
        if version_of(old[1]) < version_of(key.tables[side]):  # what was true before may always be repeated
            followed.hear(*old, ROWS)
    reading = Reading(side, key.tables[side], key.tables[side.other], key.tables[side])
    assert followed.settle(reading, ROWS, BOUND_S, BOUND_S) is fault
