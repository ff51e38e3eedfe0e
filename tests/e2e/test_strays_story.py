"""Writers outside the protocol, from before the first percent to the way back (issue of the strays, ADR 0016 and 0017).

Real services, the operator's own tools, and plain writers whose own books say what they were told was written. Whatever
they were told must be in the rows at the end, or in a letter that names it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from crossfade_demo.book import Wallet
from crossfade_demo.store import SOURCE, TARGET
from migration_world import Ran
from strays_world import BALANCE, World, world

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]

RUNBOOK = Path(__file__).parents[2] / "deploy/runbooks/stray-writes.md"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("strays"), moves_per_s=25) as made:
        yield made


LETTER = re.compile(r"\S+/stray:\S+")
"""How the runbook names a letter, by example."""

NOTHING_TO_REPAIR = 4
"""Exit code of a plan with no step that writes."""


def runbook_commands() -> list[str]:
    """Return the commands of the runbook's steps, as an operator would paste them."""
    return re.findall(r"^ {4,}((?:crossfade|replicator|curl) .*)$", RUNBOOK.read_text(), flags=re.MULTILINE)


def strays(status: dict[str, Any]) -> dict[str, Any]:
    return status.get("strays") or {"waiting": 0, "named": []}


def shut(status: dict[str, Any], gate: str) -> str:
    """Return why a gate is shut; empty when it is open or not before what comes next."""
    return next((each["because"] for each in status.get("gates", []) if each["name"] == gate and not each["open"]), "")


async def letters(running: World) -> list[dict[str, Any]]:
    """List the letters about strays as the runbook does."""
    assert "replicator dead-letters list" in " ".join(runbook_commands())
    listed: Ran = await running.run("replicator", "dead-letters", "list", "--json", "--reveal")
    assert listed.code == 0, listed
    return [each for each in listed.said if each["code"] in {"stray", "diverged"}]


def change_of(letter: dict[str, Any]) -> tuple[Wallet, int]:
    """Return whose points a stray's letter is about, and by how many it changed them."""
    record = json.loads(letter["payload"])["dynamodb"]
    ((pk,), (sk,)) = (record["Keys"][name].values() for name in ("pk", "sk"))
    (name,) = {BALANCE[SOURCE], BALANCE[TARGET]} & record["NewImage"].keys()
    points = int(record["NewImage"][name]["N"]) - int(record["OldImage"][name]["N"])
    return (pk.removeprefix("USER#"), sk.removeprefix("POINTS#")), points


async def rows_are_right(running: World, table: str, listed: Counter[Wallet]) -> None:
    """Compare the owning table with all books: a row may lack only what letters name."""
    found = {wallet: points for wallet, (points, _) in (await running.balances(table)).items()}
    expected = running.expected()
    wrong = {
        wallet: (found.get(wallet), points, listed[wallet])
        for wallet, points in expected.items()
        if found.get(wallet, 0) != points - listed[wallet]
    }
    assert not wrong, f"wallet: (row, books, in letters): {wrong}"


async def idle(running: World) -> None:
    """Let the clients of the API end what they have begun, so that books and rows can be compared."""
    await running.pause_traffic()


async def test_plain_writers_are_normal_before_dual_write_and_seen_before_the_first_percent(running: World) -> None:
    writer = running.plain_writer(SOURCE)
    writer.start()
    early = await running.until("told its strays", lambda status: status.get("strays") is not None)
    assert not strays(early)["watched"]
    assert not strays(early)["named"]
    started = await running.crossfade("start")
    assert started.code == 0, started
    seen = await running.until("naming a stray", lambda status: bool(strays(status)["named"]))
    assert seen["phase"] == "BOTH_WAYS"
    assert shut(seen, "no_stray")
    first = strays(seen)["named"][0]
    assert first["table"] == SOURCE
    assert first["cure"]
    refused = await running.run("crossfade", "ramp", "1", "--json")  # a dry run says what is in its way
    assert refused.code == 4, refused
    assert "no_stray" in refused.out
    ramp = asyncio.create_task(running.crossfade("ramp", "1"))
    await running.until("waiting for the strays to end", lambda status: "no_stray" in status["waiting_for"])
    assert (await running.status())["phase"] == "BOTH_WAYS"
    await writer.finish()
    done = await ramp
    assert done.code == 0, done
    assert writer.writes > 0
    assert strays(await running.status())["waiting"] == 0, (
        "what was written on an owner was carried over and is settled"
    )


async def test_strays_that_begin_in_cut_over_stop_the_sweeper_and_the_way_back_loses_nothing(running: World) -> None:
    assert (await running.crossfade("ramp", "50")).code == 0
    writer = running.plain_writer(SOURCE, per_s=15)
    assert (await running.crossfade("cutover", wait=False)).code == 0
    await running.phase("CUT_OVER")
    writer.start()
    halted = await running.until("halted by strays", lambda status: "no_stray" in status["halted"])
    assert halted["phase"] == "CUT_OVER"
    held = await running.until("naming standby strays", lambda status: bool(strays(status)["waiting"]))
    assert {each["table"] for each in strays(held)["named"]} == {SOURCE}
    moved = held["percent_on_target"]
    await writer.wrote(20)  # an idle machine comes here within a second; the way back must find more than a few
    back = asyncio.create_task(running.crossfade("rollback"))
    await running.phase("ROLLED_BACK")
    await writer.finish()
    waiting = await running.until(
        "the way back waits for decisions", lambda status: "decision" in status["waiting_for"]
    )
    assert waiting["phase"] == "ROLLED_BACK"
    assert not back.done(), moved
    await follow_runbook(running)
    done = await back
    assert done.code == 0, done
    await idle(running)
    await rows_are_right(running, SOURCE, Counter())
    running.resume_traffic()


async def follow_runbook(running: World) -> None:
    """Paste the runbook's commands one after the other, the letters' names in the place of the example's.

    The last resort, to discard what can't be merged, is left out: no letter may need it.
    """
    # Letters of code `diverged` leave when the rows agree; strays are a person's.
    names = [each["name"] for each in await letters(running) if each["code"] == "stray" and not each["settled"]]
    assert names, "nothing waits for a decision"
    done, plan = [], ""
    for command in runbook_commands():
        if "discard" in command or command.startswith("crossfade rollback"):
            continue
        if "repair execute" in command and not plan:
            continue  # no key differs any more
        line = command.replace("$VERIFIER", running.verifier).replace("PLAN", plan)
        ran = await running.shell(LETTER.sub(" ".join(names), line))
        if "repair plan" in command and ran.code == NOTHING_TO_REPAIR:
            continue
        assert ran.code == 0, (command, ran)
        planned = re.match(r"repair (\w+): planned", ran.out)
        plan = planned[1] if planned else plan
        done.append(command)
    assert "dead-letters merge" in "".join(done)
    left = [each for each in await letters(running) if each["code"] == "stray" and not each["settled"]]
    assert not left, f"the runbook left {len(left)} letters: {left[:2]}"


async def test_strays_in_baking_shut_complete_and_what_is_discarded_is_listed(running: World) -> None:
    for command in (("ramp", "100"), ("cutover",)):
        ran = await running.crossfade(*command)
        assert ran.code == 0, ran
    await running.phase("BAKING")
    on_owner = running.plain_writer(TARGET)
    on_standby = running.plain_writer(SOURCE)
    for wallet in running.wallets[:40]:
        await on_owner.write(wallet, 1)
        await on_standby.write(wallet, 2)  # another amount: what equals its owner is taken for a repair
    await running.until("forty letters", lambda status: strays(status)["waiting"] == 40)
    refused = await running.run(
        "crossfade",
        "complete",
        "--confirm",
        "engagement",
        "--revoked",
        "--execute",
        "--wait",
        "--timeout",
        "8",
        "--json",
    )
    assert refused.code != 0, refused
    assert "a decision about 40 writes" in refused.out
    wrong_number = await running.crossfade("rollback", "--discard-diverged", "39")
    assert wrong_number.code != 0, wrong_number
    named = [each for each in await letters(running) if not each["settled"]]
    listed = Counter[Wallet]()
    for wallet, points in map(change_of, named):
        listed[wallet] += points
    assert listed == Counter(on_standby.book)
    done = await running.crossfade("rollback", "--discard-diverged", "40")
    assert done.code == 0, done
    await idle(running)
    await rows_are_right(running, SOURCE, listed)
    assert not [each for each in await letters(running) if not each["settled"]]
