"""GET /passes, cancelling one, and keys that the continuous mode called: as people and consoles ask for them."""

from __future__ import annotations

import asyncio

from crossfade.core.parity.classes import Difference
from crossfade.core.parity.meaning import MEANS
from verifier_service import Running
from verifier_world import World, wallet


async def test_a_pass_that_was_requested_is_listed_with_who_asked_and_what_it_cost() -> None:
    async with Running(World(4), continuous=False)() as service:
        first = (await service.post("/passes", {"who": "ann"})).json()
        await service.until(lambda body: body["last_pass"] and body["last_pass"]["id"] == first["id"])
        second = (await service.post("/passes", {"who": "bob"})).json()
        body = await service.until(lambda body: body["last_pass"]["id"] == second["id"])
        listed = (await service.get("/passes")).json()
        one = (await service.get(f"/passes/{first['id']}")).json()
    assert first["who"] == "ann"
    assert listed["running"] is None
    assert [(each["id"], each["who"], each["state"]) for each in listed["passes"]] == [
        (second["id"], "bob", "done"),
        (first["id"], "ann", "done"),
    ]
    assert (one["id"], one["verified"], one["clean"]) == (first["id"], 4, True)
    assert int(one["begun_us"]) <= int(one["ended_us"]) <= int(listed["passes"][0]["begun_us"])
    assert one["read_units"] > 0
    assert one["units"] == service.settings.units
    assert body["last_pass"]["who"] == "bob"


async def test_a_running_pass_is_listed_with_its_progress_and_cancelled_with_who_did_and_stays_in_the_list() -> None:
    async with Running(World(40), continuous=False, units=1, page=5)() as service:
        service.target.gate, service.target.from_page_2 = asyncio.Event(), True
        asked = (await service.post("/passes", {"who": "ann"})).json()
        await service.until(lambda body: body["running_pass"] and body["running_pass"]["scanned"]["source"])
        running = (await service.get("/passes")).json()["running"]
        (unit,) = (await service.get(f"/passes/{asked['id']}")).json()["work"]
        answer = await service.post(f"/passes/{asked['id']}/cancel", {"who": "bob"})
        again = (await service.post(f"/passes/{asked['id']}/cancel", {"who": "cat"})).json()
        await service.until(lambda body: body["running_pass"] is None)
        listed = (await service.get("/passes")).json()
    assert (running["id"], running["state"], running["stage"]) == (asked["id"], "running", "scanning")
    assert running["units"] == 1
    assert running["units_done"] == 0
    assert running["pods"] == [service.settings.pod]
    assert running["read_units"] > 0
    assert (unit["kind"], unit["number"], unit["state"], unit["pod"]) == ("scan", 0, "open", service.settings.pod)
    assert unit["scanned"]["source"] > 0
    assert unit["read_units"] > 0
    assert running["work"] == []
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["why"]) == ("cancelled", "cancelled by bob")
    assert (again["state"], again["why"]) == ("cancelled", "cancelled by bob")
    assert [(each["id"], each["state"]) for each in listed["passes"]] == [(asked["id"], "cancelled")]


async def test_a_pass_that_nobody_knows_is_not_found_and_the_answer_says_where_passes_are() -> None:
    service = Running(World(1))
    for answer in (await service.get("/passes/nope"), await service.post("/passes/nope/cancel", {})):
        assert answer.status_code == 404
        assert "there is no pass 'nope': GET /passes lists" in answer.json()["error"]["message"]
    wrong = await service.post("/passes", {"whom": "ann"})
    assert wrong.status_code == 400
    assert "whom" in wrong.json()["error"]["message"]


async def test_a_key_that_the_continuous_mode_called_is_listed_and_shown_with_the_mode_that_called_it() -> None:
    world = World(4)
    async with Running(world, hears=True, continuous=False)() as service:
        await service.post("/passes", {})
        body = await service.until(lambda body: body["continuous"]["buckets_off"] is not None)
        world.earn(wallet(1), 1)  # and no copy comes
        await service.until(lambda body: body["continuous"]["called"].get("stuck", {}).get("count"))
        listed = (await service.get("/parity/differences?class=stuck")).json()
        buckets = (await service.get("/parity/buckets?differing=true")).json()
        key = (await service.get("/keys/USER%231%2FPOINTS%23c")).json()
    (called,) = listed["differences"]
    assert [(each["number"], each["differs"], each["called"], each["off"]) for each in buckets["buckets"]] == [
        (called["bucket"], False, 1, False)
    ]
    assert buckets["rebased_us"] == buckets["counted_us"] == body["last_clean_pass"]["ended_us"]
    assert (called["key"], called["called_by"], called["pass_id"]) == (wallet(1).decode(), "continuous", "")
    assert int(called["first_seen_us"]) <= int(called["last_seen_us"])
    assert called["sample"]["source"]["version"] > called["sample"]["target"]["version"]
    assert listed["counts"] == {"stuck": 1}
    assert listed["means"] == {"stuck": MEANS[Difference.STUCK]}
    assert [(each["class"], each["called_by"]) for each in key["called"]] == [("stuck", "continuous")]
    assert key["class"] == "stuck"


async def test_a_key_that_both_modes_called_is_listed_once_with_the_earlier_of_the_first_times() -> None:
    world = World(4)
    async with Running(world, hears=True)() as service:
        world.earn(wallet(1), 1)
        await service.until(lambda body: body["continuous"]["called"].get("stuck", {}).get("count"))
        await service.until(lambda body: body["last_pass"] and body["last_pass"]["differences"].get("stuck"))
        listed = (await service.get("/parity/differences")).json()
        key = (await service.get("/keys/USER%231%2FPOINTS%23c")).json()
    (called,) = listed["differences"]
    assert listed["counts"] == {"stuck": 1}
    by_mode = {each["called_by"]: each for each in key["called"]}
    assert by_mode.keys() == {"sweep", "continuous"}
    assert called["first_seen_us"] == min(each["first_seen_us"] for each in by_mode.values())
