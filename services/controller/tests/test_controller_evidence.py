"""Evidence: what can't be had is unknown, what stood still is dead, and a restart forgets nothing that matters."""

from typing import Any

import msgspec
import pytest

from controller_world import Town, run, settled
from crossfade.contracts.parity import (
    BucketReport,
    DifferenceReport,
    HandoverReport,
    ParityReport,
    PassReport,
    SafeReport,
    SideReport,
)
from crossfade.contracts.report import Report
from crossfade.core.migration.gates import waiting_for
from crossfade.core.migration.keyed import RAMPING_GATES
from crossfade.core.values.errors import UnknownDocument
from crossfade.core.values.shape import Side
from crossfade_controller.build import parity_of
from crossfade_controller.evidence import ReportWatch
from crossfade_controller.hooks import run_command

SHARD = "wallet-changes/shardId-000000000000"


def report(at_us: int, **more: object) -> Report:
    return Report("forward", SHARD, at_us, 10, 0, 0, {}).replace(**more)


def test_a_report_counts_only_once_it_was_seen_to_change_on_our_own_clock() -> None:
    watch = ReportWatch()
    assert watch.watch([report(10**18)], 100.0)[0].still_s is None  # from the future, by wall clocks: no matter
    assert watch.watch([report(10**18)], 105.0)[0].still_s is None
    assert watch.watch([report(5)], 106.0)[0].still_s == 0.0
    assert watch.watch([report(5)], 116.0)[0].still_s == 10.0


async def test_rule_12_a_silent_consumer_means_an_unknown_lag_which_is_shut() -> None:
    town = Town()
    ctx, driver = await settled(town, "start", exclude=[])
    assert ctx.observer.lag(Side.SOURCE).worst_s == 0.01
    town.silent_consumers = {"forward"}
    for _ in range(25):
        await town.live()
        await driver.tick()
    assert ctx.observer.lag(Side.SOURCE).worst_s is None
    assert "no live forward consumer" in waiting_for(ctx.seen().judge(RAMPING_GATES))


async def test_retention_is_watched_while_nobody_reads() -> None:
    """A dead consumer's records age on, although no living one has an unapplied record to report."""
    town = Town()
    ctx, driver = await settled(town, "start", exclude=[])
    town.silent_consumers = {"forward"}
    town.now_s += 150 * 3600
    for _ in range(25):
        await town.live()
        await driver.tick()
    evidence = ctx.evidence()
    assert evidence is not None
    assert ctx.observer.unread(ctx.state)["forward"].shards == 1
    assert evidence.oldest_unapplied_s / 3600 == pytest.approx(150, abs=1)
    assert "expires in 18.0 h" in waiting_for(ctx.seen().judge(RAMPING_GATES))


async def test_a_stray_is_remembered_when_its_consumer_and_the_controller_restart() -> None:
    town = Town()
    ctx, driver = await settled(town, "start", exclude=[])
    committed_us = town.now_us()
    await town.reports.put([report(town.now_us(), stray_last_us=committed_us)])
    town.now_s += 1
    await driver.tick()
    await town.live()  # its successor's report knows of none
    ctx, driver = await town.start()
    await driver.tick()
    evidence = ctx.evidence()
    assert evidence is not None
    assert evidence.strays.last_us == committed_us
    assert evidence.strays.age_s is not None
    assert evidence.strays.age_s <= 1.5
    assert "no_stray" in waiting_for(ctx.seen().judge(RAMPING_GATES))


async def test_pods_that_stay_behind_get_the_flags_once_more() -> None:
    """A controller that was replaced may overwrite the file late; nobody else would ever put it right."""
    town = Town()
    ctx, driver = await settled(town, "start", exclude=[])
    right = town.flags.current()
    await town.flags.publish(right.document._replace(share=7777), dual_write=False)
    for _ in range(30):
        await town.live()
        await driver.tick()
    assert town.flags.current() == right
    assert ctx.state.document == right.document


async def test_a_canary_that_cannot_write_counts_as_an_error() -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=100)
    table = town.tables[Side.TARGET]
    read = table.read

    async def unavailable(*_: object, **__: object) -> None:
        from crossfade.core.values.errors import StoreUnavailable

        raise StoreUnavailable("no answer")

    table.read = unavailable  # type: ignore[method-assign]  # the store fails for the canary alone
    await run(town, lambda: any("canary writes failed" in each.body["because"] for each in town.entries("halt")))
    table.read = read  # type: ignore[method-assign]


PASS = PassReport("7", "done", False, True, False, 0, 12.5, 20.0, 7.5, 40, {"equal": 40}, "")
COUNTS = {"in_flight": 3, "in_handover": 2, "stuck": 1, "diverged": 0, "held_out": 5}
PARITY = ParityReport(
    verdict="drift",
    reason="1 stuck",
    at_us="1764000000000000",
    sides={side.value: SideReport() for side in Side},
    buckets=BucketReport(1024, 0),
    verified=40,
    left_out=0,
    not_ours_in_target=4,
    differences={name: DifferenceReport(count) for name, count in COUNTS.items()},
    lags={},
    last_pass=PASS,
    last_clean_pass=PASS,
    last_clean_pass_age_s=12.5,
    running_pass=None,
    resting=None,
    in_handover=HandoverReport(keys=2, over_bound=0, bound_s=30.0),
    because=["drift: 1 stuck"],
    safe_to_cut_over=SafeReport(False, ["drift: 1 stuck"]),
)
ANSWER: dict[str, Any] = msgspec.json.decode(PARITY.to_text())


def test_the_verifiers_answer_is_read_and_only_what_blocks_is_drift() -> None:
    parity = parity_of(ANSWER)
    assert parity.drift == {"stuck": 1, "not_ours_in_target": 4}
    assert (parity.clean_pass_age_s, parity.clean_pass_began_s, parity.in_handover) == (12.5, 20.0, 2)
    assert parity_of({**ANSWER, "last_clean_pass": None}).clean_pass_age_s is None


def test_a_class_of_difference_that_a_newer_verifier_knows_blocks() -> None:
    newer = {**ANSWER["differences"], "torn": {"count": 2, "samples": []}, "seen": {"count": 0, "samples": []}}
    assert parity_of({**ANSWER, "differences": newer}).drift == {"stuck": 1, "not_ours_in_target": 4, "torn": 2}


@pytest.mark.parametrize("missing", ["differences", "last_clean_pass", "not_ours_in_target", "in_handover"])
def test_an_answer_of_another_shape_is_no_answer(missing: str) -> None:
    with pytest.raises(UnknownDocument, match=missing):
        parity_of({name: value for name, value in ANSWER.items() if name != missing})


async def test_a_hook_that_fails_hangs_or_does_not_exist_is_a_failure() -> None:
    assert await run_command(["sh", "-c", "echo done"], 5) == (0, "done")
    assert (await run_command(["sh", "-c", "echo no; exit 3"], 5)) == (3, "no")
    assert (await run_command(["/no/such/program"], 5))[0] == 127
    assert (await run_command(["sleep", "9"], 0.05))[0] == 124
