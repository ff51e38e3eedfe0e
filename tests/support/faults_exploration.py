"""Everything that can happen to one key under the plain protocol: every interleaving, and what must hold in each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from crossfade.core.protocol.plain.map import (
    State,
    first_map,
    version_at,
)
from crossfade.core.protocol.plain.rows import owned, standing
from crossfade.core.values.shape import Side
from faults_coordinators import by_coordinators
from faults_members import by_members
from faults_worlds import (
    BEGIN_US,
    EXPIRED,
    Code,
    Coordinator,
    Member,
    Row,
    S,
    Scope,
    World,
    Wrong,
    content,
    holding,
    row_of,
    spend,
    written,
)


def explore(scope: Scope, code: Code | None = None, limit: int = 2_000_000) -> tuple[int, str]:
    """Play every interleaving; return how many states there are, and what went wrong by which path."""
    code = code or Code()
    first = first_map(BEGIN_US - 60_000_000)
    began = World(
        rows=(scope.start, scope.start),
        map=first,
        members=tuple(Member(side, view=first) for side in scope.members)
        + tuple(Member(S, listed=False) for _ in range(scope.joins)),
        coordinators=(Coordinator(),) * scope.coordinators,
        truth=content(scope.start),
        seen=frozenset(scope.old),
    )
    parent: dict[World, tuple[World, str] | None] = {began: None}
    queue = deque([began])
    while queue:
        world = queue.popleft()
        try:
            _check_quiet(world, scope)
            for name, after in steps(world, scope, code):
                after = same(after)
                if after not in parent:
                    parent[after] = (world, name)
                    queue.append(after)
        except Wrong as wrong:
            path = []
            at = parent[world]
            while at is not None:
                path.append(at[1])
                at = parent[at[0]]
            return len(parent), f"{wrong}: {', '.join(reversed(path))}"
        if len(parent) > limit:
            return len(parent), "not exhausted"
    return len(parent), ""


def same(world: World) -> World:
    """Members and coordinators of a kind are alike."""
    members = tuple(sorted(world.members, key=repr)) if len(world.members) > 2 else world.members
    coordinators = world.coordinators
    if len(coordinators) > 1:
        coordinators = tuple(sorted(coordinators, key=repr))
    return world._replace(members=members, coordinators=coordinators)


def _check_quiet(world: World, scope: Scope) -> None:
    """Nothing is under way: the book is what the owner has, and the standby has it too, or a letter tells."""
    if world.map.state is not State.OPEN or world.slow or world.hints or not world.passed:
        return
    if any(each.side in scope.members for each in world.fresh):
        return
    if world.app is None or any(each.doing for each in world.members):
        return
    if any(each.at != "idle" or each.wire for each in world.coordinators):
        return
    owner = world.map.owner
    kept = {value for _, value in world.letters}
    if world.app is not owner:
        raise Wrong("the application writes to the standby")
    there = row_of(world, owner)
    if there is not None and there.deleted and not there.content and world.writes == 0:
        raise Wrong("an owner shows a tombstone")
    if content(owned(there)) != world.truth and world.truth not in kept:
        raise Wrong(f"lost: the book has {world.truth}, the owner {content(owned(there))}")
    if world.missed is not None and world.missed not in kept and world.missed != content(owned(there)):
        raise Wrong(f"lost: nothing tells of {world.missed}, which a flip missed")
    lost_now = any(each.side is owner and world.map.interval.covers(each.at_us) for each in world.gone)
    copy = content(standing(row_of(world, owner.other)))
    if copy != content(owned(there)) and not lost_now and not kept:
        raise Wrong(f"the standby has {copy}, the owner {content(owned(there))}")
    if not scope.strays and any(kind == "broken" for kind, _ in world.letters):
        raise Wrong("a page for a hold that nobody broke")
    if not scope.strays and any(kind == "stray" for kind, _ in world.letters):
        raise Wrong("a page for a stray that nobody made")


def _by_others(  # noqa: C901 - a case a step
    world: World, scope: Scope, code: Code
) -> Iterator[tuple[str, World]]:
    owner = world.app
    if owner is not None and world.writes < scope.writes:
        row = row_of(world, owner)
        for op in scope.ops[world.writes :][:1] if scope.in_order else scope.ops:
            value = int(op[1:] or 0)
            if op[0] == "d" and owned(row) is None:
                continue
            new: Row = None if op[0] == "d" else holding(value)
            if new is not None and op[0] == "u":
                new = new._replace(version=row.version if row else None)
            if new is not None and op[0] == "b":  # a row that was read when the table was the standby
                new = new._replace(version=version_at(BEGIN_US))
            if new == row:
                continue
            if row is not None and row.deleted and not row.content and op[0] != "d":
                raise Wrong("the application met a tombstone")
            after = written(world, owner, new)
            missed = None if content(new) == world.missed else world.missed
            if owner is not world.map.owner:
                raise Wrong("an acknowledged write landed on the standby")
            yield (
                f"app {op}",
                after._replace(
                    truth=content(new), missed=missed, writes=world.writes + 1, now_us=after.now_us + scope.step_us - 1
                ),
            )
    for side in Side:
        row = row_of(world, side)
        if scope.strays and side is not world.map.owner and world.map.state is State.OPEN:
            spent = spend(world, "stray", scope.strays)
            if spent is not None:
                yield "a stray", written(spent, side, holding(9))
    row = row_of(world, S)
    if scope.expiries and row is not None and content(owned(row)) == EXPIRED:
        spent = spend(world, "expiry", scope.expiries)
        if spent is not None and (world.map.owner is not S or world.app is S):
            after = written(spent, S, None, expired=True)
            yield "the TTL", after._replace(truth=0 if world.map.owner is S else world.truth)
    for record in world.fresh:
        if record.side is S and len(world.map.intervals) == 1 and record.new is not None:
            for what, most in (("late", scope.late), ("gone", scope.gone)):
                spent = spend(world, what, most)
                if spent is not None and not any(m.doing and m.doing.record == record for m in world.members):
                    left = spent._replace(fresh=world.fresh - {record})
                    yield (
                        what,
                        (
                            left._replace(slow=left.slow | {record})
                            if what == "late"
                            else left._replace(gone=left.gone | {record})
                        ),
                    )


def steps(world: World, scope: Scope, code: Code) -> Iterator[tuple[str, World]]:
    yield from _by_others(world, scope, code)
    yield from by_members(world, scope, code)
    yield from by_coordinators(world, scope, code)
