"""The coordinator of `plain_exploration`: a flip in the steps in which requests take effect; the end of a hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from crossfade.core.migration.flip_deeds import Bury
from crossfade.core.protocol.plain import fence
from crossfade.core.protocol.plain.map import (
    OwnerMap,
    State,
    drained_from,
    flipped_from,
    opened_from,
    sealed_from,
)
from crossfade.core.protocol.plain.members import Member
from crossfade.core.protocol.plain.rows import same
from plain_states import (
    LONG,
    SIDES,
    TOMB,
    Code,
    Coordinator,
    Rec,
    Row,
    S,
    Scenario,
    T,
    World,
    content,
    put,
    time_us,
    value_of,
)


class Coordinating:
    """Steps of a coordinator."""

    scenario: Scenario
    code: Code

    def _written(self, world: World, side: int, row: Row, *, is_late: bool = False) -> World:
        """Change a row; the change leaves a record, unless it changes nothing."""
        old = world.rows[side]
        if old == row:
            return world
        commit = world.clocks[side] + 1
        rec = Rec(commit, old, row, is_late)
        return world._replace(
            rows=put(world.rows, side, row),
            clocks=put(world.clocks, side, commit),
            records=put(world.records, side, world.records[side] | {rec}),
        )

    def _coordinator(self, world: World, index: int) -> Iterator[tuple[str, World]]:
        me = world.coordinators[index]

        def with_me(here: World = world, /, **changes: Any) -> World:
            mine = here.coordinators[index]._replace(**changes)
            return here._replace(coordinators=put(here.coordinators, index, mine))

        name = f"coordinator {index + 1}"
        owner = SIDES.index(world.now.owner)
        if me.at == "idle":
            if world.now.state is State.OPEN and world.is_open and world.flips < self.scenario.flips:
                yield f"{name} begins", with_me(world._replace(flips=world.flips + 1), at="begun", seen=world.now)
            elif world.now.state is not State.OPEN and world.endings < self.scenario.endings:
                yield (
                    f"{name} finds a hold",
                    with_me(world._replace(endings=world.endings + 1), at="gives up", seen=world.now),
                )
            return
        for told, after in self._attempt(world, me, with_me, owner):
            yield f"{name} {told}", after

    def _attempt(  # noqa: C901 - a case a step
        self, world: World, me: Coordinator, with_me: Callable[..., World], owner: int
    ) -> Iterator[tuple[str, World]]:
        seen = me.seen
        assert seen is not None

        def swap(new: OwnerMap, at: str, told: str, **changes: Any) -> Iterator[tuple[str, World]]:
            if world.now == seen:
                yield told, with_me(world._replace(now=new), at=at, seen=new, **changes)
            else:
                yield f"{told}: its swap fails", with_me(at="idle", seen=None, read=None)

        standby = 1 - SIDES.index(seen.owner)
        if me.at in ("draining", "held", "sealed", "compared") and world.endings < self.scenario.endings:
            yield "gives up", with_me(world._replace(endings=world.endings + 1), at="gives up", read=None)
        match me.at:
            case "begun":
                yield from swap(drained_from(seen), "draining", "drains")
            case "draining":
                if self.code.hook_refuses_lower and seen.epoch < world.hook_epoch:
                    yield "is refused by the hook", with_me(at="idle", seen=None)
                    return
                clocks = (world.clocks[S] + LONG, world.clocks[T] + LONG)
                held = world._replace(is_open=False, hook_epoch=seen.epoch, clocks=clocks)
                times = (time_us(S, clocks[S]), time_us(T, clocks[T]))
                yield "holds", with_me(held, at="held", held=times)
            case "held":
                mine = SIDES.index(seen.owner)
                due = {each.commit for each in world.records[mine] if not each.is_late}
                if self.code.lists_from_the_stream and not due <= world.applied[mine]:
                    return
                yield from swap(sealed_from(seen), "sealed", "seals")
            case "sealed":
                if not self._all_acknowledged(world, seen):
                    return
                if not self.code.compares:
                    yield "compares nothing", with_me(at="compared")
                elif me.read is None:
                    yield "reads the standby", with_me(read=(world.rows[standby],))
                elif len(me.read) == 1:
                    yield "reads the owner", with_me(read=(*me.read, world.rows[1 - standby]))
                else:
                    yield from self._compares(world, me, standby, with_me)
            case "compared":
                if not self._all_acknowledged(world, seen):
                    return
                held_us, other_us = me.held[SIDES.index(seen.owner)], me.held[standby]
                yield from swap(flipped_from(seen, held_us=held_us, other_held_us=other_us), "flipped", "flips")
            case "gives up":
                if SIDES[world.table] is not world.now.owner:  # it was flipped
                    yield "finds it flipped", with_me(at="flipped", seen=world.now)
                else:
                    yield from swap(self.code.taken_back(seen), "flipped", "takes back")
            case "flipped":
                mine = SIDES.index(seen.owner)
                after = world
                if self.code.purges and world.rows[mine].value == TOMB:
                    after = self._written(world, mine, Row())
                yield "purges", with_me(after, at="purged")
            case "purged":
                mine, epoch = SIDES.index(seen.owner), seen.epoch + 1
                if self.code.hook_refuses_lower and epoch < world.hook_epoch:
                    yield "is refused by the hook", with_me(at="idle", seen=None)
                    return
                came = any(not each.is_late for each in world.records[S])
                missed = world.missed or (self.scenario.late and not came and world.rows[mine].value != world.truth)
                open_ = world._replace(is_open=True, table=mine, hook_epoch=epoch, missed=missed)
                yield "releases", with_me(open_, at="released")
            case "released":
                yield from swap(opened_from(seen), "idle", "opens")

    def _compares(
        self, world: World, me: Coordinator, standby: int, with_me: Callable[..., World]
    ) -> Iterator[tuple[str, World]]:
        assert me.read is not None
        theirs, ours = me.read
        wanted = content(ours, 1 - standby, owns=True)
        known = {each.commit for each in world.records[1 - standby] if not each.is_late}
        listed = bool(known) or not self.scenario.late
        if not listed or same(wanted, content(theirs, standby, owns=False)):
            yield "finds them equal", with_me(at="compared", read=None)
            return
        version = fence.compared(theirs.fence, me.held[1 - standby])
        row = Row(TOMB if wanted is None else value_of(wanted), version)
        if theirs.fence == world.rows[standby].fence or not self.code.copy_names_the_fence:
            yield "copies", with_me(self._written(world, standby, row), read=None)
        else:
            yield "copies: refused", with_me(read=None)

    def _all_acknowledged(self, world: World, seen: OwnerMap) -> bool:
        """Ask production's rule; whom it buries has been silent for as long as a signature lives."""
        members = [
            Member(str(index), "applier", each.acked, 0.0, True, 0.0) for index, each in enumerate(world.appliers)
        ]
        members += [Member(f"dead {each[0]}", "applier", 0, 1.0, False, 0.0) for each in world.zombies]
        asked = self.code.waits(members, seen.epoch, 900.0)
        try:
            deed = next(asked)
            while isinstance(deed, Bury):
                deed = asked.send(None)
        except StopIteration as ended:
            return ended.value is None
        return False
