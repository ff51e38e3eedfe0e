"""Owner writes and handover writes as DynamoDB requests, spliced from raw values (design.md, sections 3 and 4).

`core.protocol.keyed.perform` says what each write means. Here it is one conditional UpdateItem or PutItem of the same
meaning, so the engine checks and changes the item in one step. The forms for a batch are in
`crossfade.adapters.batch_text`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from crossfade.core.protocol.keyed.fit import needs_put, too_long
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
from crossfade.core.protocol.keyed.perform import fence_stub
from crossfade.core.protocol.keyed.replacing import Replacement, activation
from crossfade.core.protocol.keyed.writes import (
    Activate,
    Bury,
    Fence,
    Kind,
    Lift,
    Merge,
    Operate,
    OperateAndTrim,
    Operation,
    Reinstate,
    Reseal,
    Restore,
    Seal,
    SealAbsent,
    TakeBack,
    Write,
)
from crossfade.core.values import image as wire
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.image import Image, encode_image
from crossfade.core.values.keys import Key, key_image, key_of_strings
from crossfade.core.values.shape import Side, TableShape, absent_is_active

_encode = msgspec.json.encode
_ONE: Final = wire.of_number(1)
_TRUE: Final = wire.of_boolean(True)
_ACTIVE: Final = wire.of_string(Role.ACTIVE.value)
_STANDBY: Final = wire.of_string(Role.STANDBY.value)


class Standing(NamedTuple):
    """What a read showed of an item of an open shape, whose attributes can't be listed beforehand.

    Attributes:
        version: its version; the write holds only while it is the same. None when it has none.
        names: of its attributes outside the protocol.
    """

    version: int | None
    names: tuple[str, ...]


class Rendered(NamedTuple):
    """One request.

    Attributes:
        is_put: PutItem, whose answer brings no item; otherwise UpdateItem.
        body: the request's JSON.
        too_wide: why DynamoDB refuses it as an update, whatever stands there; empty when it doesn't.
    """

    is_put: bool
    body: bytes
    too_wide: str = ""


def removes_attributes(write: Write) -> bool:
    """Say whether a write takes away mapped attributes, for which an open shape has to be read first."""
    deletes = isinstance(write, Operate | OperateAndTrim) and write.op.kind is Kind.DELETE
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
    expression = _Expression(shape, write.key, standing if shape.attributes is None else None)
    _FORMS[type(write)](write, expression)
    return expression.rendered()


def first_earn_too_wide(shape: TableShape) -> str:
    """Say why the operation that creates a row of this shape would be refused for its length; empty when it isn't."""
    key = key_of_strings(*("" for _ in shape.key))
    op = Operation(key, Kind.EARN, bytes(16), 1, bytes(wire.of_map({})), 1)
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


class _Expression:
    """An UpdateItem in the making. Mapped names go by placeholders, whatever words DynamoDB reserves."""

    def __init__(self, shape: TableShape, key: Key, standing: Standing | None) -> None:
        self.shape = shape
        self._key = key
        self._standing = standing
        self._names: dict[str, str] = {}
        self._values: list[bytes] = []
        self._numbers: dict[bytes, str] = {}
        self._sets: list[str] = []
        self._removes: list[str] = []
        self._adds: list[str] = []
        self._where: list[str] = []
        self._replaces: Replacement | None = None

    def name(self, name: str) -> str:
        return self._names.setdefault(name, f"#n{len(self._names)}")

    def value(self, raw: Raw | bytes) -> str:
        known = self._numbers.get(bytes(raw))
        if known is None:
            known = self._numbers[bytes(raw)] = f":v{len(self._values)}"
            self._values.append(b'"%b":%b' % (known.encode(), bytes(raw)))
        return known

    def number(self, number: int) -> str:
        return self.value(wire.of_number(number))

    def set(self, target: str, term: str) -> None:
        self._sets.append(f"{target} = {term}")

    def remove(self, names: Iterable[str]) -> None:
        self._removes += names

    def add(self, target: str, value: str) -> None:
        self._adds.append(f"{target} {value}")

    def where(self, *terms: str) -> None:
        self._where += terms

    def where_active(self, complete: bool) -> None:
        active = f"{ROLE} = {self.value(_ACTIVE)}"
        missing = absent_is_active(self.shape.side, complete=complete)
        self.where(f"(attribute_not_exists({ROLE}) OR {active})" if missing else active)

    def where_standby(self, complete: bool) -> None:
        standby = f"{ROLE} = {self.value(_STANDBY)}"
        missing = not absent_is_active(self.shape.side, complete=complete)
        self.where(f"(attribute_not_exists({ROLE}) OR {standby})" if missing else standby)

    def where_older_generation(self, generation: int) -> None:
        self.where(f"(attribute_not_exists({GEN}) OR {GEN} < {self.number(generation)})")

    def where_version(self, seen: int | None) -> None:
        self.where(f"attribute_not_exists({MV})" if seen is None else f"{MV} = {self.number(seen)}")

    def where_exists(self) -> None:
        self.where(f"attribute_exists({self.name(self.shape.key[0])})")

    def next_version(self, seed: int) -> str:
        return f"if_not_exists({MV}, {self.number(seed)}) + {self.value(_ONE)}"

    def replace(self, replacement: Replacement) -> None:  # its placeholders are other ones than those of `name`
        self._replaces = replacement

    def mapped_names(self) -> tuple[str, ...]:
        """The mapped attributes that may stand there."""
        if self.shape.attributes is not None:
            return self.shape.attributes
        if self._standing is None:
            raise ConfigError(f"the shape of {self.shape.table!r} is open: what stands there has to be read first")
        self.where_version(self._standing.version)
        return self._standing.names

    def rendered(self) -> Rendered:
        clauses = (
            ("SET ", self._sets),
            ("REMOVE ", self._removes),
            ("ADD ", self._adds),
        )
        update = " ".join(word + ", ".join(terms) for word, terms in clauses if terms)
        names = {placeholder: name for name, placeholder in self._names.items()}
        values = self._values
        if self._replaces is not None:
            update = self._replaces.expression()
            names |= self._replaces.names()
            values = [*values, *(b'"%b":%b' % (at.encode(), raw) for at, raw in self._replaces.values().items())]
        body = (
            b'{"TableName":%b,"Key":%b,"UpdateExpression":%b,"ConditionExpression":%b,%b'
            b'"ExpressionAttributeValues":{%b},"ReturnValues":"ALL_NEW",'
            b'"ReturnValuesOnConditionCheckFailure":"ALL_OLD"}'
            % (
                _encode(self.shape.table),
                encode_image(key_image(self._key, self.shape.key)),
                _encode(update),
                _encode(" AND ".join(self._where)),
                b'"ExpressionAttributeNames":%b,' % _encode(names) if names else b"",
                b",".join(values),
            )
        )
        return Rendered(False, body, too_long(update) if self._replaces is None else needs_put(self._replaces))


def _operate(write: Operate, to: _Expression) -> None:
    op = write.op
    transaction = to.value(wire.of_binary(op.transaction_id))
    to.where(
        f"(attribute_not_exists({FLOOR}) OR {FLOOR} < {transaction})",
        f"NOT contains({RECENT}, {transaction})",
        f"(attribute_not_exists({RECENT}) OR size({RECENT}) < {to.number(write.soft)})",
    )
    _change(write, to)
    to.add(RECENT, to.value(wire.of_binary_set([op.transaction_id])))


def _operate_and_trim(write: OperateAndTrim, to: _Expression) -> None:
    to.where_exists()
    to.where_version(write.seen)
    _change(write, to)
    to.set(RECENT, to.value(wire.of_binary_set(write.kept | {write.op.transaction_id})))
    if write.floor:
        to.set(FLOOR, to.value(wire.of_binary(write.floor)))


def _change(write: Operate | OperateAndTrim, to: _Expression) -> None:
    """What both forms of an operation share: the balance, the version and the events."""
    op, shape = write.op, to.shape
    to.where_active(write.complete)
    version = to.next_version(op.seed)
    to.set(MV, version)
    to.set(EMV, version)
    to.set(EVENTS, to.value(wire.of_list([Raw(op.event)])))
    to.set(ROLE, f"if_not_exists({ROLE}, {to.value(_ACTIVE)})")
    to.set(GEN, f"if_not_exists({GEN}, {to.number(write.generation)})")
    _BALANCES[op.kind](op, shape, to)


def _earn(op: Operation, shape: TableShape, to: _Expression) -> None:
    for name, zero in shape.zero:
        target = to.name(name)
        start = f"if_not_exists({target}, {to.value(zero)})"
        to.set(target, f"{start} + {to.number(op.amount)}" if name == shape.balance else start)
    to.where(f"NOT {to.name(shape.balance)} > {to.number(op.highest_before)}")  # holds where there is none, too
    to.remove([DELETED])


def _spend(op: Operation, shape: TableShape, to: _Expression) -> None:
    balance, cost = to.name(shape.balance), to.number(op.amount)
    to.where(f"{balance} >= {cost}", f"{DELETED} <> {to.value(_TRUE)}")
    to.set(balance, f"{balance} - {cost}")


def _delete(_op: Operation, _shape: TableShape, to: _Expression) -> None:
    to.where_exists()
    to.where(f"{DELETED} <> {to.value(_TRUE)}")
    _clear(to)


def _clear(to: _Expression) -> None:
    """Leave a tombstone. A TTL value must go, or DynamoDB would take the tombstone itself."""
    to.set(DELETED, to.value(_TRUE))
    to.remove(map(to.name, to.mapped_names()))
    to.remove([TTL] if to.shape.ttl is None else [TTL, to.name(to.shape.ttl)])


_BALANCES: Final = {Kind.EARN: _earn, Kind.SPEND: _spend, Kind.DELETE: _delete}


def _seal(write: Seal, to: _Expression) -> None:
    to.where_exists()
    to.where_active(write.complete)
    to.where_older_generation(write.generation)
    to.set(ROLE, to.value(_STANDBY))
    to.set(GEN, to.number(write.generation))
    to.set(MV, to.next_version(write.seed))
    if to.shape.ttl is not None:
        ttl = to.name(to.shape.ttl)
        to.set(TTL, f"if_not_exists({ttl}, {to.value(NO_TTL)})")
        to.remove([ttl])


def _activate(write: Activate, to: _Expression) -> None:
    sealed, shape = write.sealed, to.shape
    to.where_standby(write.complete)
    to.where_older_generation(sealed.generation)
    version = sealed.version or 0
    to.where(f"(attribute_not_exists({MV}) OR {MV} <= {to.number(version)})")
    to.replace(activation(sealed, shape, to.mapped_names()))


def _reseal(write: Reseal, to: _Expression) -> None:
    to.where(f"{ROLE} = {to.value(_STANDBY)}", f"{GEN} = {to.number(write.generation)}")
    to.where_version(write.sealed_version)
    to.set(MV, to.number(write.version))


def _fence(write: Fence, to: _Expression) -> None:
    """On a row: `render_stub` is the other half, for a key that is absent."""
    to.where_exists()
    to.where_standby(write.complete and to.shape.side is Side.NEW)
    to.where_older_generation(write.generation)
    to.set(GEN, to.number(write.generation))
    to.set(ROLE, f"if_not_exists({ROLE}, {to.value(_STANDBY)})")


def _take_back(write: TakeBack, to: _Expression) -> None:
    to.where(f"{ROLE} = {to.value(_STANDBY)}", f"{GEN} = {to.number(write.sealed.generation)}")
    to.where_version(write.sealed.version)
    to.set(ROLE, to.value(_ACTIVE))
    to.set(GEN, to.number(write.generation))
    to.set(MV, to.number(write.version))
    if to.shape.ttl is not None:
        if write.sealed.ttl:
            to.set(to.name(to.shape.ttl), to.value(write.sealed.ttl))
        to.remove([TTL])


def _lift(write: Lift, to: _Expression) -> None:
    to.where_exists()
    to.where_active(write.complete)
    to.where_version(write.seen)
    to.set(MV, to.number(write.version))


def _merge(write: Merge, to: _Expression) -> None:
    to.where_exists()
    to.where_active(write.complete)
    to.where_version(write.seen)
    to.where(f"{DELETED} <> {to.value(_TRUE)}", f"NOT contains({RECENT}, {to.value(wire.of_binary(write.identity))})")
    to.set(MV, to.next_version(write.seed))
    for name, raw in write.sets:
        to.set(to.name(name), to.value(raw))
    to.remove(map(to.name, write.removes))
    to.add(RECENT, to.value(wire.of_binary_set([write.identity])))


def _reinstate(write: Reinstate, to: _Expression) -> None:
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


def _bury(write: Bury, to: _Expression) -> None:
    to.where(f"{ROLE} = {to.value(_STANDBY)}")
    to.where_version(write.seen)
    to.set(MV, to.number(write.seen + 1))
    _clear(to)


_FORMS: Final[dict[type, Callable[[Any, _Expression], None]]] = {
    Operate: _operate,
    OperateAndTrim: _operate_and_trim,
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
