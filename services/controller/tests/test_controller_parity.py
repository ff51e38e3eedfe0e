"""`crossfade parity`, before the door of a verifier on memory: what it shows, its exit codes, and what is watched."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from crossfade.contracts.parity import ParityReport
from crossfade.core.parity.classes import FINAL, Difference
from crossfade.core.parity.meaning import CURE
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Side
from crossfade.runtime.http import Door
from crossfade.runtime.settings import read_settings
from crossfade_controller.cli import main
from crossfade_controller.failing import DONE, ERROR, SHUT, USAGE
from crossfade_controller.parity import Watching
from crossfade_controller.parity_text import report_text
from crossfade_controller.screen import Screen, counted, lasted, plain, quoted, screen_of, table
from crossfade_controller.settings import ControllerSettings
from crossfade_controller.verifier_door import NoVerifier, VerifierDoor, verifier_door
from on_call import URL, Terminal
from plain_world import PlainWorld
from verifier_service import Running, is_safe, running
from verifier_world import World, wallet


def squeezed(text: str) -> str:
    """Return a text on one line: where it was broken doesn't count."""
    return re.sub(r"\s+", " ", text)


async def report_of(service: Running) -> ParityReport:
    return ParityReport.of_dict(await service.parity())


def owned_by(owner: Side) -> Callable[[dict[str, Any]], bool]:
    return lambda body: is_safe(body) and body["owner"]["side"] == owner.value


# ---- is it safe? ----------------------------------------------------------------------------------


async def test_what_is_clean_and_safe_says_so_and_ends_with_0() -> None:
    async with running() as service:
        await service.until(is_safe)
        terminal = Terminal(service.door)
        assert await terminal.type("parity") == DONE
    text = terminal.text
    assert text.startswith("SAFE to cut over")
    assert "verdict: clean" in text
    assert "differences: none" in text
    assert "  live items" in text


async def test_under_a_map_the_owner_is_named_and_the_way_that_is_safe() -> None:
    world = PlainWorld(4)
    service = Running(world)
    async with service():
        for owner, what in ((Side.SOURCE, "cut over"), (Side.TARGET, "roll back")):
            await service.until(owned_by(owner))
            terminal = Terminal(service.door)
            assert await terminal.type("parity") == DONE
            table, text = world.tables[owner].shape.table, terminal.text
            assert text.startswith(f"SAFE to {what}")
            assert f"owner: {table}, the {owner.value} table" in text
            if owner is Side.SOURCE:
                world.flip()
        world.close()
        await service.until(lambda body: not is_safe(body))
        terminal = Terminal(service.door)
        assert await terminal.type("parity") == SHUT
    text = terminal.text
    assert text.startswith("NOT SAFE to roll back")
    assert "the map is draining at epoch" in squeezed(text)


async def test_what_is_clean_and_not_safe_ends_with_4_and_names_every_reason() -> None:
    service = Running(World(4))
    service.aws.down = True
    async with service():
        await service.until(lambda body: body["verdict"] == "clean" and len(body["because"]) == 2)
        terminal = Terminal(service.door)
        assert await terminal.type("parity") == SHUT
        because = (await service.parity())["because"]
    text = terminal.text
    assert text.startswith("NOT SAFE to cut over: 2 reasons")
    assert "verdict: clean" in text
    assert all(f"! {each}" in squeezed(text) for each in because)


async def test_each_input_is_shown_with_its_age_and_its_bound() -> None:
    async with running() as service:
        await service.until(is_safe)
        report = await report_of(service)
    lines = report_text(report, Screen()).splitlines()
    for name, each in report.inputs.items():
        [line] = [line for line in lines if re.match(rf"  {name}  ", line)]
        assert lasted(each.age_s) in line
        assert line.endswith(lasted(each.bound_s))


@pytest.mark.parametrize("name", sorted(each.value for each in FINAL))
async def test_each_class_is_shown_with_its_count_a_key_and_its_cure_and_ends_with_4(name: str) -> None:
    fault = Difference(name)
    async with running() as service:
        await service.until(is_safe)
        service.world.plant(fault, wallet(2))
        await service.until(lambda body: body["differences"][fault.value]["samples"])
        terminal = Terminal(service.door)
        assert await terminal.type("parity") == SHUT
    text = terminal.text
    assert f"  {fault.value}: 1 key\n    {wallet(2).decode()}\n" in text
    assert f"do: {CURE[fault]}" in squeezed(text)
    assert f"crossfade parity --key {quoted(wallet(2).decode())}" in text


async def test_in_json_the_verifiers_document_is_answered_as_it_came() -> None:
    async with running() as service:
        await service.until(is_safe)
        terminal = Terminal(service.door, as_json=True)
        assert await terminal.type("parity") == DONE
        theirs = await service.parity()
    ours = terminal.document()
    assert ours.keys() == theirs.keys()
    assert ParityReport.of_dict(ours).safe_to_cut_over.answer


async def test_a_report_without_any_pass_claims_nothing() -> None:
    service = Running(World(4))
    service.target.gate = asyncio.Event()  # the first scan doesn't end
    async with service():
        terminal = Terminal(service.door)
        assert await terminal.type("parity") == SHUT
    text = terminal.text
    assert "differences: none so far; no pass has ended yet" in text
    assert "  last clean: none yet" in text


# ---- how it looks ---------------------------------------------------------------------------------


async def test_every_line_fits_80_columns_unless_one_word_is_longer() -> None:
    async with running() as service:
        await service.until(is_safe)
        for number, fault in enumerate((Difference.DIVERGED, Difference.MISSING, Difference.UNREADABLE)):
            service.world.plant(fault, wallet(number))
        await service.until(
            lambda body: body["differences"]["unreadable"]["count"] and body["differences"]["missing"]["count"]
        )
        text = report_text(await report_of(service), Screen(width=80))
    too_long = [line for line in text.splitlines() if len(line) > 80]
    assert all("crossfade parity --key" in line or len(line.split()) <= 3 for line in too_long), too_long


async def test_what_a_row_holds_can_not_steer_the_terminal() -> None:
    async with running() as service:
        await service.until(is_safe)
        service.world.put(Side.TARGET, wallet(1), cf_role="\x1b[2J\x07X")
        await service.until(lambda body: body["differences"]["unreadable"]["samples"])
        terminal = Terminal(service.door)
        await terminal.type("parity")
    text = terminal.text
    assert "\x1b" not in text
    assert "\x07" not in text
    assert plain("\x1b[2J") == "\\x1b[2J"
    assert quoted("it's") == "'it'\\''s'"


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "coloured", "redraws"),
    [
        (Tty(), {"TERM": "xterm"}, True, True),
        (Tty(), {"TERM": "xterm", "NO_COLOR": "1"}, False, True),
        (Tty(), {"TERM": "dumb"}, False, False),
        (Tty(), {}, False, False),
        (io.StringIO(), {"TERM": "xterm"}, False, False),
    ],
)
def test_colours_are_for_terminals_that_know_them_and_for_people_that_want_them(
    stream: io.StringIO, environment: Mapping[str, str], coloured: bool, redraws: bool
) -> None:
    screen = screen_of(stream, environment, as_json=False)
    assert (screen.colour, screen.redraws) == (coloured, redraws)
    assert ("\x1b" in screen.styled("bad", "NOT SAFE")) is coloured


def test_columns_line_up_whatever_is_coloured() -> None:
    screen = Screen(colour=True)
    rows = [["a", screen.styled("bad", "12"), "x"], ["bcd", "3", "y"]]
    bare = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in table(rows, right=(1,))]
    assert bare == ["  a    12  x", "  bcd   3  y"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (42.4, "42 s"),
        (840, "14 min"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
        (266_400, "3 d 2 h"),
    ],
)
def test_durations_are_told_in_units_that_matter(seconds: float | None, text: str) -> None:
    assert lasted(seconds) == text


def test_numbers_have_their_thousands_apart() -> None:
    assert [counted(each) for each in (None, 0, 7, 1_204_332, 12.5)] == ["?", "0", "7", "1,204,332", "12.5"]


# ---- no verifier ----------------------------------------------------------------------------------


def test_without_an_address_it_says_which_setting_names_it() -> None:
    with pytest.raises(ConfigError, match="CROSSFADE_VERIFIER_URL is not set"):
        verifier_door(read_settings(ControllerSettings))


def test_without_an_address_the_exit_code_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", "--json"]) == USAGE
    told = msgspec.json.decode(capsys.readouterr().out)
    assert (told["command"], told["code"], told["exit_code"]) == ("parity", "config", USAGE)


async def test_another_service_at_that_address_is_no_verifier() -> None:
    terminal = Terminal(Door({}))
    with pytest.raises(NoVerifier, match="no verifier of this build answers"):
        await terminal.type("parity")


# ---- watched --------------------------------------------------------------------------------------


class Watched:
    """`--watch` on a pipe, step by step: each look is made when the test asks for it."""

    def __init__(self, terminal: Terminal) -> None:
        self.now_s = 0.0
        self.watching = Watching(VerifierDoor(URL, terminal.wire.send), terminal.screen, self)

    def monotonic(self) -> float:
        return self.now_s

    def wall_us(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


async def settled(
    service: Running, watched: Watched, terminal: Terminal, holds: Callable[[dict[str, Any]], object]
) -> str:
    await service.until(holds)
    await watched.watching.look()
    return terminal.text


async def test_on_a_pipe_there_is_a_line_for_each_change_and_none_without() -> None:
    async with running(pause_s=30.0) as service:  # one pass, then rest: nothing changes on its own
        terminal = Terminal(service.door)
        watched = Watched(terminal)
        first = await settled(service, watched, terminal, lambda body: is_safe(body) and not body["running_pass"])
        assert re.fullmatch(r"\S+Z clean: pass \S+ verified all 4 keys; safe\n", first)
        await watched.watching.look()
        assert terminal.text == ""
        service.world.plant(Difference.DIVERGED, wallet(2))
        await service.passes.ask()
        then = await settled(
            service, watched, terminal, lambda body: body["verdict"] == "drift" and not body["running_pass"]
        )
        assert re.fullmatch(r"\S+Z drift: 1 diverged; NOT safe: passes\n", then)


async def test_a_verifier_that_goes_away_and_returns_is_said_once_each() -> None:
    async with running(pause_s=30.0) as service:
        terminal = Terminal(service.door)
        watched = Watched(terminal)
        await settled(service, watched, terminal, lambda body: is_safe(body) and not body["running_pass"])
        terminal.wire.is_gone = True
        await watched.watching.look()
        await watched.watching.look()
        assert terminal.said.count("no_verifier: the verifier doesn't answer") == 1
        assert watched.watching.code == ERROR
        terminal.wire.is_gone = False
        await watched.watching.look()
        assert "clean: pass" in terminal.text
        assert watched.watching.code == DONE


async def test_on_a_screen_what_was_said_last_is_dated_once_the_verifier_is_gone() -> None:
    async with running(pause_s=30.0) as service:
        terminal = Terminal(service.door)
        watched = Watched(terminal)
        await settled(service, watched, terminal, is_safe)
        terminal.wire.is_gone = True
        watched.now_s += 90
        await watched.watching.look()
    text = watched.watching.text()
    assert text.startswith("NO VERIFIER for 90 s: ")
    assert "it proves nothing about now" in text
    assert "SAFE to cut over" in text
