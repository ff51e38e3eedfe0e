"""The pipeline on writes of others: lifts, and removed standbys (design.md, section 3)."""

from __future__ import annotations

import pytest

from apply_cases import COMMITTED_US, KEY, V, source
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.protocol.keyed.writes import Answer, Write
from crossfade.core.values import image as wire
from crossfade.core.values.errors import StoreRefused
from crossfade_replicator.interventions import Interventions
from crossfade_replicator.pipeline import ApplyPipeline
from engagement_migration import MAPPING
from ownership_cases import SEED
from replicator_bench import FORWARD, REVERSE, Bench, earn, records

# ---- strays ---------------------------------------------------------------------------


async def test_rule_5_a_stray_is_counted_lifted_and_then_travels_like_any_other() -> None:
    bench = Bench(strays_since_us=1)
    await earn(bench)
    await bench.forward(bench.source.changes)
    image = bench.source.images[KEY]
    bench.source.changes.clear()
    bench.source.put(image | {"balance": wire.of_number(1000)})
    counts = await bench.forward(bench.source.changes)
    assert (counts["stray"], counts["lifted"]) == (1, 1)
    assert bench.tallies[FORWARD].stray_last_us > COMMITTED_US
    owner = bench.source.item(KEY)
    assert owner is not None
    assert owner.version == SEED + 2
    assert owner.event_version == SEED + 1, "a lift is no event"
    await bench.forward(bench.source.changes[1:])
    standby = bench.target.item(KEY)
    assert standby is not None
    assert standby.version == SEED + 2
    assert dict(standby.content)["points"] == b'{"N":"1000"}'
    assert await bench.letters.all() == []


async def test_rule_5_a_put_that_erased_the_version_is_lifted_above_its_standby() -> None:
    bench = Bench(strays_since_us=1)
    await earn(bench)
    await bench.forward(bench.source.changes)
    bench.source.put(source(KEY, 77))
    await bench.forward(bench.source.changes[1:])
    await bench.forward(bench.source.changes[2:])
    standby = bench.target.item(KEY)
    assert standby is not None
    assert dict(standby.content)["points"] == b'{"N":"77"}'
    assert standby.version == SEED + 2


async def test_rule_5_the_lift_goes_above_an_own_write_that_has_not_arrived_yet() -> None:
    """Otherwise two writes have one version: a conflict, and two events that consumers take for one."""
    bench = Bench(strays_since_us=1)
    for _ in range(2):
        await earn(bench, seed=SEED + len(bench.source.changes))
    bench.source.put(source(KEY, 77))
    first, second, stray = bench.source.changes
    await bench.forward([first])
    await bench.forward([stray])
    owner = bench.source.item(KEY)
    assert owner is not None
    assert owner.version == SEED + 3
    await bench.forward([second, bench.source.changes[3]])
    standby = bench.target.item(KEY)
    assert standby is not None
    assert (standby.version, dict(standby.content)["points"]) == (SEED + 3, b'{"N":"77"}')
    assert await bench.letters.all() == []


async def test_rule_5_a_row_put_again_after_its_removal_is_lifted_although_both_come_in_one_batch() -> None:
    bench = Bench(strays_since_us=1)
    await earn(bench)
    bench.source.delete(KEY)
    bench.source.put(source(KEY, 3))
    counts = await bench.forward(bench.source.changes)
    assert (counts["stray"], counts["lifted"]) == (2, 1)
    await bench.forward(bench.source.changes[3:])
    standby = bench.target.item(KEY)
    assert standby is not None
    assert (standby.deleted, standby.version) == (False, SEED + 3)


class Dying:
    """A source table under whose first write the process ends."""

    def __init__(self, table: MemoryTable) -> None:
        self._table = table
        self.shape = table.shape
        self.died = False

    async def perform(self, write: Write) -> Answer:
        if not self.died:
            self.died = True
            raise StoreRefused("the process ends here", reason="killed")
        return await self._table.perform(write)


async def test_rule_5_a_crash_before_the_lift_leaves_no_mark_that_hides_the_stray() -> None:
    bench = Bench(strays_since_us=1)
    await earn(bench)
    bench.source.delete(KEY)
    await bench.forward(bench.source.changes)
    bench.source.put(source(KEY, 3))
    bench.marks.flush()
    pipeline = ApplyPipeline(
        MAPPING,
        FORWARD,
        sender=bench.senders[FORWARD],
        interventions=Interventions(
            MAPPING, FORWARD, Dying(bench.source), bench.target, bench.letters, clock=MemoryClock()
        ),
        marks=bench.marks,
        letters=bench.letters,
        clock=bench.clock,
    )
    batch = records(bench.source.changes[2:])
    with pytest.raises(StoreRefused):
        await pipeline.apply("shard-1", batch)
    tally = bench.tallies[FORWARD]  # which has the removal
    tally.add(await pipeline.apply("shard-1", batch))
    assert (tally.counts["stray"], tally.counts["lifted"]) == (1, 1)


@pytest.mark.parametrize("marked", [True, False])
async def test_rule_5_a_row_put_again_after_its_removal_is_lifted_although_it_has_no_version(marked: bool) -> None:
    """Its own record is older than the tombstone at first sight; a mark must not hide it."""
    bench = Bench()
    await earn(bench)
    bench.source.delete(KEY)
    await bench.forward(bench.source.changes)
    if not marked:
        bench.marks.flush()
    bench.source.put(source(KEY, 3))
    counts = await bench.forward(bench.source.changes[2:])
    assert counts["lifted"] == 1
    assert "stray" not in counts, "strays are not looked for yet"
    await bench.forward(bench.source.changes[3:])
    standby = bench.target.item(KEY)
    assert standby is not None
    assert not standby.deleted
    assert standby.version == SEED + 3


async def test_rule_5_an_old_record_of_before_the_first_stamp_is_no_stray() -> None:
    bench = Bench()
    bench.source.put(source())
    await earn(bench)
    changes = list(bench.source.changes)
    await bench.forward(changes)
    bench.marks.flush()
    counts = await bench.forward(changes[:1])
    assert counts["stale"] == 2, "in the batch and on its own: only the table can tell"
    assert "stray" not in counts
    assert bench.tallies[FORWARD].stray_last_us == 0
    assert bench.source.changes == changes, "nothing was lifted"


async def test_a_repair_of_a_standby_is_no_stray() -> None:
    """It rewrites the same version with the owner's content, which is what the record shows."""
    bench = Bench(strays_since_us=1)
    await earn(bench)
    await bench.forward(bench.source.changes)
    right = bench.target.images[KEY]
    bench.target.images[KEY] = right | {"points": wire.of_number(1)}
    bench.target.changes.clear()
    bench.target.put(right)
    counts = await bench.apply(REVERSE, bench.target.changes)
    assert counts == {"records": 1, "repair": 1}
    assert await bench.letters.count() == 0


# ---- removals ----------------------------------------------------------------------------------


async def test_rule_3_a_removed_standby_is_put_back_and_leaves_a_letter() -> None:
    bench = Bench(strays_since_us=1)
    await earn(bench)
    await bench.forward(bench.source.changes)
    before = bench.target.item(KEY)
    bench.target.changes.clear()
    bench.target.delete(KEY)
    counts = await bench.apply(REVERSE, bench.target.changes)
    assert counts["restored"] == 1
    assert bench.target.item(KEY) == before
    [letter] = await bench.letters.all()
    assert (letter.consumer, letter.code, letter.table, letter.settled) == ("reverse", "stray", "engagement", False)
    assert "restored" in letter.reason
    owner = bench.source.item(KEY)
    assert owner is not None
    assert not owner.deleted, "the removal must not be applied"
    assert await bench.apply(REVERSE, bench.target.changes[1:]) == counts | {"records": 2, "echo": 1}


async def test_rule_3_a_standby_that_is_back_already_is_left_alone() -> None:
    bench = Bench()
    await earn(bench)
    await bench.forward(bench.source.changes)
    image = bench.target.images[KEY]
    bench.target.changes.clear()
    bench.target.delete(KEY)
    removal = list(bench.target.changes)
    bench.target.put(image | {"cf_mv": wire.of_number(V + 9)})
    counts = await bench.apply(REVERSE, removal)
    assert counts["restore_overtaken"] == 1
    assert wire.number(bench.target.images[KEY]["cf_mv"]) == V + 9
