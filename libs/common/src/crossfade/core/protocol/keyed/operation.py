"""What a client's operation does to a row, in DynamoDB's terms (ADR 0023).

The core knows no points and no stock: a domain says once what each of its verbs does (`Verb`), and each call brings the
amounts (`build_operation`). Attributes go by the origin's names; `TableShape.own` says how a table calls them.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from msgspec import Raw, Struct

from crossfade.core.protocol.events import Changes, Event, encode_event
from crossfade.core.protocol.keyed.item import Item
from crossfade.core.values import image as wire
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.keys import Key
from crossfade.core.values.numbers import added
from crossfade.core.values.shape import TableShape

Amount: TypeAlias = int | Decimal
"""A number of up to 38 digits."""

Content: TypeAlias = tuple[tuple[str, bytes], ...]


class Verb(NamedTuple):
    """What all operations of one kind do to a row; the numbers of each are in `Operation`.

    A number that a row lacks counts as the one in `TableShape.zero`, or as 0.

    Attributes:
        name: for reports and errors.
        adds: attributes to add an amount to.
        at_least: attributes whose value before the operation must not be below a limit.
        at_most: attributes whose value before the operation must not be above a limit.
        sets: attributes to set.
        removes: attributes to remove.
        creates: it may create the row, from `TableShape.zero`, and revives a deleted one; without it a row has to be
            there.
        deletes: it leaves a tombstone; then nothing is added, set or removed.
    """

    name: str
    adds: tuple[str, ...] = ()
    at_least: tuple[str, ...] = ()
    at_most: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()
    creates: bool = False
    deletes: bool = False


class Operation(Struct, frozen=True, gc=False):
    """One client operation; `build_operation` makes it with its event.

    Attributes:
        key: the encoded key.
        verb: what it does.
        transaction_id: the client's ULID, 16 bytes; the same in every retry.
        events: its events as raw DynamoDB values (`core.protocol.keyed.events`), written into `cf_events` by the write
            itself.
        seed: of the version, wall clock in µs << 10; used only when the item has no version yet.
        amounts: one for each of `verb.adds`.
        least: one limit for each of `verb.at_least`.
        most: one limit for each of `verb.at_most`.
        values: one raw value for each of `verb.sets`.
    """

    key: Key
    verb: Verb
    transaction_id: bytes
    events: tuple[bytes, ...]
    seed: int
    amounts: tuple[Amount, ...] = ()
    least: tuple[Amount, ...] = ()
    most: tuple[Amount, ...] = ()
    values: tuple[bytes, ...] = ()


def build_operation(
    key: Key,
    verb: Verb,
    transaction_id: bytes,
    seed: int,
    *,
    amounts: tuple[Amount, ...] = (),
    least: tuple[Amount, ...] = (),
    most: tuple[Amount, ...] = (),
    values: tuple[bytes, ...] = (),
    reason: str = "",
    traceparent: str = "",
) -> Operation:
    """Return an operation whose event says all that it changes, whatever the domain.

    Args:
        key, verb, transaction_id, seed, amounts, least, most, values: as in `Operation`.
        reason: the client's word, for the event.
        traceparent: W3C trace context of the call; empty when it had none.

    Raises:
        PoisonRecord: an amount has more digits than DynamoDB keeps.
    """
    delta, changes = _told(verb, amounts, values)
    event = encode_event(Event(verb.name, delta, reason, transaction_id, traceparent, changes))
    return Operation(key, verb, transaction_id, (event,), seed, amounts, least, most, values)


def _told(verb: Verb, amounts: tuple[Amount, ...], values: tuple[bytes, ...]) -> tuple[int, Changes]:
    if not (amounts or values):
        return 0, ()
    if len(amounts) == 1 and not values:
        amount = amounts[0]
        if isinstance(amount, int) and abs(amount) < 2**63:
            return amount, ()
        amount = wire.decimal(wire.of_decimal(Decimal(amount)))
        if amount == (whole := int(amount)) and abs(whole) < 2**63:
            return whole, ()
    added_to = ((name, number_of(amount)) for name, amount in zip(verb.adds, amounts, strict=True))
    return 0, (*added_to, *zip(verb.sets, values, strict=True))


def check_verb(verb: Verb, shape: TableShape) -> None:
    """Check that a table has what a verb changes, as its rows have it.

    Raises:
        ConfigError: an attribute is neither kept nor renamed by the mapping, or the verb contradicts itself.
    """
    named = {*verb.adds, *verb.at_least, *verb.at_most, *verb.sets, *verb.removes}
    changes = [*verb.adds, *verb.sets, *verb.removes]
    if len(set(changes)) < len(changes):
        raise ConfigError(f"the verb {verb.name!r} changes an attribute in two ways: {', '.join(changes)}")
    if verb.deletes and (changes or verb.creates):
        raise ConfigError(f"the verb {verb.name!r} deletes, so it can neither create a row nor change what is in it")
    if shape.attributes is None:
        return
    if unknown := sorted(name for name in named if shape.own(name) not in shape.attributes):
        raise ConfigError(
            f"the verb {verb.name!r} changes {', '.join(unknown)}, which {shape.table!r} doesn't have: "
            "an operation needs a Keep or Rename rule for each attribute"
        )


def number_of(amount: Amount) -> bytes:
    """Return an amount as a raw DynamoDB number."""
    return b'{"N":"%d"}' % amount if isinstance(amount, int) else bytes(wire.of_decimal(amount))


def magnitude_of(amount: Amount) -> bytes:
    """Return an amount without its sign as a raw DynamoDB number."""
    # A minus sign, as abs(), rounds a Decimal to the 28 digits of its context.
    return number_of(abs(amount) if isinstance(amount, int) else amount.copy_abs())


def counted(name: str, item: Item | None, shape: TableShape) -> Amount:
    """Return the number that an attribute counts as: what is there, or in `zero`, or 0.

    Args:
        name: in the origin's names.
        item: as it stands; None when there is none.
        shape: of its table.

    Raises:
        PoisonRecord: it is not a number.
    """
    return _met(name, None if item is None or item.deleted else item, shape)


def _met(name: str, item: Item | None, shape: TableShape) -> Amount:
    """What a write meets, as an engine sees it: it doesn't know of tombstones."""
    own = shape.own(name)
    raw = None if item is None else item.value(own)
    return start_of(own, shape) if raw is None else wire.amount(raw)


def start_of(own: str, shape: TableShape) -> Amount:
    """Return what a missing number counts as, by the table's own name for it."""
    return _zero_of(own, shape.zero)


@lru_cache(maxsize=1024)  # of all the shapes of a process, and asked for with every operation
def _zero_of(own: str, zero: Content) -> Amount:
    found = dict(zero).get(own)
    return 0 if found is None else wire.amount(Raw(found))


def is_below(op: Operation, item: Item | None, shape: TableShape) -> bool:
    """Say whether a value is below its limit.

    Raises:
        PoisonRecord: it is not a number.
    """
    pairs = zip(op.verb.at_least, op.least, strict=True)
    return any(_met(name, item, shape) < limit for name, limit in pairs)


def is_above(op: Operation, item: Item | None, shape: TableShape) -> bool:
    """Say whether a value is above its limit.

    Raises:
        PoisonRecord: it is not a number.
    """
    pairs = zip(op.verb.at_most, op.most, strict=True)
    return any(_met(name, item, shape) > limit for name, limit in pairs)


def changed(op: Operation, before: Item, shape: TableShape) -> Content:
    """Return the content after an operation that doesn't delete.

    Raises:
        PoisonRecord: an attribute to add to is not a number, or the sum has more digits than DynamoDB keeps.
    """
    verb = op.verb
    fields = dict(before.content)
    if verb.creates:
        fields = dict(shape.zero) | fields
    for name, amount in zip(verb.adds, op.amounts, strict=True):
        total = added(Decimal(_met(name, before, shape)), Decimal(amount))
        fields[shape.own(name)] = bytes(wire.of_decimal(total))
    for name, raw in zip(verb.sets, op.values, strict=True):
        fields[shape.own(name)] = raw
    for name in verb.removes:
        fields.pop(shape.own(name), None)
    return tuple(sorted(fields.items()))
