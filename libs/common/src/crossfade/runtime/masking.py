"""Marks of values: two values that differ look different, and neither is shown (ADR 0039).

A mark is a hash under a key that this process makes at its start and never writes down. So it can be compared with the
other marks of the same process, and with nothing else: who has a list of likely values can't hash them and look.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

_KEY: Final = secrets.token_bytes(32)

MARK_BYTES: Final = 4
"""Of one mark: two values of a page look alike by accident once in 4 billion pairs."""


def mark_of(form: bytes) -> str:
    """Return the mark of a value, hexadecimal.

    Args:
        form: canonical, so that one value has one mark however it is spelled.
    """
    return hashlib.blake2b(form, key=_KEY, digest_size=MARK_BYTES).hexdigest()
