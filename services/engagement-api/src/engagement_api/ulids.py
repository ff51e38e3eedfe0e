"""Transaction ids: ULIDs as clients write them (26 characters of Crockford's base 32) and as the tables keep them."""

from __future__ import annotations

import re
from typing import Final

ULID_BYTES: Final = 16

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TO_INT: Final = str.maketrans(_CROCKFORD, "0123456789ABCDEFGHIJKLMNOPQRSTUV")
_SHAPE: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


def decode_ulid(text: str) -> bytes | None:
    """Return the 16 bytes of a ULID in either case; None when it is none.

    Bytes order as the text does: by time, then by the random part.
    """
    upper = text.upper()  # of ASCII alone: 'ſ' and 'ß' have capitals in it
    if not (text.isascii() and _SHAPE.fullmatch(upper)):
        return None
    return int(upper.translate(_TO_INT), 32).to_bytes(ULID_BYTES, "big")


def encode_ulid(value: bytes) -> str:
    """Return the text of a ULID, in capitals; the inverse of `decode_ulid`."""
    number = int.from_bytes(value, "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
