"""Records in any order, any number of times, in any batches: the standby ends as its owner's image (rule 1).

Owners are earned on, spent from, deleted, sealed and activated, written by others and removed by hand, and both
directions replicate. Marks are lost at any moment. The oracle is the owner itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apply_cases import COMMITTED_US, source
from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.application.ownership import Ownership
from crossfade.core.ownership.decisions import Done, Outcome
from crossfade.core.protocol.keyed.item import Role, is_active
from crossfade.core.protocol.keyed.records import events_of
from crossfade.core.protocol.keyed.versions import seeded
from crossfade.core.protocol.keyed.writes import Activate, Operate, Seal
from crossfade.core.protocol.row import same_content
from crossfade.core.protocol.seam import Aim
from crossfade.core.protocol.writing import Applied
from crossfade.core.replication.change import decode_change
from crossfade.core.values import image as wire
from crossfade.core.values.keys import Key, key_image, key_of_strings
from crossfade.core.values.shape import Direction, Side
from engagement_api.operations import BALANCE, Kind
from engagement_migration import MAPPING
from ownership_cases import operation
from property_examples import examples
from replicator_bench import Bench

KEYS = [key_of_strings(f"USER#{number}", "POINTS#1") for number in range(3)]


class Ticks(MemoryClock):
    """One clock for operations and lifts: whatever is seeded is above all that was written before."""

    def wall_us(self) -> int:
        self.now_us += 1_000
        return self.now_us


class History(Bench):
    """Plays a script of writes; every record of either table is kept by the tables."""

    def __init__(self) -> None:
        self.ticks = Ticks(COMMITTED_US)
        super().__init__(clock=self.ticks)
        self._generation = 0
        self.acknowledged: list[tuple[Key, bytes]] = []

    def owner(self, key: Key) -> Side:
        return next(side for side in Side if is_active(self.tables[side].item(key), side))

    async def operate(self, key: Key, kind: Kind, amount: int) -> None:
        seed = seeded(self.ticks.wall_us())
        op = operation(kind, amount, key=key, seed=seed, transaction_id=seed.to_bytes(16, "big"))
        answer = await self.tables[self.owner(key)].perform(Operate(key, op, soft=1000))
        if isinstance(answer, Applied):
            self.acknowledged.append((key, op.transaction_id))

    async def hand_over(self, key: Key) -> None:
        """Seal the owner and activate the other side, if the seal takes."""
        side = self.owner(key)
        self._generation += 2
        sealed = await self.tables[side].perform(Seal(key, self._generation, seeded(self.ticks.wall_us())))
        if isinstance(sealed, Applied):
            image = MAPPING.map_item(Direction.FORWARD if side is Side.SOURCE else Direction.REVERSE, sealed.item)
            answer = await self.tables[side.other].perform(Activate(key, image))
            assert isinstance(answer, Applied), "nothing of these scripts puts a standby ahead of its owner"

    async def help(self) -> None:
        """Complete what is standby on both sides, as the sweeper does.

        A row removed while a record of the other side's time as owner is on its way comes back as a standby.
        """
        results = await Ownership(self.source, self.target, MAPPING, clock=SYSTEM).hand_over_many(
            KEYS, Aim(Side.SOURCE, 0)
        )
        assert all(isinstance(each, Done) and each.outcome is Outcome.SETTLED for each in results), results

    async def stray(self, key: Key, balance: int) -> None:
        """A batch job changes the balance of an owner and nothing else."""
        table = self.tables[self.owner(key)]
        image = table.images.get(key)
        if image is None:
            if table is self.source:
                table.put(source(key, balance))
        elif "cf_deleted" not in image:
            table.put(image | {table.shape.own(BALANCE): wire.of_number(balance)})

    async def remove(self, key: Key) -> None:
        """Somebody deletes a source row that owns its key."""
        if self.owner(key) is Side.SOURCE and self.source.images.get(key) is not None:
            image = self.source.images[key]
            if "cf_deleted" not in image and "cf_mv" in image:
                self.source.delete(key)


async def _act(history: History, step: tuple[str, int, int]) -> None:
    name, number, amount = step
    key = KEYS[number]
    actions: dict[str, Callable[[], Any]] = {
        "earn": lambda: history.operate(key, Kind.EARN, amount),
        "spend": lambda: history.operate(key, Kind.SPEND, amount),
        "delete": lambda: history.operate(key, Kind.DELETE, 0),
        "hand over": lambda: history.hand_over(key),
        "stray": lambda: history.stray(key, amount),
        "remove": lambda: history.remove(key),
    }
    if not any(is_active(history.tables[side].item(key), side) for side in Side):
        await history.help()  # as the pod that meets both sides standby: see `help`
    await actions[name]()


steps = st.tuples(
    st.sampled_from(["earn", "earn", "earn", "spend", "delete", "hand over", "stray", "remove"]),
    st.integers(0, len(KEYS) - 1),
    st.integers(1, 9),
)


async def settle(
    history: History, deliver: Callable[[list[tuple[Direction, bytes]]], list[tuple[Direction, bytes]]]
) -> None:
    """Deliver every record, those that replication itself makes included, until there are no new ones."""
    done = {Direction.FORWARD: 0, Direction.REVERSE: 0}
    for _ in range(30):
        fresh = [
            (direction, record)
            for direction in Direction
            for record in history.tables[direction.origin].changes[done[direction] :]
        ]
        if not fresh:
            return
        done = {direction: len(history.tables[direction.origin].changes) for direction in Direction}
        for direction, record in deliver(fresh):
            await history.apply(direction, [record])
    raise AssertionError("replication never comes to rest")


def check(history: History) -> None:
    for key in KEYS:
        owner_side = history.owner(key)
        owner, standby = history.tables[owner_side].item(key), history.tables[owner_side.other].item(key)
        if owner is None:
            assert standby is None or standby.deleted
            continue
        assert standby is not None
        assert standby.role is Role.STANDBY
        direction = Direction.FORWARD if owner_side is Side.SOURCE else Direction.REVERSE
        assert same_content(MAPPING.map_item(direction, owner), standby)
        if owner.version is not None:
            assert standby.version == owner.version
        assert standby.recent == owner.recent


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(steps, min_size=1, max_size=14), st.data())
def test_any_delivery_of_any_history_ends_in_the_owners_image(
    script: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    """Shuffled whole: the newest record may come first, each one twice, and the marks are lost in between."""

    def shuffled(records: list[tuple[Direction, bytes]]) -> list[tuple[Direction, bytes]]:
        repeated = records + data.draw(st.lists(st.sampled_from(records), max_size=6))
        return data.draw(st.permutations(repeated))

    async def run() -> None:
        history = History()
        for step in script:
            await _act(history, step)
            if data.draw(st.booleans()):
                await settle(history, lambda records: records)  # a standby must not fall behind a handover for ever
            if data.draw(st.booleans()):
                history.marks.flush()
        await settle(history, shuffled)
        everything = [
            (direction, record) for direction in Direction for record in history.tables[direction.origin].changes
        ]
        for direction, record in data.draw(st.permutations(everything)):
            await history.apply(direction, [record])
        await history.help()
        await settle(history, lambda records: records)
        check(history)
        assert [each.code for each in await history.letters.all() if each.code != "conflict"] == []

    asyncio.run(run())


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(steps.filter(lambda step: step[0] not in ("stray", "remove")), min_size=1, max_size=14), st.data())
def test_the_feed_has_each_acknowledged_operation_once_whatever_is_handed_over(
    script: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    async def run() -> None:
        history = History()
        for step in script:
            await _act(history, step)
            if data.draw(st.booleans()):
                await settle(history, lambda records: records)
        await settle(history, lambda records: records)
        published = [
            (event.key, event.event.transaction_id)
            for side in Side
            for record in history.tables[side].changes
            for event in events_of(decode_change(record, ("pk", "sk")), side)
        ]
        assert sorted(published) == sorted(history.acknowledged)

    asyncio.run(run())


@pytest.mark.parametrize("side", list(Side))
def test_the_script_can_fail(side: Side) -> None:
    """The oracle sees a standby that is wrong."""
    history = History()
    asyncio.run(history.operate(KEYS[0], Kind.EARN, 5))
    asyncio.run(settle(history, lambda records: records))
    check(history)
    image = history.target.images[KEYS[0]]
    history.tables[side].images[KEYS[0]] = key_image(KEYS[0], ("pk", "sk")) | image | {"points": wire.of_number(1)}
    if side is Side.SOURCE:
        history.source.images[KEYS[0]] = image
    with pytest.raises((AssertionError, StopIteration)):
        check(history)
