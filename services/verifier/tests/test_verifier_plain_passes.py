"""Passes of a plain migration, and what GET /parity says of them: who owns, and around a flip."""

from __future__ import annotations

import asyncio

from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.image import of_string
from crossfade.core.values.shape import Side
from plain_world import PlainWorld
from verifier_service import Running, is_safe
from verifier_world import wallet


async def test_clean_tables_under_an_open_map_are_safe_and_the_owner_is_named() -> None:
    async with Running(PlainWorld(4))() as service:
        body = await service.until(is_safe)
    assert (body["verdict"], body["verified"]) == ("clean", 4)
    assert body["owner"] == {"side": "source", "table": "wallet", "epoch": 1, "open": True, "why": ""}
    assert "wallet, the source table, owns all rows" in body["safe_to_cut_over"]["because"][-1]
    assert "handovers" not in body["inputs"]
    assert body["inputs"]["owner map"]["of"] == "j"
    assert body["inputs"]["owner map"]["age_s"] < body["inputs"]["owner map"]["bound_s"]


async def test_before_there_is_a_map_no_pass_begins() -> None:
    world = PlainWorld(4)
    there, world.maps.now = world.maps.now, None
    async with Running(world)() as service:
        body = await service.until(lambda body: "has not started" in body["reason"])
        assert (body["verdict"], body["last_pass"]) == ("waiting", None)
        world.maps.now = there
        await service.until(is_safe)


async def test_a_map_that_does_not_answer_any_more_is_not_safe_and_its_age_says_so() -> None:
    world = PlainWorld(4)
    async with Running(world, answer_bound_s=0.2)() as service:
        await service.until(is_safe)
        world.maps.error = StoreUnavailable("no route to the journal")
        body = await service.until(lambda body: any(each.startswith("owner map: ") for each in body["because"]))
    assert "no route to the journal" in body["inputs"]["owner map"]["trouble"]
    assert any("s old, bound 0.2 s: no route" in each for each in body["because"])


async def test_around_a_flip_nothing_is_called_and_afterwards_only_a_new_pass_counts() -> None:
    world = PlainWorld(4)
    async with Running(world)() as service:
        before = await service.until(is_safe)
        world.close()
        world.sets(Side.TARGET, wallet(2), tier=of_string("x"))
        body = await service.until(lambda body: not body["owner"]["open"])
        assert "draining" in body["owner"]["why"]
        for _ in range(30):
            await asyncio.sleep(0.01)
            body = await service.parity()
            assert not any(each["count"] for each in body["differences"].values())
            assert not is_safe(body)
        world.flip()
        body = await service.until(lambda body: body["owner"]["side"] == "target")
        assert not is_safe(body)
        body = await service.until(lambda body: body["verdict"] == "drift")
        assert body["last_clean_pass"] is None
        assert body["differences"]["diverged"]["samples"][0]["owner"] == "target"
        world.sets(Side.TARGET, wallet(2), tier=of_string("gold"))
        after = await service.until(is_safe)
    assert after["last_clean_pass"]["id"] > before["last_clean_pass"]["id"]
    assert after["owner"]["table"] == "engagement"


async def test_a_pass_that_a_flip_cuts_in_two_is_given_up() -> None:
    world = PlainWorld(12)
    service = Running(world, page=1)
    service.target.gate = asyncio.Event()
    async with service():
        body = await service.until(lambda body: body["running_pass"])
        cut = body["running_pass"]["id"]
        world.flip()
        await service.until(lambda body: body["owner"]["side"] == "target")
        service.target.gate.set()
        body = await service.until(is_safe)
        (told,) = [each for each in (await service.get("/passes")).json()["passes"] if each["id"] == cut]
    assert (told["state"], told["clean"]) == ("given up", False)
    assert "the target table owns by now" in told["why"]
    assert body["last_clean_pass"]["id"] > cut


async def test_a_key_is_shown_with_its_owner_by_the_map_and_what_differs() -> None:
    world = PlainWorld(4)
    service = Running(world, continuous=False)
    path = "/keys/USER%232%2FPOINTS%23c"
    async with service():
        await service.until(lambda body: body["owner"]["open"])
        body = (await service.get(path)).json()
        assert (body["class"], body["owner"], body["settled"]) == ("equal", "source", True)
        assert (body["source"]["version"], body["source"]["role"], body["target"]["role"]) == (None, None, None)
        assert body["target"]["version"].endswith("000")
        world.sets(Side.TARGET, wallet(2), tier=of_string("x"))
        await service.get(path)
        await asyncio.sleep(service.settings.in_flight_bound_s)
        body = (await service.get(path)).json()
        assert (body["class"], body["differs"]) == ("diverged", ["tier"])
        assert "another writer changed it, or a copy was lost" in body["means"]
        world.close()
        body = (await service.get(path)).json()
        assert (body["settled"], body["cure"]) == (False, "look again")
        assert "being flipped" in body["means"]


async def test_a_verifier_that_starts_after_a_flip_counts_no_pass_from_before_it() -> None:
    world = PlainWorld(4)
    first = Running(world)
    async with first():
        await first.until(is_safe)
    world.flip()
    second = Running(world, passes=first.passes._store, continuous=False)
    async with second():
        body = await second.until(lambda body: body["owner"]["side"] == "target")
        assert (body["verdict"], body["last_clean_pass"]) == ("waiting", None)
