"""The continuous mode over a world in memory: it hears what the world's tables change, and reads when it likes."""

from __future__ import annotations

from typing import Any

from crossfade.core.parity.classes import Difference
from crossfade.core.values.keys import Key
from crossfade_verifier.called import Swept
from crossfade_verifier.continuous import Continuous
from crossfade_verifier.settings import Settings
from verifier_world import BOUND_S, World, at_once


class Heard:
    """One life of the continuous mode.

    Attributes:
        behind_s: how far the reading of the streams is behind; None while one isn't read.
        complete: what the flag document says.
        done: the last pass that is done.
        asked: how many passes it has asked for.
    """

    def __init__(self, world: World, **changed: Any) -> None:
        self.world = world
        self.behind_s: float | None = 0.0
        self.complete = False
        self.done: Swept | None = None
        self.asked = self.passes = 0
        settings = Settings(**({"in_flight_bound_s": BOUND_S, "buckets": 16} | changed))
        both = self.both = world.both()
        at_once(both.look())
        self.mode = Continuous(
            both,
            settings,
            world.handovers,
            clock=world.clock,
            at_most_us=world.clock.wall_us,
            behind_s=lambda: self.behind_s,
            complete=lambda: self.complete,
            swept=lambda: self.done,
            ask=self._ask,
        )

    def _ask(self) -> None:
        self.asked += 1

    async def goes_on(self, for_s: float) -> None:
        """Let time pass, and look each second as it does."""
        for _ in range(int(for_s)):
            self.mode.tick()
            await self.mode.look()
            await self.world.clock.sleep(1.0)

    def swept(self, *, clean: bool = True, keys: frozenset[Key] | None = frozenset(), started_s: float = 0.0) -> None:
        """A pass is done; it began now, or so long before."""
        began_s = self.world.clock.now - started_s
        self.passes += 1
        self.done = Swept(f"pass {self.passes}", began_s, clean, keys)
        self.mode.tick()

    @property
    def found(self) -> dict[Difference, list[Key]]:
        """What it has called."""
        return self.mode.differing.keys
