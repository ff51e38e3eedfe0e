"""Live traffic for tests of the verifier: clients write, keys are handed over and back, copies come late and twice."""

from __future__ import annotations

import random

from msgspec import Raw

from crossfade.core.protocol.keyed.item import generation_of
from crossfade.core.replication.change import Change
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from engagement_api.operations import Kind
from verifier_world import BOUND_S, HookedTable, World, wallet

WALLETS = 6
FULL = {
    "tier": Raw(b'{"S":"gold"}'),
    "badges": Raw(b'{"SS":["early","loyal"]}'),
    "created_at": Raw(b'{"S":"2021-03-04T05:06:07.089Z"}'),
    "expires_at": Raw(b'{"N":"4102444800"}'),
}
"""What a wallet may have beside its points; the TTL value changes its place with each handover."""
ACTIONS = ("earn", "earn", "earn", "spend", "delete", "seal", "activate", "deliver", "again", "hear")


class Traffic:
    """What goes on between two reads."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.owed: list[tuple[float, Side, Change]] = []
        self.seen = len(world.changes)
        self.cut: set[Key] = set()
        self.ended = False

    def act(self) -> None:
        if self.ended:
            return
        for _ in range(self.chance.randrange(4)):
            self._one(self.chance.choice(ACTIONS), wallet(self.chance.randrange(WALLETS)))
            self._collect()
        for due_s, side, change in list(self.owed):
            if self.world.clock.now >= due_s:
                self._deliver(due_s, side, change)
        for number in range(WALLETS):  # the sweeper completes what was begun
            if self.chance.random() < 0.3:
                self.world.activate(wallet(number))
        self._collect()

    def _one(self, action: str, key: Key) -> None:
        world = self.world
        if key in self.cut and action in ("delete", "seal"):
            return
        match action:
            case "earn":
                world.earn(key, self.chance.randrange(1, 9))
            case "spend":
                world.operate(key, Kind.SPEND, 1)
            case "delete":
                if self.chance.random() < 0.2:
                    world.operate(key, Kind.DELETE, 0)
            case "seal":
                owner = world.owner(key)
                if owner is not None and world.item(owner, key) is not None:
                    highest = max(generation_of(world.item(side, key)) for side in Side)
                    world.seal(key, highest + 1)
            case "activate":
                world.activate(key)
            case "deliver" if self.owed:
                self._deliver(*self.chance.choice(self.owed))
            case "again" if world.changes:
                self._transfer(*self.chance.choice(world.changes))
            case "hear" if world.changes:
                world.on_change(*self.chance.choice(world.changes))
            case _:
                pass

    def _collect(self) -> None:
        for side, change in self.world.changes[self.seen :]:
            self.owed.append((self.world.clock.now + BOUND_S / 2, side, change))
        self.seen = len(self.world.changes)

    def _deliver(self, due_s: float, side: Side, change: Change) -> None:
        self.owed.remove((due_s, side, change))
        self._transfer(side, change)

    def _transfer(self, side: Side, change: Change) -> None:
        if change.key not in self.cut:
            self.world.transfer(side, change)
            self._collect()

    def end(self) -> None:
        """Let everything arrive, and nothing happen any more."""
        for number in range(WALLETS):
            self.world.activate(wallet(number))
        self._collect()
        while self.owed:
            self._deliver(*self.owed[0])
        self.ended = True


def busy_world(seed: int) -> tuple[World, Traffic]:
    world = World(WALLETS, None, **(FULL if seed % 2 else {}))
    traffic = Traffic(world, random.Random(seed))
    world.reading = {side: HookedTable(world.tables[side], traffic.act) for side in Side}
    world.clock.on_sleep = traffic.act
    return world, traffic
