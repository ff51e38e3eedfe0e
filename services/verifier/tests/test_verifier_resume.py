"""A pass goes on where it was, whatever becomes of those who make it; and what was found is not forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from crossfade.adapters.memory.control import MemoryJournal
from crossfade.adapters.memory.passes import MemoryPassStore
from crossfade.core.parity.classes import Difference
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.shape import Side
from engagement_migration.samples import NOT_OURS
from verifier_pods import Pods, told, until
from verifier_world import World, wallet

WALLETS = 60
PLANTED = {
    Difference.DIVERGED: (3, 31),
    Difference.MISSING: (7, 44),
    Difference.EXTRA: (9,),
    Difference.STUCK: (15,),
    Difference.AHEAD: (21,),
    Difference.TWO_OWNERS: (50,),
    Difference.UNREADABLE: (58,),
}


def world_with_faults() -> World:
    world = World(WALLETS)
    for fault, numbers in PLANTED.items():
        for number in numbers:
            world.plant(fault, wallet(number))
    world.tables[Side.TARGET].put(NOT_OURS[0])
    return world


async def left_alone(world: World, **settings: Any) -> dict[str, Any]:
    async with Pods(world, **settings) as pods:
        pod = pods.start()
        asked = await pod.passes.ask("me")
        found = (await pod.done(asked.id)).findings
        assert found is not None
        return told(found)


async def test_a_verifier_killed_at_78_percent_is_replaced_and_the_pass_goes_on_from_there() -> None:
    world = world_with_faults()
    alone = await left_alone(world)
    async with Pods(world) as pods:
        pods.reads.hold_at = int(0.78 * pods.rows_in_tables)
        first = pods.start("first")
        asked = await first.passes.ask("me")
        await pods.reads.held.wait()
        await first.saved()
        await first.kill()
        assert pods.reads.scanned < pods.rows_in_tables
        pods.reads.hold_at = None
        second = pods.start("second")
        found = (await second.done(asked.id)).findings
        assert found is not None
        assert told(found) == alone
        assert pods.reads.scanned <= 1.2 * pods.rows_in_tables


async def test_a_unit_whose_checkpoint_can_not_be_read_begins_again() -> None:
    world = world_with_faults()
    alone = await left_alone(world)
    async with Pods(world) as pods:
        pods.reads.hold_at = int(0.78 * pods.rows_in_tables)
        first = pods.start("first")
        asked = await first.passes.ask("me")
        await pods.reads.held.wait()
        await first.saved()
        await first.kill()
        left = [place for place, each in pods.rows.units.items() if each.state == "open"]
        assert left
        pods.rows.bodies |= dict.fromkeys(left, b"no checkpoint")
        pods.reads.hold_at = None
        found = (await pods.start("second").done(asked.id)).findings
        assert found is not None
        assert told(found) == alone


async def test_a_verifier_killed_five_times_finds_the_same_and_scans_hardly_more() -> None:
    world = world_with_faults()
    alone = await left_alone(world)
    async with Pods(world) as pods:
        pod = pods.start("0")
        asked = await pod.passes.ask("me")
        for number in range(1, 6):
            pods.reads.hold_at = int(number / 6 * pods.rows_in_tables)
            pods.reads.held.clear()
            await pods.reads.held.wait()
            await pod.saved()
            await pod.kill()
            pod = pods.start(str(number))
        pods.reads.hold_at = None
        pods.reads.go.set()
        found = (await pod.done(asked.id)).findings
        assert found is not None
        assert told(found) == alone
        assert pods.reads.scanned <= 1.2 * pods.rows_in_tables


async def test_connections_that_drop_at_78_percent_are_waited_for_inside_the_unit_and_the_reason_is_shown() -> None:
    world = world_with_faults()
    alone = await left_alone(world)
    async with Pods(world) as pods:
        pods.reads.hold_at = int(0.78 * pods.rows_in_tables)
        pod = pods.start()
        asked = await pod.passes.ask("me")
        await pods.reads.held.wait()
        pods.reads.error = StoreUnavailable("connection reset")
        pods.reads.go.set()

        async def failing() -> bool:
            return pods.reads.failed > 5

        await until(failing)
        assert "connection reset" in pod.passes.waiting
        assert await pod.passes.get(asked.id) is pod.passes.running
        pods.reads.error = None
        found = (await pod.done(asked.id)).findings
        assert found is not None
        assert told(found) == alone
        assert pods.reads.scanned == pods.rows_in_tables
        assert pod.passes.waiting == ""


@pytest.mark.parametrize("units", [1, 2, 7])
async def test_what_units_have_found_adds_up_to_what_one_finds_alone(units: int) -> None:
    world = world_with_faults()
    assert await left_alone(world, units=units) == await left_alone(world, units=1, page=200)


async def test_two_verifiers_share_a_pass_and_when_one_vanishes_the_other_ends_it() -> None:
    world = world_with_faults()
    alone = await left_alone(world, units=6)
    async with Pods(world, units=6) as pods:
        pods.reads.hold_at = pods.rows_in_tables // 2
        first, second = pods.start("first"), pods.start("second")
        asked = await first.passes.ask("me")

        async def both_work() -> bool:
            holders = {each.holder.partition("/")[0] for each in pods.rows.units.values()}
            return holders >= {"first", "second"}

        await until(both_work)
        await first.saved()
        await first.kill()
        pods.reads.hold_at = None
        pods.reads.go.set()
        found = (await second.done(asked.id)).findings
        assert found is not None
        assert told(found) == alone


async def test_verifiers_that_share_a_pass_say_the_same_of_it_while_it_runs_and_after() -> None:
    world = world_with_faults()
    async with Pods(world, units=6) as pods:
        first, second = pods.start("first"), pods.start("second")
        asked = await first.passes.ask("me")
        ended = [await pod.done(asked.id) for pod in (first, second)]
        assert [each.clean for each in ended] == [False, False]
        found = [each.findings for each in ended]
        assert None not in found
        assert told(found[0]) == told(found[1])  # type: ignore[arg-type]
        assert [[each.id for each in pod.passes.history()] for pod in (first, second)] == [[asked.id], [asked.id]]


async def test_a_unit_that_was_taken_over_is_let_go_at_once_and_nothing_of_it_is_written() -> None:
    world = world_with_faults()
    alone = await left_alone(world, units=1)
    async with Pods(world, units=1) as pods:
        pods.reads.hold_at = pods.rows_in_tables // 2
        pod = pods.start()
        asked = await pod.passes.ask("me")
        await pods.reads.held.wait()
        await pod.saved()
        store = MemoryPassStore(pods.rows)
        record = await store.running()
        assert record is not None
        [unit] = await store.units(record)
        thief = await store.claim(unit, "thief")
        assert thief is not None
        stolen = dict(pods.rows.bodies)

        async def let_go() -> bool:
            running = pod.passes.running
            return running is not None and not running.mine

        await until(let_go)
        assert pods.rows.bodies == stolen
        assert pods.rows.units[record.id, "scan", 0].holder == "thief"
        pods.reads.hold_at = None
        pods.reads.go.set()
        found = (await pod.done(asked.id)).findings  # the thief shows no sign of life
        assert found is not None
        assert told(found) == alone


async def test_a_verifier_that_is_started_again_knows_the_last_passes_the_last_clean_one_and_what_was_called() -> None:
    world = World(8)
    async with Pods(world) as pods:
        pod = pods.start()
        clean = await pod.passes.ask("ann")
        await pod.done(clean.id)
        await pod.stop()
        pod = pods.start("next")

        async def clean_again() -> bool:
            return pod.passes.last_clean is not None and pod.passes.last_clean.id == clean.id

        await until(clean_again)
        world.plant(Difference.DIVERGED, wallet(3))
        drift = await pod.passes.ask("bob")
        await pod.done(drift.id)
        await pod.stop()
        again = pods.start("again")

        async def known() -> bool:
            return again.passes.last is not None

        await until(known)
        passes = again.passes
        assert passes.last is not None
        assert passes.last.id == drift.id
        assert [(each.id, each.who, each.state) for each in passes.history()] == [
            (drift.id, "bob", "done"),
            (clean.id, "ann", "done"),
        ]
        assert passes.keys_of(Difference.DIVERGED) == [wallet(3)]


async def test_a_pass_that_a_verifier_has_not_heard_of_yet_is_looked_up() -> None:
    async with Pods(World(8)) as pods:
        pod = pods.start()
        asked = await pod.passes.ask("ann")
        await pod.done(asked.id)
        again = pods.start("again")  # it hasn't read anything yet
        found = await again.passes.get(asked.id)
        assert found is not None
        assert (found.state, found.who, found.clean) == ("done", "ann", True)
        assert found.findings is not None
        assert found.findings.book.verified == 8
        assert await again.passes.get("never") is None


async def test_a_repair_after_the_last_clean_pass_is_found_in_the_journal_by_a_verifier_that_starts() -> None:
    async with Pods(World(8)) as pods:
        pod = pods.start()
        clean = await pod.passes.ask("ann")
        await pod.done(clean.id)
        await pod.stop()
        await MemoryJournal(pods.control, who="other").append("repair", {"stage": "begun", "id": "r", "keys": 1})
        again = pods.start("again")

        async def known() -> bool:
            return again.passes.last is not None

        await until(known)
        assert again.passes.last_clean is None
        assert again.passes.repaired_since_clean == 1


async def test_a_pass_during_which_the_journal_got_a_repair_is_not_clean_whoever_made_it() -> None:
    async with Pods(World(8)) as pods:
        pods.reads.hold_at = 4
        pod = pods.start()
        asked = await pod.passes.ask("ann")
        await pods.reads.held.wait()
        await MemoryJournal(pods.control, who="other").append("repair", {"stage": "begun", "id": "r", "keys": 1})
        pods.reads.go.set()
        ended = await pod.done(asked.id)
        assert (ended.state, ended.clean, ended.repairs) == ("done", False, 1)


async def test_a_pass_is_cancelled_by_name_at_another_verifier_and_what_it_called_stays() -> None:
    world = World(WALLETS)
    world.plant(Difference.DIVERGED, wallet(0))
    async with Pods(world, units=1) as pods:
        pods.reads.hold_at = pods.rows_in_tables // 2
        first, second = pods.start("first"), pods.start("second")
        asked = await first.passes.ask("ann")
        await pods.reads.held.wait()

        async def called() -> bool:
            return all(pod.passes.keys_of(Difference.DIVERGED) == [wallet(0)] for pod in (first, second))

        await until(called)
        ended = await second.passes.cancel(asked.id, "bob")
        assert ended is not None
        assert (ended.state, ended.why) == ("cancelled", "cancelled by bob")

        async def over() -> bool:
            return first.passes.running is None and second.passes.running is None

        await until(over)
        assert await called()
        assert await first.passes.cancel("unknown", "bob") is None
        await first.stop()
        third = pods.start("third")

        async def knows() -> bool:
            return third.passes.keys_of(Difference.DIVERGED) == [wallet(0)]

        await until(knows)


async def test_a_pass_that_is_asked_for_while_one_that_was_asked_for_runs_begins_after_it() -> None:
    async with Pods(World(8)) as pods:
        pods.reads.hold_at = 4
        first, second = pods.start("first"), pods.start("second")
        one = await first.passes.ask("ann")
        await pods.reads.held.wait()
        two, again = await second.passes.ask("bob"), await first.passes.ask("cat")
        assert two.id == again.id != one.id
        pods.reads.go.set()
        assert (await second.done(one.id)).state == (await first.done(two.id)).state == "done"
        assert [each.who for each in first.passes.history()] == ["bob", "ann"]


async def test_a_stopped_verifier_gives_its_units_up_so_that_nobody_waits_for_its_lease() -> None:
    world = World(WALLETS)
    async with Pods(world, units=1, unit_lease_s=600.0, checkpoint_s=100.0) as pods:
        pods.reads.hold_at = pods.rows_in_tables // 2
        first = pods.start("first")
        asked = await first.passes.ask("ann")
        await pods.reads.held.wait()
        await first.stop()
        pods.reads.hold_at = None
        found = (await pods.start("second").done(asked.id)).findings
        assert found is not None
        assert found.clean
        assert pods.reads.scanned <= 1.1 * pods.rows_in_tables
