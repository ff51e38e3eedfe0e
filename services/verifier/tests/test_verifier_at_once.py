"""A difference is called when it is known, not when the pass is over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crossfade.core.parity.classes import Difference
from crossfade.core.values.errors import Throttled
from crossfade.core.values.shape import Side
from crossfade.runtime.telemetry.contract import CLASS, PARITY, SAFE
from crossfade_verifier.measures import observed
from engagement_migration.samples import NOT_OURS
from verifier_service import Running, is_safe, running
from verifier_world import World, wallet

PAGE = 3
ONE: dict[str, Any] = {"units": 1, "page": PAGE}


async def held(service: Running) -> None:
    """Hold the scan at half: no more than the first page of the target table is read."""
    service.target.gate, service.target.from_page_2 = asyncio.Event(), True
    await service.until(lambda body: (body["running_pass"] or {}).get("scanned", {}).get("target") == PAGE)


def emitted(service: Running) -> dict[tuple[Any, str], float]:
    told = observed(service.report, service.tails, {})
    return {(each.metric, each.attributes.get(CLASS, "")): each.value for each in told}


async def test_a_diverged_row_is_told_while_the_scan_is_held_at_half() -> None:
    world = World(4)
    world.plant(Difference.DIVERGED, wallet(2))
    async with Running(world, **ONE)() as service:
        await held(service)
        body = await service.until(lambda body: body["verdict"] == "drift")
        assert body["running_pass"]["stage"] == "scanning"
        assert body["last_pass"] is None
        assert body["reason"] == "1 diverged so far"
        assert body["differences"]["diverged"]["count"] == 1
        assert body["differences"]["diverged"]["samples"][0]["key"] == wallet(2).decode()
        assert any("1 diverged so far" in each for each in body["because"])
        assert service.passes.keys_of(Difference.DIVERGED) == [wallet(2)]
        assert emitted(service)[PARITY, "diverged"] == 1


async def test_what_a_clean_verifier_calls_turns_its_answer_at_once_and_a_later_clean_pass_turns_it_back() -> None:
    async with running(**ONE) as service:
        await service.until(is_safe)
        good = dict(service.target.images[wallet(2)])
        service.world.put(Side.TARGET, wallet(2), points=-1)
        await held(service)
        body = await service.until(lambda body: not is_safe(body))
        assert body["last_pass"]["clean"], "only the running pass knows"
        assert body["last_clean_pass_age_s"] is not None
        assert emitted(service)[SAFE, ""] == 0
        service.world.tables[Side.TARGET].put(good)
        assert service.target.gate is not None
        service.target.gate.set()
        body = await service.until(is_safe)
    assert (body["differences"]["diverged"]["count"], body["differences"]["diverged"]["samples"]) == (0, [])


async def test_what_was_called_stays_called_when_the_pass_is_given_up_for_another_one() -> None:
    world = World(4)
    world.plant(Difference.DIVERGED, wallet(2))
    async with Running(world, **ONE)() as service:
        await held(service)
        await service.until(lambda body: body["verdict"] == "drift")
        asked = (await service.post("/passes")).json()["id"]
        body = await service.until(lambda body: (body["running_pass"] or {}).get("id") == asked)
        assert body["verdict"] == "drift"
        assert body["differences"]["diverged"]["count"] == 1


@pytest.mark.parametrize("repaired", [False, True])
async def test_what_was_called_stays_called_when_the_pass_fails_until_one_is_done(repaired: bool) -> None:
    world = World(4)
    good = dict(world.tables[Side.TARGET].images[wallet(2)])
    world.plant(Difference.DIVERGED, wallet(2))
    async with Running(world, **ONE)() as service:
        await held(service)
        await service.until(lambda body: body["verdict"] == "drift")
        service.target.error = Throttled("slow down")
        assert service.target.gate is not None
        service.target.gate.set()
        body = await service.until(lambda body: "slow down" in body["reason"])
        assert body["verdict"] == "drift"
        assert body["reason"].startswith("1 diverged so far; no pass now: ")
        if repaired:
            world.tables[Side.TARGET].put(good)
        service.target.error = None
        verdict = "clean" if repaired else "drift"
        body = await service.until(
            lambda body: body["last_pass"] and "so far" not in body["reason"] and body["verdict"] == verdict
        )


async def test_keys_called_by_two_passes_are_counted_and_shown_once() -> None:
    world = World(4)
    world.plant(Difference.DIVERGED, wallet(2))
    async with Running(world, **ONE)() as service:
        await service.until(lambda body: body["last_pass"])
        await held(service)
        world.plant(Difference.MISSING, wallet(1))
        body = await service.until(lambda body: "so far" in body["reason"])
    assert body["differences"]["diverged"]["count"] == 1
    assert len(body["differences"]["diverged"]["samples"]) == 1
    assert service.passes.keys_of(Difference.DIVERGED) == [wallet(2)]


async def test_a_row_of_others_in_the_target_table_is_told_while_the_scan_goes_on() -> None:
    world = World()
    for row in NOT_OURS[:2]:
        world.tables[Side.TARGET].put(row)
    service = Running(world, page=1, units=1)
    service.target.gate, service.target.from_page_2 = asyncio.Event(), True
    async with service():
        body = await service.until(lambda body: body["verdict"] == "drift")
    assert body["last_pass"] is None
    assert body["not_ours_in_target"] == 1
    assert "don't belong" in body["reason"]


async def test_a_scan_on_hold_for_its_full_follow_list_says_so_and_goes_on_when_keys_are_called() -> None:
    world = World(6)
    for number in range(6):
        world.plant(Difference.DIVERGED, wallet(number))
    async with Running(
        world, page=1, units=1, segments=1, follow_bound=2, in_flight_bound_s=0.2, follow_limit_s=60
    )() as service:
        body = await service.until(lambda body: (body["running_pass"] or {}).get("held"))
        assert "CROSSFADE_FOLLOW_BOUND is 2" in body["running_pass"]["held"]
        assert body["running_pass"]["following"] == 2
        body = await service.until(lambda body: body["last_pass"])
    assert body["last_pass"]["differences"] == {"diverged": 6}
