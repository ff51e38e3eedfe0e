"""What every step of the state machine writes with: the journal, and the state folded from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controller.diverged import DivergedKeys
from controller.evidence import Observer
from controller.markers import Markers
from controller.state import Migration, Pending, document_json, fold
from controller.sweeper import Sweeper
from controller.world import World
from crossfade.contracts.journal import Entry
from crossfade.core.migration.evidence import Evidence
from crossfade.core.migration.gates import Gate, GateResult, judge, waiting_for
from crossfade.core.migration.phases import Phase, check_transition
from crossfade.core.ownership.ramp import FlagDocument, next_generation

PROGRESS = ""
"""What a step returns when it wrote to the journal: look again at once."""


def gates_json(results: Sequence[GateResult]) -> list[dict[str, Any]]:
    """Return verdicts as evidence."""
    return [each.as_json() for each in results]


class Context:
    """The state of a run. Belongs to the one task that drives the migration.

    Attributes:
        world: the ports.
        state: the journal, folded so far.
        observer: collects evidence.
        sweeper: moves and helps keys.
        diverged: holds back keys whose rows differ.
        markers: tell moments as commit times.
        unmappable: by the prefix of the import files, what is said of rows that can't be mapped; this process found it.
        heard: told of each entry that is folded in; None for nobody.
    """

    def __init__(self, world: World, observer: Observer, sweeper: Sweeper, diverged: DivergedKeys) -> None:
        self.world = world
        self.observer = observer
        self.sweeper = sweeper
        self.diverged = diverged
        self.markers = Markers(world, self.allocate)
        self.state = Migration()
        self.unmappable: dict[str, str] = {}
        self._since_s: dict[tuple[int, str], float] = {}
        self.heard: Callable[[Sequence[Entry]], None] | None = None

    async def refresh(self) -> None:
        """Fold in what was written since."""
        entries = await self.world.journal.entries(after=self.state.number)
        self.state = fold(self.state, entries)
        if self.heard is not None and entries:
            self.heard(entries)

    async def append(self, kind: str, body: Mapping[str, Any]) -> int:
        """Write an entry and fold it in; return its number."""
        entry = await self.world.journal.append(kind, body)
        await self.refresh()
        return entry.number

    def since_s(self, step: str) -> float:
        """Return the monotonic time at which this process first came to a step of this phase."""
        name = (self.state.entered, step)
        if name not in self._since_s:
            self._since_s = {**{each: at_s for each, at_s in self._since_s.items() if each[0] == name[0]}}
            self._since_s[name] = self.world.monotonic()
        return self._since_s[name]

    async def begin(self, step: str, evidence: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Journal that a step is about to take effect, once; return what was journaled then."""
        if step not in self.state.begun:
            await self.append("begun", {"step": step, **(evidence or {})})
        return self.state.begun[step]

    async def finish(self, step: str, evidence: Mapping[str, Any] | None = None) -> str:
        """Journal that a step took effect."""
        await self.append("step", {"step": step, **(evidence or {})})
        return PROGRESS

    async def enter(self, there: Phase, gates: Sequence[GateResult] = (), **evidence: Any) -> str:
        """Journal a transition with its evidence.

        Raises:
            IllegalTransition: the table has no such transition.
        """
        here = self.state.phase
        check_transition(here, there)
        body = {"from": here.value, "to": there.value, "gates": gates_json(gates), **evidence}
        await self.append("phase", body)
        return PROGRESS

    async def settle(self, pending: Pending, outcome: str, because: str = "") -> str:
        """Journal the end of an intent."""
        body = {"intent": pending.number, "verb": pending.intent.value, "outcome": outcome, "because": because}
        await self.append("outcome", body)
        return PROGRESS

    def given_out(self, purpose: str) -> int:
        """Return the highest generation that is taken, without one that was reserved for this purpose and not used."""
        counter = self.state.counter
        return counter - 2 if self.state.reserved == purpose else counter

    async def reserve(self, counter: int, purpose: str) -> None:
        """Make a generation durable before it is used. An odd one, found in a row, is rounded up to an even one."""
        if counter > self.state.counter:
            even = counter + counter % 2
            await self.append("generation", {"counter": even, "for": purpose})

    async def allocate(self, purpose: str) -> int:
        """Reserve the next generation, or find the one that was reserved for this purpose before a restart."""
        counter = next_generation(self.given_out(purpose))
        await self.reserve(counter, purpose)
        return counter

    async def intend(self, document: FlagDocument, *, dual_write: bool, gates: Sequence[GateResult] = ()) -> str:
        """Journal flags that are about to be published; `publish` does it, now or after a restart."""
        body = {"document": document_json(document), "dual_write": dual_write, "gates": gates_json(gates)}
        await self.append("share", body)
        await self.publish()
        return PROGRESS

    async def publish(self) -> None:
        """Publish the flags that the journal says are in force."""
        state = self.state
        await self.world.flags.publish(state.document, dual_write=state.dual_write)
        if not state.is_published:
            await self.append("published", {"share": state.share_entry})

    def evidence(self) -> Evidence | None:
        """Return the last evidence, under the flags now in force; None before the first."""
        return self.observer.evidence(self.state)

    def judge(self, gates: Sequence[Gate]) -> list[GateResult]:
        """Return the gates' verdicts on the last evidence; all shut when there is none yet."""
        evidence = self.evidence()
        if evidence is None:
            return [GateResult("evidence", False, None, None, "no evidence collected yet")]
        return judge(gates, evidence, self.world.settings.bounds())

    def shut(self, gates: Sequence[Gate]) -> str:
        """Return what the gates wait for; empty when all are open."""
        return waiting_for(self.judge(gates))
