"""A repair says what happened, by what is read of the key afterwards: that a write was taken proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from test_verifier_repair import KEY, Bench

from crossfade.core.parity.classes import Difference
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values.errors import Throttled
from crossfade.core.values.shape import Side
from engagement_migration import MAPPING
from engagement_migration.samples import NOT_OURS, legacy_wallet
from verifier_service import Running, running
from verifier_world import World, wallet


class Then:
    """A table of transfers, and what happens right after each."""

    def __init__(self, bench: Bench, side: Side, then: Callable[[], None]) -> None:
        self._table, self._then = bench.world.tables[side], then

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> Any:
        sent = await self._table.transfer(transfers, timeout_s=timeout_s)
        self._then()
        return sent


def then(bench: Bench, happens: Callable[[], None]) -> None:
    bench.repairer._transfers[Side.TARGET] = Then(bench, Side.TARGET, happens)


@pytest.mark.parametrize(
    "fault", [Difference.STUCK, Difference.DIVERGED, Difference.MISSING, Difference.EXTRA, Difference.AHEAD], ids=str
)
async def test_what_is_right_afterwards_was_repaired(fault: Difference) -> None:
    bench = Bench()
    bench.world.plant(fault, KEY)
    assert await bench.repair() == ["repaired"]
    assert bench.repairer.repaired == {fault.value: 1}
    assert bench.store.journal[-1].body["steps"][0]["outcome"] == "repaired"


async def test_an_attribute_that_nothing_names_stays_on_the_standby_and_is_named() -> None:
    bench = Bench()
    bench.world.put(Side.TARGET, KEY, stray=1)
    [outcome] = await bench.repair()
    assert outcome.startswith("can't: it was written, and is diverged in ")
    assert "'stray'" in outcome
    assert bench.repairer.repaired == {}
    assert bench.store.journal[-1].body["steps"][0]["outcome"] == outcome


async def test_a_live_ttl_on_a_standby_of_the_source_table_is_gone_when_it_is_called_repaired() -> None:
    bench = Bench()
    bench.world.hand_over(KEY, 2)
    bench.world.copy(KEY)
    ttl = MAPPING.shape(Side.SOURCE).ttl
    assert ttl
    bench.world.put(Side.SOURCE, KEY, **{ttl: 1_900_000_000})
    assert "live TTL on a standby" in (await bench.planned()).shown["differs"]
    assert await bench.repair() == ["repaired"]
    assert ttl not in bench.world.tables[Side.SOURCE].images[KEY]


async def test_an_owner_that_does_not_map_can_not_be_repaired_and_says_why() -> None:
    bench = Bench()
    row = legacy_wallet("2", "c", 5) | {"nickname": NOT_OURS[0]["currency"]}
    image = bench.world.tables[Side.SOURCE].images[KEY]
    bench.world.tables[Side.SOURCE].put(row | {name: raw for name, raw in image.items() if name.startswith("cf_")})
    bench.world.tables[Side.TARGET].delete(KEY)
    [outcome] = await bench.repair()
    assert outcome.startswith("can't: the owner can't be mapped: ")
    assert "nickname" in outcome


async def test_an_extra_without_a_version_can_not_be_repaired() -> None:
    bench = Bench()
    bench.world.tables[Side.SOURCE].delete(KEY)
    bench.world.put(Side.TARGET, KEY, cf_mv=None)
    assert await bench.repair() == ["can't: the extra row has no version: needs a human decision"]


async def test_what_was_right_before_is_told_apart_from_what_was_repaired() -> None:
    assert await Bench().repair() == ["already right"]
    bench = Bench()
    bench.world.plant(Difference.STUCK, KEY)
    steps = await bench.repairer.plan([KEY])
    bench.world.copy(KEY)
    [done] = await bench.repairer.carry_out(steps)
    assert done["outcome"] == "already right"
    assert bench.repairer.repaired == {}


async def test_an_owner_that_writes_on_meanwhile_does_not_hide_that_its_standby_was_repaired() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)

    def writes_on() -> None:
        bench.world.earn(KEY, 1)

    then(bench, writes_on)
    assert await bench.repair() == ["repaired"]


async def test_a_stray_that_undoes_the_repair_at_once_is_told() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)
    then(bench, lambda: bench.world.put(Side.TARGET, KEY, points=-2))
    assert await bench.repair() == ["can't: it was written, and is diverged in balance"]


async def test_a_key_that_can_not_be_read_back_is_not_called_repaired() -> None:
    bench = Bench()
    bench.world.plant(Difference.DIVERGED, KEY)
    table = bench.world.tables[Side.SOURCE]
    read = table.read_answers

    async def down(keys: Sequence[bytes]) -> Sequence[bytes]:
        raise Throttled("slow down")

    def fails() -> None:
        table.read_answers = down  # type: ignore[method-assign]  # the store fails from here

    then(bench, fails)
    assert await bench.repair() == ["can't: it was written, and can't be read back: look again"]
    table.read_answers = read  # type: ignore[method-assign]
    assert (await bench.world.sweep()).clean


async def test_a_class_is_repaired_page_by_page_and_nothing_is_left_out_without_a_word() -> None:
    world = World(8)
    for number in range(5):
        world.plant(Difference.MISSING, wallet(number))
    async with Running(world, continuous=False)() as service:
        service.passes.ask()
        await service.until(lambda body: body["last_pass"])
        asked: dict[str, Any] = {"class": "missing", "limit": 2, "execute": True}
        seen, left = [], []
        while True:
            answer = (await service.post("/repair", asked)).json()
            seen += [each["key"] for each in answer["steps"]]
            left.append(answer["left"])
            assert all(each["outcome"] == "repaired" for each in answer["steps"])
            if answer["next"] is None:
                break
            asked["after"] = answer["next"]
    assert seen == sorted(wallet(number).decode() for number in range(5))
    assert left == [3, 1, 0]


async def test_keys_beyond_what_a_pass_keeps_are_counted_as_left() -> None:
    world = World(8)
    for number in range(5):
        world.plant(Difference.MISSING, wallet(number))
    async with Running(world, continuous=False, repairs_at_once=3)() as service:
        service.passes.ask()
        await service.until(lambda body: body["last_pass"])
        answer = (await service.post("/repair", {"class": "missing"})).json()
    assert (len(answer["steps"]), answer["left"], answer["next"]) == (3, 2, None)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"class": "stuck", "limit": 0}, "limit"),
        ({"class": "stuck", "limit": True}, "limit"),
        ({"class": "stuck", "limit": 1001}, "limit"),
        ({"class": "stuck", "after": "x"}, "keys"),
        ({"keys": [], "limit": 3}, "limit: only with class"),
        ({"keys": [], "after": "x"}, "after: only with class"),
    ],
)
async def test_a_bad_page_is_refused_and_names_the_field(body: object, named: str) -> None:
    async with running(1) as service:
        answer = await service.post("/repair", body)
    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]
