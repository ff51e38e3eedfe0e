"""Values of customers: marked, and revealed only to operators, once the journal has it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from crossfade.core.values.shape import Side
from crossfade.runtime.access import ByCertificate
from crossfade.runtime.http import Answer, Door, Request
from crossfade.runtime.masking import mark_of
from crossfade.runtime.roles import Certificates
from crossfade_verifier.masking import shown
from verifier_service import Running
from verifier_world import World, wallet

KEY = wallet(2)
SECRET = "4711.815"
PATH = f"/keys/{quote(KEY.decode(), safe='')}"


def service() -> Running:
    world = World(4)
    world.put(Side.TARGET, KEY, points=SECRET)
    return Running(world)


async def asked(running: Running, who: str, query: str = "reveal=true") -> Answer:
    """Ask by TLS: ann is an operator, everybody else a viewer."""
    door = Door(running.door.routes, access=ByCertificate(Certificates(frozenset({"ann"}), tls=True)))
    return await door.answer(Request("GET", PATH, {"host": "localhost"}, who=who, query=query))


def reveals(running: Running) -> list[dict[str, Any]]:
    return [dict(each.body) for each in running.store.journal if each.kind == "reveal"]


async def test_an_operator_sees_the_values_and_the_journal_has_who_saw_which_keys() -> None:
    async with service()() as running:
        masked = json.loads((await asked(running, "ann", "")).body)
        assert masked["masked"]
        assert SECRET not in json.dumps(masked)
        assert reveals(running) == []
        told = json.loads((await asked(running, "ann")).body)
    assert not told["masked"]
    (points,) = [each for each in told["attributes"] if each["name"] == "balance"]
    assert points["target"]["value"] == SECRET
    assert points["target"]["mark"] != points["source"]["mark"]
    assert reveals(running) == [{"key": KEY.decode(), "who": "ann"}]


async def test_a_viewer_is_refused_and_nothing_is_journaled() -> None:
    async with service()() as running:
        answer = await asked(running, "bob")
        assert (answer.status, SECRET in answer.body.decode()) == (403, False)
        assert b"revealing values needs the role operator; bob is a viewer" in answer.body
        assert (await asked(running, "bob", "")).status == 200
        assert (await asked(running, "bob", "reveal=false")).status == 200
        assert reveals(running) == []


async def test_what_can_not_be_journaled_is_not_revealed() -> None:
    async with service()() as running:
        running.journal.down = True
        answer = await asked(running, "ann")
        assert (answer.status, SECRET in answer.body.decode()) == (503, False)
        assert b"nothing is revealed, because the journal can't be written" in answer.body
        assert (await asked(running, "ann", "")).status == 200, "masked, it needs no journal"


async def test_nothing_is_answered_before_the_journal_has_it() -> None:
    async with service()() as running:
        running.journal.gate = asyncio.Event()
        asking = asyncio.create_task(asked(running, "ann"))
        await running.journal.waiting.wait()
        assert not asking.done()
        running.journal.gate.set()
        assert SECRET in (await asking).body.decode()


async def test_on_a_machine_with_one_user_they_say_their_name() -> None:
    async with service()() as running:
        await running.get(f"{PATH}?reveal=true&who=carol")
        await running.get(f"{PATH}?reveal=true")
        assert [each["who"] for each in reveals(running)] == ["carol", "somebody"]
        await asked(running, "ann", "reveal=true&who=carol")
        assert reveals(running)[-1]["who"] == "ann", "a name that was proven wins"


# ---- marks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ({"S": "gold"}, {"S": "gold"}, True),
        ({"S": "gold"}, {"S": "Gold"}, False),
        ({"N": "1"}, {"N": "1.0"}, True),
        ({"N": "1"}, {"S": "1"}, False),
        ({"SS": ["a", "b"]}, {"SS": ["b", "a"]}, True),
        ({"L": [{"S": "a"}, {"S": "b"}]}, {"L": [{"S": "b"}, {"S": "a"}]}, False),
        ({"M": {"a": {"N": "1"}}}, {"M": {"a": {"N": "2"}}}, False),
        ({"X": "1"}, {"X": "2"}, False),
    ],
)
def test_different_values_look_different_and_equal_ones_alike(
    one: dict[str, Any], other: dict[str, Any], alike: bool
) -> None:
    marks = [shown(msgspec.json.encode(each)).mark for each in (one, other)]
    assert (marks[0] == marks[1]) is alike


def test_a_mark_says_nothing_to_another_process() -> None:
    """Or a list of likely values, hashed, would say which one it is."""
    command = "from crossfade.runtime.masking import mark_of; print(mark_of(b'gold'))"
    other = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout.strip()
    assert len(other) == len(mark_of(b"gold")) == 8
    assert other != mark_of(b"gold") == mark_of(b"gold")
