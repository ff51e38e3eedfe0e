"""The whole system in small: every promise of design.md holds under crashes, stale flags, and records in any order.

Two ways through the same actions: Hypothesis looks for short scripts and shrinks what it finds; the walks go deeper, by
dice that are loaded towards handovers. A walk that fails prints its seed, and `play` repeats it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.ownership.decisions import StepKind
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.protocol.keyed.item import Role, generation_of
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.writes import Activate, Answer, Fence, Seal, TakeBack, Write
from crossfade.core.protocol.writing import Applied, Transfer, Verdict
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.sending import Sent
from engagement_api.operations import Kind
from property_examples import examples
from system_checks import check_converged, check_feed, check_owners, check_quiet, check_strays, repair
from system_parts import KEYS, OLD_KEY, Running
from system_world import World

KINDS: Final = (Kind.EARN, Kind.EARN, Kind.EARN, Kind.SPEND, Kind.DELETE)
SOFTS: Final = (32, 32, 3, 2, 1)
SKEWS_S: Final = (0, 0, 0, -3, 3)
SHARES: Final = (10_000, 0, 10_000, 5_000)


class Act(NamedTuple):
    """One thing that happens; what the numbers mean is up to the action."""

    action: str
    key: int
    pick: int
    times: int
    stale: int


def _pod(world: World, act: Act) -> Running | None:
    return world.running[act.pick % len(world.running)] if world.running else None


def _document(world: World, act: Act) -> FlagDocument:
    """The last document, or any older one: a pod's flags may be stale forever."""
    documents = world.documents
    return documents[-1 - act.stale % len(documents)]


def begin(world: World, act: Act) -> None:
    op = world.operation(
        KEYS[act.key], KINDS[act.pick % len(KINDS)], 1 + act.times, SKEWS_S[act.pick // 7 % len(SKEWS_S)]
    )
    world.begin(op.key, _document(world, act), op, soft=SOFTS[act.pick // 5 % len(SOFTS)])


def begin_unfit(world: World, act: Act) -> None:
    """On a pod of a release whose activations the target table refuses for good."""
    op = world.operation(KEYS[act.key], KINDS[act.pick % len(KINDS)], 1 + act.times)
    world.begin(op.key, _document(world, act), op, unfit=True)


def sweep_unfit(world: World, act: Act) -> None:
    scanned = act.times % 2 == 1
    document = world.document if scanned else _document(world, act)
    world.begin(KEYS[act.key], document, None, scanned=scanned, unfit=True)


def retry(world: World, act: Act) -> None:
    if world.ops:
        op = world.ops[-1 - act.pick % len(world.ops)]
        world.begin(op.key, _document(world, act), op, soft=SOFTS[act.times % len(SOFTS)])


def sweep(world: World, act: Act) -> None:
    # Only the controller sweeps by a scan, under its lease, and it is the one that publishes the document.
    scanned = act.times % 2 == 1
    world.begin(KEYS[act.key], world.document if scanned else _document(world, act), None, scanned=scanned)


def advance(world: World, act: Act) -> None:
    pod = _pod(world, act)
    for _ in range(1 + act.times):
        if pod is not None and pod in world.running:
            world.advance(pod)


def lose_an_answer(world: World, act: Act) -> None:
    if pod := _pod(world, act):
        world.advance(pod, answer_lost=True)


def crash(world: World, act: Act) -> None:
    if pod := _pod(world, act):
        world.running.remove(pod)


def publish(world: World, act: Act) -> None:
    world.publish(SHARES[act.pick % len(SHARES)])


def _side(act: Act) -> Side:
    return Side.SOURCE if act.stale % 2 else Side.TARGET


def deliver(world: World, act: Act) -> None:
    world.deliver(_side(act), [act.pick * (n + 1) + n * act.times for n in range(1 + act.times)])


def deliver_next(world: World, act: Act) -> None:
    world.deliver_next(_side(act), 1 + act.times * 2)


def dual_write(world: World, act: Act) -> None:
    if world.copies:
        world.copy(-1 - act.pick % len(world.copies))


def feed(world: World, act: Act) -> None:
    world.feed(_side(act), [act.pick + n for n in range(act.times)])


def flush_redis(world: World, act: Act) -> None:
    world.marks.flush()


def a_minute_passes(world: World, act: Act) -> None:
    world.now_us += 70_000_000


def pay(world: World, act: Act) -> None:
    world.pay(act.pick, act.times)


def stray_earn(world: World, act: Act) -> None:
    world.earn_stray(OLD_KEY, 1 + act.times)


def stray_replace(world: World, act: Act) -> None:
    world.replace_stray(KEYS[act.key], 10 * act.times)


def stray_delete(world: World, act: Act) -> None:
    # While the target table has never owned the key, its record may come as late as it likes.
    never = world.target.item(KEYS[act.key]) is None or generation_of(world.target.item(KEYS[act.key])) == 0
    world.delete_stray(KEYS[act.key], at_once=not never)


def delete_standby(world: World, act: Act) -> None:
    world.delete_standby(_side(act), KEYS[act.key])


def overwrite_standby(world: World, act: Act) -> None:
    world.overwrite_standby(_side(act), KEYS[act.key], ahead=act.times)


def finish(world: World, act: Act) -> None:
    if pod := _pod(world, act):
        world.finish(pod)


PROTOCOL: Final[dict[Callable[[World, Act], None], int]] = {
    advance: 40,
    begin: 14,
    retry: 8,
    deliver: 7,
    deliver_next: 6,
    dual_write: 4,
    publish: 9,
    sweep: 5,
    lose_an_answer: 4,
    crash: 2,
    feed: 1,
    finish: 4,
    flush_redis: 1,
    a_minute_passes: 1,
    pay: 1,
}
"""What happens, and how often: nothing here is outside the protocol."""

STRAYS: Final = PROTOCOL | {stray_earn: 6}
"""And a pod of the old release, which writes the source table in place."""

REPLACING: Final = STRAYS | {stray_replace: 4, stray_delete: 3}
"""And one that puts and deletes whole rows."""

ACCIDENTS: Final = PROTOCOL | {overwrite_standby: 4, delete_standby: 3}
"""And what calls a person: standby rows that are changed, removed, or ahead of their owner."""

UNFIT: Final = PROTOCOL | {begin_unfit: 14, sweep_unfit: 3}
"""And pods of a release whose activations the target table refuses for good (ADR 0014)."""

BEFORE: Final[dict[Callable[[World, Act], None], int]] = {stray_earn: 3, begin: 2, advance: 3, pay: 1}
"""Before the import."""


def play(before: list[Act], snapshot_at: int, script: list[Act], *, table: type[MemoryTable] = MemoryTable) -> World:
    """Play a script from the beginning to quiescence, and hold every promise to it.

    Args:
        before: what happens before the import.
        snapshot_at: how much of that the snapshot has seen.
        script: what happens after it.
        table: what both tables are.
    """
    world = World(table, skewed=not any(act.action in ("stray_replace", "stray_delete") for act in script))
    for act in before[:snapshot_at]:
        ACTIONS[act.action](world, act)
    lines = world.snapshot()
    for act in before[snapshot_at:]:
        ACTIONS[act.action](world, act)
    world.import_(lines)
    for act in script:
        ACTIONS[act.action](world, act)
    world.quiesce(seed=len(script))
    check_owners(world)
    if world.pages:
        repair(world, seed=len(script))
    check_converged(world)
    check_feed(world)
    check_quiet(world)
    check_strays(world)
    assert world.acknowledged <= world.applied.keys(), "acknowledged, and never applied"
    return world


ACTIONS: Final = {each.__name__: each for each in REPLACING | ACCIDENTS | UNFIT}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """A page is counted; nobody reads thousands of them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def scripts(actions: dict[Callable[[World, Act], None], int], length: int) -> st.SearchStrategy[list[Act]]:
    names = [each.__name__ for each, times in actions.items() for _ in range(times)]
    act = st.builds(
        Act, st.sampled_from(names), st.integers(0, 1), st.integers(0, 99), st.integers(0, 3), st.integers(0, 3)
    )
    return st.lists(act, max_size=length)


def walk(
    seed: int, actions: dict[Callable[[World, Act], None], int], length: int, table: type[MemoryTable] = MemoryTable
) -> World:
    dice = random.Random(seed)

    def rolled(among: dict[Callable[[World, Act], None], int], times: int) -> list[Act]:
        found = dice.choices([each.__name__ for each in among], list(among.values()), k=times)
        # Mostly one key, mostly fresh flags: what is rare in a script must meet on one key to matter.
        return [
            Act(
                name,
                int(dice.random() < 0.12),
                dice.randrange(100),
                dice.choice((0, 0, 0, 1, 2, 3)),
                dice.choice((0, 0, 0, 0, 1, 1, 2, 3)),
            )
            for name in found
        ]

    before = rolled(BEFORE, dice.randrange(7))
    script = rolled(actions, length)
    snapshot_at = dice.randrange(len(before) + 1)
    try:
        return play(before, snapshot_at, script, table=table)
    except BaseException as error:
        error.add_note(f"walk(seed={seed}): play({before}, {snapshot_at}, {script})")
        raise


@settings(max_examples=examples(80), deadline=None, suppress_health_check=list(HealthCheck))
@given(scripts(BEFORE, 6), st.integers(0, 6), scripts(PROTOCOL, 50))
def test_the_system_keeps_its_promises(before: list[Act], snapshot_at: int, script: list[Act]) -> None:
    play(before, snapshot_at, script)


def seeds(count: int) -> list[Any]:
    """Return the seeds of a walk, all for `make test`: `make check` has the short scripts and the simulation."""
    return [pytest.param(seed, marks=pytest.mark.deep) for seed in range(count)]


@pytest.mark.parametrize("seed", seeds(6))
def test_the_system_keeps_its_promises_on_long_walks(seed: int) -> None:
    for each in range(100):
        walk(seed * 1000 + each, PROTOCOL, 70)


@pytest.mark.parametrize("seed", seeds(2))
def test_rule_5_with_a_writer_of_the_old_release_the_system_still_converges(seed: int) -> None:
    for each in range(100):
        walk(seed * 1000 + each, STRAYS, 60)


@pytest.mark.parametrize("seed", seeds(3))
def test_rule_5_with_a_writer_that_replaces_and_deletes_rows_the_system_still_converges(seed: int) -> None:
    for each in range(100):
        walk(seed * 1000 + each, REPLACING, 60)


@pytest.mark.parametrize("seed", seeds(3))
def test_after_accidents_on_standby_rows_nothing_is_lost_and_one_repair_heals_them(seed: int) -> None:
    for each in range(100):
        walk(seed * 1000 + each, ACCIDENTS, 60)


@pytest.mark.parametrize("seed", seeds(3))
def test_adr_0014_keys_that_one_release_cannot_hand_over_lose_nothing_and_always_have_an_owner(seed: int) -> None:
    given_back = 0
    for each in range(100):
        world = walk(seed * 1000 + each, UNFIT, 70)
        given_back += sum(step.kind is StepKind.GIVEN_BACK for done in world.done for step in done.steps)
    assert given_back > 50, "the walks hardly went there"


# The same walks, with one thing wrong: each must be found, or the walks prove nothing.


class LosesRecords(MemoryTable):
    """Every fifth change record never reaches a stream."""

    def _emit(self, key: Key, old: Image | None, new: Image | None) -> None:
        super()._emit(key, old, new)
        if len(self.changes) % 5 == 4:
            self.changes[-1] = self.changes[0]


class TakesAnyTransfer(MemoryTable):
    """A standby takes what comes, however old."""

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        high = [replace(each, repair=True, version=max(each.version, self._version(each.key))) for each in transfers]
        return await super().transfer(high)

    def _version(self, key: Key) -> int:
        item = self.item(key)
        return (item.version or 0) if item else 0


class ErasesRoles(MemoryTable):
    """A transfer replaces the row."""

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        verdicts = await super().transfer(transfers)
        for each, verdict in zip(transfers, verdicts, strict=True):
            item = self.item(each.key)
            if verdict is Verdict.APPLIED and item is not None:
                self._write(each.key, item._replace(role=None, generation=0))
        return verdicts


class SealsNothing(MemoryTable):
    """A seal says that it took effect, and does nothing."""

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        before = self.images.get(write.key)
        answer = await super().perform(write)
        if isinstance(write, Seal) and isinstance(answer, Applied) and before is not None:
            self.images[write.key] = before
        return answer


class ForgetsIds(MemoryTable):
    """An activation forgets who asked before."""

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        if isinstance(write, Activate):
            write = replace(write, sealed=write.sealed._replace(recent=frozenset()))
        return await super().perform(write)


class ActivatesTwice(MemoryTable):
    """An activation does not look at generations."""

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        item = self.item(write.key)
        if isinstance(write, Activate) and item is not None and item.role is Role.STANDBY:
            self._write(write.key, item._replace(generation=0, version=0))
        return await super().perform(write)


class FencesNothing(MemoryTable):
    """A fence says that it took effect, and does nothing."""

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        if not isinstance(write, Fence):
            return await super().perform(write)
        return perform(write, self.item(write.key), self.shape)


class TakesBackBlindly(MemoryTable):
    """A way back doesn't look at what stands there."""

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        if isinstance(write, TakeBack):
            self._write(write.key, write.sealed)
        return await super().perform(write)


@pytest.mark.parametrize("planted", [FencesNothing, TakesBackBlindly])
def test_a_planted_fault_of_the_give_back_is_found(planted: type[MemoryTable]) -> None:
    def walks() -> None:
        for seed in range(300):
            walk(seed, UNFIT, 70, planted)

    with pytest.raises(AssertionError):
        walks()


@pytest.mark.parametrize(
    "planted", [LosesRecords, TakesAnyTransfer, ErasesRoles, SealsNothing, ForgetsIds, ActivatesTwice]
)
def test_a_planted_fault_is_found(planted: type[MemoryTable]) -> None:
    def walks() -> None:
        for seed in range(150):
            walk(seed, PROTOCOL, 70, planted)

    with pytest.raises(AssertionError):
        walks()
