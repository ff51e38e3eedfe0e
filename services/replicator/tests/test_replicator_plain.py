"""The plain protocol's apply pipeline on tables in memory (ADR 0044)."""

from __future__ import annotations

import asyncio
import random

import pytest

from crossfade.contracts.letter import HOLD_BROKEN, LATE, STRAY, UNRECORDED
from crossfade.core.protocol.limits import MAX_ITEM_BYTES, item_size
from crossfade.core.protocol.plain.map import drained_from, opened_from, sealed_from, version_at
from crossfade.core.protocol.plain.rows import fence_of
from crossfade.core.protocol.writing import Verdict
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import StoreRefused, StoreUnavailable
from crossfade.core.values.image import of_number, of_string
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.sending import NotSent
from plain_bench import PlainBench, Stream
from plain_records import AT_US, FIRST, FLIPPED, HELD_US, KEY, S, back, payload, row, told, total_of
from replicator_bench import FORWARD, REVERSE, records

LATER_US = HELD_US + 60 * S


# ---- copies ------------------------------------------------------------------------------------


async def test_an_owners_write_arrives_with_a_fence_of_its_commit_time() -> None:
    bench = PlainBench()
    assert await bench.forward(told(5)) == {"records": 1, "applied": 1}
    assert bench.target.images[KEY] == row(5, mv=version_at(AT_US))


async def test_an_imported_row_without_a_fence_is_lower_than_any() -> None:
    bench = PlainBench()
    bench.target.put(row(3))
    assert await bench.forward(told(5, 3)) == {"records": 1, "applied": 1}
    assert bench.target.images[KEY] == row(5, mv=version_at(AT_US))


async def test_only_the_newest_of_a_batch_is_written() -> None:
    bench = PlainBench()
    found = await bench.forward(
        told(5), told(6, 5, at_us=AT_US + 2 * S), told(7, 6, at_us=AT_US + 4 * S), told(1, number=2)
    )
    assert found == {"records": 4, "applied": 2, "coalesced": 2}
    assert total_of(bench.target.images[KEY]) == 7


async def test_a_delete_leaves_a_tombstone_that_is_listed_before_it_is_written() -> None:
    bench = PlainBench()
    listed: list[int] = []
    bench.copies[FORWARD].before = lambda: listed.append(len(bench.store.tombstones[Side.TARGET]))
    await bench.forward(told(5), payload(None, row(5), at_us=AT_US + 2 * S))
    assert bench.target.images[KEY] == row(deleted=True, mv=version_at(AT_US + 2 * S))
    assert listed == [1]


async def test_a_late_copy_of_before_a_delete_brings_nothing_back() -> None:
    bench = PlainBench()
    await bench.forward(payload(None, row(5), at_us=AT_US + 2 * S))
    found = await bench.forward(told(5))
    assert found["stale"] == 1
    assert bench.target.images[KEY] == row(deleted=True, mv=version_at(AT_US + 2 * S))


async def test_a_record_twice_changes_nothing() -> None:
    bench = PlainBench()
    await bench.forward(told(5))
    assert (await bench.forward(told(5)))["duplicate"] == 1


async def test_whatever_the_order_the_newest_write_stands_in_the_end() -> None:
    """Duplicates, other orders, batches of any size; commit times a second apart, so that they say which came first."""
    for seed in range(30):
        chance, bench = random.Random(seed), PlainBench()
        history = [told(total, total - 1 or None, at_us=AT_US + 2 * S * total) for total in range(1, 9)]
        history.insert(4, payload(None, row(4), at_us=AT_US + 9 * S))
        told_of = history + chance.choices(history, k=6)
        chance.shuffle(told_of)
        while told_of:
            size = chance.randint(1, 5)
            part, told_of = told_of[:size], told_of[size:]
            bench.source.images[KEY] = row(8)
            await bench.forward(*part)
        assert bench.target.images[KEY] == row(8, mv=version_at(AT_US + 16 * S)), seed
        assert await bench.codes() == []


# ---- the owner is asked ------------------------------------------------------------------------


async def test_two_writes_within_a_second_ask_the_owner_where_they_come_the_other_way_round() -> None:
    bench = PlainBench()
    bench.source.put(row(4))  # what the owner holds: the record with the lower commit time came second, and was second
    await bench.forward(told(5, at_us=AT_US + 500_000))
    found = await bench.forward(told(4, at_us=AT_US))
    assert found["copied"] == 1
    assert total_of(bench.target.images[KEY]) == 4
    assert (fence_of(bench.target.images[KEY]) or 0) == version_at(AT_US + 500_000) + 1


async def test_an_ask_is_as_late_as_the_latest_record_of_its_key_in_the_batch() -> None:
    """The record of a copy that a flip made, the owner's write after it, and one from between that comes late."""
    bench = PlainBench()
    bench.source.put(row(4))
    echo = payload(row(6, mv=77), row(6), at_us=AT_US)
    await bench.forward(echo, told(4, at_us=AT_US + 500_000))
    await bench.forward(told(5, at_us=AT_US + 300_000))
    assert total_of(bench.target.images[KEY]) == 4


async def test_equal_commit_times_ask_the_owner() -> None:
    bench = PlainBench()
    bench.source.put(row(9))
    found = await bench.forward(told(8), told(9))
    assert found["copied"] == 1
    assert total_of(bench.target.images[KEY]) == 9


async def test_a_row_put_back_with_its_fence_in_it_is_no_echo_on_its_owner() -> None:
    bench = PlainBench()
    bench.source.put(row(5, mv=77))
    found = await bench.forward(payload(row(5, mv=77), row(4), at_us=AT_US))
    assert found == {"records": 1, "copied": 1}
    assert bench.target.images[KEY] == row(5, mv=version_at(AT_US) + 1)


async def test_an_owner_that_has_nothing_leaves_a_listed_tombstone() -> None:
    bench = PlainBench()
    bench.target.put(row(5, mv=version_at(AT_US)))
    await bench.forward(payload(row(4, mv=77), None, at_us=AT_US + 2 * S))
    assert bench.target.images[KEY] == row(deleted=True, mv=version_at(AT_US + 2 * S) + 1)
    assert list(bench.store.tombstones[Side.TARGET]) == [KEY]


# ---- records of the standby --------------------------------------------------------------------


async def test_an_echo_is_left_and_a_stray_parked_once_with_both_images() -> None:
    bench = PlainBench()
    mv = version_at(AT_US)
    await bench.reverse(payload(row(5, mv=mv), None, side=Side.TARGET, at_us=AT_US + S))
    stray = payload(row(6, mv=mv), row(5, mv=mv), side=Side.TARGET, at_us=AT_US + 2 * S)
    await bench.reverse(stray)
    found = await bench.reverse(stray)
    assert (found["echo"], found["stray"]) == (1, 2)
    letters = await bench.letters.all()
    assert [(each.code, each.payload) for each in letters] == [(STRAY, stray)]
    assert bench.source.images == {}


async def test_what_fills_the_standby_before_both_ways_is_no_stray() -> None:
    bench = PlainBench(strays_since_us=AT_US + 60 * S)
    found = await bench.reverse(payload(row(5), None, side=Side.TARGET, at_us=AT_US))
    assert found == {"records": 1, "unwatched": 1}
    assert await bench.codes() == []


async def test_a_view_that_is_old_calls_no_acknowledged_write_an_echo() -> None:
    """The member saw the first map; since then the target owns, and its application moved a row with its fence."""
    bench = PlainBench()
    await bench.members[REVERSE].beat()
    bench.store.owner_map = FLIPPED
    bench.target.put(row(5, mv=77))
    member = bench.members[REVERSE]
    assert member.view == FIRST
    told_of = payload(row(5, mv=77), None, side=Side.TARGET, at_us=LATER_US)
    tally = await bench.pipelines[REVERSE].apply("shard-1", records([told_of]))
    assert tally.counts["copied"] == 1
    assert total_of(bench.source.images[KEY]) == 5


# ---- first touch -------------------------------------------------------------------------------


async def test_after_a_flip_a_row_that_its_record_knows_takes_the_copy() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(4))
    assert await bench.reverse(told(5, 4, side=Side.TARGET, at_us=LATER_US)) == {"records": 1, "applied": 1}
    assert bench.source.images[KEY] == row(5, mv=version_at(LATER_US))
    assert await bench.codes() == []


async def test_after_a_flip_a_row_that_no_record_has_shown_is_kept_before_it_is_overwritten() -> None:
    """It may be the only copy of a write whose record never came."""
    bench = PlainBench(FLIPPED)
    bench.source.put(row(99))
    found = await bench.reverse(told(5, 4, side=Side.TARGET, at_us=LATER_US))
    assert (found["applied"], found["parked"]) == (1, 1)
    assert await bench.codes() == [UNRECORDED]
    assert b'"99"' in (await bench.letters.all())[0].payload
    assert total_of(bench.source.images[KEY]) == 5


async def test_that_letter_goes_when_the_record_comes_that_shows_the_row() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(3))
    await bench.reverse(told(5, 4, side=Side.TARGET, at_us=LATER_US + 4 * S))
    assert await bench.codes() == [UNRECORDED]
    await bench.reverse(told(4, 3, side=Side.TARGET, at_us=LATER_US))
    assert await bench.codes() == []
    assert total_of(bench.source.images[KEY]) == 5


async def test_within_a_batch_an_earlier_record_may_show_the_row() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(3))
    await bench.reverse(
        told(4, 3, side=Side.TARGET, at_us=LATER_US), told(5, 4, side=Side.TARGET, at_us=LATER_US + 4 * S)
    )
    assert await bench.codes() == []
    assert total_of(bench.source.images[KEY]) == 5


async def test_a_row_that_the_ttl_service_took_is_no_lost_write() -> None:
    bench = PlainBench(FLIPPED)
    due = {"expires_at": of_number(LATER_US // S - 10)}
    old, new = row(4) | due, row(4) | {"expires_at": of_number(LATER_US // S + 900)}
    await bench.reverse(payload(new, old, side=Side.TARGET, at_us=LATER_US))
    assert await bench.codes() == []
    assert "expires_at" in bench.source.images[KEY]


# ---- late records, and removals by the TTL service ----------------------------------------------


async def test_a_late_record_that_the_flip_missed_brings_what_the_old_owners_row_holds() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(5))
    bench.target.put(row(4, mv=version_at(AT_US)))
    found = await bench.forward(told(99, 4, at_us=HELD_US - S))
    assert found["late_copied"] == 1
    assert bench.target.images[KEY] == row(5), "never the record's own images"
    assert await bench.codes() == []


async def test_a_late_record_of_a_key_that_the_application_has_changed_since_is_nothing() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(6, mv=version_at(LATER_US)))
    bench.target.put(row(6))
    found = await bench.forward(told(5, 4, at_us=HELD_US - S))
    assert found == {"records": 1, "late": 1}
    assert total_of(bench.target.images[KEY]) == 6


async def test_a_write_that_is_still_on_its_way_is_waited_for() -> None:
    """Without the wait the old owner's row looks untouched, and the copy would undo an acknowledged write."""
    bench = PlainBench(FLIPPED)
    bench.source.put(row(5))
    bench.target.put(row(6))
    stream = bench.streams[FORWARD]
    stream.waited.append(lambda: bench.source.put(row(6, mv=version_at(LATER_US))))
    found = await bench.forward(told(5, 4, at_us=HELD_US - S))
    assert "late_copied" not in found
    assert total_of(bench.target.images[KEY]) == 6


async def test_a_key_that_is_changed_and_changed_back_meanwhile_is_parked_with_both_rows() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(5))
    bench.now_us = LATER_US
    bench.target.put(row(4))
    stream = bench.streams[FORWARD]
    stream.waited += [lambda: bench.target.put(row(7)), lambda: bench.target.put(row(4))]
    await bench.forward(told(5, 4, at_us=HELD_US - S))
    assert await bench.codes() == [LATE]
    kept = (await bench.letters.all())[0].payload
    assert b'"5"' in kept
    assert b'"4"' in kept


async def test_a_write_past_the_hold_pages_with_both_rows() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(5))
    bench.target.put(row(5))
    await bench.forward(told(5, 4, at_us=HELD_US + S))
    assert await bench.codes() == [HOLD_BROKEN]


async def test_after_the_flip_back_a_record_of_the_first_interval_has_its_owner_decide() -> None:
    bench = PlainBench(back())
    bench.source.put(row(5))
    bench.target.put(row(4))
    found = await bench.forward(told(4, 3, at_us=HELD_US - S))
    assert found["copied"] == 1
    assert total_of(bench.target.images[KEY]) == 5


async def test_a_removal_by_the_ttl_crosses_only_if_it_is_still_due_on_the_owner() -> None:
    due, later = LATER_US // S - 5, LATER_US // S + 900
    cases = ((of_number(due), True), (of_number(later), False), (of_string("soon"), False), (None, False))
    for standing, gone in cases:
        bench = PlainBench(FLIPPED)
        bench.target.put(row(4) | ({} if standing is None else {"expires_at": standing}))
        await bench.forward(payload(None, row(4) | {"expires_at": of_number(due)}, at_us=LATER_US, ttl=True))
        assert (KEY not in bench.target.images) is gone
        assert await bench.codes() == []


async def test_a_row_that_others_changed_after_the_hold_no_longer_says_what_was_true() -> None:
    """A stray on the old owner, after the flip: its own letter keeps it, and no late record takes it to the owner."""
    bench = PlainBench(FLIPPED)
    bench.now_us = LATER_US
    bench.target.put(row(4))
    bench.source.put(row(99))
    found = await bench.forward(told(5, 4, at_us=HELD_US - S))
    assert found["late_disturbed"] == 1
    assert total_of(bench.target.images[KEY]) == 4


class Again(Stream):
    """A stream in which all records have arrived again."""

    async def changes(self, since_s: float, keys: frozenset[Key]) -> dict[Key, list[Change]]:
        del since_s
        return await super().changes(0, keys)


async def test_an_old_record_that_comes_again_after_the_hold_is_no_change_of_after_it() -> None:
    """The stream is read by arrival: the import's record, again, kept from the owner what a flip had missed."""
    bench = PlainBench(back())
    bench.target.put(row(4))  # the import, while the target was the standby
    bench.now_us = HELD_US + 60 * S
    bench.target.put(row(5))
    bench.source.put(row(4, mv=version_at(AT_US)))
    bench.handed[REVERSE]._hints._old_witness = Again(bench.target)
    bench.now_us = HELD_US + 700 * S
    found = await bench.reverse(told(5, 4, at_us=HELD_US + 60 * S, side=Side.TARGET))
    assert found == {"records": 1, "late": 1, "late_copied": 1}
    assert total_of(bench.source.images[KEY]) == 5


async def test_and_so_it_is_while_the_other_direction_is_waited_for() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(5))
    bench.now_us = LATER_US
    bench.target.put(row(4))
    bench.streams[FORWARD].waited.append(lambda: bench.source.put(row(99)))
    found = await bench.forward(told(5, 4, at_us=HELD_US - S))
    assert found["late_disturbed"] == 1
    assert total_of(bench.target.images[KEY]) == 4


# ---- seals, throttling, refusals -----------------------------------------------------------------


async def test_in_a_sealed_map_records_wait_and_are_decided_at_the_map_that_is_open_then() -> None:
    bench = PlainBench(sealed_from(drained_from(FIRST)))
    task = asyncio.create_task(bench.forward(told(5)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    assert bench.target.images == {}
    bench.store.owner_map = opened_from(sealed_from(drained_from(FIRST)))
    await bench.members[FORWARD].beat()
    assert (await task)["applied"] == 1


async def test_a_seal_stops_what_is_not_sent_yet_and_is_acknowledged_with_nothing_on_the_wire() -> None:
    bench = PlainBench()
    forward = FORWARD
    member, copies = bench.members[forward], bench.copies[forward]
    sealed = sealed_from(drained_from(FIRST))
    await member.beat()
    copies.answers = [[NotSent.THROTTLED]]

    async def seal(seconds: float) -> None:
        del seconds
        bench.store.owner_map = sealed
        await member.look()

    bench.clock.sleep = seal  # type: ignore[method-assign]  # the seal comes while it backs off
    task = asyncio.create_task(bench.forward(told(5)))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not task.done()
    assert len(copies.calls) == 1
    await member.beat()
    assert member.acked == sealed.epoch
    bench.store.owner_map = opened_from(sealed)
    await member.beat()
    assert (await task)["applied"] == 1


async def test_throttling_and_silence_drop_nothing() -> None:
    bench = PlainBench()
    copies = bench.copies[FORWARD]
    copies.answers = [[NotSent.THROTTLED, Verdict.APPLIED], StoreUnavailable("silence")]
    found = await bench.forward(told(5), told(6, number=2))
    assert found["applied"] == 2
    assert [len(each) for each in copies.calls] == [2, 1, 1]
    assert len(bench.clock.slept) == 2


async def test_a_table_that_may_not_be_written_ends_the_batch_unacknowledged() -> None:
    bench = PlainBench()
    bench.copies[FORWARD].answers = [StoreRefused("denied", reason="AccessDeniedException")]
    with pytest.raises(StoreRefused):
        await bench.forward(told(5))


async def test_what_can_never_be_applied_is_parked_with_its_payload() -> None:
    bench = PlainBench()
    bench.target.put(row(3) | {"cf_mv": of_string("high")})
    await bench.forward(b"{}", told(5))
    assert await bench.codes() == ["poison_record", "unversioned"]


async def test_a_row_without_room_for_a_fence_is_listed_and_waits_for_nobody() -> None:
    bench = PlainBench()
    wide = row(5) | {"note": of_string("x")}
    wide["note"] = of_string("x" * (MAX_ITEM_BYTES - item_size(wide)))
    found = await bench.forward(payload(wide, None, at_us=AT_US))
    assert found["wide"] == 1
    assert await bench.codes() == []
    assert [each.code for each in await bench.letters.settled()] == ["wide"]
