"""A row that can't be read is a finding with its key and its cause, and never the end of a pass."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.contracts.parity import ParityReport
from crossfade.core.parity.classes import FINAL, Difference
from crossfade.core.parity.meaning import CURE, MEANS
from crossfade.core.values.shape import Side
from crossfade_controller.build import parity_of
from engagement_api.operations import Kind
from engagement_migration.samples import NOT_OURS
from verifier_service import Running, is_safe
from verifier_world import BOUND_S, World, wallet

WALLETS = 8
POISON: list[dict[str, object]] = [
    {"cf_role": "X"},
    {"cf_role": 7},
    {"cf_mv": "twelve"},
    {"cf_gen": "A"},
    {"cf_recent": "no set"},
    {"cf_floor": 3},
    {"cf_emv": "x"},
    {"cf_deleted": "yes"},
]


@pytest.mark.parametrize("side", list(Side), ids=lambda side: str(side.value))
@pytest.mark.parametrize("poison", POISON, ids=str)
async def test_a_row_that_can_not_be_read_is_found_on_its_key_and_names_its_cause(
    side: Side, poison: dict[str, object]
) -> None:
    world = World(WALLETS)
    world.put(side, wallet(3), **poison)
    found = await world.sweep()
    assert found.book.by_class == {Difference.UNREADABLE: 1}
    assert found.book.verified == WALLETS - 1, "the other rows were compared"
    assert found.keys[Difference.UNREADABLE] == [wallet(3)]
    [shown] = found.samples[Difference.UNREADABLE]
    assert shown["key"] == wallet(3).decode()
    assert shown["cause"].startswith(f"{side.value}: ")
    assert next(iter(poison)) in shown["cause"]
    assert not found.clean


async def test_one_side_alone_and_both_sides_unreadable_are_found_too() -> None:
    world = World(WALLETS)
    world.put(Side.TARGET, wallet(50), cf_role="X")
    world.put(Side.SOURCE, wallet(51), cf_mv="x")
    for side in Side:
        world.put(side, wallet(3), cf_role="X")
    found = await world.sweep()
    assert found.book.by_class == {Difference.UNREADABLE: 3}
    causes = {each["key"]: each["cause"] for each in found.samples[Difference.UNREADABLE]}
    assert causes[wallet(3).decode()].count("no such cf_role") == 2


async def test_old_duplicates_prove_nothing_of_a_key_whose_row_can_not_be_read() -> None:
    world = World(WALLETS)
    records = [each for each in world.changes if each[1].key == wallet(3)]
    world.put(Side.SOURCE, wallet(3), cf_mv="x")

    def again() -> None:
        for side, change in records:
            world.on_change(side, change)

    world.clock.on_sleep = again
    assert (await world.sweep()).book.by_class == {Difference.UNREADABLE: 1}


async def test_a_row_that_is_corrected_within_the_bound_is_no_finding() -> None:
    world = World(WALLETS)
    good = dict(world.tables[Side.TARGET].images[wallet(3)])
    world.put(Side.TARGET, wallet(3), cf_role="X")
    began_s = world.clock.now

    def corrected() -> None:
        if world.clock.now - began_s >= BOUND_S / 2:
            world.tables[Side.TARGET].put(good)

    world.clock.on_sleep = corrected
    assert (await world.sweep()).clean


async def test_an_unreadable_row_is_drift_with_its_cure_and_is_not_repaired_blindly() -> None:
    world = World(WALLETS)
    world.plant(Difference.UNREADABLE, wallet(3))
    async with Running(world)() as service:
        body = await service.until(lambda body: body["last_pass"])
        assert not is_safe(body)
        assert body["verdict"] == "drift"
        assert "1 unreadable" in body["reason"]
        shown = body["differences"]["unreadable"]
        assert shown["count"] == 1
        assert shown["samples"][0]["cause"] == "target: no such cf_role: 'X'"
        assert "parity-drift.md" in shown["cure"]
        done = await service.repaired({"class": "unreadable"})
    [step] = done["steps"]
    assert (step["class"], done["writes"]) == ("unreadable", 0)
    assert step["outcome"].startswith("can't: a row can't be read")
    assert [each.body["stage"] for each in service.store.journal] == ["planned"]


async def test_each_class_names_its_tool_and_so_do_rows_of_others_with_their_keys() -> None:
    assert set(CURE) == set(MEANS) == set(Difference)
    world = World(WALLETS)
    world.plant(Difference.TWO_OWNERS, wallet(2))
    world.tables[Side.TARGET].put(NOT_OURS[0])
    async with Running(world)() as service:
        body = await service.until(lambda body: body["last_pass"])
    assert all(each["cure"] for each in body["differences"].values())
    assert "two-owners.md" in body["differences"]["two_owners"]["cure"]
    assert body["differences"]["two_owners"]["samples"][0]["key"] == wallet(2).decode()
    assert body["not_ours"]["count"] == body["not_ours_in_target"] == 1
    assert NOT_OURS[0]["pk"] in body["not_ours"]["samples"][0]["key"].encode()
    assert "rows-not-ours.md" in body["not_ours"]["cure"]


async def test_a_controller_of_the_version_before_takes_the_new_class_for_drift() -> None:
    """It knows neither the class nor the fields; what it doesn't know blocks (ADR 0029)."""
    world = World(WALLETS)
    world.plant(Difference.UNREADABLE, wallet(3))
    async with Running(world)() as service:
        body = await service.until(lambda body: body["last_pass"])
    known = {each.value for each in Difference if each not in FINAL}
    assert "unreadable" not in known, "a build that knows fewer classes knows no more harmless ones"
    assert parity_of(body).drift == {"unreadable": 1}
    before: dict[str, Any] = {name: each for name, each in body.items() if name not in ("inputs", "not_ours")}
    before["differences"] = {
        name: {"count": each["count"], "samples": each["samples"]} for name, each in body["differences"].items()
    }
    assert ParityReport.of_dict(before).not_ours.count == 0, "a verifier of the version before says less"
    assert parity_of(before).drift == {"unreadable": 1}


async def test_a_poisoned_row_beside_live_ones_hides_no_other_difference() -> None:
    world = World(WALLETS)
    world.plant(Difference.UNREADABLE, wallet(1))
    world.plant(Difference.DIVERGED, wallet(2))
    world.operate(wallet(4), Kind.DELETE, 0)
    world.copy(wallet(4))
    assert (await world.sweep()).book.by_class == {Difference.UNREADABLE: 1, Difference.DIVERGED: 1}
