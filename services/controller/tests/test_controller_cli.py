"""The CLI: a dry run changes nothing, every answer is JSON if asked, exit codes say what happened."""

import asyncio
import json
import time
from typing import Any

import pytest

from controller_console import console_of
from controller_world import Town, run, settled
from crossfade.adapters.memory.control import ControlStore, MemoryJournal, MemoryStatusBoard
from crossfade.contracts.journal import Entry
from crossfade.core.migration.phases import Intent
from crossfade.core.values.errors import StoreUnavailable
from crossfade_controller.cli import arguments_of, main, parser
from crossfade_controller.commands import ask, status
from crossfade_controller.failing import DONE, REFUSED, SHUT, TIMEOUT
from crossfade_controller.plan_text import plan_text
from crossfade_controller.planning import check_plan
from crossfade_controller.render import status_text
from crossfade_controller.status import status_of


async def both_ways_town() -> Town:
    town = Town()
    ctx, driver = await settled(town, "start", exclude=[])
    await MemoryStatusBoard(town.store).put(status_of(ctx, driver.wait))
    return town


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])  # the controller's log comes before
    return found


async def test_without_execute_nothing_is_written_and_the_shut_gates_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    town = await both_ways_town()
    before = list(town.store.journal)
    code = await ask(console_of(town.store), Intent.RAMP, {"share": 100}, execute=False)
    told = answer(capsys)
    assert code == SHUT
    assert town.store.journal == before
    assert told["outcome"] == "dry run"
    assert {"quiet_window", "reverse_proven"} & {each["name"] for each in told["shut"]}


async def test_an_intent_of_the_wrong_phase_is_refused_before_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    store = ControlStore()
    assert await ask(console_of(store), Intent.CUTOVER, {}, execute=True) == REFUSED
    assert store.journal == []
    assert answer(capsys)["because"] == "cutover is not possible in PLANNED, only in: RAMPING, CUT_OVER, BAKING"


async def test_execute_appends_the_intent_and_wait_ends_with_its_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    town = await both_ways_town()
    number = len(town.store.journal) + 1

    async def controller() -> None:
        await run(town, lambda: town.outcome(number) is not None)

    code, _ = await asyncio.gather(
        ask(console_of(town.store), Intent.RAMP, {"share": 100}, execute=True, wait=True, timeout_s=20), controller()
    )
    assert code == DONE
    told = answer(capsys)
    assert (told["outcome"], told["because"]) == ("done", "1 %")
    assert town.flags.current().document.share == 100


async def test_wait_says_what_it_waits_for_and_ends_at_its_timeout(capsys: pytest.CaptureFixture[str]) -> None:
    town = await both_ways_town()
    code = await ask(console_of(town.store), Intent.RAMP, {"share": 1}, execute=True, wait=True, timeout_s=0.01)
    assert code == TIMEOUT
    told = capsys.readouterr()
    assert json.loads(told.out.splitlines()[-1])["because"] == "the controller to take it up"
    assert "waiting for: the controller to take it up" in told.err


async def test_status_is_json_with_64_bit_numbers_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    town = await both_ways_town()
    await town.journal().append("generation", {"counter": 2**60, "for": "a test"})
    ctx, driver = await town.start()
    await driver.tick()
    await MemoryStatusBoard(town.store).put(status_of(ctx, driver.wait))
    assert await status(console_of(town.store)) == DONE
    told = answer(capsys)
    assert told["generation_counter"] == str(2**60)
    assert told["document"]["target_gen"] == "0"
    assert told["phase"] == "BOTH_WAYS"
    for name in ("gates", "lag", "throughput_per_s", "percent_on_target", "eta_s", "in_handover", "waiting_for"):
        assert name in told
    assert "BOTH_WAYS" in status_text(told)
    assert "SHUT" in status_text(told)


async def test_status_without_a_controller_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert await status(console_of(ControlStore(), as_json=False)) == DONE
    assert "the controller may not be running" in capsys.readouterr().out


@pytest.mark.parametrize("ahead_s", [-600.0, 600.0])
async def test_a_status_is_old_when_it_stands_still_not_when_two_clocks_differ(
    capsys: pytest.CaptureFixture[str], ahead_s: float
) -> None:
    town = await both_ways_town()
    told = {**town.store.status, "at_us": int((time.time() + ahead_s) * 1e6)}
    town.store.status.update(told)

    async def tells() -> None:
        while True:
            await asyncio.sleep(0.05)
            town.store.status["at_us"] += 50_000

    telling = asyncio.create_task(tells())
    await status(console_of(town.store))
    assert not answer(capsys)["is_old"]
    telling.cancel()
    await status(console_of(town.store), patience_s=0.2)
    assert answer(capsys)["is_old"]


async def test_a_clock_that_is_off_is_said_in_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    town = await both_ways_town()
    town.ahead_s = 600.0
    ctx, driver = await town.start()
    await town.live()
    await driver.tick()
    told = status_of(ctx, driver.wait)
    assert "CLOCK: clock_skew: the clock of" in status_text(told)
    town.ahead_s = 0.0
    await town.live()
    await driver.tick()
    assert "CLOCK" not in status_text(status_of(ctx, driver.wait))


async def test_status_is_the_journals_when_the_controllers_is_behind(capsys: pytest.CaptureFixture[str]) -> None:
    town = await both_ways_town()
    await town.journal().append("phase", {"from": "BOTH_WAYS", "to": "RAMPING"})
    assert await status(console_of(town.store), patience_s=0.0) == DONE
    assert answer(capsys)["phase"] == "RAMPING"


async def test_status_tells_how_the_last_command_ended(capsys: pytest.CaptureFixture[str]) -> None:
    town = await both_ways_town()
    await status(console_of(town.store), patience_s=0.0)
    told = answer(capsys)
    assert told["last_outcome"]["verb"] == "start"
    assert "last command: start: done: dual writes are on" in status_text(told)


async def test_status_spells_a_running_command_as_it_was_typed() -> None:
    town = await both_ways_town()
    await town.journal().append("intent", {"verb": "ramp", "arguments": {"share": 1234}})
    ctx, driver = await town.start()
    await driver.tick()
    told = status_of(ctx, driver.wait)
    assert "requested: ramp 12.34 by " in status_text({**told, "last_outcome": None})


async def test_a_halt_says_how_it_ends_and_what_goes_through_meanwhile() -> None:
    town = await both_ways_town()
    ctx, driver = await town.start()
    text = status_text({**status_of(ctx, driver.wait), "halted": "2 diverged"})
    assert "HALTED: 2 diverged\n" in text
    assert "clears automatically" in text
    assert "a lower share and a rollback are carried out anyway" in text


async def halted_town() -> Town:
    town = Town()
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=5_000)
    town.parity = town.parity._replace(drift={"diverged": 2})
    ctx, driver = await run(town, lambda: bool(town.entries("halt")))
    await MemoryStatusBoard(town.store).put(status_of(ctx, driver.wait))
    return town


async def test_a_dry_run_says_that_a_halt_holds_up_a_raise_and_does_not_hold_up_the_way_down(
    capsys: pytest.CaptureFixture[str],
) -> None:
    town = await halted_town()
    assert await ask(console_of(town.store), Intent.RAMP, {"share": 6_000}, execute=False) == SHUT
    assert answer(capsys)["shut"][0]["name"] == "halted"
    assert await ask(console_of(town.store), Intent.RAMP, {"share": 1_000}, execute=False) == DONE
    assert answer(capsys)["shut"] == []


async def test_a_wait_says_that_it_waits_for_the_halt_to_clear(capsys: pytest.CaptureFixture[str]) -> None:
    town = await halted_town()
    number = len(town.store.journal) + 1
    console = console_of(town.store, as_json=False)

    async def controller() -> None:
        until_s = town.now_s + 2
        ctx, driver = await run(town, lambda: town.now_s > until_s and town.outcome(number) is None)
        await MemoryStatusBoard(town.store).put(status_of(ctx, driver.wait))

    code, _ = await asyncio.gather(
        ask(console, Intent.RAMP, {"share": 6_000}, execute=True, wait=True, timeout_s=1.0), controller()
    )
    told = capsys.readouterr()
    assert code == TIMEOUT
    assert "waiting for: the halt to clear: " in told.err
    assert "not done within 1 s" in told.err.splitlines()[-1]
    assert "2 diverged" in told.err.splitlines()[-1]


@pytest.mark.parametrize("as_json", [False, True])
async def test_the_reason_of_a_refusal_is_on_stderr_and_in_the_json(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    town = await both_ways_town()
    console = console_of(town.store, as_json=as_json)
    assert await ask(console, Intent.CUTOVER, {}, execute=True) == REFUSED
    told = capsys.readouterr()
    assert "cutover is not possible in BOTH_WAYS" in told.err
    lines = [line for line in told.out.splitlines() if "cutover" in line]
    assert len(lines) == as_json
    if as_json:
        assert json.loads(lines[0])["because"] in told.err


async def test_the_reason_of_an_intent_refused_by_the_controller_is_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    town = Town(bucket="")
    number = 1

    async def controller() -> None:
        await run(town, lambda: town.outcome(number) is not None)

    console = console_of(town.store, as_json=False)
    code, _ = await asyncio.gather(
        ask(console, Intent.START, {"exclude": []}, execute=True, wait=True, timeout_s=20), controller()
    )
    assert code == REFUSED
    assert "CROSSFADE_BUCKET" in capsys.readouterr().err.splitlines()[-1]


class Faltering(MemoryJournal):
    """A journal whose reads fail for a while, as they do beside a full disk or a throttled table."""

    failures = 0

    async def entries(self, *, after: int = 0) -> list[Entry]:
        if self.failures and after:
            self.failures -= 1
            raise StoreUnavailable("no answer within 2 s")
        return await super().entries(after=after)


async def test_a_wait_outlasts_a_store_that_does_not_answer_for_a_moment(capsys: pytest.CaptureFixture[str]) -> None:
    town = await both_ways_town()
    number = len(town.store.journal) + 1
    journal = Faltering(town.store, who="ann")
    journal.failures = 2
    console = console_of(town.store, as_json=False)._replace(journal=journal)

    async def controller() -> None:
        await run(town, lambda: town.outcome(number) is not None)

    code, _ = await asyncio.gather(
        ask(console, Intent.RAMP, {"share": 100}, execute=True, wait=True, timeout_s=20), controller()
    )
    assert code == DONE
    assert "waiting for: an answer: no answer within 2 s" in capsys.readouterr().err


async def test_complete_tells_beforehand_that_the_api_must_lose_its_right(capsys: pytest.CaptureFixture[str]) -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=10_000)
    await settled(town, "cutover")
    for revoked, said in ((False, True), (True, False)):
        arguments = {"confirm": "engagement", "revoked": revoked}
        await ask(console_of(town.store, as_json=False), Intent.COMPLETE, arguments, execute=False)
        assert ("CROSSFADE_REVOKE_COMMAND" in capsys.readouterr().out) is said


async def test_a_wait_for_a_controller_that_tells_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    town = await both_ways_town()
    console = console_of(town.store)
    code = await ask(console, Intent.RAMP, {"share": 1}, execute=True, wait=True, timeout_s=0.2, deaf_s=0.05)
    assert code == TIMEOUT
    assert "is it running?" in answer(capsys)["because"]


@pytest.mark.parametrize("text", ["0", "-5", "nan", "many", "1e12"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SystemExit) as refusal:
        parser().parse_args(["plan", "--writes-per-s", text])
    assert refusal.value.code == 2


async def test_figures_of_a_plan_have_no_exponents() -> None:
    plan = await check_plan((await Town().start())[0].world, writes_per_s=1_000_000)
    text = plan_text(plan)
    assert "2,000,000 units/s" in text
    assert "e+" not in text
    assert "e-" not in "".join(line for line in text.splitlines() if "$" in line)


async def test_complete_is_refused_without_the_name_in_writing(capsys: pytest.CaptureFixture[str]) -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=10_000)
    await settled(town, "cutover")
    assert await ask(console_of(town.store), Intent.COMPLETE, {"confirm": ""}, execute=True) == REFUSED
    assert "--confirm engagement" in answer(capsys)["because"]


@pytest.mark.parametrize(("text", "share"), [("1", 100), ("0.01", 1), ("100", 10_000), ("12.34", 1234), ("0", 0)])
def test_a_percentage_becomes_basis_points_exactly(text: str, share: int) -> None:
    assert arguments_of(parser().parse_args(["ramp", text])) == {"share": share}


@pytest.mark.parametrize("text", ["101", "-1", "0.001", "half", "nan"])
def test_a_percentage_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SystemExit) as refusal:
        parser().parse_args(["ramp", text])
    assert refusal.value.code == 2


def test_help_teaches_the_whole_way_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for word in ("plan", "start", "status", "pause", "resume", "ramp", "cutover", "rollback", "complete", "abort"):
        assert f"crossfade {word}" in text or f"    {word} " in text
    assert "exit codes" in text
    assert "--execute" in text
