"""The checker of histories (tests/support/histories.py): what one table answered is accepted, faults are not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import permutations
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from histories import check
from history_operations import Holds, Is, Operation, Outcome, Put, Row, Step, Update, row

APPLIED, REFUSED, UNKNOWN = Outcome.APPLIED, Outcome.REFUSED, Outcome.UNKNOWN


def holds(step: Step, found: Row | None) -> bool:
    if step.needs is None:
        return True
    if isinstance(step.needs, Is):
        return found == step.needs.row
    return found is not None and step.needs.attributes <= found


def after(step: Step, found: Row | None) -> Row | None:
    if isinstance(step.does, Put):
        return step.does.row
    if isinstance(step.does, Update):
        names = {name for name, _ in step.does.attributes} | step.does.removed
        return step.does.attributes | {each for each in found or () if each[0] not in names}
    return found


class Register:
    """Rows that take one operation after the other."""

    def __init__(self) -> None:
        self.rows: dict[str, Row | None] = {}

    def take(self, steps: Sequence[Step]) -> Outcome:
        if not all(holds(step, self.rows.get(step.key)) for step in steps):
            return REFUSED
        self.rows |= {step.key: after(step, self.rows.get(step.key)) for step in steps}
        return APPLIED


class Traffic:
    """Clients that use one register at a time, whose calls overlap: each takes effect at some moment within its call.

    Args:
        values: how many rows there are to write; few are often written again, as in A-B-A. None: each is written once.
    """

    def __init__(self, random: Random, *, keys: int, clients: int = 4, values: int | None = None) -> None:
        self.random, self.register = random, Register()
        self._keys, self._values = [f"key-{number:02d}" for number in range(keys)], values
        self._clients = [f"client-{number}" for number in range(clients)]
        self._late: list[tuple[Step, ...]] = []
        self._now = self._written = 0
        self.history: list[Operation] = []

    def run(self, operations: int, unknown: float = 0.01) -> list[Operation]:
        under_way: dict[str, tuple[float, tuple[Step, ...], Outcome | None]] = {}
        while len(self.history) < operations:
            self._now += 1
            if self._late and self.random.random() < 0.02:
                self.register.take(self._late.pop())
            client = self.random.choice(self._clients)
            if client not in under_way:
                under_way[client] = self._now, self._asked(), None
                continue
            begun, steps, outcome = under_way[client]
            if outcome is not None:
                self._told(client, steps, outcome, begun)
                del under_way[client]
            elif self.random.random() < unknown:
                self._told(client, steps, UNKNOWN, begun)
                self._late += [steps] * self.random.randrange(2)
                del under_way[client]
            else:
                if all(step.does is None for step in steps):
                    steps = tuple(Step(step.key, Is(self.register.rows.get(step.key))) for step in steps)
                under_way[client] = begun, steps, self.register.take(steps)
        for client, (begun, steps, _) in under_way.items():
            self._told(client, steps, UNKNOWN, begun)
        return self.history

    def one(self, *steps: Step, takes: Sequence[Step] | None = None, told: Outcome | None = None) -> None:
        """A call with nothing beside it; a fault is what `takes` effect instead, or what is `told`."""
        self._now += 2
        outcome = self.register.take(steps if takes is None else takes)
        self._told("client-x", steps, told or outcome, self._now - 1)

    def look(self, *keys: str) -> None:
        self.one(*(Step(key, Is(self.register.rows.get(key))) for key in keys))

    def _told(self, client: str, steps: tuple[Step, ...], outcome: Outcome, begun: float) -> None:
        self.history.append(Operation(client, steps, outcome, begun, self._now))

    def _row(self) -> Row:
        self._written += 1
        return row(a=self._written if self._values is None else self.random.randrange(self._values))

    def _asked(self) -> tuple[Step, ...]:
        random, key = self.random, self.random.choice(self._keys)
        found = self.register.rows.get(key)
        match random.randrange(10):
            case 0 | 1 | 2:
                return (Step(key),)
            case 3 | 4:
                return (Step(key, None, Put(self._row())),)
            case 5:
                return (Step(key, random.choice((None, Holds())), Update(row(b=random.randrange(9)))),)
            case 6:
                return (Step(key, random.choice((None, Holds(), Is(found))), Put(None)),)
            case 7:
                return (Step(key, Is(found), Put(self._row())),)
            case 8:
                return (Step(key, random.choice((Is(None), Holds(found or frozenset()))), Put(self._row())),)
            case _:
                some = random.sample(self._keys, min(len(self._keys), random.choice((2, 2, 3))))
                if random.random() < 0.3:
                    return tuple(Step(each) for each in some)
                return (Step(key, Holds()),) * (key not in some) + tuple(
                    Step(each, random.choice((None, Is(self.register.rows.get(each)))), Put(self._row()))
                    for each in some
                )


def orders(history: Sequence[Operation]) -> Iterator[list[Operation]]:
    """All orders that clocks allow; open operations take part or don't."""
    for some in range(1 << sum(each.outcome is UNKNOWN for each in history)):
        takes = iter(range(len(history)))
        kept = [each for each in history if each.outcome is not UNKNOWN or some >> next(takes) & 1]
        for order in permutations(kept):
            if not any(
                later.outcome is not UNKNOWN and later.answered < each.invoked
                for place, each in enumerate(order)
                for later in order[place + 1 :]
            ):
                yield list(order)


def explains(order: Sequence[Operation]) -> bool:
    register = Register()
    return all((register.take(each.steps) is REFUSED) is (each.outcome is REFUSED) for each in order)


ROWS = st.sampled_from((None, row(a=1), row(a=2), row(a=1, b=1)))
NEEDS = st.one_of(st.none(), st.just(Holds()), st.just(Holds(row(a=1))), st.builds(Is, ROWS))
DOES = st.one_of(st.none(), st.builds(Put, ROWS), st.sampled_from((Update(row(b=1)), Update(row(a=2), frozenset("b")))))
STEPS = st.lists(
    st.builds(Step, st.sampled_from("xy"), NEEDS, DOES), min_size=1, max_size=2, unique_by=lambda each: each.key
)


@st.composite
def small(draw: st.DrawFn) -> list[Operation]:
    found = []
    for number in range(draw(st.integers(1, 5))):
        steps, outcome = tuple(draw(STEPS)), draw(st.sampled_from((APPLIED, APPLIED, REFUSED, UNKNOWN)))
        begun = draw(st.integers(0, 8))
        found.append(Operation(f"client-{number}", steps, outcome, begun, begun + draw(st.integers(1, 5))))
    return found


@given(small())
@example(
    [
        Operation("a", (Step("x", None, Put(row(a=1))),), UNKNOWN, 0, 0),
        Operation("b", (Step("x", Is(row(a=1))),), APPLIED, 5, 6),
    ]
)
def test_the_verdict_is_that_of_trying_every_order(history: list[Operation]) -> None:
    assert (not check(history)) == any(explains(order) for order in orders(history))


@given(st.integers(0, 2**32), st.sampled_from((None, 1, 3)), st.integers(1, 6))
def test_what_one_table_answered_is_accepted_however_calls_overlap(seed: int, values: int | None, keys: int) -> None:
    assert not check(Traffic(Random(seed), keys=keys, values=values).run(150, unknown=0.04))


def lost_write(traffic: Traffic) -> None:
    traffic.one(Step("x", None, Put(row(a="first"))))
    traffic.one(Step("x", None, Put(row(a="second"))), takes=())
    traffic.look("x")


def doubled_conditional_write(traffic: Traffic) -> None:
    traffic.one(Step("x", None, Put(row(a="first"))))
    traffic.one(Step("x", Is(row(a="first")), Put(row(a="second"))))
    traffic.one(Step("x", Is(row(a="first")), Put(row(a="second"))), told=APPLIED)


def resurrected_delete(traffic: Traffic) -> None:
    traffic.one(Step("x", None, Put(row(a="first"))))
    traffic.one(Step("x", Holds(), Put(None)))
    traffic.register.rows["x"] = row(a="first")
    traffic.look("x")


def stale_read(traffic: Traffic) -> None:
    traffic.one(Step("x", None, Put(row(a="first"))))
    traffic.one(Step("x", None, Update(row(b="second"))))
    traffic.one(Step("x", Is(row(a="first"))), takes=())


def half_applied_transaction(traffic: Traffic) -> None:
    both = Step("x", None, Put(row(a="first"))), Step("y", None, Put(row(a="first")))
    traffic.one(*both, takes=both[:1])
    traffic.look("x")
    traffic.look("y")


def half_seen_transaction(traffic: Traffic) -> None:
    """Each key alone is in order: only both together show it."""
    traffic.one(Step("x", None, Put(row(a="old"))), Step("y", None, Put(row(a="old"))))
    begun = len(traffic.history)
    traffic.one(Step("x", None, Put(row(a="new"))), Step("y", None, Put(row(a="new"))))
    traffic.one(Step("x", Is(row(a="new"))))
    traffic.one(Step("y", Is(row(a="old"))), takes=())
    transaction, *reads = traffic.history[begun:]
    traffic.history[begun:] = [transaction._replace(answered=reads[-1].answered + 0.5), *reads]


FAULTS = {
    lost_write: "x",
    doubled_conditional_write: "x",
    resurrected_delete: "x",
    stale_read: "x",
    half_applied_transaction: "y",
    half_seen_transaction: "xy",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@given(seed=st.integers(0, 2**32), values=st.sampled_from((None, 3)))
@example(seed=286, values=3)
@example(seed=75373, values=3)
def test_a_fault_is_refused_by_its_keys_alone_and_its_stretch_is_what_shows_it(fault, seed, values) -> None:  # type: ignore[no-untyped-def]
    traffic = Traffic(Random(seed), keys=4, values=values)
    traffic.run(40)
    before = len(traffic.history)
    traffic.one(Step("x", None, Put(row(a="joined"))), Step("key-00", None, Put(row(a="joined"))))
    fault(traffic)
    planted = traffic.history[before:]
    traffic.run(len(traffic.history) + 40)
    (refused,) = check(traffic.history)
    assert refused.keys == set(FAULTS[fault])
    assert len(refused.stretch) <= 4
    assert {(each.invoked, each.answered) for each in refused.stretch} <= {
        (each.invoked, each.answered) for each in planted
    }


@pytest.mark.parametrize("values", [None, 3])
def test_twenty_thousand_operations_of_four_clients_on_fifty_keys_take_seconds(values: int | None) -> None:
    traffic = Traffic(Random(11), keys=50, values=values)
    traffic.run(10_000, unknown=0.003)
    lost_write(traffic)
    traffic.run(20_000, unknown=0.003)
    before_s = time.process_time()
    assert [each.keys for each in check(traffic.history)] == [{"x"}]
    took_s = time.process_time() - before_s
    assert any(each.outcome is UNKNOWN for each in traffic.history)
    assert took_s < 60, f"it took {took_s:.1f} s of CPU"
