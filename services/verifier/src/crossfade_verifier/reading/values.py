"""Attribute values in a form of the verifier's own: two forms are equal exactly when the values are.

Another route than the core's, on purpose. There, JSON is decoded without types, put in one spelling and written again;
here each value is decoded as its type, and written as lengths and bytes. A number is digits and an exponent.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.masking import described

MAX_DIGITS: Final = 38
"""Significant digits of a DynamoDB number (AWS, "Constraints in Amazon DynamoDB")."""

_NUMBER: Final = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,6}))?")


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


_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_TYPES: Final[dict[str, Any]] = {
    "S": str,
    "N": str,
    "B": bytes,
    "BOOL": bool,
    "NULL": bool,
    "M": dict[str, Raw],
    "L": list[Raw],
    "SS": list[str],
    "NS": list[str],
    "BS": list[bytes],
}
_inner = {kind: msgspec.json.Decoder(each).decode for kind, each in _TYPES.items()}


def number_of(text: str) -> Number:
    """Read a number as DynamoDB writes one, in whatever spelling.

    Raises:
        PoisonRecord: it is none, or has more digits than DynamoDB keeps.
    """
    if text.isdecimal() and text.isascii() and text[0] != "0" and len(text) <= MAX_DIGITS:  # as nearly all are spelled
        kept = text.rstrip("0")
        return Number("", kept, len(text) - len(kept))
    found = _NUMBER.fullmatch(text)
    if found is None or not (found[2] or found[3]):
        raise PoisonRecord(f"not a number: {len(text)} characters")
    fraction = found[3] or ""
    digits = (found[2] + fraction).lstrip("0")
    kept = digits.rstrip("0")
    if len(kept) > MAX_DIGITS:
        raise PoisonRecord(f"a number of {len(kept)} digits; DynamoDB keeps {MAX_DIGITS}")
    if not kept:
        return Number("", "", 0)
    exponent = int(found[4] or 0) - len(fraction) + len(digits) - len(kept)
    return Number("-" if found[1] == "-" else "", kept, exponent)


def value_of(raw: Raw | bytes) -> tuple[str, Any]:
    """Decode one attribute value; return its type and what is in it, the members of a map or list still raw.

    Raises:
        PoisonRecord: it is none.
    """
    try:
        [(kind, inner)] = _decode(raw).items()
        return kind, _inner[kind](inner)
    except (msgspec.MsgspecError, ValueError, KeyError) as error:
        raise PoisonRecord(f"no attribute value: {described(raw)}") from error


def form_of(raw: Raw | bytes) -> bytes:
    """Return the form of one value.

    Raises:
        PoisonRecord: it is no attribute value.
    """
    kind, inner = value_of(raw)
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
            members = sorted((_text("", name), form_of(each)) for name, each in inner.items())
            return _many("M", [name + each for name, each in members])
        case "L":
            return _many("L", list(map(form_of, inner)))
        case "SS":
            return _many("SS", sorted([_text("S", each) for each in inner]))
        case "NS":
            return _many("NS", sorted(map(_number, inner)))
        case _:
            return _many("BS", sorted([_bytes("B", each) for each in inner]))


def _text(kind: str, text: str) -> bytes:
    return _bytes(kind, text.encode())


def _bytes(kind: str, content: bytes) -> bytes:
    return b"%b%d:%b" % (kind.encode(), len(content), content)


def _number(text: str) -> bytes:
    sign, digits, exponent = number_of(text)
    return f"N{sign}{digits}e{exponent};".encode()


def _many(kind: str, members: list[bytes]) -> bytes:
    return b"%b%d[%b]" % (kind.encode(), len(members), b"".join(members))
