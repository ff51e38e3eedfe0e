"""Section 4: in small state spaces: the real decisions, every interleaving; and each rule left out is missed."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

import pytest

from crossfade.core.ownership.decisions import Outcome, Phase, Task
from crossfade.core.protocol.keyed.item import Role
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.seam import Aim
from crossfade.core.values.shape import Side
from engagement_api.operations import LARGEST_BALANCE, Kind
from ownership_cases import KEY, NOW_MS, SEED, live, number, operation, stamped, tombstone, ulid
from ownership_exploration import L, N, explore
from ownership_planted import GIVE_BACK, PLANTED
from ownership_scenarios import Explored, Scenario

A, B, C, D = (operation(amount=amount, transaction_id=ulid(amount)) for amount in (1, 10, 100, 1000))
SPEND = operation(Kind.SPEND, 4, transaction_id=ulid(4))
DELETE = operation(Kind.DELETE, transaction_id=ulid(5))
OLD = frozenset(ulid(n, age_ms=100_000) for n in range(3))


def pod(side: Side, generation: int, op: Operation | None, **more: Any) -> Task:
    return Task(KEY, Aim(side, generation), op, NOW_MS, SEED, **more)


ROW = live(L, ttl=number(4102444800))
IMPORTED = live(N, version=0, role=Role.STANDBY, ttl=number(4102444800))
AHEAD = live(N, balance=99, version=SEED + 5, role=Role.STANDBY)

SMALL = {
    "a flip, and a retry on a stale pod": Scenario([pod(N, 2, A), pod(L, 0, A), pod(L, 0, B)], ROW, IMPORTED),
    "a flip and a rollback": Scenario([pod(N, 2, A), pod(L, 4, B), pod(L, 0, C)], ROW, IMPORTED),
    "two flips and a rollback": Scenario([pod(N, 2, A), pod(L, 4, B), pod(N, 6, C)], ROW, IMPORTED),
    "a delete and a flip": Scenario([pod(N, 2, DELETE), pod(L, 0, B)], ROW, IMPORTED),
    "a delete and a rollback": Scenario([pod(N, 2, DELETE), pod(L, 4, B), pod(N, 6, C)], ROW, IMPORTED),
    "a delete, then a late retry": Scenario([pod(L, 0, A), pod(N, 2, DELETE), pod(N, 2, A)], ROW, IMPORTED),
    "a key that never was": Scenario([pod(N, 2, A), pod(L, 0, B), pod(L, 4, C)], None, None),
    "a standby that is ahead": Scenario([pod(N, 2, A), pod(L, 4, B), pod(L, 0, C)], ROW, AHEAD),
    "not yet copied": Scenario([pod(N, 2, A), pod(N, 2, A), pod(L, 0, B)], ROW, None),
    "lost answers": Scenario([pod(N, 2, A), pod(L, 0, A), pod(L, 4, B)], ROW, IMPORTED, lost=2),
    "lost answers, and a standby that is ahead": Scenario([pod(N, 2, A), pod(L, 4, B)], ROW, AHEAD, lost=3, rounds=3),
    "lost answers on a key that never was": Scenario([pod(N, 2, A), pod(L, 0, B), pod(L, 4, C)], None, None, lost=1),
    "a sweeper against the pods": Scenario([pod(N, 2, None), pod(L, 0, A), pod(L, 4, B)], ROW, IMPORTED, lost=1),
    "a sweeper that goes by a scan": Scenario(
        [pod(N, 2, None), pod(L, 0, A), pod(L, 4, None)], ROW, IMPORTED, known=True, lost=1
    ),
    "a sweeper that goes by a scan of keys half way": Scenario(
        [pod(N, 6, None), pod(L, 4, A), pod(N, 2, B)], stamped(L, Role.STANDBY, 2), IMPORTED, known=True
    ),
    "a sweeper that only completes": Scenario([pod(N, 2, A), pod(L, 4, B), pod(L, 0, None)], ROW, IMPORTED, lost=1),
    "a reader meanwhile": Scenario([pod(N, 2, A), pod(L, 4, B), pod(L, 0, None, reads=True)], ROW, IMPORTED, lost=1),
    "a reader on the other side": Scenario(
        [pod(N, 2, A), pod(L, 4, B), pod(N, 2, None, reads=True)], None, None, lost=1
    ),
    "spends": Scenario([pod(N, 2, SPEND), pod(L, 0, SPEND), pod(L, 4, DELETE)], ROW, IMPORTED, lost=1),
    "earns of which one alone fits into 64 bits": Scenario(
        [pod(N, 2, A), pod(L, 0, B), pod(L, 4, B)], live(L, balance=LARGEST_BALANCE - 10), IMPORTED, lost=1
    ),
    "a spend on a key that never was": Scenario([pod(N, 2, SPEND), pod(L, 0, A), pod(L, 4, DELETE)], None, None),
    "trims": Scenario(
        [pod(N, 2, A, soft=3), pod(L, 0, A, soft=3), pod(L, 4, B, soft=2)],
        live(L, recent=OLD, version=SEED, role=Role.ACTIVE),
        IMPORTED,
        lost=1,
    ),
    "repairs": Scenario([pod(N, 2, A), pod(L, 4, B), pod(L, 0, C)], ROW, AHEAD, repairs=True),
    "repairs of one version with two contents": Scenario(
        [pod(N, 2, A), pod(L, 4, B), pod(L, 0, C)],
        stamped(L, Role.ACTIVE, 0),
        stamped(N, Role.STANDBY, 0)._replace(content=AHEAD.content),
        repairs=True,
    ),
    "an excluded key": Scenario(
        [pod(N, 2, A, may_hand_over=False), pod(N, 2, B), pod(L, 4, C, may_hand_over=False)], ROW, IMPORTED
    ),
    "a tombstone comes back": Scenario(
        [pod(N, 2, A), pod(L, 0, DELETE), pod(L, 4, B)], tombstone(Role.ACTIVE, 0), None, lost=1
    ),
    "the target table alone": Scenario(
        [pod(N, 8, A, complete=True), pod(N, 8, B), pod(N, 8, SPEND, complete=True)], None, None, lost=1
    ),
    "the target table alone, with rows": Scenario(
        [pod(N, 8, A, complete=True), pod(N, 8, A), pod(N, 8, DELETE, complete=True)],
        stamped(L, Role.STANDBY, 8),
        stamped(N, Role.ACTIVE, 8, SEED + 1),
        lost=1,
    ),
}

UNFIT = {
    "refused for good": Scenario([pod(N, 2, A), pod(L, 0, B)], ROW, IMPORTED, unfit=frozenset({0})),
    "refused for one release, fits for another": Scenario(
        [pod(N, 2, A), pod(N, 2, B), pod(L, 0, C)], ROW, IMPORTED, unfit=frozenset({0})
    ),
    "refused, rollback": Scenario([pod(N, 2, A), pod(L, 4, B), pod(N, 2, C)], ROW, IMPORTED, unfit=frozenset({0})),
    "refused, then tried again": Scenario(
        [pod(N, 2, A), pod(N, 4, B), pod(N, 6, C)], ROW, IMPORTED, unfit=frozenset({0, 1})
    ),
    "refused, standby ahead": Scenario([pod(N, 2, A), pod(N, 2, B), pod(L, 0, C)], ROW, AHEAD, unfit=frozenset({0})),
    "refused, not yet copied": Scenario([pod(N, 2, A), pod(N, 2, B), pod(L, 4, C)], ROW, None, unfit=frozenset({0})),
    "refused, never was": Scenario([pod(N, 2, A), pod(N, 2, B), pod(L, 0, C)], None, None, unfit=frozenset({0})),
    "refused, delete": Scenario([pod(N, 2, DELETE), pod(N, 2, B), pod(L, 0, C)], ROW, IMPORTED, unfit=frozenset({0})),
}
"""A release whose activations the target table refuses for good: the eight scenarios of the model, ADR 0014."""

SMALL |= UNFIT
SMALL |= {
    "refused, lost answers": Scenario([pod(N, 2, A), pod(L, 4, B)], ROW, IMPORTED, unfit=frozenset({0}), lost=2),
    "refused, a sweeper and a reader": Scenario(
        [pod(N, 2, None), pod(L, 0, A), pod(N, 2, None, reads=True)], ROW, IMPORTED, unfit=frozenset({0}), lost=1
    ),
    "refused, a sweeper that goes by a scan": Scenario(
        [pod(N, 2, None), pod(L, 0, A), pod(N, 4, B)], ROW, IMPORTED, unfit=frozenset({0}), known=True
    ),
}

SMALL |= {
    f"a sweeper that marks a key, {name}": scenario
    for name, scenario in {
        "a flip": Scenario([pod(N, 2, None, hold_out="x"), pod(N, 2, A), pod(L, 0, B)], ROW, IMPORTED),
        "a rollback": Scenario([pod(N, 2, None, hold_out="x"), pod(N, 2, A), pod(L, 4, B)], ROW, IMPORTED),
        "an older flag": Scenario([pod(N, 4, None, hold_out="x"), pod(N, 2, A), pod(N, 6, B)], ROW, IMPORTED),
        "a standby that is ahead": Scenario([pod(N, 2, None, hold_out="x"), pod(N, 2, A), pod(L, 0, B)], ROW, AHEAD),
        "lost answers": Scenario([pod(N, 2, None, hold_out="x"), pod(N, 4, A)], ROW, IMPORTED, lost=2),
        "excluded": Scenario(
            [pod(N, 2, None, hold_out="x", may_hand_over=False), pod(N, 2, DELETE), pod(N, 4, None)], ROW, None, lost=1
        ),
    }.items()
}
"""A key is sealed and given back without the other table being asked (ADR 0017)."""

FOUR = {
    "four pods": Scenario([pod(N, 2, A), pod(L, 4, B), pod(L, 0, A), pod(N, 6, C)], ROW, IMPORTED),
    "four pods and a delete": Scenario([pod(N, 2, A), pod(L, 4, DELETE), pod(L, 0, A), pod(N, 6, B)], ROW, IMPORTED),
    "four pods on a key that never was": Scenario(
        [pod(N, 2, A), pod(L, 4, B), pod(L, 0, C), pod(N, 6, DELETE)], None, None
    ),
    "four pods, one a sweeper": Scenario(
        [pod(N, 2, None), pod(L, 4, B), pod(L, 0, A), pod(N, 6, A)], ROW, AHEAD, known=True
    ),
    "four pods, a standby that is ahead": Scenario(
        [pod(N, 2, A), pod(L, 4, B), pod(L, 0, C), pod(N, 6, D)], ROW, AHEAD, repairs=True
    ),
}
SMALL |= {name: FOUR[name] for name in ("four pods", "four pods and a delete", "four pods on a key that never was")}
FOUR |= {
    "four pods, one refused": Scenario(
        [pod(N, 2, A), pod(L, 4, B), pod(L, 0, A), pod(N, 6, C)], ROW, IMPORTED, unfit=frozenset({0})
    ),
    "four pods, all refused": Scenario(
        [pod(N, 2, A), pod(N, 2, DELETE), pod(L, 4, B), pod(N, 6, C)], ROW, AHEAD, unfit=frozenset({0, 1, 3})
    ),
}
LARGE = {f"{name}, answers lost": scenario._replace(rounds=1, lost=1) for name, scenario in FOUR.items()}
LARGE |= {f"{name}, three rounds": scenario._replace(rounds=3) for name, scenario in FOUR.items()}


@cache
def explored_small(name: str) -> Explored:
    return explore(SMALL[name])


@pytest.mark.deep
@pytest.mark.parametrize("name", SMALL)
def test_no_interleaving_breaks_a_promise(name: str) -> None:
    explored = explored_small(name)
    assert explored.states > 50
    assert explored.violations == {}
    assert explored.complete


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_no_interleaving_of_four_pods_breaks_a_promise(name: str) -> None:
    explored = explore(LARGE[name], limit=20_000_000)
    assert explored.violations == {}
    assert explored.complete


@pytest.mark.deep
def test_the_scenarios_reach_every_phase_and_every_outcome_that_a_sound_history_has() -> None:
    explored = [explored_small(name) for name in SMALL]
    assert set().union(*(each.phases for each in explored)) == set(get_args(Phase))
    # No true retry is ever a mismatch, whatever interleaves: these histories are full of them (ADR 0023).
    never = {Outcome.MISMATCH, Outcome.AMBIGUOUS, Outcome.REFUSED, Outcome.FULL, Outcome.EXPIRED}
    assert set().union(*(each.outcomes for each in explored)) == set(Outcome) - never


@pytest.mark.deep
@pytest.mark.parametrize("bug", PLANTED)
def test_each_rule_left_out_is_found(bug: str) -> None:
    where = UNFIT | SMALL if bug in GIVE_BACK else SMALL
    for scenario in where.values():
        if explore(scenario, PLANTED[bug], limit=30_000).violations:
            return
    pytest.fail(f"not found: {bug}")
