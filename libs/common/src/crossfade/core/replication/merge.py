"""A stray's change, brought to its key's owner: what of it still makes sense there (ADR 0016).

A stray changed a row that its table didn't own, and the owner has gone its own way since. So nothing of the stray's row
is written over the owner's. A number is changed by the stray's difference, as an `ADD` would have been; any other
attribute is taken over only if the owner still has what the stray replaced. What doesn't fit is returned with all three
values, for humans.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from crossfade.core.protocol.row import Row
from crossfade.core.values import image as wire
from crossfade.core.values.canonical import same_value
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.numbers import added
from crossfade.core.values.shape import TableShape

TTL_NAME: Final = "(TTL)"
"""Stands for the TTL value, whatever attribute holds it."""


class Difference(NamedTuple):
    """What a stray did to one attribute, in the owner's names.

    Attributes:
        name: of the attribute.
        old: raw value before the stray; None when there was none.
        new: after it.
        owner: what the owner has now.
    """

    name: str
    old: bytes | None
    new: bytes | None
    owner: bytes | None


class Merged(NamedTuple):
    """What the merge writes.

    Attributes:
        sets: attributes with their raw values.
        removes: names.
    """

    sets: tuple[tuple[str, bytes], ...]
    removes: tuple[str, ...]


def differences(old: Row | None, new: Row, owner: Row, shape: TableShape) -> list[Difference]:
    """Return what a stray changed, attribute by attribute.

    Args:
        old: the row before the stray, None when there was none; all three in the owner's names.
        new: the row after it.
        owner: of the key, now.
        shape: of the owner's table; of a closed one only the mapped attributes count.
    """
    before, after, now = (dict(_fields(each)) for each in (old, new, owner))
    named = {*before, *after}
    if shape.attributes is not None:
        named &= {*shape.attributes, TTL_NAME}
    found = [Difference(name, before.get(name), after.get(name), now.get(name)) for name in sorted(named)]
    return [each for each in found if not _same(each.old, each.new)]


def merge(found: list[Difference]) -> Merged | list[Difference]:
    """Say what a merge writes to the owner.

    Args:
        found: what the stray changed.

    Returns:
        The merge; or the attributes that need a human decision, and then nothing is to be written.

    Raises:
        PoisonRecord: a value is not an attribute value.
    """
    sets: list[tuple[str, bytes]] = []
    removes: list[str] = []
    clashes: list[Difference] = []
    for each in found:
        moved = _moved(each)
        if each.name == TTL_NAME:
            clashes += [] if _same(each.owner, each.new) else [each]
        elif moved is not None:
            sets.append((each.name, moved))
        elif _is_number(each.old) and _is_number(each.new):
            clashes.append(each)
        elif _same(each.owner, each.new):
            continue  # it has come there some other way
        elif not _same(each.owner, each.old):
            clashes.append(each)
        elif each.new is None:
            removes.append(each.name)
        else:
            sets.append((each.name, each.new))
    return clashes or Merged(tuple(sets), tuple(removes))


def _moved(each: Difference) -> bytes | None:
    """Return a number moved by the stray's difference; None where that makes no sense."""
    if not _is_number(each.new):
        return None
    if each.old is None and each.owner is None:
        return each.new
    if (each.old is not None and not _is_number(each.old)) or not _is_number(each.owner):
        return None
    old = _decimal(each.old) if each.old is not None else Decimal(0)
    moved = added(_decimal(each.owner), added(_decimal(each.new), old.copy_negate()))
    if moved < 0 <= min(_decimal(each.owner), _decimal(each.new)):
        return None  # no side has it below 0
    try:
        return bytes(wire.of_decimal(moved))
    except PoisonRecord:
        return None


def _fields(item: Row | None) -> tuple[tuple[str, bytes], ...]:
    if item is None or item.deleted:
        return ()
    return (*item.content, (TTL_NAME, item.ttl)) if item.ttl else item.content


def _same(one: bytes | None, other: bytes | None) -> bool:
    if one is None or other is None:
        return one is other
    return same_value(one, other)


class _Number(msgspec.Struct, forbid_unknown_fields=True):
    N: str


_decode = msgspec.json.Decoder(_Number).decode


def _is_number(raw: bytes | None) -> bool:
    try:
        return raw is not None and bool(_decode(Raw(raw)))
    except msgspec.MsgspecError:
        return False


def _decimal(raw: bytes | None) -> Decimal:
    return wire.decimal(Raw(raw or b""))
