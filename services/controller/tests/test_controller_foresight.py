"""Status, dry runs and the driver read one answer: the state machine's (ADR 0030)."""

import json
from typing import Any

import msgspec
import pytest

from controller_console import console_of
from controller_world import Town, run, settled, to_ramping
from crossfade.adapters.memory.control import MemoryStatusBoard
from crossfade.contracts.status import Status
from crossfade.core.migration.phases import Intent
from crossfade_controller.commands import ask
from crossfade_controller.failing import DONE, SHUT
from crossfade_controller.status import status_of


async def told(town: Town, ticks: int = 3) -> dict[str, Any]:
    """The controller's status, after it has looked around."""
    ctx, driver = await town.start()
    for _ in range(ticks):
        await town.live()
        await driver.tick()
    body = status_of(ctx, driver.wait)
    await MemoryStatusBoard(town.store).put(body)
    return body


async def dry(
    town: Town, capsys: pytest.CaptureFixture[str], intent: Intent, **arguments: Any
) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = await ask(console_of(town.store), intent, arguments, execute=False)
    body: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, body


async def test_status_tells_what_is_waited_for_as_gate_reason_and_cure() -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    body = await told(town)
    assert body["wait"] == {"gate": "command", "reason": "crossfade ramp PERCENT", "cure": ""}
    town.silent_consumers.add("forward")
    await town.ask("ramp", share=100)
    body = await told(town, 12)
    assert body["wait"]["gate"] == "forward_lag"
    assert "no live forward consumer" in body["wait"]["reason"]
    assert "runbook replication-lag" in body["wait"]["cure"]
    assert body["waiting_for"].startswith(f"forward_lag: {body['wait']['reason']} ({body['wait']['cure']})")
    msgspec.convert(body, Status)


async def test_a_dry_run_names_the_acts_that_the_controller_then_does(capsys: pytest.CaptureFixture[str]) -> None:
    town = Town()
    await to_ramping(town)
    await settled(town, "cutover")
    await told(town, 12)
    code, body = await dry(town, capsys, Intent.COMPLETE, confirm="engagement", revoked=True)
    assert (code, body["shut"]) == (DONE, [])
    steps = [each.rpartition(" ")[2] for each in body["next"] if each.startswith("finish ")]
    number = len(town.store.journal) + 1
    assert steps == [f"read-past-{number}", f"swept-{number}", "at-final"]
    assert await town.ask("complete", confirm="engagement", revoked=True) == number
    await run(town, lambda: town.outcome(number) is not None)
    did = [each.body["step"] for each in town.entries("step") if each.number > number]
    assert did[:3] == steps


async def test_a_dry_run_waits_at_what_the_controller_waits_at(capsys: pytest.CaptureFixture[str]) -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    town.silent_consumers.add("reverse")
    await told(town, 12)
    code, body = await dry(town, capsys, Intent.RAMP, share=100)
    assert code == SHUT
    await town.ask("ramp", share=100)
    ctx, driver = await town.start()
    for _ in range(12):
        await town.live()
        await driver.tick()
    assert ctx.state.phase.value == "BOTH_WAYS"
    assert body["wait"]["gate"] == driver.wait.gate
    assert [each["name"] for each in body["shut"]] == [each.name for each in driver.wait.shut]


async def test_a_dry_run_knows_a_pause(capsys: pytest.CaptureFixture[str]) -> None:
    town = Town()
    await to_ramping(town)
    await settled(town, "pause")
    await told(town)
    code, body = await dry(town, capsys, Intent.RAMP, share=6_000)
    assert (code, body["wait"]["gate"], body["next"]) == (DONE, "paused", [])
    assert "rollback is waiting for that, too" in (await dry(town, capsys, Intent.ROLLBACK))[1]["wait"]["reason"]


async def test_a_dry_run_of_complete_says_that_it_would_be_refused_for_the_keys_that_stay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    town = Town()
    await to_ramping(town)
    await settled(town, "cutover")
    await told(town, 12)
    arguments = {"confirm": "engagement", "revoked": True, "leave_behind": 2}
    await ask(console_of(town.store, as_json=False), Intent.COMPLETE, arguments, execute=False)
    assert "would be refused: --leave-behind says 2, but all keys are in the target table" in capsys.readouterr().out


async def test_a_gate_that_status_does_not_tell_is_unknown_in_a_dry_run_and_holds_it_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    town = Town()
    await to_ramping(town)
    body = await told(town, 12)
    assert (await dry(town, capsys, Intent.RAMP, share=5000))[0] == DONE
    body["gates"] = [each for each in body["gates"] if each["name"] != "heartbeats"]
    await MemoryStatusBoard(town.store).put(body)
    code, body = await dry(town, capsys, Intent.RAMP, share=5000)
    assert (code, [each["name"] for each in body["shut"]]) == (SHUT, ["heartbeats"])
    assert "unknown" in body["shut"][0]["because"]


async def test_a_dry_run_before_any_status_knows_of_no_gate_that_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    code, body = await dry(Town(), capsys, Intent.START)
    assert (code, [each["name"] for each in body["shut"]]) == (SHUT, ["evidence"])
