"""Attribute values in a form of the verifier's own: two forms are equal exactly when the values are.

Another route than the core's, on purpose. There, JSON is decoded without types, put in one spelling and written again;
here it is decoded by type, and written as lengths and bytes. Numbers are digits and an exponent, never a Decimal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from crossfade.core.values.errors import PoisonRecord

MAX_DIGITS: Final = 38
"""Significant digits of a DynamoDB number (AWS, "Constraints in Amazon DynamoDB")."""

_NUMBER: Final = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,6}))?")


class Value(Struct, forbid_unknown_fields=True):
    """One attribute value; exactly one of its types is set."""

    S: str | UnsetType = UNSET
    N: str | UnsetType = UNSET
    B: bytes | UnsetType = UNSET
    BOOL: bool | UnsetType = UNSET
    NULL: bool | UnsetType = UNSET
    M: dict[str, Value] | UnsetType = UNSET
    L: list[Value] | UnsetType = UNSET
    SS: list[str] | UnsetType = UNSET
    NS: list[str] | UnsetType = UNSET
    BS: list[bytes] | UnsetType = UNSET


class Number(NamedTuple):
    """`sign` × `digits` × 10^`exponent`; no zero stands at either end of the digits, and zero has none."""

    sign: str
    digits: str
    exponent: int

    def plain(self) -> str:
        """Return it without an exponent, as keys are spelled."""
        if self.exponent >= 0:
            return self.sign + (self.digits or "0") + "0" * self.exponent
        whole, fraction = self.digits[: self.exponent], self.digits[self.exponent :]
        return f"{self.sign}{whole or '0'}.{fraction.rjust(-self.exponent, '0')}"


_decode = msgspec.json.Decoder(Value).decode


def number_of(text: str) -> Number:
    """Read a number as DynamoDB writes one, in whatever spelling.

    Raises:
        PoisonRecord: it is none, or has more digits than DynamoDB keeps.
    """
    found = _NUMBER.fullmatch(text)
    if found is None or not (found[2] or found[3]):
        raise PoisonRecord(f"not a number: {text[:80]!r}")
    fraction = found[3] or ""
    digits = (found[2] + fraction).lstrip("0")
    kept = digits.rstrip("0")
    if len(kept) > MAX_DIGITS:
        raise PoisonRecord(f"a number of {len(kept)} digits: {text[:80]!r}; DynamoDB keeps {MAX_DIGITS}")
    if not kept:
        return Number("", "", 0)
    exponent = int(found[4] or 0) - len(fraction) + len(digits) - len(kept)
    return Number("-" if found[1] == "-" else "", kept, exponent)


def value_of(raw: Raw | bytes) -> Value:
    """Decode one attribute value.

    Raises:
        PoisonRecord: it is none.
    """
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PoisonRecord(f"no attribute value: {bytes(raw)[:80]!r}: {error}") from error


def form_of(raw: Raw | bytes) -> bytes:
    """Return the form of one value.

    Raises:
        PoisonRecord: it is no attribute value.
    """
    return _form(value_of(raw))


def _form(value: Value) -> bytes:
    set_ = [(kind, each) for kind in value.__struct_fields__ if (each := getattr(value, kind)) is not UNSET]
    if len(set_) != 1:
        raise PoisonRecord(f"no attribute value: it has {len(set_)} types")
    [(kind, inner)] = set_
    match kind:
        case "S":
            return _text("S", inner)
        case "N":
            return _number(inner)
        case "B":
            return _bytes("B", inner)
        case "BOOL" | "NULL":
            return b"%b%d;" % (kind.encode(), inner)
        case "M":
            members = sorted((_text("", name), _form(each)) for name, each in inner.items())
            return _many("M", (name + each for name, each in members))
        case "L":
            return _many("L", map(_form, inner))
        case "SS":
            return _many("SS", sorted(_text("S", each) for each in inner))
        case "NS":
            return _many("NS", sorted(map(_number, inner)))
        case _:
            return _many("BS", sorted(_bytes("B", each) for each in inner))


def _text(kind: str, text: str) -> bytes:
    return _bytes(kind, text.encode())


def _bytes(kind: str, content: bytes) -> bytes:
    return b"%b%d:%b" % (kind.encode(), len(content), content)


def _number(text: str) -> bytes:
    sign, digits, exponent = number_of(text)
    return f"N{sign}{digits}e{exponent};".encode()


def _many(kind: str, members: Iterable[bytes]) -> bytes:
    found = list(members)
    return b"%b%d[%b]" % (kind.encode(), len(found), b"".join(found))
