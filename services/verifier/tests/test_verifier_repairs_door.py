"""The door of repairs: a plan is shown whole before anything is written, and its id is what is carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from crossfade.adapters.memory.control import MemoryJournal
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.parity.classes import Difference
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values.shape import Side
from crossfade_verifier.operations import WhatToRepair
from crossfade_verifier.repairs import EXPIRES_US
from crossfade_verifier.repairs_door import AT_ONCE, _RepairsDoor
from engagement_migration import MAPPING
from verifier_service import Running, is_safe, running
from verifier_world import World, wallet


async def swept(service: Running) -> None:
    name = (await service.passes.ask()).id
    await service.until(lambda body: body["last_pass"] and body["last_pass"]["id"] == name)


class Hooked:
    """A table of transfers, and what happens during one of them."""

    def __init__(self, table: MemoryTable, number: int, then: Callable[[], Awaitable[None]]) -> None:
        self._table, self._left, self._then = table, number, then

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> Any:
        self._left -= 1
        if not self._left:
            await self._then()
        return await self._table.transfer(transfers, timeout_s=timeout_s)


def after_transfers(service: Running, number: int, then: Callable[[], Awaitable[None]]) -> None:
    service.repairer._transfers[Side.TARGET] = Hooked(service.target, number, then)


def drifted(keys: int, fault: Difference = Difference.MISSING, *, wallets: int | None = None) -> World:
    world = World(wallets or keys)
    for number in range(keys):
        world.plant(fault, wallet(number))
    return world


async def test_a_plan_writes_nothing_and_only_a_clean_pass_after_its_execution_counts() -> None:
    async with running(continuous=False) as service:
        await swept(service)
        await service.until(is_safe)
        service.world.put(Side.TARGET, wallet(2), points=-1)
        await swept(service)
        before = dict(service.target.images)
        planned = (await service.post("/repairs", {"class": "diverged"})).json()
        assert (planned["state"], planned["keys"], planned["writes"], planned["done"]) == ("planned", 1, 1, 0)
        assert planned["steps"][0]["action"].startswith("transfer at ")
        assert planned["steps"][0]["outcome"] is None
        assert planned["steps"][0]["source"]["state"] == "", "whoever knows most of a row could guess the rest"
        assert service.target.images == before
        await service.post(f"/repairs/{planned['id']}/execute")
        done = await service.until_repair(planned["id"], lambda body: body["state"] == "done")
        assert [each["outcome"] for each in done["steps"]] == ["repaired"]
        body = await service.parity()
        assert not is_safe(body)
        assert body["last_clean_pass"] is None
        assert any("only a later clean pass counts" in each for each in body["because"])
        await service.passes.ask()
        await service.until(is_safe)


async def test_a_class_of_997_keys_is_repaired_whole_through_small_pages() -> None:
    world = drifted(997, wallets=1000)
    async with Running(world, continuous=False)() as service:
        await swept(service)
        planned = (await service.post("/repairs", {"class": "missing"})).json()
        assert (planned["keys"], planned["left"], planned["go_on"]) == (997, 0, None)
        name, shown, after = planned["id"], [], 0
        while after is not None:
            page = (await service.get(f"/repairs/{name}?limit=70&after={after}")).json()
            assert len(page["steps"]) <= 70
            shown += [step["key"] for step in page["steps"]]
            after = page["next"]
        assert shown == sorted(wallet(number).decode() for number in range(997))
        await service.post(f"/repairs/{name}/execute")
        done = await service.until_repair(name, lambda body: body["state"] == "done")
        assert (done["done"], done["outcomes"], done["eta_s"]) == (997, {"repaired": 997}, None)
        await swept(service)
        assert (await service.parity())["verdict"] == "clean"


async def test_a_class_goes_by_several_plans_and_nothing_is_left_out_without_a_word() -> None:
    async with Running(drifted(5, wallets=8), continuous=False)() as service:
        await swept(service)
        asked: dict[str, Any] | None = {"class": "missing", "limit": 2}
        seen, left = [], []
        while asked is not None:
            done = await service.repaired(asked)
            seen += [each["key"] for each in done["steps"]]
            left.append(done["left"])
            assert done["outcomes"] == {"repaired": len(done["steps"])}
            asked = done["go_on"]
    assert seen == sorted(wallet(number).decode() for number in range(5))
    assert left == [3, 1, 0]


async def test_keys_beyond_what_a_pass_keeps_are_counted_as_left_for_a_later_pass() -> None:
    async with Running(drifted(5, wallets=8), continuous=False, keys_kept=3, units=1)() as service:
        await swept(service)
        planned = (await service.post("/repairs", {"class": "missing"})).json()
    assert (planned["keys"], planned["left"], planned["go_on"]) == (3, 2, None)


async def test_what_is_carried_out_is_the_plan_and_nothing_that_was_found_later() -> None:
    async with Running(drifted(2, wallets=4), continuous=False)() as service:
        await swept(service)
        name = (await service.post("/repairs", {"class": "missing"})).json()["id"]
        service.world.plant(Difference.MISSING, wallet(3))
        await swept(service)
        await service.post(f"/repairs/{name}/execute")
        done = await service.until_repair(name, lambda body: body["state"] == "done")
        assert done["outcomes"] == {"repaired": 2}
        assert wallet(3) not in service.target.images


async def test_who_planned_executed_and_cancelled_is_in_the_answer_and_in_the_journal() -> None:
    async with Running(drifted(3), continuous=False)() as service:
        await swept(service)
        first = (await service.post("/repairs", {"keys": [wallet(1).decode()], "who": "ann"})).json()
        await service.post(f"/repairs/{first['id']}/execute", {"who": "bob"})
        done = await service.until_repair(first["id"], lambda body: body["state"] == "done")
        assert (done["planned_by"], done["executed_by"]) == ("ann", "bob")
        second = (await service.post("/repairs", {"keys": [wallet(2).decode()], "who": "ann"})).json()
        cancelled = (await service.post(f"/repairs/{second['id']}/cancel", {"who": "cleo"})).json()
        assert (cancelled["state"], cancelled["cancelled_by"]) == ("cancelled", "cleo")
    told = [(each.body["stage"], each.body["id"], each.body["who"]) for each in service.store.journal]
    assert told == [
        ("planned", first["id"], "ann"),
        ("begun", first["id"], "bob"),
        ("done", first["id"], "bob"),
        ("planned", second["id"], "ann"),
    ]
    assert service.store.journal[2].body["outcomes"] == {"repaired": 1}


async def test_a_plan_that_is_over_is_not_executed_again() -> None:
    async with Running(drifted(1), continuous=False)() as service:
        done = await service.repaired({"keys": [wallet(0).decode()]})
        answer = await service.post(f"/repairs/{done['id']}/execute")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "wrong_state")
        assert "is done: plan again" in answer.json()["error"]["message"]


async def test_a_plan_expires() -> None:
    service = Running(drifted(1))
    name = (await service.post("/repairs", {"keys": [wallet(0).decode()]})).json()["id"]
    record = await service.repairs.get(name)
    expired = record.replace(planned_us=record.planned_us - EXPIRES_US, expires_us=record.expires_us - EXPIRES_US - 1)
    assert await service.repairs._store.replace(expired)
    assert (await service.get(f"/repairs/{name}")).json()["state"] == "expired"
    answer = await service.post(f"/repairs/{name}/execute")
    assert answer.status_code == 409
    assert "is expired: plan again" in answer.json()["error"]["message"]


async def test_a_pause_refuses_what_would_begin_and_stops_what_has_begun_until_the_resume() -> None:
    async with Running(drifted(40), continuous=False)() as service:
        operators = MemoryJournal(service.store)
        keys = [wallet(number).decode() for number in range(40)]
        name = (await service.post("/repairs", {"keys": keys})).json()["id"]
        other = (await service.post("/repairs", {"keys": keys[:1]})).json()["id"]

        async def pauses() -> None:
            await operators.append("pause", {"paused": True, "who": "ann"})

        after_transfers(service, 5, pauses)
        await service.post(f"/repairs/{name}/execute", {"pace": 10})
        paused = await service.until_repair(name, lambda body: body["state"] == "paused")
        assert paused["because"] == "ann paused the migration"
        assert paused["done"] == 10, "the slice that was being written"
        assert (paused["verifier"], paused["ended_at_us"]) == ("", None)
        refused = await service.post(f"/repairs/{other}/execute", {"who": "bob"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "paused")
        assert "ann paused the migration; nothing was repaired" in refused.json()["error"]["message"]
        last = service.store.journal[-1].body
        assert (last["stage"], last["id"], last["who"]) == ("refused", other, "bob")
        assert (await service.until_repair(name, lambda body: True))["done"] == 10
        await operators.append("pause", {"paused": False, "who": "ann"})
        done = await service.until_repair(name, lambda body: body["state"] == "done")
        assert done["outcomes"] == {"repaired": 40}


async def test_a_repair_that_is_cancelled_ends_after_the_slice_that_is_being_written() -> None:
    async with Running(drifted(40), continuous=False)() as service:
        keys = [wallet(number).decode() for number in range(40)]
        name = (await service.post("/repairs", {"keys": keys})).json()["id"]
        answers = []

        async def cancels() -> None:
            answers.append((await service.post(f"/repairs/{name}/cancel", {"who": "ann"})).json())

        after_transfers(service, 5, cancels)
        await service.post(f"/repairs/{name}/execute", {"pace": 10})
        body = await service.until_repair(name, lambda body: body["state"] == "cancelled")
        assert [each["state"] for each in answers] == ["cancelling"]
        assert body["done"] == 10
        assert [each["outcome"] for each in body["steps"]] == ["repaired"] * 10 + [None] * 30
        assert service.store.journal[-1].body["outcome"] == "cancelled"


async def test_two_executions_of_one_plan_are_one() -> None:
    async with Running(drifted(3), continuous=False)() as service:
        name = (await service.post("/repairs", {"keys": [wallet(1).decode()]})).json()["id"]
        answers = await asyncio.gather(
            service.post(f"/repairs/{name}/execute", {"who": "ann"}),
            service.post(f"/repairs/{name}/execute", {"who": "bob"}),
        )
        assert [each.status_code for each in answers] == [202, 202]
        assert len({each.json()["executed_by"] for each in answers}) == 1, "the one that won"
        await service.until_repair(name, lambda body: body["state"] == "done")
    assert [each.body["stage"] for each in service.store.journal] == ["planned", "begun", "done"]


async def test_plans_that_overlap_leave_it_to_the_conditions() -> None:
    async with Running(drifted(3), continuous=False)() as service:
        plans = [
            (await service.post("/repairs", {"keys": [wallet(each).decode() for each in keys]})).json()["id"]
            for keys in ((0, 1), (1, 2))
        ]
        for name in plans:
            await service.post(f"/repairs/{name}/execute")
        first, second = [await service.until_repair(name, lambda body: body["state"] == "done") for name in plans]
        assert first["steps"][0]["outcome"] == second["steps"][1]["outcome"] == "repaired"
        assert {first["steps"][1]["outcome"], second["steps"][0]["outcome"]} <= {"repaired", "already right"}
        assert all(wallet(number) in service.target.images for number in range(3))


async def test_repairs_are_listed_newest_first() -> None:
    service = Running(drifted(3))
    made = [(await service.post("/repairs", {"keys": [wallet(each).decode()]})).json()["id"] for each in range(3)]
    listed = (await service.get("/repairs")).json()["repairs"]
    assert [each["id"] for each in listed] == made[::-1]
    assert all(each["steps"] == [] for each in listed)


async def test_an_unknown_repair_is_named() -> None:
    service = Running(World(1))
    for answer in (
        await service.get("/repairs/none"),
        await service.post("/repairs/none/execute"),
        await service.post("/repairs/none/cancel"),
    ):
        assert answer.status_code == 404
        assert "there is no repair 'none'" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "text/plain", "origin": "https://elsewhere.example"},
        {"content_type": "text/plain"},
        {"origin": "https://elsewhere.example"},
        {"host": "elsewhere.example"},
        {"sec_fetch_site": "cross-site"},
    ],
)
async def test_a_page_of_another_origin_can_not_have_a_repair_made(headers: dict[str, str]) -> None:
    async with Running(drifted(1), continuous=False)() as service:
        body = {"keys": [wallet(0).decode()]}
        name = (await service.post("/repairs", body)).json()["id"]
        for path, sent in (("/repairs", body), (f"/repairs/{name}/execute", {}), (f"/repairs/{name}/cancel", {})):
            assert (await service.post(path, sent, **headers)).status_code in (403, 415, 421)
        assert [each.body["stage"] for each in service.store.journal] == ["planned"]
        assert (await service.post(f"/repairs/{name}/execute")).status_code == 202


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "keys, class"),
        ({"keys": [], "class": "stuck"}, "keys, class"),
        ({"keys": "x"}, "keys"),
        ({"keys": ["x"]}, "keys"),
        ({"keys": ['[{"S":"USER#7"},{"S":"WALLET#EUR"}]']}, "does not belong"),
        ({"keys": ['[{"S":"USER#7"}]']}, "keys"),
        ({"class": "equal"}, "class"),
        ({"class": "in_flight"}, "class"),
        ({"class": 7}, "class"),
        ({"class": "stuck", "execute": True}, "execute"),
        ({"class": "stuck", "who": 7}, "who"),
        ([], "object"),
        ({"class": "stuck", "limit": 0}, "limit"),
        ({"class": "stuck", "limit": True}, "limit"),
        ({"class": "stuck", "limit": 100_001}, "limit"),
        ({"class": "stuck", "after": "x"}, "after"),
        ({"class": "stuck", "after": 7}, "after"),
        ({"keys": [], "limit": 3}, "limit: only with class"),
        ({"keys": [], "after": "x"}, "after: only with class"),
    ],
)
async def test_a_bad_plan_is_refused_and_names_the_field(body: object, named: str) -> None:
    answer = await Running(World(1)).post("/repairs", body)
    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]


@pytest.mark.parametrize("pace", [0, -1, True, "5", 1.5, 10_001])
async def test_a_bad_pace_is_refused(pace: object) -> None:
    answer = await Running(World(1)).post("/repairs/any/execute", {"pace": pace})
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert "$.pace" in message or "pace: must be a whole number of steps a second, from 1 to 10000" in message


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=1001", "limit=٣", "page=2"])
async def test_a_bad_page_is_refused_and_names_the_parameter(query: str) -> None:
    answer = await Running(World(1)).get(f"/repairs/any?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["error"]["message"]


async def test_the_size_of_a_plan_is_bounded() -> None:
    service = Running(World(1), repairs_at_once=2)
    answer = await service.post("/repairs", {"keys": [wallet(number).decode() for number in range(3)]})
    assert answer.status_code == 400
    assert "at most 2" in answer.json()["error"]["message"]


async def test_a_key_may_be_spelled_with_other_spaces_and_is_planned_once() -> None:
    service = Running(drifted(3))
    keys = ['[ {"S": "USER#2"}, {"S": "POINTS#c"} ]', wallet(2).decode()]
    planned = (await service.post("/repairs", {"keys": keys})).json()
    assert [each["class"] for each in planned["steps"]] == ["missing"]


async def test_others_get_on_while_the_keys_of_a_large_class_are_sorted() -> None:
    service, turns = Running(World(1)), 0
    keys = [wallet(number) for number in range(50_000)]
    door = _RepairsDoor(service.repairs, lambda _found: keys, lambda _found: len(keys), MAPPING, 30_000)

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    beside = asyncio.create_task(others())
    wanted = await door._of_class("missing", WhatToRepair(found="missing"))
    beside.cancel()
    assert wanted.keys == sorted(keys)[:30_000]
    assert wanted.left == 20_000
    assert turns >= 2 * (50_000 // AT_ONCE) - 2
