"""Where repairs are kept: one suite, on memory and on the embedded AWS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from crossfade.adapters.control.repairs import DynamoRepairs
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.memory.repairs import MemoryRepairs, RepairRows
from crossfade.contracts.repairs import RepairRecord, RepairStep, RowSeen
from crossfade.ports.repairs import CHUNK, RepairStore
from pass_stores import Embedded, Flaky

Stores = Callable[[], RepairStore]


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.embedded)])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if request.param == "memory":
        rows = RepairRows()
        yield lambda: MemoryRepairs(rows)
        return
    made = Embedded(request.getfixturevalue("local_aws"))
    await made.create()
    yield lambda: DynamoRepairs(made.db, made.tables.reports)
    await made.wire.close()


def record(name: str = "r1") -> RepairRecord:
    return RepairRecord(
        id=name,
        state="planned",
        asked={"class": "stuck"},
        planned_by="ann",
        planned_us=7,
        expires_us=9,
        by_class={"stuck": 2},
        go_on={"class": "stuck", "after": "k"},
        extra={"of_a_newer_build": 1},
    )


def step(number: int, key: str = "k") -> RepairStep:
    row = RowSeen(str(2**60), "S", "0", False, "0" * 32)
    return RepairStep(
        number=number,
        key=key,
        found="stuck",
        action=f"transfer at {2**60}",
        table="target",
        why="w" * 300,
        source=row,
        target=None,
        differs=("n" * 255,) * 10,
    )


async def test_a_record_comes_back_whole(stores: Stores) -> None:
    await stores().create(record())
    assert await stores().get("r1") == record()
    assert await stores().get("r2") is None
    await stores().create(record("r2"))
    assert sorted(each.id for each in await stores().all()) == ["r1", "r2"]


async def test_of_two_that_replace_a_record_at_once_one_learns_that_it_was_late(stores: Stores) -> None:
    await stores().create(record())
    read = record()
    told = await asyncio.gather(*(stores().replace(read.replace(pod=pod)) for pod in ("a", "b", "c")))
    [won] = [each for each in told if each is not None]
    assert (won.revision, await stores().get("r1")) == (1, won)
    assert await stores().replace(read.replace(pod="d")) is None
    assert await stores().replace(won.replace(pod="e")) == won.replace(pod="e", revision=2)
    assert await stores().replace(record("r2")) is None, "nothing is made by replacing"


async def test_a_plan_never_changes(stores: Stores) -> None:
    await stores().put_steps("r1", 0, [step(1), step(2)])
    await stores().put_steps("r1", 0, [step(3)])
    await stores().put_steps("r1", 1, [step(51)])
    assert await stores().steps("r1", 0) == [step(1), step(2)]
    assert await stores().steps("r1", 1) == [step(51)]
    assert await stores().steps("r1", 2) == await stores().steps("r2", 0) == []


async def test_a_chunk_takes_the_longest_keys_that_there_are(stores: Stores) -> None:
    key = f'[{{"B":"{"A" * 2732}"}},{{"B":"{"A" * 1368}"}}]'  # 2,048 and 1,024 bytes, in base64
    steps = [step(number, key) for number in range(CHUNK)]
    await stores().put_steps("r1", 0, steps)
    assert await stores().steps("r1", 0) == steps


async def test_outcomes_only_become_more(stores: Stores) -> None:
    assert await stores().outcomes("r1", 0) == []
    assert await stores().put_outcomes("r1", 0, ["repaired"]) == ["repaired"]
    assert await stores().put_outcomes("r1", 0, ["already right"]) == ["repaired"], "another verifier was first"
    assert await stores().put_outcomes("r1", 0, ["repaired", "can't: ü"]) == ["repaired", "can't: ü"]
    assert await stores().put_outcomes("r1", 0, []) == ["repaired", "can't: ü"]
    assert await stores().outcomes("r1", 0) == ["repaired", "can't: ü"]


async def test_a_repair_is_removed_with_all_that_lies_beside_it_and_no_other_is(stores: Stores) -> None:
    for name in ("r1", "r2"):
        await stores().create(record(name))
        for chunk in range(15):
            await stores().put_steps(name, chunk, [step(chunk)])
            await stores().put_outcomes(name, chunk, ["repaired"])
    await stores().remove(record("r1"))
    assert await stores().get("r1") is None
    assert (await stores().steps("r1", 14), await stores().outcomes("r1", 0)) == ([], [])
    assert await stores().get("r2") == record("r2")
    assert await stores().steps("r2", 14) == [step(14)]


@pytest.mark.embedded
async def test_a_write_whose_answer_was_lost_is_recognised(request: pytest.FixtureRequest) -> None:
    made = Embedded(request.getfixturevalue("local_aws"))
    await made.create()
    wire = Flaky(made.wire)
    store = DynamoRepairs(DynamoDB(wire), made.tables.reports)
    for write in (
        lambda: store.create(record()),
        lambda: store.put_steps("r1", 0, [step(1)]),
        lambda: store.put_outcomes("r1", 0, ["repaired"]),
    ):
        wire.loses.add("PutItem")
        await write()
        assert not wire.loses
    wire.loses.add("PutItem")
    assert await store.replace(record().replace(pod="a")) == record().replace(pod="a", revision=1)
    await made.wire.close()
