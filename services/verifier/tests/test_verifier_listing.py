"""Pages of buckets and of called keys: whole, in order, bounded, and from a bucket down to an attribute."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from crossfade.core.parity.classes import Difference
from crossfade.core.parity.meaning import CURE, MEANS
from crossfade_verifier import listing
from verifier_service import Running, running
from verifier_world import World, wallet


async def pages(service: Running, path: str, name: str, limit: int) -> list[list[dict[str, Any]]]:
    """Return all pages, as `next` leads to them."""
    found, after = [], None
    while True:
        sep = "&" if "?" in path else "?"
        query = f"{sep}limit={limit}" + ("" if after is None else f"&after={quote(str(after))}")
        body = (await service.get(path + query)).json()
        found.append(body[name])
        after = body["next"]
        if after is None:
            return found


def faulty(wallets: int = 8) -> World:
    world = World(wallets)
    for number in range(3):
        world.plant(Difference.MISSING, wallet(number))
    for number in range(3, 5):
        world.plant(Difference.DIVERGED, wallet(number))
    return world


async def test_the_pages_of_the_buckets_are_all_buckets_and_add_up_to_the_sides() -> None:
    async with running(12) as service:
        body = await service.until(lambda body: body["last_pass"])
        found = [each for page in await pages(service, "/parity/buckets", "buckets", 5) for each in page]
    assert [each["number"] for each in found] == list(range(16))
    for side in ("source", "target"):
        assert sum(each[side]["items"] for each in found) == body["sides"][side]["items"] == 12
        total = sum(int(each[side]["digest"], 16) for each in found) % 2**128
        assert f"{total:032x}" == body["sides"][side]["digest"]
    assert not any(each["differs"] for each in found)


async def test_only_the_buckets_that_differ_are_listed_where_that_is_asked_for() -> None:
    async with Running(faulty())() as service:
        body = await service.until(lambda body: body["last_pass"])
        answer = (await service.get("/parity/buckets?differing=true")).json()
        found = [each for page in await pages(service, "/parity/buckets?differing=true", "buckets", 1) for each in page]
    assert [each["number"] for each in answer["buckets"]] == body["buckets"]["numbers"]
    assert answer["differing"] == body["buckets"]["differing"] == len(answer["buckets"]) > 0
    assert answer["pass_id"] == body["last_pass"]["id"]
    assert all(each["differs"] and each["source"] != each["target"] for each in answer["buckets"])
    assert found == answer["buckets"]


async def test_before_the_first_pass_there_are_no_buckets_and_no_differences() -> None:
    async with Running(World(1), continuous=False)() as service:
        assert (await service.get("/parity/buckets")).json()["buckets"] == []
        assert (await service.get("/parity/differences")).json()["differences"] == []


async def test_the_pages_of_the_differences_are_all_called_keys_once_by_class_and_key() -> None:
    async with Running(faulty())() as service:
        await service.until(lambda body: body["last_pass"])
        for limit in (1, 2, 3, 100):
            found = [
                each for page in await pages(service, "/parity/differences", "differences", limit) for each in page
            ]
            assert [(each["class"], each["key"]) for each in found] == [
                *(("diverged", wallet(number).decode()) for number in (3, 4)),
                *(("missing", wallet(number).decode()) for number in (0, 1, 2)),
            ]
        only = (await service.get("/parity/differences?class=missing")).json()
    assert {each["class"] for each in only["differences"]} == {"missing"}
    assert only["counts"] == {"diverged": 2, "missing": 3}
    assert only["means"] == {"missing": MEANS[Difference.MISSING]}
    assert only["cures"] == {"missing": CURE[Difference.MISSING]}


async def test_from_a_bucket_that_differs_to_its_keys_and_from_a_key_to_its_attributes() -> None:
    world = World(8)
    world.plant(Difference.DIVERGED, wallet(3))
    async with Running(world)() as service:
        await service.until(lambda body: body["last_pass"])
        (bucket,) = (await service.get("/parity/buckets?differing=true")).json()["buckets"]
        (called,) = (await service.get(f"/parity/differences?bucket={bucket['number']}")).json()["differences"]
        key = (await service.get(f"/keys/{quote(called['key'], safe='')}")).json()
        other = (bucket["number"] + 1) % 16
        assert (await service.get(f"/parity/differences?bucket={other}")).json()["differences"] == []
    assert called["bucket"] == key["bucket"] == bucket["number"]
    assert called["sample"]["differs"] == ["balance"]
    assert [each["name"] for each in key["attributes"] if each["differs"]] == ["balance"]


async def test_an_answer_looks_at_a_bounded_number_of_keys_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "LOOKED_AT", 2)
    async with Running(faulty())() as service:
        await service.until(lambda body: body["last_pass"])
        whole = (await service.get("/parity/differences")).json()
        bucket = whole["differences"][-1]["bucket"] if whole["differences"] else 0
        found = await pages(service, f"/parity/differences?bucket={bucket}", "differences", 100)
        everything = [each for page in await pages(service, "/parity/differences", "differences", 100) for each in page]
    assert len(whole["differences"]) == 2
    assert len(found) == 3  # five keys, two at a time
    assert len(everything) == 5
    assert [each for page in found for each in page] == [each for each in everything if each["bucket"] == bucket]
