"""The plain protocol in small state spaces: the real decisions, every interleaving; each rule left out is missed."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

import pytest

from crossfade.core.protocol.plain import fence
from crossfade.core.protocol.plain.map import OwnerMap, version_at
from crossfade.core.protocol.plain.members import Member
from crossfade.core.protocol.plain.records import Ask, Late, Left
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.replication.change import Change
from crossfade.core.values import image as wire
from plain_exploration import Explorer
from plain_states import KEY, RULES, SIDES, Code, Scenario

ONE: Final = Scenario(writes=2, flips=1)
THERE_AND_BACK: Final = Scenario(writes=2, flips=2, kinds=("put", "update"))
DIES: Final = Scenario(writes=2, flips=1, crashes=1)
GIVEN_UP: Final = Scenario(writes=1, flips=1, endings=1)
LATE: Final = Scenario(writes=2, flips=1, late=True)
PUTS_BACK: Final = Scenario(writes=2, flips=1, kinds=("delete", "put back"), fenced=True)

SMALL: Final = {
    "one flip": ONE,
    "a record comes after the flip": LATE,
    "the application puts back a row that it read with a fence": PUTS_BACK,
}

# Larger ones, and faults that only they find.
THERE_AND_BACK_DELETING: Final = Scenario(writes=2, flips=2)
A_B_A: Final = Scenario(writes=3, flips=1, late=True, kinds=("put", "delete"), starts_with=0)
PUTS_BACK_TWICE: Final = Scenario(writes=3, flips=1, kinds=("put", "put back"), fenced=True)
GIVEN_UP_TWICE: Final = Scenario(writes=1, flips=1, endings=2, kinds=("put", "delete"))
DIES_AND_GIVEN_UP: Final = Scenario(writes=1, flips=1, endings=1, crashes=1, kinds=("put",))

LARGE: Final = {
    "there and back": THERE_AND_BACK,
    "an applier dies with a request on the wire": DIES,
    "an attempt is given up, or another coordinator ends it": GIVEN_UP,
    "there and back, with deletes": THERE_AND_BACK_DELETING,
    "a late record, and the owner changes and changes back": A_B_A,
    "rows with a fence are put back twice": PUTS_BACK_TWICE,
    "two attempts are ended": GIVEN_UP_TWICE,
    "an applier dies while an attempt is ended": DIES_AND_GIVEN_UP,
}


@pytest.mark.deep
@pytest.mark.parametrize("scenario", SMALL.values(), ids=SMALL.keys())
def test_nothing_is_lost_doubled_or_brought_back(scenario: Scenario) -> None:
    states, story = Explorer(scenario).explore()
    assert not story
    assert states > 10_000, "there is less to explore than there was"


@pytest.mark.slow
@pytest.mark.parametrize("scenario", LARGE.values(), ids=LARGE.keys())
def test_nor_in_larger_ones(scenario: Scenario) -> None:
    assert not Explorer(scenario).explore()[1]


# Each fault takes the place of one decision.

Waits = Generator[Any, Any, str | None]


def _real(origin: int, change: Change, now: OwnerMap) -> Any:
    return RULES[origin].decide(change, now)


def _blind(origin: int, change: Change, now: OwnerMap) -> Any:
    told = _real(origin, change, now)
    if not isinstance(told, Late):
        return told
    image = {name: raw for name, raw in (change.new or {}).items() if name not in ("pk", "cf_mv")}
    return Transfer(KEY, version_at(change.committed_us), image or {"cf_deleted": wire.of_boolean(True)})


def _fence_is_echo(origin: int, change: Change, now: OwnerMap) -> Any:
    told = _real(origin, change, now)
    return Left.ECHO if isinstance(told, Ask) else told


def _copies_of_the_overlap_are_late(origin: int, change: Change, now: OwnerMap) -> Any:
    told = _real(origin, change, now)
    if told is not Left.ECHO or not any(
        each.owner is SIDES[origin] and each.covers(change.committed_us) for each in now.intervals
    ):
        return told
    ended = next(each for each in now.intervals if each.owner is SIDES[origin])
    return Late(KEY, change.committed_us, change.committed_us > ended.held_us)


def _purges_travel(origin: int, change: Change, now: OwnerMap) -> Any:
    told = _real(origin, change, now)
    if told is not Left.TOMBSTONE_REMOVED or now.owner is not SIDES[origin]:
        return told
    return Transfer(KEY, version_at(change.committed_us), {"cf_deleted": wire.of_boolean(True)})


def _nobody_is_waited_for(_members: list[Member], _epoch: int, _signature_s: float) -> Waits:
    yield from ()
    return None


def _the_dead_are_forgotten(members: list[Member], epoch: int, _signature_s: float) -> Waits:
    yield from ()
    return "waits" if any(each.is_live and each.acked != epoch for each in members) else None


def _doubt_is_stale(*asked: Any) -> Any:
    judged = fence.judge(*asked)
    return Verdict.STALE if judged is fence.Met.ASKS else judged


def _equal_is_enough(met: int | None, floor: int, committed_us: int, *, is_same: bool) -> int | None:
    return None if is_same else fence.asked(met, floor, committed_us, is_same=False)


PLANTED: Final = {
    "a late record is applied blindly": (LATE, Code(decide=_blind)),
    "a late record doesn't wait for reverse": (LATE, Code(late_waits_for_reverse=False)),
    "a late record's copy doesn't name the owner's row": (LATE, Code(late_copy_names_the_row=False)),
    "reverse's first copy over a row keeps nothing": (LATE, Code(first_touch_parks=False)),
    "nothing is compared in the drain": (LATE, Code(compares=False)),
    "no applier acknowledges": (ONE, Code(waits=_nobody_is_waited_for)),
    "an applier acknowledges with a request on the wire": (ONE, Code(acknowledges_idle=False)),
    "nothing is compared, nor drained": (ONE, Code(compares=False, lists_from_the_stream=False)),
    "a dead applier's request isn't waited out": (DIES, Code(waits=_the_dead_are_forgotten)),
    "tombstones stay where the application is let in": (ONE, Code(purges=False)),
    "the copies of reverse break the hold": (ONE, Code(decide=_copies_of_the_overlap_are_late)),
    "a fence on the owner is an echo": (PUTS_BACK, Code(decide=_fence_is_echo)),
    "an attempt is given up without a swap": (GIVEN_UP, Code(taken_back=lambda now: now)),
    "the compare's copy doesn't name the fence": (GIVEN_UP, Code(copy_names_the_fence=False)),
}

PLANTED_LARGE: Final = {
    "the owner changed and changed back": (A_B_A, Code(late_sees_between=False)),
    "a row that has the content keeps its fence": (PUTS_BACK_TWICE, Code(asked=_equal_is_enough)),
    "the removal of a tombstone travels": (THERE_AND_BACK_DELETING, Code(decide=_purges_travel)),
}


@pytest.mark.deep
@pytest.mark.parametrize(("scenario", "code"), PLANTED.values(), ids=PLANTED.keys())
def test_a_rule_that_is_left_out_is_missed(scenario: Scenario, code: Code) -> None:
    assert Explorer(scenario, code).explore()[1]


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "code"), PLANTED_LARGE.values(), ids=PLANTED_LARGE.keys())
def test_nor_does_a_larger_one_go_unseen(scenario: Scenario, code: Code) -> None:
    assert Explorer(scenario, code).explore()[1]
