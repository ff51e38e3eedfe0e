"""The continuous mode: what both streams show is verified, and what differs is called by reads, without any pass."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.core.parity.classes import Difference
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.image import of_number
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from engagement_api.operations import Kind
from heard_world import Heard
from planted_kinds import DIFFERENT, EQUAL, Planted, filled, target
from verifier_world import BOUND_S, HookedTable, World, wallet

WALLETS = 8
NUMBERS = (1, 4, 6)
HARMED = sorted(map(wallet, NUMBERS))
KEY = wallet(1)


def hearing(world: World, **changed: Any) -> Heard:
    """The mode, hearing from now on."""
    heard = Heard(world, **changed)
    world.on_change = heard.mode.hear
    return heard


def called(heard: Heard) -> list[Key]:
    return sorted(key for found in heard.found.values() for key in found)


def write_and_copy(world: World) -> None:
    """Write each wallet twice, and leave its points as they were."""
    for kind in (Kind.EARN, Kind.SPEND):
        for number in range(WALLETS):
            world.operate(wallet(number), kind, 1)
            world.copy(wallet(number))


def in_handover(world: World) -> list[Key]:
    """Keys whose age would be told; nothing calls them."""
    return sorted(key for key, _ in world.handovers.oldest(WALLETS, world.clock.now))


@pytest.mark.parametrize("before", [True, False], ids=["heard before", "not heard before"])
@pytest.mark.parametrize("planted", DIFFERENT, ids=str)
async def test_a_planted_difference_is_called_within_the_bound_without_a_pass(planted: Planted, before: bool) -> None:
    for owner in Side if planted.needs is None else (planted.needs,):
        world = filled(WALLETS, owner)
        heard = hearing(world)
        if before:
            write_and_copy(world)
            assert heard.mode.counts.verified == 2 * WALLETS
        await heard.goes_on(3)
        for number in NUMBERS:
            planted.harm(world, wallet(number))
        await heard.goes_on(BOUND_S + 3)
        assert called(heard) + in_handover(world) == HARMED
        assert (heard.mode.open, heard.mode.following) == (0, len(in_handover(world)))


@pytest.mark.parametrize("planted", EQUAL, ids=str)
async def test_another_spelling_is_never_called(planted: Planted) -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    write_and_copy(world)
    for number in NUMBERS:
        planted.harm(world, wallet(number))
    await heard.goes_on(3 * BOUND_S)
    assert called(heard) == []
    assert (heard.mode.open, heard.mode.following) == (0, 0)


async def test_what_the_decoder_of_change_records_loses_is_no_blind_spot_of_a_pass() -> None:
    """The core's decoder is shared, as the README lists it; whoever gives the verifier its own takes it off there."""
    world = filled(WALLETS)
    heard = hearing(world)
    world.on_change = lambda side, change: None if change.key == KEY else heard.mode.hear(side, change)
    write_and_copy(world)
    world.put(Side.TARGET, KEY, points=-1)
    await heard.goes_on(BOUND_S + 3)
    assert called(heard) == []
    assert (await world.sweep()).keys[Difference.DIVERGED] == [KEY]


async def test_what_both_streams_show_is_verified_without_any_read() -> None:
    world = filled(WALLETS)
    reads = 0

    def read() -> None:
        nonlocal reads
        reads += 1

    world.reading = {side: HookedTable(world.tables[side], read) for side in Side}
    heard = hearing(world)
    for _ in range(20):
        write_and_copy(world)
        await heard.goes_on(1)
    world.hand_over(KEY, 2)
    world.copy(KEY)
    world.operate(wallet(2), Kind.DELETE, 0)
    world.copy(wallet(2))
    await heard.goes_on(2 * BOUND_S)
    assert reads == 0
    assert (heard.mode.open, heard.mode.following, called(heard)) == (0, 0, [])


async def test_an_owner_that_was_removed_is_verified_by_its_tombstone_in_either_order() -> None:
    for first in Side:
        world = filled(2)
        heard = Heard(world)
        version = world.item(Side.SOURCE, KEY)
        assert version is not None
        assert version.version is not None
        world.tables[Side.SOURCE].delete(KEY)
        world.put(Side.TARGET, KEY, cf_mv=version.version + 1)
        target(cf_deleted=b'{"BOOL":true}', points=None, tier=None, badges=None, preferences=None, created_ms=None)(
            world, KEY
        )
        told = [each for each in world.changes if each[1].key == KEY][-3:]
        removal, _, tombstone = told
        stone = replace(tombstone[1], before=None)
        for side, change in [removal, (Side.TARGET, stone)][:: 1 if first is Side.SOURCE else -1]:
            heard.mode.hear(side, change)
        assert (heard.mode.counts.verified, heard.mode.open) == (1, 0)


async def test_a_copy_that_does_not_come_is_stuck_and_a_late_one_is_no_alarm() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    world.earn(KEY, 1)
    await heard.goes_on(BOUND_S - 2)
    assert (heard.mode.open, called(heard)) == (1, [])
    world.copy(KEY)
    assert heard.mode.open == 0
    world.earn(KEY, 1)
    await heard.goes_on(BOUND_S + 3)
    assert heard.found == {Difference.STUCK: [KEY]}


async def test_what_was_called_keeps_its_first_time_and_clears_when_its_repair_is_heard() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    write_and_copy(world)
    good = dict(world.tables[Side.TARGET].images[KEY])
    world.put(Side.TARGET, KEY, points=-1)
    await heard.goes_on(BOUND_S + 3)
    (sample,) = heard.mode.differing.samples[Difference.DIVERGED]
    assert sample["differs"] == ["balance"]
    await heard.goes_on(3 * BOUND_S)
    (later,) = heard.mode.differing.samples[Difference.DIVERGED]
    assert later["first_seen_us"] == sample["first_seen_us"]
    assert int(later["last_seen_us"]) > int(sample["last_seen_us"])
    world.tables[Side.TARGET].put(good)
    await heard.goes_on(2)
    assert called(heard) == []


async def test_a_duplicate_from_before_the_fault_clears_nothing() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    write_and_copy(world)
    told = [each for each in world.changes if each[1].key == KEY]
    world.put(Side.TARGET, KEY, points=-1)
    for _ in range(4 * int(BOUND_S)):
        for each in told:
            heard.mode.hear(*each)
        await heard.goes_on(1)
    assert heard.found == {Difference.DIVERGED: [KEY]}


async def test_a_pass_begun_later_that_is_done_without_it_clears_it_and_no_other() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    world.put(Side.TARGET, KEY, points=-1)
    world.put(Side.TARGET, wallet(2), points=-1)
    await heard.goes_on(BOUND_S + 3)
    heard.swept(clean=False, keys=frozenset(), started_s=60.0)
    assert called(heard) == [KEY, wallet(2)], "it began before"
    heard.swept(clean=False, keys=None)
    assert called(heard) == [KEY, wallet(2)], "it doesn't know all that it called"
    heard.swept(clean=False, keys=frozenset({wallet(2)}))
    assert called(heard) == [wallet(2)]


async def test_a_key_that_is_held_out_is_no_drift() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    world.put(Side.SOURCE, KEY, cf_gen=3, cf_mv=1806571929600000005)
    await heard.goes_on(3 * BOUND_S)
    assert called(heard) == []
    assert heard.mode.following == 0


async def test_proven_is_what_both_streams_have_shown_and_nothing_since_speaks_against() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    world.earn(KEY, 1)
    item = world.item(Side.SOURCE, KEY)
    assert item is not None
    version = item.version or 0
    assert not heard.mode.proven(KEY, version)
    world.copy(KEY)
    assert heard.mode.proven(KEY, version)
    assert heard.mode.proven(KEY, version - 1)
    assert not heard.mode.proven(KEY, version + 1)
    heard.behind_s = BOUND_S
    assert not heard.mode.proven(KEY, version), "what speaks against it may not have been read yet"
    heard.behind_s = 0.0
    world.put(Side.TARGET, KEY, points=-1)
    assert not heard.mode.proven(KEY, version)


async def test_after_a_gap_nothing_is_proven() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    write_and_copy(world)
    item = world.item(Side.SOURCE, KEY)
    assert item is not None
    assert heard.mode.proven(KEY, item.version or 0)
    heard.mode.lost("a gap")
    assert not heard.mode.proven(KEY, item.version or 0)


async def test_keys_beyond_the_bound_are_counted_as_unobserved() -> None:
    world = filled(WALLETS)
    heard = hearing(world, watch_bound=3)
    for number in range(WALLETS):
        world.earn(wallet(number), 1)
    assert (heard.mode.open, heard.mode.counts.unobserved) == (3, WALLETS - 3)
    await heard.goes_on(BOUND_S + 3)
    assert len(called(heard)) == 3


async def test_nothing_is_overdue_while_a_stream_is_not_read_and_what_a_gap_lost_is_no_alarm() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    world.earn(KEY, 1)
    heard.behind_s = None
    world.on_change = lambda _side, _change: None
    world.copy(KEY)  # while the stream isn't read
    await heard.goes_on(3 * BOUND_S)
    assert heard.mode.open == 1
    heard.mode.lost("a gap")
    heard.behind_s = 0.0
    await heard.goes_on(3 * BOUND_S)
    assert (heard.mode.open, called(heard), heard.mode.counts.unobserved) == (0, [], 1)


async def test_a_stream_that_is_read_late_makes_nothing_overdue_before_it_has_come_to_it() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    world.earn(KEY, 1)
    heard.behind_s = 2 * BOUND_S
    await heard.goes_on(2 * BOUND_S)
    assert (heard.mode.open, heard.mode.following) == (1, 0)


async def test_after_complete_it_rests() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    heard.complete = True
    await heard.goes_on(1)
    world.earn(KEY, 1)
    await heard.goes_on(3 * BOUND_S)
    assert called(heard) == []
    assert "complete" in heard.mode.resting


async def test_rows_of_others_are_not_heard() -> None:
    world = filled(1)
    heard = hearing(world)
    side, change = world.changes[-1]
    heard.mode.hear(side, replace(change, key=Key(b'[{"S":"PAY#1"},{"S":"POINTS#c"}]')))
    assert heard.mode.counts.heard[side] == 0


async def test_a_read_that_fails_is_told_and_tried_again() -> None:
    world = filled(WALLETS)
    fails = True

    def maybe() -> None:
        if fails:
            raise StoreUnavailable("no route")

    world.reading = {side: HookedTable(world.tables[side], maybe) for side in Side}
    heard = hearing(world)
    world.put(Side.TARGET, KEY, points=-1)
    await heard.goes_on(BOUND_S + 3)
    assert "no route" in heard.mode.trouble
    fails = False
    await heard.goes_on(2)
    assert (called(heard), heard.mode.trouble) == ([KEY], "")


# ---- buckets ------------------------------------------------------------------------------------


async def test_a_lost_record_makes_its_bucket_differ_which_asks_for_a_pass_and_calls_nothing() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    heard.swept()
    write_and_copy(world)
    await heard.goes_on(3 * BOUND_S)
    assert (heard.mode.off, heard.asked) == ([], 0)

    def lossy(side: Side, change: Change) -> None:
        if side is Side.SOURCE:
            heard.mode.hear(side, change)

    world.earn(KEY, 1)
    world.on_change = lossy
    world.copy(KEY)
    world.on_change = heard.mode.hear
    await heard.goes_on(BOUND_S + 3)
    assert called(heard) == []
    assert heard.mode.counts.read_equal == 1, "its match was never heard, so it was read"
    await heard.goes_on(BOUND_S + 1)
    assert (len(heard.mode.off), heard.asked) == (1, 1)
    heard.swept()
    assert heard.mode.off == []


async def test_a_bucket_with_an_open_key_is_not_judged_and_a_clean_pass_rebases_it_when_the_key_is_closed() -> None:
    world = filled(WALLETS)
    heard = hearing(world, buckets=1)
    world.earn(KEY, 1)
    heard.swept()
    await heard.goes_on(BOUND_S / 2)
    world.copy(KEY)
    write_and_copy(world)
    await heard.goes_on(3 * BOUND_S)
    assert (heard.mode.off, heard.asked) == ([], 0)


async def test_duplicates_do_not_move_the_sums() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    heard.swept()
    begin = len(world.changes)
    write_and_copy(world)
    for side, change in world.changes[begin:]:
        heard.mode.hear(side, change)
    await heard.goes_on(3 * BOUND_S)
    assert heard.mode.counts.duplicates == 4 * WALLETS
    assert (heard.mode.off, heard.asked, called(heard)) == ([], 0, [])


async def test_a_pass_that_was_not_clean_or_began_before_a_gap_is_no_base() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    heard.swept(clean=False)
    assert not heard.mode.sums.based
    heard.mode.lost("a gap")
    heard.swept(started_s=5.0)
    assert not heard.mode.sums.based
    await heard.goes_on(1)
    heard.swept()
    assert heard.mode.sums.based


# ---- what no planted kind shows alone -----------------------------------------------------------


async def test_a_standby_that_goes_back_to_a_lower_version_is_no_late_record() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    write_and_copy(world)
    item = world.item(Side.TARGET, KEY)
    assert item is not None
    world.put(Side.TARGET, KEY, cf_mv=(item.version or 0) - 1)
    await heard.goes_on(BOUND_S + 3)
    assert heard.found == {Difference.STUCK: [KEY]}


async def test_a_row_put_again_at_its_version_is_looked_at_though_its_removal_was_lost() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    write_and_copy(world)
    row = dict(world.tables[Side.TARGET].images[KEY])
    world.on_change = lambda _side, _change: None
    world.tables[Side.TARGET].delete(KEY)
    world.on_change = heard.mode.hear
    world.tables[Side.TARGET].put(row | {"points": of_number(-1)})
    await heard.goes_on(BOUND_S + 3)
    assert heard.found == {Difference.DIVERGED: [KEY]}


async def test_a_hot_key_whose_copies_come_seconds_later_costs_no_read() -> None:
    world = filled(1)
    reads = 0

    def read() -> None:
        nonlocal reads
        reads += 1

    world.reading = {side: HookedTable(world.tables[side], read) for side in Side}
    heard, key = hearing(world), wallet(0)
    for second in range(60):
        world.earn(key, 1)
        if second >= 4:
            write = [change for side, change in world.changes if side is Side.SOURCE][-5]
            world.transfer(Side.SOURCE, write)
        await heard.goes_on(1)
    assert heard.mode.counts.verified >= 50
    assert (reads, heard.mode.open) == (0, 1)


async def test_the_bucket_of_a_called_key_asks_for_no_pass() -> None:
    world = filled(WALLETS)
    heard = hearing(world)
    heard.swept()
    world.put(Side.TARGET, KEY, points=-1)
    await heard.goes_on(5 * BOUND_S)
    assert (called(heard), heard.mode.off, heard.asked) == ([KEY], [], 0)
