"""What the CLI answers: one schema of the status in each phase, its age, the journal, failures as one object."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller_console import console_of
from controller_world import Town, settled
from crossfade.adapters.memory.control import ControlStore, MemoryStatusBoard
from crossfade.contracts.status import Status, schema
from crossfade.core.migration.cures import CURES
from crossfade.core.migration.gates import (
    GateResult,
    waiting_for,
)
from crossfade.core.migration.keyed import KEYED_PHASES
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.values.errors import ConfigError, StateMissing, StoreUnavailable
from crossfade_controller.cli import main, parser
from crossfade_controller.commands import ask, journal, status
from crossfade_controller.failing import DONE, INTERRUPTED, failed
from crossfade_controller.journaling import since_of
from crossfade_controller.plan_text import plan_text
from crossfade_controller.planning import check_plan
from crossfade_controller.render import status_text
from crossfade_controller.status import status_of

RUNBOOKS = Path(__file__).parents[3] / "deploy/runbooks"


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


# The schema.


async def test_the_status_fits_its_one_schema_in_each_phase(capsys: pytest.CaptureFixture[str]) -> None:
    town, seen = Town(), set()
    ctx, driver = await town.start()
    way: list[tuple[str, dict[str, Any]]] = [
        ("start", {"exclude": []}),
        ("ramp", {"share": 5_000}),
        ("rollback", {}),
        ("ramp", {"share": 10_000}),
        ("cutover", {}),
        ("complete", {"confirm": "engagement", "revoked": True}),
    ]
    for verb, arguments in way:
        number = await town.ask(verb, **arguments)
        for _ in range(400):
            await town.live()
            await driver.tick()
            told = status_of(ctx, driver.wait)
            msgspec.convert(json.loads(msgspec.json.encode(told)), Status)
            if ctx.state.phase not in seen:
                seen.add(ctx.state.phase)
                await MemoryStatusBoard(town.store).put({**told, "driver": "pod"})
                capsys.readouterr()
                await status(console_of(town.store), patience_s=0.0)
                msgspec.convert(printed(capsys), Status)
            if town.outcome(number) is not None:
                break
    assert seen >= set(Phase) - {Phase.ABORTED, Phase.PLANNED, Phase.CAPTURING}, "those pass within a tick"


async def test_the_status_without_a_controller_fits_the_schema_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert await status(console_of(ControlStore())) == DONE
    told = printed(capsys)
    assert msgspec.convert(told, Status).age_s is None
    assert told["is_old"]


def test_a_field_that_the_schema_does_not_know_is_found() -> None:
    with pytest.raises(msgspec.ValidationError, match="surprise"):
        msgspec.convert({"migration": "m", "phase": "PLANNED", "waiting_for": "", "surprise": 1}, Status)


def test_the_schema_is_printed_for_whoever_reads_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


# Its age.


async def test_a_status_tells_how_old_the_controllers_word_is(capsys: pytest.CaptureFixture[str]) -> None:
    town = Town()
    ctx, driver = await town.start()
    told = {**status_of(ctx, driver.wait), "driver": "pod-7"}
    for age_s, says in ((4.0, r"reported 4\.\d s ago by pod-7"), (4_000.0, r"is OLD, pod-7 reported it 4,00\d s ago")):
        await MemoryStatusBoard(town.store).put({**told, "at_us": int((time.time() - age_s) * 1e6)})
        assert await status(console_of(town.store), patience_s=0.0) == DONE
        body = printed(capsys)
        assert age_s <= body["age_s"] < age_s + 5
        assert re.search(says, status_text(body))


# The journal.


async def test_the_journal_tells_who_asked_what_and_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    capsys.readouterr()
    assert await journal(console_of(town.store, as_json=False), (0, 0)) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(town.store.journal)
    assert any("start" in line and "[ann]" in line for line in lines)
    assert any("SNAPSHOT -> CATCHING_UP" in line for line in lines)
    assert any("outcome" in line and "start: done: dual writes are on" in line for line in lines)


async def test_the_journal_begins_where_it_is_told_to_and_json_keeps_every_field(
    capsys: pytest.CaptureFixture[str],
) -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    capsys.readouterr()
    last = len(town.store.journal)
    await journal(console_of(town.store), (last - 2, 0))
    told = printed(capsys)
    assert [each["number"] for each in told["entries"]] == [last - 2, last - 1, last]
    assert {"v", "number", "kind", "at_us", "who", "code", "body"} == told["entries"][0].keys()
    middle_us = town.store.journal[last // 2].at_us
    await journal(console_of(town.store), (0, middle_us))
    assert [each["at_us"] >= middle_us for each in printed(capsys)["entries"]].count(False) == 0


NOW_US = 1_795_900_000_000_000


def test_since_is_an_entry_a_duration_or_a_time() -> None:
    assert since_of("120", NOW_US) == (120, 0)
    assert since_of("2h", NOW_US) == (0, NOW_US - 7_200_000_000)
    assert since_of("2026-11-28T09:00", NOW_US) == (0, 1_795_856_400_000_000)
    with pytest.raises(SystemExit):
        parser().parse_args(["journal", "--since", "yesterday"])


# Failures.


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (StoreUnavailable("no answer"), "store_unavailable", 1),
        (ConfigError("CROSSFADE_X: unknown"), "config", 2),
        (StateMissing("a control table is gone"), "state_missing", 3),
        (ValueError("a fault of ours"), "internal", 1),
    ],
)
def test_each_failure_is_one_object_with_error_code_and_cure(
    error: Exception, code: str, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failed(error, "status", as_json=True) == exit_code
    told = capsys.readouterr()
    (line,) = told.out.splitlines()
    body = json.loads(line)
    assert (body["command"], body["code"], body["exit_code"]) == ("status", code, exit_code)
    assert str(error) in body["error"]
    assert body["cure"]
    assert str(error) in told.err
    assert failed(error, "status", as_json=False) == exit_code
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "line",
    [["ramp", "150", "--json"], ["--json", "fly"], ["journal", "--since", "x", "--json"], ["start", "--json", "-x"]],
)
def test_a_wrong_command_line_is_an_object_too(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(line)
    assert refusal.value.code == 2
    body = json.loads(capsys.readouterr().out)
    assert body["code"] == "usage"
    assert body["error"]
    assert "--help" in body["cure"]


def test_settings_that_are_wrong_are_an_object_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSFADE_GATE_LAG_S", "soon")
    assert main(["status", "--json"]) == 2
    body = json.loads(capsys.readouterr().out)
    assert body["code"] == "config"
    assert "CROSSFADE_GATE_LAG_S" in body["error"]


async def test_a_refused_command_and_a_timeout_carry_error_code_and_cure(capsys: pytest.CaptureFixture[str]) -> None:
    store = ControlStore()
    assert await ask(console_of(store), Intent.CUTOVER, {}, execute=True) == 3
    body = printed(capsys)
    assert (body["code"], body["exit_code"], body["outcome"]) == ("refused", 3, "refused")
    assert "cutover is not possible in PLANNED" in body["error"]
    assert body["cure"]


async def test_ctrl_c_on_a_wait_says_that_the_command_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    town = Town()
    waiting = asyncio.create_task(ask(console_of(town.store), Intent.START, {"exclude": []}, execute=True, wait=True))
    await asyncio.sleep(0.2)  # the first look is over
    assert len(town.store.journal) == 1
    waiting.cancel()  # what asyncio.run does at SIGINT
    assert await waiting == INTERRUPTED
    told = capsys.readouterr()
    assert "start continues without this terminal, as entry 1" in told.err
    assert "crossfade withdraw 1 --execute" in told.err
    body = json.loads(told.out)
    assert (body["code"], body["exit_code"], body["entry"]) == ("interrupted", 130, 1)


# Gates.


def test_every_gate_and_every_check_of_the_plan_has_a_cure_and_its_runbook_is_there() -> None:
    gates = KEYED_PHASES.all_gates()
    assert {gate.__name__ for gate in gates} <= CURES.keys()
    for cure in CURES.values():
        for name in re.findall(r"runbook ([a-z-]+)", cure):
            assert (RUNBOOKS / f"{name}.md").is_file(), name


async def test_each_check_of_a_plan_knows_its_cure_and_shows_it_when_it_does_not_hold() -> None:
    plan = await check_plan((await Town(verifier_url="", bucket="").start())[0].world)
    telling = {"generations", "shared_rows", "whole_numbers"}
    assert {each.name for each in plan.checks} - telling <= CURES.keys()
    text = plan_text(plan)
    assert CURES["verifier"] in text
    assert CURES["bucket"] in text


def test_a_shut_gate_says_its_cure_wherever_it_is_said() -> None:
    shut = GateResult("forward_lag", False, 9.0, 5.0, "9.0 s behind")
    assert waiting_for([shut]) == f"forward_lag: 9.0 s behind ({CURES['forward_lag']})"
    assert shut.as_json()["cure"] == CURES["forward_lag"]
    assert GateResult("forward_lag", True, 1.0, 5.0, "1.0 s behind").as_json()["cure"] == ""


async def test_the_status_shows_the_cure_below_a_shut_gate() -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    town.parity = town.parity._replace(reachable=False, detail="connection refused")
    ctx, driver = await town.start()
    await town.live()
    await driver.tick()
    text = status_text(status_of(ctx, driver.wait))
    assert f"SHUT clean_pass: the verifier doesn't answer: connection refused\n         {CURES['clean_pass']}" in text
