"""The demo's bounds grow with the machine's slowness, five times at most; beyond that it says so, and hides nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from test_demo_screen import report

from crossfade.adapters.flagd import FlagFile
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade_demo.book import Acknowledged, Book
from crossfade_demo.checks import Check, check
from crossfade_demo.options import Options
from crossfade_demo.pace import MOST, SYNC_IDLE_S, Deadline, Late, Pace, Sample, work
from crossfade_demo.processes import ProcessFailed, Service, run_tool
from crossfade_demo.report import Report, Verdict
from crossfade_demo.screen import Screen, View
from crossfade_demo.services import CONTROLLER, make_fleet
from crossfade_demo.story import Failure, Story, StoryFailed
from crossfade_demo.traffic import Client, Traffic

CPU_S = 0.09
IDLE_S = CPU_S + SYNC_IDLE_S


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def paced(*slowness: float, each_s: float = 10.0) -> tuple[Pace, Clock]:
    """Return a pace of samples `each_s` apart, each so slow."""
    clock = Clock()
    pace = Pace(monotonic=clock)
    for number, slow in enumerate(slowness, start=1):
        pace.note(Sample(number * each_s - slow * IDLE_S, number * each_s, CPU_S))
    clock.now_s = len(slowness) * each_s
    return pace, clock


def test_an_idle_machine_changes_nothing() -> None:
    pace, clock = paced(1.0, 0.7, 1.0)
    assert pace.now == pytest.approx(1.0)
    assert pace.worked_s(0, 30) == pytest.approx(30)
    deadline = pace.deadline(5.0)
    for later_s, over in ((2.5, False), (4.9, False), (5.1, True)):
        clock.now_s = 30 + later_s
        pace.note(Sample(clock.now_s - IDLE_S, clock.now_s, CPU_S))
        assert deadline.over is over


def test_work_is_time_divided_by_slowness() -> None:
    pace, _ = paced(1.0, 2.0, 4.0)
    assert pace.worked_s(0, 30) == pytest.approx(10 + 5 + 2.5)
    assert pace.worked_s(5, 15) == pytest.approx(5 + 2.5)
    assert pace.now == pytest.approx(4.0)


def test_a_bound_grows_five_times_at_most() -> None:
    pace, _ = paced(50.0, 50.0)
    assert pace.now == MOST
    assert pace.worked_s(0, 20) == pytest.approx(20 / MOST)
    assert pace.worked_s(0, 20, most=float("inf")) == pytest.approx(20 / 50)


@pytest.mark.parametrize(("slowness", "too_busy"), [(1.0, False), (4.9, False), (50.0, True)])
def test_a_deadline_that_is_over_says_whether_the_machine_may_be_to_blame(slowness: float, too_busy: bool) -> None:
    clock = Clock()
    pace = Pace(monotonic=clock)
    pace.note(Sample(0.0, IDLE_S, CPU_S))
    deadline = pace.deadline(10.0)
    while not deadline.over:
        clock.now_s += 1.0
        pace.note(Sample(clock.now_s - slowness * IDLE_S, clock.now_s, CPU_S))
    assert clock.now_s == pytest.approx(10 * min(slowness, MOST), abs=2)
    assert deadline.too_busy is too_busy


def test_a_machine_that_stands_still_counts_before_it_is_measured() -> None:
    pace, clock = paced(1.0)
    clock.now_s += 20
    assert pace.worked_s(10, clock.now_s) == pytest.approx(20 / MOST)
    assert pace.now == MOST
    pace.is_measured = False  # its probe has ended
    assert pace.worked_s(10, clock.now_s) == pytest.approx(20)


def test_a_pace_that_knows_nothing_believes_the_clock() -> None:
    pace = Pace()
    assert (pace.now, pace.worked_s(0, 7)) == (1.0, 7)
    assert pace.as_json()["samples"] == 0


def test_the_piece_of_work_is_measured(tmp_path: Path) -> None:
    sample = work(tmp_path / "pace")
    assert sample.until_s > sample.since_s
    assert sample.cpu_s > 0


HELD, FAILED = check("a", "claim", []), check("b", "claim", ["wrong"])
LATE = check("c", "claim", ["late"], too_busy=True)


@pytest.mark.parametrize(
    ("checks", "verdict", "code"),
    [
        ([HELD], Verdict.PASSED, 0),
        ([HELD, FAILED], Verdict.FAILED, 1),
        ([HELD, LATE], Verdict.TOO_BUSY, 75),
        ([HELD, LATE, FAILED], Verdict.FAILED, 1),  # too busy hides nothing
        ([], Verdict.FAILED, 1),
    ],
)
def test_too_busy_is_an_answer_of_its_own_and_never_hides_a_failure(
    checks: list[Check], verdict: Verdict, code: int
) -> None:
    found = report(*checks)
    assert (found.verdict, found.verdict.exit_code) == (verdict, code)
    assert found.passed is (verdict is Verdict.PASSED)
    assert found.as_json()["verdict"] == verdict.value


def test_a_check_that_holds_is_never_too_busy() -> None:
    assert not check("a", "claim", [], too_busy=True).too_busy


def test_a_slow_machine_stretches_what_the_services_may_take_and_no_quiet_window(tmp_path: Path) -> None:
    ports = {"api-a": 1, "api-b": 2, "verifier": 3, "controller": 4}
    pace, _ = paced(3.0, 3.0)
    slow = make_fleet({}, tmp_path, tmp_path, ports, pace)
    assert slow.controller._settings["CROSSFADE_GATE_API_P99_MS"] == "6000"
    assert slow.controller._settings["CROSSFADE_LEASE_S"] == "15"
    assert slow.apis[0]._settings["CROSSFADE_LEASE_S"] == "12"
    assert slow.controller._settings["CROSSFADE_GATE_QUIET_S"] == CONTROLLER["CROSSFADE_GATE_QUIET_S"]
    idle = make_fleet({}, tmp_path, tmp_path, ports, Pace())
    assert idle.controller._settings["CROSSFADE_LEASE_S"] == CONTROLLER["CROSSFADE_LEASE_S"]


def hurried(end_s: float = 0.3) -> Pace:
    """Return a pace by which bounds of a minute end at once."""
    pace = Pace()
    pace.deadline = lambda bound_s: Pace.deadline(pace, end_s)  # type: ignore[method-assign]
    return pace


async def test_a_process_that_ends_is_told_from_one_that_is_late(tmp_path: Path) -> None:
    ends = Service("ends", [sys.executable, "-c", "print('no')"], {}, tmp_path, Pace())
    await ends.start()
    with pytest.raises(ProcessFailed, match="ended before it was ready"):
        await ends.ready()
    late = Service("late", [sys.executable, "-c", "import time; time.sleep(60)"], {}, tmp_path, hurried())
    await late.start()
    with pytest.raises(Late, match="late is not ready after"):
        await late.ready()
    await late.kill()


async def test_what_a_tool_said_before_it_was_ended_is_kept() -> None:
    script = "import sys, time; print('waiting for: the halt to clear', file=sys.stderr, flush=True); time.sleep(60)"
    with pytest.raises(Late, match="waiting for: the halt to clear"):
        await run_tool([sys.executable, "-c", script], {}, hurried(3.0).deadline(3.0))


TXN = "01JDCK3V9Q2W8E5R7T9Y1A3B5C"


class Part:
    """Stands in for what a finished story has: traffic, fleet, traces, tables."""

    def __init__(self, balance: int) -> None:
        self.books = [Book(acknowledged=[Acknowledged(TXN, ("u1", "c1"), 5, 1, 1.0)])]
        self.balance = balance

    def left_s(self, _phase: str) -> float:
        return float("inf")

    reached_s: dict[str, float] = {}  # noqa: RUF012

    async def differences(self) -> list[str]:
        return ["a payment is gone"] if self.balance == 0 else []

    written, failed = 1, 0

    async def scan(self, table: str) -> AsyncIterator[dict[str, Any]]:
        if table == "wallet":
            yield {"pk": {"S": "USER#u1"}, "sk": {"S": "POINTS#c1"}, "balance": {"N": str(self.balance)}}

    async def stop(self) -> dict[str, int | None]:
        return {"controller": 0}

    def all(self) -> list[Any]:
        return []

    def flush(self) -> None:
        pass

    def picture(self, _path: Path) -> tuple[Check, dict[str, Any]]:
        return check("one_trace", "claim", ["none"]), {"trace_id": "", "file": "", "waterfall": []}


async def reported(tmp_path: Path, failure: Failure, balance: int) -> Report:
    view = View()
    story = Story(Options(), tmp_path, Screen(view, quiet=True), view)
    part: Any = Part(balance)
    story._traffic = story._fleet = story._traces = story._watch = story._store = part
    story._flag_file = tmp_path / "flags.json"
    FlagFile(story._flag_file).write(FlagDocument(), dual_write=False)
    story._marks = {"traffic": 0.0, "start": 0.5, "end": 1.5}

    async def keep_calls() -> None:
        return None

    story._keep_calls = keep_calls  # type: ignore[method-assign]
    return await story._report({("u1", "c1"): 100}, part, failure)


DATA = {"acknowledged_once", "feed_once_in_order", "payments_untouched", "no_downtime"}


@pytest.mark.parametrize("too_busy", [False, True])
async def test_every_check_of_data_runs_whatever_failed_before(tmp_path: Path, too_busy: bool) -> None:
    good = await reported(tmp_path, Failure("not in RAMPING", too_busy), 105)
    assert {each.name for each in good.checks} >= DATA
    assert all(each.passed for each in good.checks if each.name in DATA)
    assert good.verdict is (Verdict.TOO_BUSY if too_busy else Verdict.FAILED)


async def test_a_lost_write_is_a_failure_on_the_busiest_machine(tmp_path: Path) -> None:
    lost = await reported(tmp_path, Failure("not in RAMPING", too_busy=True), 100)
    assert {each.name for each in lost.checks if not each.passed and not each.too_busy} == {"acknowledged_once"}
    assert lost.verdict is Verdict.FAILED


async def test_a_check_that_can_not_be_made_fails_and_those_after_it_are_made(tmp_path: Path) -> None:
    view = View()
    story = Story(Options(), tmp_path, Screen(view, quiet=True), view)

    async def broken() -> Check:
        raise OSError("no answer")

    async def fine() -> Check:
        return HELD

    await story._try("acknowledged_once", broken())
    await story._try("a", fine())
    assert [(each.name, each.passed, each.too_busy) for each in story._checks] == [
        ("acknowledged_once", False, False),
        ("a", True, False),
    ]


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (StoryFailed("refused"), Failure("refused")),
        (OSError("no answer"), Failure("OSError: no answer")),
        (Late("late", Pace().deadline(-1.0)), Failure("late", too_busy=False)),
        (Late("late", Deadline(paced(50.0)[0], 1.0, 0.0)), Failure("late", too_busy=True)),
    ],
)
async def test_whatever_ends_the_migration_is_kept_and_the_checks_follow(
    tmp_path: Path, error: Exception, failure: Failure, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = View()
    story = Story(Options(), tmp_path, Screen(view, quiet=True), view)

    async def drive() -> None:
        raise error

    monkeypatch.setattr("crossfade_demo.story.BEFORE_S", 0.0)
    story._drive = drive  # type: ignore[method-assign]
    assert await story._migrate() == failure


class Replays:
    """An API that answers every call as a replay."""

    async def EarnPoints(self, *_: Any, **__: Any) -> Any:  # noqa: N802  # as the stub has it
        return pb.EarnPointsResponse(replayed=True, version=1)


async def test_a_first_call_that_is_called_a_replay_is_counted() -> None:
    client = Client(0, [Replays()], Random(3), Pace())
    await client.write(("u1", "c1"), 5)
    assert (client.book.first_replays, client.book.wrong, len(client.book.acknowledged)) == (1, [], 1)


class Slow(Pace):
    """A machine that is slow all the time."""

    now = 4.0


async def calls_begun(pace: Pace) -> int:
    traffic = Traffic(["127.0.0.1:9"], [("u1", "c1")], 200, 3, pace)
    calls: list[None] = []

    async def one() -> None:
        calls.append(None)

    traffic._one = one  # type: ignore[method-assign]
    traffic.start()
    await asyncio.sleep(0.5)
    await traffic.finish()
    return len(calls)


async def test_on_a_slow_machine_calls_start_by_a_slower_clock() -> None:
    """More would only pile up, and the demo would measure its own queue."""
    assert await calls_begun(Slow()) <= await calls_begun(Pace()) / 2
