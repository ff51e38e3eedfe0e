"""Where passes of the verifier are kept: one suite, on memory and on the embedded AWS."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from crossfade.contracts.passes import HISTORY, PassRecord, fresh_units, surplus
from crossfade.core.values.errors import IllegalTransition, LeaseLost
from crossfade.ports.passes import HEAD_BYTES
from pass_stores import Backend, Embedded, claimed, ended, left, memory, new


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.embedded)])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    if request.param == "memory":
        yield memory()
        return
    made = Embedded(request.getfixturevalue("local_aws"))
    await made.create()
    yield Backend(made.store, made.left)
    await made.wire.close()


async def test_one_pass_runs_at_a_time_and_whoever_begins_another_is_told_which(backend: Backend) -> None:
    stores = [backend.store() for _ in range(4)]
    assert await stores[0].running() is None
    records = [new(number) for number in range(4)]
    told = await asyncio.gather(*(store.begin(each) for store, each in zip(stores, records, strict=True)))
    assert len({each.id for each in told}) == 1
    running = await stores[3].running()
    assert running == told[0]
    assert running is not None
    assert [each.id for each in await stores[1].history()] == [running.id]
    await ended(stores[2], running)
    assert await stores[1].running() is None
    following = new(10)
    assert await stores[1].begin(following) == following


async def test_a_record_comes_back_whole_and_its_result_whatever_its_size(backend: Backend) -> None:
    store = backend.store()
    record = new(
        asked=True,
        asked_by="ann",
        journal_from=17,
        expected_rows={"source": 5, "target": 4},
        expected_read_units=0.5,
        extra={"of_a_newer_build": 1},
    )
    await store.begin(record)
    assert await store.get(record.id) == record
    assert await store.result(record.id) is None
    result = secrets.token_bytes(900_000)
    changed = await store.change(record.replace(state="done", clean=True, counts={"verified": 3}), result)
    assert changed == record.replace(state="done", clean=True, counts={"verified": 3}, revision=1)
    other = backend.store()
    assert await other.get(record.id) == changed
    assert await other.result(record.id) == result
    assert await other.change(changed.replace(repairs=2)) is not None  # keeps the result
    assert await other.result(record.id) == result
    assert await other.get("never") is None
    assert await other.result("never") is None


async def test_of_two_that_change_a_record_at_once_one_learns_that_it_was_late(backend: Backend) -> None:
    stores = [backend.store() for _ in range(4)]
    record = await stores[0].begin(new())
    found = await asyncio.gather(
        *(store.change(record.replace(why=f"by {number}"), b"%d" % number) for number, store in enumerate(stores))
    )
    won = [each for each in found if each is not None]
    assert len(won) == 1
    assert await stores[0].get(record.id) == won[0]
    assert f"by {(await stores[0].result(record.id) or b'').decode()}" == won[0].why


async def test_a_pass_that_has_ended_never_runs_again(backend: Backend) -> None:
    store = backend.store()
    record = await ended(store, await store.begin(new()))
    with pytest.raises(IllegalTransition):
        await store.change(record.replace(state="running"))
    with pytest.raises(IllegalTransition):
        await store.begin(new())  # its id was taken
    assert await store.running() is None


async def test_units_are_there_before_anybody_takes_one_and_keep_their_order(backend: Backend) -> None:
    store = backend.store()
    record = await store.begin(new(scan_units=12))
    assert await store.units(record) == fresh_units(record)
    taken = await claimed(store, record, number=11)
    joined = await store.change(record.replace(join_units=2))
    assert joined is not None
    units = await backend.store().units(joined)
    assert [(each.kind, each.number) for each in units] == [("scan", n) for n in range(12)] + [("join", 0), ("join", 1)]
    assert units[11] == taken
    assert await store.claim(units[13], "pod-a/1") is not None


async def test_of_claimants_at_once_one_takes_the_unit(backend: Backend) -> None:
    stores = [backend.store() for _ in range(4)]
    record = await stores[0].begin(new())
    for _ in range(3):  # a fresh one, then one whose beat stood still, twice
        unit = (await stores[0].units(record))[0]
        found = await asyncio.gather(*(store.claim(unit, f"pod-{n}/1") for n, store in enumerate(stores)))
        won = [each for each in found if each is not None]
        assert len(won) == 1
        assert (await stores[1].units(record))[0] == won[0]
        assert won[0].counter == unit.counter + 1


async def test_a_unit_whose_holder_beats_is_not_taken(backend: Backend) -> None:
    store, other = backend.store(), backend.store()
    record = await store.begin(new())
    unit = await claimed(store, record)
    watched = (await other.units(record))[0]
    beaten = await store.beat(unit)
    assert beaten.beat > watched.beat
    assert await other.claim(watched, "pod-b/1") is None
    saved = await store.save(beaten, {"scanned": 1}, b"", saved_us=5)
    assert await other.claim(beaten, "pod-b/1") is None
    assert await other.claim(saved, "pod-b/1") is not None


async def test_a_holder_that_lost_its_unit_can_neither_save_nor_beat_and_changes_nothing(backend: Backend) -> None:
    store, other = backend.store(), backend.store()
    record = await store.begin(new())
    zombie = await store.save(await claimed(store, record), {"at": 1}, b"first", saved_us=5)
    heir = await other.claim((await other.units(record))[0], "pod-b/1")
    assert heir is not None
    assert (heir.head, await other.body(heir)) == ({"at": 1}, b"first")
    for late in (store.beat(zombie), store.save(zombie, {"at": 9}, b"late", saved_us=6, done=True)):
        with pytest.raises(LeaseLost):
            await late
    await store.release(zombie)  # another's by now: nothing happens
    assert (await other.units(record))[0] == heir
    assert await other.body(heir) == b"first"
    again = await other.save(heir, {"at": 2}, b"second", saved_us=7)
    assert await store.body(again) == b"second"


async def test_a_released_unit_is_free_at_once_with_its_checkpoint(backend: Backend) -> None:
    store, other = backend.store(), backend.store()
    record = await store.begin(new())
    saved = await store.save(await claimed(store, record), {"at": 1}, b"there", saved_us=5)
    await store.release(saved)
    free = (await other.units(record))[0]
    assert (free.holder, free.state, free.head) == ("", "open", {"at": 1})
    with pytest.raises(LeaseLost):
        await store.beat(saved)
    heir = await other.claim(free, "pod-b/1")
    assert heir is not None
    assert await other.body(heir) == b"there"


@pytest.mark.parametrize("size", [0, 10, 70_000, 380_000, 1_200_000])
async def test_a_checkpoint_of_any_size_comes_back_and_replaces_the_one_before(backend: Backend, size: int) -> None:
    store = backend.store()
    record = await store.begin(new())
    unit = await claimed(store, record)
    assert await store.body(unit) is None
    for content in (secrets.token_bytes(size), b"x" * size, secrets.token_bytes(size)):
        unit = await store.save(unit, {"size": size}, content, saved_us=5)
        assert await backend.store().body(unit) == content
    done = await store.save(unit, {}, b"end", saved_us=6, done=True)
    assert (await store.units(record))[0] == done
    assert (done.state, await store.body(done)) == ("done", b"end")
    assert await store.claim(done, "pod-b/1") is None  # done is done


async def test_a_head_that_is_too_large_is_refused_since_everybody_reads_it(backend: Backend) -> None:
    store = backend.store()
    unit = await claimed(store, await store.begin(new()))
    with pytest.raises(ValueError, match="body"):
        await store.save(unit, {"keys": "x" * (HEAD_BYTES + 100)}, b"", saved_us=5)
    assert await store.body(unit) is None


async def test_blobs_are_listed_by_prefix_and_replaced_whole(backend: Backend) -> None:
    store = backend.store()
    record = await store.begin(new())
    large = secrets.token_bytes(900_000)
    names = [f"spill/{part:04d}/{unit}-1-{number}" for part in (0, 1) for unit in (0, 1) for number in (0, 1)]
    for name in reversed(names):
        await store.put_blob(record.id, name, large if name == names[3] else name.encode())
    assert await store.blobs(record.id) == names
    assert await backend.store().blobs(record.id, "spill/0001/") == names[4:]
    assert await store.blobs("other") == []
    assert await store.blob(record.id, names[3]) == large
    await store.put_blob(record.id, names[3], b"shorter")
    assert await store.blob(record.id, names[3]) == b"shorter"
    assert await store.blob(record.id, "spill/none") is None


async def test_what_has_ended_is_forgotten_but_for_its_record_and_result(backend: Backend) -> None:
    store = backend.store()
    record = await store.begin(new())
    unit = await claimed(store, record)
    held = await store.save(unit, {}, secrets.token_bytes(500_000), saved_us=5)
    await store.put_blob(record.id, "spill/0", secrets.token_bytes(500_000))
    with pytest.raises(IllegalTransition):
        await store.forget(record.id)
    assert await store.body(held) is not None
    done = await store.change(record.replace(state="done"), b"found")
    assert done is not None
    assert await store.claim((await store.units(record))[1], "pod-b/1") is None  # it has ended
    assert await left(backend)
    await store.forget(record.id)
    await store.forget(record.id)
    assert await left(backend) == []
    for late in (store.beat(held), store.save(held, {}, secrets.token_bytes(500_000), saved_us=6)):
        with pytest.raises(LeaseLost):
            await late
    assert await left(backend) == []
    kept = await store.get(record.id)
    assert kept == done.replace(forgotten=True, revision=kept.revision if kept else 0)
    assert await store.result(record.id) == b"found"
    await store.forget("never")


async def test_a_hundred_records_are_kept_and_the_last_clean_one(backend: Backend) -> None:
    store = backend.store()
    first = await ended(store, await store.begin(new(0)), clean=True)
    for number in range(1, HISTORY + 3):
        await ended(store, await store.begin(new(number)))
    await store.forget(new(HISTORY + 2).id)
    kept = await store.history(HISTORY + 10)
    assert [each.id for each in kept] == [new(number).id for number in (*range(HISTORY + 2, 2, -1), 0)]
    assert kept[-1] == first
    assert len(await store.history()) == HISTORY
    assert [each.id for each in await store.history(2)] == [new(HISTORY + 2).id, new(HISTORY + 1).id]


def test_records_are_kept_if_they_are_new_or_the_last_done_or_clean_or_run() -> None:
    def record(number: int, state: str = "failed", *, clean: bool = False) -> PassRecord:
        return new(number).replace(state=state, clean=clean)

    records = [record(9, "running"), record(8), record(7), record(6, "done"), record(5, "done"), record(4)]
    records += [record(3, "done", clean=True), record(2, "done", clean=True), record(1)]
    assert [each.id for each in surplus(records, keep=2)] == [new(number).id for number in (7, 5, 4, 2, 1)]
    assert surplus(records) == []
