"""A repair is paced, says how fast it is, and is kept as long as somebody may want to look at it."""

from __future__ import annotations

import asyncio

import pytest

from crossfade.adapters.memory.control import MemoryJournal
from crossfade.core.parity.classes import Difference
from crossfade.core.values.errors import IllegalTransition, MigrationPaused
from crossfade.core.values.shape import Side
from crossfade.ports.repairs import CHUNK, KEPT
from crossfade_verifier.repairs import EXPIRES_US
from repair_bench import Line, RepairBench
from verifier_world import wallet


def drifted(keys: int, *, per_s: int = 4) -> RepairBench:
    bench = RepairBench(keys, per_s=per_s)
    for number in range(keys):
        bench.world.plant(Difference.MISSING, wallet(number))
    return bench


async def took_s(bench: RepairBench, *repairs: str) -> float:
    started_s = bench.world.clock.now
    verifier = bench.verifier(Line())
    for repair in repairs:
        await bench.over(repair, verifier)
    return bench.world.clock.now - started_s


async def test_a_repair_is_no_faster_than_the_setting_allows() -> None:
    bench = drifted(40, per_s=4)
    repair = await bench.planned([wallet(number) for number in range(40)])
    await bench.desk.execute(repair, who="ann")
    assert await took_s(bench, repair) >= 9, "40 steps, of which the first 4 need not wait"


async def test_a_request_may_lower_the_pace_and_never_raise_it() -> None:
    bench = drifted(40, per_s=4)
    slow, fast = [await bench.planned([wallet(each) for each in keys]) for keys in (range(20), range(20, 40))]
    assert (await bench.desk.execute(slow, who="ann", pace_per_s=1)).pace_per_s == 1
    assert await took_s(bench, slow) >= 19
    assert (await bench.desk.execute(fast, who="ann", pace_per_s=1000)).pace_per_s == 4
    assert await took_s(bench, fast) >= 4


async def test_repairs_of_one_process_share_its_pace() -> None:
    bench = drifted(40, per_s=4)
    repairs = [await bench.planned([wallet(each) for each in keys]) for keys in (range(20), range(20, 40))]
    for repair in repairs:
        await bench.desk.execute(repair, who="ann")
    assert await took_s(bench, *repairs) >= 8


async def test_rate_and_eta_come_from_the_work_and_not_from_pauses() -> None:
    bench = drifted(40, per_s=4)
    repair = await bench.planned([wallet(number) for number in range(40)])
    await bench.desk.execute(repair, who="ann")
    operators, half, first = MemoryJournal(bench.control), asyncio.Event(), Line()
    first.before = lambda _name: half.set() if sum(map(len, bench.rows.outcomes.values())) >= 20 else None
    await bench.over(repair, bench.verifier(first), until=half)
    await operators.append("pause", {"paused": True, "who": "ann"})
    bench.world.clock.now += 5000
    await operators.append("pause", {"paused": False, "who": "ann"})
    done, second = asyncio.Event(), Line()
    second.before = lambda _name: done.set() if sum(map(len, bench.rows.outcomes.values())) >= 32 else None
    record = await bench.over(repair, bench.verifier(second), until=done)
    report = await bench.desk.report(await bench.desk.get(repair))
    assert record.state == "running"
    assert 20 < report.done < 40
    assert report.rate_per_s is not None
    assert report.eta_s is not None
    assert 1 < report.rate_per_s < 8
    assert report.eta_s == pytest.approx((40 - report.done) / report.rate_per_s, abs=0.1)


async def test_a_plan_that_is_large_is_kept_in_chunks_and_shown_by_pages() -> None:
    bench = drifted(2 * CHUNK + 7)
    repair = await bench.planned([wallet(number) for number in range(2 * CHUNK + 7)])
    record = await bench.desk.get(repair)
    seen, after = [], 0
    while True:
        page = await bench.desk.report(record, after=after, limit=30)
        seen += [each.number for each in page.steps]
        if page.next is None:
            break
        after = page.next
    assert seen == list(range(1, 2 * CHUNK + 8))
    assert len(bench.rows.steps) == 3


async def test_the_last_repairs_are_kept_and_none_that_is_under_way_is_forgotten() -> None:
    bench = drifted(3)
    running = await bench.planned([wallet(0)])
    await bench.desk.execute(running, who="ann")
    made = []
    for _ in range(KEPT + 5):
        bench.world.clock.now += 1
        made.append(await bench.planned([wallet(1)]))
    kept = {each.id for each in await bench.desk.all()}
    assert len(kept) == KEPT
    assert kept == {running, *made[-KEPT + 1 :]}
    assert {repair for repair, _ in bench.rows.steps} == kept


async def test_a_plan_expires_and_one_that_is_under_way_does_not() -> None:
    bench = drifted(2)
    early, late = await bench.planned([wallet(0)]), await bench.planned([wallet(1)])
    await bench.desk.execute(early, who="ann")
    bench.world.clock.now += EXPIRES_US / 1e6 + 1
    with pytest.raises(IllegalTransition, match="is expired: plan again"):
        await bench.desk.execute(late, who="ann")
    assert (await bench.over(early, bench.verifier(Line()))).state == "done"


async def test_a_repair_that_is_paused_goes_on_in_whichever_verifier_sees_the_resume() -> None:
    bench = drifted(40)
    operators = MemoryJournal(bench.control)
    repair = await bench.planned([wallet(number) for number in range(40)])
    await bench.desk.execute(repair, who="ann")
    await operators.append("pause", {"paused": True, "who": "ann"})
    with pytest.raises(AssertionError):  # it never ends
        await bench.over(repair, bench.verifier(Line()))
    record = await bench.desk.get(repair)
    assert (record.state, record.holder, record.done) == ("paused", "", 0)
    with pytest.raises(MigrationPaused):
        await bench.desk.execute(await bench.planned([wallet(1)]), who="bob")
    assert all(wallet(number) not in bench.world.tables[Side.TARGET].images for number in range(40))
    await operators.append("pause", {"paused": False, "who": "ann"})
    assert (await bench.over(repair, bench.verifier(Line()))).outcomes == {"repaired": 40}


async def test_a_paused_repair_can_be_cancelled() -> None:
    bench = drifted(4)
    repair = await bench.planned([wallet(number) for number in range(4)])
    await bench.desk.execute(repair, who="ann")
    await MemoryJournal(bench.control).append("pause", {"paused": True, "who": "ann"})
    with pytest.raises(AssertionError):
        await bench.over(repair, bench.verifier(Line()))
    await bench.desk.cancel(repair, who="cleo")
    record = await bench.over(repair, bench.verifier(Line()))
    assert (record.state, record.cancelled_by, record.outcomes) == ("cancelled", "cleo", {})
