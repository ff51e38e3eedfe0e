"""Section 6, the sweep: each class is found where it was planted, and nothing else is."""

from __future__ import annotations

import pytest
from msgspec import Raw

from apply_cases import protocol
from crossfade.core.parity.classes import FINAL, Difference
from crossfade.core.protocol.keyed.item import FIRST_STAMPED, version_of
from crossfade.core.values.shape import Direction, Side
from crossfade_verifier.findings import Findings, Stage
from engagement_api.operations import Kind
from engagement_migration import MAPPING
from engagement_migration.samples import NOT_OURS, legacy_wallet
from verifier_world import BOUND_S, World, wallet

WALLETS = 12
FAULTS = sorted(FINAL, key=str)


def classes(found: Findings) -> dict[Difference, int]:
    return found.book.by_class


async def test_equal_tables_make_a_clean_pass_that_counts_every_key() -> None:
    found = await World(WALLETS).sweep()
    assert found.clean
    assert found.book.verified == WALLETS
    assert found.digests[Side.SOURCE].count == found.digests[Side.TARGET].count == WALLETS
    assert found.digests[Side.SOURCE].total == found.digests[Side.TARGET].total != 0
    assert found.stage is Stage.DONE


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_a_planted_fault_is_found_on_its_key_and_on_no_other(fault: Difference) -> None:
    world = World(WALLETS)
    world.plant(fault, wallet(7))
    found = await world.sweep()
    assert classes(found) == {fault: 1}
    assert [each["key"] for each in found.samples[fault]] == [wallet(7).decode()]
    assert found.keys[fault] == [wallet(7)]
    assert not found.clean
    assert found.book.verified == WALLETS - 1


@pytest.mark.parametrize(
    "fault", [each for each in FAULTS if each not in (Difference.AHEAD, Difference.TWO_OWNERS)], ids=str
)
async def test_the_bucket_of_a_fault_in_content_differs_and_no_other(fault: Difference) -> None:
    world = World(WALLETS)
    world.plant(fault, wallet(7))
    found = await world.sweep()
    assert len(found.differing) == 1


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_a_fault_that_was_mended_leaves_the_next_pass_clean(fault: Difference) -> None:
    world = World(WALLETS)
    before = [dict(world.tables[side].images) for side in Side]
    world.plant(fault, wallet(7))
    assert not (await world.sweep()).clean
    for side, images in zip(Side, before, strict=True):
        world.tables[side].images = images
    assert (await world.sweep()).clean


async def test_a_key_in_handover_is_left_out_and_keeps_the_pass_from_being_clean() -> None:
    world = World(WALLETS)
    world.plant(Difference.IN_HANDOVER, wallet(7))
    found = await world.sweep()
    assert classes(found) == {Difference.IN_HANDOVER: 1}
    assert found.left_out == 1
    assert found.differing == []
    assert not found.clean


async def test_the_age_of_a_handover_lasts_over_passes_and_ends_with_it() -> None:
    world = World(WALLETS)
    world.plant(Difference.IN_HANDOVER, wallet(7))
    started_s = world.clock.now
    await world.sweep(limit_s=1.0)
    await world.sweep(limit_s=1.0)
    ((key, age_s),) = world.handovers.oldest(2, world.clock.now)
    assert key == wallet(7)
    assert 2.0 <= age_s <= world.clock.now - started_s
    world.activate(wallet(7))
    world.copy(wallet(7))
    assert (await world.sweep()).clean
    assert world.handovers.oldest(1, world.clock.now) == []


async def test_a_handed_over_table_is_compared_from_its_new_owner() -> None:
    world = World(WALLETS)
    for number in range(WALLETS):
        world.hand_over(wallet(number), 2)
        world.copy(wallet(number))
    assert (await world.sweep()).clean
    world.put(Side.SOURCE, wallet(3), balance=77)
    found = await world.sweep()
    assert classes(found) == {Difference.DIVERGED: 1}
    assert found.samples[Difference.DIVERGED][0]["owner"] == "target"


async def test_a_source_row_removed_from_under_its_new_owner_is_missing() -> None:
    world = World(WALLETS)
    world.hand_over(wallet(3), 2)
    world.copy(wallet(3))
    world.tables[Side.SOURCE].delete(wallet(3))
    assert classes(await world.sweep()) == {Difference.MISSING: 1}


async def test_rows_of_the_payments_system_are_neither_compared_nor_missed() -> None:
    world = World(WALLETS)
    for row in NOT_OURS:
        world.tables[Side.SOURCE].put(row)
    found = await world.sweep()
    assert found.clean
    assert found.scanned[Side.SOURCE] == WALLETS + len(NOT_OURS)
    assert found.belonging[Side.SOURCE] == WALLETS


async def test_a_payments_row_that_leaked_into_the_target_table_is_no_clean_pass() -> None:
    world = World(WALLETS)
    world.tables[Side.TARGET].put(NOT_OURS[0])
    found = await world.sweep()
    assert found.not_ours == 1
    assert not found.clean


async def test_a_row_that_can_not_be_mapped_is_missing_and_the_sample_says_why() -> None:
    world = World(WALLETS)
    row = legacy_wallet("99", "c", 5) | {"nickname": NOT_OURS[0]["currency"]}
    world.tables[Side.SOURCE].put(row)
    found = await world.sweep()
    assert classes(found) == {Difference.MISSING: 1}
    assert "nickname" in found.samples[Difference.MISSING][0]["source"]["unmappable"]
    # The sweeper, or an exclusion, marks such a row: from then on it is known that it stays.
    world.tables[Side.SOURCE].put(row | protocol(FIRST_STAMPED, "A", 5))
    found = await world.sweep()
    assert classes(found) == {Difference.HELD_OUT: 1}
    assert found.clean
    assert "nickname" in found.samples[Difference.HELD_OUT][0]["cause"]


async def test_imported_rows_without_a_version_compare_by_content() -> None:
    world = World()
    world.tables[Side.SOURCE].put(legacy_wallet("1", "c", 5))
    image = MAPPING.carry(Direction.FORWARD, legacy_wallet("1", "c", 5))
    world.put(Side.TARGET, wallet(1), points=5, cf_mv=0, cf_role="S")
    assert image["points"] == world.tables[Side.TARGET].images[wallet(1)]["points"]
    assert (await world.sweep()).clean
    world.put(Side.TARGET, wallet(1), points=6)
    assert classes(await world.sweep()) == {Difference.DIVERGED: 1}


async def test_tombstones_count_on_neither_side_and_a_delete_that_did_not_arrive_is_stuck() -> None:
    world = World(WALLETS)
    world.operate(wallet(3), Kind.DELETE, 0)
    world.copy(wallet(3))
    found = await world.sweep()
    assert found.clean
    assert found.digests[Side.TARGET].count == WALLETS - 1
    world.operate(wallet(4), Kind.DELETE, 0)
    assert classes(await world.sweep()) == {Difference.STUCK: 1}


async def test_a_copy_that_arrives_within_the_bound_is_no_difference() -> None:
    world = World(WALLETS)
    world.earn(wallet(7), 1)
    began_s = world.clock.now

    def late() -> None:
        if world.clock.now - began_s >= BOUND_S / 2:
            world.copy(wallet(7))

    world.clock.on_sleep = late
    found = await world.sweep()
    assert found.clean
    assert world.clock.now - began_s >= BOUND_S / 2


async def test_a_key_under_constant_writes_is_verified_through_the_streams() -> None:
    """The standby is behind at every read; only the records of both streams show that it follows."""
    world = World(1)
    world.earn(wallet(0), 1)
    behind: list[tuple[int, int]] = []

    def busy() -> None:
        world.earn(wallet(0), 1)
        world.copy(wallet(0))
        world.earn(wallet(0), 1)
        owner, standby = (version_of(world.item(side, wallet(0))) for side in Side)
        behind.append((owner, standby))

    world.clock.on_sleep = busy
    found = await world.sweep()
    assert found.clean
    assert behind
    assert all(owner > standby for owner, standby in behind)


async def test_a_key_under_constant_writes_whose_copies_stop_is_stuck() -> None:
    world = World(1)
    world.earn(wallet(0), 1)

    def busy() -> None:
        world.earn(wallet(0), 1)

    world.clock.on_sleep = busy
    assert classes(await world.sweep()) == {Difference.STUCK: 1}


async def test_a_delete_and_a_creation_during_the_pass_raise_no_alarm() -> None:
    world = World(WALLETS)
    world.operate(wallet(2), Kind.DELETE, 0)
    world.earn(wallet(90), 1)

    def arrives() -> None:
        world.copy(wallet(2))
        world.copy(wallet(90))

    world.clock.on_sleep = arrives
    assert (await world.sweep()).clean


async def test_a_standby_that_lost_its_transaction_ids_is_diverged() -> None:
    world = World(WALLETS)
    world.put(Side.TARGET, wallet(7), cf_recent=None)
    assert classes(await world.sweep()) == {Difference.DIVERGED: 1}


async def test_samples_are_capped_and_counts_are_not() -> None:
    world = World(WALLETS)
    for number in range(WALLETS):
        world.plant(Difference.MISSING, wallet(number))
    found = await world.sweep(samples=3)
    assert classes(found) == {Difference.MISSING: WALLETS}
    assert len(found.samples[Difference.MISSING]) == 3


async def test_versions_in_samples_are_text() -> None:
    world = World(WALLETS)
    world.plant(Difference.DIVERGED, wallet(7))
    shown = (await world.sweep()).samples[Difference.DIVERGED][0]
    assert shown["source"]["version"] == str(version_of(world.item(Side.SOURCE, wallet(7))))
    assert shown["target"]["role"] == "S"


async def test_a_held_out_key_is_no_drift_and_its_sample_names_the_cause() -> None:
    world = World(WALLETS)
    large = legacy_wallet("3", "c", 3, preferences=Raw(b'{"M":{"note":{"S":"%b"}}}' % (b"x" * 409_500)))
    world.tables[Side.SOURCE].put(large | protocol(20 * FIRST_STAMPED, "A", 5, 9 * FIRST_STAMPED))
    found = await world.sweep()
    assert classes(found) == {Difference.HELD_OUT: 1}
    assert found.clean
    assert found.keys[Difference.HELD_OUT] == [wallet(3)]
    [shown] = found.samples[Difference.HELD_OUT]
    assert shown["key"] == wallet(3).decode()
    assert "DynamoDB allows 409600" in shown["cause"]
    assert found.differing == []


async def test_a_held_out_key_of_the_target_table_names_why_the_source_one_refuses_it() -> None:
    world = World(WALLETS)
    world.hand_over(wallet(3), 2)
    world.copy(wallet(3))
    world.put(Side.TARGET, wallet(3), cf_gen=3, cf_mv=20 * FIRST_STAMPED, stray=1)
    found = await world.sweep()
    assert classes(found) == {Difference.HELD_OUT: 1}
    [shown] = found.samples[Difference.HELD_OUT]
    assert (shown["owner"], "stray" in shown["cause"]) == ("target", True)
