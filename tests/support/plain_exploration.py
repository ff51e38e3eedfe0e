"""Every interleaving of flips, appliers and an application that knows nothing of them, on one key.

One key, two tables whose clocks are a day apart. The application writes to the table that its hook was given: puts,
which drop a fence, updates, which keep one, deletes. Each change leaves a record that may be applied in any order, any
number of times; some come only after a flip. One applier a direction works in the steps in which its requests take
effect, may die with one on the wire, and be replaced. A coordinator flips the rows there and back, may give up, and may
be replaced by another while it goes on.

What a record tells, what a copy meets, what a late record means, how the map changes and when members are waited for:
the code that runs in production says so. This file only schedules, and knows what must never be seen:

- while the application may write, its table holds what it wrote last, and no tombstone;
- once every record was applied, the standby holds it, too, unless a row waits for a person;
- nothing waits for a person that needs none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from crossfade.core.protocol.plain import fence, late
from crossfade.core.protocol.plain.map import (
    OwnerMap,
    State,
    first_map,
    version_at,
)
from crossfade.core.protocol.plain.records import Ask, Late, Left
from crossfade.core.protocol.plain.rows import same
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.values import image as wire
from plain_coordinator import Coordinating
from plain_states import (
    ABSENT,
    BASES,
    KEY,
    SHAPES,
    SIDES,
    STEP_US,
    TOMB,
    Applier,
    Broken,
    Code,
    Coordinator,
    Rec,
    Row,
    S,
    Scenario,
    T,
    World,
    change_of,
    content,
    image_of,
    parsed,
    put,
    time_us,
    value_of,
)


class Explorer(Coordinating):
    """Walks through all states of a scenario."""

    def __init__(self, scenario: Scenario, code: Code | None = None) -> None:
        self.scenario, self.code = scenario, code or Code()
        self._decided: dict[tuple[int, Rec, OwnerMap], Any] = {}

    def explore(self, limit: int = 2_000_000) -> tuple[int, str]:
        """Return how many states there are, and the shortest story to one that is broken; empty if none is."""
        first_row = Row(self.scenario.starts_with)
        first = first_map(BASES[S] - STEP_US)
        start = World(
            rows=(first_row, first_row._replace(fence=version_at(BASES[S]) if self.scenario.fenced else None)),
            truth=self.scenario.starts_with,
            now=first,
            clocks=(0, 0),
            records=(frozenset(), frozenset()),
            applied=(frozenset(), frozenset()),
            appliers=(Applier(first), Applier(first)),
            coordinators=(Coordinator(), Coordinator()),
        )
        came_from: dict[World, tuple[World, str] | None] = {start: None}
        queue = deque([start])
        while queue:
            world = queue.popleft()
            try:
                for name, after in self._steps(world):
                    if after not in came_from:
                        came_from[after] = (world, name)
                        queue.append(after)
                self._check(world)
            except Broken as error:
                return len(came_from), _story(came_from, world) + f" → {error}"
            if len(came_from) > limit:
                raise AssertionError(f"more than {limit} states")
        return len(came_from), ""

    # What must hold.

    def _is_at_rest(self, world: World) -> bool:
        """Every record was applied, and nothing is under way. Records may still come again, and change nothing."""
        idle = world.is_open and not world.zombies and world.now.state is State.OPEN
        idle = idle and all(each.at is None for each in world.appliers)
        idle = idle and all(each.at == "idle" for each in world.coordinators)
        return idle and all({each.commit for each in world.records[side]} <= world.applied[side] for side in (S, T))

    def _check(self, world: World) -> None:
        owner = SIDES.index(world.now.owner)
        if world.is_open:
            if world.table != owner:
                raise Broken("the application writes to the standby")
            row = world.rows[world.table]
            if row.value == TOMB:
                raise Broken("the application meets a tombstone")
            if row.value != world.truth and not (world.missed or world.parked):
                raise Broken(f"the owner holds {row.value}, the application wrote {world.truth}")
        if world.parked and not self.scenario.late:
            raise Broken("a key waits for a person, and nothing was wrong")
        rests = self._is_at_rest(world)
        if rests and world.kept and not self.scenario.late:
            raise Broken("a row waits for a person, and nothing was wrong")
        if rests and not world.parked:
            if world.rows[owner].value != world.truth:
                raise Broken(f"at rest the owner holds {world.rows[owner].value}, the application wrote {world.truth}")
            held = value_of(content(world.rows[1 - owner], 1 - owner, owns=False))
            if held != world.truth:
                raise Broken(f"at rest the standby holds {held}, the application wrote {world.truth}")

    # What may happen.

    def _steps(self, world: World) -> Iterator[tuple[str, World]]:
        yield from self._application(world)
        for direction in (S, T):
            yield from self._applier(world, direction)
        for index in range(2 if self.scenario.endings else 1):
            yield from self._coordinator(world, index)

    def _application(self, world: World) -> Iterator[tuple[str, World]]:
        if not world.is_open or world.next_value > self.scenario.writes + 1:
            return
        row, value = world.rows[world.table], world.next_value
        back = Row(value, world.read)  # as it was read when the table was the standby, or while its fence was there yet
        rows = {"put": Row(value), "update": Row(value, row.fence), "delete": Row(), "put back": back}
        for kind in self.scenario.kinds:
            if kind == "delete" and row.value == ABSENT:
                continue
            truth = ABSENT if kind == "delete" else value
            for is_late in (False, True) if self.scenario.late and not world.flips else (False,):
                after = self._written(world, world.table, rows[kind], is_late=is_late)
                name = f"writes {kind} {value}{', its record late' if is_late else ''}"
                read = world.read if row.fence is None else row.fence
                yield name, after._replace(truth=truth, next_value=value + 1, read=read)

    # An applier: `direction` is the side of its origin.

    def _applier(self, world: World, direction: int) -> Iterator[tuple[str, World]]:  # noqa: C901 - a case a step
        me = world.appliers[direction]

        def with_me(here: World = world, /, **changes: Any) -> World:
            return here._replace(appliers=put(here.appliers, direction, here.appliers[direction]._replace(**changes)))

        called = "forward" if direction == S else "reverse"
        for zombie in world.zombies:
            if zombie[0] == direction:
                buried = world._replace(zombies=world.zombies - {zombie})
                yield f"a request of a dead {called} is too old", buried
                for name, after in self._lands(buried, direction, zombie[1], is_dead=True):
                    yield f"{called}, dead: {name}", after
        if me.view != world.now and (me.view.state is not State.SEALED or me.at is None):
            yield f"{called} learns", with_me(view=world.now)
        sealed = me.view.state is State.SEALED
        idle = me.at is None or not self.code.acknowledges_idle
        if sealed and idle and me.acked != me.view.epoch:
            yield f"{called} acknowledges", with_me(acked=me.view.epoch)
        if me.at is not None:
            for name, after in self._lands(world, direction, me.at, is_dead=False):
                yield f"{called}: {name}", after
            if world.crashes < self.scenario.crashes:
                died = world._replace(crashes=world.crashes + 1)
                if me.at[0] in ("copy", "as read", "to owner"):
                    died = died._replace(zombies=world.zombies | {(direction, me.at)})
                yield f"{called} dies, and another begins", with_me(died, view=world.now, at=None, acked=0)
            return
        if sealed:
            return
        for rec in world.records[direction]:
            if rec.is_late and world.now.owner is SIDES[direction] and len(world.now.intervals) < 2:
                continue
            after = self._takes(world, direction, rec)
            if after != world:
                yield f"{called} takes {rec.commit}", after

    def _takes(self, world: World, direction: int, rec: Rec) -> World:
        me = world.appliers[direction]
        decision = self._decide(direction, rec, me.view)
        if self.code.needs_the_map(decision):
            if world.now.state is State.SEALED:
                return world
            me = me._replace(view=world.now)
            decision = self._decide(direction, rec, world.now)
        appliers = put(world.appliers, direction, me)
        world = world._replace(kept=world.kept - {value_of(content(rec.old, direction, owns=True))})
        done = world._replace(
            appliers=appliers, applied=put(world.applied, direction, world.applied[direction] | {rec.commit})
        )
        if isinstance(decision, Left):
            return done
        at: tuple[Any, ...]
        match decision:
            case Transfer(version=version, image=image):
                value = TOMB if "cf_deleted" in image else int(wire.number(image["v"]))
                at = ("copy", rec, Row(value, version), me.view.floor)
            case Ask():
                at = ("ask", rec, me.view.floor)
            case Late(past_hold=True):
                raise Broken(f"the hold is said to be broken, by record {rec.commit}")
            case Late() if world.now.owner is SIDES[direction]:
                at = ("ask", rec, me.view.floor)  # its table owns again, and decides
            case Late():
                at = ("late", rec, me.view.floor)
            case _:
                raise Broken(f"a record of ours is taken for {type(decision).__name__}")
        return world._replace(appliers=put(world.appliers, direction, me._replace(at=at)))

    def _decide(self, direction: int, rec: Rec, now: OwnerMap) -> Any:
        asked = (direction, rec, now)
        if asked not in self._decided:
            self._decided[asked] = self.code.decide(direction, change_of(direction, rec), now)
        return self._decided[asked]

    def _lands(  # noqa: C901 - a case a step
        self, world: World, direction: int, at: tuple[Any, ...], *, is_dead: bool
    ) -> Iterator[tuple[str, World]]:
        """What a request does at the store, and what its answer makes of the applier, if that still lives."""
        standby, owner = 1 - direction, direction

        def then(after: World, next_at: tuple[Any, ...] | None, *, applied: bool = False) -> World:
            if is_dead:
                return after
            me, done = after.appliers[direction]._replace(at=next_at), after.applied
            if applied:
                done = put(done, direction, done[direction] | {at[1].commit})
            return after._replace(appliers=put(after.appliers, direction, me), applied=done)

        row = world.rows[standby]
        match at:
            case ("copy", rec, wanted, floor):
                low = row.fence is not None and floor <= row.fence < wanted.fence
                if low or (not floor and row.fence is None):
                    yield "its copy lands", then(self._written(world, standby, wanted), None, applied=True)
                    return
                if is_dead:
                    yield "its copy is refused", then(world, None)
                    return
                yield "its copy is refused", self._refused(world, direction, rec, wanted, floor, row, then)
            case ("as read", rec, wanted, seen, floor):
                self._look_at_the_only_copy(world, direction, wanted, seen, floor)
                fits = seen.fence == row.fence and (seen.value == ABSENT) == (row.value == ABSENT)
                if fits or not self.code.copy_names_the_fence:
                    yield "its copy lands", then(self._written(world, standby, wanted), None, applied=True)
                else:
                    yield "its copy is refused", then(world, ("ask", rec, floor))
            case ("ask", rec, floor):
                first = world.rows[standby] if self.code.standby_first else world.rows[owner]
                yield "reads one row", then(world, ("asked", rec, floor, first))
            case ("asked", rec, floor, first):
                theirs = first if self.code.standby_first else world.rows[standby]
                ours = world.rows[owner] if self.code.standby_first else first
                yield "reads the other row", self._asked(world, direction, rec, floor, theirs, ours, then)
            case ("late", rec, floor):
                read = (
                    world.rows[standby],
                    world.clocks[standby],
                )  # of a late record the standby is its own table's other
                yield "reads the owner", then(world, ("late read", rec, floor, read))
            case ("late read", rec, floor, read):
                pending = {each.commit for each in world.records[standby] if each.commit <= read[1]}
                if self.code.late_waits_for_reverse and not pending <= world.applied[standby]:
                    return
                settled = self.code.settle(
                    parsed(world.rows[owner], owner), parsed(read[0], standby), world.now.floor, reverse_is_past=True
                )
                if isinstance(settled, late.CopyToOwner):
                    value = value_of(settled.content)
                    yield "would copy to the owner", then(world, ("to owner", rec, Row(value), read))
                else:
                    yield "has nothing to settle", then(world, None, applied=True)
            case ("to owner", rec, wanted, read):
                if row == read[0] or not self.code.late_copy_names_the_row:
                    if row != read[0]:
                        raise Broken("a late record's copy takes an owner's row that nobody read")
                    between = world.clocks[standby] != read[1]
                    after = self._written(world, standby, wanted)
                    if between and self.code.late_sees_between:
                        after = after._replace(parked=True)
                    yield "copies to the owner", then(after, None, applied=True)
                else:
                    yield "can't copy to the owner", then(world, ("late", rec, 0))

    def _look_at_the_only_copy(self, world: World, direction: int, wanted: Row, seen: Row, floor: int) -> None:
        """A row that nobody told of since its table became the standby is written over only if a letter keeps it."""
        if not floor or (seen.fence is not None and seen.fence >= floor):
            return
        value = value_of(content(seen, 1 - direction, owns=True))
        told = {value_of(content(each.old, direction, owns=True)) for each in world.records[direction]}
        if value not in told | world.kept | {max(wanted.value, ABSENT)}:
            raise Broken(f"{value}, which nobody told of, is written over")

    def _refused(
        self, world: World, direction: int, rec: Rec, wanted: Row, floor: int, row: Row, then: Callable[..., World]
    ) -> World:
        standby = 1 - direction
        image = {name: raw for name, raw in (image_of(wanted) or {}).items() if name not in ("pk", "cf_mv")}
        judged = self.code.judge(Transfer(KEY, wanted.fence or 0, image), image_of(row), floor, SHAPES[standby])
        if judged in (Verdict.STALE, Verdict.DUPLICATE):
            return then(world, None, applied=True)
        if judged is fence.Met.ASKS:
            return then(world, ("ask", rec, floor))
        if judged is fence.Met.FIRST_TOUCH:
            there = content(row, standby, owns=True)
            known = same(there, content(rec.old, direction, owns=True)) or same(
                there, content(wanted, standby, owns=False)
            )
            if not known and self.code.first_touch_parks:
                world = world._replace(kept=world.kept | {value_of(there)})
            return then(world, ("as read", rec, wanted, row, floor))
        return world

    def _asked(
        self, world: World, direction: int, rec: Rec, floor: int, theirs: Row, ours: Row, then: Callable[..., World]
    ) -> World:
        standby = 1 - direction
        wanted = content(ours, direction, owns=True)
        is_same = same(wanted, content(theirs, standby, owns=False))
        version = self.code.asked(theirs.fence, floor, time_us(direction, rec.commit), is_same=is_same)
        if version is None:
            return then(world, None, applied=True)
        row = Row(TOMB if wanted is None else value_of(wanted), version)
        return then(world, ("as read", rec, row, theirs, floor))


def _story(came_from: dict[World, tuple[World, str] | None], world: World) -> str:
    steps = []
    at = came_from[world]
    while at is not None:
        steps.append(at[1])
        at = came_from[at[0]]
    return " → ".join(reversed(steps))
