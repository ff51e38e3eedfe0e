"""Keys, classes of them, and passes on demand, before the door of a real verifier on memory."""

from __future__ import annotations

import re

import pytest

from crossfade.adapters.memory.control import MemoryJournal
from crossfade.contracts.key import KeyReport
from crossfade.contracts.parity import DifferencePage
from crossfade.core.parity.classes import Difference
from crossfade.core.parity.meaning import MEANS
from crossfade.core.protocol.keyed.writes import Operate
from crossfade.core.protocol.writing import Applied
from crossfade.core.values.shape import Side
from crossfade.runtime.operator import operator_name
from crossfade_controller.failing import DONE, REFUSED, SHUT, TIMEOUT
from crossfade_controller.screen import quoted
from crossfade_controller.verifier_door import NotFound, WrongUsage
from engagement_api.operations import Kind, points_operation
from on_call import Terminal, drifted
from verifier_service import Running, is_safe, running
from verifier_world import SEED, World, at_once, wallet

SHORT = "USER#2/POINTS#c"


# ---- one key --------------------------------------------------------------------------------------


async def test_a_key_that_is_equal_says_so_and_ends_with_0() -> None:
    async with running() as service:
        await service.until(is_safe)
        terminal = Terminal(service.door)
        assert await terminal.type("parity", "--key", wallet(2).decode()) == DONE
    assert terminal.text.startswith(f"{SHORT}: equal")


async def test_a_key_that_differs_is_shown_side_by_side_with_its_repair_and_ends_with_4() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.DIVERGED, wallet(2))
        assert await terminal.type("parity", "--key", SHORT) == SHUT
    text = terminal.text
    assert text.startswith(f"{SHORT}: diverged")
    assert MEANS[Difference.DIVERGED] in re.sub(r"\s+", " ", text)
    assert f"do: crossfade repair plan --key {quoted(wallet(2).decode())}" in text
    assert re.search(r"(?m)^! balance = points +N \(\d\) \w+ +N \(2\) \w+$", text)
    assert re.search(r"(?m)^  role +A, owner +S, standby$", text)
    assert "called diverged by pass" in text


async def test_values_are_revealed_on_request_and_the_journal_says_to_whom() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.DIVERGED, wallet(2))
        await terminal.type("parity", "--key", SHORT)
        assert "N -1" not in terminal.text
        await terminal.type("parity", "--key", SHORT, "--reveal")
        entries = await MemoryJournal(service.store).entries()
    assert re.search(r"(?m)^! balance = points +N \d+ +N -1$", terminal.text)
    assert operator_name() in str(entries[-1].body)


@pytest.mark.parametrize(
    ("traceparent", "shown"),
    [("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True), ("ann@example.com", False), ("", False)],
)
async def test_a_key_names_the_trace_of_its_last_operation_and_no_other_text(traceparent: str, shown: bool) -> None:
    world = World(4)
    earned = points_operation(Kind.EARN, wallet(2), b"t" * 16, 5, SEED, traceparent=traceparent)
    assert isinstance(at_once(world.tables[Side.SOURCE].perform(Operate(wallet(2), earned, soft=1000))), Applied)
    world.copy(wallet(2))
    async with Running(world)() as service:
        await service.until(is_safe)
        terminal = Terminal(service.door)
        assert await terminal.type("parity", "--key", SHORT) == DONE
    text = terminal.text
    told = "  last operation of source and target: trace 4bf92f3577b34da6a3ce929d0e0e4736\n"
    assert (told in text) is shown
    assert "example.com" not in text


async def test_a_key_that_is_none_is_wrong_usage() -> None:
    async with running() as service:
        with pytest.raises(WrongUsage, match="is not a key of 2 values"):
            await Terminal(service.door).type("parity", "--key", "USER#2")


async def test_a_key_in_json_is_the_verifiers_document() -> None:
    async with running() as service:
        await service.until(is_safe)
        terminal = Terminal(service.door, as_json=True)
        assert await terminal.type("parity", "--key", SHORT) == DONE
    assert KeyReport.of_dict(terminal.document()).found == "equal"


# ---- keys of a class ------------------------------------------------------------------------------


async def test_keys_of_a_class_are_listed_with_what_differs_and_end_with_4() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.DIVERGED, wallet(1), wallet(2))
        assert await terminal.type("parity", "--class", "diverged") == SHUT
        text = terminal.text
        assert await terminal.type("parity", "--class", "missing") == DONE
    assert text.startswith("diverged: 2 keys\n")
    assert "do: crossfade repair plan --class diverged" in text
    assert all(each in text for each in ("USER#1/POINTS#c", "USER#2/POINTS#c"))
    assert text.count("differs in balance") == 2
    assert terminal.text == "missing: 0 keys\n"


async def test_a_class_is_paged_and_no_key_is_left_out_silently() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.MISSING, *(wallet(number) for number in range(4)))
        assert await terminal.type("parity", "--class", "missing", "--limit", "3") == SHUT
        text = terminal.text
        found = re.search(r"1 more: crossfade parity --class missing --after '(.*)'", text)
        assert found
        assert await terminal.type("parity", "--class", "missing", "--after", found.group(1)) == SHUT
        later = terminal.text
    keys = re.findall(r"(?m)^USER#\d/POINTS#c$", text), re.findall(r"(?m)^USER#\d/POINTS#c$", later)
    assert [len(each) for each in keys] == [3, 1]
    assert len({*keys[0], *keys[1]}) == 4
    assert "more:" not in later


async def test_a_page_in_the_middle_does_not_count_the_keys_before_it_as_left() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.MISSING, *(wallet(number) for number in range(4)))
        await terminal.type("parity", "--class", "missing", "--limit", "1")
        first = re.search(r"(?m)^3 more: crossfade parity --class missing --after '(.*)'$", terminal.text)
        assert first
        await terminal.type("parity", "--class", "missing", "--limit", "1", "--after", first.group(1))
    assert re.search(r"(?m)^more: crossfade parity --class missing --after", terminal.text)


async def test_keys_of_a_bucket_are_listed_with_their_classes() -> None:
    async with running() as service:
        terminal = await drifted(service, Difference.DIVERGED, wallet(2))
        [number] = (await service.until(lambda body: body["buckets"]["differing"] == 1))["buckets"]["numbers"]
        await terminal.type("parity")
        assert f"crossfade parity --bucket {number}\n" in terminal.text
        assert await terminal.type("parity", "--bucket", str(number)) == SHUT
        text = terminal.text
        assert await terminal.type("parity", "--bucket", str((number + 1) % 16)) == DONE
    assert text.startswith(f"bucket {number}: 1 key\n  diverged: {MEANS[Difference.DIVERGED][:20]}")
    assert f"\n{SHORT}: diverged\n" in text


async def test_many_pages_of_a_class_are_one_document() -> None:
    many = 1_105
    async with running(wallets=many) as service:
        await drifted(service, Difference.MISSING, *(wallet(number) for number in range(many)))
        terminal = Terminal(service.door, as_json=True)
        assert await terminal.type("parity", "--class", "missing", "--limit", "5000") == SHUT
    page = DifferencePage.of_dict(terminal.document())
    assert len({each.key for each in page.differences}) == many
    assert page.next is None


async def test_a_class_that_does_not_exist_is_wrong_usage() -> None:
    async with running() as service:
        with pytest.raises(WrongUsage, match="class"):
            await Terminal(service.door).type("parity", "--class", "wrong")


# ---- passes ---------------------------------------------------------------------------------------


async def test_a_pass_on_demand_ends_with_0_if_it_is_clean_and_4_if_not() -> None:
    async with running(pause_s=60.0) as service:
        await service.until(is_safe)
        terminal = Terminal(service.door)
        assert await terminal.type("verify", "start", "--wait") == DONE
        assert re.match(r"pass \S+: done, clean\n", terminal.text)
        service.world.put(Side.TARGET, wallet(2), points=-1)
        assert await terminal.type("verify", "start", "--wait") == SHUT
    text = terminal.text
    assert re.match(r"pass \S+: done, not clean\n", text)
    assert "  diverged: 1 key: crossfade parity --class diverged\n" in text


async def test_a_pass_is_requested_and_looked_up_by_its_id() -> None:
    async with running(pause_s=60.0) as service:
        await service.until(is_safe)
        terminal = Terminal(service.door, as_json=True)
        assert await terminal.type("verify", "start") == DONE
        asked = terminal.document()
        assert await terminal.type("verify", "status", asked["id"]) == DONE
        with pytest.raises(NotFound, match="pass"):
            await terminal.type("verify", "status", "p-unknown")
    assert asked["id"] in terminal.text


async def test_a_wait_ends_at_its_timeout_and_the_pass_continues() -> None:
    async with running(pause_s=60.0) as service:
        await service.until(is_safe)
        terminal = Terminal(service.door)
        assert await terminal.type("verify", "start", "--wait", "--timeout", "0") == TIMEOUT
    assert "the pass goes on: crossfade verify status" in terminal.text


async def test_what_a_pass_costs_is_said_before_it_begins() -> None:
    async with running(pause_s=60.0) as service:
        await service.until(is_safe)
        terminal = Terminal(service.door)
        await terminal.type("verify", "start")
    assert re.match(r"the last pass took [\d.]+ s and \d+ read units\n", terminal.said)


async def test_the_last_passes_are_listed_with_what_they_found_and_cost() -> None:
    async with running(pause_s=60.0) as service:
        await service.until(is_safe)
        terminal = Terminal(service.door)
        service.world.put(Side.TARGET, wallet(2), points=-1)
        await terminal.type("verify", "start", "--wait")
        first = re.match(r"pass (\S+): done, not clean", terminal.text)
        assert first
        assert await terminal.type("verify", "status") == DONE
        assert re.search(rf"{first.group(1)} +1 diverged +[\d.]+ s +\d+\n", terminal.text)
        assert await terminal.type("verify", "status", first.group(1)) == SHUT


async def test_a_running_pass_is_cancelled_and_stays_in_the_list() -> None:
    async with running(wallets=400, reads_per_s=10, pause_s=60.0) as service:
        terminal = Terminal(service.door)
        body = await service.until(lambda body: body["running_pass"])
        number = body["running_pass"]["id"]
        assert await terminal.type("verify", "cancel", number) == DONE
        assert terminal.text.startswith(f"pass {number}: cancelled\n")
        assert await terminal.type("verify", "status", number) == REFUSED
        await terminal.type("verify", "status")
    assert re.search(rf"{number} +cancelled", terminal.text)
