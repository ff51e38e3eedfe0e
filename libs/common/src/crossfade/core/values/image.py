"""Items as they travel: attribute names to raw DynamoDB JSON bytes (design.md, section 3, rule 9).

A change record holds DynamoDB JSON (`{"N": "12"}`) and the write request wants the same, so a value is decoded only
where a decision or a mapping needs it. `Raw` is the bytes of one such value, spacing included; two equal values of
two engines may differ in bytes, so bytes never decide that values *differ* (`crossfade.core.values.canonical` does).
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw

from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.masking import described, reason_of
from crossfade.core.values.numbers import MAX_DIGITS, normal_number

Image: TypeAlias = dict[str, Raw]
"""An item: attribute name to one raw DynamoDB JSON value."""

PROTOCOL_PREFIX: Final = "cf_"
"""All attributes with this prefix are Crossfade's own, on either table."""


class _Number(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    N: str


_decode_image = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_value = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_number = msgspec.json.Decoder(_Number).decode
_decode_text = msgspec.json.Decoder(dict[str, str]).decode
_decode_binary = msgspec.json.Decoder(dict[str, bytes]).decode
_decode_binaries = msgspec.json.Decoder(dict[str, frozenset[bytes]]).decode
_decode_flag = msgspec.json.Decoder(dict[str, bool]).decode
_encode = msgspec.json.encode


def decode_image(raw: bytes | Raw) -> Image:
    """Decode the frame of an item, leaving each value raw.

    Raises:
        PoisonRecord: it is not a JSON object.
    """
    try:
        return _decode_image(raw)
    except msgspec.MsgspecError as error:
        raise PoisonRecord(f"not an item: {reason_of(error)}") from error


def encode_image(image: Mapping[str, Raw]) -> bytes:
    """Return the item as DynamoDB JSON; the values are spliced in as they are."""
    return b"{" + b",".join(b"%b:%b" % (_encode(name), bytes(value)) for name, value in image.items()) + b"}"


def _text(value: Raw, kind: str) -> str:
    try:
        return _decode_text(value)[kind]
    except (msgspec.MsgspecError, KeyError) as error:
        raise PoisonRecord(f"expected a value of type {kind}, got {described(value)}") from error


def number(value: Raw) -> int:
    """Decode an integer of up to 38 digits, exactly; fractions are refused."""
    try:
        return int(_decode_number(value).N)
    except (msgspec.MsgspecError, ValueError) as error:
        raise PoisonRecord(f"expected an integer, a value of type N, got {described(value)}") from error


def amount(value: Raw) -> int | Decimal:
    """Decode a number of up to 38 digits, exactly, whole or not; most are spelled in digits alone, those are integers.

    Raises:
        PoisonRecord: it is not a number.
    """
    try:
        text = _decode_number(value).N
    except msgspec.MsgspecError as error:
        raise PoisonRecord(f"expected a value of type N, got {described(value)}") from error
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else Decimal(normal_number(text))


def decimal(value: Raw) -> Decimal:
    """Decode a number as `amount` does, into a Decimal."""
    return Decimal(amount(value))


def string(value: Raw) -> str:
    """Decode a string value."""
    return _text(value, "S")


def binary(value: Raw) -> bytes:
    """Decode a binary value."""
    try:
        return _decode_binary(value)["B"]
    except (msgspec.MsgspecError, KeyError) as error:
        raise PoisonRecord(f"expected a value of type B, got {described(value)}") from error


def binary_set(value: Raw) -> frozenset[bytes]:
    """Decode a set of binaries."""
    try:
        return _decode_binaries(value)["BS"]
    except (msgspec.MsgspecError, KeyError) as error:
        raise PoisonRecord(f"expected a value of type BS, got {described(value)}") from error


def boolean(value: Raw) -> bool:
    """Decode a boolean value."""
    try:
        return _decode_flag(value)["BOOL"]
    except (msgspec.MsgspecError, KeyError) as error:
        raise PoisonRecord(f"expected a value of type BOOL, got {described(value)}") from error


def of_number(value: int) -> Raw:
    """Encode an integer."""
    return Raw(b'{"N":"%d"}' % value)


def of_decimal(value: Decimal) -> Raw:
    """Encode a number, whole or not.

    Raises:
        PoisonRecord: it has more digits than DynamoDB keeps.
    """
    return Raw(b'{"N":"%b"}' % normal_number(str(value)).encode())


def of_string(value: str) -> Raw:
    """Encode a string."""
    return Raw(b'{"S":%b}' % _encode(value))


def of_binary(value: bytes) -> Raw:
    """Encode a binary."""
    return Raw(b'{"B":"%b"}' % b2a_base64(value, newline=False))


def of_binary_set(values: Iterable[bytes]) -> Raw:
    """Encode a set of binaries, in byte order; DynamoDB knows no empty set, so neither does this."""
    return Raw(b'{"BS":[%b]}' % b",".join(b'"%b"' % b2a_base64(each, newline=False) for each in sorted(values)))


def of_boolean(value: bool) -> Raw:
    """Encode a boolean."""
    return Raw(b'{"BOOL":true}' if value else b'{"BOOL":false}')


def of_list(values: Iterable[Raw]) -> Raw:
    """Encode a list of encoded values."""
    return Raw(b'{"L":[%b]}' % b",".join(map(bytes, values)))


def of_map(values: Mapping[str, Raw]) -> Raw:
    """Encode a map of encoded values."""
    return Raw(b'{"M":%b}' % encode_image(values))


def list_of(value: Raw) -> list[Raw]:
    """Decode a list value into its raw elements."""
    try:
        return msgspec.json.decode(_decode_value(value)["L"], type=list[Raw])
    except (msgspec.MsgspecError, KeyError) as error:
        raise PoisonRecord(f"expected a value of type L, got {described(value)}") from error


def map_of(value: Raw) -> Image:
    """Decode a map value into its raw members."""
    try:
        return _decode_image(_decode_value(value)["M"])
    except (msgspec.MsgspecError, KeyError) as error:
        raise PoisonRecord(f"expected a value of type M, got {described(value)}") from error
