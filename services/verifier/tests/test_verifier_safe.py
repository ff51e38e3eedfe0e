"""Unknown is not safe: whatever stops answering, or speaks of something else, is a named reason against."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.memory.control import MemoryJournal
from crossfade.core.values.shape import Side
from crossfade_verifier.watch import Watch
from verifier_service import ARN, NAMES, Running, is_safe, running
from verifier_world import World


async def test_streams_that_are_not_read_are_a_reason_not_to_cut_over() -> None:
    async with running(reads_streams=False) as service:
        body = await service.until(lambda body: body["verdict"] == "clean")
    assert not is_safe(body)
    assert any("stream of source" in each and "not being read" in each for each in body["because"])
    assert body["lags"]["source"]["stream_read_s"] is None


async def test_an_old_unreplicated_record_is_a_reason_not_to_cut_over() -> None:
    async with running() as service:
        await service.until(is_safe)
        service.aws.ages_s = {NAMES.tables[Side.TARGET]: 60.0}
        body = await service.until(lambda body: not is_safe(body))
    assert body["lags"]["target"]["table_to_stream_s"] == 60.0
    [reason] = body["because"]
    assert reason.startswith("first hop of target: ")
    assert "60.0 s" in reason


async def only(service: Running, name: str) -> dict[str, Any]:
    """Wait until the named source, and no other one, speaks against it."""
    return await service.until(
        lambda body: body["because"] and all(each.startswith(f"{name}: ") for each in body["because"])
    )


async def test_with_cloudwatch_down_from_the_start_it_is_never_safe() -> None:
    service = Running(World(4))
    service.aws.down = True
    async with service():
        body = await service.until(lambda body: len(body["because"]) == 2)
    assert [each.partition(": ")[0] for each in body["because"]] == ["first hop of source", "first hop of target"]
    assert "no route to CloudWatch" in body["because"][0]
    assert body["inputs"]["first hop of source"]["age_s"] is None


async def test_cloudwatch_that_goes_down_is_safe_no_longer_than_its_bound() -> None:
    async with running(answer_bound_s=0.2) as service:
        await service.until(is_safe)
        service.aws.down = True
        bound_s = (await service.parity())["inputs"]["first hop of source"]["bound_s"]
        body = await service.until(lambda body: not is_safe(body))
    assert bound_s == 2.2
    assert any("first hop" in each and "no route to CloudWatch" in each for each in body["because"])


async def test_cloudwatch_without_a_recent_value_is_never_safe() -> None:
    service = Running(World(4))
    service.aws.ages_s = dict.fromkeys(NAMES.tables.values())
    async with service():
        body = await service.until(lambda body: len(body["because"]) == 2)
    assert "no recent value" in body["because"][0]


async def test_with_cloudwatch_left_out_it_is_never_safe() -> None:
    service = Running(World(4))
    async with service():
        await service.until(is_safe)
        service.watch.without_first_hops("CROSSFADE_CLOUDWATCH is off")
        body = await service.parity()
    assert "CROSSFADE_CLOUDWATCH is off" in body["because"][0]


async def test_capture_that_was_disabled_is_not_safe_as_soon_as_it_is_asked_for() -> None:
    async with running() as service:
        await service.until(is_safe)
        await service.aws.disable_destination(NAMES.tables[Side.SOURCE], ARN + NAMES.streams[Side.SOURCE])
        body = await only(service, "capture of source")
    assert "DISABLED" in body["because"][0]
    assert body["inputs"]["capture of source"]["age_s"] < body["inputs"]["capture of source"]["bound_s"]


async def test_capture_into_another_migrations_stream_is_not_safe() -> None:
    async with running() as service:
        await service.until(is_safe)
        await service.aws.disable_destination(NAMES.tables[Side.TARGET], ARN + NAMES.streams[Side.TARGET])
        await service.aws.enable_destination(NAMES.tables[Side.TARGET], f"{ARN}orders-changes")
        await only(service, "capture of target")


async def test_capture_that_is_not_told_stops_being_safe_at_its_bound() -> None:
    async with running(answer_bound_s=0.2) as service:
        await service.until(is_safe)
        service.aws.unanswered = {NAMES.tables[Side.SOURCE]}
        body = await only(service, "capture of source")
    assert "no answer" in body["because"][0]


@pytest.mark.parametrize("continuous", [True, False])
async def test_a_table_that_hangs_stops_being_safe_at_its_bound(continuous: bool) -> None:
    """Whether a pass hangs in it or the verifier rests: no error tells so, only the age of the last answer."""
    async with running(answer_bound_s=0.2, continuous=continuous) as service:
        await service.passes.ask()
        await service.until(is_safe)
        service.target.gate = asyncio.Event()
        body = await service.until(lambda body: any(each.startswith("table of target: ") for each in body["because"]))
        age_s = body["inputs"]["table of target"]["age_s"]
    assert age_s >= 0.2
    assert not is_safe(body)


async def test_a_pass_that_hangs_is_a_reason_of_its_own() -> None:
    async with running(answer_bound_s=0.2) as service:
        await service.until(is_safe)
        service.target.gate = asyncio.Event()
        await service.until(lambda body: any(each.startswith("passes: ") for each in body["because"]))


async def test_a_stream_that_stops_answering_at_its_tip_stops_being_safe_at_its_bound() -> None:
    async with running(lag_bound_s=0.5) as service:
        await service.until(is_safe)
        service.streams[Side.SOURCE].hangs = True
        body = await only(service, "stream of source")
    assert body["inputs"]["stream of source"]["age_s"] >= 0.5  # as rounded


async def test_answers_of_another_migrations_tables_are_never_safe() -> None:
    service = Running(World(4))
    others = NAMES._replace(tables={Side.SOURCE: "orders", Side.TARGET: "orders-2"})
    mistaken = service.reporter(Watch(others, clock=SYSTEM))
    async with service():
        await service.until(is_safe)
        because = mistaken.parity().because
    assert "clean pass: the answer is of " in " ".join(because)


async def test_a_repair_by_another_verifier_ends_what_passes_before_it_said() -> None:
    async with running(continuous=False) as service:
        await service.passes.ask()
        await service.until(is_safe)
        await MemoryJournal(service.store, who="me").append("repair", {"stage": "begun", "steps": [{}]})
        await asyncio.sleep(0.1)
        assert is_safe(await service.parity()), "its own are counted where they are made"
        await MemoryJournal(service.store, who="another").append("repair", {"stage": "begun", "steps": [{}, {}]})
        body = await only(service, "clean pass")
        assert "2 keys were repaired: only a later clean pass counts" in body["because"][0]
        await service.passes.ask()
        await service.until(is_safe)


async def test_every_input_shows_its_age_and_its_bound() -> None:
    async with running() as service:
        body = await service.until(is_safe)
    assert len(body["inputs"]) == 12
    assert all(0 <= each["age_s"] <= each["bound_s"] for each in body["inputs"].values())
    assert all(each["of"] for each in body["inputs"].values())
