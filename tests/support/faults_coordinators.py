"""What a coordinator can do next: hold, drain, seal, compare, flip, purge, release, open; or give up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from crossfade.core.migration.flip_deeds import Bury
from crossfade.core.protocol.plain.map import (
    OwnerMap,
    State,
    drained_from,
    flipped_from,
    opened_from,
    sealed_from,
)
from crossfade.core.protocol.plain.members import Member as Listed
from crossfade.core.protocol.plain.rows import owned, same, standing
from faults_worlds import (
    OFFSET,
    Code,
    Coordinator,
    Scope,
    World,
    Wrong,
    by_crossfade,
    content,
    copy_of,
    replaced,
    row_of,
    spend,
    written,
)

SIGNATURE_S: Final = 900.0


def by_coordinators(world: World, scope: Scope, code: Code) -> Iterator[tuple[str, World]]:
    for index, each in enumerate(world.coordinators):
        others = [c for n, c in enumerate(world.coordinators) if n != index]
        for name, after, changed in _by_coordinator(world, each, others, scope, code):
            yield f"coordinator {name}", after._replace(coordinators=replaced(after.coordinators, index, changed))


def _swap(world: World, me: Coordinator, new: OwnerMap, code: Code, then: str) -> tuple[World, Coordinator]:
    if world.map != me.seen and not code.swaps_blindly:
        return world, Coordinator()
    return world._replace(map=new), me._replace(seen=new, at=then)


def _all_acked(world: World, others: list[Coordinator], code: Code, epoch: int) -> bool:
    """Ask production's rule; a dead member that it buries has been silent for as long as a signature lives."""
    listed = [
        Listed(str(index), "duty", each.acked, 0.0, each.is_live, 0.0 if each.doing else SIGNATURE_S)
        for index, each in enumerate(world.members)
        if each.listed
    ]
    copying = [each for each in others if each.at in ("compare", "compare2") or (each.wire and each.wire[0] == "copy")]
    listed += [Listed("another", "tail", 0, 0.0, False, 0.0) for _ in copying]
    asked = code.waits(listed, epoch, SIGNATURE_S)
    try:
        deed = next(asked)
        while isinstance(deed, Bury):
            deed = asked.send(None)
    except StopIteration as ended:
        return ended.value is None
    return False


def _by_coordinator(  # noqa: C901 - a case a step
    world: World, me: Coordinator, others: list[Coordinator], scope: Scope, code: Code
) -> Iterator[tuple[str, World, Coordinator]]:
    now, seen = world.map, me.seen
    if me.wire is not None:
        yield from _coordinator_lands(world, me, code)
        return
    if not me.is_live:
        return
    if me.at == "idle":
        is_clean = world.passed and not any(each.doing and each.doing.what == "owner" for each in world.members)
        if now.state is State.OPEN and len(now.intervals) <= scope.flips and (is_clean or not code.awaits_the_pass):
            spent = spend(world, "hold", scope.holds)
            if spent is not None:
                new = drained_from(now)
                later = world.now_us + (25_000_000 if len(now.intervals) > 1 else 0)
                yield "begins", spent._replace(map=new, now_us=later), Coordinator("hold", new, now.owner)
        elif now.state is not State.OPEN and scope.coordinators > 1:
            spent = spend(world, "take over", 1)
            if spent is None:
                return
            world = spent
            origins = [c.origin for c in others if c.at != "idle"]
            if origins and now.owner is not origins[0]:
                yield "finds a flip", world, Coordinator("purge", now, origins[0])
            else:
                new = code.taken_back(now)
                yield "takes back", world._replace(map=new), Coordinator("purge", new, now.owner)
        return
    assert seen is not None
    if me.at in ("hold", "held", "drain", "seal", "ack", "compare", "relist", "flip"):
        if now != seen and me.at != "flip":
            yield "finds another", world, Coordinator()
            if me.at not in ("hold", "compare", "compare2"):
                return
        give_up = spend(world, "give up", scope.give_ups)
        if give_up is not None and now == seen:
            new = code.taken_back(now)
            yield "gives up", give_up._replace(map=new), me._replace(at="purge", seen=new)
    if me.at == "hold":
        yield "sends hold", world, me._replace(wire=("hold", seen.owner, seen.epoch))
    elif me.at == "held":
        held = world._replace(now_us=world.now_us + 1_000_000)
        yield "proves the hold", held, me._replace(at="drain", held_us=held.now_us)
    elif me.at == "drain":
        streams = set(scope.members) if code.drains_both else {seen.owner}
        working = {m.doing.record for m in world.members if m.doing and m.is_live} - world.slow
        strays = any(kind == "stray" for kind, _ in world.letters)
        if not code.drains:
            yield "drains nothing", world, me._replace(at="seal")
        elif not (strays and code.halts) and not any(each.side in streams for each in world.fresh | working):
            yield "drained", world, me._replace(at="seal")
    elif me.at == "seal":
        after, changed = _swap(world, me, sealed_from(seen), code, "ack")
        yield "seals", after, changed
    elif me.at == "ack":
        if _all_acked(world, others, code, seen.epoch):
            yield "acknowledged", world, me._replace(at="compare" if world.listed and code.compares else "relist")
    elif me.at == "compare":
        yield "reads the standby", world, me._replace(at="compare2", met=row_of(world, seen.owner.other))
    elif me.at == "compare2":
        wanted = owned(row_of(world, seen.owner))
        if same(wanted, standing(me.met)):
            yield "agrees", world, me._replace(at="relist")
        else:
            version = code.compared(me.met.version if me.met else None, me.held_us + OFFSET[seen.owner])
            yield "sends a copy", world, me._replace(wire=("copy", seen.owner.other, copy_of(wanted, version), me.met))
    elif me.at == "relist":
        if _all_acked(world, others, code, seen.epoch):
            yield "lists again", world, me._replace(at="flip")
    elif me.at == "flip":
        yield from _flips(world, me, seen, code)
    elif me.at == "purge":
        row = row_of(world, now.owner)
        if now != seen:
            yield "finds another", world, Coordinator()
        elif row is not None and row.deleted and not row.content and code.purges:
            yield "purges", written(world, now.owner, None), me
        else:
            release = ("release", seen.owner, opened_from(seen).epoch)
            yield "sends release", world, me._replace(wire=release)
    elif me.at == "open":
        after, changed = _swap(world, me, opened_from(seen), code, "idle")
        yield "opens", after._replace(now_us=after.now_us + 1_000_000), Coordinator() if changed.seen else changed


def _flips(world: World, me: Coordinator, seen: OwnerMap, code: Code) -> Iterator[tuple[str, World, Coordinator]]:
    owner = seen.owner
    new = flipped_from(seen, held_us=me.held_us + OFFSET[owner], other_held_us=me.held_us + OFFSET[owner.other])
    after, changed = _swap(world, me, new, code, "purge")
    if after.map is new:
        there = content(standing(row_of(world, owner.other)))
        if world.app is not None:
            raise Wrong("flipped while the application writes")
        if there != world.truth:
            is_late = world.slow or world.gone or world.hints or world.missed is not None
            if (world.listed or not is_late) and not world.letters:
                raise Wrong("flipped to a table that is behind, and no record was late")
            after = after._replace(missed=world.truth)
        elif world.missed is not None and world.missed == there:
            after = after._replace(missed=None)
        after = after._replace(passed=False, listed=False, now_us=after.now_us + 1)
    yield "flips", after, changed


def _coordinator_lands(world: World, me: Coordinator, code: Code) -> Iterator[tuple[str, World, Coordinator]]:
    assert me.wire is not None
    what, side, more, *met = me.wire
    if what == "copy":
        done = me._replace(wire=None, at="compare" if me.at == "compare2" else me.at)
        if row_of(world, side) == met[0] or not code.copy_names_the_row:
            yield "copies", by_crossfade(world, side, more), done
        else:
            yield "copies in vain", world, done
        return
    if more < world.hook and code.hook_checks:
        yield f"{what} is refused", world, me._replace(wire=None, at="idle", seen=None)
        return
    app = None if what == "hold" else side
    after = world._replace(app=app, hook=max(world.hook, more))
    if app is not None and app is not world.map.owner:
        raise Wrong("released to the standby")
    yield f"{what}s", after, me._replace(wire=None, at="held" if what == "hold" else "open")
