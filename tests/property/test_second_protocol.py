"""The seam is a seam: another writer protocol goes through the same apply rule, coalescing, pipeline, parity and sweep.

Nothing of Crossfade's own is replaced: `ApplyPipeline`, `ApplyRule`, `coalesce`, `Interventions`, `agrees`, `classify`,
`Sweeper` and `DivergedKeys` are the ones that run the keyed protocol. The oracle is the owner's table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from apply_cases import source, target
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.core.parity.classes import Difference, Pair, Reading, agrees, classify, follow
from crossfade.core.protocol.row import same_content
from crossfade.core.replication.change import decode_change
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.keys import Key, key_of_strings
from crossfade.core.values.shape import Direction, Side
from crossfade_controller.diverged import DivergedKeys
from crossfade_controller.settings import ControllerSettings
from crossfade_controller.sweeper import Sweeper
from plain_protocol import PlainMapping, PlainTable
from property_examples import examples
from replicator_bench import Bench

KEYS = [key_of_strings(f"USER#{number}", "POINTS#1") for number in range(3)]
ROWS: dict[Side, Callable[[Key, int], Any]] = {Side.SOURCE: source, Side.TARGET: target}
Delivery = list[tuple[Direction, bytes]]


class Rushing(MemoryClock):
    """Ten seconds pass from look to look, so that no rate is reached."""

    def monotonic(self) -> float:
        self.pass_s(10.0)
        return super().monotonic()


class World(Bench):
    """Both tables under a plain owner."""

    def __init__(self) -> None:
        self.mapping = PlainMapping(Side.SOURCE)
        super().__init__(cast("Any", self.mapping), strays_since_us=1, table=PlainTable)
        for table in self.tables.values():
            cast("PlainTable", table).protocol = self.mapping.protocol
        self._read = dict.fromkeys(Direction, 0)

    @property
    def owner(self) -> Side:
        owner: Side = self.mapping.protocol.map.owner
        return owner

    def fresh(self) -> Delivery:
        """Return the records that nobody has delivered yet."""
        found: Delivery = []
        for direction in Direction:
            changes = self.tables[direction.origin].changes
            found += [(direction, record) for record in changes[self._read[direction] :]]
            self._read[direction] = len(changes)
        return found

    async def settle(self, deliver: Callable[[Delivery], Delivery] = lambda records: records) -> None:
        while found := self.fresh():
            for direction in Direction:
                batch = [record for each, record in deliver(found) if each is direction]
                await self.apply(direction, batch)

    def flip(self) -> None:
        """Give all keys to the other table: its deleted rows go, and what it commits from now on is the truth."""
        changes = [decode_change(each, ("pk", "sk")) for table in self.tables.values() for each in table.changes]
        self.mapping.protocol.map.flip(max((each.committed_us for each in changes), default=0) + 1)
        for key in KEYS:
            row = self.tables[self.owner].item(key)
            if row is not None and row.deleted:
                self.tables[self.owner].delete(key)

    def pair(self, key: Key) -> Pair:
        item = self.source.item(key)
        seen = None if item is None else self.mapping.map_item(Direction.FORWARD, item)
        return Pair(seen, cast("Any", self.target.item(key)))

    def sweeper(self) -> Sweeper:
        class Nobody:
            """There is nothing to hand over: the map moves all keys at once."""

        tables = cast("Any", self.tables)
        diverged = DivergedKeys(
            tables, cast("Any", self.mapping), self.letters, lambda _name: False, clock=MemoryClock()
        )
        chosen = ControllerSettings()
        nobody = cast("Any", Nobody())
        return Sweeper(tables, self.mapping.protocol, nobody, diverged, chosen, clock=Rushing())


steps = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "delete", "flip"]), st.sampled_from(KEYS), st.integers(1, 9)),
    min_size=1,
    max_size=14,
)


@settings(max_examples=examples(60), deadline=None)
@given(steps, st.data())
def test_a_protocol_without_role_or_generation_ends_in_the_owners_rows_on_the_same_code(
    script: list[tuple[str, Key, int]], data: st.DataObject
) -> None:
    def shuffled(records: Delivery) -> Delivery:
        twice = data.draw(st.lists(st.sampled_from(records), max_size=6))
        return data.draw(st.permutations(records + twice))

    async def run() -> None:
        world = World()
        for what, key, amount in script:
            table = world.tables[world.owner]
            if what == "put":
                table.put(ROWS[world.owner](key, amount))
            elif what == "delete" and key in table.images:
                table.delete(key)
            elif what == "flip":
                await world.settle(shuffled)
                world.flip()
            if data.draw(st.booleans()):
                world.marks.flush()
        await world.settle(shuffled)
        for direction in Direction:
            await world.apply(direction, world.tables[direction.origin].changes)  # of old intervals too
        await world.settle()
        rows = world.mapping.protocol.rows()
        for key in KEYS:
            pair = world.pair(key)
            owner, standby = pair.of(world.owner), pair.of(world.owner.other)
            assert agrees(pair, rows), pair
            assert classify(Reading(world.owner, owner, standby, owner), rows, reached=0, late=True) is Difference.EQUAL
            assert owner is None or (standby is not None and same_content(owner, standby))
            assert owner is None or not owner.deleted, "nothing of ours is left in an owner's row"
        assert not await world.letters.all()
        swept = await world.sweeper().move(world.owner, 0, complete=False, budget_s=1e6, begun_us=CommitUs(1))
        assert swept is not None
        assert swept.is_clean

    asyncio.run(run())


@settings(max_examples=examples(60), deadline=None)
@given(st.sampled_from(KEYS), st.integers(1, 9), st.integers(11, 19), st.booleans())
def test_a_stray_of_it_is_parked_or_put_back_and_parity_calls_it(
    key: Key, amount: int, other: int, removed: bool
) -> None:
    async def run() -> None:
        world = World()
        world.source.put(source(key, amount))
        await world.settle()
        if removed:
            world.target.delete(key)
        else:
            world.target.put(target(key, other))
        rows = world.mapping.protocol.rows()
        pair = world.pair(key)
        assert not agrees(pair, rows)
        assert not follow(pair, 0.0, rows).verified
        found = classify(Reading(Side.SOURCE, pair.source, pair.target, pair.source), rows, reached=0, late=True)
        assert found is (Difference.MISSING if removed else Difference.DIVERGED)
        await world.settle()
        assert [each.key for each in await world.letters.all()] == [key]
        assert agrees(world.pair(key), rows) is removed

    asyncio.run(run())
