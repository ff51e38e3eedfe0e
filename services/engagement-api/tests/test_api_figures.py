"""The API's own figures: what the controller's error-rate and latency gates see of the clients' calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from api_world import Aborted, Pod, World, context
from crossfade.adapters.memory.control import MemoryReports
from crossfade.core.migration.evidence import ApiCalls, Bounds, Evidence, Lag, Parity, Probe, Strays
from crossfade.core.migration.gates import error_rate
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.shape import Side
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade.runtime.figures import WINDOW_S, Figures, tell
from crossfade.runtime.telemetry.contract import METHODS


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def __call__(self) -> float:
        return self.at_s


def ended(
    figures: Figures, clock: Hand, took_s: float, error: BaseException | None = None, operations: int = 1
) -> None:
    """Play a call that took so long."""
    with suppress(Exception, asyncio.CancelledError), figures.counting("EarnPoints", operations):
        clock.at_s += took_s
        if error is not None:
            raise error


def test_p99_is_of_the_calls_that_were_answered() -> None:
    clock = Hand()
    figures = Figures(clock)
    for took_ms in range(1, 101):
        ended(figures, clock, took_ms / 1000)
    ended(figures, clock, 0.9, StoreUnavailable("no answer"))
    counts = figures.counts()
    assert (counts["calls"], counts["failed"]) == (101, 1)
    assert counts["p99_us"] == pytest.approx(99_000, abs=2)


def test_p99_counts_each_operation_of_a_batch() -> None:
    clock = Hand()
    figures = Figures(clock)
    ended(figures, clock, 0.2, operations=50)
    for _ in range(50):
        ended(figures, clock, 0.001)
    assert figures.counts()["calls"] == 100
    assert figures.counts()["p99_us"] == pytest.approx(200_000, abs=2)


def test_calls_leave_the_window_and_stay_in_the_totals() -> None:
    clock = Hand()
    figures = Figures(clock)
    ended(figures, clock, 0.0, StoreUnavailable("no answer"), operations=25)
    clock.at_s += WINDOW_S + 0.1
    assert figures.counts() == {"calls": 0, "failed": 0}
    assert figures.totals == {("EarnPoints", "failed"): 25}


def test_a_call_that_was_given_up_is_ours_after_a_quarter_second_and_the_callers_before() -> None:
    """Whoever set the deadline: a pod that hangs must not look well because nobody got an answer from it."""
    clock = Hand()
    figures = Figures(clock)
    ended(figures, clock, 0.2, asyncio.CancelledError(), operations=7)
    assert figures.counts() == {"calls": 7, "failed": 0}
    ended(figures, clock, 2.0, asyncio.CancelledError(), operations=25)
    assert figures.counts() == {"calls": 32, "failed": 25, "p99_us": pytest.approx(2_000_000, abs=2)}
    assert figures.totals == {("EarnPoints", "cancelled"): 7, ("EarnPoints", "failed"): 25}


def failing(pod: Pod) -> tuple[int, int]:
    counts = pod.figures.counts()
    return counts["calls"], counts["failed"]


async def test_every_path_counts_each_operation_once_when_the_store_is_down() -> None:
    world = World()
    pod = await world.pod(operation_s=0.2)
    wallets = [pb.Wallet(user=f"u{number}", channel="chan") for number in range(10)]
    paths: list[tuple[str, int, Callable[[], Awaitable[object]]]] = [
        ("EarnPoints", 1, lambda: pod.earn(5)),
        ("SpendPoints", 1, lambda: pod.spend(5)),
        ("DeleteWallet", 1, lambda: pod.delete()),
        ("GetBalance", 1, lambda: pod.balance()),
        (
            "BatchGetBalances",
            10,
            lambda: pod.servicer.BatchGetBalances(pb.BatchGetBalancesRequest(wallets=wallets), context()),
        ),
        ("BatchEarnPoints", 25, lambda: pod.earn_many(*(pod.earning(5, f"u{number}") for number in range(25)))),
    ]
    assert {method for method, _, _ in paths} == set(METHODS)
    await pod.earn(5)
    for table in world.tables.values():
        table.down = table.unreadable = True
    for method, operations, call in paths:
        before = failing(pod)
        with suppress(Aborted):
            await call()
        after = failing(pod)
        assert (after[0] - before[0], after[1] - before[1]) == (operations, operations), method
        assert pod.figures.totals[method, "failed"] == operations


async def test_a_pod_that_may_not_write_fails_by_our_fault() -> None:
    world = World()
    pod = await world.pod()
    world.clock.now_us += 60_000_000  # its heartbeat counts no more
    with pytest.raises(Aborted):
        await pod.earn(5)
    with pytest.raises(Aborted):
        await pod.earn_many(pod.earning(5), pod.earning(5, "8"))
    assert failing(pod) == (3, 3)


async def test_what_the_caller_got_wrong_is_the_callers_affair_on_every_path() -> None:
    world = World()
    pod = await world.pod()
    await pod.earn(5)
    for call in (pod.earn(0), pod.spend(50), pod.delete(user="nobody"), pod.balance(user="")):
        with pytest.raises(Aborted):
            await call
    outcomes = await pod.earn_many(pod.earning(5), pod.earning(0), pod.earning(5, ""))
    assert [each.HasField("error") for each in outcomes] == [False, True, True]
    assert failing(pod) == (8, 0)
    assert pod.figures.totals["BatchEarnPoints", "refused"] == 2
    assert pod.figures.totals["BatchEarnPoints", "ok"] == 1


async def test_batches_that_fail_shut_the_controllers_gate() -> None:
    """At 10 %, 1,850 of 1,875 batched operations failed, and `0 of 0 calls failed` let the next step through."""
    world = World()
    pod = await world.pod()
    await pod.earn_many(*(pod.earning(5, f"u{number}") for number in range(25)))
    world.tables[Side.SOURCE].down = True
    batches = ([pod.earning(5, f"u{number}") for number in range(25)] for _ in range(74))
    await asyncio.gather(*(pod.earn_many(*batch) for batch in batches))  # each waits for its deadline
    counts = pod.figures.counts()
    calls = ApiCalls(counts["calls"], counts["failed"], None, ("pod-1",))
    assert (calls.calls, calls.failed) == (1_875, 1_850)
    evidence = Evidence(
        forward=Lag(0.0, 0.0),
        reverse=Lag(0.0, 0.0),
        quiet_s=60.0,
        dead_letters=0,
        parity=Parity(),
        strays=Strays(watched=True),
        imprecise_age_s=None,
        precisions={},
        oldest_unapplied_s=0.0,
        retention_s=None,
        document=FlagDocument(),
        dual_write=True,
        pods=(),
        probe=Probe(),
        api=calls,
    )
    verdict = error_rate(evidence, Bounds())
    assert not verdict.open
    assert verdict.because == "1850 of 1875 API calls failed"


async def test_a_store_that_is_down_counts_as_our_failure_and_a_refusal_does_not() -> None:
    world = World()
    pod = await world.pod()
    await pod.earn(5)
    with pytest.raises(Aborted):
        await pod.spend(50)
    assert pod.figures.counts()["failed"] == 0
    world.tables[Side.SOURCE].down = True
    with pytest.raises(Aborted):
        await pod.earn(5)
    counts = pod.figures.counts()
    assert (counts["calls"], counts["failed"]) == (3, 1)


async def test_a_refused_operation_is_counted_once_alone_and_in_a_batch() -> None:
    world = World()
    pod = await world.pod()
    with pytest.raises(Aborted):
        await pod.spend(50)
    assert sum(pod.tally.outcomes.values()) == 1
    old = world.clock.ulid()
    await pod.earn_many(pod.earning(5, "7", old), pod.earning(5, "7", old))
    assert sum(pod.tally.outcomes.values()) == 3


async def test_the_figures_reach_the_controller() -> None:
    figures, reports = Figures(), MemoryReports()
    with figures.counting("EarnPoints"):
        await asyncio.sleep(0.01)
    telling = asyncio.create_task(tell(0.01, figures, reports, "pod-1"))
    await asyncio.sleep(0.1)
    telling.cancel()
    with suppress(asyncio.CancelledError):
        await telling
    (report,) = await reports.all()
    assert (report.consumer, report.shard, report.counts["calls"], report.counts["failed"]) == ("api", "pod-1", 1, 0)
    assert report.counts["p99_us"] >= 9_000
