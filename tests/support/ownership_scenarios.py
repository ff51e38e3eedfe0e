"""What `ownership_exploration` explores, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

from crossfade.core.mapping.interface import Mapping
from crossfade.core.ownership.decisions import Outcome, Task
from crossfade.core.ownership.machine import OwnershipRules
from crossfade.core.protocol.keyed.fence import Judgement, judge
from crossfade.core.protocol.keyed.item import Item, build_image
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.writes import Outcome as Took
from crossfade.core.protocol.keyed.writes import Write
from crossfade.core.protocol.writing import Transfer
from crossfade.core.replication.apply import ApplyRule
from crossfade.core.replication.change import Change, ChangeKind
from crossfade.core.values.keys import key_image
from crossfade.core.values.shape import Side, TableShape, direction_to
from engagement_migration import MAPPING
from ownership_cases import KEY


def _real_rules(mapping: Mapping, rounds: int) -> OwnershipRules:
    return OwnershipRules(mapping, rounds=rounds)


def _as_judged(_source: Item, _before: Item | None, after: Item) -> Item:
    return after


def _always(_write: Write) -> bool:
    return True


_RULES = {side: ApplyRule(MAPPING, direction_to(side.other)) for side in Side}


def _as_decided(side: Side, before: Item | None, after: Item) -> bool:
    """Say whether the record of a change of `side` travels to the other table."""
    shape = MAPPING.shape(side)
    old, new = (
        None if each is None else build_image(each, shape, key_image(KEY, shape.key)) for each in (before, after)
    )
    kind = ChangeKind.INSERT if before is None else ChangeKind.MODIFY
    return isinstance(_RULES[side].decide(Change(shape.table, kind, KEY, 0, True, new, old, False)), Transfer)


class Code(NamedTuple):
    """What is explored: the real functions, or with one rule left out."""

    rules: Callable[[Mapping, int], OwnershipRules] = _real_rules
    perform: Callable[[Write, Item | None, TableShape], Took] = perform
    judge: Callable[[Transfer, Item | None, TableShape], Judgement] = judge
    carried: Callable[[Item, Item | None, Item], Item] = _as_judged
    stores: Callable[[Write], bool] = _always
    travels: Callable[[Side, Item | None, Item], bool] = _as_decided
    tombstones_expire: bool = False


REAL = Code()


class Scenario(NamedTuple):
    """A few pods, and what stands in the tables when they start.

    Attributes:
        tasks: one per pod.
        source: item in the source table.
        target: item in the target table.
        rounds: how often a pod starts over.
        lost: how many answers each pod may lose.
        known: for a sweeping pod, whether it begins from a scan of the other side.
        repairs: whether images of active items are also carried as repairs, fenced by `<=`.
        unfit: pods of a release whose activations the target table refuses for good.
    """

    tasks: Sequence[Task]
    source: Item | None
    target: Item | None
    rounds: int = 2
    lost: int = 0
    known: bool = False
    repairs: bool = False
    unfit: frozenset[int] = frozenset()


class Explored(NamedTuple):
    """What an exploration found.

    Attributes:
        states: how many were reached.
        complete: whether these are all.
        violations: what was seen that must not be, each with a shortest way to it.
        outcomes: how tasks ended, somewhere.
        phases: what pods waited for, somewhere.
    """

    states: int
    complete: bool
    violations: dict[str, str]
    outcomes: set[Outcome]
    phases: set[type]


class Truth(NamedTuple):
    """What the applied operations, in their order, make of the key."""

    balance: Decimal | int
    exists: bool
