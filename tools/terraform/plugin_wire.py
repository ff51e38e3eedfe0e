"""The little of protobuf that Terraform's plugin protocol takes: writing messages from numbered fields."""

from __future__ import annotations

Field = tuple[int, int | bytes | str]


def varint(number: int) -> bytes:
    """Return a number in protobuf's variable length."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: int | bytes | str) -> bytes:
    """Return one field of a message: a number, a text, or a message's bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content
