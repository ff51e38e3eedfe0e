"""A flip under the plain protocol, on the shipped fakes: there, back, and there again."""

import json
import math

import msgspec
import pytest

from crossfade.contracts.status import Status
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.plain.map import State
from crossfade.core.values.shape import Side
from crossfade_controller.render import status_text
from crossfade_controller.status import status_of
from flip_world import FlipTown, done, key_of, run, settled


@pytest.mark.parametrize("canary", ["", '[{"S":"CUSTOMER#canary"},{"S":"CANARY"}]'])
async def test_a_plain_migration_goes_there_and_back_and_there_again(canary: str) -> None:
    town = FlipTown(canary_key=canary)
    await done(town, "start")
    assert town.map is not None
    town.write(1, "paid")
    town.delete(2)
    said = await done(town, "cutover")
    assert "writes were stopped for" in said
    town.check()
    town.check_open()
    assert town.map.owner is Side.TARGET
    town.write(3, "shipped")
    town.delete(4)
    await town.live(25)
    await done(town, "rollback")
    town.check()
    town.check_open()
    assert town.writes_to is Side.SOURCE
    town.write(5, "late")
    await town.live(25)
    await done(town, "cutover")
    town.check()
    ctx, _ = await run(town, lambda: True)
    assert ctx.state.phase is Phase.BAKING


def compared(town: FlipTown) -> int:
    """Return how many rows the last flip copied in its hold."""
    return next(int(each.body["copied"]) for each in reversed(town.entries("step")) if each.body["step"] == "compared")


async def test_a_row_whose_record_never_came_is_copied_in_the_hold() -> None:
    town = FlipTown()
    await done(town, "start")
    town.loses = lambda key: key == key_of(1)
    town.write(1, "paid")
    await done(town, "cutover")
    town.check()
    assert compared(town) == 1


async def test_a_compare_of_both_tables_finds_what_no_list_and_no_verifier_found() -> None:
    town = FlipTown()
    await done(town, "start")
    town.is_blind, town.loses = True, lambda _key: True
    town.write(1, "paid")
    town.delete(2)
    await town.live(20)
    await run(town, lambda: town.aws.calls.count("import") == 1)
    town.loses = lambda _key: False
    await done(town, "cutover", compare="whole")
    town.check()
    assert compared(town) == 2


async def test_a_row_without_room_for_a_fence_is_copied_in_the_hold_and_nowhere_before() -> None:
    town = FlipTown()
    await done(town, "start")
    town.wide, town.is_blind = {key_of(3)}, True
    town.write(3, "wide")
    await town.live(20)
    assert town.tables[Side.TARGET].images[key_of(3)] != town.tables[Side.SOURCE].images[key_of(3)]
    await done(town, "cutover")
    town.check()
    assert "cf_mv" not in town.tables[Side.TARGET].images[key_of(3)]


async def test_a_record_that_cant_be_read_leaves_a_gap_that_holds_the_flip_up() -> None:
    town = FlipTown()
    await done(town, "start")
    town.aws.take("wallet-changes", "", b"not a record")
    town.silent = {"forward"}  # it would park it
    number = await town.ask("cutover")
    await run(town, lambda: "can't be read" in town_waits(town))
    assert town.outcome(number) is None
    assert not town.hooks


def town_waits(town: FlipTown) -> str:
    return town.process[1].waiting_for if town.process is not None else ""


async def test_a_guard_stands_on_the_standby_from_the_start_and_on_the_old_owner_after_a_flip() -> None:
    town = FlipTown(guard=True, settle_s=None)
    await done(town, "start")
    assert town.guards.on == {Side.TARGET}
    await done(town, "cutover")
    town.check_open()
    assert town.guards.on == {Side.SOURCE}
    await town.live(25)
    await done(town, "rollback")
    town.check_open()
    assert town.guards.on == {Side.TARGET}
    await done(town, "abort", confirm="orders")
    assert town.guards.on == set()


async def test_complete_moves_the_ttl_stops_and_leaves_the_guard_on_the_source() -> None:
    town = FlipTown(guard=True)
    await done(town, "start")
    await done(town, "cutover")
    await town.live(25)
    await done(town, "complete", confirm="orders")
    assert town.guards.on == {Side.SOURCE}
    ctx, _ = await run(town, lambda: True)
    assert ctx.state.phase is Phase.COMPLETE
    assert [each for each in town.steps() if each in {"ttl-off", "ttl-on", "stopped"}] == [
        "ttl-off",
        "ttl-on",
        "stopped",
    ]


async def test_status_says_who_owns_whether_writes_are_held_and_how_long_they_were() -> None:
    town = FlipTown()
    await done(town, "start")
    town.deaf = {"forward"}
    number = await town.ask("cutover")
    ctx, driver = await run(town, lambda: town.state is State.SEALED)
    await town.live(1)
    await driver.tick()
    told = status_of(ctx, driver.wait)
    msgspec.convert(json.loads(msgspec.json.encode(told)), Status)
    assert "  orders-old owns (the source table): sealed, epoch 3" in status_text(told)
    assert "  WRITES ARE HELD, for " in status_text(told)
    town.deaf = set()
    await settled(town, number)
    await town.live(1)
    await driver.tick()
    said = status_text(status_of(ctx, driver.wait))
    assert "  orders-new owns (the target table): open" in said
    assert "  the last write stop took " in said
    assert "share" not in said


async def test_a_write_of_right_before_the_hold_is_proven_is_not_dated_after_it() -> None:
    """A `Date` is right to a second; a late record of such a write would page as a broken hold."""
    town = FlipTown(guard=True, settle_s=None)
    await done(town, "start")
    last_us = list[int]()

    async def writes_once_more(_process: int, name: str) -> None:
        if name == "guard on" and not last_us:
            town.now_s = math.floor(town.now_s) + 0.9
            assert town.write(1, "the last one")
            last_us.append(town.now_us())

    town.effect = writes_once_more
    await done(town, "cutover")
    assert town.map is not None
    assert town.map.intervals[-2].held_us >= last_us[0]
    town.check()
