"""The continuous mode under live traffic: no order, duplicate, loss, lag or restart of the streams raises an alarm."""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.core.replication.change import Change
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from engagement_migration.samples import legacy_wallet
from heard_world import Heard
from property_examples import examples
from verifier_traffic import WALLETS, busy_world
from verifier_world import BOUND_S, World, wallet

STEPS = 60


class Troubles(NamedTuple):
    """What the streams do to records.

    Attributes:
        repeated: share that comes again, up to three bounds later.
        lost: share that never comes.
        late: share that comes up to two bounds late.
        skew_s: how far each stream is behind.
        gaps: share of the steps at which everything under way is lost, and this is told.
    """

    repeated: float = 0.2
    lost: float = 0.0
    late: float = 0.05
    skew_s: tuple[float, float] = (0.3, 4.5)
    gaps: float = 0.0


class Streams:
    """Both streams, between the tables and whoever hears."""

    def __init__(self, world: World, heard: Heard, chance: random.Random, troubles: Troubles) -> None:
        self.world, self.heard, self.chance, self.troubles = world, heard, chance, troubles
        self.under_way: list[tuple[float, int, Side, Change]] = []
        self.late = 0
        world.on_change = self.changed

    def changed(self, side: Side, change: Change) -> None:
        chance, troubles = self.chance, self.troubles
        if chance.random() < troubles.lost:
            return
        delay_s = troubles.skew_s[side is Side.TARGET] * chance.random()
        if chance.random() < troubles.late:
            delay_s += 2 * BOUND_S * chance.random()
        self._send(delay_s, side, change)
        while chance.random() < troubles.repeated:
            self._send(delay_s + 3 * BOUND_S * chance.random(), side, change)

    def _send(self, delay_s: float, side: Side, change: Change) -> None:
        self.late += delay_s > BOUND_S
        self.under_way.append((self.world.clock.now + delay_s, len(self.under_way), side, change))

    def deliver(self, *, all_of_them: bool = False) -> None:
        if self.chance.random() < self.troubles.gaps:
            self.under_way.clear()
            self.heard.mode.lost("a gap")
        now_s = self.world.clock.now
        due = sorted(each for each in self.under_way if all_of_them or each[0] <= now_s)
        self.under_way = [each for each in self.under_way if each not in due]
        for _, _, side, change in due:
            self.heard.mode.hear(side, change)


class Play:
    """Tables under traffic, their streams, and the mode."""

    def __init__(self, seed: int, troubles: Troubles) -> None:
        self.world, self.traffic = busy_world(seed)
        self.heard = Heard(self.world)
        self.world.clock.on_sleep = self.traffic.act
        self.chance = random.Random(seed + 1)
        self.streams = Streams(self.world, self.heard, self.chance, troubles)

    async def goes_on(self, steps: int, *, nothing_but: frozenset[Key] = frozenset()) -> None:
        for _ in range(steps):
            self.streams.deliver()
            await self.heard.goes_on(1)
            wrong = {key for keys in self.heard.found.values() for key in keys} - nothing_but
            assert not wrong, self.heard.mode.differing.samples

    def forgets_what_was(self) -> None:
        """No record from before it heard comes again: it can't be told from one that is late, and moves a sum."""
        self.world.changes.clear()
        self.traffic.seen = 0

    async def ends(self) -> None:
        self.traffic.end()
        self.streams.deliver(all_of_them=True)
        self.streams.troubles = Troubles(repeated=0.0, late=0.0)
        await self.goes_on(4 * int(BOUND_S))
        assert (self.heard.mode.open, self.heard.mode.following) == (0, 0)


@given(st.integers(0, 2**32))
@settings(max_examples=examples(40), deadline=None)
def test_duplicates_and_shuffled_and_late_records_raise_no_alarm_and_move_no_sum(seed: int) -> None:
    async def play() -> None:
        played = Play(seed, Troubles())
        played.forgets_what_was()
        played.heard.swept()
        await played.goes_on(STEPS)
        await played.ends()
        assert played.heard.mode.off == []
        assert played.heard.mode.counts.verified

    asyncio.run(play())


@given(st.integers(0, 2**32))
@settings(max_examples=examples(30), deadline=None)
def test_lost_records_gaps_and_restarts_raise_no_alarm(seed: int) -> None:
    async def play() -> None:
        played = Play(seed, Troubles(lost=0.2, gaps=0.1))
        for _ in range(3):
            await played.goes_on(STEPS // 3)
            played.heard = Heard(played.world)  # a restart: nothing is kept, and both streams are read from their ends
            played.streams.heard = played.heard
        await played.ends()

    asyncio.run(play())


@given(st.integers(0, 2**32))
@settings(max_examples=examples(30), deadline=None)
def test_a_key_whose_copies_are_cut_off_is_called_and_no_other(seed: int) -> None:
    async def play() -> None:
        played = Play(seed, Troubles())
        key = wallet(seed % WALLETS)
        played.traffic.cut.add(key)
        played.world.earn(key, 1)
        await played.goes_on(STEPS, nothing_but=frozenset({key}))
        assert [key] in played.heard.found.values()

    asyncio.run(play())


@given(st.integers(0, 2**32), st.sampled_from(list(Side)))
@settings(max_examples=examples(30), deadline=None)
def test_a_foreign_write_to_a_row_nobody_else_touches_is_called_and_no_other(seed: int, side: Side) -> None:
    async def play() -> None:
        played = Play(seed, Troubles())
        key = wallet(WALLETS)  # traffic leaves it alone
        played.world.tables[Side.SOURCE].put(legacy_wallet(str(WALLETS), "c", 1))
        played.world.earn(key, 1)
        played.world.copy(key)
        await played.goes_on(STEPS // 2)
        played.world.put(side, key, **{"balance" if side is Side.SOURCE else "points": 999})
        await played.goes_on(5 * int(BOUND_S), nothing_but=frozenset({key}))
        assert list(played.heard.found.values()) == [[key]]

    asyncio.run(play())


def test_the_streams_of_these_tests_are_late_enough_to_matter() -> None:
    async def play() -> int:
        played = Play(7, Troubles())
        await played.goes_on(STEPS)
        return played.streams.late

    assert asyncio.run(play()) >= 20
