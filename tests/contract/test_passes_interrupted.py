"""Passes of the verifier under what goes wrong: stale claimants, deaths between two writes, answers that are lost."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.adapters.control.parts import ObjectBlobs
from crossfade.adapters.control.passes import DynamoPassStore
from crossfade.adapters.control.reports import DynamoReports
from crossfade.adapters.memory.admin import MemoryAws
from crossfade.adapters.memory.passes import MemoryPassStore, PassRows
from crossfade.contracts.passes import PassRecord, UnitRecord, fresh_units
from crossfade.core.values.errors import LeaseLost, StoreUnavailable
from crossfade.ports.passes import PassStore
from localaws.endpoints import Endpoints
from pass_stores import Embedded, claimed, ended, new
from property_examples import examples


@pytest.fixture
async def table(request: pytest.FixtureRequest) -> AsyncIterator[Embedded]:
    made = Embedded(request.getfixturevalue("local_aws"))
    await made.create()
    yield made
    await made.wire.close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["look", "claim", "save", "finish", "beat", "release"]),
        st.integers(min_value=0, max_value=2),
    ),
    min_size=5,
    max_size=25,
)


async def _play(stores: list[PassStore], record: PassRecord, steps: list[tuple[str, int]]) -> None:
    """Play claimants with stale views; the oracle knows who took the unit last, and what that one saved."""
    views: list[UnitRecord] = [fresh_units(record)[0]] * len(stores)
    held: list[UnitRecord | None] = [None] * len(stores)
    owner: int | None = None
    moves, last, done = 0, None, False
    seen_moves = [0] * len(stores)
    for number, (step, who) in enumerate(steps):
        store, mine = stores[who], held[who]
        if step == "look":
            views[who] = (await store.units(record))[0]
            seen_moves[who] = moves
        elif step == "claim":
            taken = await store.claim(views[who], f"pod-{who}/1")
            assert (taken is not None) == (seen_moves[who] == moves and not done), (number, step, who)
            if taken is not None:
                owner, held[who], moves = who, taken, moves + 1
                assert await store.body(taken) == last
        elif mine is not None:
            body = b"%d" % number * (200_000 if number % 3 == 0 else 1)
            try:
                if step in ("save", "finish"):
                    held[who] = await store.save(mine, {"n": number}, body, saved_us=number, done=step == "finish")
                elif step == "beat":
                    held[who] = await store.beat(mine)
                else:
                    await store.release(mine)
            except LeaseLost:
                assert owner != who, (number, step)
                held[who] = None
                continue
            if step == "release":
                if owner == who:
                    owner, moves = None, moves + 1
                held[who] = None
                continue
            assert owner == who, (number, step)
            moves += 1
            if step != "beat":
                last, done = body, step == "finish"
        unit = (await stores[0].units(record))[0]
        assert await stores[0].body(unit) == last
        assert (unit.state == "done") == done


@settings(deadline=None, max_examples=examples(200))
@given(STEPS)
def test_however_claims_saves_and_beats_interleave_one_holds_the_unit_and_nothing_saved_is_lost(
    steps: list[tuple[str, int]],
) -> None:
    async def play() -> None:
        rows = PassRows()
        stores: list[PassStore] = [MemoryPassStore(rows) for _ in range(3)]
        await _play(stores, await stores[0].begin(new()), steps)

    asyncio.run(play())


@pytest.mark.embedded
@settings(deadline=None, max_examples=examples(20))
@given(STEPS)
def test_and_so_it_is_on_the_table(local_aws: Endpoints, steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        table = Embedded(local_aws)
        await table.create()
        stores: list[PassStore] = [table.store() for _ in range(3)]
        await _play(stores, await stores[0].begin(new()), steps)
        await table.wire.close()

    asyncio.run(play())


@pytest.mark.embedded
async def test_a_writer_that_dies_anywhere_in_a_save_leaves_the_old_checkpoint_or_the_new_one(table: Embedded) -> None:
    store = table.store()
    record = await store.begin(new())
    before, after = secrets.token_bytes(900_000), secrets.token_bytes(1_300_000)
    unit = await store.save(await claimed(store, record), {"at": 0}, before, saved_us=1)
    wire, dying = table.flaky()
    seen = set()
    for calls in range(30):
        wire.dies_after = calls
        try:
            unit = await dying.save(unit, {"at": calls}, after, saved_us=2)
        except StoreUnavailable:
            body = await store.body((await store.units(record))[0])
            assert body in (before, after)
            seen.add(body == after)
        else:
            break
    assert seen == {False, True}
    assert await store.body(unit) == after
    await ended(store, record)
    await store.forget(record.id)
    assert [each async for each in table.left()] == []


@pytest.mark.embedded
@pytest.mark.parametrize("calls", range(5))
async def test_a_reader_between_whose_reads_a_checkpoint_is_replaced_sees_either_as_a_whole(
    calls: int, table: Embedded
) -> None:
    store = table.store()
    record = await store.begin(new())
    before, after = secrets.token_bytes(900_000), secrets.token_bytes(900_000)  # three parts each
    unit = await store.save(await claimed(store, record), {}, before, saved_us=1)
    wire, reader = table.flaky()
    wire.between = calls, lambda: store.save(unit, {}, after, saved_us=2)
    assert await reader.body(unit) == (after if calls < 4 else before)
    assert (wire.between is None) == (calls < 4)


@pytest.mark.embedded
async def test_a_call_whose_answer_was_lost_finds_its_own_work(table: Embedded) -> None:
    wire, store = table.flaky()
    wire.loses = {"TransactWriteItems"}
    record = await store.begin(new())
    assert await table.store().running() == record
    wire.loses = {"TransactWriteItems"}
    unit = await claimed(store, record)
    wire.loses = {"UpdateItem"}
    unit = await store.save(unit, {}, secrets.token_bytes(500_000), saved_us=1)
    assert (await table.store().units(record))[0] == unit
    assert await table.store().body(unit) is not None
    wire.loses = {"TransactWriteItems"}
    assert await store.change(record.replace(state="done"), b"found") is not None
    assert await store.result(record.id) == b"found"


@pytest.mark.embedded
async def test_the_consumers_reports_do_not_see_passes(table: Embedded) -> None:
    store = table.store()
    await claimed(store, await store.begin(new()))
    assert await DynamoReports(table.db, table.tables.reports).all() == []


@pytest.mark.embedded
async def test_spilled_rows_may_lie_in_a_bucket_and_leave_the_table_alone(table: Embedded) -> None:
    bucket = MemoryAws({}, set())
    store = DynamoPassStore(table.db, table.tables.reports, blobs=ObjectBlobs(bucket, "spill/engagement"))
    record = await store.begin(new())
    await store.put_blob(record.id, "p/0001", b"rows")
    await store.put_blob(record.id, "p/0000", b"more")
    assert await store.blobs(record.id, "p/") == ["p/0000", "p/0001"]
    assert await store.blob(record.id, "p/0001") == b"rows"
    assert sorted(bucket.objects) == [f"spill/engagement/{record.id}/p/000{number}" for number in (0, 1)]
    assert [each async for each in table.left()] == []
    bucket.objects["spill/engagement/other/p/0"] = b"of another pass"
    await ended(store, record)
    await store.forget(record.id)
    assert list(bucket.objects) == ["spill/engagement/other/p/0"]
