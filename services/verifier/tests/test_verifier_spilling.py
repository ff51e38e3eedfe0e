"""Tables whose scans come in different orders: memory stays bounded, and the same is found."""

from __future__ import annotations

from typing import Any

import pytest
from test_verifier_resume import WALLETS, left_alone, world_with_faults

from crossfade.adapters.memory.admin import MemoryAws
from crossfade.adapters.memory.passes import MemoryPassStore
from crossfade.core.parity.classes import Difference
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.shape import Side
from crossfade_verifier.costs import Cost, expected
from crossfade_verifier.scan_unit import ScanUnit
from engagement_migration import MAPPING
from verifier_pods import Pods, told, until
from verifier_world import World, wallet

BOUND = 8


@pytest.mark.parametrize("units", [1, 3])
async def test_rows_beyond_the_bound_are_spilled_and_matched_at_the_end_and_the_same_is_found(units: int) -> None:
    world = world_with_faults()
    alone = await left_alone(world)
    most = 0
    async with Pods(world, scrambled=True, units=units, waiting_rows=BOUND) as pods:
        pod = pods.start()

        def looked() -> None:
            nonlocal most
            running = pod.passes.running
            for unit in running.mine.values() if running is not None else ():
                if isinstance(unit, ScanUnit):
                    most = max(most, len(unit._join))

        pods.reads.looked = looked
        asked = await pod.passes.ask("me")
        ended = await pod.done(asked.id)
        assert ended.findings is not None
        assert told(ended.findings) == alone
        assert ended.record.join_units == units
        assert 0 < most <= BOUND, "after each round"
        assert pods.reads.scanned == pods.rows_in_tables

        async def nothing_left() -> bool:
            return not pods.rows.blobs and not pods.rows.units

        await until(nothing_left)


async def test_a_verifier_killed_while_spilled_rows_are_matched_is_replaced_and_each_key_counts_once() -> None:
    world = world_with_faults()
    alone = await left_alone(world)
    async with Pods(world, scrambled=True, units=2, waiting_rows=BOUND, follow_bound=1, in_flight_bound_s=0.2) as pods:
        first = pods.start("first")
        asked = await first.passes.ask("me")

        async def joining() -> bool:
            return any(kind == "join" and body for (_, kind, _), body in pods.rows.bodies.items())

        await until(joining)
        await first.kill()
        ended = await pods.start("second").done(asked.id)
        assert ended.findings is not None
        assert told(ended.findings) == alone


async def test_a_verifier_killed_after_it_spilled_counts_no_row_twice() -> None:
    world = world_with_faults()
    alone = await left_alone(world)
    async with Pods(world, scrambled=True, units=1, waiting_rows=BOUND) as pods:
        pods.reads.hold_at = pods.rows_in_tables // 2
        first = pods.start("first")
        asked = await first.passes.ask("me")
        await pods.reads.held.wait()
        await first.saved()
        assert pods.rows.blobs
        await first.kill()
        pods.reads.hold_at = None
        ended = await pods.start("second").done(asked.id)
        assert ended.findings is not None
        assert told(ended.findings) == alone


async def test_missing_rows_beyond_the_budget_of_reads_are_found_anyway_and_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("crossfade_verifier.scan_unit.SUSPECTS_FREE", 2)
    world = World(WALLETS)
    for number in range(0, WALLETS, 2):
        world.plant(Difference.MISSING, wallet(number))
    async with Pods(world, units=2) as pods:
        pod = pods.start()
        asked = await pod.passes.ask("me")
        ended = await pod.done(asked.id)
        assert ended.classes == {"missing": WALLETS // 2}
        assert ended.verified == WALLETS // 2
        assert ended.record.join_units == 2


async def test_a_missing_row_is_called_while_the_scan_goes_on() -> None:
    world = World(WALLETS)
    world.plant(Difference.MISSING, wallet(0))
    async with Pods(world, units=1) as pods:
        pods.reads.hold_at = pods.rows_in_tables - 8
        pod = pods.start()
        asked = await pod.passes.ask("me")

        async def called() -> bool:
            return pod.passes.keys_of(Difference.MISSING) == [wallet(0)]

        await until(called)
        assert pods.reads.scanned < pods.rows_in_tables
        record = await MemoryPassStore(pods.rows).get(asked.id)
        assert record is not None
        assert record.state == "running"


async def test_before_the_first_pass_its_cost_is_told_by_the_tables_sizes_and_nothing_waits_for_them() -> None:
    world = World(WALLETS)
    tables = {MAPPING.shape(side).table: world.tables[side] for side in Side}
    names = {side: MAPPING.shape(side).table for side in Side}
    aws = MemoryAws(tables, set(tables))
    cost = await expected(None, names, aws.size)
    assert cost.rows == {side.value: WALLETS for side in Side}
    assert 2 < cost.read_units < WALLETS

    async def down(_table: str) -> None:
        raise StoreUnavailable("DescribeTable: no answer")

    assert await expected(None, names, down) == await expected(None, names, None) == Cost({}, 0.0)


async def test_what_a_pass_costs_is_said_before_it_and_shown_while_it_runs() -> None:
    async with Pods(World(WALLETS), units=1) as pods:
        pod = pods.start()
        first = await pod.done((await pod.passes.ask("me")).id)
        pods.reads.hold_at = pods.reads.scanned + pods.rows_in_tables // 2
        asked = await pod.passes.ask("me")
        await pods.reads.held.wait()
        running = pod.passes.running
        assert running is not None
        assert running.id == asked.id
        assert running.record.expected_read_units == pytest.approx(first.read_units)
        assert 0 < running.read_units < running.record.expected_read_units
        so_far: Any = pod.passes.progress()
        assert so_far.percent == pytest.approx(50, abs=8)
        assert so_far.scanned[Side.SOURCE] + so_far.scanned[Side.TARGET] > 0
