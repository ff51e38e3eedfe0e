"""Only a later clean pass counts: whichever verifier repairs, and however often it is killed on the way."""

from __future__ import annotations

from crossfade.core.parity.classes import Difference
from repair_bench import Line, RepairBench
from verifier_pods import Pods, until
from verifier_world import wallet

KEYS = [wallet(number) for number in range(10)]


async def test_no_pass_counts_while_the_repair_of_a_killed_verifier_waits_and_the_first_after_its_end_does() -> None:
    bench = RepairBench(len(KEYS))
    async with Pods(bench.world) as pods:
        bench.control = pods.control
        bench.desk = bench.verifier(Line())
        for key in KEYS:
            bench.world.plant(Difference.MISSING, key)
        repair = await bench.planned(KEYS)
        pod = pods.start()
        await bench.desk.execute(repair, who="ann")
        line = Line()
        line.before = lambda name: line.dead.set() if name == "put_outcomes" else None
        await bench.over(repair, bench.verifier(line), until=line.dead)
        for key in KEYS:
            bench.world.copy(key)  # what was late arrives by itself: both tables are equal by now

        between = await pod.passes.ask("ann")
        ended = await pod.done(between.id)
        assert ended.findings is not None
        assert ended.findings.clean, "it found no difference"
        assert (ended.state, ended.clean, ended.repairs) == ("done", False, len(KEYS))
        assert pod.passes.last_clean is None

        record = await bench.over(repair, bench.verifier(Line()))
        assert record.state == "done"
        later = await pod.done((await pod.passes.ask("ann")).id)
        assert (later.clean, later.repairs) == (True, 0)
        await pod.stop()
        again = pods.start("again")

        async def known() -> bool:
            return again.passes.last_clean is not None

        await until(known)
        assert again.passes.last_clean is not None
        assert again.passes.last_clean.id == later.id


async def test_a_plan_that_nobody_executes_unmakes_no_clean_pass() -> None:
    bench = RepairBench(len(KEYS))
    async with Pods(bench.world) as pods:
        bench.control = pods.control
        bench.desk = bench.verifier(Line())
        pod = pods.start()
        clean = await pod.done((await pod.passes.ask("ann")).id)
        assert clean.clean
        repair = await bench.planned(KEYS)
        await bench.desk.cancel(repair, who="ann")
        assert [each.body["stage"] for each in pods.control.journal] == ["planned"]
        again = pods.start("again")

        async def known() -> bool:
            return again.passes.last is not None

        await until(known)
        assert again.passes.last_clean is not None
        assert again.passes.last_clean.id == clean.id
        assert again.passes.repaired_since_clean == 0
