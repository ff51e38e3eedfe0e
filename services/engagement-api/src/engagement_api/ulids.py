"""Transaction ids: ULIDs as clients write them (26 characters of Crockford's base 32) and as the tables keep them."""

from __future__ import annotations

import re
from typing import Final

ULID_BYTES: Final = 16

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TO_INT: Final = str.maketrans(_CROCKFORD + _CROCKFORD.lower(), "0123456789ABCDEFGHIJKLMNOPQRSTUV" * 2)
_SHAPE: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}")


def decode_ulid(text: str) -> bytes | None:
    """Return the 16 bytes of a ULID in either case; None when it is none.

    Bytes order as the text does: by time, then by the random part.
    """
    if not _SHAPE.fullmatch(text):
        return None
    return int(text.translate(_TO_INT), 32).to_bytes(ULID_BYTES, "big")


def encode_ulid(value: bytes) -> str:
    """Return the text of a ULID, in capitals; the inverse of `decode_ulid`."""
    number = int.from_bytes(value, "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
