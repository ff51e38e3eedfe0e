"""Live traffic of a plain migration: an application writes, copies come late, twice and out of order, tables flip."""

from __future__ import annotations

import random

from crossfade.core.protocol.plain.map import opened_from
from crossfade.core.replication.change import Change
from crossfade.core.values.image import of_string
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from plain_world import PlainWorld
from verifier_world import BOUND_S, HookedTable, wallet

ROWS = 6
ACTIONS = ("write", "write", "write", "alike", "remove", "deliver", "again", "hear", "hold", "flip")


class PlainTraffic:
    """What goes on between two reads.

    Attributes:
        cut: keys whose copies never come.
        flips: how many so far.
    """

    def __init__(self, world: PlainWorld, chance: random.Random, *, most_flips: int) -> None:
        self.world, self.chance, self._most_flips = world, chance, most_flips
        self.owed: list[tuple[float, Side, Change]] = []
        self.seen = len(world.changes)
        self.cut: set[Key] = set()
        self.ended = False
        self.flips = 0

    @property
    def is_held(self) -> bool:
        return self.world.map.state.value != "open"

    def act(self) -> None:
        if self.ended:
            return
        for _ in range(self.chance.randrange(4)):
            self._one(self.chance.choice(ACTIONS), wallet(self.chance.randrange(ROWS)))
            self._collect()
        for due_s, side, change in list(self.owed):
            if self.world.clock.now >= due_s:
                self._deliver(due_s, side, change)

    def _one(self, action: str, key: Key) -> None:
        world, chance = self.world, self.chance
        match action:
            case "write" if not self.is_held:
                # Few values, so that rows change back to what they were.
                points = len(world.changes) if key in self.cut else chance.randrange(3)
                world.write(key, points, badges=of_string("x") if chance.random() < 0.3 else None)
            case "alike" if not self.is_held and key in world.tables[world.owner()].images:
                row = world.tables[world.owner()].images[key]
                world.tables[world.owner()].put(dict(row))  # with whatever stands there of Crossfade's
            case "remove" if not self.is_held and chance.random() < 0.3 and key not in self.cut:
                world.remove(key)
            case "deliver" if self.owed:
                self._deliver(*chance.choice(self.owed))
            case "again" if world.changes:
                self._transfer(*chance.choice(world.changes))
            case "hear" if world.changes:
                world.on_change(*chance.choice(world.changes))
            case "hold" if not self.is_held and self.flips < self._most_flips and chance.random() < 0.1:
                world.close()
            case "flip" if self.is_held:
                self._end_hold()
            case _:
                pass

    def _end_hold(self) -> None:
        """Flip the tables once everything was copied, or give the attempt up."""
        if self.chance.random() < 0.5 or self.cut:
            self.world.maps.now = opened_from(self.world.map)
            return
        self._deliver_all()
        self.world.flip()
        self.flips += 1
        self.seen = len(self.world.changes)  # the purge's own

    def _collect(self) -> None:
        for side, change in self.world.changes[self.seen :]:
            if side is self.world.owner():
                self.owed.append((self.world.clock.now + BOUND_S / 2 * self.chance.random(), side, change))
        self.seen = len(self.world.changes)

    def _deliver(self, due_s: float, side: Side, change: Change) -> None:
        self.owed.remove((due_s, side, change))
        self._transfer(side, change)

    def _transfer(self, side: Side, change: Change) -> None:
        """Copy; records of an ended interval are never applied."""
        if change.key not in self.cut and change.committed_us >= self.world.map.interval.since_us:
            self.world.transfer(side, change)
            self._collect()

    def _deliver_all(self) -> None:
        self._collect()
        while self.owed:
            self._deliver(*self.owed[0])

    def end(self) -> None:
        """Let everything arrive, and nothing happen any more."""
        if self.is_held:
            self.world.maps.now = opened_from(self.world.map)
        self._deliver_all()
        self.ended = True


def busy_plain_world(seed: int, *, most_flips: int = 2) -> tuple[PlainWorld, PlainTraffic]:
    world = PlainWorld(ROWS)
    traffic = PlainTraffic(world, random.Random(seed), most_flips=most_flips)
    world.reading = {side: HookedTable(world.tables[side], traffic.act) for side in Side}
    world.clock.on_sleep = traffic.act
    return world, traffic
