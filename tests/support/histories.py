"""Whether a history of client operations is linearizable: could one table, used by one at a time, have answered so?

The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993) as Lowe made it just-in-time ("Testing
for linearizability", 2017). Events are taken in the order of time, with every configuration that explains what was
answered so far: what the rows hold, and which of the operations under way have taken effect. An answer keeps those
configurations in which its operation can have taken effect, after any others under way that have to do with it. A
history is refused at the answer that leaves none.

Each key is looked at alone first, with its part of the transactions. That decides all keys that no transaction joins.
Joined keys are then looked at together, without those that were refused alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from history_operations import Operation, Outcome, Row
from history_search import last_seen, search


class Refused(NamedTuple):
    """Keys whose operations have no order that explains the answers.

    Attributes:
        keys: as few as show it.
        stretch: the operations on these keys from the latest moment on that still shows it, whatever rows held then,
            up to the answer that nothing explains, which is the last.
    """

    keys: frozenset[str]
    stretch: tuple[Operation, ...]


def check(history: Iterable[Operation], initial: Mapping[str, Row] | None = None) -> list[Refused]:
    """Return what isn't linearizable, and nothing if all of it is.

    Args:
        history: the operations, in any order.
        initial: what rows hold at the start; the others are absent.

    Raises:
        Undecided: see there. It never stands for either verdict.
    """
    told = [each for each in history if each.outcome is not Outcome.UNKNOWN or any(step.does for step in each.steps)]
    initial = initial or {}
    by_key: dict[str, list[Operation]] = {}
    for each in told:
        for key in each.keys:
            by_key.setdefault(key, []).append(each)
    refused = []
    for key, operations in sorted(by_key.items()):
        alone = _only(operations, {key})
        if (wrong := search(alone, [key], initial)) is not None:
            refused.append(_shortest(alone, [key], wrong) or Refused(wrong.keys, _seen(_until(alone, wrong))))
    bad = {key for each in refused for key in each.keys}
    for joined in _components(told):
        while len(left := joined - bad) > 1:
            together, names = _only(told, left), sorted(left)
            if (wrong := search(together, names, initial, is_thorough=False)) is None:
                break
            if (shown := _shortest(together, names, wrong)) is None:
                if (wrong := search(together, names, initial)) is None:
                    break
                shown = _shortest(together, names, wrong) or Refused(left, _seen(_until(together, wrong)))
            refused.append(shown)
            bad |= shown.keys
    return refused


def _components(operations: Iterable[Operation]) -> list[frozenset[str]]:
    found: list[frozenset[str]] = []
    for keys in {each.keys for each in operations}:
        met = [each for each in found if each & keys]
        found = [each for each in found if not each & keys] + [keys.union(*met)]
    return sorted(found, key=sorted)


def _only(operations: Iterable[Operation], keys: Collection[str]) -> list[Operation]:
    """Return what operations say of some keys. A transaction that was refused may have been for the others' sake."""
    found = []
    for each in operations:
        steps = tuple(step for step in each.steps if step.key in keys)
        if len(steps) == len(each.steps):
            found.append(each)
        elif steps and each.outcome is not Outcome.REFUSED:
            found.append(each._replace(steps=steps))
    return found


# The stretch that shows it.


def _until(operations: Iterable[Operation], last: Operation) -> list[Operation]:
    """Return what was known when an operation was answered."""
    known = [
        each if each.answered <= last.answered else each._replace(outcome=Outcome.UNKNOWN)
        for each in operations
        if each.invoked <= last.answered
    ]
    return [each for each in known if each.outcome is not Outcome.UNKNOWN or any(step.does for step in each.steps)]


def _may_come(operation: Operation, since: float) -> bool:
    if operation.outcome is Outcome.UNKNOWN:
        return True
    return operation.outcome is Outcome.APPLIED and operation.answered > since


def _shortest(operations: Sequence[Operation], keys: Sequence[str], wrong: Operation) -> Refused | None:
    """Return the stretch that shows it; None: only what the rows held at the start may show it."""
    known = _until(operations, wrong)
    ends = sorted(each.answered for each in known if each.outcome is not Outcome.UNKNOWN)

    def since(index: int) -> list[Operation]:
        """What began after the answer before; what was under way then may have taken effect before it."""
        before = ends[index - 1] if index else float("-inf")
        return [
            each if each.invoked > before else each._replace(outcome=Outcome.UNKNOWN)
            for each in known
            if each.invoked > before or (any(step.does for step in each.steps) and _may_come(each, before))
        ]

    def shows(some: Sequence[Operation], names: Sequence[str]) -> bool:
        return search(some, names, None) is not None

    back = 1
    while back < len(ends) and not shows(since(len(ends) - back), keys):
        back *= 2
    if back >= len(ends) and not shows(since(0), keys):
        return None
    low, high = max(0, len(ends) - back), len(ends) - 1 - back // 2  # it shows since `low`
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if shows(since(middle), keys) else (low, middle - 1)
    stretch, names = since(low), list(keys)
    for key in keys if len(keys) > 1 else ():
        fewer = [each for each in names if each != key]
        if fewer and shows(_only(stretch, fewer), fewer):
            stretch, names = _only(stretch, fewer), fewer
    return Refused(frozenset(names), _seen(stretch))


def _seen(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """Return operations by their answers, without those whose effect nobody can have seen."""
    ends = last_seen(operations)
    kept = [each for number, each in enumerate(operations) if ends.get(number, each.answered) >= each.invoked]
    return tuple(sorted(kept, key=_ending))


def _ending(operation: Operation) -> tuple[float, float]:
    is_open = operation.outcome is Outcome.UNKNOWN
    return (operation.invoked if is_open else operation.answered), operation.invoked
