"""What a migration is driven with: the ports, the journal, and the state folded from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crossfade.contracts.journal import Entry
from crossfade.core.migration.acts import Allocate, Wait
from crossfade.core.migration.evidence import Evidence
from crossfade.core.migration.gates import GateResult
from crossfade.core.migration.keyed import phases_of
from crossfade.core.migration.progress import Progress
from crossfade.core.migration.seen import Seen, judged
from crossfade.core.migration.state import Migration, fold
from crossfade.core.ownership.ramp import next_generation
from crossfade_controller.diverged import DivergedKeys
from crossfade_controller.evidence import Observer
from crossfade_controller.markers import Markers
from crossfade_controller.plain.moments import Moments
from crossfade_controller.sweeper import Sweeper
from crossfade_controller.world import World


class Context:
    """The state of a run. Belongs to the one task that drives the migration.

    Attributes:
        world: the ports.
        state: the journal, folded so far.
        observer: collects evidence.
        sweeper: moves and helps keys.
        diverged: holds back keys whose rows differ.
        markers: tell moments as commit times.
        progress: of the step that is under way and takes long; None for none.
        heard: called with each entry that is folded in; None for nothing.
    """

    def __init__(self, world: World, observer: Observer, sweeper: Sweeper, diverged: DivergedKeys) -> None:
        self.world = world
        self.observer = observer
        self.sweeper = sweeper
        self.diverged = diverged
        plain = world.plain
        self.markers: Markers | Moments = Markers(world, self.allocate) if plain is None else Moments(world, plain)
        self.state = Migration(phases_of(world.mapping.protocol))
        self.progress: Progress | None = None
        self.heard: Callable[[Sequence[Entry]], None] | None = None
        self._judged: tuple[Evidence | None, Mapping[str, GateResult]] | None = None

    async def refresh(self) -> None:
        """Fold in what was written since."""
        entries = await self.world.journal.entries(after=self.state.number)
        before, self.state = self.state, fold(self.state, entries)
        if self.state.excluded != before.excluded:
            self.world.excluded.clear()
            self.world.excluded.update(self.state.excluded)
        if self.heard is not None and entries:
            self.heard(entries)

    async def append(self, kind: str, body: Mapping[str, Any]) -> None:
        """Write an entry and fold it in."""
        await self.world.journal.append(kind, body)
        await self.refresh()

    async def reserve(self, counter: int, purpose: str) -> None:
        """Make a generation durable before it is used."""
        if counter > self.state.counter:
            for kind, body in Allocate(counter, purpose).entries():
                await self.append(kind, body)

    async def allocate(self, purpose: str) -> int:
        """Reserve the next generation, or find the one that was reserved for this purpose before a restart."""
        counter = next_generation(self.state.given_out(purpose))
        await self.reserve(counter, purpose)
        return counter

    def evidence(self) -> Evidence | None:
        """Return the last evidence, under the flags now in force; None before the first."""
        return self.observer.evidence(self.state)

    def seen(self, wait: Wait | None = None) -> Seen:
        """Return what the next decision looks at.

        Args:
            wait: the last answer, if it was one.
        """
        evidence, world = self.evidence(), self.world
        if self._judged is None or self._judged[0] is not evidence:
            self._judged = (evidence, judged(self.state.table, evidence, world.settings.bounds()))
        return Seen(
            world.settings.setup(world.mapping),
            self._judged[1],
            now_us=world.clock.wall_us(),
            pass_began_s=evidence.parity.clean_pass_began_s if evidence is not None else None,
            stray_age_s=evidence.strays.age_s if evidence is not None else None,
            sweep=self.sweeper.current,
            swept=self.sweeper.last,
            waited_for=wait.text if wait is not None else "",
            driver=world.plain.name if world.plain is not None else "",
        )
