"""Passes one after the other and on demand, what GET /parity says of them, and what it is safe to do."""

from __future__ import annotations

import asyncio

import pytest

from crossfade.core.parity.classes import Difference
from crossfade.core.values.errors import StoreRefused, Throttled
from crossfade.core.values.shape import Side
from verifier_service import Running, is_safe, running
from verifier_world import World, wallet


async def test_clean_tables_read_streams_and_no_handover_make_it_safe_to_cut_over() -> None:
    async with running() as service:
        body = await service.until(is_safe)
    assert body["verdict"] == "clean"
    assert body["verified"] == 4
    assert body["sides"]["source"]["items"] == body["sides"]["target"]["items"] == 4
    assert body["sides"]["source"]["dropped"] == {"wallet_type": 4}, "a constant of the source, which the target lacks"
    assert body["sides"]["target"]["dropped"] == {}
    assert body["sides"]["source"]["digest"] == body["sides"]["target"]["digest"]
    assert body["buckets"] == {"count": 16, "differing": 0, "numbers": []}
    assert body["last_clean_pass"]["clean"]
    assert not body["last_clean_pass"]["with_repairs"]
    assert body["last_clean_pass_age_s"] < 5
    assert body["because"] == []
    assert "without repairs" in body["safe_to_cut_over"]["because"][0]


async def test_before_a_pass_is_done_nothing_is_safe() -> None:
    service = Running(World(1))
    body = await service.parity()
    assert (body["verdict"], is_safe(body)) == ("waiting", False)
    assert body["last_clean_pass"] is None


async def test_a_table_that_is_not_there_yet_is_waited_for() -> None:
    async with running() as service:
        service.target.error = StoreRefused("no table engagement", reason="ResourceNotFoundException")
        body = await service.until(lambda body: "doesn't exist yet" in body["reason"])
        assert body["verdict"] == "waiting"
        assert (await service.get("/readyz")).json()["waiting"]
        service.target.error = None
        await service.until(lambda body: body["verdict"] == "clean")


async def test_each_pass_that_is_done_tells_how_long_it_took() -> None:
    service = Running(World(4))
    told: list[float] = []
    service.passes.on_done = told.append
    async with service():
        await service.until(lambda _body: len(told) >= 2)
        body = await service.parity()
    assert all(0 < each < 5 for each in told)
    assert any(body["last_pass"]["took_s"] == pytest.approx(each, abs=0.001) for each in told)


async def test_a_store_that_fails_ends_the_pass_and_not_the_verifier() -> None:
    async with running() as service:
        await service.until(is_safe)
        service.target.error = Throttled("slow down")
        body = await service.until(lambda body: body["verdict"] == "waiting")
        assert "slow down" in body["reason"]
        assert not is_safe(body)
        service.target.error = None
        await service.until(is_safe)


async def test_a_difference_shows_by_class_with_a_sample_and_is_not_safe() -> None:
    async with running() as service:
        await service.until(is_safe)
        service.world.put(Side.TARGET, wallet(2), points=-1)
        body = await service.until(lambda body: not body["last_pass"]["clean"])
    assert body["verdict"] == "drift"
    assert body["differences"]["diverged"]["count"] == 1
    assert body["differences"]["diverged"]["samples"][0]["key"] == wallet(2).decode()
    assert (body["differences"]["stuck"]["count"], body["differences"]["stuck"]["samples"]) == (0, [])
    assert body["sides"]["source"]["digest"] != body["sides"]["target"]["digest"]
    assert body["buckets"]["differing"] == 1
    assert not is_safe(body)
    assert "1 diverged" in body["because"][0]


async def test_after_an_unclean_pass_the_next_one_comes_soon() -> None:
    world = World(4)
    world.plant(Difference.MISSING, wallet(1))
    async with Running(world, pause_s=600.0)() as service:
        await service.until(lambda body: body["verdict"] == "drift")
        world.copy(wallet(1))
        body = await service.until(lambda body: body["verdict"] == "clean")
        last = body["last_pass"]["id"]
        await asyncio.sleep(0.2)
        assert (await service.parity())["last_pass"]["id"] == last, "after a clean pass it rests"


async def test_a_key_left_in_handover_is_named_with_its_age() -> None:
    async with running(handover_bound_s=0.1) as service:
        service.world.seal(wallet(1), 2)
        body = await service.until(lambda body: body["in_handover"]["over_bound"] and body["last_pass"])
    assert body["in_handover"]["oldest"][0]["key"] == wallet(1).decode()
    assert body["verdict"] == "unsettled"
    assert not is_safe(body)


async def test_a_key_in_handover_that_is_gone_from_both_tables_is_forgotten() -> None:
    async with running(handover_bound_s=0.1, continuous=False) as service:
        service.world.seal(wallet(1), 2)
        await service.passes.ask()
        await service.until(lambda body: body["in_handover"]["over_bound"] and body["last_pass"])
        for side in Side:  # between two passes, so that none sees it go
            service.world.tables[side].delete(wallet(1))
        await service.passes.ask()
        body = await service.until(is_safe)
    assert body["in_handover"]["keys"] == 0


async def test_a_clean_pass_that_is_too_old_is_a_reason_not_to_cut_over() -> None:
    async with running(clean_pass_bound_s=0.3, continuous=False) as service:
        await service.passes.ask()
        await service.until(is_safe)
        body = await service.until(lambda body: not is_safe(body))
    assert any("s old, bound 0.3 s" in each for each in body["because"])


async def test_a_pass_on_demand_begins_after_it_was_asked_for_and_gives_up_the_one_before() -> None:
    async with running() as service:
        service.target.gate = asyncio.Event()
        await service.until(lambda body: body["running_pass"])
        first = service.passes.running
        asked = (await service.post("/passes")).json()
        again = (await service.post("/passes")).json()
        assert asked["id"] == again["id"]
        await service.until(lambda body: (body["running_pass"] or {}).get("id") == asked["id"])
        assert first is not None
        assert first.state == "given up"
        later = (await service.post("/passes")).json()
        assert later["id"] != asked["id"], "the running pass began before this call"
        service.target.gate.set()

        async def state(pass_id: str) -> str:
            return str((await service.get(f"/passes/{pass_id}")).json()["state"])

        await service.until(lambda body: body["last_pass"] and body["last_pass"]["id"] == later["id"])
        assert await state(asked["id"]) == await state(later["id"]) == "done"
        assert (await service.get("/passes/unknown")).status_code == 404


async def test_a_pass_that_was_promised_is_made_when_the_table_is_there() -> None:
    async with running(continuous=False) as service:
        service.target.error = StoreRefused("no table", reason="ResourceNotFoundException")
        asked = (await service.post("/passes")).json()["id"]
        await service.until(lambda body: "doesn't exist yet" in body["reason"])
        assert (await service.get(f"/passes/{asked}")).json()["state"] in ("waiting", "running")
        service.target.error = None
        await service.until(lambda body: body["last_pass"] and body["last_pass"]["id"] == asked)


async def test_after_complete_passes_are_made_on_demand_only() -> None:
    async with running(complete=True) as service:
        body = await service.until(lambda body: body["resting"])
        assert "complete" in body["resting"]
        await asyncio.sleep(0.1)
        assert (await service.parity())["last_pass"] is None
        await service.passes.ask()
        await service.until(lambda body: body["last_pass"])


async def test_a_pass_during_which_a_repair_was_made_is_not_clean() -> None:
    async with running() as service:
        await service.until(is_safe)
        service.target.gate = asyncio.Event()
        await service.until(lambda body: body["running_pass"])
        with service.passes.repairing(1):
            pass
        service.target.gate.set()
        body = await service.until(lambda body: body["last_pass"]["with_repairs"])
        assert not body["last_pass"]["clean"]
        assert "repaired" in body["reason"]
        await service.until(is_safe)


async def test_the_running_pass_tells_how_far_it_is() -> None:
    async with running(units=1, page=3) as service:
        await service.until(is_safe)
        service.target.gate, service.target.from_page_2 = asyncio.Event(), True
        body = await service.until(lambda body: (body["running_pass"] or {}).get("scanned", {}).get("target") == 3)
        assert body["running_pass"]["stage"] == "scanning"
        assert body["running_pass"]["scanned"]["source"] >= 3
        assert 0 < body["running_pass"]["percent"] < 100
        service.target.gate.set()


async def test_health_says_ok() -> None:
    assert (await Running(World(1)).get("/healthz")).json() == {"status": "ok"}
