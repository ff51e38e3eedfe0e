"""What every owner write and handover write means: one item in, one answer out (design.md, sections 3 and 4).

`adapters/owner_requests` renders the same writes as conditional requests, in which the engine itself checks and changes
the item. Contract tests hold both to each other, so what is proven about `perform` is proven about the requests.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from msgspec import Raw

from crossfade.core.protocol.events import event_of, is_other_deed
from crossfade.core.protocol.keyed.item import Item, Role, generation_of, is_active, version_of
from crossfade.core.protocol.keyed.operation import Content, Operation, changed, is_above, is_below
from crossfade.core.protocol.keyed.writes import (
    Activate,
    Bury,
    Fence,
    Lift,
    Merge,
    Operate,
    OperateAndTrim,
    Outcome,
    Reinstate,
    Reseal,
    Restore,
    Seal,
    SealAbsent,
    TakeBack,
    Write,
)
from crossfade.core.protocol.writing import Applied, Refused
from crossfade.core.values import image as wire
from crossfade.core.values.shape import Side, TableShape


class Reason(Enum):
    """Why an operation was refused. The order of the members is the order in which they are told apart."""

    MISMATCH = "mismatch"  # the transaction id was applied before, and did something else
    REPLAY = "replay"  # the transaction id was applied before
    NOT_OWNER = "not owner"
    EXPIRED = "expired"  # the id is not above the floor: outcome unknown
    NOTHING_THERE = "nothing there"  # an operation that creates nothing, on what does not exist
    INSUFFICIENT = "insufficient"  # a value is below what must be there
    ABOVE_LIMIT = "above limit"  # a value is above what may be there
    FULL = "full"  # the id set has reached the soft size: trim


def perform(write: Write, item: Item | None, shape: TableShape) -> Outcome:
    """Return what a write does to the item it meets.

    Args:
        write: any owner write or handover write.
        item: the item in the table; None when there is none.
        shape: of the table.

    Returns:
        Applied with the item after the write, or Refused with the item as it is. Never Unfit: only a store knows that.

    Raises:
        PoisonRecord: a value that an operation counts with is not a number.
    """
    return _MEANINGS[type(write)](write, item, shape)


def why_refused(
    op: Operation, item: Item | None, shape: TableShape, *, soft: int, complete: bool = False
) -> Reason | None:
    """Say why a blind operation is refused by an item.

    Args:
        op: the operation.
        item: what it met; None when nothing was there.
        shape: of the table.
        soft: size of the id set from which a write has to trim.
        complete: whether the flag document says `complete`.

    Returns:
        The first reason that holds; None when the operation would apply.
    """
    if item is not None and op.transaction_id in item.recent:
        done = event_of(item.events, op.transaction_id)
        differs = done is not None and op.events and is_other_deed(op.events[0], done)
        return Reason.MISMATCH if differs else Reason.REPLAY
    if not is_active(item, shape.side, complete=complete):
        return Reason.NOT_OWNER
    if item is not None and op.transaction_id <= item.floor:
        return Reason.EXPIRED
    if (item is None or item.deleted) and not op.verb.creates:
        return Reason.NOTHING_THERE
    if (broken := _broken_bound(op, item, shape)) is not None:
        return broken
    return Reason.FULL if item is not None and len(item.recent) >= soft else None


def _broken_bound(op: Operation, item: Item | None, shape: TableShape) -> Reason | None:
    if is_below(op, item, shape):
        return Reason.INSUFFICIENT
    return Reason.ABOVE_LIMIT if is_above(op, item, shape) else None


def _operate(write: Operate, item: Item | None, shape: TableShape) -> Outcome:
    if why_refused(write.op, item, shape, soft=write.soft, complete=write.complete) is not None:
        return Refused(item)
    before = item or Item()
    return Applied(_after(write.op, before, shape, before.recent, before.floor, write.generation))


def _operate_and_trim(write: OperateAndTrim, item: Item | None, shape: TableShape) -> Outcome:
    if item is None or item.version != write.seen or not is_active(item, shape.side, complete=write.complete):
        return Refused(item)
    if (item.deleted and not write.op.verb.creates) or _broken_bound(write.op, item, shape) is not None:
        return Refused(item)
    return Applied(_after(write.op, item, shape, write.kept, write.floor or item.floor, write.generation))


def _after(
    op: Operation, before: Item, shape: TableShape, recent: frozenset[bytes], floor: bytes, generation: int
) -> Item:
    version = (op.seed if before.version is None else before.version) + 1
    deletes = op.verb.deletes
    return before._replace(
        version=version,
        role=before.role or Role.ACTIVE,
        generation=before.generation if before.role or before.generation else generation,
        recent=recent | {op.transaction_id},
        floor=floor,
        events=bytes(wire.of_list(map(Raw, op.events))),
        event_version=version,
        deleted=deletes,
        ttl=b"" if deletes else before.ttl,
        content=_kept(before.content, shape) if deletes else changed(op, before, shape),
    )


def _kept(content: Content, shape: TableShape) -> Content:
    """What the mapping does not name is never touched; an open shape names all."""
    if shape.attributes is None:
        return ()
    return tuple(pair for pair in content if pair[0] not in shape.attributes)


def replaced(content: Content, new: Content, shape: TableShape) -> Content:
    """Return the content after a mapped image took its place: set what is present, remove what is not.

    Args:
        content: of the item before.
        new: the mapped content to stand there.
        shape: of the table; attributes outside its closed list stay.
    """
    return tuple(sorted({**dict(_kept(content, shape)), **dict(new)}.items()))


def _seal(write: Seal, item: Item | None, shape: TableShape) -> Outcome:
    active = item is not None and is_active(item, shape.side, complete=write.complete)
    if item is None or not active or item.generation >= write.generation:
        return Refused(item)
    version = (write.seed if item.version is None else item.version) + 1
    return Applied(item._replace(version=version, role=Role.STANDBY, generation=write.generation))


def _seal_absent(write: SealAbsent, item: Item | None, _shape: TableShape) -> Outcome:
    if item is not None:
        return Refused(item)
    return Applied(Item(version=write.seed + 1, role=Role.STANDBY, generation=write.generation, deleted=True))


def _activate(write: Activate, item: Item | None, shape: TableShape) -> Outcome:
    sealed = write.sealed
    if is_active(item, shape.side, complete=write.complete):
        return Refused(item)
    if version_of(item) > version_of(sealed) or (item is not None and generation_of(item) >= sealed.generation):
        return Refused(item)
    content = replaced(item.content if item else (), sealed.content, shape)
    return Applied(sealed._replace(version=version_of(sealed) + 1, role=Role.ACTIVE, content=content))


def _reseal(write: Reseal, item: Item | None, _shape: TableShape) -> Outcome:
    same = (Role.STANDBY, write.generation, write.sealed_version)
    if item is None or (item.role, item.generation, item.version) != same:
        return Refused(item)
    return Applied(item._replace(version=write.version))


def _fence(write: Fence, item: Item | None, shape: TableShape) -> Outcome:
    # A source row without a role has its TTL value where it fires, whatever the flag document says: it is left alone.
    active = is_active(item, shape.side, complete=write.complete and shape.side is Side.TARGET)
    if active or generation_of(item) >= write.generation:
        return Refused(item)
    if item is None:
        return Applied(fence_stub(write))
    return Applied(item._replace(role=Role.STANDBY, generation=write.generation))


def fence_stub(write: Fence) -> Item:
    """Return the stub that a fence leaves where nothing was; below every version, so that any transfer passes it."""
    return Item(version=0, role=Role.STANDBY, generation=write.generation, deleted=True)


def _take_back(write: TakeBack, item: Item | None, shape: TableShape) -> Outcome:
    same = (Role.STANDBY, write.sealed.generation, write.sealed.version)
    if item is None or (item.role, item.generation, item.version) != same:
        return Refused(item)
    ttl = item.ttl if shape.ttl is None else write.sealed.ttl  # back to where it fires
    return Applied(item._replace(version=write.version, role=Role.ACTIVE, generation=write.generation, ttl=ttl))


def _lift(write: Lift, item: Item | None, shape: TableShape) -> Outcome:
    if item is None or not is_active(item, shape.side, complete=write.complete) or item.version != write.seen:
        return Refused(item)
    return Applied(item._replace(version=write.version))


def _merge(write: Merge, item: Item | None, shape: TableShape) -> Outcome:
    active = is_active(item, shape.side, complete=write.complete)
    if item is None or not active or item.deleted or item.version != write.seen or write.identity in item.recent:
        return Refused(item)
    kept = {name: raw for name, raw in item.content if name not in write.removes}
    return Applied(
        item._replace(
            version=(write.seed if item.version is None else item.version) + 1,
            recent=item.recent | {write.identity},
            content=tuple(sorted((kept | dict(write.sets)).items())),
        )
    )


def _reinstate(write: Reinstate, item: Item | None, _shape: TableShape) -> Outcome:
    if item is None or (item.role, item.version, item.generation) != (None, None, 0):
        return Refused(item)
    was = write.item
    return Applied(
        item._replace(
            version=was.version,
            role=was.role,
            generation=was.generation,
            recent=was.recent or item.recent,
            floor=was.floor or item.floor,
            events=was.events or item.events,
            event_version=was.event_version or item.event_version,
            deleted=was.deleted or item.deleted,
        )
    )


def _bury(write: Bury, item: Item | None, shape: TableShape) -> Outcome:
    if item is None or item.role is not Role.STANDBY or item.version != write.seen:
        return Refused(item)
    content = _kept(item.content, shape)
    return Applied(item._replace(version=write.version, deleted=True, ttl=b"", content=content))


def _restore(write: Restore, item: Item | None, _shape: TableShape) -> Outcome:
    if item is not None:
        return Refused(item)
    return Applied(write.item._replace(role=Role.STANDBY))


_MEANINGS: Final[dict[type, Callable[[Any, Item | None, TableShape], Outcome]]] = {
    Operate: _operate,
    OperateAndTrim: _operate_and_trim,
    Seal: _seal,
    SealAbsent: _seal_absent,
    Activate: _activate,
    Reseal: _reseal,
    Fence: _fence,
    TakeBack: _take_back,
    Lift: _lift,
    Merge: _merge,
    Reinstate: _reinstate,
    Bury: _bury,
    Restore: _restore,
}
