"""An interval lasts at least 20 s, and the moments that tell it are right to a second: no hold may hang on that."""

from __future__ import annotations

import math

from crossfade.core.migration.flipping import LEAST_OWNED_S
from crossfade.core.protocol.plain.map import SHORTEST_US
from crossfade.core.values.clocks import Skew, skew_of
from crossfade.core.values.shape import Side
from flip_world import FlipTown, done, ended


class RoundedTown(FlipTown):
    """Where AWS's time reads otherwise from the second hold on: by the rounding of a Date, or because a clock moved."""

    later_by_s = 0.0

    def skew(self) -> Skew | None:
        moved_s = self.later_by_s if [name for name, _, _ in self.hooks].count("hold") > 1 else 0.0
        return skew_of(math.floor(self.now_s) - moved_s, self.now_s, self.now_s)


async def cut_over(town: RoundedTown) -> None:
    await done(town, "start")
    await done(town, "cutover")
    assert town.map is not None
    assert town.map.owner is Side.TARGET


async def test_writes_are_held_only_once_the_interval_is_long_enough_whatever_the_rounding() -> None:
    town = RoundedTown()
    await cut_over(town)
    town.later_by_s = 2.0
    assert town.map is not None
    since_us = town.map.interval.since_us
    await done(town, "rollback")
    town.check()
    begun = [each for each in town.entries("begun") if each.body["step"] == "hold"]
    spare_us = (LEAST_OWNED_S - 1) * 1_000_000  # a Date is right to a second
    assert begun[-1].body["at_us"] - since_us >= spare_us > SHORTEST_US
    ended_one = town.map.intervals[-2]
    assert ended_one.held_us - ended_one.since_us >= SHORTEST_US


async def test_an_interval_that_is_too_short_after_all_gives_the_attempt_up_at_once() -> None:
    town = RoundedTown()
    await cut_over(town)
    town.later_by_s = 15.0
    outcome = await ended(town, "rollback")
    assert outcome["outcome"] == "given_up", outcome
    assert "has owned for" in str(outcome["because"])
    assert town.map is not None
    assert town.map.owner is Side.TARGET
    town.check_open()
    town.later_by_s = 0.0
    await done(town, "rollback")
    town.check()
