"""The dual write saves the stream a write, and whatever becomes of it, the caller is served as if there were none."""

from __future__ import annotations

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from api_world import ALL_NEW, SOURCE_ONLY, Pod, World
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.core.protocol.keyed.item import Role
from crossfade.core.protocol.writing import Unfit
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.image import of_string
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.sending import NotSent
from engagement_api.breaker import Breaker
from engagement_api.keys import wallet_key
from engagement_migration import MAPPING
from engagement_migration.samples import legacy_wallet

KEY = wallet_key("7", "chan")
BUDGET_S = 0.02


async def settled(pod: Pod) -> None:
    await pod.mirror.close(within_s=1.0)


async def test_an_owner_write_is_on_the_other_table_at_once_and_marked() -> None:
    world = World()
    pod = await world.pod(dual_write=True)
    earned = await pod.earn(5)
    await settled(pod)
    source, target = (world.tables[side].item(KEY) for side in (Side.SOURCE, Side.TARGET))
    assert source is not None
    assert target is not None
    assert (target.version, target.role, target.generation) == (source.version, Role.STANDBY, 0)
    assert target.content == MAPPING.map_item(Direction.FORWARD, source).content
    assert (target.recent, target.events, target.event_version) == (source.recent, source.events, source.event_version)
    assert await world.marks.seen(Direction.FORWARD, [KEY]) == [earned.version]


async def test_rule_2_a_copy_that_creates_a_source_row_gives_it_role_s_and_the_images_generation() -> None:
    world = World()
    pod = await world.pod(ALL_NEW._replace(complete=True), dual_write=True)
    earned = await pod.earn(5)  # complete: a wallet that never was needs no stub in the source table
    await settled(pod)
    source = world.tables[Side.SOURCE].item(KEY)
    assert source is not None
    assert (source.role, source.generation, source.version) == (Role.STANDBY, 2, earned.version)
    assert await world.marks.seen(Direction.REVERSE, [KEY]) == [earned.version]


async def test_rule_2_a_copy_leaves_role_and_generation_of_a_standby_row_alone() -> None:
    world = World()
    pod = await world.pod(ALL_NEW, dual_write=True)
    for _ in range(2):
        earned = await pod.earn(5)
    await settled(pod)
    source = world.tables[Side.SOURCE].item(KEY)
    assert source is not None
    assert (source.role, source.generation, source.version) == (Role.STANDBY, 2, earned.version)


async def test_a_delete_is_copied_as_a_tombstone() -> None:
    world = World()
    pod = await world.pod(dual_write=True)
    await pod.earn(5)
    await pod.delete()
    await settled(pod)
    new = world.tables[Side.TARGET].item(KEY)
    assert new is not None
    assert (new.deleted, new.role, new.content) == (True, Role.STANDBY, ())


async def test_without_the_flag_nothing_is_copied_and_a_replay_never_is() -> None:
    world = World()
    pod = await world.pod()
    transaction_id = world.clock.ulid()
    await pod.earn(5, transaction_id=transaction_id)
    await pod.flip(SOURCE_ONLY, dual_write=True)
    assert (await pod.earn(5, transaction_id=transaction_id)).replayed
    await settled(pod)
    assert world.copies[Side.TARGET].calls == []


async def test_a_hanging_table_costs_the_caller_no_more_than_the_budget() -> None:
    world = World()
    pod = await world.pod(dual_write=True, budget_s=BUDGET_S)

    answers = asyncio.Event()

    async def hangs() -> None:
        await answers.wait()

    world.copies[Side.TARGET].before = hangs
    begun_s = time.monotonic()
    assert (await pod.earn(5)).balance == 5, "answered, though the copy never was"
    assert time.monotonic() - begun_s >= BUDGET_S * 0.9
    assert pod.mirror.counts["late"] == 1
    assert world.tables[Side.TARGET].item(KEY) is None
    answers.set()
    await settled(pod)


async def test_a_copy_that_comes_late_still_lands() -> None:
    world = World()
    pod = await world.pod(dual_write=True, budget_s=BUDGET_S)

    answers = asyncio.Event()

    async def dawdles() -> None:
        await answers.wait()

    world.copies[Side.TARGET].before = dawdles
    await pod.earn(5)
    assert world.tables[Side.TARGET].item(KEY) is None
    answers.set()
    await settled(pod)
    assert world.tables[Side.TARGET].item(KEY) is not None


@pytest.mark.parametrize("error", [StoreUnavailable("down"), RuntimeError("a bug")])
async def test_a_broken_table_does_not_hurt_the_caller(error: Exception) -> None:
    world = World()
    pod = await world.pod(dual_write=True)

    async def breaks() -> None:
        raise error

    world.copies[Side.TARGET].before = breaks
    for number in range(1, 20):
        assert (await pod.earn(5)).balance == 5 * number
    assert len(world.copies[Side.TARGET].calls) == 5  # then the breaker opened
    assert pod.epochs.settled.running == 0


async def test_after_several_failures_the_breaker_spares_the_table_and_tries_again_later() -> None:
    world = World()
    pod = await world.pod(dual_write=True)
    copies = world.copies[Side.TARGET]

    async def breaks() -> None:
        raise StoreUnavailable("down")

    copies.before = breaks
    for _ in range(20):
        await pod.earn(5)
    assert len(copies.calls) == 5
    world.clock.pass_s(1.1)
    copies.before = None
    earned = await pod.earn(5)
    await settled(pod)
    new = world.tables[Side.TARGET].item(KEY)
    assert new is not None
    assert new.version == earned.version  # the copy is whole: those that were left out are overtaken


async def test_a_throttled_table_is_left_to_the_stream() -> None:
    world = World()
    pod = await world.pod(dual_write=True)

    async def throttled() -> NotSent:
        return NotSent.THROTTLED

    world.copies[Side.TARGET].before = throttled
    for _ in range(20):
        await pod.earn(5)
    await settled(pod)
    assert len(world.copies[Side.TARGET].calls) == 5
    assert await world.marks.seen(Direction.FORWARD, [KEY]) == [None]


async def test_a_copy_that_the_table_refuses_is_reported_with_its_cause_and_the_call_is_served() -> None:
    world = World()
    pod = await world.pod(dual_write=True)

    async def refused() -> Unfit:
        return Unfit("Item size to update has exceeded the maximum allowed size")

    world.copies[Side.TARGET].before = refused
    with capture_logs() as said:
        assert (await pod.earn(5)).balance == 5
        await settled(pod)
    [entry] = [each for each in said if each["event"] == "refused"]
    assert entry["key"] == KEY.decode()
    assert entry["because"] == "Item size to update has exceeded the maximum allowed size"
    assert pod.mirror.counts["skipped"] == 1
    assert await world.marks.seen(Direction.FORWARD, [KEY]) == [None]


async def test_a_broken_side_does_not_stop_copies_to_the_other() -> None:
    world = World()
    pod = await world.pod(dual_write=True)

    async def breaks() -> None:
        raise StoreUnavailable("down")

    world.copies[Side.TARGET].before = breaks
    for _ in range(10):
        await pod.earn(5)
    await pod.flip(ALL_NEW, dual_write=True)
    earned = await pod.earn(5, user="8")
    await settled(pod)
    source = world.tables[Side.SOURCE].item(wallet_key("8", "chan"))
    assert source is not None
    assert source.version == earned.version


async def test_a_batch_is_copied_by_25_with_the_last_version_of_each_wallet() -> None:
    world = World()
    pod = await world.pod(dual_write=True)
    users = [str(number) for number in range(60)]
    outcomes = await pod.earn_many(*(pod.earning(1, user) for user in users + users))
    await settled(pod)
    calls = world.copies[Side.TARGET].calls
    assert [len(each) for each in calls] == [25, 25, 10]
    last = {wallet_key(user, "chan"): each.response.version for user, each in zip(users, outcomes[60:], strict=True)}
    assert {each.key: each.version for call in calls for each in call} == last


async def test_what_waits_for_a_slow_table_is_coalesced_and_bounded() -> None:
    world = World()
    pod = await world.pod(dual_write=True, budget_s=0.0)
    gate = asyncio.Event()

    async def waits() -> None:
        await gate.wait()

    world.copies[Side.TARGET].before = waits
    for _ in range(4):  # as many requests as may run
        await pod.earn(1, user=f"busy-{_}")
        await asyncio.sleep(0)
    for _ in range(10):
        earned = await pod.earn(1)
    gate.set()
    await settled(pod)
    sent = [each.version for call in world.copies[Side.TARGET].calls for each in call if each.key == KEY]
    assert sent == [earned.version]


async def test_what_waits_is_bounded_and_the_rest_is_left_to_the_stream() -> None:
    world = World()
    pod = await world.pod(dual_write=True, budget_s=0.0, max_waiting=3)
    gate = asyncio.Event()

    async def waits() -> None:
        await gate.wait()

    world.copies[Side.TARGET].before = waits
    for number in range(10):
        await pod.earn(1, user=str(number))
        await asyncio.sleep(0)
    gate.set()
    await settled(pod)
    assert sum(map(len, world.copies[Side.TARGET].calls)) == 4 + 3  # those that ran, and those that waited
    assert pod.mirror.counts["skipped"] == 3


async def test_a_copy_counts_as_running_in_the_epoch_of_its_operation() -> None:
    world = World()
    pod = await world.pod(dual_write=True, budget_s=0.0)
    gate = asyncio.Event()

    async def waits() -> None:
        await gate.wait()

    world.copies[Side.TARGET].before = waits
    await pod.earn(5)
    await asyncio.sleep(0)
    await pod.flip(ALL_NEW, dual_write=False)
    assert pod.epochs.settled.dual_write
    gate.set()
    await settled(pod)
    assert not pod.epochs.settled.dual_write


async def test_an_item_that_the_mapping_cannot_take_is_served_and_left_to_the_replicator() -> None:
    world = World()
    pod = await world.pod(dual_write=True)
    row = legacy_wallet("7", "chan", 10, surprise=of_string("no rule knows me"))
    world.tables[Side.SOURCE].put(row)
    assert (await pod.earn(5)).balance == 15
    assert world.copies[Side.TARGET].calls == []
    assert pod.mirror.counts["skipped"] == 1


def test_a_breaker_opens_after_failures_in_a_row_and_doubles_its_pause_up_to_a_bound() -> None:
    clock = MemoryClock()
    breaker = Breaker(clock, failures=2, open_s=1.0, longest_open_s=3.0)
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert breaker.admit()
    breaker.failed()
    pauses = []
    for _ in range(4):
        begun_s = clock.monotonic()
        while not breaker.admit():
            clock.pass_s(0.25)
        pauses.append(clock.monotonic() - begun_s)
        assert not breaker.admit()  # one tries, the others wait for what becomes of it
        breaker.failed()
    assert pauses == [1.0, 2.0, 3.0, 3.0]
    clock.pass_s(3.0)
    assert breaker.admit()
    breaker.succeeded()
    assert breaker.admit()
    assert not breaker.is_open
