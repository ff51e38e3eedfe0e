"""What verifiers that share a pass say of each other's part in it, and of a store that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from crossfade.core.parity.classes import Difference
from crossfade.core.values.errors import StoreUnavailable, UnknownDocument
from verifier_pods import Pods, told, until
from verifier_world import World, wallet

WALLETS = 40


async def test_the_progress_of_another_verifier_counts_and_a_sign_of_life_alone_does_not() -> None:
    async with Pods(World(WALLETS), units=1, page=1, unit_lease_s=600.0) as pods:
        first, second = pods.start("first"), pods.start("second")
        pods.reads.hold_at = 6
        asked = await first.passes.ask("me")
        await pods.reads.held.wait()
        await until(_takes_part(second.passes))
        await first.saved()
        await until(_sees_later(second.passes, pods.beat))
        before_s = second.passes.read_s
        await until(_sees_later(second.passes, pods.beat))
        assert second.passes.read_s == before_s, "it hangs, and says that it lives"
        pods.reads.held.clear()
        pods.reads.hold_at = 20
        pods.reads.go.set()
        pods.reads.go = asyncio.Event()
        await pods.reads.held.wait()

        async def moved() -> bool:
            return second.passes.read_s > before_s

        await until(moved)
        progress = second.passes.progress()
        assert progress is not None
        assert (progress.pods, progress.units, progress.units_done) == (["first"], 1, 0)
        pods.reads.hold_at = None
        pods.reads.go.set()
        assert (await second.done(asked.id)).clean


def _takes_part(passes: Any) -> Any:
    async def asked() -> bool:
        return passes.running is not None and bool(passes.running.theirs)

    return asked


def _sees_later(passes: Any, beat: Callable[[], int]) -> Any:
    """A verifier has seen a sign of life that was given from now on, and the one after it."""
    wanted = beat() + 1

    async def seen() -> bool:
        return passes.running is not None and any(each.beat > wanted for each in passes.running.units)

    return seen


async def test_while_passes_can_not_be_saved_the_scan_goes_on_and_calls_and_no_answer_is_clean() -> None:
    world = World(WALLETS)
    world.plant(Difference.DIVERGED, wallet(3))
    async with Pods(world, units=1) as pods:
        pods.reads.hold_at = 8
        pod = pods.start()
        asked = await pod.passes.ask("me")
        await pods.reads.held.wait()
        pod.store.error = StoreUnavailable("the control tables: no route to host")

        async def waits() -> bool:
            return "no route to host" in pod.passes.waiting

        await until(waits)
        pods.reads.hold_at = None
        pods.reads.go.set()

        async def called() -> bool:
            return pod.passes.keys_of(Difference.DIVERGED) == [wallet(3)]

        await until(called)
        assert pods.reads.scanned == pods.rows_in_tables
        assert pod.passes.running is not None
        pod.store.error = None
        ended = await pod.done(asked.id)
        assert ended.classes == {"diverged": 1}
        assert pods.reads.scanned == pods.rows_in_tables
        assert pod.passes.waiting == ""


async def test_a_key_in_handover_is_known_with_its_age_at_each_verifier_whoever_met_it() -> None:
    world = World(8)
    world.seal(wallet(3), 2)
    async with Pods(world, units=1) as pods:
        first, second = pods.start("first"), pods.start("second")
        asked = await first.passes.ask("me")
        for pod in (first, second):
            ended = await pod.done(asked.id)
            assert ended.classes == {"in_handover": 1}
            assert len(pod.passes.handovers) == 1
            assert pod.passes.handovers.since_s(wallet(3)) is not None


async def test_what_could_not_be_removed_at_the_end_of_a_pass_is_removed_later() -> None:
    async with Pods(World(8), units=1) as pods:
        pod = pods.start()
        pod.store.refuses = {"forget"}
        asked = await pod.passes.ask("me")
        await pod.done(asked.id)

        async def failed() -> bool:
            return "no route to host" in pod.passes.waiting

        await until(failed)
        assert pods.rows.bodies
        pod.store.refuses = set()

        async def gone() -> bool:
            return not pods.rows.bodies and not pods.rows.units

        await until(gone)


async def test_verifiers_that_begin_at_the_same_time_make_one_pass() -> None:
    async with Pods(World(8), continuous=True, pause_s=600.0) as pods:
        alive = [pods.start(str(number)) for number in range(3)]

        async def done() -> bool:
            return all(pod.passes.last is not None for pod in alive)

        await until(done)
        assert len(pods.rows.records) == 1
        assert len({pod.passes.last.id for pod in alive if pod.passes.last is not None}) == 1


async def test_a_request_replaces_a_pass_that_nobody_requested_whoever_began_it() -> None:
    async with Pods(World(WALLETS), continuous=True, pause_s=600.0) as pods:
        pods.reads.hold_at = 6
        first, second = pods.start("first"), pods.start("second")
        await pods.reads.held.wait()
        began = first.passes.running or second.passes.running
        assert began is not None
        asked = await second.passes.ask("ann")
        pods.reads.hold_at = None
        pods.reads.go.set()
        assert (await first.done(asked.id)).state == "done"
        states = {each.id: each.state for each in first.passes.history()}
        assert states[began.id] == "given up"


async def test_what_is_kept_of_findings_survives_and_what_other_buckets_found_is_refused() -> None:
    world = World(WALLETS)
    world.plant(Difference.MISSING, wallet(1))
    found = await world.sweep()
    again = type(found)(found.limits, found.rows)
    again.take(found.encode())
    assert told(again) == told(found)
    assert again.samples == found.samples
    assert again.called_keys == found.called_keys
    assert again.dropped == found.dropped
    assert again.read_units == found.read_units
    assert [list(again.digests[side].buckets()) for side in again.digests] == [
        list(found.digests[side].buckets()) for side in found.digests
    ]
    other = type(found)(found.limits._replace(buckets=4), found.rows)
    for wrong in (found.encode(), b"no findings"):
        with pytest.raises(UnknownDocument):
            other.take(wrong)
