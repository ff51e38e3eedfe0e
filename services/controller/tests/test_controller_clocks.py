"""Clocks that are off, and clocks that jump: no proof depends on them, and what is wrong is named (ADR 0019)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from controller_world import Town, run, settled
from crossfade.contracts.report import Report
from crossfade.core.migration.gates import clock_skew, waiting_for
from crossfade.core.migration.keyed import RAMPING_GATES, STARTING_GATES
from crossfade.core.migration.phases import Phase
from crossfade.core.replication.change import decode_change
from crossfade.core.values.shape import Side
from crossfade_controller.status import status_of
from engagement_migration import MAPPING
from engagement_migration.samples import legacy_wallet

ANY_CLOCK: dict[str, Any] = {"gate_skew_s": 1e6}
"""With the gate wide open, to show that nothing else depends on the wall clock."""


def step(town: Town, name: str) -> dict[str, int]:
    """Return the evidence of a step."""
    return dict(next(each.body for each in town.entries("step") if each.body["step"] == name))


async def started_under_writes(town: Town, jump_s: float = 0.0) -> None:
    """Start a migration while clients create wallets, twice a second, for a minute already; jump after capture."""
    number, jumped = -1, False
    ctx, driver = await town.start()
    for tick in range(400):
        if tick == 120:
            number = await town.ask("start", exclude=[])
        if number >= 0 and town.outcome(number) is not None:
            break
        town.tables[Side.SOURCE].put(legacy_wallet(f"client-{tick}", "chan", 1))
        await town.live()
        await driver.tick()
        if not jumped and "capture" in ctx.state.done:
            town.ahead_s, jumped = town.ahead_s + jump_s, True
    else:
        raise AssertionError(f"{ctx.state.phase}: {driver.waiting_for}")
    await town.live()


async def test_section_d_1_5_s_ahead_the_proof_of_the_cutover_sees_an_owner_write() -> None:
    town = Town(sweep_page=200)  # the last pass takes less than the clock is off
    town.ahead_s = 1.5
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=10_000)
    read = town.aws.shard_iterator
    written: list[float] = []

    async def written_meanwhile(stream: str, shard_id: str, **position: object) -> str:
        """A pod that nobody heard of creates a key after the scan went past it."""
        if "at_s" in position and not written:
            written.append(town.now_s)
            town.tables[Side.SOURCE].put(legacy_wallet("late", "chan", 5))
        return await read(stream, shard_id, **position)  # type: ignore[arg-type]  # passed on as it came

    town.aws.shard_iterator = written_meanwhile  # type: ignore[method-assign]  # looks on, and passes on
    await settled(town, "cutover")
    assert written
    assert town.owners()[Side.SOURCE] == 0
    assert town.balances(Side.TARGET) == town.balances(Side.SOURCE)


@pytest.mark.parametrize("ahead_s", [-40.0, 40.0])
async def test_section_d_40_s_off_and_a_short_settling_every_row_is_in_the_snapshot_or_the_stream(
    ahead_s: float,
) -> None:
    town = Town(**ANY_CLOCK)
    town.ahead_s = ahead_s
    await started_under_writes(town)
    assert town.balances(Side.TARGET) == town.balances(Side.SOURCE)


@pytest.mark.parametrize("jump_s", [-600.0, 600.0])
async def test_section_d_a_step_neither_skips_nor_stalls_the_settling(jump_s: float) -> None:
    town = Town(settling_s=20, **ANY_CLOCK)
    await started_under_writes(town, jump_s)
    settled_us, flows_us = step(town, "settled")["moment_us"], step(town, "capture")["flows_us"]
    assert 20e6 <= settled_us - flows_us < 25e6
    assert step(town, "export")["at_s"] == settled_us // 1_000_000
    assert step(town, "export")["at_s"] * 1_000_000 > flows_us
    assert town.balances(Side.TARGET) == town.balances(Side.SOURCE)


async def test_the_settling_goes_on_over_a_restart_by_aws_s_clock() -> None:
    town = Town(settling_s=20, **ANY_CLOCK)
    await town.ask("start", exclude=[])
    await run(town, lambda: any(each.body["step"] == "capture" for each in town.entries("step")))
    flows_us = step(town, "capture")["flows_us"]
    town.now_s += 15  # nobody drives
    town.ahead_s = -600
    await run(town, lambda: any(each.body["step"] == "settled" for each in town.entries("step")))
    assert 20e6 <= step(town, "settled")["moment_us"] - flows_us < 22e6


@pytest.mark.parametrize("jump_s", [-600.0, 600.0])
async def test_section_d_a_step_after_the_move_does_not_make_an_older_clean_pass_count(jump_s: float) -> None:
    town = Town(**ANY_CLOCK)
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=10_000)
    town.parity = town.parity._replace(clean_pass_began_s=500.0)
    number = await town.ask("cutover")
    await run(town, lambda: any(each.body["step"] == "all-moved" for each in town.entries("step")))
    town.ahead_s += jump_s
    ctx, driver = await town.start()  # a restart in between makes no difference
    for _ in range(20):
        await town.live()
        await driver.tick()
    assert ctx.state.phase is Phase.CUT_OVER
    assert "no clean pass has begun and ended since" in driver.waiting_for
    town.parity = town.parity._replace(clean_pass_began_s=5.0)
    await driver.tick()
    await town.live()
    await driver.tick()
    assert town.entries("phase")[-1].body["to"] == "BAKING"
    await run(town, lambda: town.outcome(number) is not None)


@pytest.mark.parametrize("jump_s", [-600.0, 600.0])
async def test_section_d_a_step_neither_shortens_nor_lengthens_a_quiet_window(jump_s: float) -> None:
    town = Town(gate_quiet_s=20, **ANY_CLOCK)
    ctx, driver = await settled(town, "start", exclude=[])
    stray = Report("forward", "wallet-changes/other", 1, 0, 0, 0, {}, stray_last_us=town.now_us())
    await town.reports.put([stray])
    town.ahead_s += jump_s

    async def shut_after(ticks: int) -> bool:
        for _ in range(ticks):
            await town.live()
            await driver.tick()
        return "no_stray" in waiting_for(ctx.seen().judge(RAMPING_GATES))

    assert await shut_after(36), "18 of 20 s"
    assert not await shut_after(8), "22 of 20 s"


async def test_the_age_of_an_old_stray_is_known_again_at_once_after_a_restart() -> None:
    """By the commit times that its table has reached since: no new quiet window has to pass."""
    town = Town(gate_quiet_s=20)
    await settled(town, "start", exclude=[])
    committed_us = town.now_us() - 3_600_000_000
    known = Report("forward", "wallet-changes/a", 1, 0, 0, town.now_us(), {}, stray_last_us=committed_us)
    await town.reports.put([known])
    ctx, driver = await town.start()
    await town.live()
    await driver.tick()
    evidence = ctx.evidence()
    assert evidence is not None
    assert evidence.strays.age_s is not None
    assert evidence.strays.age_s >= 3_600
    assert "no_stray" not in waiting_for(ctx.seen().judge(RAMPING_GATES))


async def planned(town: Town) -> int:
    return await town.ask("start", exclude=[])


async def capturing(town: Town) -> int:
    number = await town.ask("start", exclude=[])
    await run(town, lambda: any(each.body["step"] == "capture" for each in town.entries("step")))
    return number


async def catching_up(town: Town) -> int:
    number = await town.ask("start", exclude=[])
    await run(town, lambda: town.entries("phase")[-1:] != [] and town.entries("phase")[-1].body["to"] == "CATCHING_UP")
    return number


async def dual_write(town: Town) -> int:
    await settled(town, "start", exclude=[])
    return await town.ask("ramp", share=100)


async def ramping(town: Town) -> int:
    await dual_write(town)
    await run(town, lambda: town.flags.current().document.share == 100)
    return await town.ask("cutover")


async def baking(town: Town) -> int:
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=100)
    await settled(town, "cutover")
    return await town.ask("complete", confirm="engagement", revoked=True)


@pytest.mark.parametrize("jump_s", [-600.0, 600.0])
@pytest.mark.parametrize("there", [planned, capturing, catching_up, dual_write, ramping, baking])
async def test_a_step_is_named_in_every_phase_holds_up_the_next_one_and_is_over_when_the_clock_is_right(
    there: Callable[[Town], Awaitable[int]], jump_s: float
) -> None:
    town = Town()
    number = await there(town)
    town.ahead_s = jump_s
    phases = len(town.entries("phase"))
    ctx, driver = await town.start()
    for _ in range(30):
        await town.live()
        await driver.tick()
    assert len(town.entries("phase")) == phases
    assert town.outcome(number) is None
    assert "clock_skew: the clock of" in driver.waiting_for
    named = status_of(ctx, driver.wait)["clock"]
    assert "599." in named or "600.0" in named
    assert ("ahead of AWS's" if jump_s > 0 else "behind AWS's") in named
    assert "NTP" in named
    town.ahead_s = 0.0
    await run(town, lambda: town.outcome(number) is not None)
    outcome = town.outcome(number)
    assert outcome is not None
    assert outcome["outcome"] == "done"


async def test_the_way_back_waits_for_no_clock() -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=5_000)
    town.ahead_s = 600.0
    number = await town.ask("rollback")
    await run(town, lambda: town.outcome(number) is not None)
    assert town.owners()[Side.TARGET] == 0


async def test_without_a_date_the_skew_is_unknown_and_shut() -> None:
    town = Town()
    town.dates = False
    await town.ask("start", exclude=[])
    ctx, driver = await town.start()
    for _ in range(5):
        await town.live()
        await driver.tick()
    assert ctx.state.phase is Phase.PLANNED
    assert "clock_skew: unknown" in driver.waiting_for
    assert ctx.seen().shut(*STARTING_GATES)
    assert not ctx.seen().judge([clock_skew])[0].open


async def test_the_entry_into_dual_write_says_since_when_writers_outside_the_protocol_are_strays() -> None:
    town = Town(**ANY_CLOCK)
    town.ahead_s = 600.0
    before_us = town.now_us()
    ctx, _ = await settled(town, "start", exclude=[])
    since_us = ctx.state.strays_since_us
    assert set(since_us) == {"source", "target"}
    assert all(before_us < each < town.now_us() for each in since_us.values())
    for side in Side:
        shape = MAPPING.shape(side)
        committed = {decode_change(each, shape.key).committed_us for each in town.tables[side].changes}
        assert since_us[side.value] in committed, "a commit time of that table"
    await settled(town, "ramp", share=5_000)
    await settled(town, "rollback")
    ctx, _ = await settled(town, "ramp", share=5_000)
    assert ctx.state.strays_since_us == since_us, "a rollback comes by again, and changes nothing"
