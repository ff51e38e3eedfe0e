"""Strays: what a writer outside the protocol wrote is carried over or in a letter (design.md, rule 5; ADR 0016)."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from apply_cases import COMMITTED_US, KEY, V, payload, protocol, source, target
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.control import MemoryDeadLetters
from crossfade.contracts.letter import DeadLetter
from crossfade.core.protocol.keyed.item import FIRST_STAMPED, Role
from crossfade.core.protocol.keyed.writes import Activate, Operate, Seal
from crossfade.core.protocol.writing import Applied, Refused, Transfer
from crossfade.core.values import image as wire
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Direction, Side
from crossfade_replicator.interventions import at_once
from engagement_api.operations import Kind
from engagement_migration import MAPPING
from ownership_cases import SEED, operation
from replicator_bench import Bench, records

FORWARD, REVERSE = Direction.FORWARD, Direction.REVERSE
SINCE = 1


async def earn(bench: Bench, side: Side = Side.SOURCE, seed: int = SEED) -> None:
    op = operation(Kind.EARN, key=KEY, seed=seed, transaction_id=seed.to_bytes(16, "big"))
    assert isinstance(await bench.tables[side].perform(Operate(KEY, op, soft=32)), Applied)


async def copied(strays_since_us: int = SINCE) -> Bench:
    """An owner in the source table with its standby in the target; what the target table's stream holds is read."""
    bench = Bench(strays_since_us=strays_since_us)
    await earn(bench)
    await bench.forward(bench.source.changes)
    bench.source.changes.clear()
    bench.target.changes.clear()
    return bench


def number(value: int) -> dict[str, Raw]:
    return {"points": wire.of_number(value)}


# ---- on the owner ------------------------------------------------------------------------------


async def test_an_unstamped_write_on_an_unstamped_row_is_counted_named_carried_and_lifted() -> None:
    bench = Bench(strays_since_us=SINCE, clock=MemoryClock(COMMITTED_US))
    bench.source.put(source(KEY, 5))
    bench.source.put(source(KEY, 9))
    counts = await bench.forward(bench.source.changes)
    assert counts == {"records": 2, "stray": 2, "lifted": 1}
    owner = bench.source.item(KEY)
    assert owner is not None
    assert owner.version is not None
    assert owner.version > FIRST_STAMPED
    assert (await bench.forward(bench.source.changes[2:]))["applied"] == 1
    standby = bench.target.item(KEY)
    assert standby is not None
    assert (standby.version, standby.role) == (owner.version, Role.STANDBY)
    assert dict(standby.content)["points"] == b'{"N":"9"}'
    assert await bench.letters.count() == 0, "nothing is left for humans to do"
    [letter] = await bench.letters.settled()
    assert (letter.key, letter.table, letter.code, letter.consumer) == (KEY, "wallet", "stray", "forward")
    assert letter.committed_us == bench.tallies[FORWARD].stray_last_us
    assert letter.payload == bench.source.changes[1]
    assert "Stop the writer" in letter.cure


async def test_before_the_moment_writers_are_outside_by_nature_and_nobody_is_told() -> None:
    bench = Bench(strays_since_us=0)
    bench.source.put(source(KEY, 5))
    bench.source.put(source(KEY, 9))
    assert await bench.forward(bench.source.changes) == {"records": 2, "applied": 1, "coalesced": 1}
    assert bench.tallies[FORWARD].stray_last_us == 0
    assert await bench.letters.settled() == []


async def test_a_stray_after_the_moment_that_is_read_before_its_journal_entry_is_carried_and_not_named() -> None:
    """Nothing is lost: the copy has what was written. The writer's next write, or a duplicate, is named (ADR 0016)."""
    bench = Bench(strays_since_us=0)  # no entry yet: the moment was measured, and the journal says it a moment later
    bench.source.put(source(KEY, 5))
    moment_us = COMMITTED_US + 1
    bench.source.put(source(KEY, 9))
    counts = await bench.forward(bench.source.changes)
    stray = bench.source.changes[-1]
    assert bench.tallies[FORWARD].stray_last_us == 0
    assert "stray" not in counts
    assert await bench.letters.settled() == []
    standby = bench.target.item(KEY)
    assert standby is not None
    assert dict(standby.content)["points"] == b'{"N":"9"}', "it came along with all that was written before"
    bench.strays_since_us = moment_us  # the journal's entry is read
    bench.source.put(source(KEY, 11))
    await bench.forward(bench.source.changes[2:])
    [letter] = await bench.letters.settled()
    assert letter.payload == bench.source.changes[2]
    await bench.forward(bench.source.changes[3:])
    standby = bench.target.item(KEY)
    assert standby is not None
    assert dict(standby.content)["points"] == b'{"N":"11"}'
    before = bench.tallies[FORWARD].counts["stray"]
    await bench.forward([stray])
    assert bench.tallies[FORWARD].counts["stray"] == before + 1, "judged by its own commit time"


async def test_an_old_duplicate_of_a_record_from_before_the_moment_is_no_stray() -> None:
    bench = Bench()
    bench.source.put(source(KEY, 5))
    old = list(bench.source.changes)
    await bench.forward(old)
    bench.strays_since_us = COMMITTED_US + 1  # the first tick of the table's clock is COMMITTED_US
    bench.source.put(source(KEY, 9))
    fresh = bench.source.changes[1:]
    counts = await bench.forward([*fresh, *old, *fresh])
    assert counts["stray"] == 2, "one write, delivered twice"
    [letter] = await bench.letters.settled()
    assert letter.committed_us > COMMITTED_US


async def test_a_key_has_one_settled_letter_and_it_describes_the_last_write() -> None:
    bench = await copied()
    for balance in range(100, 120):
        bench.source.put(bench.source.images[KEY] | {"balance": wire.of_number(balance)})
    records_of_strays = list(bench.source.changes)
    await bench.forward(records_of_strays[10:])
    await bench.forward(records_of_strays[:10])
    [letter] = await bench.letters.settled()
    assert letter.payload == records_of_strays[-1]
    assert bench.tallies[FORWARD].counts["stray"] == 20


async def test_one_key_is_lifted_once_a_batch_however_often_it_was_written() -> None:
    bench = await copied()
    for balance in range(100, 150):
        bench.source.put(bench.source.images[KEY] | {"balance": wire.of_number(balance)})
    counts = await bench.forward(list(bench.source.changes))
    assert (counts["stray"], counts["lifted"], "lift_overtaken" in counts) == (50, 1, False)


async def test_a_removed_owner_is_a_stray_and_its_tombstone_travels() -> None:
    bench = await copied()
    bench.source.delete(KEY)
    counts = await bench.forward(bench.source.changes)
    assert counts["stray"] == 1
    standby = bench.target.item(KEY)
    assert standby is not None
    assert standby.deleted
    [letter] = await bench.letters.settled()
    assert letter.payload == bench.source.changes[0]


async def test_an_owner_that_the_ttl_removed_is_no_stray() -> None:
    bench = Bench(strays_since_us=SINCE)
    counts = await bench.forward([payload(None, source(**protocol(V, "A", 1, V)), ttl=True)])
    assert counts == {"records": 1, "applied": 1}


async def test_what_is_written_to_a_tombstone_needs_a_decision_since_nobody_will_read_it() -> None:
    bench = await copied()
    answer = await bench.source.perform(Operate(KEY, operation(Kind.DELETE, key=KEY, seed=SEED), soft=32))
    assert isinstance(answer, Applied)
    bench.source.changes.clear()
    bench.source.put(bench.source.images[KEY] | {"balance": wire.of_number(1)})
    await bench.forward(bench.source.changes)
    [letter] = await bench.letters.all()
    assert (letter.code, letter.settled, letter.payload) == ("stray", False, bench.source.changes[0])


# ---- on a standby ------------------------------------------------------------------------------


async def test_each_stray_on_a_standby_leaves_a_letter_with_both_images() -> None:
    bench = await copied()
    for points in (6, 7):
        bench.target.put(bench.target.images[KEY] | number(points))
    written = list(bench.target.changes)
    counts = await bench.apply(REVERSE, written)
    assert (counts["stray_standby"], counts["parked"]) == (2, 2)
    letters = await bench.letters.all()
    assert [each.payload for each in letters] == written
    assert {(each.key, each.table, each.code, each.settled) for each in letters} == {
        (KEY, "engagement", "stray", False)
    }
    assert all(f"show reverse/{each.sequence}" in each.cure for each in letters)


async def test_a_stray_that_a_transfer_has_overwritten_meanwhile_is_parked_anyway() -> None:
    bench = await copied()
    bench.target.put(bench.target.images[KEY] | number(777))
    stray = list(bench.target.changes)
    await earn(bench, seed=SEED + 1)
    await bench.forward(bench.source.changes)
    standby = bench.target.item(KEY)
    assert standby is not None
    assert dict(standby.content)["points"] != b'{"N":"777"}', "overwritten"
    await bench.apply(REVERSE, stray)
    assert [each.payload for each in await bench.letters.all()] == stray


async def test_a_stray_is_parked_although_its_key_is_marked_and_newer_in_the_same_batch() -> None:
    bench = await copied()
    bench.target.put(bench.target.images[KEY] | number(777))
    stray = list(bench.target.changes)
    await bench.marks.mark(REVERSE, {KEY: V * 2})
    newer = payload(target(**protocol(V * 2, "A", 9, V * 2)), target(**protocol(V, "S", 1, V)), side=Side.TARGET)
    await bench.apply(REVERSE, [newer, *stray, newer])
    assert [each.payload for each in await bench.letters.all()] == stray


async def test_one_write_is_one_letter_however_often_and_wherever_its_record_comes() -> None:
    bench = await copied()
    bench.target.put(bench.target.images[KEY] | number(777))
    bench.target.put(bench.target.images[KEY] | number(778))
    stray = list(bench.target.changes)
    await bench.apply(REVERSE, stray)
    again = records([*reversed(stray), *stray])
    await bench.pipelines[REVERSE].apply("shard-2", again)
    assert await bench.letters.count() == 2


async def test_a_repair_whose_owner_has_moved_on_is_parked_since_nobody_can_tell_it_from_a_stray() -> None:
    bench = await copied()
    right = bench.target.images[KEY]
    bench.target.images[KEY] = right | number(1)
    bench.target.put(right)
    await earn(bench, seed=SEED + 1)
    counts = await bench.apply(REVERSE, bench.target.changes)
    assert (counts["parked"], "repair" in counts) == (1, False)


async def test_a_put_that_erased_the_role_of_an_owner_in_the_target_table_is_no_seal() -> None:
    bench = Bench(strays_since_us=SINCE)
    record = payload(target(KEY, 9), target(KEY, 5, **protocol(V, "A", 3, V)), side=Side.TARGET)
    await bench.apply(REVERSE, [record])
    assert bench.writers[REVERSE].calls == [], "nothing of it is a transfer"
    [letter] = await bench.letters.all()
    assert (letter.code, letter.payload) == ("stray", record)


async def test_a_standby_that_a_put_replaced_is_parked_and_gets_its_role_back() -> None:
    """In the source table it would look like an owner otherwise: a second one."""
    bench = Bench(strays_since_us=SINCE)
    await earn(bench)
    sealed = await bench.source.perform(Seal(KEY, 2, SEED))
    assert isinstance(sealed, Applied)
    image = MAPPING.map_item(FORWARD, sealed.item)
    assert isinstance(await bench.target.perform(Activate(KEY, image)), Applied)
    bench.source.changes.clear()
    bench.source.put(source(KEY, 777, expires_at=wire.of_number(9)))
    counts = await bench.forward(bench.source.changes)
    assert counts["reinstated"] == 1
    standby = bench.source.item(KEY)
    assert standby is not None
    assert (standby.role, standby.generation, standby.version) == (Role.STANDBY, 2, sealed.item.version)
    assert standby.recent == sealed.item.recent
    assert "expires_at" not in bench.source.images[KEY], "it would fire on a row that another table owns"
    assert [each.payload for each in await bench.letters.all()] == bench.source.changes[:1]
    await bench.forward(bench.source.changes)
    owner = bench.target.item(KEY)
    assert owner is not None
    assert dict(owner.content)["points"] == b'{"N":"3"}', "its own record is no write of an owner"


@pytest.mark.parametrize("helped", [False, True])
async def test_an_owner_of_the_target_table_that_a_put_replaced_is_its_owner_again(helped: bool) -> None:
    bench = Bench(strays_since_us=SINCE)
    await earn(bench)
    sealed = await bench.source.perform(Seal(KEY, 2, SEED))
    assert isinstance(sealed, Applied)
    image = MAPPING.map_item(FORWARD, sealed.item)
    await bench.target.perform(Activate(KEY, image))
    await bench.apply(REVERSE, bench.target.changes)
    bench.target.changes.clear()
    bench.target.put(target(KEY, 777))
    if helped:  # somebody found both sides standby, and was quicker
        assert isinstance(await bench.target.perform(Activate(KEY, image)), Applied)
    counts = await bench.apply(REVERSE, bench.target.changes[:1])
    owner, other = bench.target.item(KEY), bench.source.item(KEY)
    assert owner is not None
    assert other is not None
    assert (owner.role, owner.generation, other.role) == (Role.ACTIVE, 2, Role.STANDBY)
    assert counts["reinstate_overtaken" if helped else "reinstated"] == 1
    assert dict(owner.content)["points"] == (b'{"N":"3"}' if helped else b'{"N":"777"}')
    assert owner.recent == sealed.item.recent, "a replayed call is still known"
    assert await bench.letters.count() == 1
    await bench.apply(REVERSE, bench.target.changes[1:])
    other = bench.source.item(KEY)
    assert other is not None
    assert (other.role, other.version) == (Role.STANDBY, owner.version)
    assert dict(other.content)["balance"] == dict(owner.content)["points"], "and the change travels"


@pytest.mark.parametrize("written", [False, True])
async def test_an_owner_of_the_source_table_that_a_put_replaced_remembers_its_ids_again(written: bool) -> None:
    bench = await copied()
    before = bench.source.item(KEY)
    assert before is not None
    bench.source.put(source(KEY, 777))
    if written:  # a pod was quicker: its row is no longer the stray's, and the ids are gone for good
        await earn(bench, seed=SEED + 5)
    counts = await bench.forward(bench.source.changes[:1])
    owner = bench.source.item(KEY)
    assert owner is not None
    assert counts["reinstate_overtaken" if written else "reinstated"] == 1
    assert owner.recent == (frozenset({(SEED + 5).to_bytes(16, "big")}) if written else before.recent)
    await bench.forward(bench.source.changes[1:])
    standby = bench.target.item(KEY)
    assert standby is not None
    assert (standby.role, standby.version) == (Role.STANDBY, owner.version)
    assert dict(standby.content)["points"] == dict(owner.content)["balance"], "the change travels"
    if written:
        return
    assert (owner.role, owner.generation, dict(owner.content)["balance"]) == (Role.ACTIVE, 0, b'{"N":"777"}')
    op = operation(Kind.EARN, key=KEY, seed=SEED, transaction_id=SEED.to_bytes(16, "big"))
    assert isinstance(await bench.source.perform(Operate(KEY, op, soft=32)), Refused), "a retry is a replay again"


async def test_a_put_over_a_tombstone_of_the_source_table_is_seen() -> None:
    bench = await copied()
    op = operation(Kind.DELETE, key=KEY, seed=SEED, transaction_id=(SEED + 1).to_bytes(16, "big"))
    assert isinstance(await bench.source.perform(Operate(KEY, op, soft=32)), Applied)
    await bench.forward(bench.source.changes)
    bench.source.changes.clear()
    bench.source.put(source(KEY, 777))
    await bench.forward(bench.source.changes[:1])
    await bench.forward(bench.source.changes[1:])
    for side, name in ((Side.SOURCE, "balance"), (Side.TARGET, "points")):
        item = bench.tables[side].item(KEY)
        assert item is not None
        assert (item.deleted, dict(item.content)[name]) == (False, b'{"N":"777"}')
        assert (SEED + 1).to_bytes(16, "big") in item.recent


async def test_an_owner_is_not_reinstated_beside_another_one() -> None:
    bench = Bench(strays_since_us=SINCE)
    record = payload(target(KEY, 9), target(KEY, 5, **protocol(V, "A", 3, V)), side=Side.TARGET)
    bench.target.put(target(KEY, 9))
    counts = await bench.apply(REVERSE, [record])
    assert counts["reinstate_overtaken"] == 1
    owner = bench.target.item(KEY)
    assert owner is not None
    assert owner.role is None, "an absent source row is active"


async def test_a_stray_in_a_handover_says_so() -> None:
    bench = await copied()
    assert isinstance(await bench.source.perform(Seal(KEY, 2, SEED)), Applied)
    bench.source.changes.clear()
    bench.source.put(bench.source.images[KEY] | {"balance": wire.of_number(777)})
    await bench.forward(bench.source.changes)
    [letter] = await bench.letters.all()
    assert "in handover" in letter.reason


async def test_a_standby_changed_before_the_moment_alarms_nobody() -> None:
    bench = await copied(strays_since_us=0)
    bench.target.put(bench.target.images[KEY] | number(777))
    bench.target.delete(KEY)
    counts = await bench.apply(REVERSE, bench.target.changes)
    assert counts == {"records": 2, "unwatched": 1, "restored": 1}
    assert await bench.letters.count() == 0


async def test_a_row_of_the_other_table_that_can_not_be_read_holds_no_shard() -> None:
    bench = Bench(strays_since_us=SINCE, clock=MemoryClock(COMMITTED_US))
    keys = [key_of_strings(f"USER#{each}", "POINTS#1") for each in range(3)]
    for key in keys:
        bench.source.put(source(key, 9))
    bench.target.images[keys[1]] = target(keys[1], cf_mv=wire.of_string("twelve"))
    counts = await bench.forward(bench.source.changes)
    assert (counts["lifted"], len(await bench.letters.settled())) == (3, 3)


# ---- volume ------------------------------------------------------------------------------------


async def test_many_strays_are_parked_side_by_side_but_never_more_than_a_bound() -> None:
    running, most, done = 0, 0, 0

    class Slow(MemoryDeadLetters):
        async def park(self, letter: DeadLetter) -> None:
            nonlocal running, most, done
            running += 1
            most = max(most, running)
            for _ in range(3):
                await asyncio.sleep(0)
            running -= 1
            done += 1
            await super().park(letter)

    bench = Bench(strays_since_us=SINCE)
    bench.pipelines[REVERSE]._interventions._letters = Slow()  # the only seam the bench has
    keys = [key_of_strings(f"USER#{each}", "POINTS#1") for each in range(200)]
    written = [
        payload(target(key, 9, **protocol(V, "S", 1, V)), target(key, 5, **protocol(V, "S", 1, V)), side=Side.TARGET)
        for key in keys
    ]
    await bench.apply(REVERSE, written)
    assert (done, most) == (200, 16)


async def test_the_first_error_ends_the_batch_and_no_other_work_goes_on() -> None:
    done: list[int] = []

    async def fail() -> None:
        raise ValueError("the store is gone")

    async def slow() -> None:
        await asyncio.sleep(0.01)
        done.append(1)

    with pytest.raises(ValueError, match="gone"):
        await at_once([slow, fail, slow, slow], limit=2)
    assert done == []


def test_the_bench_would_see_a_transfer() -> None:
    """Guards the assertions above that nothing was written."""
    bench = Bench()
    asyncio.run(bench.writers[REVERSE].transfer([Transfer(KEY, FIRST_STAMPED, {})]))
    assert bench.writers[REVERSE].calls
    assert MAPPING.belongs(KEY)
