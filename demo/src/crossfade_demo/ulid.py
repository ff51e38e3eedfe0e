"""Transaction ids as a client makes them: ULIDs, 48 bits of ms since the epoch and 80 random bits."""

from __future__ import annotations

import time
from random import Random
from typing import Final

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_ulid(random: Random) -> str:
    """Return a fresh ULID, 26 characters."""
    number = (int(time.time() * 1000) << 80) | random.getrandbits(80)
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -5, -5))


def ulid_hex(ulid: str) -> str:
    """Return the 16 bytes of a ULID in hex, as the event feed writes transaction ids."""
    number = 0
    for letter in ulid:
        number = number << 5 | _CROCKFORD.index(letter)
    return number.to_bytes(16, "big").hex()
