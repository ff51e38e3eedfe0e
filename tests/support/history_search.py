"""The search for an order of operations that explains all answers (see histories.py)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import count
from math import prod
from operator import add
from typing import Final

from history_operations import Holds, Is, Operation, Outcome, Put, Row, Step, Update

Value = int
State = tuple[Value, ...]
Configuration = tuple[State, int]
ANYTHING: Final[Value] = -1
"""What a row holds at the start of a stretch: not known yet."""
ABSENT: Final[Value] = 0
MOST: Final = 200_000


class Undecided(Exception):
    """There are too many ways in which open operations may have taken effect: neither verdict was reached."""


class _Rows:
    """Rows as small numbers."""

    def __init__(self) -> None:
        self._numbers: dict[Row | None, Value] = {None: ABSENT}
        self._rows: list[Row | None] = [None]

    def number(self, content: Row | None) -> Value:
        if (found := self._numbers.get(content)) is None:
            found = self._numbers[content] = len(self._rows)
            self._rows.append(content)
        return found

    def holds(self, needs: Is | Holds | None, value: Value) -> bool | None:
        """Say whether a condition holds; None: who knows."""
        if needs is None:
            return True
        if value == ANYTHING:
            return None
        if isinstance(needs, Is):
            return value == self.number(needs.row)
        content = self._rows[value]
        return content is not None and needs.attributes <= content

    def after(self, step: Step, value: Value) -> Value:
        """Return what the row holds once the step was taken."""
        if step.does is None:
            return self.number(step.needs.row) if isinstance(step.needs, Is) else value
        if isinstance(step.does, Put):
            return self.number(step.does.row)
        if value == ANYTHING:
            return value
        names = {name for name, _ in step.does.attributes} | step.does.removed
        kept = (each for each in self._rows[value] or () if each[0] not in names)
        return self.number(step.does.attributes.union(kept))


class _Pending:
    """An operation under way.

    Attributes:
        bit: set in a configuration in which it has taken effect.
        touched, places: its keys, and where they are in a state.
        asked: the keys whose content makes a difference to it.
    """

    def __init__(self, operation: Operation, places: Mapping[str, int], rows: _Rows) -> None:
        self.operation, self._rows = operation, rows
        self._steps = [(places[step.key], step) for step in operation.steps]
        self.bit = 0
        self.is_open = operation.outcome is Outcome.UNKNOWN
        self._is_refused = operation.outcome is Outcome.REFUSED
        self.only_looks = self._is_refused or not any(step.does for step in operation.steps)
        self.touched, self.places = operation.keys, frozenset(places[key] for key in operation.keys)
        self.asked = frozenset(each.key for each in operation.steps if each.needs or isinstance(each.does, Update))

    def after(self, state: State) -> State | None:
        """Return the state once it has taken effect; None: it can't, in this one, and be answered so."""
        holds = self._rows.holds
        if self._is_refused:
            return None if all(holds(step.needs, state[place]) for place, step in self._steps) else state
        changed = None
        for place, step in self._steps:
            value = state[place]
            if holds(step.needs, value) is False:
                return None
            if (then := self._rows.after(step, value)) != value:
                changed = changed or list(state)
                changed[place] = then
        return tuple(changed) if changed else state

    def matters_to(self, other: _Pending) -> bool:
        """Say whether it makes a difference that it takes effect before another one.

        One that need never take effect is of no use where what it writes isn't looked at.
        """
        if self.is_open and len(self.touched) == 1:
            return not self.touched.isdisjoint(other.asked)
        return not self.touched.isdisjoint(other.touched)


def search(
    operations: Sequence[Operation],
    keys: Sequence[str],
    initial: Mapping[str, Row] | None,
    *,
    is_thorough: bool = True,
) -> Operation | None:
    """Return the operation whose answer nothing explains; None: all are explained.

    Args:
        operations: of these keys alone.
        keys: whose rows make up a state.
        initial: what the rows hold at the start; None: anything.
        is_thorough: whether open operations are tried even where an answer is explained without. Otherwise what is
            explained is, and what isn't may be.
    """
    rows, places = _Rows(), {key: place for place, key in enumerate(keys)}
    table = _Table([ANYTHING if initial is None else rows.number(initial.get(key)) for key in keys])
    under_way: dict[int, _Pending] = {}
    free: list[int] = []
    bits = count()
    for _, is_end, each in _events(operations, places, rows):
        if not is_end:
            each.bit = free.pop() if free else 1 << next(bits)
            under_way[each.bit] = each
            continue
        del under_way[each.bit]
        free.append(each.bit)
        group = table.together(each.places)
        if each.is_open:
            group.configurations = {(state, taken & ~each.bit) for state, taken in group.configurations}
        else:
            group = _explained(table, group, each, under_way.values(), is_thorough=is_thorough)
            if not group.configurations:
                return each.operation
        if len(group.configurations) > 1:
            group.configurations = _fewest(group.configurations, under_way)
        table.apart(group, under_way)
    return None


class _Group:
    """Keys, by their places, and the configurations of them: what isn't theirs is 0 in each."""

    def __init__(self, places: frozenset[int], configurations: set[Configuration]) -> None:
        self.places, self.configurations = places, configurations


class _Table:
    """All configurations, as groups of independent keys: every choice of one from each is meant."""

    def __init__(self, start: Sequence[Value]) -> None:
        self._none = [0] * len(start)
        self._of: dict[int, _Group] = {}
        for place, value in enumerate(start):
            state = [*self._none]
            state[place] = value
            self._of[place] = _Group(frozenset({place}), {(tuple(state), 0)})

    def together(self, places: frozenset[int]) -> _Group:
        """Make one group of those that have these places."""
        group, *rest = {id(each): each for each in (self._of[place] for place in places)}.values()
        if rest and prod(len(each.configurations) for each in (group, *rest)) > MOST:
            raise Undecided(f"more than {MOST:,} configurations: too many open operations on joined keys to tell")
        for other in rest:
            group = _Group(
                group.places | other.places,
                {
                    (tuple(map(add, state, there)), taken | done)
                    for state, taken in group.configurations
                    for there, done in other.configurations
                },
            )
        for place in group.places if rest else ():
            self._of[place] = group
        return group

    def apart(self, group: _Group, under_way: Mapping[int, _Pending]) -> None:
        """Make a group of its own of each place of which nothing else in the group depends."""
        if len(group.places) == 1:
            return
        every = 0
        for _, taken in group.configurations:
            every |= taken
        effective = [each for bit, each in under_way.items() if bit & every]
        for place in group.places:
            if len(group.places) == 1:
                return
            theirs = [each for each in effective if place in each.places]
            if any(len(each.places) > 1 for each in theirs):
                continue
            bits = sum(each.bit for each in theirs)
            alone, rest = set(), set()
            for state, taken in group.configurations:
                less, more = list(state), [*self._none]
                less[place], more[place] = 0, state[place]
                alone.add((tuple(more), taken & bits))
                rest.add((tuple(less), taken & ~bits))
            if len(alone) * len(rest) == len(group.configurations):
                self._of[place] = _Group(frozenset({place}), alone)
                group.places, group.configurations = group.places - {place}, rest


def _events(
    operations: Sequence[Operation], places: Mapping[str, int], rows: _Rows
) -> list[tuple[float, bool, _Pending]]:
    """Return when operations begin and end. An open one ends when nobody is left to whom it may make a difference."""
    events = []
    ends = last_seen(operations)
    for number, each in enumerate(operations):
        pending = _Pending(each, places, rows)
        if (end := ends.get(number, each.answered)) < each.invoked:
            continue
        events += [(each.invoked, False, pending), (end, True, pending)]
    return sorted(events, key=lambda event: (event[0], event[1], event[1] and event[2].is_open))


def last_seen(operations: Sequence[Operation]) -> dict[int, float]:
    """Return when the last operation is answered that may have seen what an open one wrote, by its number."""
    seen = {number: float("-inf") for number, each in enumerate(operations) if each.outcome is Outcome.UNKNOWN}
    by_key: dict[str, list[tuple[int, Operation, Step]]] = {}
    for number, each in enumerate(operations) if seen else ():
        for step in each.steps:
            by_key.setdefault(step.key, []).append((number, each, step))
    is_settled = False
    while not is_settled:
        is_settled = True
        for number, end in seen.items():
            for step in operations[number].steps:
                for other, by, look in by_key[step.key]:
                    told = seen.get(other, by.answered)
                    if other != number and end < told >= operations[number].invoked and _may_see(step, by, look):
                        seen[number] = end = told
                        is_settled = False
    return seen


def _may_see(wrote: Step, by: Operation, look: Step) -> bool:
    """Say whether a step may have come out as it did because of what another one wrote."""
    if wrote.does is None:
        return False
    if isinstance(look.does, Update) and by.outcome is not Outcome.REFUSED:
        return True
    if look.needs is None:
        return False
    if not isinstance(wrote.does, Put):
        return True
    if isinstance(look.needs, Is):
        holds = look.needs.row == wrote.does.row
    else:
        holds = wrote.does.row is not None and look.needs.attributes <= wrote.does.row
    return holds is not (by.outcome is Outcome.REFUSED)


def _explained(
    table: _Table, group: _Group, answered: _Pending, under_way: Collection[_Pending], *, is_thorough: bool
) -> _Group:
    if _is_explained(answered, group.configurations):
        group.configurations = _answered(group.configurations, answered, ())
        return group
    for others in _choices(answered, under_way, is_thorough=is_thorough):
        group = table.together(answered.places.union(*(other.places for other in others)))
        if found := _answered(group.configurations, answered, others):
            group.configurations = found
            return group
    group.configurations = set()
    return group


def _choices(answered: _Pending, under_way: Collection[_Pending], *, is_thorough: bool) -> Iterator[list[_Pending]]:
    """Yield what to try, the fewest first: all that are to be answered with the open ones beside them, then all."""
    if not is_thorough:
        closed = _that_matter(answered, [each for each in under_way if not each.is_open])
        opened = [each for each in under_way if each.is_open and each.matters_to(answered)]
        yield closed + opened
    yield _that_matter(answered, under_way)


def _is_explained(answered: _Pending, configurations: Iterable[Configuration]) -> bool:
    """Say whether nothing else need take effect first: it has taken effect, or merely looks."""
    return all(
        taken & answered.bit or (answered.only_looks and answered.after(state) == state)
        for state, taken in configurations
    )


def _answered(
    configurations: Iterable[Configuration], answered: _Pending, others: Sequence[_Pending]
) -> set[Configuration]:
    """Return the configurations in which an operation has taken effect, now that it was answered."""
    found: set[Configuration] = set()
    for state, taken in configurations:
        if taken & answered.bit:
            found.add((state, taken ^ answered.bit))
        elif answered.only_looks and answered.after(state) == state:
            found.add((state, taken))  # whatever else was to come first may as well come next
        else:
            _orders((state, taken), answered, others, found)
    return found


def _that_matter(answered: _Pending, under_way: Collection[_Pending]) -> list[_Pending]:
    found, rest = [answered], list(under_way)
    for each in found:
        met = [other for other in rest if other.matters_to(each)]
        rest = [other for other in rest if other not in met]
        found += met
    return found[1:]


def _orders(begun: Configuration, answered: _Pending, others: Sequence[_Pending], found: set[Configuration]) -> None:
    """Add what each order comes to, of any of the others and the answered one after them."""
    is_open = sum(each.bit for each in others if each.is_open)
    met = {(begun[0], begun[1] & ~is_open): [begun[1]]}
    left = [begun]
    for state, taken in left:  # those with fewer come first
        if (then := answered.after(state)) is not None:
            found.add((then, taken))
        for each in others:
            if taken & each.bit or (after := each.after(state)) is None or (each.is_open and after == state):
                continue
            more = taken | each.bit
            less = met.setdefault((after, more & ~is_open), [])
            if all(one & ~more for one in less):
                less.append(more)
                left.append((after, more))


def _fewest(configurations: set[Configuration], under_way: Mapping[int, _Pending]) -> set[Configuration]:
    """Leave those out that differ from another only in more open operations that have taken effect."""
    is_open = sum(bit for bit, each in under_way.items() if each.is_open)
    kept: dict[tuple[State, int], list[int]] = {}
    for state, taken in sorted(configurations, key=lambda each: each[1].bit_count()):
        least = kept.setdefault((state, taken & ~is_open), [])
        if all(each & ~taken for each in least):
            least.append(taken)
    return {(state, taken) for (state, _), masks in kept.items() for taken in masks}
