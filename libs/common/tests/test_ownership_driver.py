"""The driver of the ownership machine, on two tables in memory that fail as real ones do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.application.ownership import Ownership
from crossfade.core.ownership.decisions import Done, Outcome, StepKind
from crossfade.core.protocol.keyed.item import Item, Role, build_image
from crossfade.core.protocol.keyed.records import events_of
from crossfade.core.protocol.keyed.writes import Answer, Write
from crossfade.core.protocol.seam import Aim
from crossfade.core.replication.change import decode_change
from crossfade.core.values.errors import (
    CrossfadeError,
    OwnershipAmbiguous,
    PoisonRecord,
    StoreRefused,
    StoreUnavailable,
    Throttled,
)
from crossfade.core.values.image import of_string
from crossfade.core.values.keys import Key, key_image, key_of_strings
from crossfade.core.values.shape import Side, TableShape
from crossfade.ports.clock import Clock
from engagement_api.operations import Kind, balance_of
from engagement_migration import MAPPING
from ownership_cases import KEY, NOW_MS, SEED, content, live, operation, stamped, ulid
from property_examples import examples

L, N = Side.SOURCE, Side.TARGET
TO_TARGET, TO_SOURCE = Aim(N, 2), Aim(L, 0)


class Table(MemoryTable):
    """A table whose requests fail as told: each entry is an error and whether the write took effect before it."""

    def __init__(self, shape: TableShape) -> None:
        super().__init__(shape, belongs=MAPPING.belongs)
        self.failures: list[tuple[CrossfadeError, bool] | None] = []
        self.requests = 0
        self.hangs = False
        self.hanging_reads = 0

    def set(self, key: Key, item: Item | None) -> None:
        if item is not None:
            self.put(build_image(item, self.shape, key_image(key, self.shape.key)))

    async def _fail(self) -> tuple[CrossfadeError, bool] | None:
        self.requests += 1
        await asyncio.sleep(0)  # others go on meanwhile
        if self.hangs:
            await asyncio.Event().wait()
        return self.failures.pop(0) if self.failures else None

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        failure = await self._fail()
        if failure is None:
            return await super().perform(write)
        if failure[1]:
            await super().perform(write)
        raise failure[0]

    async def perform_many(self, writes: Sequence[Write]) -> list[Answer | Exception]:
        failure = await self._fail()
        if failure is None:
            return await super().perform_many(writes)
        if failure[1]:
            await super().perform_many(writes)
        return [failure[0]] * len(writes)

    async def _may_hang(self) -> None:
        if self.hanging_reads:
            self.hanging_reads -= 1
            await asyncio.Event().wait()

    async def read(self, key: Key, *, consistent: bool = True) -> Item | None:
        await self._may_hang()
        failure = await self._fail()
        if failure is not None:
            raise failure[0]
        return await super().read(key)

    async def read_many(self, keys: Sequence[Key], *, consistent: bool = True) -> Mapping[Key, Item]:
        await self._may_hang()
        failure = await self._fail()
        if failure is not None:
            raise failure[0]
        return await super().read_many(keys)


class Pair:
    """Both tables and a driver over them."""

    def __init__(
        self,
        source: Item | None = None,
        new: Item | None = None,
        *,
        excluded: Callable[[Key], bool] = lambda key: False,
        clock: Clock | None = None,
        attempt_s: float = 2.0,
    ) -> None:
        self.tables = {side: Table(MAPPING.shape(side)) for side in Side}
        self.tables[L].set(KEY, source)
        self.tables[N].set(KEY, new)
        still = MemoryClock(NOW_MS * 1000)
        self.waits_s = still.slept
        self.ownership = Ownership(
            self.tables[L],
            self.tables[N],
            MAPPING,
            excluded=excluded,
            clock=clock or still,
            jitter=lambda: 0.5,
            attempt_s=attempt_s,
        )

    def balance(self, key: Key = KEY) -> int | Decimal:
        (side,) = [side for side in Side if self._role(side, key) is Role.ACTIVE]
        return balance_of(self.tables[side].item(key), MAPPING.shape(side))

    def _role(self, side: Side, key: Key) -> Role | None:
        item = self.tables[side].item(key)
        return item.role if item else None

    def requests(self) -> int:
        return sum(table.requests for table in self.tables.values())

    def told(self) -> list[bytes]:
        """Transaction ids of the events in all change records, in order."""
        return [
            published.event.transaction_id
            for side in Side
            for record in self.tables[side].changes
            for published in events_of(decode_change(record, MAPPING.shape(side).key), side)
        ]


ROW = live(L)
IMPORTED = live(N, version=0, role=Role.STANDBY)
LOST = StoreUnavailable("no answer")
BUSY = Throttled("slower")


@pytest.mark.parametrize("together", [False, True])
async def test_a_lost_answer_is_asked_again_and_the_operation_applies_once(together: bool) -> None:
    pair = Pair(ROW, IMPORTED)
    pair.tables[L].failures = [(LOST, True)]
    op = operation(amount=3)
    if together:
        (done,) = await pair.ownership.operate_many([(op, TO_SOURCE)])
    else:
        done = await pair.ownership.operate(op, TO_SOURCE)
    assert isinstance(done, Done)
    assert done.outcome is Outcome.REPLAYED
    assert balance_of(done.item, MAPPING.shape(done.side)) == 8


faults = st.lists(st.sampled_from([None, (LOST, True), (LOST, False), (BUSY, False)]), max_size=6)


@settings(max_examples=examples(150), deadline=None)
@given(source=faults, target=faults, together=st.booleans(), aims=st.permutations([TO_TARGET, TO_SOURCE, Aim(L, 4)]))
async def test_whatever_fails_between_the_steps_each_operation_applies_exactly_once(
    source: list[tuple[CrossfadeError, bool] | None],
    target: list[tuple[CrossfadeError, bool] | None],
    together: bool,
    aims: list[Aim],
) -> None:
    pair = Pair(ROW, IMPORTED)
    pair.tables[L].failures, pair.tables[N].failures = source, target
    ops = [operation(amount=10**n, transaction_id=ulid(n)) for n in range(3)]
    for _ in range(2):  # every call is retried by its client, though it succeeded
        calls = [(op, aim) for op, aim in zip(ops, aims, strict=True)]
        if together:
            results = await pair.ownership.operate_many(calls)
        else:
            results = [await pair.ownership.operate(*call) for call in calls]
        assert all(isinstance(r, Done) and r.outcome in (Outcome.APPLIED, Outcome.REPLAYED) for r in results), results
    assert pair.balance() == 5 + 111
    assert sorted(pair.told()) == sorted(op.transaction_id for op in ops)


async def test_a_store_that_stays_away_ends_in_its_error_at_the_deadline_and_no_later() -> None:
    pair = Pair(ROW, IMPORTED, clock=SYSTEM)
    pair.tables[L].failures = [(LOST, False)] * 1000
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(StoreUnavailable):
        await pair.ownership.operate(operation(), TO_SOURCE, deadline=begun + 0.1)
    (result,) = await pair.ownership.operate_many([(operation(), TO_SOURCE)], deadline=loop.time() + 0.1)
    assert isinstance(result, StoreUnavailable)
    assert loop.time() - begun < 1.0


@pytest.mark.parametrize("together", [False, True])
async def test_a_table_that_never_answers_does_not_hold_a_call_beyond_its_deadline(together: bool) -> None:
    pair = Pair(ROW, IMPORTED)
    pair.tables[L].hangs = True
    deadline = asyncio.get_running_loop().time() + 0.05
    if together:
        (result,) = await pair.ownership.operate_many([(operation(), TO_SOURCE)], deadline=deadline)
        assert isinstance(result, StoreUnavailable)
    else:
        with pytest.raises(StoreUnavailable, match="outcome unknown"):
            await pair.ownership.operate(operation(), TO_SOURCE, deadline=deadline)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("hanging", [1, 1000])
async def test_a_replays_read_of_its_owner_keeps_the_deadline_and_hangs_for_one_attempt_at_most(
    together: bool, hanging: int
) -> None:
    op = operation()
    known = frozenset({op.transaction_id})
    pair = Pair(stamped(L, Role.STANDBY, 2, recent=known), stamped(N, Role.ACTIVE, 2, recent=known), attempt_s=0.02)
    pair.tables[N].hanging_reads = hanging
    began = asyncio.get_running_loop().time()
    deadline = began + (30 if hanging == 1 else 0.2)
    if together:
        (result,) = await pair.ownership.operate_many([(op, TO_SOURCE)], deadline=deadline)
    else:
        try:
            result = await pair.ownership.operate(op, TO_SOURCE, deadline=deadline)
        except StoreUnavailable as error:
            result = error
    assert pair.tables[N].hanging_reads < hanging, "the owner was read"
    if hanging == 1:
        assert isinstance(result, Done)
        assert (result.outcome, result.side) == (Outcome.REPLAYED, N)
    else:
        assert isinstance(result, StoreUnavailable)
    assert asyncio.get_running_loop().time() - began < 10


async def test_what_no_retry_changes_is_not_retried() -> None:
    pair = Pair(ROW, IMPORTED)
    pair.tables[L].failures = [(StoreRefused("no", reason="AccessDeniedException"), False)] * 2
    with pytest.raises(StoreRefused):
        await pair.ownership.operate(operation(), TO_SOURCE)
    (result,) = await pair.ownership.operate_many([(operation(), TO_SOURCE)])
    assert isinstance(result, StoreRefused)
    assert pair.requests() == 2


async def test_retries_wait_with_jitter_and_longer_each_time() -> None:
    pair = Pair(ROW, IMPORTED)
    pair.tables[L].failures = [(BUSY, False)] * 4
    await pair.ownership.operate(operation(), TO_SOURCE)
    assert pair.waits_s == [0.01, 0.02, 0.04, 0.08]


@pytest.mark.parametrize("together", [False, True])
async def test_a_replay_found_on_a_standby_is_answered_with_the_owners_balance(together: bool) -> None:
    done_before = frozenset({ulid(1)})
    pair = Pair(
        stamped(L, Role.ACTIVE, 4, SEED + 9, content=content(L, 70), recent=done_before),
        stamped(N, Role.STANDBY, 4, content=content(N, 8), recent=done_before),
    )
    if together:
        (done,) = await pair.ownership.operate_many([(operation(), TO_TARGET)])
    else:
        done = await pair.ownership.operate(operation(), TO_TARGET)
    assert isinstance(done, Done)
    assert (done.outcome, done.side, done.authoritative) == (Outcome.REPLAYED, L, True)
    assert balance_of(done.item, MAPPING.shape(L)) == 70


async def test_operations_of_different_keys_share_their_requests() -> None:
    pair = Pair()
    keys = [key_of_strings(f"USER#{n}", "POINTS#c") for n in range(40)]
    for key in keys:
        pair.tables[L].set(key, ROW)
        pair.tables[N].set(key, IMPORTED)
    calls = [(operation(amount=3, key=key), TO_TARGET) for key in keys]
    results = await pair.ownership.operate_many(calls)
    assert [isinstance(each, Done) and each.outcome for each in results] == [Outcome.APPLIED] * 40
    assert pair.requests() == 5, "try, read, seal, activate, try again"
    assert {pair.balance(key) for key in keys} == {8}


async def test_operations_of_one_key_in_a_batch_run_in_their_order() -> None:
    pair = Pair(live(L, balance=0), IMPORTED)
    ops = [
        operation(Kind.SPEND, 2, transaction_id=ulid(1)),
        operation(Kind.EARN, 5, transaction_id=ulid(2)),
        operation(Kind.SPEND, 2, transaction_id=ulid(3)),
        operation(Kind.EARN, 5, transaction_id=ulid(2)),
    ]
    results = await pair.ownership.operate_many([(op, TO_SOURCE) for op in ops])
    assert [each.outcome for each in results if isinstance(each, Done)] == [
        Outcome.INSUFFICIENT,
        Outcome.APPLIED,
        Outcome.APPLIED,
        Outcome.REPLAYED,
    ]


async def test_one_unreadable_item_in_a_batch_fails_alone() -> None:
    pair = Pair(ROW, IMPORTED)
    broken = key_of_strings("USER#broken", "POINTS#c")
    pair.tables[L].set(broken, live(L))
    pair.tables[L].images[broken]["cf_mv"] = of_string("not a number")
    calls = [(operation(key=broken), TO_SOURCE), (operation(), TO_SOURCE)]
    bad, good = await pair.ownership.operate_many(calls)
    assert isinstance(bad, PoisonRecord)
    assert isinstance(good, Done)
    assert good.outcome is Outcome.APPLIED


async def test_nobody_guesses_an_owner_from_two_standbys_of_one_generation() -> None:
    pair = Pair(stamped(L, Role.STANDBY, 4), stamped(N, Role.STANDBY, 4))
    with pytest.raises(OwnershipAmbiguous):
        await pair.ownership.operate(operation(), TO_TARGET)
    with pytest.raises(OwnershipAmbiguous):
        await pair.ownership.owner_read(KEY, TO_TARGET)
    results = await pair.ownership.operate_many([(operation(), TO_TARGET)])
    results += await pair.ownership.hand_over_many([KEY], Aim(N, 6))
    assert [type(each) for each in results] == [OwnershipAmbiguous] * 2


async def test_a_pod_remembers_the_soft_size_of_a_busy_key() -> None:
    pair = Pair(live(L, version=SEED, recent=frozenset(map(ulid, range(100, 132)))), IMPORTED)
    await pair.ownership.operate(operation(transaction_id=ulid(1)), TO_SOURCE)
    assert pair.tables[L].requests == 2, "refused at 32, then trimmed"
    await pair.ownership.operate(operation(transaction_id=ulid(2)), TO_SOURCE)
    await pair.ownership.operate_many([(operation(transaction_id=ulid(3)), TO_SOURCE)])
    assert pair.tables[L].requests == 4, "blind again"


async def test_the_sweeper_hands_over_what_its_scan_showed_in_two_requests() -> None:
    pair = Pair()
    keys = [key_of_strings(f"USER#{n}", "POINTS#c") for n in range(30)]
    for key in keys:
        pair.tables[L].set(key, ROW)
        pair.tables[N].set(key, IMPORTED)
    page = await pair.tables[L].scan_page()
    results = await pair.ownership.hand_over_many(keys, TO_TARGET, known=dict(page.items))
    assert [(each.outcome, each.side) for each in results if isinstance(each, Done)] == [(Outcome.SETTLED, N)] * 30
    assert pair.requests() == 2, "seal, activate"


async def test_the_sweeper_settles_what_others_left_and_moves_nothing_with_generation_0() -> None:
    pair = Pair(stamped(L, Role.STANDBY, 2, SEED + 1), IMPORTED)
    other = key_of_strings("USER#2", "POINTS#c")
    pair.tables[L].set(other, ROW)
    pair.tables[N].set(other, IMPORTED)
    helped, untouched = await pair.ownership.hand_over_many([KEY, other], Aim(N, 0))
    assert isinstance(helped, Done)
    assert isinstance(untouched, Done)
    assert (helped.side, StepKind.HELPED in {step.kind for step in helped.steps}) == (N, True)
    assert (untouched.side, untouched.steps) == (L, ())


async def test_an_excluded_key_is_never_handed_over() -> None:
    pair = Pair(ROW, IMPORTED, excluded=lambda key: key == KEY)
    done = await pair.ownership.operate(operation(), TO_TARGET)
    (swept,) = await pair.ownership.hand_over_many([KEY], TO_TARGET)
    assert isinstance(swept, Done)
    assert (done.side, swept.side, swept.outcome) == (L, L, Outcome.HELD_OUT)


async def test_reads_find_the_owner_and_create_nothing() -> None:
    pair = Pair(stamped(L, Role.STANDBY, 4), stamped(N, Role.ACTIVE, 4, SEED + 1, content=content(N, 9)))
    gone = key_of_strings("USER#gone", "POINTS#c")
    image = await pair.ownership.owner_read(KEY, TO_SOURCE)
    assert (image.side, balance_of(image.item, MAPPING.shape(N))) == (N, Decimal(9))
    found, missing = await pair.ownership.owner_read_many([(KEY, Aim(L, 6)), (gone, TO_TARGET)])
    assert found == image
    assert not isinstance(missing, Exception)
    assert (missing.side, missing.item) == (L, None)
    assert gone not in pair.tables[L].images


async def test_concurrent_operations_of_pods_with_different_flags_all_apply_once() -> None:
    pair = Pair(ROW, IMPORTED)
    aims = [TO_SOURCE, TO_TARGET, Aim(L, 4), Aim(N, 6)]
    ops = [operation(amount=1, transaction_id=ulid(n)) for n in range(40)]
    calls = [pair.ownership.operate(op, aims[n % 4]) for n, op in enumerate(ops)]
    dones = await asyncio.gather(*calls)
    applied = [done for done in dones if done.outcome is Outcome.APPLIED]
    assert pair.balance() == 5 + len(applied)
    assert len(pair.told()) == len(applied)
    assert {done.outcome for done in dones} <= {Outcome.APPLIED, Outcome.BUSY}
