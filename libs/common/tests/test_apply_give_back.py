"""What the records of a give-back mean to the other table (ADR 0014): a fence's nothing, a way back's a transfer."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.core.protocol.keyed.item import Item, Role, build_image, is_held_out
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.records import events_of
from crossfade.core.protocol.keyed.writes import Fence, TakeBack, Write
from crossfade.core.protocol.seam import Skip
from crossfade.core.protocol.writing import Applied, Transfer
from crossfade.core.replication.apply import ApplyRule
from crossfade.core.replication.change import Change, ChangeKind
from crossfade.core.values.keys import key_image
from crossfade.core.values.shape import Side, direction_to
from engagement_migration import MAPPING
from ownership_cases import KEY, SEED, live, number, stamped, tombstone

L, N = Side.SOURCE, Side.TARGET
SIDES = pytest.mark.parametrize("side", list(Side))


def record(side: Side, before: Item | None, write: Write) -> tuple[Item, Change]:
    """What a write leaves, and the change record of it."""
    shape = MAPPING.shape(side)
    answer = perform(write, before, shape)
    assert isinstance(answer, Applied)
    at = key_image(KEY, shape.key)
    old = None if before is None else build_image(before, shape, at)
    kind = ChangeKind.INSERT if before is None else ChangeKind.MODIFY
    return answer.item, Change(shape.table, kind, KEY, 0, True, build_image(answer.item, shape, at), old, False)


def standbys(side: Side) -> dict[str, Item | None]:
    """What a fence may meet."""
    found: dict[str, Item | None] = {
        "imported": live(side, version=0, role=Role.STANDBY),
        "sealed before": stamped(side, Role.STANDBY, 2, ttl=number(4102444800)),
        "a tombstone": tombstone(Role.STANDBY, 2),
        "fenced before": stamped(side, Role.STANDBY, 3),
        "stamped with its commit time": live(side, version=1_764_230_400_123_456, role=Role.STANDBY),
    }
    if side is N:  # absent, or without a role, means active in the source table
        found |= {"absent": None, "without a role": live(side, version=0)}
    return found


@pytest.mark.parametrize(("side", "what"), [(side, what) for side in Side for what in standbys(side)])
def test_adr_0014_a_fences_record_is_an_echo_whatever_it_met(side: Side, what: str) -> None:
    before = standbys(side)[what]
    after, change = record(side, before, Fence(KEY, 7))
    assert ApplyRule(MAPPING, direction_to(side.other)).decide(change) is Skip.ECHO
    assert list(events_of(change, side)) == [], "and tells the feed nothing"
    assert (after.role, after.generation) == (Role.STANDBY, 7)
    if before is not None:
        assert after._replace(role=before.role, generation=before.generation) == before


@SIDES
def test_adr_0014_a_way_back_travels_like_any_owner_write_and_tells_no_event(side: Side) -> None:
    sealed = stamped(side, Role.STANDBY, 6, SEED + 1)._replace(event_version=SEED)
    after, change = record(side, sealed, TakeBack(KEY, sealed, 7, SEED + 9))
    decision = ApplyRule(MAPPING, direction_to(side.other)).decide(change)
    assert isinstance(decision, Transfer)
    assert decision.version == SEED + 9
    assert list(events_of(change, side)) == []
    assert is_held_out(after)


@SIDES
@pytest.mark.parametrize("ttl", [b"", number(4102444800)])
def test_adr_0014_a_way_back_puts_the_ttl_value_where_it_fires_again(side: Side, ttl: bytes) -> None:
    sealed = stamped(side, Role.STANDBY, 6, ttl=ttl)
    _, change = record(side, sealed, TakeBack(KEY, sealed, 7, SEED + 9))
    own = MAPPING.shape(side).ttl
    assert change.new is not None
    assert (own in change.new) == bool(own and ttl)
    assert ("cf_ttl" in change.new) == bool(ttl and not own)


@SIDES
def test_adr_0014_a_fence_meets_its_condition_or_leaves_all_as_it_is(side: Side) -> None:
    shape = MAPPING.shape(side)
    active = stamped(side, Role.ACTIVE, 2)
    for before in (active, stamped(side, Role.STANDBY, 7), stamped(side, Role.STANDBY, 8)):
        assert not isinstance(perform(Fence(KEY, 7), before, shape), Applied)
    absent = perform(Fence(KEY, 7), None, shape)
    assert isinstance(absent, Applied) == (side is N)
    after_complete = perform(Fence(KEY, 7, complete=True), None, shape)
    assert not isinstance(after_complete, Applied), "absent means active there, or it is not ours to write"


@SIDES
@pytest.mark.parametrize("changed", [{"generation": 8}, {"version": SEED + 2}, {"role": Role.ACTIVE}])
def test_adr_0014_a_way_back_needs_exactly_the_sealed_image(side: Side, changed: dict[str, Any]) -> None:
    sealed = stamped(side, Role.STANDBY, 6, SEED + 1)
    write = TakeBack(KEY, sealed, 7, SEED + 9)
    assert isinstance(perform(write, sealed, MAPPING.shape(side)), Applied)
    for met in (sealed._replace(**changed), None):
        assert not isinstance(perform(write, met, MAPPING.shape(side)), Applied)
