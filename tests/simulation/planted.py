"""Faults planted in the code that is played: the simulation has to find each, or it proves nothing.

A fault is a `Code` with one part changed. To add one, subclass the part (a table, the ownership rules, a pod, a
replicator, the feed, the controller), name it in `PLANTED`, and run `python -m simulation --planted "its name"`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

import ownership_planted
from crossfade.core.mapping.interface import Mapping
from crossfade.core.migration.deeds import PassResult
from crossfade.core.ownership.machine import ROUNDS, OwnershipRules
from crossfade.core.protocol.keyed.item import is_fence, parse_item, version_of
from crossfade.core.protocol.keyed.writes import Answer, Write
from crossfade.core.protocol.seam import Aim, Skip
from crossfade.core.protocol.writing import Applied, Transfer, Verdict
from crossfade.core.replication.apply import Decision
from crossfade.core.replication.change import Change
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.sending import NotSent, Sent
from crossfade_controller.context import Context
from crossfade_controller.driver import Driver
from crossfade_replicator.outcome import BatchOutcome
from crossfade_replicator.sender import Sender
from engagement_migration import MAPPING
from ownership_scenarios import Code as Rules
from simulation.consumers import Consumer, Feed, Replicator
from simulation.control import Controller
from simulation.ground import Ground, Table
from simulation.network import Process
from simulation.play import Code


def _of_rules(planted: Rules) -> Code:
    """Return the play of a fault of the exhaustive ownership check."""

    class Planted(Table):
        def _perform(self, write: Write) -> Answer:
            answer = planted.perform(write, self.item(write.key), self.shape)
            if isinstance(answer, Applied) and planted.stores(write):
                self._write(write.key, answer.item)
            return answer

        async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
            verdicts: list[Sent] = []
            for each in transfers:
                standing = self.item(each.key)
                verdict, after = planted.judge(each, standing, self.shape)
                if verdict is Verdict.APPLIED and after is not None:
                    source = self.ground.tables[self.shape.side.other].item(each.key)
                    self._write(each.key, after if source is None else planted.carried(source, standing, after))
                verdicts.append(verdict)
            return verdicts

    def rules(mapping: Mapping) -> OwnershipRules:
        return planted.rules(mapping, ROUNDS)

    return Code(
        table=Planted,
        rules=rules,
        replicator=_deciding(_fence_travels) if planted.travels is not Rules().travels else Replicator,
        meanwhile=_tombstones_expire if planted.tombstones_expire else None,
    )


async def _tombstones_expire(ground: Ground) -> None:
    while True:
        await asyncio.sleep(0.7)
        for table in ground.tables.values():
            for key in ground.keys:
                item = table.item(key)
                if item is not None and item.deleted:
                    ground.story.tell(table.shape.side.value, f"the tombstone of {key.decode()} expires")
                    table.images.pop(key)
                    ground.versions.pop((table.shape.side, key), None)


# The apply rule.


def _deciding(rule: Callable[[Direction, Change, Decision], Decision]) -> type[Replicator]:
    class Deciding(Replicator):
        def __init__(self, process: Process, ground: Ground, direction: Direction) -> None:
            super().__init__(process, ground, direction)
            decide = self.pipeline._decide

            def decided(change: Change, strays_since_us: int = 0) -> Decision:
                return rule(direction, change, decide(change, strays_since_us))

            self.pipeline._decide = decided

    return Deciding


def _copied(direction: Direction, change: Change) -> Transfer:
    assert change.new is not None
    item = parse_item(change.new, MAPPING.shape(direction.origin))
    return Transfer(change.key, version_of(item), MAPPING.carry(direction, change.new), item.generation)


def _fence_travels(direction: Direction, change: Change, decision: Decision) -> Decision:
    echo = change.new is not None and decision is Skip.ECHO
    fence = echo and is_fence(parse_item(change.new or {}, MAPPING.shape(direction.origin)))
    return _copied(direction, change) if fence else decision


def _no_tombstone(_direction: Direction, change: Change, decision: Decision) -> Decision:
    deleted = change.new is not None and "cf_deleted" in change.new
    return Skip.ECHO if deleted and isinstance(decision, Transfer) else decision


class LiftsNothing(Replicator):
    """A stray on an owner is counted and named, and its owner keeps its version."""

    def __init__(self, process: Process, ground: Ground, direction: Direction) -> None:
        super().__init__(process, ground, direction)

        async def lift(key: Key, seen: int | None, before: int, standby: int) -> bool:
            return True

        self.pipeline._interventions._lift = lift  # type: ignore[method-assign]  # that is the fault


class TakesThrottledForApplied(Replicator):
    """What the table was too busy for is never sent again."""

    def __init__(self, process: Process, ground: Ground, direction: Direction) -> None:
        super().__init__(process, ground, direction)

        class Hasty(Sender):
            async def send(self, transfers: Sequence[Transfer]) -> list[Sent]:
                answers = await self._table.transfer(transfers)
                return [Verdict.APPLIED if each is NotSent.THROTTLED else each for each in answers]

        self.pipeline._sender = Hasty(process.far(ground.tables[direction.destination]), clock=process)


class MarksFirst(Replicator):
    """A mark is set before the write that it stands for."""

    def __init__(self, process: Process, ground: Ground, direction: Direction) -> None:
        super().__init__(process, ground, direction)
        marks = self.pipeline._marks

        class Marking(Sender):
            async def send(self, transfers: Sequence[Transfer]) -> list[Sent]:
                await marks.mark(direction, {each.key: each.version for each in transfers})
                return await super().send(transfers)

        self.pipeline._sender = Marking(process.far(ground.tables[direction.destination]), clock=process)


class Unfenced(Table):
    """A standby takes what comes, however old."""

    async def transfer(self, transfers: Sequence[Transfer], *, timeout_s: float | None = None) -> list[Sent]:
        for each in transfers:
            item = self.item(each.key)
            if item is not None and version_of(item) > each.version:
                self.ground.versions.pop((self.shape.side, each.key), None)
        high = [
            replace(each, repair=True, version=max(each.version, version_of(self.item(each.key)))) for each in transfers
        ]
        return await super().transfer(high)


# Checkpoints.


class Forward(Consumer):
    """Stores its place before the batch has an effect."""

    async def acknowledged(self, shard: str, records: Any) -> BatchOutcome:
        await self.store(shard, records)
        return await self.pipeline.apply(shard, records)


class StoresPlacesFirst(Replicator):
    def __init__(self, process: Process, ground: Ground, direction: Direction) -> None:
        super().__init__(process, ground, direction)
        self.consumer = Forward(process, ground, direction.value, direction.origin, self.pipeline)


class FeedStoresPlacesFirst(Feed):
    def __init__(self, process: Process, ground: Ground) -> None:
        super().__init__(process, ground)
        self.consumers = [Forward(process, ground, each.consumer, each.side, each.pipeline) for each in self.consumers]


# The controller.


class OnePassIsProof(Controller):
    """The first pass of the sweeper counts as proof, whatever it found to do."""

    def assembled(self) -> tuple[Context, Driver]:
        ctx, driver = super().assembled()
        move = ctx.sweeper.move

        async def moved(*arguments: Any, **more: Any) -> PassResult | None:
            result = await move(*arguments, **more)
            return result and result._replace(moved=0, helped=0, stuck=(), diverged=0)

        ctx.sweeper.move = moved  # type: ignore[method-assign]  # that is the fault
        return ctx, driver


class SweepsOneTable(Controller):
    """The sweeper looks at the rows of the source only."""

    def assembled(self) -> tuple[Context, Driver]:
        ctx, driver = super().assembled()
        sweeper, page = ctx.sweeper, ctx.sweeper._move_page

        async def moved(side: Side, aim: Aim, complete: bool) -> None:
            await page(side, aim, complete)
            if sweeper._move_side is aim.side:
                sweeper._move_side = None

        sweeper._move_page = moved  # type: ignore[method-assign]  # that is the fault
        return ctx, driver


OWN: Final[dict[str, Code]] = {
    "a tombstone doesn't travel": Code(replicator=_deciding(_no_tombstone)),
    "a stray's owner is not lifted": Code(replicator=LiftsNothing),
    "throttled is taken for applied": Code(replicator=TakesThrottledForApplied),
    "a mark before its write": Code(replicator=MarksFirst),
    "a transfer without a fence": Code(table=Unfenced),
    "an applier's checkpoint before its effect": Code(replicator=StoresPlacesFirst),
    "the feed's checkpoint before its effect": Code(feed=FeedStoresPlacesFirst),
    "one pass of the sweeper is proof": Code(controller=OnePassIsProof),
    "the sweeper looks at one table": Code(controller=SweepsOneTable),
}

PLANTED: Final[dict[str, Code]] = {
    **{name: _of_rules(each) for name, each in ownership_planted.PLANTED.items()},
    **OWN,
}
