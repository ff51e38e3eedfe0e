"""`crossfade repair` before the door of a real verifier on memory: what was shown is what is carried out."""

from __future__ import annotations

import re

import pytest

from crossfade.adapters.memory.control import MemoryJournal
from crossfade.core.parity.classes import Difference
from crossfade.runtime.operator import operator_name
from crossfade_controller.cli import main, parser
from crossfade_controller.failing import DONE, REFUSED, SHUT, TIMEOUT, USAGE
from crossfade_controller.oncall_options import wrong_usage
from crossfade_controller.verifier_door import NotDone, NotFound
from on_call import Terminal, drifted
from verifier_service import is_safe, running
from verifier_world import wallet

EXECUTE = re.compile(r"crossfade repair execute (\S+) --wait")


async def planned(terminal: Terminal, *words: str) -> str:
    """Plan a repair; return the id that the terminal shows."""
    assert await terminal.type("repair", "plan", *words) == DONE
    found = EXECUTE.search(terminal.text)
    assert found
    return found.group(1)


async def test_a_plan_shows_each_key_and_writes_nothing() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.DIVERGED, wallet(1), wallet(2))
        before = dict(service.target.images)
        assert await terminal.type("repair", "plan", "--class", "diverged") == DONE
        assert dict(service.target.images) == before
    text = terminal.text
    assert all(each.decode() in text for each in (wallet(1), wallet(2)))
    assert text.count("diverged: transfer at") == 2
    assert EXECUTE.search(text)


async def test_exactly_the_plan_that_was_shown_is_carried_out() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.DIVERGED, wallet(1), wallet(2))
        plan, before = await planned(terminal, "--key", wallet(1).decode()), dict(service.target.images)
        assert await terminal.type("repair", "execute", plan, "--wait") == DONE
        text = terminal.text
        assert f"repair {plan}: done" in text
        assert "  repaired: 1" in text
        after = service.target.images
        assert after[wallet(1)] != before[wallet(1)]
        assert after[wallet(2)] == before[wallet(2)], "it isn't in the plan"
    assert "only a later clean pass counts: crossfade verify start --wait" in text


async def test_the_journal_says_who_asked() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.MISSING, wallet(1))
        plan = await planned(terminal, "--class", "missing")
        assert await terminal.type("repair", "execute", plan, "--wait") == DONE
        entries = [each.body for each in await MemoryJournal(service.store).entries() if each.kind == "repair"]
        assert await terminal.type("repair", "status", plan) == DONE
    assert any(operator_name() in str(each) for each in entries)
    text = terminal.text
    assert f"carried out for {operator_name()}" in text
    assert f"planned by {operator_name()}" in text


async def test_a_paused_migration_refuses_with_the_command_that_resumes_it() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.MISSING, wallet(1))
        plan = await planned(terminal, "--class", "missing")
        await MemoryJournal(service.store, who="ann").append("pause", {"paused": True, "who": "ann"})
        with pytest.raises(NotDone, match="crossfade resume --execute"):
            await terminal.type("repair", "execute", plan)


async def test_a_key_that_is_still_wrong_is_exit_code_4_and_named() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.DIVERGED, wallet(1))
        plan = await planned(terminal, "--class", "diverged")
        service.world.earn(wallet(1), 1)  # its owner has moved on since the plan
        assert await terminal.type("repair", "execute", plan, "--wait") == SHUT
    text = terminal.text
    assert "  refused: 1" in text
    assert "-> refused: changed since the plan" in re.sub(r"\s+", " ", text)
    assert wallet(1).decode() in text


async def test_a_plan_without_a_write_is_exit_code_4() -> None:
    async with running() as service:
        await service.until(is_safe)
        terminal = Terminal(service.door)
        assert await terminal.type("repair", "plan", "--key", wallet(1).decode()) == SHUT
    assert "nothing to carry out" in terminal.text


async def test_what_a_limit_leaves_out_is_counted_and_the_next_plan_named() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.MISSING, wallet(0), wallet(1), wallet(2))
        assert await terminal.type("repair", "plan", "--class", "missing", "--limit", "2") == DONE
        text = terminal.text
        assert "not in this plan: 1 key of the class" in text
        found = re.search(r"the next plan: crossfade repair plan --class missing --limit 2 --after '(.*)'", text)
        assert found
        words = ("--class", "missing", "--limit", "2", "--after", found.group(1))
        assert await terminal.type("repair", "plan", *words) == DONE
    text = terminal.text
    assert wallet(2).decode() in text
    assert "not in this plan" not in text


async def test_a_plan_of_many_pages_is_shown_and_answered_whole() -> None:
    many = 1_203
    async with running(wallets=many, samples=5) as service:
        keys = [wallet(number) for number in range(many)]
        await drifted(service, Difference.MISSING, *keys)
        terminal = Terminal(service.door, as_json=True)
        assert await terminal.type("repair", "plan", "--class", "missing") == DONE
    body = terminal.document()
    assert [each["number"] for each in body["steps"]] == list(range(1, many + 1))
    assert sorted(each["key"].encode() for each in body["steps"]) == sorted(keys)
    assert body["next"] is None


async def test_repairs_are_listed_and_cancelled() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.MISSING, wallet(1))
        plan = await planned(terminal, "--class", "missing")
        assert await terminal.type("repair", "cancel", plan) == DONE
        assert f"repair {plan}: cancelled" in terminal.text
        assert await terminal.type("repair", "status") == DONE
        assert re.search(rf"{plan}\s+cancelled", terminal.text)
        assert await terminal.type("repair", "status", plan) == REFUSED
        with pytest.raises(NotDone):
            await terminal.type("repair", "execute", plan)
        with pytest.raises(NotFound, match="there is no repair"):
            await terminal.type("repair", "status", "r-unknown")


async def test_a_wait_ends_at_its_timeout_and_the_repair_continues() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.MISSING, *(wallet(number) for number in range(4)))
        plan = await planned(terminal, "--class", "missing")
        assert await terminal.type("repair", "execute", plan, "--wait", "--pace", "1", "--timeout", "0") == TIMEOUT
        assert "repaired: 4" not in terminal.text
        assert await terminal.type("repair", "execute", plan, "--wait") == DONE
    assert "  repaired: 4" in terminal.text


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["parity", "--limit", "3"], "--limit and --after go with --class"),
        (["parity", "--reveal"], "--reveal goes with --key"),
        (["repair", "plan", "--key", "K", "--after", "K"], "--limit and --after go with --class"),
        (["parity", "--bucket", "3", "--watch"], "--bucket lists keys"),
        (["parity", "--class", "stuck", "--bucket", "0", "--limit", "3"], ""),
        (["parity", "--key", "K", "--reveal"], ""),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(words: list[str], why: str) -> None:
    assert wrong_usage(parser().parse_args(words)).startswith(why)
    assert bool(wrong_usage(parser().parse_args(words))) is bool(why)


@pytest.mark.parametrize(
    "words",
    [["verify"], ["repair"], ["repair", "plan"], ["repair", "execute"], ["verify", "cancel"], ["parity", "--reveal"]],
)
def test_a_command_that_lacks_something_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == USAGE
    assert "error:" in capsys.readouterr().err
