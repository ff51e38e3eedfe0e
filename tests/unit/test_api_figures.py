"""The API's own figures: what the controller's error-rate and latency gates see of the clients' calls."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from api_world import Aborted, World
from crossfade.adapters.memory.control import MemoryReports
from crossfade.core.shape import Side
from engagement_api.figures import WINDOW_S, Figures, tell


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def __call__(self) -> float:
        return self.at_s


def test_p99_is_of_the_calls_that_succeeded() -> None:
    clock = Hand()
    figures = Figures(clock)
    for took_ms in range(1, 101):
        figures.note(clock.at_s - took_ms / 1000, failed=False)
    figures.note(clock.at_s - 9.0, failed=True)
    counts = figures.counts()
    assert (counts["calls"], counts["failed"]) == (101, 1)
    assert counts["p99_us"] == pytest.approx(99_000, abs=2)


def test_calls_leave_the_window() -> None:
    clock = Hand()
    figures = Figures(clock)
    figures.note(clock.at_s, failed=True)
    clock.at_s += WINDOW_S + 0.1
    assert figures.counts() == {"calls": 0, "failed": 0}


async def test_a_store_that_is_down_counts_as_our_failure_and_a_refusal_does_not() -> None:
    world = World()
    pod = await world.pod()
    await pod.earn(5)
    with pytest.raises(Aborted):
        await pod.spend(50)
    assert pod.figures.counts()["failed"] == 0
    world.tables[Side.LEGACY].down = True
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
    figures.note(figures.now_s() - 0.25, failed=False)
    telling = asyncio.create_task(tell(0.01, figures, reports, "pod-1"))
    await asyncio.sleep(0.1)
    telling.cancel()
    with suppress(asyncio.CancelledError):
        await telling
    (report,) = await reports.all()
    assert (report.role, report.shard, report.counts["calls"], report.counts["failed"]) == ("api", "pod-1", 1, 0)
    assert report.counts["p99_us"] >= 250_000
