"""The canonical form of an attribute value: equal exactly when the values are equal.

DynamoDB JSON is not unique: engines space it differently, sets and maps have no order, `7.50` is `7.5`. So raw bytes
that are equal mean equal values, but bytes that differ mean nothing yet: the decoded, canonical form decides.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import Any

import msgspec
from msgspec import Raw

from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.masking import described, reason_of
from crossfade.core.values.numbers import normal_number

_decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder(order="sorted").encode


def canonical_value(raw: Raw | bytes) -> bytes:
    """Return the canonical form of one attribute value: equal exactly when the values are equal.

    Raises:
        PoisonRecord: it is not an attribute value.
    """
    return encode(canonical(raw))


def same_value(one: Raw | bytes, other: Raw | bytes) -> bool:
    """Say whether two raw values are the same value."""
    return bytes(one) == bytes(other) or canonical_value(one) == canonical_value(other)


def canonical(raw: Raw | bytes) -> Any:
    """Return the canonical form of one attribute value, decoded; `encode` makes bytes of it.

    Raises:
        PoisonRecord: it is not an attribute value.
    """
    try:
        value = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PoisonRecord(f"not an attribute value: {reason_of(error)}") from error
    return _canonical(value)


def _canonical(value: Any) -> Any:
    """Canonicalise one decoded value; text needs nothing, so it comes first."""
    if not isinstance(value, dict) or len(value) != 1:
        raise PoisonRecord(f"not an attribute value: {described(value)}")
    ((kind, inner),) = value.items()
    try:
        match kind:
            case "S" if isinstance(inner, str):
                return value
            case "BOOL" | "NULL" if isinstance(inner, bool):
                return value
            case "N":
                return {kind: normal_number(inner)}
            case "B":
                return {kind: _base64(inner)}
            case "M":
                return {kind: {name: _canonical(each) for name, each in inner.items()}}
            case "L":
                return {kind: [_canonical(each) for each in inner]}
            case "SS":
                return {kind: sorted(map(_text, inner))}
            case "NS":
                return {kind: sorted(map(normal_number, inner))}
            case "BS":
                return {kind: sorted(map(_base64, inner))}
    except (TypeError, ValueError, AttributeError) as error:
        raise PoisonRecord(f"not a value of type {kind}: {described(value)}") from error
    raise PoisonRecord("not a value of a known type")


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError
    return text


def _base64(text: str) -> str:
    try:
        return b64encode(b64decode(text, validate=True)).decode()
    except binascii.Error as error:
        raise PoisonRecord(f"not base64: {len(text)} characters") from error
