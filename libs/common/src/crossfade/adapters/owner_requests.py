"""Owner writes and handover writes as DynamoDB requests, spliced from raw values (design.md, sections 3 and 4).

`core.protocol.keyed.perform` says what each write means. Here it is one conditional UpdateItem or PutItem of the same
meaning, so the engine checks and changes the item in one step. The forms for a batch are in
`crossfade.adapters.batch_text`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import msgspec

from crossfade.adapters.update_expression import Expression, Form, Rendered, Standing
from crossfade.core.protocol.keyed.item import (
    DELETED,
    EMV,
    EVENTS,
    FLOOR,
    GEN,
    MV,
    NO_TTL,
    RECENT,
    ROLE,
    TTL,
    Item,
    Role,
    build_image,
    is_unknown,
)
from crossfade.core.protocol.keyed.operation import Operation, Verb, magnitude_of, number_of, start_of
from crossfade.core.protocol.keyed.perform import fence_stub
from crossfade.core.protocol.keyed.replacing import activation
from crossfade.core.protocol.keyed.writes import (
    Activate,
    Bury,
    Fence,
    Lift,
    Merge,
    Operate,
    OperateAndTrim,
    Reinstate,
    Reseal,
    Restore,
    Seal,
    SealAbsent,
    TakeBack,
    Write,
)
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image, encode_image
from crossfade.core.values.keys import Key, key_image, key_of_strings
from crossfade.core.values.shape import Side, TableShape

_encode = msgspec.json.encode
_ZERO: Final = bytes(wire.of_number(0))
_TRUE: Final = wire.of_boolean(True)
_ACTIVE: Final = wire.of_string(Role.ACTIVE.value)
_STANDBY: Final = wire.of_string(Role.STANDBY.value)


def removes_attributes(write: Write) -> bool:
    """Say whether a write takes away mapped attributes, for which an open shape has to be read first."""
    deletes = isinstance(write, Operate | OperateAndTrim) and write.op.verb.deletes
    return deletes or isinstance(write, Activate | Bury)


def render_stub(write: Fence, shape: TableShape) -> Rendered:
    """Return the fence of a key that is absent: DynamoDB can't write one thing to a row and another where none is."""
    stub = build_image(fence_stub(write), shape, key_image(write.key, shape.key))
    return Rendered(True, render_put(None, stub, shape))


def render(write: Write, shape: TableShape, standing: Standing | None = None) -> Rendered:
    """Return a write as one request.

    Args:
        write: any owner write or handover write.
        shape: of the table.
        standing: for a write that removes attributes of an open shape, what stands there.

    Raises:
        ConfigError: the shape is open and `standing` is missing.
    """
    if isinstance(write, SealAbsent | Restore):
        return Rendered(True, _put(write, shape))
    standing = standing if shape.attributes is None else None
    if isinstance(write, Operate | OperateAndTrim):
        return _operation(write, shape, standing)
    expression = Expression(shape, standing)
    _FORMS[type(write)](write, expression)
    return expression.form().filled(write.key, {})


def creation_too_wide(shape: TableShape) -> str:
    """Say why an operation that creates a row of this shape would be refused for its length; empty when it isn't."""
    key = key_of_strings(*("" for _ in shape.key))
    op = Operation(key, Verb("create", creates=True), bytes(16), (bytes(wire.of_map({})),), 1)
    return render(Operate(key, op, 1), shape).too_wide


def render_put(found: Image | None, after: Image, shape: TableShape) -> bytes:
    """Return a PutItem of a whole item, under the condition that version, role and generation are as they were read.

    Every write of the protocol changes one of the three (a fence only the generation), so none is overwritten. Only
    where `TableShape.may_put` allows it (ADR 0015).

    Args:
        found: the item as it was read; None when there was none.
        after: the item to stand there, its key included.
        shape: of the table.
    """
    if found is None:
        terms, seen = ["attribute_not_exists(#k)"], {}
    else:
        seen = {name: found[name] for name in (MV, ROLE, GEN) if name in found}
        missing = [f"attribute_not_exists({name})" for name in (MV, ROLE, GEN) if name not in seen]
        terms = ["attribute_exists(#k)", *(f"{name} = :{name}" for name in seen), *missing]
    values = encode_image({f":{name}": raw for name, raw in seen.items()})
    return (
        b'{"TableName":%b,"Item":%b,"ConditionExpression":%b,"ExpressionAttributeNames":%b,%b'
        b'"ReturnValuesOnConditionCheckFailure":"ALL_OLD"}'
        % (
            _encode(shape.table),
            encode_image(after),
            _encode(" AND ".join(terms)),
            _encode({"#k": shape.key[0]}),
            b'"ExpressionAttributeValues":%b,' % values if seen else b"",
        )
    )


def _put(write: SealAbsent | Restore, shape: TableShape) -> bytes:
    if isinstance(write, SealAbsent):
        item = Item(version=write.seed + 1, role=Role.STANDBY, generation=write.generation, deleted=True)
    else:
        item = write.item._replace(role=Role.STANDBY)
    return render_put(None, build_image(item, shape, key_image(write.key, shape.key)), shape)


def whole(found: Image | None, item: Item, shape: TableShape, key: Key) -> Image:
    """Return the image of a whole item that takes the place of another, as an update would leave it.

    Args:
        found: what stands there, as it was read; None when nothing does.
        item: what is to stand there, unmapped attributes included (as `core.protocol.keyed.perform` gives it).
        shape: of the table.
        key: the encoded key.
    """
    unknown = {name: raw for name, raw in (found or {}).items() if is_unknown(name)}
    return unknown | build_image(item, shape, key_image(key, shape.key))


def _operation(write: Operate | OperateAndTrim, shape: TableShape, standing: Standing | None) -> Rendered:
    op, verb = write.op, write.op.verb
    values: dict[bytes, bytes] = {
        b"seed": number_of(op.seed),
        b"generation": number_of(write.generation),
        b"events": b'{"L":[%b]}' % b",".join(op.events),
    }
    trims = None
    if isinstance(write, OperateAndTrim):
        trims = (write.seen is not None, bool(write.floor))
        values[b"seen"], values[b"floor"] = number_of(write.seen or 0), bytes(wire.of_binary(write.floor))
        values[b"ids"] = bytes(wire.of_binary_set(write.kept | {op.transaction_id}))
    else:
        transaction = bytes(wire.of_binary(op.transaction_id))
        values[b"id"], values[b"soft"] = transaction, number_of(write.soft)
        values[b"ids"] = b'{"BS":[%b]}' % transaction[5:-1]
    for name, raws in (
        (b"bound%d", map(number_of, op.least + op.most)),
        (b"add%d", map(magnitude_of, op.amounts)),
        (b"set%d", op.values),
    ):
        values.update((name % number, raw) for number, raw in enumerate(raws))
    spared = [start_of(shape.own(name), shape) >= limit for name, limit in zip(verb.at_least, op.least, strict=True)]
    spared += [start_of(shape.own(name), shape) <= limit for name, limit in zip(verb.at_most, op.most, strict=True)]
    less = tuple([amount < 0 for amount in op.amounts])
    form = _form if standing is None else _form.__wrapped__
    return form(shape, standing, verb, less, tuple(spared), write.complete, trims).filled(write.key, values)


@lru_cache(maxsize=1024)  # of all tables and verbs of a process, and asked for with every operation
def _form(
    shape: TableShape,
    standing: Standing | None,
    verb: Verb,
    less: tuple[bool, ...],
    spared: tuple[bool, ...],
    complete: bool,
    trims: tuple[bool, bool] | None,
) -> Form:
    """Return what the text of an operation follows from; all else are values.

    Args:
        shape, standing: as in `render`.
        verb: of the operation.
        less: for each of its amounts whether it is taken away.
        spared: for each of its bounds, the lower ones first, whether a missing value keeps it.
        complete: as in the write.
        trims: None of an `Operate`; whether an `OperateAndTrim` meets a version, and has a floor.
    """
    to = Expression(shape, standing)
    to.where_active(complete)
    version = to.next_version(to.hole("seed"))
    to.set(MV, version)
    to.set(EMV, version)
    to.set(EVENTS, to.hole("events"))
    to.set(ROLE, f"if_not_exists({ROLE}, {to.value(_ACTIVE)})")
    to.set(GEN, f"if_not_exists({GEN}, {to.hole('generation')})")
    ids = to.hole("ids")
    if trims is None:
        transaction = to.hole("id")
        to.where(
            f"(attribute_not_exists({FLOOR}) OR {FLOOR} < {transaction})",
            f"NOT contains({RECENT}, {transaction})",
            f"(attribute_not_exists({RECENT}) OR size({RECENT}) < {to.hole('soft')})",
        )
        to.add(RECENT, ids)
    else:
        is_versioned, has_floor = trims
        to.where_exists()
        to.where(f"{MV} = {to.hole('seen')}" if is_versioned else f"attribute_not_exists({MV})")
        to.set(RECENT, ids)
        if has_floor:
            to.set(FLOOR, to.hole("floor"))
    _change_values(verb, less, spared, to)
    return to.form()


def _change_values(verb: Verb, less: tuple[bool, ...], spared: tuple[bool, ...], to: Expression) -> None:
    """What the operation itself does: bounds, sums, values, and whether the row may be missing."""
    shape = to.shape
    if not verb.creates:
        to.where_exists()
        to.where(f"{DELETED} <> {to.value(_TRUE)}")
    needed = set()
    bounds = [*((name, ">=") for name in verb.at_least), *((name, "<=") for name in verb.at_most)]
    for number, ((name, sign), may_lack) in enumerate(zip(bounds, spared, strict=True)):
        target = to.name(shape.own(name))
        term = f"{target} {sign} {to.hole(f'bound{number}')}"
        to.where(f"(attribute_not_exists({target}) OR {term})" if may_lack else term)
        if not may_lack:
            needed.add(shape.own(name))
    if verb.deletes:
        _clear(to)
        return
    zeros = dict(shape.zero)
    starts = zeros.copy() if verb.creates else {}
    for number, (name, minus) in enumerate(zip(verb.adds, less, strict=True)):
        own = shape.own(name)
        target = to.name(own)
        starts.pop(own, None)
        start = target if own in needed else f"if_not_exists({target}, {to.value(zeros.get(own, _ZERO))})"
        to.set(target, f"{start} {'-' if minus else '+'} {to.hole(f'add{number}')}")
    for number, name in enumerate(verb.sets):
        starts.pop(shape.own(name), None)
        to.set(to.name(shape.own(name)), to.hole(f"set{number}"))
    for name in verb.removes:
        starts.pop(shape.own(name), None)
        to.remove([to.name(shape.own(name))])
    for own, raw in starts.items():
        to.set(to.name(own), f"if_not_exists({to.name(own)}, {to.value(raw)})")
    if verb.creates:
        to.remove([DELETED])


def _clear(to: Expression) -> None:
    """Leave a tombstone. A TTL value must go, or DynamoDB would take the tombstone itself."""
    to.set(DELETED, to.value(_TRUE))
    to.remove(map(to.name, to.mapped_names()))
    to.remove([TTL] if to.shape.ttl is None else [TTL, to.name(to.shape.ttl)])


def _seal(write: Seal, to: Expression) -> None:
    to.where_exists()
    to.where_active(write.complete)
    to.where_older_generation(write.generation)
    to.set(ROLE, to.value(_STANDBY))
    to.set(GEN, to.number(write.generation))
    to.set(MV, to.next_version(to.number(write.seed)))
    if to.shape.ttl is not None:
        ttl = to.name(to.shape.ttl)
        to.set(TTL, f"if_not_exists({ttl}, {to.value(NO_TTL)})")
        to.remove([ttl])


def _activate(write: Activate, to: Expression) -> None:
    sealed, shape = write.sealed, to.shape
    to.where_standby(write.complete)
    to.where_older_generation(sealed.generation)
    version = sealed.version or 0
    to.where(f"(attribute_not_exists({MV}) OR {MV} <= {to.number(version)})")
    to.replace(activation(sealed, shape, to.mapped_names()))


def _reseal(write: Reseal, to: Expression) -> None:
    to.where(f"{ROLE} = {to.value(_STANDBY)}", f"{GEN} = {to.number(write.generation)}")
    to.where_version(write.sealed_version)
    to.set(MV, to.number(write.version))


def _fence(write: Fence, to: Expression) -> None:
    """On a row: `render_stub` is the other half, for a key that is absent."""
    to.where_exists()
    to.where_standby(write.complete and to.shape.side is Side.TARGET)
    to.where_older_generation(write.generation)
    to.set(GEN, to.number(write.generation))
    to.set(ROLE, f"if_not_exists({ROLE}, {to.value(_STANDBY)})")


def _take_back(write: TakeBack, to: Expression) -> None:
    to.where(f"{ROLE} = {to.value(_STANDBY)}", f"{GEN} = {to.number(write.sealed.generation)}")
    to.where_version(write.sealed.version)
    to.set(ROLE, to.value(_ACTIVE))
    to.set(GEN, to.number(write.generation))
    to.set(MV, to.number(write.version))
    if to.shape.ttl is not None:
        if write.sealed.ttl:
            to.set(to.name(to.shape.ttl), to.value(write.sealed.ttl))
        to.remove([TTL])


def _lift(write: Lift, to: Expression) -> None:
    to.where_exists()
    to.where_active(write.complete)
    to.where_version(write.seen)
    to.set(MV, to.number(write.version))


def _merge(write: Merge, to: Expression) -> None:
    to.where_exists()
    to.where_active(write.complete)
    to.where_version(write.seen)
    to.where(f"{DELETED} <> {to.value(_TRUE)}", f"NOT contains({RECENT}, {to.value(wire.of_binary(write.identity))})")
    to.set(MV, to.next_version(to.number(write.seed)))
    for name, raw in write.sets:
        to.set(to.name(name), to.value(raw))
    to.remove(map(to.name, write.removes))
    to.add(RECENT, to.value(wire.of_binary_set([write.identity])))


def _reinstate(write: Reinstate, to: Expression) -> None:
    was = write.item
    to.where_exists()
    to.where(f"attribute_not_exists({ROLE})", f"attribute_not_exists({GEN})")
    to.where_version(None)
    for name, raw in build_image(was._replace(content=(), ttl=b""), to.shape, {}).items():
        to.set(name, to.value(raw))
    if to.shape.ttl is not None and was.role is Role.STANDBY:
        ttl = to.name(to.shape.ttl)
        to.set(TTL, f"if_not_exists({ttl}, {to.value(NO_TTL)})")
        to.remove([ttl])


def _bury(write: Bury, to: Expression) -> None:
    to.where(f"{ROLE} = {to.value(_STANDBY)}")
    to.where_version(write.seen)
    to.set(MV, to.number(write.version))
    _clear(to)


_FORMS: Final[dict[type, Callable[[Any, Expression], None]]] = {
    Seal: _seal,
    Activate: _activate,
    Reseal: _reseal,
    Fence: _fence,
    TakeBack: _take_back,
    Lift: _lift,
    Merge: _merge,
    Reinstate: _reinstate,
    Bury: _bury,
}
