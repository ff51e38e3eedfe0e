"""Two items and the ownership machine run on them."""

from __future__ import annotations

from typing import Any

from crossfade.core.ownership.decisions import Done, Found, Perform, Read, Request, Seen, StepKind, Task
from crossfade.core.ownership.machine import OwnershipRules
from crossfade.core.protocol.keyed.item import Item, Role
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.writes import Answer
from crossfade.core.protocol.seam import Aim
from crossfade.core.protocol.writing import Applied
from crossfade.core.values.shape import Side
from engagement_migration import MAPPING
from ownership_cases import KEY, NOW_MS, SEED, content, live

L, N = Side.SOURCE, Side.TARGET
UNMAPPABLE = content(L, 5, surprise=b'{"S":"no rule names it"}')


class Tables:
    """Two items, the machine run on them, and what it asked for."""

    def __init__(self, source: Item | None, target: Item | None) -> None:
        self.items = {L: source, N: target}
        self.asked: list[Request] = []
        self.rules = OwnershipRules(MAPPING, rounds=3)

    def run(
        self, side: Side, generation: int, op: Operation | None = None, known: Seen | None = None, **more: Any
    ) -> Done:
        task = Task(KEY, Aim(side, generation), op, NOW_MS, SEED, **more)
        step = self.rules.begin(task, known)
        while not isinstance(step, Done):
            state, request = step
            self.asked.append(request)
            assert len(self.asked) < 50
            self.before(request)
            if isinstance(request, Read):
                step = self.rules.advance(state, Found(self.items[request.side]))
                continue
            answer = self.perform(request)
            if isinstance(answer, Applied):
                self.items[request.side] = answer.item
            self.meanwhile(request)
            step = self.rules.advance(state, answer)
        return step

    def perform(self, request: Perform) -> Answer:
        return perform(request.write, self.items[request.side], MAPPING.shape(request.side))

    def before(self, request: Request) -> None:
        """What others do right before a request."""

    def meanwhile(self, request: Perform) -> None:
        """What others do right after a write."""

    def writes(self) -> list[str]:
        return [type(each.write).__name__ for each in self.asked if isinstance(each, Perform)]

    def owner(self) -> tuple[Side, int]:
        (side,) = [side for side, item in self.items.items() if item and item.role is Role.ACTIVE]
        return side, self.at(side).generation

    def at(self, side: Side) -> Item:
        item = self.items[side]
        assert item is not None
        return item


def steps(done: Done) -> list[StepKind]:
    return [step.kind for step in done.steps]


ROW = live(L)
IMPORTED = live(N, version=0, role=Role.STANDBY)
