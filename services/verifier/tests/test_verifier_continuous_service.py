"""The continuous mode in the service: what it calls turns the verdict, and what it asks for is done."""

from __future__ import annotations

from crossfade.adapters.memory.passes import MemoryPassStore
from crossfade.core.parity.classes import Difference
from crossfade.core.values.shape import Side
from verifier_service import Running, is_safe
from verifier_world import World, wallet

KEY = wallet(1)


async def test_what_it_calls_turns_the_verdict_at_once_and_is_told_by_class_with_its_times() -> None:
    world = World(4)
    service = Running(world, hears=True, continuous=False)
    async with service():
        await service.until(lambda body: body["resting"])
        world.put(Side.TARGET, KEY, points=-1)
        body = await service.until(lambda body: body["verdict"] == "drift")
        assert body["last_pass"] is None
        assert not body["safe_to_cut_over"]["answer"]
        called = body["continuous"]["called"]["diverged"]
        assert called["count"] == body["differences"]["diverged"]["count"] == 1
        assert called["samples"][0]["key"] == KEY.decode()
        assert int(called["samples"][0]["first_seen_us"]) > 0
        assert body["continuous"]["heard"] == {"source": 0, "target": 1}
        assert service.passes.keys_of(Difference.DIVERGED) == [KEY]


async def test_what_it_called_makes_the_last_clean_pass_outdated_and_a_restart_does_not_forget_that() -> None:
    world, store = World(4), MemoryPassStore()
    service = Running(world, hears=True, passes=store, continuous=False)
    async with service():
        await service.post("/passes")
        clean = (await service.until(is_safe))["last_clean_pass"]["id"]
        right = dict(world.tables[Side.TARGET].images[KEY])
        world.put(Side.TARGET, KEY, points=-1)
        await service.until(lambda body: body["verdict"] == "drift")
        known = service.passes.last_clean
        assert known is not None
        await service.until(lambda _: known.record.outdated)
    again = Running(world, passes=store, continuous=False)  # it has heard nothing, and makes no pass
    async with again():
        body = await again.until(lambda body: body["last_pass"])
        assert body["last_pass"]["id"] == clean
        told = f"1 diverged called since pass {clean} was clean: only a later clean pass counts"
        assert (body["verdict"], body["reason"]) == ("unsettled", told)
        assert f"passes: unsettled: {told}" in body["because"]
        world.tables[Side.TARGET].put(right)
        await again.post("/passes")
        body = await again.until(is_safe)
        assert body["last_clean_pass"]["id"] > clean


async def test_a_repair_clears_what_it_called_and_a_bucket_that_differs_brings_the_next_pass_at_once() -> None:
    world = World(4)
    service = Running(world, hears=True, pause_s=600.0)
    async with service():
        first = await service.until(lambda body: body["last_clean_pass"])
        await service.until(lambda body: body["continuous"]["buckets_off"] == 0)
        world.earn(KEY, 1)
        world.on_change = lambda _side, _change: None
        world.copy(KEY)  # and its record is lost
        world.on_change = service.continuous.hear
        body = await service.until(
            lambda body: (
                body["last_clean_pass"]["id"] != first["last_clean_pass"]["id"]
                and body["continuous"]["buckets_off"] == 0
            )
        )
    assert body["continuous"]["asked_for_a_pass_age_s"] is not None
    assert body["verdict"] == "clean"


async def test_switched_off_it_hears_nothing_and_says_so() -> None:
    world = World(4)
    service = Running(world, hears=True, continuous=False, watch_changes=False)
    async with service():
        world.put(Side.TARGET, KEY, points=-1)
        body = await service.until(lambda body: body["resting"])
    assert body["continuous"]["resting"] == "CROSSFADE_WATCH_CHANGES is off"
    assert body["continuous"]["heard"] == {"source": 0, "target": 0}
