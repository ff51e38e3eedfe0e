"""A verifier may be killed at any moment of a repair: another goes on, and the end is that of one left alone."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest

from crossfade.core.parity.classes import Difference
from crossfade.core.values.errors import StoreUnavailable, Throttled
from crossfade.core.values.shape import Side
from repair_bench import Line, RepairBench
from verifier_world import wallet

FAULTS = (
    Difference.STUCK,
    Difference.DIVERGED,
    Difference.MISSING,
    Difference.EXTRA,
    Difference.AHEAD,
    Difference.TWO_OWNERS,
    Difference.MISSING,
    Difference.AHEAD,
    Difference.EXTRA,
)
KEYS = [wallet(number) for number in range(len(FAULTS) + 1)]


def bench() -> RepairBench:
    made = RepairBench(len(KEYS))
    for number, fault in enumerate(FAULTS):
        made.world.plant(fault, wallet(number))
    made.world.put(Side.TARGET, wallet(0), stray=1)
    return made


class End(NamedTuple):
    """How a repair ended."""

    images: Any
    outcomes: Any
    counts: Any
    changes: int


async def repaired(line: Line) -> End:
    """Repair by a verifier on a line; if it is killed, by another one."""
    made = bench()
    repair = await made.planned(KEYS)
    await made.desk.execute(repair, who="ann")
    before = len(made.world.changes)
    record = await made.over(repair, made.verifier(line), until=line.dead)
    if record.state != "done":
        assert line.dead.is_set()
        record = await made.over(repair, made.verifier(Line()))
    assert (record.state, record.done, record.holder) == ("done", len(KEYS), "")
    stages = [each.body["stage"] for each in made.control.journal]
    assert (stages[:2], stages[-1]) == (["planned", "begun"], "done")
    images = [{key: dict(image) for key, image in made.world.tables[side].images.items()} for side in Side]
    return End(images, await made.outcomes(repair), record.outcomes, len(made.world.changes) - before)


async def calls_of_one_left_alone() -> tuple[End, int]:
    line = Line()
    return await repaired(line), line.calls


async def test_one_left_alone_repairs_what_can_be_repaired() -> None:
    end, _ = await calls_of_one_left_alone()
    assert end.counts == {"repaired": 7, "can't": 2, "already right": 1}
    assert end.changes == 8, "one a step that writes"


@pytest.mark.parametrize("arrives", [False, True], ids=["call lost", "call arrives"])
async def test_killed_at_any_call_a_repair_ends_as_if_nothing_had_happened(arrives: bool) -> None:
    alone, calls = await calls_of_one_left_alone()
    assert calls > 50
    for number in range(1, calls + 1):
        line = Line(dies_at=number, arrives=arrives)
        end = await repaired(line)
        assert end == alone, f"killed at call {number} of {calls}"


async def test_a_verifier_that_is_killed_again_and_again_gets_there_too() -> None:
    alone, calls = await calls_of_one_left_alone()
    made = bench()
    repair = await made.planned(KEYS)
    await made.desk.execute(repair, who="ann")
    before = len(made.world.changes)
    lives = 0
    while (await made.desk.get(repair)).state != "done":
        lives += 1
        assert lives < 10
        line = Line(dies_at=calls // 3, arrives=True)
        await made.over(repair, made.verifier(line), until=line.dead)
    assert lives > 3
    assert await made.outcomes(repair) == alone.outcomes
    assert len(made.world.changes) - before == alone.changes


async def test_a_clean_stop_lets_go_at_once_and_the_next_verifier_need_not_wait() -> None:
    made = bench()
    repair = await made.planned(KEYS)
    await made.desk.execute(repair, who="ann")
    stopping, first = asyncio.Event(), Line()
    first.before = lambda name: stopping.set() if name == "put_outcomes" else None
    record = await made.over(repair, made.verifier(first), until=stopping)
    record = await made.desk.get(repair)
    assert (record.state, record.holder) == ("running", "")
    now_s = made.world.clock.now
    second = made.verifier(Line())
    record = await made.over(repair, second)
    assert record.state == "done"
    assert made.world.clock.now - now_s < 15


async def test_a_verifier_that_was_taken_over_stops_before_its_next_write() -> None:
    made = RepairBench(40)
    for number in range(40):
        made.world.plant(Difference.MISSING, wallet(number))
    repair = await made.planned([wallet(number) for number in range(40)])
    await made.desk.execute(repair, who="ann")
    before = len(made.world.changes)
    slow, gate, waits = Line(), asyncio.Event(), asyncio.Event()

    async def late() -> None:
        waits.set()
        await gate.wait()

    slow.before = lambda name: late() if name == "put_outcomes" else None
    first = asyncio.create_task(made.verifier(slow).run())
    await waits.wait()
    record = await made.over(repair, made.verifier(Line()))
    calls = slow.calls
    gate.set()
    for _ in range(50):
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert record.outcomes == {"repaired": 40}
    assert slow.calls - calls < 6, "it looks at the record, and goes back to waiting"
    assert len(made.world.changes) - before == 40, "each is written once"


async def test_a_verifier_that_is_slow_is_not_taken_over_before_its_lease_is_over() -> None:
    made = bench()
    repair = await made.planned(KEYS)
    await made.desk.execute(repair, who="ann")
    slow, gate, waits = Line(), asyncio.Event(), asyncio.Event()

    async def late() -> None:
        waits.set()
        await gate.wait()

    slow.before = lambda name: late() if name == "transfer" else None
    tasks = [asyncio.create_task(made.verifier(slow).run())]
    await waits.wait()
    other = Line()
    looked = asyncio.Event()
    other.before = lambda name: looked.set() if name == "all" else None
    tasks.append(asyncio.create_task(made.verifier(other).run()))
    for _ in range(3):  # the first look begins the watch
        looked.clear()
        await looked.wait()
        made.world.clock.now += 4
        assert (await made.desk.get(repair)).pod == "pod-2"
    gate.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_repair_that_is_cancelled_right_before_a_slice_writes_nothing_more() -> None:
    made = bench()
    repair = await made.planned(KEYS)
    await made.desk.execute(repair, who="ann")
    before = len(made.world.changes)
    line = Line()
    line.after = lambda name: made.desk.cancel(repair, who="cleo") if name == "append" else None  # it says "begun"
    record = await made.over(repair, made.verifier(line))
    assert (record.state, record.done, len(made.world.changes)) == ("cancelled", 0, before)
    assert [each.body["stage"] for each in made.control.journal] == ["planned", "begun", "done"]


async def test_a_plan_whose_verifier_was_killed_is_failed_and_says_so() -> None:
    made = bench()
    line = Line()
    line.dies_at = 5
    planner = made.verifier(line)
    record = await planner.plan(KEYS, asked={"keys": len(KEYS)}, who="ann")
    await line.dead.wait()
    record = await made.over(record.id, made.verifier(Line()))
    assert record.state == "failed"
    assert record.because == "pod-2 ended while it was planning: plan again"


@pytest.mark.parametrize("error", [Throttled("slow down"), StoreUnavailable("no route")], ids=str)
async def test_a_store_that_can_not_be_reached_refuses_nothing_the_repair_waits_and_says_why(error: Exception) -> None:
    alone, _ = await calls_of_one_left_alone()
    made = bench()
    repair = await made.planned(KEYS)
    await made.desk.execute(repair, who="ann")
    line, seen = Line(), []

    def fails(name: str) -> None:
        if line.calls % 3 == 0 and name in ("transfer", "perform", "read_answers", "put_outcomes", "replace"):
            seen.append(name)
            if len(seen) < 60:
                raise error

    line.before = fails
    told: set[str] = set()
    replace = made.store.replace

    async def replaced(record: Any) -> Any:
        told.add(record.because)
        return await replace(record)

    made.store.replace = replaced  # type: ignore[method-assign]
    record = await made.over(repair, made.verifier(line))
    assert record.outcomes == alone.counts
    assert f"{error.code}: {error}" in told  # type: ignore[attr-defined]
    assert record.because == ""
    assert await made.outcomes(repair) == alone.outcomes
