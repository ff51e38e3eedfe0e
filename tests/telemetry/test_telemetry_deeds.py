"""What operators and sweepers do, as spans with the reason; and what each service counts, as the contract's metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, cast

from opentelemetry.sdk.trace import ReadableSpan
from test_controller_sweeper import Yard
from test_verifier_repair import KEY
from test_verifier_repair import Bench as RepairBench

from api_world import World as ApiWorld
from controller_world import Town, run, settled
from crossfade.adapters.clock import SYSTEM
from crossfade.core.migration.phases import Phase
from crossfade.core.parity.classes import Difference
from crossfade.core.values.shape import Side
from crossfade.runtime.telemetry import Observed
from crossfade.runtime.telemetry.config import Sampling
from crossfade.runtime.telemetry.contract import (
    API_OPERATIONS,
    ARRIVAL_LAG,
    CHECKPOINTS,
    DRIVING,
    GATE_OPEN,
    HANDOVERS,
    ITERATOR_AGE,
    JOURNAL,
    LEASES,
    LEASES_TAKEN,
    MARKS,
    METRICS,
    MIGRATION_PHASE,
    OPERATIONS,
    PARITY,
    PODS,
    RAMP,
    RECORDS,
    SHARDS,
    THROTTLED,
    UNREAD_AGE,
    UNREAD_SHARDS,
)
from crossfade.runtime.telemetry.schema import Metric, Service
from crossfade.runtime.telemetry.span_contract import INTENT, REPAIRING, SWEEP
from crossfade_controller.measures import observed as controller_observed
from crossfade_controller.spans import IntentSpans
from crossfade_controller.status import status_of
from crossfade_replicator.consumer import Consumer
from crossfade_replicator.measures import LAG_KEPT_S
from crossfade_replicator.measures import observed as replicator_observed
from crossfade_replicator.reporting import Tallies
from crossfade_replicator.sender import Sender
from crossfade_verifier.measures import observed as verifier_observed
from engagement_api.measures import observed as api_observed
from faust_kinesis import EngineReport
from faust_kinesis.tail import ShardReport
from replicator_bench import Bench as ReplicatorBench
from replicator_bench import Counting
from telemetry_bench import kept
from verifier_service import Running
from verifier_world import World as VerifierWorld
from verifier_world import wallet


def told(span: ReadableSpan) -> list[dict[str, Any]]:
    return [{"event": each.name, **(each.attributes or {})} for each in span.events]


def values(observed: Iterator[Observed]) -> dict[Metric, dict[str, float]]:
    """The values by metric and the text of their attributes; each point must have what the contract says."""
    found: dict[Metric, dict[str, float]] = {}
    for metric, value, attributes in observed:
        assert attributes.keys() == set(metric.attributes), metric.name
        found.setdefault(metric, {})[" ".join(attributes.values())] = value
    return found


def must_emit(service: Service) -> set[Metric]:
    return {
        each for each in METRICS if service in each.services and not each.occasional and each.kind.value != "histogram"
    }


# ---- the controller ----------------------------------------------------------------------------


async def test_a_wish_is_a_span_from_taking_it_up_to_its_outcome_with_the_journal_as_events() -> None:
    town = Town(4)
    await settled(town, "start", exclude=[])
    with kept(Service.CONTROLLER, Sampling(0.0)) as bench:
        number = await town.ask("ramp", share=5000)
        ctx, driver = await town.start()
        ctx.heard = IntentSpans(bench.telemetry, ctx.state.pending).take
        while town.outcome(number) is None:
            await town.live()
            await driver.tick()
        span = bench.the(INTENT)
    assert span.name == "crossfade ramp"
    assert (span.attributes or {})["crossfade.outcome"] == "done"
    assert (span.attributes or {})["crossfade.reason"] == "50 %"
    events = told(span)
    (ramp,) = [each for each in events if each["event"] == "ramp"]
    assert ramp["crossfade.percent"] == "50"
    assert ramp["crossfade.reason"], "a ramp says why it was allowed"
    phases = [each["crossfade.reason"] for each in events if each.get("crossfade.journal.kind") == "phase"]
    assert phases
    assert phases[0].startswith("BOTH_WAYS to RAMPING")


async def test_another_controller_continues_the_span_of_a_command_that_was_accepted() -> None:
    town = Town(4)
    await settled(town, "start", exclude=[])
    number = await town.ask("ramp", share=5000)
    _, driver = await town.start()
    await driver.tick()
    with kept(Service.CONTROLLER) as bench:
        ctx, driver = await town.start()
        ctx.heard = IntentSpans(bench.telemetry, ctx.state.pending).take
        while town.outcome(number) is None:
            await town.live()
            await driver.tick()
        assert bench.the(INTENT).name == "crossfade ramp"


async def test_what_happens_without_a_wish_is_a_span_of_its_own() -> None:
    town = Town(4)
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=5000)
    with kept(Service.CONTROLLER) as bench:
        ctx, driver = await town.start()
        ctx.heard = IntentSpans(bench.telemetry).take
        town.plain_add(Side.SOURCE, "w1", 1)
        while not ctx.state.halt:
            await town.live()
            await driver.tick()
        spans = [each for each in bench.of(INTENT) if any(e["crossfade.journal.kind"] == "halt" for e in told(each))]
    (span,) = spans
    assert span.name == "crossfade itself"
    assert "no_stray: a write outside the protocol" in told(span)[0]["crossfade.reason"]


async def test_a_span_that_is_open_at_the_end_is_sent_anyway() -> None:
    town = Town(4)
    with kept(Service.CONTROLLER) as bench:
        spans = IntentSpans(bench.telemetry)
        ctx, driver = await town.start()
        ctx.heard = spans.take
        await town.ask("start", exclude=[])
        await driver.tick()
        assert bench.of(INTENT) == []
        spans.close()
        assert bench.the(INTENT).name == "crossfade start"


async def test_the_sweeper_tells_which_way_it_moved_how_many_keys_and_why() -> None:
    yard = Yard(10)
    with kept(Service.CONTROLLER, Sampling(0.0)) as bench:
        await yard.pass_to(Side.TARGET, 1)
        spans = bench.of(SWEEP)
    assert {each.name for each in spans} == {"hand over to-target"}
    events = [event for each in spans for event in told(each)]
    assert sum(each["crossfade.count"] for each in events) == 10
    assert {each["crossfade.reason"] for each in events} == {"moved, generation 1"}
    assert yard.sweeper.handed_over == {"target": 10}


async def test_the_controllers_status_is_its_metrics() -> None:
    town = Town(4)
    await settled(town, "start", exclude=[])
    ctx, driver = await run(town, lambda: True)
    for _ in range(3):  # a report counts as of a living one when it was seen to change
        await town.live()
        await driver.tick()
    found = values(controller_observed(status_of(ctx, driver.wait), {"target": 3}, driving=True))
    assert must_emit(Service.CONTROLLER) <= found.keys()
    assert found[MIGRATION_PHASE] == {each.value: float(each is Phase.BOTH_WAYS) for each in Phase}
    assert found[JOURNAL] == {"": len(town.store.journal)}
    assert found[RAMP] == {"": 0.0}
    assert found[HANDOVERS] == {"to-source": 0, "to-target": 3}
    assert found[PODS][""] >= 1
    assert found[GATE_OPEN]
    assert found[UNREAD_SHARDS]["forward"] == 0
    assert found[UNREAD_AGE]["forward"] < 60


def test_a_controller_without_the_lease_speaks_for_nobody() -> None:
    assert values(controller_observed({"phase": None}, {}, driving=False)) == {DRIVING: {"": 0}}


# ---- the verifier ------------------------------------------------------------------------------


async def test_a_repair_is_a_span_that_says_what_was_done_to_each_key_and_why() -> None:
    repair = RepairBench()
    repair.world.plant(Difference.MISSING, KEY)
    with kept(Service.VERIFIER, Sampling(0.0)) as bench:
        assert await repair.repair() == "repaired"
        (event,) = told(bench.the(REPAIRING))
    assert (event["crossfade.parity.class"], event["crossfade.outcome"]) == ("missing", "repaired")
    assert event["crossfade.repair"].startswith("transfer")
    assert event["crossfade.reason"]
    assert repair.repairer.repaired == {"missing": 1}


async def test_what_is_not_repaired_makes_no_span_and_counts_nothing() -> None:
    repair = RepairBench()
    with kept(Service.VERIFIER) as bench:
        assert await repair.repair() == "already right"
        assert bench.spans == []
    assert repair.repairer.repaired == {}


async def test_the_parity_report_is_the_verifiers_metrics() -> None:
    world = VerifierWorld(3)
    world.plant(Difference.MISSING, wallet(2))
    verifier = Running(world)
    report = verifier.report
    done = asyncio.Event()
    verifier.passes.on_done = lambda _took_s: done.set()
    async with verifier():
        await done.wait()
        found = values(verifier_observed(report, verifier.tails, {"missing": 2}))
    assert must_emit(Service.VERIFIER) <= found.keys()
    assert found[PARITY]["missing"] == 1
    assert found[PARITY]["equal"] == 2
    assert set(found[PARITY]) == {each.value for each in Difference}


# ---- the API -----------------------------------------------------------------------------------


async def test_the_tallies_of_the_api_are_its_metrics() -> None:
    world = ApiWorld()
    pod = await world.pod()
    await pod.earn()
    await asyncio.sleep(0)
    found = values(api_observed(pod.tally, pod.figures, pod.epochs, pod.pulse, pod.mirror.counts, None))
    assert must_emit(Service.API) <= found.keys()
    assert found[OPERATIONS]["applied"] == 1
    assert found[API_OPERATIONS]["EarnPoints ok"] == 1
    assert found[API_OPERATIONS]["BatchEarnPoints failed"] == 0
    assert found[OPERATIONS]["insufficient"] == 0, "what has not happened is 0, so that a rate can begin"


# ---- the replicator ----------------------------------------------------------------------------


class Reading:
    """A consumer that has read one shard."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tallies = Tallies()
        self.tallies.of("shard-1").counts.update(records=10, applied=4, stale=1, deduplicated=3, echo=2)

    def engines(self) -> list[EngineReport]:
        shard = ShardReport("shard-1", 0, 1.0, None, "c", 0.25, None)
        return [EngineReport("wallet-changes", (shard,), 0.25, readable=8, taken=3)]


def replicated(role: str, sender: Sender | None, seen_s: float) -> dict[Metric, dict[str, float]]:
    consumer = cast("Consumer", Reading(role))
    return values(replicator_observed(consumer, sender, 7, {"shard-1": (0.5, seen_s)}, None, SYSTEM))


def test_the_tallies_of_a_replicator_are_its_metrics() -> None:
    sender = Sender(Counting(ReplicatorBench().target), clock=SYSTEM)
    sender.throttled = 5
    found = replicated("forward", sender, time.monotonic())
    assert must_emit(Service.FORWARD) <= found.keys()
    assert found[RECORDS]["forward applied"] == 4
    assert found[RECORDS]["forward duplicate"] == 0
    assert "forward records" not in found[RECORDS]
    assert found[MARKS] == {"forward hit": 3, "forward miss": 5}
    assert found[THROTTLED] == {"forward": 5}
    assert found[CHECKPOINTS] == {"forward": 7}
    assert (found[LEASES], found[SHARDS], found[LEASES_TAKEN]) == ({"forward": 1}, {"forward": 8}, {"forward": 3})
    assert found[ITERATOR_AGE] == {"forward wallet-changes shard-1": 0.25}
    assert found[ARRIVAL_LAG] == {"forward wallet-changes shard-1": 0.5}


def test_a_lag_that_was_seen_long_ago_is_told_no_more() -> None:
    found = replicated(
        "forward", Sender(Counting(ReplicatorBench().target), clock=SYSTEM), time.monotonic() - LAG_KEPT_S - 1
    )
    assert ARRIVAL_LAG not in found


def test_the_feed_reports_events_and_not_transfers() -> None:
    found = replicated("feed-target", None, time.monotonic())
    assert must_emit(Service.FEED) <= found.keys()
    assert not {RECORDS, MARKS, THROTTLED} & found.keys()
