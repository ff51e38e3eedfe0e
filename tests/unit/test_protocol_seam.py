"""The seam: what asks a writer protocol knows none of its attributes, and goes with another protocol as it is."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import pytest
from test_house import production

from apply_cases import COMMITTED_US, KEY, legacy, payload
from crossfade.core.mapping.copies import transfer_of
from crossfade.core.parity.classes import Difference, Pair, Reading, agrees, classify, follow
from crossfade.core.protocol.keyed.item import Item
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.protocol.seam import (
    ChangeRecord,
    Condition,
    OwnerRemoval,
    Place,
    Removed,
    RowReader,
    Skip,
    StrayOwner,
    Told,
)
from crossfade.core.protocol.writing import Transfer
from crossfade.core.replication.apply import ApplyRule
from crossfade.core.replication.change import decode_change
from crossfade.core.values.image import Image
from crossfade.core.values.shape import Direction, Side, TableShape
from engagement_migration import MAPPING

ASKING = (
    "core/replication/apply.py",
    "core/replication/coalesce.py",
    "core/parity/classes.py",
    "core/parity/buckets.py",
    "core/migration/gates.py",
    "core/migration/evidence.py",
    "core/migration/phases.py",
    "verifier/followlist.py",
    "verifier/sweep.py",
    "verifier/both.py",
    "verifier/passes.py",
    "verifier/repair.py",
    "verifier/lags.py",
    "verifier/looks.py",
    "controller/aftermath.py",
    "controller/canary.py",
    "controller/settling.py",
    "controller/starting.py",
)
"""Modules that know no role and no generation."""

KNOWS = re.compile(
    r"\bRole\b|\bcf_(role|gen)\b|\b(GEN|ROLE)\b|generation_of|\bis_active\b|\bis_held_out\(|\.(generation|role)\b"
)


@pytest.mark.parametrize("name", ASKING)
def test_who_asks_the_seam_knows_no_role_and_no_generation(name: str) -> None:
    text = re.sub(r'""".*?"""|#.*', "", production()[name], flags=re.DOTALL)
    asked = re.compile(r"(rows|rows\(\)|reader)\.is_held_out\(|\bROLES\b")  # of the seam; a consumer's role
    found = [line.strip() for line in text.splitlines() if KNOWS.search(line) and not asked.search(line)]
    assert not found


# ---- another protocol --------------------------------------------------------------------------------


class PlainRows:
    """One table owns all keys, whatever is in its rows; nobody writes versions."""

    def __init__(self, owner: Side) -> None:
        self.owner = owner

    def owns(self, _item: Item | None, side: Side) -> bool:
        return side is self.owner

    def owner_of(self, _legacy: Item | None, _new: Item | None) -> Side | None:
        return self.owner

    def is_contested(self, _legacy: Item | None, _new: Item | None) -> bool:
        return False

    def is_held_out(self, _item: Item | None) -> bool:
        return False

    def may_leave(self, item: Item | None, side: Side) -> bool:
        return self.owns(item, side)

    def is_live(self, item: Item | None) -> bool:
        return item is not None

    def version_of(self, item: Item | None) -> int:
        return (item.version or 0) if item else 0

    def is_ordered(self, _version: int) -> bool:
        return False

    def standing_of(self, _item: Item | None) -> Hashable:
        return self.owner

    def described(self, _item: Item) -> dict[str, str | None]:
        return {}

    def state_of(self, item: Item) -> Hashable:
        return item.content

    def is_same_state(self, one: Item, other: Item) -> bool:
        return one.content == other.content


class Plain:
    """See `PlainRows`: what comes from the owner is copied at its commit time, what comes from the other is an echo."""

    def __init__(self, owner: Side) -> None:
        self.owner = owner

    def rows(self, *, complete: bool = False) -> RowReader:
        return PlainRows(self.owner)

    def reader(self, shape: TableShape) -> Any:
        return PlainReader(shape.side is self.owner)

    def image(self, item: Item, shape: TableShape, key: Image) -> Image:
        return KEYED.image(item, shape, key)

    def condition(self, item: Item, _target: Side) -> Condition:
        return Condition(item.version or 0, 0)


class PlainReader:
    def __init__(self, is_owner: bool) -> None:
        self.is_owner = is_owner

    def told(self, record: ChangeRecord, new: Image, *, watched: bool) -> Told:
        if watched and "surprise" in new:
            return StrayOwner(record.key, None, 0, record.committed_us, watched)
        return Condition(record.committed_us, 0) if self.is_owner else Skip.ECHO

    def place(self, record: ChangeRecord, _new: Image) -> Place:
        return Place(self.is_owner, record.committed_us)

    def removed(self, record: ChangeRecord, *, watched: bool) -> Removed:
        return OwnerRemoval(Condition(record.committed_us, 0), {}, watched) if self.is_owner else Skip.ECHO


class PlainMapping:
    """The engagement mapping with plain owners."""

    def __init__(self, owner: Side) -> None:
        self.protocol: Any = Plain(owner)

    def __getattr__(self, name: str) -> Any:
        return getattr(MAPPING, name)


def decided(mapping: Any, direction: Direction, data: bytes, strays_since_us: int = 0) -> object:
    change = decode_change(data, MAPPING.shape(direction.source).key)
    return ApplyRule(mapping, direction).decide(change, strays_since_us)


def test_the_apply_rule_does_what_another_protocol_says() -> None:
    row = legacy(KEY, 5)
    mapping = PlainMapping(Side.LEGACY)
    transfer = decided(mapping, Direction.FORWARD, payload(row, None))
    assert isinstance(transfer, Transfer)
    assert (transfer.version, transfer.first_standing) == (COMMITTED_US, 0)
    assert decided(PlainMapping(Side.NEW), Direction.FORWARD, payload(row, None)) is Skip.ECHO
    assert isinstance(decided(MAPPING, Direction.FORWARD, payload(row, None)), Transfer)


def test_parity_is_judged_by_what_another_protocol_says() -> None:
    rows = PlainMapping(Side.NEW).protocol.rows()
    mine, other = Item(version=7, content=(("points", b'{"N":"5"}'),)), Item(version=9)
    assert agrees(Pair(mine, mine), rows)
    assert not agrees(Pair(other, mine), rows)
    assert classify(Reading(Side.NEW, mine, None, mine), rows, reached=7, late=True) is Difference.MISSING
    assert follow(Pair(None, mine), 0.0, rows).hear(Side.LEGACY, mine, rows), "equal states, whatever the roles"
    assert KEYED.rows().owner_of(mine, other) is Side.LEGACY, "the keyed protocol reads the same rows otherwise"


def test_a_copy_is_made_under_the_condition_that_the_protocol_says() -> None:
    item = Item(version=7, generation=4, content=())
    assert transfer_of(MAPPING, Side.NEW, KEY, item).first_standing == 4
    mapping: Any = PlainMapping(Side.NEW)
    assert transfer_of(mapping, Side.NEW, KEY, item).first_standing == 0
