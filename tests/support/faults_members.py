"""What the workers of both directions can do next, one request at a time."""

from __future__ import annotations

from collections.abc import Iterator

from crossfade.core.protocol.plain import fence, late, records
from crossfade.core.protocol.plain.map import (
    OwnerMap,
    State,
)
from crossfade.core.protocol.plain.rows import MV, PlainRow, owned, same, standing
from crossfade.core.protocol.writing import Transfer, Verdict
from faults_worlds import (
    BEGIN_US,
    EXPIRED,
    KEY,
    MAPPING,
    OFFSET,
    Code,
    Doing,
    Member,
    Record,
    Row,
    Scope,
    World,
    by_crossfade,
    content,
    copy_of,
    decided,
    holding,
    image_of,
    of_image,
    replaced,
    row_of,
    spend,
)


def by_members(world: World, scope: Scope, code: Code) -> Iterator[tuple[str, World]]:
    for index, member in enumerate(world.members):
        for name, after, changed in _by_member(world, member, scope, code):
            yield (
                f"{member.side.value}-reader {name}",
                after._replace(members=replaced(after.members, index, changed)),
            )


def _by_member(  # noqa: C901 - a case a step
    world: World, me: Member, scope: Scope, code: Code
) -> Iterator[tuple[str, World, Member]]:
    doing = me.doing
    if not me.is_live:
        if doing is not None:
            yield "'s request, dead, expires", world, me._replace(doing=None)
            for after, _ in _lands(world, me, doing, code):
                yield "'s request, dead, lands", after, me._replace(doing=None)
        return
    if me.view is None or not me.listed:
        if not me.listed and (me.view is not None or code.registers_first):
            yield "registers", world, me._replace(listed=True)
        if me.view is None and (me.listed or not code.registers_first):
            yield "reads the map", world, me._replace(view=world.map)
        return
    if me.view != world.map:
        yield "learns", world, me._replace(view=world.map)
    view = me.view
    if view.state is State.SEALED and me.acked != view.epoch and (doing is None or code.acks_early):
        yield "acknowledges", world, me._replace(acked=view.epoch)
    if doing is not None and doing.on_wire and scope.deaths:
        spent = spend(world, "death", scope.deaths)
        if spent is not None:
            yield "dies", spent, me._replace(is_live=False)
    if doing is None:
        if view.state is not State.SEALED:
            yield from _takes(world, me, view, scope, code)
        return
    if not doing.on_wire:
        if view.state is State.SEALED:
            yield "leaves it", world, me._replace(doing=None)
            return
        yield from _reads(world, me, view, doing, code)
        return
    for after, left in _lands(world, me, doing, code):
        yield doing.what, after, me._replace(doing=left)


def finished(world: World, record: Record) -> World:
    listed = world.listed or world.map.owner is record.side
    letters = world.letters
    if record.old is not None or record.new is not None:
        told = {("first", content(owned(record.old)))}
        letters = letters - told if len(world.map.intervals) > 1 and record.side is world.map.owner else letters
    return world._replace(
        fresh=world.fresh - {record},
        slow=world.slow - {record},
        seen=world.seen | {record},
        listed=listed,
        letters=letters,
    )


def _takes(  # noqa: C901 - a case a step
    world: World, me: Member, view: OwnerMap, scope: Scope, code: Code
) -> Iterator[tuple[str, World, Member]]:
    offered = [(record, world) for record in world.fresh | world.slow if record.side is me.side]
    if scope.twice:
        spent = spend(world, "twice", scope.twice)
        if spent is not None:
            offered += [(record, spent) for record in world.seen if record.side is me.side]
    for record, at in offered:
        decision = code.decide(record, view)
        looked = me
        if code.needs_the_map(decision) and code.looks_again:
            if world.map.state is State.SEALED:
                continue
            looked = me._replace(view=world.map)
            decision = code.decide(record, world.map)
        now = looked.view
        name = f"takes {record.at_us - OFFSET[record.side] - BEGIN_US}"
        if isinstance(decision, Transfer):
            row = of_image(record.side.other, decision.image).at(decision.version)
            yield name, at, looked._replace(doing=Doing("put", record, row, map=now))
        elif isinstance(decision, records.Ask):
            yield name, at, looked._replace(doing=Doing("ask", record, map=now))
        elif isinstance(decision, records.Late):
            letters = at.letters | ({("broken", content(owned(record.new)))} if decision.past_hold else set())
            after = finished(at, record)
            yield name, after._replace(hints=after.hints | {record}, letters=letters), looked
        elif isinstance(decision, records.Expired):
            met = row_of(at, record.side.other)
            yield name, at, looked._replace(doing=Doing("expire", record, met=met, map=now))
        elif isinstance(decision, records.Stray):
            letters = at.letters | {("stray", content(owned(record.new))), ("stray", content(owned(record.old)))}
            yield name, finished(at, record)._replace(letters=letters), looked
        else:
            yield name, finished(at, record), looked
    for record in world.hints:
        yield from _hint(world, me, view, record, code)
    if not world.passed and me.side is world.map.owner:
        yield from _hint(world, me, view, None, code)


def _is_past(world: World) -> bool:
    """Say whether reverse has applied all that the owner committed until now."""
    owner = world.map.owner
    doing = any(m.doing and m.doing.record.side is owner for m in world.members)
    return not doing and not any(each.side is owner for each in world.fresh | world.slow)


def _held(view: OwnerMap) -> int:
    return view.intervals[-2].held_us


def _is_disturbed(world: World, view: OwnerMap, code: Code) -> bool:
    """Say whether records from after the hold show that others changed the old owner's row."""
    after = [each for each in world.seen if each.side is not view.owner and each.at_us > _held(view)]
    return any(code.disturbs(decided(each, view)) for each in after)


def _hint(
    world: World, me: Member, view: OwnerMap, record: Record | None, code: Code
) -> Iterator[tuple[str, World, Member]]:
    """Settle a late record, or (None) the key in the pass after a flip; both go by the map as it is."""
    if world.map.state is not State.OPEN or view != world.map or not code.floor(view):
        return
    owner = world.map.owner
    if record is not None and record.side is owner:  # flipped back: what its table holds is true
        yield "leaves it", world._replace(hints=world.hints - {record}), me
        return
    old, present = row_of(world, owner.other), row_of(world, owner)
    past = _is_past(world) or not code.hint_waits
    if past and any(each.side is owner.other and each.at_us > _held(view) for each in world.fresh | world.slow):
        return
    if record is None and any(kind == "first" for kind, _ in world.letters):
        past = False
    found = code.settle(old, present, code.floor(view), reverse_is_past=past)
    if _is_disturbed(world, view, code):
        found = late.Settled.EQUAL
    if found is late.Settled.WAIT:
        return
    without = world._replace(hints=world.hints - {record} if record else world.hints, passed=world.passed or not record)
    if isinstance(found, late.CopyToOwner):
        about = record or Record(owner.other, 0, old, present)
        yield (
            "settles",
            without,
            me._replace(doing=Doing("owner", about, found.content, present, view, world.writes)),
        )
        return
    yield "settles", without, me


def _reads(world: World, me: Member, view: OwnerMap, doing: Doing, code: Code) -> Iterator[tuple[str, World, Member]]:
    record, owner = doing.record, doing.record.side
    floor = code.floor(doing.map or view)
    if doing.what == "ask":
        side = owner if code.reads_owner_first else owner.other
        row = row_of(world, side)
        yield "reads the first", world, me._replace(doing=doing._replace(what="ask2", met=row))
    elif doing.what == "ask2":
        theirs = row_of(world, owner.other) if code.reads_owner_first else doing.met
        ours = doing.met if code.reads_owner_first else row_of(world, owner)
        wanted, seen = owned(ours), theirs.version if theirs else None
        version = code.asked(seen, floor, record.at_us, is_same=same(wanted, standing(theirs)))
        if version is None:
            yield "agrees", finished(world, record), me._replace(doing=None)
            return
        yield from _over(world, me, doing, copy_of(wanted, version), theirs, floor, code)
    elif doing.what == "touch":
        met = row_of(world, owner.other)
        assert doing.row is not None
        yield from _over(world, me, doing, doing.row, met, floor, code)


def _over(
    world: World, me: Member, doing: Doing, new: PlainRow, met: Row, floor: int, code: Code
) -> Iterator[tuple[str, World, Member]]:
    letters = world.letters
    known = {doing.record.old} | {holding(value) if value else None for kind, value in letters if kind == "first"}
    if not same(standing(new), standing(met)) and not code.may_replace(met, floor, known):
        letters = letters | {("first", content(owned(met)))}
    yield (
        "sends",
        world._replace(letters=letters),
        me._replace(doing=doing._replace(what="met", row=new, met=met)),
    )


def _lands(  # noqa: C901 - a case a step
    world: World, me: Member, doing: Doing, code: Code
) -> Iterator[tuple[World, Doing | None]]:
    """Let a request take effect; what the member does after its answer."""
    record, side = doing.record, doing.record.side.other
    if doing.what == "owner":
        owner = (doing.map or world.map).owner
        there = row_of(world, owner)
        if there == doing.met or not code.copies_as_read:
            between = code.sees_between and world.writes != doing.writes
            letters = world.letters
            if between:
                letters = letters | {("late", content(owned(doing.met))), ("late", content(doing.row))}
            after = by_crossfade(world, owner, doing.row, parks=between)
            missed = None if content(doing.row) == world.missed else world.missed
            yield after._replace(letters=letters, missed=missed), None
        else:
            yield world._replace(hints=world.hints | {record}) if record.at_us else world._replace(passed=False), None
        return
    if doing.what == "expire":
        there = row_of(world, side)
        due = owned(there) is not None and content(owned(there)) == EXPIRED
        if due or not code.expires_on_condition:
            true = 0 if due and world.truth == EXPIRED else world.truth
            yield finished(by_crossfade(world._replace(truth=true), side, None), record), None
        else:
            yield finished(world, record), None
        return
    met, row = row_of(world, side), doing.row
    if row is None:
        return
    floor = code.floor(doing.map or world.map)
    stored = None if row.deleted and not code.leaves_tombstones else row
    if doing.what == "met":
        if met == doing.met or not code.copy_names_the_row:
            yield finished(by_crossfade(world, side, stored), record), None
        else:
            yield world, None
        return
    fenced = (met.version if met else None) or 0
    if code.puts_blindly or (max(floor, 0) <= fenced < (row.version or 0) and (not floor or fenced)):
        yield finished(by_crossfade(world, side, stored), record), None
        return
    transfer = Transfer(KEY, row.version or 0, {k: v for k, v in (image_of(row) or {}).items() if k not in ("pk", MV)})
    judged = code.judge(transfer, image_of(met), floor, MAPPING.shape(side))
    if judged is fence.Met.ASKS:
        yield world, Doing("ask", record, map=doing.map)
    elif judged is fence.Met.FIRST_TOUCH:
        yield world, doing._replace(what="touch")
    elif judged is fence.Met.AGAIN:
        yield world, None
    else:
        assert judged in (Verdict.STALE, Verdict.DUPLICATE)
        yield finished(world, record), None
